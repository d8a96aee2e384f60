//! The checker finds what is wrong, every time: a run that keeps every promise is made up at random,
//! one thing in it is broken, and the rule that forbids it is the one that says so.

use std::time::Duration;

use natter_faults::{
    checker::{Rule, SETTLED, check},
    record::{
        Ack, Answer, At, Change, Channel, Device, Event, Failure, Fault, Feeds, History, Item,
        Kind, Seen, Send, Sight, Source, Stall, Told, Try,
    },
};
use natter_test_support::Choices;
use serde_json::{Value, json};

const CHANNEL: &str = "channel";
const SEEDS: u64 = 200;

fn at(milliseconds: u64) -> At {
    Duration::from_millis(milliseconds)
}

/// Two people who send by turns, each with a device that was shown everything; some of it edited and
/// some deleted, and the channel closed for the last ten seconds.
fn kept(seed: u64) -> History {
    let mut choices = Choices::new(seed, 0);
    let mut devices = ["ada", "bo"].map(|user| Device {
        name: format!("{user}-0"),
        user: user.to_owned(),
        connected: vec![at(0)],
        ..Device::default()
    });
    let mut log: Vec<Event> = Vec::new();
    let mut items: Vec<Item> = Vec::new();
    for number in 1..=20 + choices.below(30) {
        let side = usize::from(choices.below(2) == 0);
        let user = devices[side].user.clone();
        let own = items
            .iter()
            .position(|item| !item.is_deleted && log[place(item.seq)].sender == user);
        let (kind, message) = match (choices.below(6), own) {
            (0, Some(own)) => (Kind::Edit, items[own].message.clone()),
            (1, Some(own)) => (Kind::Delete, items[own].message.clone()),
            _ => (Kind::Message, format!("message-{number}")),
        };
        let client_id = format!("{user}-{number}");
        let content = (kind != Kind::Delete).then(|| format!("text {number}"));
        let begun = number * 1_000;
        let ack = Ack {
            message: message.clone(),
            seq: number,
            created_at: format!("time {number}"),
            duplicate: false,
        };
        let answer = Some((at(begun + 20), Answer::Acked(ack)));
        let sent = at(begun);
        devices[side].sends.push(Send {
            user: user.clone(),
            channel: CHANNEL.to_owned(),
            client_id: client_id.clone(),
            kind,
            content: content.clone(),
            target: (kind != Kind::Message).then(|| message.clone()),
            tries: vec![Try { sent, answer }],
        });
        let first = log.iter().find(|event| event.message == message);
        let event = Event {
            seq: number,
            kind,
            message: message.clone(),
            sender: user.clone(),
            client_id: first.map_or(Some(client_id.clone()), |first| first.client_id.clone()),
            content: content.clone(),
        };
        match kind {
            Kind::Message => items.push(Item {
                seq: number,
                message,
                client_id: Some(client_id),
                content,
                is_deleted: false,
            }),
            kind => {
                let item = items.iter_mut().find(|item| item.message == message);
                let item = item.expect("it is there");
                item.content = content;
                item.is_deleted = kind == Kind::Delete;
            }
        }
        for device in &mut devices {
            device
                .sights
                .push(sight(begun + 30, Seen::Event(event.clone())));
            let marks = Seen::Marks {
                user: "ada".to_owned(),
                received: number,
                seen: number / 2,
            };
            device.sights.push(sight(begun + 40, marks));
        }
        log.push(event);
    }
    let end = (log.len() as u64 + 1) * 1_000;
    for device in &mut devices {
        device.sights.insert(0, sight(0, Seen::Resumed { from: 0 }));
    }
    let sides = || ["ada", "bo"].map(str::to_owned).into_iter();
    let channel = Channel {
        members: sides().collect(),
        logs: sides().map(|side| (side, log.clone())).collect(),
        histories: sides().map(|side| (side, items.clone())).collect(),
        friendships: sides().map(|side| (side, friendship(3))).collect(),
        marks: sides()
            .map(|side| (side, (log.len() as u64, log.len() as u64)))
            .collect(),
    };
    let feeds = Some(feeds(&log));
    History {
        feeds,
        devices: devices.into(),
        changes: vec![Change {
            channel: CHANNEL.to_owned(),
            asked: at(end),
            answered: at(end + 10),
            is_open: false,
        }],
        channels: [(CHANNEL.to_owned(), channel)].into(),
        ..History::default()
    }
}

