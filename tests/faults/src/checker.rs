//! Judges what was recorded of a run. Each rule is a promise of WEBSOCKET.md, HTTP.md or EVENTS.md.

mod feeds;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    time::Duration,
};

use crate::{
    record::{
        Ack, Answer, At, Channel, Device, Event, Failure, Fault, History, Item, Kind, Seen, Send,
        Source,
    },
    stalls::{stalled, stood_still},
};

/// What a rejection, a logout or a revocation may take.
pub const PROMPT: Duration = Duration::from_secs(1);
/// How long after a fault somebody may still be told `unavailable`: pools connect again, leaders are
/// elected, processes start.
pub const SETTLED: Duration = Duration::from_secs(10);

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    pub rule: Rule,
    pub what: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// What was acknowledged is in the log of both sides and in history, once, as acknowledged.
    AckedIsKept,
    /// A repeated send has the same answer.
    SameAnswer,
    /// Nothing is there that nobody sent, or that was refused.
    NothingInvented,
    /// `seq` is 1, 2, 3, …, and what was sent after an acknowledgement comes after it.
    OneOrder,
    /// Both sides, history and every device have the same.
    SameForAll,
    /// A connection shows a channel's entries in order, each once, and nothing is missing.
    NoSeam,
    /// Marks only move forward, and not beyond what exists.
    MarksMoveForward,
    /// Nobody outside a channel sees anything of it.
    OnlyMembers,
    /// Nothing of a channel later than a second after its rejection, of a session after its end.
    Prompt,
    /// Both sides are told the same of their friendship.
    OneFriendship,
    /// Nobody is told `unavailable` or 503, or loses a connection for lack of something, while nothing
    /// is down.
    Available,
    /// Whatever is down: nobody is answered with 500.
    NoInternalError,
    /// Queues are empty in the end, and there are no dead letters.
    NothingLeft,
    /// The events that a subscriber outside has are those of which the state comes.
    EventsAreTheState,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.what)
    }
}

/// Every broken promise of a run.
pub fn check(history: &History) -> Vec<Violation> {
    let mut sent: HashMap<&str, Sends> = HashMap::new();
    for device in &history.devices {
        for send in &device.sends {
            sent.entry(&send.channel).or_default().add(send);
        }
    }
    let mut judge = Judge {
        history,
        sent,
        found: Vec::new(),
    };
    for (id, channel) in &history.channels {
        judge.channel(id, channel);
    }
    for device in &history.devices {
        judge.device(device);
    }
    for failure in &history.failures {
        judge.failure(failure);
    }
    for differs in history
        .feeds
        .iter()
        .flat_map(|feeds| feeds::differences(feeds, history))
    {
        judge.find(Rule::EventsAreTheState, differs);
    }
    for left in &history.residue {
        judge.find(Rule::NothingLeft, left.clone());
    }
    judge.found.sort();
    judge.found
}

/// What was sent to one channel.
#[derive(Default)]
struct Sends<'a> {
    all: Vec<&'a Send>,
    /// Messages by their sender and client id.
    messages: HashMap<(&'a str, &'a str), &'a Send>,
    /// Edits and deletions by their message.
    changes: HashMap<&'a str, Vec<&'a Send>>,
}

impl<'a> Sends<'a> {
    fn add(&mut self, send: &'a Send) {
        self.all.push(send);
        match &send.target {
            Some(target) => self.changes.entry(target).or_default().push(send),
            None => {
                self.messages.insert((&send.user, &send.client_id), send);
            }
        }
    }

    /// The send of a message that is in the log.
    fn message(&self, event: &Event) -> Option<&'a Send> {
        let client_id = event.client_id.as_deref()?;
        self.messages.get(&(&event.sender, client_id)).copied()
    }

    fn changes(&self, message: &str) -> impl Iterator<Item = &'a Send> {
        self.changes.get(message).into_iter().flatten().copied()
    }

    /// What a message may have read at some time: everything that was sent for it.
    fn contents(&self, event: &Event) -> BTreeSet<Option<&'a str>> {
        let first = self.message(event).into_iter();
        let all = first.chain(self.changes(&event.message));
        all.map(|send| send.content.as_deref()).collect()
    }
}

struct Judge<'a> {
    history: &'a History,
    /// By channel.
    sent: HashMap<&'a str, Sends<'a>>,
    found: Vec<Violation>,
}

