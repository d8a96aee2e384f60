//! What presenting a refresh token means for its session.

use chrono::{DateTime, Duration, Utc};
use natter_auth::Claims;
use natter_protocol::{SessionId, UserId};
use uuid::Uuid;

/// A session, and whose it is.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    pub user: UserId,
    pub sid: SessionId,
}

impl Subject {
    pub fn of(claims: &Claims) -> Self {
        Self {
            user: claims.user_id,
            sid: claims.sid,
        }
    }
}

/// How refresh tokens are exchanged.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Refreshing gives a new refresh token.
    pub rotate: bool,
    /// The old one stops working then.
    pub revoke_rotated: bool,
    /// For so long after its exchange an old one still gets the newest: an answer may have been lost
    /// on its way, and several tabs may refresh at once.
    pub grace: Duration,
}

/// The refresh tokens of a session that has not ended.
#[derive(Clone, Debug)]
pub struct Family {
    pub current: Uuid,
    /// Those that were exchanged lately, and when.
    pub exchanged: Vec<(Uuid, DateTime<Utc>)>,
}

/// How many exchanged tokens of a session are remembered: more than these within the grace do not
/// come from tabs that refresh at once.
const MAX_EXCHANGED: usize = 50;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// A new access token, and a new refresh token in place of the presented one.
    Rotate,
    /// A new access token, and the refresh token that counts now.
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
        let mut exchanged = self.exchanged.iter();
        if exchanged.any(|(one, at)| *one == jti && now - *at <= policy.grace) {
            Exchange::Repeat
        } else {
            Exchange::Theft
        }
    }

    /// The exchanged tokens to remember once `presented` is exchanged too: those still within their
    /// grace, of which at most [`MAX_EXCHANGED`], the newest first.
    pub fn exchange(
        &self,
        presented: Uuid,
        policy: Policy,
        now: DateTime<Utc>,
    ) -> Vec<(Uuid, DateTime<Utc>)> {
        let newest = [(presented, now)];
        let others = self.exchanged.iter().copied();
        let others = others.filter(|(jti, at)| *jti != presented && now - *at <= policy.grace);
        newest
            .into_iter()
            .chain(others)
            .take(MAX_EXCHANGED)
            .collect()
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
            exchanged: vec![
                (previous, rotated_at),
                (older, rotated_at - Duration::seconds(4)),
            ],
        };
        let forgotten = Uuid::new_v4();
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
            (POLICY, older, 6, Exchange::Repeat),
            (POLICY, older, 7, Exchange::Theft),
            (POLICY, forgotten, 1, Exchange::Theft),
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
        // At its exchange those are remembered that are within their own grace.
        for (seconds, remembered) in [(6, 3), (7, 2), (11, 1)] {
            let now = rotated_at + Duration::seconds(seconds);
            let exchanged = family.exchange(current, POLICY, now);
            assert_eq!(exchanged.len(), remembered, "at {seconds}");
            assert_eq!(exchanged[0], (current, now));
        }
    }
}