/// Their friendship at one of its revisions: asked for, open, closed.
fn friendship(revision: u64) -> Value {
    json!({
        "id": CHANNEL, "from_user": "ada", "to_user": "bo",
        "is_open": revision == 2, "revision": revision,
    })
}

/// What a subscriber has: two accounts, a third that was deleted, their friendship and their channel;
/// some of it twice.
fn feeds(log: &[Event]) -> Feeds {
    let registered = |name: &str| {
        let user = json!({"id": name, "username": name});
        told(name, json!({"type": "registered", "user": user}))
    };
    let deleted = told("gone", json!({"type": "deleted", "user": "max"}));
    let state = |revision| {
        let state = json!({"friendship": friendship(revision), "revision": revision});
        told(&format!("revision {revision}"), state)
    };
    let entry = |event: &Event| {
        let kind = match event.kind {
            Kind::Message => "message",
            Kind::Edit => "edited",
            Kind::Delete => "deleted",
        };
        let message = json!({"id": event.message});
        let entry = json!({"channel": CHANNEL, "seq": event.seq, "kind": kind, "message": message});
        told(&format!("entry {}", event.seq), entry)
    };
    Feeds {
        // The last was lost, and came again.
        users: ["ada", "max", "bo", "ada"]
            .map(registered)
            .into_iter()
            .chain([deleted])
            .collect(),
        friendships: [1, 3, 2, 3].map(state).into(),
        chat: log.iter().chain(&log[..3]).map(entry).collect(),
        accounts: ["ada", "bo"]
            .map(|name| (name.to_owned(), name.to_owned()))
            .into(),
    }
}

fn told(id: &str, payload: Value) -> Told {
    (id.to_owned(), payload)
}

fn sight(milliseconds: u64, seen: Seen) -> Sight {
    Sight {
        at: at(milliseconds),
        came: at(milliseconds),
        source: Source::Connection(1),
        channel: CHANNEL.to_owned(),
        seen,
    }
}

fn stall(from: u64, to: u64) -> Stall {
    Stall {
        from: at(from),
        to: at(to),
        who: "somebody".to_owned(),
    }
}

fn place(seq: u64) -> usize {
    usize::try_from(seq).expect("small") - 1
}

/// Where an event was shown to a device.
fn shown(device: &Device, seq: u64) -> usize {
    let is_it = |sight: &Sight| matches!(&sight.seen, Seen::Event(event) if event.seq == seq);
    device.sights.iter().position(is_it).expect("it was shown")
}

/// A `seq` of a run, and one of a message.
fn any(history: &History, choices: &mut Choices) -> (u64, u64) {
    let log = &history.channels[CHANNEL].logs["ada"];
    let messages: Vec<u64> = log
        .iter()
        .filter(|event| event.kind == Kind::Message)
        .map(|event| event.seq)
        .collect();
    (
        2 + choices.below(log.len() as u64 - 2),
        *choices.of(&messages),
    )
}

/// Breaks each of many runs, and expects this rule to say so: in every other run although the machine
/// stood still from beginning to end, unless the rule is one of time.
fn finds(rule: Rule, break_it: impl Fn(&mut History, &mut Choices)) {
    let is_of_time = matches!(rule, Rule::Prompt | Rule::Available);
    for seed in 0..SEEDS {
        let mut history = kept(seed);
        break_it(&mut history, &mut Choices::new(seed, 1));
        if !is_of_time && seed % 2 == 0 {
            history.stalls.push(stall(0, 1_000_000));
        }
        let found = check(&history);
        assert!(
            found.iter().any(|violation| violation.rule == rule),
            "seed {seed}: {found:#?}"
        );
    }
}

fn logs(history: &mut History) -> impl Iterator<Item = &mut Vec<Event>> {
    let channel = history.channels.get_mut(CHANNEL).expect("it is there");
    channel.logs.values_mut()
}

#[test]
fn a_run_that_keeps_every_promise_is_accepted() {
    for seed in 0..SEEDS {
        assert_eq!(check(&kept(seed)), []);
    }
}

