use uuid::Uuid;

use natter_protocol::call::SendMedia;

use super::*;

struct Conversation {
    id: FriendshipId,
    alice: UserId,
    bob: UserId,
    plan: Plan,
}

fn conversation() -> Conversation {
    let (alice, bob) = (UserId(Uuid::new_v4()), UserId(Uuid::new_v4()));
    let id = FriendshipId(Uuid::new_v4());
    let now = Timestamp::now();
    let channel = Channel {
        id,
        members: [alice, bob],
        is_open: true,
        last_seq: 0,
        messages: 0,
        from_messages: 0,
        last_at: now,
    };
    let facts = Facts {
        channels: [(id, channel)].into(),
        ..Facts::default()
    };
    Conversation {
        id,
        alice,
        bob,
        plan: Plan::new(facts, now),
    }
}

impl Conversation {
    fn say(&mut self, sender: UserId, client_id: Option<&str>, what: SendWhat) -> Outcome {
        let send = SendRequest {
            sender,
            client_id: client_id.map(str::to_owned),
            doubted: false,
            what,
        };
        self.plan.decide(self.id, &send, true)
    }

    /// Makes a stored message known as a target, as the database would.
    fn remember(&mut self, entry: &Entry) {
        let target = Target {
            seq: entry.seq,
            edit_seq: None,
            message: entry.message.clone(),
        };
        self.plan.facts.targets.insert((self.id, entry.id), target);
    }

    fn channel(&mut self) -> &mut Channel {
        self.plan
            .facts
            .channels
            .get_mut(&self.id)
            .expect("the channel")
    }
}

fn text(payload: &str) -> SendWhat {
    SendWhat::Message {
        payload: payload.to_owned(),
        media: Vec::new(),
        reply_to: None,
    }
}

fn stored(outcome: Outcome) -> Box<Entry> {
    match outcome {
        Outcome::Store(entry, _) => entry,
        other => panic!("not stored: {other:?}"),
    }
}

