//! Requests: sent to one replica of a service, and to all of them when that one does not answer.
//!
//! Replies come to one subscription, whose subjects carry the number of the request. async-nats has
//! a `Multiplexer` for that too, but (0.51) it keeps a request without a reply for ever, and cannot
//! send a request twice and take either reply.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::{Client, Message, StatusCode};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::FusedFuture};
use natter_protocol::subject;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep, timeout_at},
};

use crate::{Bus, trace};

/// How long a request waits before it is asked of every replica: the one that got it may be frozen,
/// or gone. Longer while answers are slow in general: asking every replica would overload a busy
/// service.
const AGAIN_AFTER: Duration = Duration::from_millis(400);
const LATEST_AGAIN: Duration = Duration::from_millis(1_000);
/// A request is asked again after this many times the usual time of an answer, within these limits.
const UNUSUAL: u32 = 4;
/// Pause before a request that nobody was there to answer is tried again, within its deadline.
const NO_RESPONDER_PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("nobody answered in time")]
    Timeout,
    #[error("a replica could not do it, and another may still do it")]
    Undecided,
    #[error("the request could not be sent")]
    Send(#[source] async_nats::PublishError),
    #[error("the reply cannot be read")]
    Reply(#[source] serde_json::Error),
    #[error("the request cannot be encoded")]
    Encode(#[source] serde_json::Error),
}

/// Who may answer a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// One replica: asked twice, the work would be done twice.
    One,
    /// One replica, and after a moment without an answer every one: the work is done once
    /// however often it is asked for.
    Any,
}

/// What a reply says of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is decided.
    Final,
    /// The replica refused it. Another that has it may still do it.
    Open,
    /// The replica cannot do it now. Another may.
    Unable,
}

/// The replies that are waited for.
pub(crate) struct Replies {
    /// What the subjects of replies start with.
    prefix: String,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Message>>>,
    next: AtomicU64,
    /// How long answers take, in microseconds: a moving average.
    usual: AtomicU64,
}

impl Replies {
    /// When a request without an answer is asked again.
    fn again_after(&self) -> Duration {
        let usual = Duration::from_micros(self.usual.load(Ordering::Relaxed));
        (UNUSUAL * usual).clamp(AGAIN_AFTER, LATEST_AGAIN)
    }

    fn note(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let usual = self.usual.load(Ordering::Relaxed);
        // Two requests may overwrite each other's average here: it stays near enough.
        let usual = (usual * 15 + took.min(10_000_000)) / 16;
        self.usual.store(usual, Ordering::Relaxed);
    }

    /// Listens for replies until the connection's last user is gone.
    pub async fn start(client: &Client) -> Result<Arc<Self>, async_nats::SubscribeError> {
        let replies = Arc::new(Self {
            prefix: client.new_inbox(),
            waiting: Mutex::default(),
            next: AtomicU64::new(0),
            usual: AtomicU64::new(0),
        });
        let mut received = client.subscribe(format!("{}.*", replies.prefix)).await?;
        let taking = Arc::downgrade(&replies);
        tokio::spawn(async move {
            while let Some(reply) = received.next().await {
                let Some(replies) = taking.upgrade() else {
                    return;
                };
                replies.take(reply);
            }
        });
        Ok(replies)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Message>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, reply: Message) {
        let number = reply.subject.rsplit('.').next();
        let Some(number) = number.and_then(|number| number.parse().ok()) else {
            return;
        };
        let waiting = self.waiting().remove(&number);
        // A reply that nobody waits for any more came too late.
        if let Some(waiting) = waiting {
            let _ = waiting.send(reply);
        }
    }

    /// A place for one reply.
    pub fn expect(self: &Arc<Self>) -> Reply {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.waiting().insert(number, sender);
        Reply {
            replies: self.clone(),
            number,
            receiver,
        }
    }
}

/// A reply that is waited for. Once this is dropped, nothing is kept for it.
pub(crate) struct Reply {
    replies: Arc<Replies>,
    number: u64,
    receiver: oneshot::Receiver<Message>,
}

impl Reply {
    /// The subject to which the reply is to be sent.
    pub fn inbox(&self) -> String {
        format!("{}.{}", self.replies.prefix, self.number)
    }

    /// Waits for the reply until `by`.
    pub async fn by(&mut self, by: Instant) -> Option<Message> {
        timeout_at(by, &mut self.receiver).await.ok()?.ok()
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.replies.waiting().remove(&self.number);
    }
}

/// Whether the reply is the server's word that nobody is subscribed to the request's subject (NATS:
/// *no responders*).
pub(crate) fn is_unheard(reply: &Message) -> bool {
    reply.status == Some(StatusCode::NO_RESPONDERS)
}