#[test]
fn what_was_acknowledged_and_is_lost() {
    finds(Rule::AckedIsKept, |history, choices| {
        let (seq, _) = any(history, choices);
        for log in logs(history) {
            log.remove(place(seq));
            // As if nothing had been there.
            for event in log.iter_mut().skip(place(seq)) {
                event.seq -= 1;
            }
        }
    });
}

#[test]
fn what_is_lost_at_the_end() {
    finds(Rule::AckedIsKept, |history, _| {
        logs(history).for_each(|log| drop(log.pop()));
    });
}

#[test]
fn a_message_that_is_there_twice() {
    finds(Rule::AckedIsKept, |history, choices| {
        let (_, seq) = any(history, choices);
        for log in logs(history) {
            let again = Event {
                seq: log.len() as u64 + 1,
                message: "again".to_owned(),
                ..log[place(seq)].clone()
            };
            log.push(again);
        }
    });
}

#[test]
fn another_text_than_was_sent() {
    finds(Rule::SameForAll, |history, choices| {
        let (_, seq) = any(history, choices);
        let device = &mut history.devices[0];
        let shown = shown(device, seq);
        if let Seen::Event(event) = &mut device.sights[shown].seen {
            event.content = Some("something else".to_owned());
        }
    });
}

#[test]
fn a_text_that_is_wrong_at_rest() {
    finds(Rule::AckedIsKept, |history, choices| {
        let channel = history.channels.get_mut(CHANNEL).expect("it is there");
        let items = channel.histories["ada"].iter();
        let kept: Vec<String> = items
            .filter(|item| !item.is_deleted)
            .map(|item| item.message.clone())
            .collect();
        let message = choices.of(&kept);
        let other = Some("something else".to_owned());
        for log in channel.logs.values_mut() {
            let mut of = log.iter_mut().filter(|event| event.message == *message);
            of.next_back().expect("it is there").content = other.clone();
        }
        for item in channel.histories.values_mut().flatten() {
            if item.message == *message {
                item.content = other.clone();
            }
        }
    });
}

#[test]
fn a_friendship_that_is_not_as_it_was_answered() {
    finds(Rule::OneFriendship, |history, _| {
        let channel = history.channels.get_mut(CHANNEL).expect("it is there");
        for side in channel.friendships.values_mut() {
            side["is_open"] = json!(true);
        }
    });
}

#[test]
fn marks_that_go_back_where_a_connection_resumes() {
    finds(Rule::MarksMoveForward, |history, _| {
        let newest = history.channels[CHANNEL].logs["ada"].len() as u64;
        let seen = Seen::Marks {
            user: "the friend".to_owned(),
            received: newest - 1,
            seen: 0,
        };
        history.devices[1]
            .sights
            .push(sight(newest * 1_000 + 100, seen));
    });
}

#[test]
fn a_repeat_with_another_answer() {
    finds(Rule::SameAnswer, |history, _| {
        let devices = &mut history.devices;
        let send = devices
            .iter_mut()
            .flat_map(|device| &mut device.sends)
            .next();
        let send = send.expect("somebody sent");
        let mut again = send.tries[0].clone();
        if let Some((_, Answer::Acked(ack))) = &mut again.answer {
            ack.created_at = "another time".to_owned();
        }
        send.tries.push(again);
    });
}

#[test]
fn two_that_changed_places() {
    finds(Rule::OneOrder, |history, choices| {
        let (seq, _) = any(history, choices);
        // The later one was sent after the earlier one was acknowledged, and has its place.
        for device in &mut history.devices {
            for send in &mut device.sends {
                if let Some((_, Answer::Acked(ack))) = &mut send.tries[0].answer {
                    match ack.seq {
                        place if place == seq => ack.seq = seq - 1,
                        place if place == seq - 1 => ack.seq = seq,
                        _ => {}
                    }
                }
            }
        }
    });
}

#[test]
fn a_hole_in_the_log() {
    finds(Rule::OneOrder, |history, choices| {
        let (seq, _) = any(history, choices);
        logs(history).for_each(|log| log[place(seq)].seq += 1_000);
    });
}

