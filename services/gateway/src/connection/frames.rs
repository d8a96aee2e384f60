//! What the client says, and what it is answered.

use std::time::Duration;

use natter_media::ItemError;
use natter_protocol::{
    FriendshipId, UserId,
    call::{Mark, MarkReply, Refusal, SendReply, SendRequest, SendWhat},
    ephemeral::{Ephemeral, EphemeralEvent, EphemeralFrame},
    event::Event,
    frame::{AuthFrame, ClientFrame, ErrorCode, MarkFrame, Parsed, ServerError, ServerFrame},
    subject,
};

use tokio::time::timeout;

use super::{
    Connection, Pace,
    sends::{Answered, Question},
};
use crate::{Gateway, close::Close, delivery::encode};

/// How long it may take to store the files of a frame: less than its answer may take.
const MEDIA_TIMEOUT: Duration = Duration::from_secs(2);

impl Connection {
    pub(super) async fn on_text(&mut self, text: &str) -> Result<(), Close> {
        metrics::counter!("gateway_frames_received_total").increment(1);
        let Parsed { frame, client_id } = match ClientFrame::parse(text) {
            Ok(parsed) => parsed,
            Err(error) => return self.refuse_garbage(error).await,
        };
        let answers = frame.tag();
        if let Some(Err(wait)) = self.pace.as_mut().map(Pace::take) {
            return self.slow_down(answers, client_id, wait).await;
        }
        match frame {
            ClientFrame::Friendship(frame) => {
                let storing = natter_media::add_all(&self.gateway.media, frame.media);
                let media = match timeout(MEDIA_TIMEOUT, storing).await {
                    Ok(Ok(media)) => media,
                    Err(_) => {
                        let refusal = Refusal::Unavailable;
                        let answers = Some(answers.to_owned());
                        return self
                            .refuse_frame(
                                refusal.into(),
                                refusal.to_string(),
                                answers,
                                frame.client_id,
                            )
                            .await;
                    }
                    Ok(Err(error)) => {
                        let (code, detail) = refused_file(&error);
                        return self
                            .refuse_frame(code, detail, Some(answers.to_owned()), frame.client_id)
                            .await;
                    }
                };
                let what = SendWhat::Message {
                    payload: frame.payload,
                    media,
                    reply_to: frame.reply_to,
                };
                self.ask(answers, frame.channel, frame.client_id, what);
                Ok(())
            }
            ClientFrame::Edit(frame) => {
                let what = SendWhat::Edit {
                    message: frame.message,
                    payload: frame.payload,
                };
                self.ask(answers, frame.channel, frame.client_id, what);
                Ok(())
            }
            ClientFrame::Delete(frame) => {
                let what = SendWhat::Delete {
                    message: frame.message,
                };
                self.ask(answers, frame.channel, frame.client_id, what);
                Ok(())
            }
            ClientFrame::Seen(frame) => {
                self.mark(answers, &frame, client_id, true);
                Ok(())
            }
            ClientFrame::Received(frame) => {
                self.mark(answers, &frame, client_id, false);
                Ok(())
            }
            ClientFrame::Resume(frame) => self.resume(frame, client_id).await,
            ClientFrame::Ephemeral(frame) => self.tell_friend(frame, client_id).await,
            ClientFrame::Auth(frame) => self.renew(&frame, client_id).await,
            ClientFrame::Ping => self.write(&ServerFrame::Pong).await,
        }
    }

