//! The request on its way to the provider.

use std::time::Duration;

use bytes::Bytes;

use crate::config::Listen;
use crate::exchange::{Client, Ending, ReadError};
use crate::ledger::record::Outcome;
use crate::opaque::vet::Vet;
use crate::pipeline::opaque::{Outgoing, Passage};
use crate::pipeline::relay::{CLIENT_CLOSED, failed};
use crate::pipeline::{count_back, unless_gone, waiting};
use crate::refusal::{Code, Refusal};
use crate::telemetry::metrics::labels::ProviderCode;
use crate::upstream::{Answering, Call, Failure, Framing, Opening, Prepared, Reply, Sending};

/// What came of a call.
pub(super) enum Called {
    /// The head of an answer.
    Reply(Reply),
    /// No answer.
    Failed(Failure),
    /// The call must not be made, or its body cannot be sent.
    Refused(Refusal),
    /// The client has left.
    Gone,
}

/// Why there is no reply.
pub(super) enum Failed {
    Provider(Failure),
    Refused(Refusal),
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self::Provider(failure)
    }
}

/// How the sending of a body ended.
enum Sent {
    /// All of it was sent.
    Whole,
    /// The provider takes no more; it may have answered.
    Stopped(Failure),
    /// The client was too slow.
    Slow,
    /// The client's body broke off.
    Broken,
    /// The client's body may not be passed on to its end.
    Refused(Refusal),
}

impl<'a, C: Client> Passage<'a, C> {
    /// Calls the provider and hands its answer over.
    pub(super) async fn run(&mut self, outgoing: Outgoing<'_>) -> Result<Ending, Refusal> {
        let called = match outgoing {
            Outgoing::Upgrade => return self.tunnel().await,
            Outgoing::Whole(body) => {
                self.tab.received(body.len() as u64);
                let query = self.first_page().or_else(|| self.target.query.clone());
                self.ask(query.as_deref(), body).await
            }
            Outgoing::Streamed(framing, vet) => self.upload(framing, vet).await,
        };
        match called {
            Called::Reply(reply) => self.hand_over(reply).await,
            called => self.no_reply(called).await,
        }
    }

    /// Ends a request that has no answer.
    pub(super) async fn no_reply(&mut self, called: Called) -> Result<Ending, Refusal> {
        match called {
            Called::Gone => self.gone().await,
            // Either nothing was sent, or what was sent is the client's fault.
            Called::Refused(refusal) if refusal.status.is_client_error() => {
                self.fail(Outcome::ClientGoneEarly, refusal).await
            }
            Called::Refused(refusal) => {
                count_back(self.exchange);
                // There is no record, which would count the answer.
                self.exchange.billed = false;
                Err(refusal)
            }
            Called::Failed(failure) => self.fail(Outcome::ProviderError, failed(failure)).await,
            Called::Reply(reply) => self.hand_over(reply).await,
        }
    }

    /// Sends a request whose body is there, and waits for the answer's head.
    pub(super) async fn ask(&mut self, query: Option<&str>, body: Bytes) -> Called {
        let path = self.target.path.clone();
        self.ask_at(&path, query, body).await
    }

    /// The same at another path.
    pub(super) async fn ask_at(&mut self, path: &str, query: Option<&str>, body: Bytes) -> Called {
        let (app, reach, target) = (self.app, self.reach, &self.target);
        let call = Call {
            method: target.method.clone(),
            path,
            query,
            headers: &target.headers,
            body: if body.is_empty() { Vec::new() } else { vec![body] },
        };
        let prepared = Prepared::new(&reach.origin, call);
        let tab = &mut self.tab;
        let sent = app
            .upstream
            .send(&reach.origin, &prepared, 0, || tab.attempt().map_err(Failed::Refused));
        let waited = &mut self.exchange.waited;
        let sent = unless_gone(&mut *self.client, waiting(app, waited, sent)).await;
        self.count(match sent {
            None => Called::Gone,
            Some(Ok(reply)) => Called::Reply(reply),
            Some(Err(Failed::Provider(failure))) => Called::Failed(failure),
            Some(Err(Failed::Refused(refusal))) => Called::Refused(refusal),
        })
    }

    /// Sends a request whose body comes from the client, and waits for the
    /// answer's head, which may come first.
    async fn upload(&mut self, framing: Framing, vet: Option<Box<Vet<'_>>>) -> Called {
        let opened = self.open(framing).await;
        let (mut sending, mut answering) = match opened {
            Ok(halves) => halves,
            Err(Failed::Provider(failure)) => return self.count(Called::Failed(failure)),
            Err(Failed::Refused(refusal)) => return Called::Refused(refusal),
        };
        let limits = &self.snapshot.config.listen;
        let mut bytes = 0;
        let from = self.app.clock.monotonic();
        // While the body is not read, the client must not be watched: a watch
        // would take its bytes.
        let answered = tokio::select! {
            biased;
            sent = pump(&mut *self.client, &mut sending, vet, limits, &mut bytes) => Err(sent),
            answered = answering.head() => Ok(answered),
        };
        self.exchange.waited += self.app.clock.monotonic().saturating_sub(from);
        self.tab.received(bytes);
        let called = match answered {
            Ok(answered) => reply(answered, answering),
            Err(Sent::Whole) => match sending.finish().await {
                Ok(()) => self.await_head(answering).await,
                Err(failure) => self.late_head(answering, failure).await,
            },
            Err(Sent::Stopped(failure)) => self.late_head(answering, failure).await,
            Err(Sent::Refused(refusal)) => Called::Refused(refusal),
            Err(Sent::Slow) => Called::Refused(Refusal::new(
                Code::RequestTimeout,
                "The request's body came too slowly.",
            )),
            Err(Sent::Broken) => {
                let message = "The request's body ended early or its framing is malformed.";
                Called::Refused(Refusal::new(Code::InvalidValue, message).param("body"))
            }
        };
        self.count(called)
    }

