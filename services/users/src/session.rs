//! What presenting a refresh token means for its session.

use chrono::{DateTime, Duration, Utc};
use natter_auth::Claims;
use natter_protocol::{SessionId, Timestamp, UserId};
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
    /// The old refresh token stops working then.
    pub revoke_rotated: bool,
    /// How long after its exchange an old token still gets the newest: an answer may have been lost
    /// on its way, and several tabs may refresh at once.
    pub grace: Duration,
}

/// The refresh tokens of a session that has not ended.
#[derive(Clone, Debug)]
pub struct Family {
    pub current: Uuid,
    /// No token of the family that the database knows of was issued later.
    pub issued_at: DateTime<Utc>,
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
    /// What presenting the token `jti` means, which was issued in the second `iat` (since 1970).
    pub fn present(&self, jti: Uuid, iat: u64, policy: Policy, now: DateTime<Utc>) -> Exchange {
        if jti == self.current || !policy.revoke_rotated {
            return if policy.rotate {
                Exchange::Rotate
            } else {
                Exchange::Keep
            };
        }
        let mut exchanged = self.exchanged.iter();
        match exchanged.find(|(one, _)| *one == jti) {
            Some((_, at)) if now - *at <= policy.grace => Exchange::Repeat,
            Some(_) => Exchange::Theft,
            // A token is sent after its commit. That the database knows of none so new means that
            // it has lost commits (a restored backup, a failover), not that a token was stolen.
            None if iat > Timestamp::from(self.issued_at).unix_seconds() => Exchange::Rotate,
            None => Exchange::Theft,
        }
    }

    /// When a token that is issued now counts as issued: clocks differ, and no token may seem newer
    /// than its successor.
    pub fn next_issued_at(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        now.max(self.issued_at)
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
        let rotated_at = DateTime::<Utc>::UNIX_EPOCH + Duration::seconds(100);
        let family = Family {
            current,
            issued_at: rotated_at + Duration::milliseconds(500),
            exchanged: vec![
                (previous, rotated_at),
                (older, rotated_at - Duration::seconds(4)),
            ],
        };
        let forgotten = Uuid::new_v4();
        // Those that the database knows of are no newer than the current one, whatever they say.
        let old = 100;
        let no_rotation = Policy {
            rotate: false,
            ..POLICY
        };
        let no_revocation = Policy {
            revoke_rotated: false,
            ..POLICY
        };
        let nothing = Policy {
            rotate: false,
            ..no_revocation
        };
        for (policy, jti, iat, seconds, expected) in [
            (POLICY, current, old, 60, Exchange::Rotate),
            (POLICY, previous, old, 10, Exchange::Repeat),
            (POLICY, previous, old, 11, Exchange::Theft),
            (POLICY, previous, 101, 11, Exchange::Theft),
            (POLICY, older, old, 6, Exchange::Repeat),
            (POLICY, older, old, 7, Exchange::Theft),
            (POLICY, forgotten, 99, 1, Exchange::Theft),
            (POLICY, forgotten, 100, 1, Exchange::Theft),
            // The database was set back.
            (POLICY, forgotten, 101, 1, Exchange::Rotate),
            (no_rotation, current, old, 60, Exchange::Keep),
            // What was exchanged before rotation was turned off stays so.
            (no_rotation, previous, old, 10, Exchange::Repeat),
            (no_rotation, previous, old, 11, Exchange::Theft),
            (no_rotation, forgotten, 100, 1, Exchange::Theft),
            (no_rotation, forgotten, 101, 1, Exchange::Rotate),
            (no_revocation, previous, old, 60, Exchange::Rotate),
            (no_revocation, current, old, 60, Exchange::Rotate),
            (nothing, previous, old, 60, Exchange::Keep),
        ] {
            let now = rotated_at + Duration::seconds(seconds);
            assert_eq!(
                family.present(jti, iat, policy, now),
                expected,
                "{policy:?} at {seconds}, issued at {iat}"
            );
        }
        for (seconds, expected) in [
            (-1, family.issued_at),
            (1, rotated_at + Duration::seconds(1)),
        ] {
            let now = rotated_at + Duration::seconds(seconds);
            assert_eq!(family.next_issued_at(now), expected);
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
