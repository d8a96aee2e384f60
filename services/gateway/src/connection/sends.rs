//! A connection's sends, and marks that must be looked up, on their way to the messages service.
//!
//! Of each channel one request is on its way at a time, so the order in which a client sent is the
//! order of the log, whichever replica stores what; what comes meanwhile goes with the next one,
//! together. Waiting here does not count towards [`ANSWER_TIMEOUT`]: a client that sends faster
//! than its frames are stored is read more slowly. When a request has no answer, what waits behind
//! it is given back too: stored without that request it would be out of order.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use natter_bus::{Ask, Bus, Message, RequestError, Verdict, request_span};
use natter_protocol::{
    FriendshipId,
    call::{Mark, MarkReply, OneOrMore, Refusal, SendMedia, SendReply, SendRequest, SendWhat},
    subject,
};
use tokio::time::Instant;
use tracing::Instrument;

/// Frames that wait for their answer; past it nothing more is read from the client.
const MAX_PENDING: usize = 256;
/// The most text of one request, in bytes: the broker takes 1 MiB, and JSON may need six bytes for
/// one.
const MAX_REQUEST_BYTES: usize = 128 * 1024;
/// What a file has beside its name: ids, type and digest.
const MEDIA_BYTES: usize = 256;
/// From a request to its answer, whatever happens.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(2_500);

/// Which frame an answer is for.
#[derive(Clone, Debug)]
pub struct Question {
    pub channel: FriendshipId,
    /// The frame's type.
    pub answers: &'static str,
    pub client_id: Option<String>,
    /// The files that go with it.
    pub media: Vec<SendMedia>,
}

pub enum Answered {
    Send(Question, SendReply),
    Mark(Question, MarkReply),
}

#[derive(Default)]
pub struct Sends {
    /// A channel is here while a request of it is on its way.
    lines: HashMap<FriendshipId, Line>,
    on_their_way: FuturesUnordered<BoxFuture<'static, Arrived>>,
    /// Answered, and not yet taken.
    answered: VecDeque<Answered>,
    pending: usize,
}

/// What waits behind a request.
#[derive(Default)]
struct Line {
    waiting: VecDeque<Pending>,
    /// A replica of the previous version answered: it knows no arrays.
    one_by_one: bool,
}

struct Pending {
    question: Question,
    send: SendRequest,
    since: Instant,
}

impl Pending {
    fn bytes(&self) -> usize {
        match &self.send.what {
            SendWhat::Message { payload, media, .. } => {
                let names = media.iter().filter_map(|item| item.new.as_ref());
                let names: usize = names.map(|new| new.filename.len()).sum();
                payload.len() + names + media.len() * MEDIA_BYTES
            }
            SendWhat::Edit { payload, .. } => payload.len(),
            SendWhat::Delete { .. } => 0,
        }
    }
}

enum Arrived {
    Sends(FriendshipId, Vec<Pending>, Option<OneOrMore<SendReply>>),
    Mark(Question, MarkReply),
}

impl Sends {
    pub fn has_room(&self) -> bool {
        self.pending < MAX_PENDING
    }

    pub fn is_empty(&self) -> bool {
        self.pending == 0
    }

    pub fn send(&mut self, bus: &Bus, question: Question, send: SendRequest) {
        self.pending += 1;
        let channel = question.channel;
        let pending = Pending {
            question,
            send,
            since: Instant::now(),
        };
        match self.lines.get_mut(&channel) {
            Some(line) => line.waiting.push_back(pending),
            None => {
                self.lines.insert(channel, Line::default());
                let request = request(bus.clone(), channel, vec![pending]);
                self.on_their_way.push(request);
            }
        }
    }

    pub fn mark(&mut self, bus: &Bus, question: Question, mark: Mark) {
        self.pending += 1;
        let bus = bus.clone();
        self.on_their_way.push(Box::pin(async move {
            let deadline = Instant::now() + ANSWER_TIMEOUT;
            let subject = subject::mark(question.channel);
            let reply = bus
                .request(&subject, &mark, Ask::Any, deadline)
                .instrument(request_span(subject::ALL_MARKS, &subject, 1))
                .await;
            let reply = reply.unwrap_or(MarkReply::Refused(Refusal::Unavailable));
            Arrived::Mark(question, reply)
        }));
    }