    /// Connects and sends the head of the request.
    pub(super) async fn open(
        &mut self,
        framing: Framing,
    ) -> Result<(Sending, Answering<'a>), Failed> {
        let (app, reach, target) = (self.app, self.reach, &self.target);
        let call = Call {
            method: target.method.clone(),
            path: &target.path,
            query: target.query.as_deref(),
            headers: &target.headers,
            body: Vec::new(),
        };
        let opening = Opening::new(&reach.origin, &call, framing);
        let tab = &mut self.tab;
        let open =
            app.upstream.open(&reach.origin, opening, || tab.attempt().map_err(Failed::Refused));
        waiting(app, &mut self.exchange.waited, open).await
    }

    /// Waits for the head of the answer to a request that was sent whole.
    async fn await_head(&mut self, mut answering: Answering<'_>) -> Called {
        let patience = self.snapshot.config.routing.first_byte_timeout;
        let head = tokio::time::timeout(patience, answering.head());
        let head = waiting(self.app, &mut self.exchange.waited, head);
        match unless_gone(&mut *self.client, head).await {
            None => Called::Gone,
            Some(Ok(answered)) => reply(answered, answering),
            Some(Err(_)) => Called::Failed(Failure::TimedOut),
        }
    }

    /// Looks for the answer of a provider that takes no more of the body.
    async fn late_head(&mut self, mut answering: Answering<'_>, failure: Failure) -> Called {
        let patience = self.snapshot.config.routing.first_byte_timeout;
        match tokio::time::timeout(patience, answering.head()).await {
            Ok(Ok(())) => Called::Reply(answering.reply()),
            Ok(Err(_)) | Err(_) => Called::Failed(failure),
        }
    }

    /// Counts a call for the provider.
    pub(super) fn count(&self, called: Called) -> Called {
        self.reach.series.called(match &called {
            Called::Reply(reply) => ProviderCode::Status(reply.status.as_u16()),
            Called::Failed(Failure::Unreachable) => ProviderCode::Unreachable,
            Called::Failed(Failure::TimedOut) => ProviderCode::Timeout,
            Called::Failed(Failure::NoAnswer | Failure::Torn | Failure::Garbage) => {
                ProviderCode::Cut
            }
            // The provider was not called, or not to the end.
            Called::Gone | Called::Refused(_) => ProviderCode::Cancelled,
        });
        called
    }

    /// Settles a request that ends in a refusal.
    pub(super) async fn fail(
        &mut self,
        outcome: Outcome,
        refusal: Refusal,
    ) -> Result<Ending, Refusal> {
        self.not_charged();
        self.tab.settle(outcome, refusal.status.as_u16(), self.exchange.waited).await?;
        Err(refusal)
    }

    /// Notes, for the answer's headers, that the request is not charged.
    pub(super) fn not_charged(&mut self) {
        self.exchange.quota_returned();
    }

    /// Settles a request whose client has left.
    pub(super) async fn gone(&mut self) -> Result<Ending, Refusal> {
        let outcome = match self.tab.has_sent() {
            true => Outcome::ClientGoneLate,
            false => Outcome::ClientGoneEarly,
        };
        self.tab.settle(outcome, CLIENT_CLOSED, self.exchange.waited).await?;
        Ok(Ending::Cut)
    }
}

fn reply(answered: Result<(), Failure>, answering: Answering<'_>) -> Called {
    match answered {
        Ok(()) => Called::Reply(answering.reply()),
        Err(failure) => Called::Failed(failure),
    }
}

/// Passes the client's body on as far as `vet` finds it sound, and its last piece only
/// if it is so to its end; `bytes` counts what was taken of it.
///
/// The body's pace is that of the client alone: time that the provider makes
/// it wait does not count.
async fn pump<C: Client>(
    client: &mut C,
    sending: &mut Sending,
    mut vet: Option<Box<Vet<'_>>>,
    limits: &Listen,
    bytes: &mut u64,
) -> Sent {
    let mut waited = Duration::ZERO;
    let mut last = Bytes::new();
    loop {
        let earned = Duration::from_secs(*bytes / limits.min_body_rate.max(1));
        let Some(patience) = (limits.body_grace + earned).checked_sub(waited) else {
            return Sent::Slow;
        };
        let from = tokio::time::Instant::now();
        let piece = match tokio::time::timeout(patience, client.read()).await {
            Ok(Ok(Some(piece))) => piece,
            Ok(Ok(None)) => {
                return match vet.map_or(Ok(()), |vet| vet.end()) {
                    Ok(()) => {
                        sending.send(&last).await.map_or_else(Sent::Stopped, |()| Sent::Whole)
                    }
                    Err(refusal) => Sent::Refused(refusal),
                };
            }
            Err(_) | Ok(Err(ReadError::Slow)) => return Sent::Slow,
            Ok(Err(ReadError::Broken)) => return Sent::Broken,
        };
        waited += from.elapsed();
        *bytes += piece.len() as u64;
        let mut sound = piece;
        if let Some(vet) = &mut vet {
            if let Err(refusal) = vet.read(&sound) {
                return Sent::Refused(refusal);
            }
            std::mem::swap(&mut sound, &mut last);
        }
        if let Err(failure) = sending.send(&sound).await {
            return Sent::Stopped(failure);
        }
    }
}
