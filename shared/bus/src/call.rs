//! Calls between services, over the NATS service API.

use std::{fmt::Display, future::Future, sync::Arc, time::Duration};

use anyhow::Context;
use async_nats::{
    HeaderMap, Message,
    service::{Service, ServiceExt, error::Error as ServiceError},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use natter_protocol::{
    UserId,
    call::{Call, ListOpen, ListedChannel, MAX_OPEN},
    subject,
};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

use crate::{
    Ask, Bus, RequestError, Verdict,
    request::is_unheard,
    trace::{answer_span, call_span},
    until_drained,
};

/// How long a caller waits for an answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a call may be worked on. Its caller has stopped waiting by then.
const HANDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// How many calls of one method a replica answers at a time.
const CONCURRENT_CALLS: usize = 64;
const ERROR_CODE: &str = "Nats-Service-Error-Code";

#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("{service}.{method} was not answered")]
    Request {
        service: &'static str,
        method: &'static str,
        #[source]
        source: RequestError,
    },
    #[error("{service}.{method} failed there with {code}")]
    Failed {
        service: &'static str,
        method: &'static str,
        code: String,
    },
}

impl Bus {
    /// Calls another service.
    pub async fn call<C: Call>(&self, call: &C) -> Result<C::Reply, CallError> {
        let (service, method) = (C::SERVICE, C::METHOD);
        let fail = |source| CallError::Request {
            service,
            method,
            source,
        };
        let payload =
            serde_json::to_vec(call).map_err(|error| fail(RequestError::Encode(error)))?;
        let subject = format!("rpc.{service}.{method}");
        let ask = if C::IS_REPEATABLE { Ask::Any } else { Ask::One };
        let deadline = Instant::now() + CALL_TIMEOUT;
        let reply = self.ask(&subject, payload.into(), ask, deadline, |reply| {
            Ok((reply, Verdict::Final))
        });
        let reply = reply.instrument(call_span(service, method));
        let reply = reply.await.map_err(fail)?;
        if let Some(code) = reply
            .headers
            .as_ref()
            .and_then(|headers| headers.get(ERROR_CODE))
        {
            let code = code.to_string();
            return Err(CallError::Failed {
                service,
                method,
                code,
            });
        }
        serde_json::from_slice(&reply.payload).map_err(|error| fail(RequestError::Reply(error)))
    }

    /// Calls every replica of a service that answers without a queue group; returns the answers
    /// that come within `longest`.
    pub async fn call_all<C: Call>(
        &self,
        call: &C,
        longest: Duration,
    ) -> anyhow::Result<Vec<C::Reply>> {
        let by = Instant::now() + longest;
        let inbox = self.client.new_inbox();
        let mut answers = self.client.subscribe(inbox.clone()).await?;
        let subject = format!("rpc.{}.{}", C::SERVICE, C::METHOD);
        let payload = serde_json::to_vec(call)?;
        let asked = self
            .client
            .publish_with_reply(subject, inbox, payload.into());
        asked.await?;
        let mut replies = Vec::new();
        while let Ok(Some(answer)) = timeout_at(by, answers.next()).await {
            if is_unheard(&answer) {
                break;
            }
            replies.push(serde_json::from_slice(&answer.payload)?);
        }
        Ok(replies)
    }

    /// All open channels of a user, page by page; with `closed` also the closed ones.
    pub async fn list_channels(
        &self,
        user: UserId,
        closed: bool,
    ) -> Result<Vec<ListedChannel>, CallError> {
        let mut all: Vec<ListedChannel> = Vec::new();
        loop {
            let call = ListOpen {
                user,
                after: all.last().map(|one| one.channel),
                limit: Some(MAX_OPEN),
                closed,
            };
            let page = self.call(&call).await?;
            let Some(first) = page.first() else {
                return Ok(all);
            };
            if Some(first.channel) <= call.after {
                // A replica of the previous version knows no pages: it answers with all of them.
                return Ok(page);
            }
            let is_full = page.len() == MAX_OPEN;
            all.extend(page);
            if !is_full {
                return Ok(all);
            }
        }
    }
}