    /// The next answer; `None` only while nothing is asked.
    pub async fn next(&mut self, bus: &Bus) -> Option<Answered> {
        loop {
            if let Some(answered) = self.next_ready() {
                return Some(answered);
            }
            match self.on_their_way.next().await? {
                Arrived::Mark(question, reply) => {
                    self.answered.push_back(Answered::Mark(question, reply));
                }
                Arrived::Sends(channel, asked, replies) => {
                    self.arrived(channel, asked, replies);
                    self.send_next(bus, channel);
                }
            }
        }
    }

    /// An answer that is here already.
    pub fn next_ready(&mut self) -> Option<Answered> {
        let answered = self.answered.pop_front()?;
        self.pending -= 1;
        Some(answered)
    }

    fn arrived(
        &mut self,
        channel: FriendshipId,
        asked: Vec<Pending>,
        replies: Option<OneOrMore<SendReply>>,
    ) {
        let unavailable = SendReply::Refused(Refusal::Unavailable);
        let replies = match replies {
            Some(OneOrMore::More(replies)) if replies.len() == asked.len() => replies,
            Some(OneOrMore::One(reply)) if asked.len() == 1 => vec![reply],
            Some(OneOrMore::One(_)) => {
                let line = self.lines.entry(channel).or_default();
                line.one_by_one = true;
                for pending in asked.into_iter().rev() {
                    line.waiting.push_front(pending);
                }
                return;
            }
            _ => vec![unavailable.clone(); asked.len()],
        };
        let mut is_broken = false;
        for (pending, reply) in asked.into_iter().zip(replies) {
            metrics::histogram!("send_to_ack_seconds").record(pending.since.elapsed());
            is_broken |= reply == unavailable;
            self.answered
                .push_back(Answered::Send(pending.question, reply));
        }
        if is_broken && let Some(line) = self.lines.get_mut(&channel) {
            let back = line.waiting.drain(..);
            let back = back.map(|pending| Answered::Send(pending.question, unavailable.clone()));
            self.answered.extend(back);
        }
    }

    /// Sends what waits behind a request that was answered.
    fn send_next(&mut self, bus: &Bus, channel: FriendshipId) {
        let Some(line) = self.lines.get_mut(&channel) else {
            return;
        };
        let mut next = Vec::new();
        let mut bytes = 0;
        while let Some(pending) = line.waiting.pop_front() {
            bytes += pending.bytes();
            if !next.is_empty() && (line.one_by_one || bytes > MAX_REQUEST_BYTES) {
                line.waiting.push_front(pending);
                break;
            }
            next.push(pending);
        }
        if next.is_empty() {
            self.lines.remove(&channel);
        } else {
            self.on_their_way.push(request(bus.clone(), channel, next));
        }
    }
}

fn request(
    bus: Bus,
    channel: FriendshipId,
    mut asked: Vec<Pending>,
) -> BoxFuture<'static, Arrived> {
    let subject = subject::send(channel);
    let span = request_span(subject::ALL_SENDS, &subject, asked.len());
    let request = async move {
        let replies = match ask(&bus, &subject, &mut asked).await {
            Ok(replies) => Some(replies),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    %channel,
                    "sends have no answer"
                );
                None
            }
        };
        Arrived::Sends(channel, asked, replies)
    };
    Box::pin(request.instrument(span))
}

async fn ask(
    bus: &Bus,
    subject: &str,
    asked: &mut [Pending],
) -> Result<OneOrMore<SendReply>, RequestError> {
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    // Two replicas would store a send without a `client_id` twice.
    let is_named = |pending: &Pending| pending.send.client_id.is_some();
    let ask = if asked.iter().all(is_named) {
        Ask::Any
    } else {
        Ask::One
    };
    let json = match asked {
        [only] => serde_json::to_vec(&only.send),
        all => serde_json::to_vec(&all.iter().map(|one| &one.send).collect::<Vec<_>>()),
    };
    let json = json.map_err(RequestError::Encode)?;
    bus.ask(subject, json.into(), ask, deadline, read).await
}

/// Answers to sends, and what they say of sends that another replica may have, or get. After
/// `ChannelClosed` it may store them: the channel may be open again when it gets to them.
fn read(reply: Message) -> Result<(OneOrMore<SendReply>, Verdict), RequestError> {
    let replies = OneOrMore::from_json(&reply.payload).map_err(RequestError::Reply)?;
    let all = replies.as_slice();
    let has = |refusal| all.contains(&SendReply::Refused(refusal));
    let verdict = if has(Refusal::ChannelClosed) {
        Verdict::Open
    } else if has(Refusal::Unavailable) {
        Verdict::Unable
    } else {
        Verdict::Final
    };
    Ok((replies, verdict))
}