#[test]
fn sides_that_read_different_logs() {
    finds(Rule::SameForAll, |history, _| {
        logs(history).next().map(Vec::pop);
    });
}

#[test]
fn a_history_that_is_not_the_log() {
    finds(Rule::SameForAll, |history, _| {
        let channel = history.channels.get_mut(CHANNEL).expect("it is there");
        channel.histories.values_mut().next().map(Vec::pop);
    });
}

#[test]
fn what_nobody_sent() {
    finds(Rule::NothingInvented, |history, _| {
        for log in logs(history) {
            log.push(Event {
                seq: log.len() as u64 + 1,
                kind: Kind::Message,
                message: "phantom".to_owned(),
                sender: "ada".to_owned(),
                client_id: Some("nobody's".to_owned()),
                content: Some("boo".to_owned()),
            });
        }
    });
}

#[test]
fn what_was_shown_and_never_stored() {
    finds(Rule::NothingInvented, |history, _| {
        let newest = history.channels[CHANNEL].logs["ada"].len() as u64;
        let phantom = Event {
            seq: newest + 1,
            kind: Kind::Message,
            message: "phantom".to_owned(),
            sender: "bo".to_owned(),
            client_id: None,
            content: None,
        };
        let seen = Seen::Event(phantom);
        history.devices[0]
            .sights
            .push(sight(newest * 1_000 + 100, seen));
    });
}

#[test]
fn what_was_refused_and_stored() {
    finds(Rule::NothingInvented, |history, _| {
        let devices = &mut history.devices;
        let sends = devices.iter_mut().flat_map(|device| &mut device.sends);
        let send = sends.into_iter().find(|send| send.kind == Kind::Message);
        let send = send.expect("somebody sent");
        let refused = Answer::Refused("channel_closed".to_owned());
        send.tries[0].answer = Some((at(1), refused));
    });
}

#[test]
fn what_a_device_never_had() {
    finds(Rule::NoSeam, |history, choices| {
        let (seq, _) = any(history, choices);
        let device = &mut history.devices[1];
        let shown = shown(device, seq);
        device.sights.remove(shown);
    });
}

#[test]
fn what_a_connection_showed_twice() {
    finds(Rule::NoSeam, |history, choices| {
        let (seq, _) = any(history, choices);
        let device = &mut history.devices[1];
        let shown = shown(device, seq);
        let again = device.sights[shown].clone();
        device.sights.insert(shown, again);
    });
}

#[test]
fn what_a_connection_showed_out_of_order() {
    finds(Rule::NoSeam, |history, choices| {
        let (seq, _) = any(history, choices);
        let device = &mut history.devices[0];
        let (one, other) = (shown(device, seq), shown(device, seq - 1));
        device.sights.swap(one, other);
    });
}

#[test]
fn a_resume_that_begins_too_late() {
    finds(Rule::NoSeam, |history, _| {
        let again = Sight {
            source: Source::Connection(2),
            ..sight(500_000, Seen::Resumed { from: 3 })
        };
        let device = &mut history.devices[0];
        let shown = shown(device, 5);
        let late = Sight {
            at: at(500_001),
            source: Source::Connection(2),
            ..device.sights[shown].clone()
        };
        device.sights.extend([again, late]);
    });
}

#[test]
fn a_mark_that_goes_back() {
    finds(Rule::MarksMoveForward, |history, _| {
        let back = Seen::Marks {
            user: "ada".to_owned(),
            received: 1,
            seen: 0,
        };
        history.devices[0].sights.push(sight(90_000, back));
    });
}

#[test]
fn a_mark_beyond_what_exists() {
    finds(Rule::MarksMoveForward, |history, _| {
        let ahead = Seen::Marks {
            user: "bo".to_owned(),
            received: 1_000,
            seen: 0,
        };
        history.devices[0].sights.push(sight(90_000, ahead));
    });
}

#[test]
fn a_mark_that_is_lost() {
    finds(Rule::MarksMoveForward, |history, _| {
        let channel = history.channels.get_mut(CHANNEL).expect("it is there");
        channel.marks.insert("ada".to_owned(), (0, 0));
    });
}

