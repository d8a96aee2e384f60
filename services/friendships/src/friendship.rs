//! The rules of a friendship: whose side is whose, and when its channel is open.

use natter_protocol::{
    UserId,
    event::{FriendshipEvent, FriendshipState},
    friendship::Status,
};

/// Which side of a friendship somebody is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Asked.
    From,
    /// Was asked.
    To,
}

/// What both sides say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statuses {
    pub from: Status,
    pub to: Status,
}

impl Statuses {
    /// Whether the channel takes messages: the one who was asked accepted, and the one who asked
    /// (which counts as agreeing) did not reject since.
    pub fn is_open(self) -> bool {
        self.to == Status::Accepted && self.from != Status::Rejected
    }

    pub fn with(self, side: Side, status: Status) -> Self {
        match side {
            Side::From => Self {
                from: status,
                ..self
            },
            Side::To => Self { to: status, ..self },
        }
    }
}

/// The side that `user` is on; `None` for a stranger.
pub fn side_of(user: UserId, from: UserId, to: UserId) -> Option<Side> {
    match user {
        user if user == from => Some(Side::From),
        user if user == to => Some(Side::To),
        _ => None,
    }
}

/// The event of a change that left the friendship in `state`.
pub fn change_event(was_open: bool, state: FriendshipState) -> FriendshipEvent {
    match (was_open, state.friendship.is_open) {
        (false, true) => FriendshipEvent::Opened(state),
        (true, false) => FriendshipEvent::Closed(state),
        (true, true) | (false, false) => FriendshipEvent::Changed(state),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn status() -> impl Strategy<Value = Status> {
        proptest::sample::select(&Status::ALL[..])
    }

    fn side() -> impl Strategy<Value = Side> {
        proptest::sample::select(&[Side::From, Side::To][..])
    }

    #[test]
    fn the_table_of_open_channels() {
        use Status::{Accepted, Pending, Rejected};
        for (from, to, open) in [
            (Pending, Pending, false),
            (Accepted, Pending, false),
            (Rejected, Pending, false),
            (Pending, Accepted, true),
            (Accepted, Accepted, true),
            (Rejected, Accepted, false),
            (Pending, Rejected, false),
            (Accepted, Rejected, false),
            (Rejected, Rejected, false),
        ] {
            assert_eq!(Statuses { from, to }.is_open(), open, "{from:?} {to:?}");
        }
    }

    proptest! {
        /// Whatever happens, a side is what it last said itself, and a rejection of either side
        /// closes the channel until that same side takes it back.
        #[test]
        fn a_side_is_what_it_last_said(
            asked in status(),
            changes in proptest::collection::vec((side(), status()), 0..20),
        ) {
            let mut statuses = Statuses { from: asked, to: Status::Pending };
            let (mut from, mut to) = (asked, Status::Pending);
            for (side, status) in changes {
                statuses = statuses.with(side, status);
                match side {
                    Side::From => from = status,
                    Side::To => to = status,
                }
                prop_assert_eq!(statuses, Statuses { from, to });
                if from == Status::Rejected || to == Status::Rejected {
                    prop_assert!(!statuses.is_open());
                }
            }
        }
    }
}