impl<'a> Judge<'a> {
    fn find(&mut self, rule: Rule, what: String) {
        self.found.push(Violation { rule, what });
    }

    fn channel(&mut self, id: &str, channel: &Channel) {
        let sends = self.sent.remove(id).unwrap_or_default();
        let Some(log) = channel.logs.values().next() else {
            return;
        };
        for (side, other) in &channel.logs {
            if other != log {
                self.find(
                    Rule::SameForAll,
                    format!("{side} reads another log of {id} than the other side"),
                );
            }
            self.order(id, other);
        }
        self.kept(id, channel, log, &sends.all);
        self.invented(id, log, &sends);
        self.real_time(id, &sends.all);
        let items = items(log);
        self.reads_as_sent(id, log, &items, &sends);
        for (side, history) in &channel.histories {
            if *history != items {
                let differs = difference(&items, history);
                self.find(
                    Rule::SameForAll,
                    format!(
                        "history of {id} for {side} is not what the log makes of it: {differs}"
                    ),
                );
            }
        }
        let mut friendships = channel.friendships.values();
        if let Some(one) = friendships.next()
            && let Some(other) = friendships.find(|other| *other != one)
        {
            self.find(Rule::OneFriendship, format!("{one} and {other}"));
        }
        let mut changes = self
            .history
            .changes
            .iter()
            .filter(|change| change.channel == id);
        let last = changes.next_back();
        if let Some(last) = last
            && let Some(end) = channel.friendships.values().next()
            && end["is_open"] != last.is_open
        {
            self.find(
                Rule::OneFriendship,
                format!("the last change of {id} was answered with is_open {}, and in the end it is {end}", last.is_open),
            );
        }
        self.marks(id, channel, log, &sends);
        for device in &self.history.devices {
            self.complete(device, id, channel, &sends);
        }
    }

    /// 1, 2, 3, …
    fn order(&mut self, id: &str, log: &[Event]) {
        let misplaced = log
            .iter()
            .zip(1..)
            .find(|(event, place)| event.seq != *place);
        if let Some((event, place)) = misplaced {
            self.find(
                Rule::OneOrder,
                format!("{} stands at place {place} of {id}", event.seq),
            );
        }
    }

    /// What was acknowledged is there, once.
    fn kept(&mut self, id: &str, channel: &Channel, log: &[Event], sends: &[&Send]) {
        let mut places: BTreeMap<u64, &str> = BTreeMap::new();
        let mut stored: BTreeMap<(&str, &str), u32> = BTreeMap::new();
        for event in log.iter().filter(|event| event.kind == Kind::Message) {
            if let Some(client_id) = &event.client_id {
                *stored.entry((&event.sender, client_id)).or_default() += 1;
            }
        }
        for ((sender, client_id), times) in &stored {
            if *times > 1 {
                self.find(
                    Rule::AckedIsKept,
                    format!("{client_id} of {sender} is {times} times in {id}"),
                );
            }
        }
        for send in sends {
            let name = &send.client_id;
            let mut acks = send.acks().map(|(_, ack)| ack);
            let Some(first) = acks.next() else { continue };
            for again in acks {
                if !is_same(first, again) {
                    self.find(
                        Rule::SameAnswer,
                        format!("{name} was answered {first:?} and {again:?}"),
                    );
                }
            }
            if let Some(other) = places.insert(first.seq, name)
                && other != name
            {
                self.find(
                    Rule::AckedIsKept,
                    format!(
                        "{other} and {name} were both acknowledged as {} of {id}",
                        first.seq
                    ),
                );
            }
            if !channel.members.contains(&send.user) {
                self.find(
                    Rule::OnlyMembers,
                    format!("{} may send to {id}, and is no member", send.user),
                );
            }
            let place = usize::try_from(first.seq).unwrap_or_default();
            let event = place.checked_sub(1).and_then(|place| log.get(place));
            if !event.is_some_and(|event| is_of(event, send, first)) {
                self.find(
                    Rule::AckedIsKept,
                    format!(
                        "{name} was acknowledged as {} of {id}, where {event:?} is",
                        first.seq
                    ),
                );
            }
        }
    }