/// The calls that one service answers: PING, INFO and STATS come with it.
pub struct Calls {
    // Dropping the last clone ends the service's endpoints, so the task of each endpoint keeps one.
    service: Arc<Service>,
    bus: Bus,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Calls {
    pub async fn start(
        bus: &Bus,
        name: &'static str,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) -> anyhow::Result<Self> {
        let service = bus
            .client
            .service_builder()
            .queue_group(name)
            .start(name, env!("CARGO_PKG_VERSION"))
            .await
            .map_err(|error| anyhow::anyhow!(error))
            .context("the calls cannot be answered")?;
        Ok(Self {
            service: Arc::new(service),
            bus: bus.clone(),
            stop,
            tasks,
        })
    }

    /// Answers one kind of call until the service stops.
    pub async fn answer<C, F, Fut, E>(&self, handle: F) -> anyhow::Result<()>
    where
        C: Call + Send,
        F: Fn(C) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<C::Reply, E>> + Send,
        C::Reply: Send,
        E: Display,
    {
        let endpoint = self
            .service
            .group(format!("rpc.{}", C::SERVICE))
            .endpoint(C::METHOD)
            .await
            .map_err(|error| anyhow::anyhow!(error))
            .with_context(|| format!("rpc.{}.{} cannot be answered", C::SERVICE, C::METHOD))?;
        let handle = Arc::new(handle);
        if C::IS_REPEATABLE {
            self.answer_again(&handle).await?;
        }
        let (bus, stop) = (self.bus.clone(), self.stop.clone());
        let service = self.service.clone();
        self.tasks.spawn(async move {
            let _service = service;
            let requests = stream::unfold((endpoint, stop), async |(mut endpoint, stop)| {
                tokio::select! {
                    request = endpoint.next() => return Some((request?, (endpoint, stop))),
                    // What has arrived is still answered; what is on its way here is not, and a
                    // repeatable call is then asked of every replica.
                    () = stop.cancelled() => endpoint.stop().await.ok()?,
                }
                Some((endpoint.next().await?, (endpoint, CancellationToken::new())))
            });
            requests
                .for_each_concurrent(CONCURRENT_CALLS, |request| {
                    let handle = &handle;
                    async move {
                        let reply = answer_one::<C, _, _, _>(&request.message, &**handle).await;
                        if let Err(error) = request.respond(reply).await {
                            tracing::warn!(%error, "a reply could not be sent");
                        }
                    }
                })
                .await;
            // The last answers must not be lost with the connection.
            bus.flush().await;
        });
        Ok(())
    }

    /// Answers the calls that are repeated on `again.rpc.…` because one replica did not answer
    /// them: each replica gets them.
    async fn answer_again<C, F, Fut, E>(&self, handle: &Arc<F>) -> anyhow::Result<()>
    where
        C: Call + Send,
        F: Fn(C) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<C::Reply, E>> + Send,
        C::Reply: Send,
        E: Display,
    {
        let subject = subject::again(&format!("rpc.{}.{}", C::SERVICE, C::METHOD));
        let asked = self.bus.subscribe(vec![subject]).await?.pop();
        let (bus, stop, handle) = (self.bus.clone(), self.stop.clone(), handle.clone());
        self.tasks.spawn(async move {
            let Some(asked) = asked else { return };
            until_drained(&bus, asked, stop)
                .for_each_concurrent(CONCURRENT_CALLS, |request| {
                    let (bus, handle) = (&bus, &handle);
                    async move {
                        let reply = answer_one::<C, _, _, _>(&request, &**handle).await;
                        // The replica that was asked first may still do better.
                        if let Ok(payload) = reply {
                            bus.answer(&request, HeaderMap::new(), payload).await;
                        }
                    }
                })
                .await;
        });
        Ok(())
    }
}

async fn answer_one<C, F, Fut, E>(request: &Message, handle: &F) -> Result<Bytes, ServiceError>
where
    C: Call,
    F: Fn(C) -> Fut,
    Fut: Future<Output = Result<C::Reply, E>>,
    E: Display,
{
    let fail = |code, status: &str| ServiceError {
        code,
        status: status.to_owned(),
    };
    let span = answer_span(C::SERVICE, C::METHOD, request);
    let call = serde_json::from_slice::<C>(&request.payload);
    let call = call.map_err(|_| fail(400, "malformed request"))?;
    let handled = timeout(HANDLE_TIMEOUT, handle(call).instrument(span)).await;
    let reply = handled
        .map_err(|_| fail(503, "unavailable"))?
        .map_err(|error| {
            tracing::warn!(%error, method = C::METHOD, "a call could not be answered");
            fail(503, "unavailable")
        })?;
    let reply = serde_json::to_vec(&reply).map_err(|_| fail(500, "unencodable reply"))?;
    Ok(reply.into())
}