#[test]
fn what_somebody_outside_was_shown() {
    finds(Rule::OnlyMembers, |history, choices| {
        let (seq, _) = any(history, choices);
        let inside = &history.devices[0];
        let leaked = inside.sights[shown(inside, seq)].clone();
        history.devices.push(Device {
            name: "eve-0".to_owned(),
            user: "eve".to_owned(),
            sights: vec![leaked],
            ..Device::default()
        });
    });
}

#[test]
fn what_is_shown_after_a_rejection() {
    finds(Rule::Prompt, |history, _| {
        let closed = history.changes[0].answered;
        let mut late = sight(0, Seen::Typing);
        late.at = closed + Duration::from_millis(1_100);
        late.came = late.at;
        history.devices[0].sights.push(late);
    });
}

#[test]
fn what_is_read_late_may_have_come_in_time() {
    for seed in 0..SEEDS {
        let mut history = kept(seed);
        let closed = history.changes[0].answered;
        let mut read = sight(0, Seen::Typing);
        read.at = closed + Duration::from_secs(3);
        read.came = closed + Duration::from_millis(900);
        history.devices[0].sights.push(read);
        let found = check(&history);
        let late = found.iter().find(|one| one.rule == Rule::Prompt);
        assert!(late.is_none(), "seed {seed}: {late:#?}");
    }
}

#[test]
fn what_is_accepted_after_a_rejection() {
    finds(Rule::Prompt, |history, _| {
        let closed = history.changes[0].answered;
        let device = &mut history.devices[0];
        let mut send = device.sends[0].clone();
        let ack = Ack {
            message: "late".to_owned(),
            seq: 1_000,
            created_at: String::new(),
            duplicate: false,
        };
        send.tries = vec![Try {
            sent: closed + Duration::from_millis(1_100),
            answer: Some((closed + Duration::from_millis(1_200), Answer::Acked(ack))),
        }];
        device.sends.push(send);
    });
}

#[test]
fn what_is_shown_after_a_logout() {
    finds(Rule::Prompt, |history, _| {
        let last = history.devices[0]
            .sights
            .last()
            .expect("it saw something")
            .at;
        history.devices[0].ended = Some(last - Duration::from_millis(1_100));
    });
}

#[test]
fn who_is_let_in_after_a_logout() {
    finds(Rule::Prompt, |history, _| {
        let device = &mut history.devices[0];
        let last = device.sights.last().expect("it saw something").at;
        device.ended = Some(last);
        device.connected.push(last + Duration::from_millis(1_100));
    });
}

#[test]
fn what_is_given_to_a_session_that_has_ended() {
    finds(Rule::Prompt, |history, _| {
        let device = &mut history.devices[0];
        let last = device.sights.last().expect("it saw something").at;
        device.ended = Some(last);
        let asked = last + Duration::from_millis(1_100);
        device.let_in.push((asked, "a page of the log".to_owned()));
    });
}

#[test]
fn sides_that_are_told_different_friendships() {
    finds(Rule::OneFriendship, |history, _| {
        let channel = history.channels.get_mut(CHANNEL).expect("it is there");
        let other = json!({"revision": 2});
        channel.friendships.insert("bo".to_owned(), other);
    });
}

#[test]
fn who_is_told_unavailable_while_nothing_is_down() {
    finds(Rule::Available, |history, choices| {
        history.devices[0].unavailable.push((at(60_000), None));
        // One fault was over by then, and another is covered by a replica.
        history.faults.push(Fault {
            name: "over".to_owned(),
            from: at(0),
            to: at(59_999) - SETTLED,
            covered: None,
        });
        if choices.below(2) == 0 {
            history.faults.push(Fault {
                name: "covered".to_owned(),
                from: at(59_000),
                to: at(61_000),
                covered: Some("messages".to_owned()),
            });
        }
    });
}

#[test]
fn what_is_left_in_a_queue() {
    finds(Rule::NothingLeft, |history, _| {
        history.residue.push("3 dead letters".to_owned());
    });
}

/// Whether this rule says so of a run that is broken while the machine has these stalls.
fn is_found(rule: Rule, stalls: &[Stall], break_it: impl Fn(&mut History)) -> bool {
    let mut history = kept(1);
    break_it(&mut history);
    history.stalls = stalls.to_vec();
    check(&history)
        .iter()
        .any(|violation| violation.rule == rule)
}