    /// A message reads as the newest change of it in the log says.
    fn reads_as_sent(&mut self, id: &str, log: &[Event], items: &[Item], sends: &Sends) {
        let mut newest: BTreeMap<&str, &Event> = BTreeMap::new();
        for event in log {
            newest.insert(&event.message, event);
        }
        for item in items {
            let Some(last) = newest.get(item.message.as_str()) else {
                continue;
            };
            let acked = |send: &&Send| send.acks().any(|(_, ack)| ack.seq == last.seq);
            let by = match last.kind {
                Kind::Message => sends.message(last),
                _ => sends.changes(&item.message).find(acked),
            };
            let reads = item.content.as_deref();
            let is_right = match (by, last.kind) {
                (Some(send), _) => reads == send.content.as_deref(),
                (None, Kind::Delete) => reads.is_none(),
                // Nobody was told that it is stored.
                (None, Kind::Edit) => sends
                    .changes(&item.message)
                    .any(|send| send.kind == Kind::Edit && reads == send.content.as_deref()),
                (None, Kind::Message) => true,
            };
            if !is_right {
                self.find(
                    Rule::AckedIsKept,
                    format!(
                        "{} of {id} reads {reads:?} in the end, which is not what {} made of it",
                        item.message, last.seq
                    ),
                );
            }
        }
    }

    /// What is there was sent, and not refused.
    fn invented(&mut self, id: &str, log: &[Event], sends: &Sends) {
        let mut changes: BTreeMap<(&str, Kind), usize> = BTreeMap::new();
        for event in log {
            let sent = match event.kind {
                Kind::Message => sends.message(event),
                kind => {
                    // What was edited later, or deleted, does not show which edit it was.
                    let of_kind = sends
                        .changes(&event.message)
                        .filter(|send| send.kind == kind);
                    let mut possible = of_kind.filter(|send| !send.is_refused());
                    let number = changes.entry((&event.message, kind)).or_default();
                    *number += 1;
                    possible.nth(*number - 1)
                }
            };
            match sent {
                None => self.find(
                    Rule::NothingInvented,
                    format!("nobody sent {event:?} of {id}"),
                ),
                Some(send) if send.is_refused() => self.find(
                    Rule::NothingInvented,
                    format!(
                        "{} was refused, and is {} of {id}: {:?}",
                        send.client_id, event.seq, send.tries
                    ),
                ),
                Some(_) => {}
            }
        }
    }

    /// What was sent after an acknowledgement comes after it.
    fn real_time(&mut self, id: &str, sends: &[&Send]) {
        let mut acked: Vec<(At, u64, &str)> = Vec::new();
        for send in sends {
            acked.extend(
                send.acks()
                    .map(|(at, ack)| (at, ack.seq, send.client_id.as_str())),
            );
        }
        acked.sort_unstable();
        let mut later: Vec<(At, u64, &str)> = sends
            .iter()
            .filter_map(|send| {
                let (_, ack) = send.acks().next()?;
                Some((send.first_sent()?, ack.seq, send.client_id.as_str()))
            })
            .collect();
        later.sort_unstable();
        let mut before = acked.into_iter().peekable();
        let mut highest: Option<(u64, &str)> = None;
        for (sent, seq, name) in later {
            while let Some((_, acked, earlier)) = before.next_if(|(at, ..)| *at < sent) {
                highest = highest.max(Some((acked, earlier)));
            }
            if let Some((newest, earlier)) = highest
                && newest >= seq
                && earlier != name
            {
                self.find(
                    Rule::OneOrder,
                    format!("{name} was sent after {earlier} was acknowledged as {newest} of {id}, and is {seq}"),
                );
            }
        }
    }

    /// Marks are never beyond what had been sent, and end where they were.
    fn marks(&mut self, id: &str, channel: &Channel, log: &[Event], sends: &Sends) {
        let sent = |seq: u64| {
            let place = usize::try_from(seq).ok()?.checked_sub(1)?;
            let event = log.get(place).filter(|event| event.kind == Kind::Message)?;
            sends.message(event)?.first_sent()
        };
        let newest = log.len() as u64;
        for device in &self.history.devices {
            for sight in device.sights.iter().filter(|sight| sight.channel == id) {
                let Seen::Marks {
                    user,
                    received,
                    seen,
                } = &sight.seen
                else {
                    continue;
                };
                let furthest = (*received).max(*seen);
                let is_ahead = sent(furthest).is_some_and(|sent| sent > sight.at);
                if furthest > newest || is_ahead {
                    self.find(
                        Rule::MarksMoveForward,
                        format!(
                            "{} was told that {user} has {furthest} of {id}, which did not exist",
                            device.name
                        ),
                    );
                }
                // `resumed` tells the friend's marks without the friend's name.
                let is_own = *user == device.user;
                let mut of = channel.marks.iter();
                let end = of.find(|(of, _)| (**of == device.user) == is_own);
                let (end_received, end_seen) = end.map_or((u64::MAX, u64::MAX), |(_, end)| *end);
                if *received > end_received || *seen > end_seen {
                    self.find(Rule::MarksMoveForward, format!("{} was told {received} and {seen} of {user} in {id}, and in the end it is {end_received} and {end_seen}", device.name));
                }
            }
        }
    }