impl Bus {
    /// Sends a request and waits for its reply until `deadline`. While nobody is subscribed (a
    /// service restarts, or has not reconnected to the broker yet) the request is sent again.
    pub async fn request<R: DeserializeOwned>(
        &self,
        subject: &str,
        payload: &impl Serialize,
        ask: Ask,
        deadline: Instant,
    ) -> Result<R, RequestError> {
        let payload = serde_json::to_vec(payload).map_err(RequestError::Encode)?;
        self.ask(subject, payload.into(), ask, deadline, |reply| {
            let reply = serde_json::from_slice(&reply.payload).map_err(RequestError::Reply)?;
            Ok((reply, Verdict::Final))
        })
        .await
    }

    /// The same with a payload that is encoded already, and with `read` that says what a reply says
    /// of the request. Where one replica is [`Verdict::Unable`], every one is asked at once. Once
    /// more than one has the request, a reply that leaves it [`Verdict::Open`] becomes
    /// [`RequestError::Undecided`].
    pub async fn ask<R>(
        &self,
        subject: &str,
        payload: Bytes,
        ask: Ask,
        deadline: Instant,
        read: impl Fn(Message) -> Result<(R, Verdict), RequestError>,
    ) -> Result<R, RequestError> {
        let is_unable = Notify::new();
        let is_asked_again = AtomicBool::new(false);
        let first = self.ask_until_heard(subject, payload.clone(), deadline);
        let again = async {
            match ask {
                Ask::One => std::future::pending().await,
                Ask::Any => tokio::select! {
                    () = sleep(self.replies.again_after()) => {}
                    () = is_unable.notified() => {}
                },
            }
            is_asked_again.store(true, Ordering::Relaxed);
            self.ask_once(&subject::again(subject), payload.clone(), deadline)
                .await
        };
        let (first, again) = (first.fuse(), again.fuse());
        tokio::pin!(first, again);
        let asked = Instant::now();
        let mut unable = None;
        let answer = loop {
            tokio::select! {
                biased;
                reply = &mut first => {
                    self.replies.note(asked.elapsed());
                    match reply.and_then(&read) {
                        Ok(answer @ (_, Verdict::Unable))
                            if ask == Ask::Any && !again.is_terminated() =>
                        {
                            unable = Some(answer);
                            is_unable.notify_one();
                        }
                        answer => break answer,
                    }
                }
                reply = &mut again => match (reply, unable.take()) {
                    (Ok(Some(reply)), _) => break read(reply),
                    (_, Some(unable)) => break Ok(unable),
                    // Only a reply ends the wait here: nobody may be subscribed (replicas of the
                    // previous version are not), and a replica that cannot do it does not reply.
                    _ => {}
                },
            }
        };
        let is_asked_again = is_asked_again.load(Ordering::Relaxed);
        let answer = match answer {
            Ok((_, Verdict::Open)) if is_asked_again => Err(RequestError::Undecided),
            answer => answer.map(|(answer, _)| answer),
        };
        if answer.is_err() {
            trace::failed();
        }
        answer
    }

    async fn ask_until_heard(
        &self,
        subject: &str,
        payload: Bytes,
        deadline: Instant,
    ) -> Result<Message, RequestError> {
        loop {
            if let Some(reply) = self.ask_once(subject, payload.clone(), deadline).await? {
                return Ok(reply);
            }
            if Instant::now() + NO_RESPONDER_PAUSE >= deadline {
                return Err(RequestError::Timeout);
            }
            sleep(NO_RESPONDER_PAUSE).await;
        }
    }

    /// The reply; `None` if nobody is subscribed to the subject.
    async fn ask_once(
        &self,
        subject: &str,
        payload: Bytes,
        deadline: Instant,
    ) -> Result<Option<Message>, RequestError> {
        let mut reply = self.replies.expect();
        let sent = self.client.publish_with_reply_and_headers(
            subject.to_owned(),
            reply.inbox(),
            trace::headers(),
            payload,
        );
        match timeout_at(deadline, sent).await {
            Ok(sent) => sent.map_err(RequestError::Send)?,
            Err(_) => return Err(RequestError::Timeout),
        }
        let reply = reply.by(deadline).await.ok_or(RequestError::Timeout)?;
        Ok((!is_unheard(&reply)).then_some(reply))
    }

    /// Waits until the broker has processed everything that was published and subscribed before: a
    /// message to this connection's own inbox has come back (a flush only hands the bytes to the
    /// kernel). Returns whether it came by `deadline`.
    pub async fn echo(&self, deadline: Instant) -> bool {
        let mut reply = self.replies.expect();
        let sent = self.client.publish(reply.inbox(), Bytes::new());
        match timeout_at(deadline, sent).await {
            Ok(Ok(())) => reply.by(deadline).await.is_some(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_of_a_request_without_an_answer() {
        let replies = Arc::new(Replies {
            prefix: "_INBOX".to_owned(),
            waiting: Mutex::default(),
            next: AtomicU64::new(0),
            usual: AtomicU64::new(0),
        });
        let asked: Vec<Reply> = (0..1_000).map(|_| replies.expect()).collect();
        assert_eq!(replies.waiting().len(), 1_000);
        drop(asked);
        assert!(replies.waiting().is_empty());
    }
}