    /// Answers a frame that came too fast; it was not looked at.
    async fn slow_down(
        &mut self,
        answers: &str,
        client_id: Option<String>,
        wait: Duration,
    ) -> Result<(), Close> {
        // Rounded up: by then there is room.
        let retry_after_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX) + 1;
        self.write(&ServerFrame::Error(ServerError {
            code: ErrorCode::RateLimited,
            detail: "Too many frames; send this one again later.".to_owned(),
            answers: Some(answers.to_owned()),
            client_id,
            retry_after_ms: Some(retry_after_ms),
        }))
        .await
    }

    /// Publishes an ephemeral event, once and without an answer: one that is lost stays lost.
    async fn tell_friend(
        &mut self,
        frame: EphemeralFrame,
        client_id: Option<String>,
    ) -> Result<(), Close> {
        let EphemeralFrame { channel, ephemeral } = frame;
        let name = ephemeral.name();
        if !self.channels.contains(channel) {
            // Every friendship of the user, also one that was closed before the connection opened.
            let refusal = if self.shown.contains(channel) {
                Refusal::ChannelClosed
            } else {
                Refusal::NotAMember
            };
            return self
                .refuse_frame(
                    refusal.into(),
                    refusal.to_string(),
                    Some(name.to_owned()),
                    client_id,
                )
                .await;
        }
        let on_close = &mut self.used.get_or_insert_default().on_close;
        on_close.retain(|(of, known)| *of != channel || known.name() != name);
        on_close.extend(ephemeral.on_close().map(|last| (channel, last)));
        publish_ephemeral(&self.gateway, self.peer.user, channel, ephemeral).await;
        Ok(())
    }

    /// Goes on with another token of the same user.
    async fn renew(&mut self, frame: &AuthFrame, client_id: Option<String>) -> Result<(), Close> {
        let detail = match self.gateway.verifier.access(&frame.access) {
            _ if !self.timer.expires() => "This connection does not end with a token.",
            Ok(claims) if claims.user_id == self.peer.user => {
                self.peer.set_sid(claims.sid);
                self.timer.expire(Some(claims.exp));
                // The session may have ended between the check of the token and `set_sid`.
                return if self.gateway.verifier.is_revoked(claims.sid) {
                    Err(Close::SessionEnded)
                } else {
                    Ok(())
                };
            }
            Ok(_) => "The token is another user's.",
            Err(_) => "The token is not valid.",
        };
        let answers = Some("auth".to_owned());
        self.refuse_frame(ErrorCode::InvalidFrame, detail, answers, client_id)
            .await
    }

    fn ask(
        &mut self,
        answers: &'static str,
        channel: FriendshipId,
        client_id: Option<String>,
        what: SendWhat,
    ) {
        let question = Question {
            channel,
            answers,
            client_id: client_id.clone(),
            media: match &what {
                SendWhat::Message { media, .. } => media.clone(),
                SendWhat::Edit { .. } | SendWhat::Delete { .. } => Vec::new(),
            },
        };
        let send = SendRequest {
            sender: self.peer.user,
            client_id,
            doubted: !self.channels.contains(channel),
            what,
        };
        let used = self.used.get_or_insert_default();
        used.sends.send(&self.gateway.bus, question, send);
    }

    fn mark(
        &mut self,
        answers: &'static str,
        frame: &MarkFrame,
        client_id: Option<String>,
        seen: bool,
    ) {
        let MarkFrame { channel, message } = *frame;
        let used = self.used.get_or_insert_default();
        let known = used.marks.entry(channel).or_default();
        known.received_seq = known.received_seq.max(message.seq());
        if seen {
            known.seen_seq = known.seen_seq.max(message.seq());
        }
        let user = self.peer.user;
        if used.delivered.has(channel, message) {
            return self.gateway.marks.add(channel, user, message, seen);
        }
        let question = Question {
            channel,
            answers,
            client_id,
            media: Vec::new(),
        };
        let mark = Mark {
            user,
            message,
            seen,
            delivered: false,
        };
        used.sends.mark(&self.gateway.bus, question, mark);
    }

    /// Writes the answer to a frame, and those answers that have come with it.
    pub(super) async fn on_answer(&mut self, first: Answered) -> Result<(), Close> {
        let mut next = Some(first);
        while let Some(answered) = next {
            self.answer(answered).await?;
            next = self.used.as_mut().and_then(|used| used.sends.next_ready());
        }
        Ok(())
    }

    pub(super) async fn answer(&mut self, answered: Answered) -> Result<(), Close> {
        match answered {
            Answered::Send(question, reply) => {
                if !question.media.is_empty() {
                    let (gateway, media) = (self.gateway.clone(), question.media.clone());
                    let reply = reply.clone();
                    self.gateway.process.tasks.spawn(async move {
                        natter_media::settle(&gateway.media, &media, &reply).await;
                    });
                }
                match reply {
                    SendReply::Ack(stored) => {
                        let ack = ServerFrame::Ack {
                            client_id: question.client_id,
                            channel: question.channel,
                            message: stored.message,
                            seq: stored.seq,
                            created_at: stored.created_at,
                            duplicate: stored.duplicate,
                        };
                        self.feed(encode(&ack)).await
                    }
                    SendReply::Refused(refusal) => {
                        if refusal == Refusal::Unavailable {
                            metrics::counter!("sends_unavailable_total").increment(1);
                        }
                        self.refuse_question(question, refusal).await
                    }
                }
            }
            Answered::Mark(_, MarkReply::Done) => Ok(()),
            Answered::Mark(question, MarkReply::Refused(refusal)) => {
                // The mark was refused: forget this user's known marks in the channel. The friend's
                // stay. If the channel is not open on this connection, both are forgotten.
                let is_open = self.channels.contains(question.channel);
                let used = self.used.get_or_insert_default();
                if !is_open {
                    used.marks.remove(&question.channel);
                } else if let Some(known) = used.marks.get_mut(&question.channel) {
                    (known.received_seq, known.seen_seq) = (0, 0);
                }
                self.refuse_question(question, refusal).await
            }
        }
    }

    async fn refuse_question(&mut self, question: Question, refusal: Refusal) -> Result<(), Close> {
        self.refuse_frame(
            ErrorCode::from(refusal),
            refusal.to_string(),
            Some(question.answers.to_owned()),
            question.client_id,
        )
        .await
    }
}

pub(super) async fn publish_ephemeral(
    gateway: &Gateway,
    user: UserId,
    channel: FriendshipId,
    ephemeral: Ephemeral,
) {
    let subject = subject::chat_ephemeral(channel, ephemeral.name());
    let event = Event::new(EphemeralEvent {
        channel,
        user,
        ephemeral,
    });
    if let Err(error) = gateway.bus.publish(subject, &event).await {
        tracing::debug!(%error, "an ephemeral event was not published");
    }
}

fn refused_file(error: &ItemError) -> (ErrorCode, String) {
    match error {
        ItemError::NotBase64 => (ErrorCode::InvalidFrame, error.to_string()),
        ItemError::Store(error) => {
            tracing::error!(%error, "the media store failed");
            (
                Refusal::Unavailable.into(),
                Refusal::Unavailable.to_string(),
            )
        }
    }
}