    fn device(&mut self, device: &Device) {
        let name = &device.name;
        let mut marks: BTreeMap<(&str, bool), (u64, u64)> = BTreeMap::new();
        for sight in &device.sights {
            let channel = sight.channel.as_str();
            let is_member = self
                .history
                .channels
                .get(channel)
                .is_none_or(|known| known.members.contains(&device.user));
            if !is_member {
                self.find(
                    Rule::OnlyMembers,
                    format!("{name} was shown {:?} of {channel}", sight.seen),
                );
            }
            if let Seen::Marks {
                user,
                received,
                seen,
            } = &sight.seen
            {
                let before = marks.entry((channel, *user == device.user)).or_default();
                if *received < before.0 || *seen < before.1 {
                    self.find(
                        Rule::MarksMoveForward,
                        format!("{name} was told {before:?} of {user} in {channel}, and then {received} and {seen}"),
                    );
                }
                *before = (before.0.max(*received), before.1.max(*seen));
            }
        }
        self.seams(device);
        self.promptness(device);
        self.availability(device);
        self.closings(device);
    }

    /// On a connection a channel's entries come in order, each once, from where it resumed.
    fn seams(&mut self, device: &Device) {
        let mut next: BTreeMap<(Source, &str), u64> = BTreeMap::new();
        for sight in &device.sights {
            let key = (sight.source, sight.channel.as_str());
            match &sight.seen {
                Seen::Resumed { from } => {
                    next.insert(key, from + 1);
                }
                Seen::Resync { newest } => {
                    next.insert(key, newest + 1);
                }
                // What comes after it opened again is another beginning.
                Seen::Closed => {
                    next.remove(&key);
                }
                Seen::Event(event) if sight.source != Source::Http => {
                    if let Some(expected) = next.get(&key)
                        && event.seq != *expected
                    {
                        self.find(
                            Rule::NoSeam,
                            format!(
                                "{} on {:?} at {:.3} s: {} of {} came where {expected} was due",
                                device.name,
                                sight.source,
                                sight.at.as_secs_f64(),
                                event.seq,
                                sight.channel
                            ),
                        );
                    }
                    next.insert(key, event.seq + 1);
                }
                _ => {}
            }
        }
    }

    /// In the end the device has the log, and had nothing else meanwhile.
    fn complete(&mut self, device: &Device, id: &str, channel: &Channel, sends: &Sends) {
        let Some(log) = channel.logs.get(&device.user) else {
            return;
        };
        let mut had: BTreeMap<u64, Vec<&Event>> = BTreeMap::new();
        for sight in device.sights.iter().filter(|sight| sight.channel == id) {
            if let Seen::Event(event) = &sight.seen {
                had.entry(event.seq).or_default().push(event);
            }
        }
        let mut missing = Vec::new();
        for event in log {
            let Some(shown) = had.remove(&event.seq) else {
                missing.push(event.seq);
                continue;
            };
            // As the message was then, or as something later made it.
            let contents = sends.contents(event);
            for one in shown {
                let is_same = (one.kind, &one.message, &one.sender)
                    == (event.kind, &event.message, &event.sender);
                if !is_same || !contents.contains(&one.content.as_deref()) {
                    self.find(
                        Rule::SameForAll,
                        format!(
                            "{} was shown {one:?}, and the log of {id} has {event:?}",
                            device.name
                        ),
                    );
                }
            }
        }
        if let (Some(first), Some(last)) = (missing.first(), missing.last())
            && !device.is_partial
        {
            self.find(
                Rule::NoSeam,
                format!(
                    "{} never had {} entries between {first} and {last} of {id}",
                    device.name,
                    missing.len()
                ),
            );
        }
        for (seq, events) in had {
            self.find(
                Rule::NothingInvented,
                format!(
                    "{} was shown {seq} of {id}: {events:?}, which is not in the log",
                    device.name
                ),
            );
        }
    }