#[test]
fn a_second_in_which_the_machine_stood_still_is_added_to_what_a_rejection_may_take() {
    let closed = kept(1).changes[0].answered.as_millis();
    let closed = u64::try_from(closed).expect("small");
    let late = |history: &mut History| {
        let sight = sight(closed + 1_900, Seen::Typing);
        history.devices[0].sights.push(sight);
    };
    for (stalls, is_wrong) in [
        (vec![], true),
        (vec![stall(closed + 500, closed + 1_500)], false),
        // In parts, of which some are told of two threads.
        (
            (0..10)
                .flat_map(|part| {
                    let from = closed + 100 + part * 150;
                    [stall(from, from + 100), stall(from + 20, from + 90)]
                })
                .collect(),
            false,
        ),
        // What two waited at the same time is no more than what one did.
        (vec![stall(closed, closed + 500); 2], true),
        (vec![stall(closed + 500, closed + 1_000)], true),
        // Before and after.
        (vec![stall(closed - 1_000, closed)], true),
        (vec![stall(closed + 1_900, closed + 3_000)], true),
    ] {
        assert_eq!(
            is_found(Rule::Prompt, &stalls, late),
            is_wrong,
            "{stalls:?}"
        );
    }
}

#[test]
fn unavailable_is_excused_where_the_machine_stood_still_just_before() {
    let told = |history: &mut History| history.devices[0].unavailable.push((at(60_000), None));
    let parts = |each: u64| -> Vec<Stall> {
        let begin = |part: u64| 57_000 + part * 100;
        (0..20)
            .map(|part| stall(begin(part), begin(part) + each))
            .collect()
    };
    for (stalls, is_wrong) in [
        (vec![], true),
        (vec![stall(57_000, 58_000)], false),
        (parts(95), false),
        // A machine that is busy.
        (parts(80), true),
        (vec![stall(57_000, 57_800)], true),
        // Long ago, and later.
        (vec![stall(40_000, 49_000)], true),
        (vec![stall(60_000, 62_000)], true),
    ] {
        assert_eq!(
            is_found(Rule::Available, &stalls, told),
            is_wrong,
            "{stalls:?}"
        );
    }
}

/// A fault from the beginning to the end.
fn everything_is_down(history: &mut History) {
    history.faults.push(Fault {
        name: "everything".to_owned(),
        from: at(0),
        to: at(1_000_000),
        covered: None,
    });
}

#[test]
fn what_is_answered_with_500_whatever_is_down() {
    finds(Rule::NoInternalError, |history, _| {
        everything_is_down(history);
        history.failures.push(Failure {
            at: at(5_000),
            status: 500,
            what: "GET was answered 500".to_owned(),
        });
    });
}

/// Each of these is wrong while nothing is down, and right while something is.
#[test]
fn whoever_is_not_served_while_nothing_is_down() {
    let told_503 = |history: &mut History| {
        history.failures.push(Failure {
            at: at(60_000),
            status: 503,
            what: "GET was answered 503".to_owned(),
        });
    };
    let overloaded = |history: &mut History| history.devices[0].closed.push((at(60_000), 1013));
    let too_slow = |history: &mut History| history.devices[0].closed.push((at(60_000), 4008));
    let told: [&dyn Fn(&mut History); 3] = [&told_503, &overloaded, &too_slow];
    for tell in told {
        assert!(is_found(Rule::Available, &[], tell));
        let still = [stall(57_000, 58_000)];
        assert!(!is_found(Rule::Available, &still, tell));
        let during_a_fault = |history: &mut History| {
            everything_is_down(history);
            tell(history);
        };
        assert!(!is_found(Rule::Available, &[], during_a_fault));
    }
    // Whoever reads nothing is too slow, and overloads nobody.
    let pauses = |history: &mut History| history.devices[0].pauses.push((at(55_000), at(58_000)));
    assert!(!is_found(Rule::Available, &[], |history| {
        pauses(history);
        too_slow(history);
    }));
    assert!(is_found(Rule::Available, &[], |history| {
        pauses(history);
        overloaded(history);
    }));
    let moved = |history: &mut History| history.devices[0].closed.push((at(60_000), 1012));
    assert!(!is_found(Rule::Available, &[], moved));
}

