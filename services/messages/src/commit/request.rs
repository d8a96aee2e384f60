//! What waits to be stored, and how it is answered.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use natter_bus::{Bus, HeaderMap, Message as BusMessage, process_span};
use natter_protocol::{
    FriendshipId,
    call::{OneOrMore, Refusal, SendReply, SendRequest},
    subject,
};
use tokio::{sync::oneshot, time::Instant};
use tracing::Span;

use super::plain::is_plain;

/// How long a caller waits: as long as a gateway waits for the answer to a request.
const PATIENCE: Duration = Duration::from_millis(2_500);

/// The sends of one channel and one sender, in their order.
pub struct Request {
    pub channel: FriendshipId,
    pub sends: Vec<SendRequest>,
    /// What each is answered, as far as it is known.
    pub replies: Vec<Option<SendReply>>,
    /// When the caller stops waiting.
    pub until: Instant,
    /// When the request came.
    pub since: Instant,
    /// The friendships service was asked about the channel already.
    pub confirmed: bool,
    pub answer: Answer,
    /// The span of the request, which ends with the answer.
    pub span: Span,
}

/// Where the answer goes.
pub enum Answer {
    /// Over NATS; as an array if the request was one.
    Bus(BusMessage, bool),
    Task(oneshot::Sender<SendReply>),
}

impl Request {
    pub fn new(channel: FriendshipId, sends: Vec<SendRequest>, answer: Answer) -> Self {
        let since = Instant::now();
        Self {
            channel,
            replies: vec![None; sends.len()],
            sends,
            until: since + PATIENCE,
            since,
            confirmed: false,
            span: match &answer {
                Answer::Bus(asked, _) => process_span(subject::ALL_SENDS, asked),
                Answer::Task(_) => Span::current(),
            },
            answer,
        }
    }

    /// The sends without an answer yet, with their places.
    pub fn open(&self) -> impl Iterator<Item = (usize, &SendRequest)> {
        let sends = self.sends.iter().enumerate();
        sends.filter(|(place, _)| self.replies[*place].is_none())
    }

    pub fn is_done(&self) -> bool {
        self.replies.iter().all(Option::is_some)
    }

    /// Sends the answer; what has no answer yet is refused.
    pub async fn answer(self, bus: &Bus) {
        let replies = self.replies.into_iter();
        let mut replies = replies
            .map(|reply| reply.unwrap_or(SendReply::Refused(Refusal::Unavailable)))
            .collect::<Vec<_>>();
        // The caller may be gone; entries that were stored stay.
        match self.answer {
            Answer::Task(answer) => {
                if let Some(reply) = replies.pop() {
                    let _ = answer.send(reply);
                }
            }
            // A replica asked through `again.…` does not answer `unavailable`: the replica that was
            // asked first may still succeed.
            Answer::Bus(asked, _)
                if subject::is_again(&asked.subject)
                    && replies.contains(&SendReply::Refused(Refusal::Unavailable)) => {}
            Answer::Bus(asked, is_array) => {
                let replies = if is_array {
                    OneOrMore::More(replies)
                } else {
                    OneOrMore::of(replies)
                };
                match replies.to_json() {
                    Ok(json) => bus.answer(&asked, HeaderMap::new(), json.into()).await,
                    Err(error) => tracing::error!(%error, "an answer cannot be encoded"),
                }
            }
        }
    }
}

/// The requests of channels in which only plain messages wait, none of them twice; and the other
/// requests.
pub fn split(batch: Vec<Request>) -> (Vec<Request>, Vec<Request>) {
    let mut keys = HashSet::new();
    let mut planned = HashSet::new();
    for request in &batch {
        for (_, send) in request.open() {
            let is_repeated = send
                .client_id
                .as_ref()
                .is_some_and(|id| !keys.insert((request.channel, send.sender, id.as_str())));
            if !is_plain(send) || is_repeated {
                planned.insert(request.channel);
            }
        }
    }
    drop(keys);
    let is_unplanned = |request: &Request| !planned.contains(&request.channel);
    batch.into_iter().partition(is_unplanned)
}

/// The requests of each channel.
pub fn by_channel(batch: Vec<Request>) -> Vec<Vec<Request>> {
    let mut channels: HashMap<FriendshipId, Vec<Request>> = HashMap::new();
    for request in batch {
        channels.entry(request.channel).or_default().push(request);
    }
    channels.into_values().collect()
}