    /// Nothing later than the second after a rejection, or after the end of a session.
    fn promptness(&mut self, device: &Device) {
        if let Some(out) = device.ended {
            let shown = device
                .sights
                .iter()
                .filter(|sight| sight.source != Source::Http);
            let shown = shown.map(|sight| (sight.came, format!("{:?}", sight.seen)));
            let connected = device
                .connected
                .iter()
                .map(|at| (*at, "a connection".to_owned()));
            let acked = device.sends.iter().flat_map(|send| {
                let tries = send.tries.iter().filter(move |one| one.sent > out + PROMPT);
                tries.filter_map(|one| match &one.answer {
                    Some((at, Answer::Acked(_))) => {
                        Some((*at, format!("an ack of {}", send.client_id)))
                    }
                    _ => None,
                })
            });
            let first = shown
                .chain(connected)
                .chain(acked)
                .chain(device.let_in.iter().cloned())
                .find(|(at, _)| self.history.is_late(out, *at));
            if let Some((at, what)) = first {
                self.find(
                    Rule::Prompt,
                    format!(
                        "{} had ended at {:.3} s and had {what} at {:.3} s",
                        device.name,
                        out.as_secs_f64(),
                        at.as_secs_f64()
                    ),
                );
            }
        }
        for (closed, opened, channel) in self.closed_times() {
            let is_late = |at: At| at < opened && self.history.is_late(closed, at);
            let shown = device.sights.iter().find(|sight| {
                sight.channel == channel
                    && sight.source != Source::Http
                    && is_late(sight.came)
                    && matches!(sight.seen, Seen::Event(_) | Seen::Typing)
            });
            if let Some(sight) = shown {
                self.find(
                    Rule::Prompt,
                    format!(
                        "{channel} was closed at {:.3} s, and {} was shown {:?} at {:.3} s",
                        closed.as_secs_f64(),
                        device.name,
                        sight.seen,
                        sight.came.as_secs_f64()
                    ),
                );
            }
            for send in device.sends.iter().filter(|send| send.channel == channel) {
                let begun = send.first_sent();
                let accepted = send
                    .acks()
                    .find(|(at, _)| begun.is_some_and(is_late) && *at < opened);
                if let Some((at, _)) = accepted {
                    self.find(
                        Rule::Prompt,
                        format!(
                            "{channel} was closed at {:.3} s, and {} was acknowledged at {:.3} s",
                            closed.as_secs_f64(),
                            send.client_id,
                            at.as_secs_f64()
                        ),
                    );
                }
            }
        }
    }

    /// From when to when a channel was certainly closed.
    fn closed_times(&self) -> Vec<(At, At, &'a str)> {
        let mut times = Vec::new();
        let mut closed: BTreeMap<&str, At> = BTreeMap::new();
        for change in &self.history.changes {
            if !change.is_open {
                closed.entry(&change.channel).or_insert(change.answered);
            } else if let Some(since) = closed.remove(change.channel.as_str()) {
                times.push((since, change.asked, change.channel.as_str()));
            }
        }
        times.extend(
            closed
                .into_iter()
                .map(|(channel, since)| (since, At::MAX, channel)),
        );
        times
    }

    fn availability(&mut self, device: &Device) {
        let closed = self.closed_times();
        for (at, channel) in &device.unavailable {
            let then: Vec<&Fault> = self
                .history
                .faults
                .iter()
                .filter(|fault| overlaps(fault, *at, *at))
                .collect();
            // While a replica does not answer, nobody can say that a closed channel stays closed.
            let is_closed = closed.iter().any(|(from, to, closed)| {
                let until = to.saturating_add(PROMPT);
                channel.as_deref() == Some(*closed) && (*from..=until).contains(at)
            });
            let is_struck = !then.is_empty() && (is_closed || leave_nobody(&then));
            if !is_struck && !stood_still(&self.history.stalls, *at) {
                self.find(
                    Rule::Available,
                    format!(
                        "{} was told unavailable at {:.3} s",
                        device.name,
                        at.as_secs_f64()
                    ),
                );
            }
        }
    }
}

