//! A connection's sends and marks on their way to the messages service.
//!
//! Of each channel one send is on its way at a time, so the order in which a client sent is the
//! order of the log, whichever replica stores what. When one has no answer, those that wait behind it
//! are given back too: stored without it they would be out of order.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use natter_bus::Bus;
use natter_protocol::{
    FriendshipId,
    call::{Mark, MarkReply, Refusal, Send, SendMedia, SendReply},
    subject,
};
use tokio::time::Instant;
use tracing::Instrument;

/// Frames that wait for their answer; past it nothing more is read from the client.
const MAX_PENDING: usize = 64;
/// From the frame's arrival to its answer, whatever happens.
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
    /// A channel is here while a send of it is on its way; the value are those behind it.
    behind: HashMap<FriendshipId, VecDeque<Pending>>,
    on_their_way: FuturesUnordered<BoxFuture<'static, Answered>>,
    /// Given back without having been sent.
    given_back: VecDeque<Answered>,
    pending: usize,
}

struct Pending {
    question: Question,
    send: Send,
    deadline: Instant,
}

impl Sends {
    pub fn has_room(&self) -> bool {
        self.pending < MAX_PENDING
    }

    pub fn is_empty(&self) -> bool {
        self.pending == 0
    }

    pub fn send(&mut self, bus: &Bus, question: Question, send: Send) {
        self.pending += 1;
        let channel = question.channel;
        let pending = Pending {
            question,
            send,
            deadline: Instant::now() + ANSWER_TIMEOUT,
        };
        match self.behind.get_mut(&channel) {
            Some(behind) => behind.push_back(pending),
            None => {
                self.behind.insert(channel, VecDeque::new());
                self.on_their_way.push(pending.request(bus.clone()));
            }
        }
    }

    pub fn mark(&mut self, bus: &Bus, question: Question, mark: Mark) {
        self.pending += 1;
        let bus = bus.clone();
        self.on_their_way.push(Box::pin(async move {
            let deadline = Instant::now() + ANSWER_TIMEOUT;
            let subject = subject::mark(question.channel);
            let reply = bus.request(&subject, &mark, deadline).await;
            let reply = reply.unwrap_or(MarkReply::Refused(Refusal::Unavailable));
            Answered::Mark(question, reply)
        }));
    }

    /// The next answer; `None` only while nothing is asked.
    pub async fn next(&mut self, bus: &Bus) -> Option<Answered> {
        let answered = match self.given_back.pop_front() {
            Some(answered) => answered,
            None => {
                let answered = self.on_their_way.next().await?;
                if let Answered::Send(question, reply) = &answered {
                    self.go_on(bus, question.channel, reply);
                }
                answered
            }
        };
        self.pending -= 1;
        Some(answered)
    }

    /// Sends what waits behind a send that was answered, or gives all of it back.
    fn go_on(&mut self, bus: &Bus, channel: FriendshipId, reply: &SendReply) {
        let Some(behind) = self.behind.get_mut(&channel) else {
            return;
        };
        if *reply == SendReply::Refused(Refusal::Unavailable) {
            let back = behind.drain(..).map(|pending| {
                Answered::Send(pending.question, SendReply::Refused(Refusal::Unavailable))
            });
            self.given_back.extend(back);
        }
        match behind.pop_front() {
            Some(next) => self.on_their_way.push(next.request(bus.clone())),
            None => {
                self.behind.remove(&channel);
            }
        }
    }
}

impl Pending {
    fn request(self, bus: Bus) -> BoxFuture<'static, Answered> {
        let span = tracing::info_span!(
            "send",
            otel.kind = "client",
            channel = %self.question.channel,
            frame = self.question.answers,
        );
        let request = async move {
            let started = Instant::now();
            let subject = subject::send(self.question.channel);
            let reply = bus.request(&subject, &self.send, self.deadline).await;
            metrics::histogram!("send_to_ack_seconds").record(started.elapsed());
            let reply = reply.unwrap_or_else(|error| {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a send has no answer"
                );
                SendReply::Refused(Refusal::Unavailable)
            });
            Answered::Send(self.question, reply)
        };
        Box::pin(request.instrument(span))
    }
}