/// Changes what a subscriber has.
fn finds_in_feeds(break_it: impl Fn(&mut Feeds, &mut Choices)) {
    finds(Rule::EventsAreTheState, |history, choices| {
        break_it(history.feeds.as_mut().expect("it subscribed"), choices);
    });
}

#[test]
fn an_entry_without_an_event() {
    finds_in_feeds(|feeds, choices| {
        let which = choices.below(20);
        let id = format!("entry {}", which + 1);
        feeds.chat.retain(|(other, _)| *other != id);
    });
}

#[test]
fn an_event_without_an_entry() {
    finds_in_feeds(|feeds, _| {
        let mut more = feeds.chat[0].1.clone();
        more["seq"] = json!(1_000);
        feeds.chat.push(told("more", more));
    });
}

#[test]
fn an_event_of_another_entry() {
    finds_in_feeds(|feeds, choices| {
        let place = usize::try_from(3 + choices.below(10)).expect("small");
        let event = &mut feeds.chat[place].1;
        match choices.below(2) {
            0 => event["kind"] = json!("something else"),
            _ => event["message"]["id"] = json!("another"),
        }
    });
}

#[test]
fn an_event_that_came_again_as_another() {
    finds_in_feeds(|feeds, _| {
        let last = feeds.friendships.last_mut().expect("it is there");
        last.1["friendship"]["is_open"] = json!(true);
    });
}

#[test]
fn an_account_that_no_event_tells_of() {
    finds_in_feeds(|feeds, _| {
        feeds.accounts.insert("cy".to_owned(), "cy".to_owned());
    });
}

#[test]
fn an_account_that_was_registered_twice() {
    finds_in_feeds(|feeds, _| {
        let again = feeds.users[0].1.clone();
        feeds.users.push(told("again", again));
    });
}

#[test]
fn an_account_that_is_gone_and_was_not_deleted() {
    finds_in_feeds(|feeds, _| {
        feeds.users.retain(|(id, _)| id != "gone");
    });
}

#[test]
fn an_account_that_was_deleted_and_is_there() {
    finds_in_feeds(|feeds, _| {
        feeds.accounts.insert("max".to_owned(), "max".to_owned());
    });
}

#[test]
fn a_friendship_that_is_not_what_its_last_event_says() {
    finds_in_feeds(|feeds, _| {
        feeds.friendships.retain(|(id, _)| id != "revision 3");
    });
}

#[test]
fn a_revision_without_an_event() {
    finds_in_feeds(|feeds, _| {
        feeds.friendships.retain(|(id, _)| id != "revision 2");
    });
}

#[test]
fn a_friendship_that_stays_open_without_one_of_two() {
    finds_in_feeds(|feeds, _| {
        let mut open = friendship(2);
        open["id"] = json!("another");
        open["to_user"] = json!("max");
        open["revision"] = json!(1);
        let open = json!({"friendship": open, "revision": 1});
        feeds.friendships.push(told("open", open));
    });
}

#[test]
fn a_session_that_has_ended_and_no_event_says_so() {
    finds(Rule::EventsAreTheState, |history, choices| {
        let device = &mut history.devices[0];
        device.session = Some("session".to_owned());
        // Another's, or one too many.
        let of = |id: &str, user: &str| {
            let event = json!({"type": "session_revoked", "user": user, "sid": "session"});
            told(id, event)
        };
        let events = match choices.below(3) {
            0 => vec![],
            1 => vec![of("one", "bo")],
            _ => vec![of("one", "ada"), of("other", "ada")],
        };
        let feeds = history.feeds.as_mut().expect("it subscribed");
        feeds.users.extend(events);
    });
}

#[test]
fn a_session_that_has_ended_has_its_event() {
    assert!(!is_found(Rule::EventsAreTheState, &[], |history| {
        history.devices[0].session = Some("session".to_owned());
        let event = json!({"type": "session_revoked", "user": "ada", "sid": "session"});
        let feeds = history.feeds.as_mut().expect("it subscribed");
        feeds.users.push(told("one", event));
    }));
}
