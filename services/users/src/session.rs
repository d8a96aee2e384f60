//! What presenting a refresh token means for its session.

use chrono::{DateTime, Duration, Utc};
use uuid::Uuid;

/// How refresh tokens are exchanged.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Refreshing gives a new refresh token.
    pub rotate: bool,
    /// The old one stops working then.
    pub revoke_rotated: bool,
    /// For so long after the exchange the old one still gets the same successor: an answer may
    /// have been lost on its way.
    pub grace: Duration,
}

/// The refresh tokens of a session that has not ended.
#[derive(Clone, Debug)]
pub struct Family {
    pub current: Uuid,
    pub previous: Option<Uuid>,
    pub rotated_at: Option<DateTime<Utc>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// A new access token, and a new refresh token in place of the presented one.
    Rotate,
    /// A new access token, and the refresh token that the presented one was exchanged for.
    Repeat,
    /// A new access token; the refresh token stays.
    Keep,
    /// An exchanged token came back: somebody has stolen one. The session must end.
    Theft,
}

impl Family {
    pub fn present(&self, jti: Uuid, policy: Policy, now: DateTime<Utc>) -> Exchange {
        if !policy.rotate {
            return Exchange::Keep;
        }
        if jti == self.current || !policy.revoke_rotated {
            return Exchange::Rotate;
        }
        let within_grace = self
            .rotated_at
            .is_some_and(|rotated_at| now - rotated_at <= policy.grace);
        match self.previous == Some(jti) && within_grace {
            true => Exchange::Repeat,
            false => Exchange::Theft,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        rotate: true,
        revoke_rotated: true,
        grace: Duration::seconds(10),
    };

    #[test]
    fn the_table_of_exchanges() {
        let (current, previous, older) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
        let rotated_at = DateTime::<Utc>::UNIX_EPOCH;
        let family = Family {
            current,
            previous: Some(previous),
            rotated_at: Some(rotated_at),
        };
        let no_rotation = Policy {
            rotate: false,
            ..POLICY
        };
        let no_revocation = Policy {
            revoke_rotated: false,
            ..POLICY
        };
        for (policy, jti, seconds, expected) in [
            (POLICY, current, 60, Exchange::Rotate),
            (POLICY, previous, 10, Exchange::Repeat),
            (POLICY, previous, 11, Exchange::Theft),
            (POLICY, older, 1, Exchange::Theft),
            (no_rotation, current, 60, Exchange::Keep),
            (no_revocation, previous, 60, Exchange::Rotate),
            (no_revocation, current, 60, Exchange::Rotate),
        ] {
            let now = rotated_at + Duration::seconds(seconds);
            assert_eq!(
                family.present(jti, policy, now),
                expected,
                "{policy:?} at {seconds}"
            );
        }
    }
}