impl Judge<'_> {
    /// A service says 503 while something is down, and never anything like 500.
    fn failure(&mut self, failure: &Failure) {
        let rule = if failure.status == 503 {
            Rule::Available
        } else {
            Rule::NoInternalError
        };
        if rule == Rule::NoInternalError || self.must_serve(failure.at) {
            let at = failure.at.as_secs_f64();
            self.find(rule, format!("at {at:.3} s {}", failure.what));
        }
    }

    /// Whether nothing is struck at all, and the machine does what it is asked.
    fn must_serve(&self, at: At) -> bool {
        self.history.is_calm(at) && !stood_still(&self.history.stalls, at)
    }

    /// A gateway closes for lack of something (1013), or of a client that reads too slowly (4008), only
    /// if there is such a lack, or such a client.
    fn closings(&mut self, device: &Device) {
        for (at, code) in &device.closed {
            let mut pauses = device.pauses.iter();
            let is_slow = pauses.any(|(from, to)| from <= at && *to + SETTLED >= *at);
            let is_right = match code {
                1013 => false,
                4008 => is_slow,
                _ => true,
            };
            if !is_right && self.must_serve(*at) {
                self.find(
                    Rule::Available,
                    format!(
                        "{} was closed with {code} at {:.3} s",
                        device.name,
                        at.as_secs_f64()
                    ),
                );
            }
        }
    }
}

impl History {
    /// Whether a fault held, or had just ended, in this time.
    fn is_disturbed(&self, from: At, to: At) -> bool {
        let mut faults = self.faults.iter();
        faults.any(|fault| overlaps(fault, from, to))
    }

    /// Whether something that ended at `end` is seen too late at `at`: the second is over, all the time
    /// that the machine kept somebody from running is added to it, and no fault has held meanwhile or
    /// just before.
    fn is_late(&self, end: At, at: At) -> bool {
        if at <= end + PROMPT {
            return false;
        }
        let late = PROMPT + stalled(&self.stalls, end, at);
        at > end + late && !self.is_disturbed(at - late, at)
    }

    /// Whether everything must work at this time.
    pub fn is_calm(&self, at: At) -> bool {
        !self.is_disturbed(at, at)
    }
}

/// Whether these faults together may keep somebody from being served: one strikes what there is no
/// other of, or two strike both replicas of a service.
fn leave_nobody(faults: &[&Fault]) -> bool {
    let mut struck: BTreeMap<&str, &str> = BTreeMap::new();
    faults.iter().any(|fault| match fault.covered.as_deref() {
        None => true,
        Some(replica) => {
            let service = replica.trim_end_matches("-2");
            *struck.entry(service).or_insert(replica) != replica
        }
    })
}

fn overlaps(fault: &Fault, from: At, to: At) -> bool {
    fault.from <= to && fault.to + SETTLED >= from
}

fn is_same(one: &Ack, other: &Ack) -> bool {
    (&one.message, one.seq, &one.created_at) == (&other.message, other.seq, &other.created_at)
}

/// Whether an entry is what a send was acknowledged as.
fn is_of(event: &Event, send: &Send, ack: &Ack) -> bool {
    let is_kind =
        event.kind == send.kind && event.message == ack.message && event.sender == send.user;
    is_kind
        && match send.kind {
            Kind::Message => event.client_id.as_ref() == Some(&send.client_id),
            Kind::Edit | Kind::Delete => send.target.as_ref() == Some(&event.message),
        }
}

/// History as the log makes it: each message at its place, as it reads now.
fn items(log: &[Event]) -> Vec<Item> {
    let mut items: BTreeMap<&str, Item> = BTreeMap::new();
    for event in log {
        match event.kind {
            Kind::Message => {
                let item = Item {
                    seq: event.seq,
                    message: event.message.clone(),
                    client_id: event.client_id.clone(),
                    content: event.content.clone(),
                    is_deleted: false,
                };
                items.insert(&event.message, item);
            }
            Kind::Edit => {
                if let Some(item) = items.get_mut(event.message.as_str()) {
                    item.content.clone_from(&event.content);
                }
            }
            Kind::Delete => {
                if let Some(item) = items.get_mut(event.message.as_str()) {
                    item.content = None;
                    item.is_deleted = true;
                }
            }
        }
    }
    let mut items: Vec<Item> = items.into_values().collect();
    items.sort_by_key(|item| item.seq);
    items
}

/// The first place at which two histories differ.
fn difference(one: &[Item], other: &[Item]) -> String {
    let differs = one.iter().zip(other).find(|(one, other)| one != other);
    match differs {
        Some((one, other)) => format!("{one:?} and {other:?}"),
        None => format!("{} and {} messages", one.len(), other.len()),
    }
}