fn refused(outcome: Outcome) -> Refusal {
    match outcome {
        Outcome::Answer(SendReply::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn seqs_have_no_gap_whatever_is_refused_between() {
    let mut chat = conversation();
    let (alice, bob) = (chat.alice, chat.bob);
    let stranger = UserId(Uuid::new_v4());
    let first = stored(chat.say(alice, None, text("one")));
    assert_eq!(
        refused(chat.say(stranger, None, text("x"))),
        Refusal::NotAMember
    );
    let missing = SendWhat::Delete {
        message: MessageId(Uuid::new_v4()),
    };
    assert_eq!(
        refused(chat.say(alice, None, missing)),
        Refusal::MessageNotFound
    );
    let second = stored(chat.say(bob, None, text("two")));
    assert_eq!((first.seq, second.seq), (1, 2));
    assert_eq!((first.id.seq(), second.id.seq()), (1, 2));
    assert_eq!((first.position, second.position), (1, 2));
}

#[test]
fn a_repeat_within_the_batch_gets_the_first_answer() {
    let mut chat = conversation();
    let (alice, bob) = (chat.alice, chat.bob);
    let first = stored(chat.say(alice, Some("a"), text("one")));
    match chat.say(alice, Some("a"), text("one")) {
        Outcome::Answer(SendReply::Ack(again)) => {
            assert_eq!(
                (again.message, again.seq, again.duplicate),
                (first.id, 1, true)
            );
        }
        other => panic!("not a duplicate: {other:?}"),
    }
    let other = chat.say(alice, Some("a"), text("other"));
    assert_eq!(refused(other), Refusal::ClientIdReused);
    // The other side's client ids are its own.
    assert_eq!(stored(chat.say(bob, Some("a"), text("other"))).seq, 2);
}

#[test]
fn edits_and_deletions_are_entries_but_no_messages() {
    let mut chat = conversation();
    let (alice, bob) = (chat.alice, chat.bob);
    let first = stored(chat.say(alice, None, text("one")));
    chat.remember(&first);
    let edit = |payload: &str| SendWhat::Edit {
        message: first.id,
        payload: payload.to_owned(),
    };
    assert_eq!(
        refused(chat.say(bob, None, edit("mine"))),
        Refusal::NotYours
    );
    let edited = stored(chat.say(alice, None, edit("two")));
    assert_eq!(
        (edited.seq, edited.position, edited.target_seq),
        (2, 1, Some(1))
    );
    assert_eq!(edited.message.content, "two");
    assert_eq!(edited.edit_seq, None);
    let again = stored(chat.say(alice, None, edit("three")));
    assert_eq!((again.seq, again.edit_seq), (3, Some(2)));
    let deleted = stored(chat.say(alice, None, SendWhat::Delete { message: first.id }));
    assert!(deleted.message.deleted);
    assert_eq!(deleted.message.content, "");
    let gone = chat.say(alice, None, edit("four"));
    assert_eq!(refused(gone), Refusal::MessageNotFound);
    assert_eq!(stored(chat.say(alice, None, text("five"))).position, 2);
}

#[test]
fn a_channel_that_is_closed_or_not_known_is_asked_for_once() {
    let mut chat = conversation();
    let send = SendRequest {
        sender: chat.alice,
        client_id: None,
        doubted: false,
        what: text("one"),
    };
    let unknown = FriendshipId(Uuid::new_v4());
    assert!(matches!(
        chat.plan.decide(unknown, &send, false),
        Outcome::Ask
    ));
    let still_unknown = chat.plan.decide(unknown, &send, true);
    assert_eq!(refused(still_unknown), Refusal::NotAMember);
    chat.channel().is_open = false;
    assert!(matches!(
        chat.plan.decide(chat.id, &send, false),
        Outcome::Ask
    ));
    let doubted = SendRequest {
        doubted: true,
        ..send.clone()
    };
    chat.channel().is_open = true;
    assert!(matches!(
        chat.plan.decide(chat.id, &doubted, false),
        Outcome::Ask
    ));
    assert_eq!(stored(chat.plan.decide(chat.id, &doubted, true)).seq, 1);
    chat.channel().is_open = false;
    let closed = chat.plan.decide(chat.id, &send, true);
    assert_eq!(refused(closed), Refusal::ChannelClosed);
}

#[test]
fn time_never_goes_back_within_a_channel() {
    let mut chat = conversation();
    let alice = chat.alice;
    let future: Timestamp = "2100-01-01T00:00:00Z".parse().expect("a time");
    chat.channel().last_at = future;
    assert_eq!(stored(chat.say(alice, None, text("one"))).at, future);
}

#[test]
fn a_file_is_its_owners_to_send_once() {
    let mut chat = conversation();
    let (alice, bob) = (chat.alice, chat.bob);
    let id = MediaId(Uuid::new_v4());
    let media = Media {
        id,
        filename: "a.txt".to_owned(),
        content_type: "text/plain".to_owned(),
        size: 1,
        file: None,
    };
    let known = KnownMedia {
        owner: alice,
        is_sent: false,
        sha256: "00".to_owned(),
        media: media.clone(),
    };
    chat.plan.facts.media.insert(id, known);
    let with_file = || SendWhat::Message {
        payload: String::new(),
        media: vec![SendMedia { id, new: None }],
        reply_to: None,
    };
    assert_eq!(
        refused(chat.say(bob, None, with_file())),
        Refusal::MediaNotFound
    );
    let entry = stored(chat.say(alice, Some("a"), with_file()));
    assert_eq!(entry.message.media, [media]);
    assert_eq!(
        refused(chat.say(alice, None, with_file())),
        Refusal::MediaNotFound
    );
    // The same content under another id is a repeat all the same.
    let new = NewMedia {
        filename: "a.txt".to_owned(),
        content_type: "text/plain".to_owned(),
        size: 1,
        sha256: "00".to_owned(),
    };
    let again = SendWhat::Message {
        payload: String::new(),
        media: vec![SendMedia {
            id: MediaId(Uuid::new_v4()),
            new: Some(new),
        }],
        reply_to: None,
    };
    let again = chat.say(alice, Some("a"), again);
    assert!(matches!(again, Outcome::Answer(SendReply::Ack(ack)) if ack.duplicate));
}
