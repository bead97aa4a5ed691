//! A passenger's part of a call: hands the answer to its client, and settles the
//! request before the last byte leaves.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::app::App;
use crate::exchange::{AnswerHead, CacheResult, Client, Ending, Exchange};
use crate::ledger::record::{Outcome, Savings};
use crate::pipeline::bill::Bill;
use crate::pipeline::recall::{self, Found, Look};
use crate::pipeline::relay::head;
use crate::pipeline::{count_back, unless_gone, waiting};
use crate::refusal::Refusal;
use crate::respond;
use crate::share::{End, Head, Landing, Passenger};
use crate::telemetry::metrics::labels::Scope;

/// One client that waits for an answer.
pub(super) struct Reader<'r, 'a, C> {
    pub(super) app: &'a App,
    pub(super) client: &'r mut C,
    pub(super) exchange: &'r mut Exchange,
    pub(super) bill: &'r mut Bill<'a>,
    /// How to look for an answer that may stand in for the provider's.
    pub(super) look: Option<Look>,
    /// Whether the call is its request's own: it waits for the provider then, and
    /// otherwise for the pilot.
    pub(super) leads: bool,
}

/// How a client's part ended.
pub(super) enum Rode {
    /// Settled.
    Ended(Result<Ending, Refusal>),
    /// The client has left; nothing is settled.
    Left(Passenger),
}

impl<C: Client> Reader<'_, '_, C> {
    /// Hands the answer over.
    pub(super) async fn ride(&mut self, mut passenger: Passenger) -> Rode {
        passenger.count(self.app.metrics.enter(Scope::Aboard));
        let head = match self.expect(passenger.head()).await {
            None => return Rode::Left(passenger),
            Some(Err(End::Refused(refusal, landing))) => {
                return Rode::Ended(self.refused(&mut passenger, refusal, landing).await);
            }
            // A flight shows its head before it lands.
            Some(Err(End::Landed(_))) => return Rode::Left(passenger),
            Some(Ok(head)) => head,
        };
        if self.leads {
            self.exchange.waited += head.waited;
        }
        if self.leads && head.batched {
            self.exchange.cache = CacheResult::Batched;
            self.bill.comes_from(CacheResult::Batched);
        }
        self.bill.answered_by(&head.provider, head.prices);
        self.bill.route.choice = head.choice;
        match head.streamed {
            // Boxed, as what only some requests need: its future is large.
            true => Box::pin(self.stream(passenger, &head)).await,
            false => self.whole(passenger, &head).await,
        }
    }

    /// An answer that is sent in one piece.
    async fn whole(&mut self, mut passenger: Passenger, head: &Head) -> Rode {
        let (body, landing) = match self.expect(passenger.whole()).await {
            Some(Ok((body, End::Landed(landing)))) => (body, landing),
            Some(Ok((_, End::Refused(refusal, landing)))) => {
                return Rode::Ended(self.refused(&mut passenger, refusal, landing).await);
            }
            None | Some(Err(_)) => return Rode::Left(passenger),
        };
        if landing.outcome != Outcome::Ok {
            self.exchange.quota_returned();
        }
        self.bill.sent(body.len());
        if let Err(refusal) = self.settle(&mut passenger, &landing, head.status.as_u16()).await {
            return Rode::Ended(Err(refusal));
        }
        if landing.outcome == Outcome::Ok && self.bill.is_kept() {
            self.bill.keep(head.status, &head.provider, &head.headers, &body).await;
        }
        let head = self.head(head.status, &head.headers, head.status.is_success());
        Rode::Ended(match self.client.send_whole(head, body).await {
            Ok(()) => Ok(Ending::Complete),
            Err(_) => Ok(Ending::Cut),
        })
    }

    /// An answer that is sent as it comes.
    async fn stream(&mut self, mut passenger: Passenger, head: &Head) -> Rode {
        let begun = self.head(head.status, &head.headers, true);
        if self.client.send_head(begun).await.is_err() {
            return Rode::Left(passenger);
        }
        // What the pilot has waited for the provider, this client has worked in part.
        let mut worked = Duration::ZERO;
        loop {
            let Some(step) = self.expect(passenger.next()).await else {
                return Rode::Left(passenger);
            };
            let from = self.app.clock.monotonic();
            match step {
                Ok(step) if step.end.is_none() => {
                    if !self.pass(step.bytes).await {
                        return Rode::Left(passenger);
                    }
                }
                Ok(step) => {
                    let Some(end) = step.end else { continue };
                    if self.leads {
                        let waited = end.landing().waited.saturating_sub(head.waited);
                        self.exchange.waited += waited.saturating_sub(worked);
                    }
                    return Rode::Ended(self.last(&mut passenger, step.bytes, end, head).await);
                }
                // A client that reads so slowly has left, as far as others can tell.
                Err(_) => return Rode::Left(passenger),
            }
            if self.leads {
                worked += self.app.clock.monotonic().saturating_sub(from);
            }
        }
    }

    /// The last bytes of a stream, settled before they leave.
    async fn last(
        &mut self,
        passenger: &mut Passenger,
        bytes: Bytes,
        end: End,
        head: &Head,
    ) -> Result<Ending, Refusal> {
        let (landing, refusal) = match end {
            End::Landed(landing) => (landing, None),
            End::Refused(refusal, landing) => (landing, Some(refusal)),
        };
        self.bill.sending(bytes.len());
        self.settle(passenger, &landing, head.status.as_u16()).await?;
        if let Some(refusal) = refusal {
            return Err(*refusal);
        }
        if landing.outcome == Outcome::Ok && self.bill.is_kept() {
            Box::pin(keep(self.bill, passenger)).await;
        }
        let sent = bytes.is_empty() || self.client.send(bytes).await.is_ok();
        if landing.broken || !sent || self.client.finish().await.is_err() {
            return Ok(Ending::Cut);
        }
        Ok(Ending::Complete)
    }

    /// Ends a request whose call has no answer: with one of before, if there is one
    /// that may stand in. One that no provider has seen consumes nothing.
    async fn refused(
        &mut self,
        passenger: &mut Passenger,
        refusal: Box<Refusal>,
        landing: Arc<Landing>,
    ) -> Result<Ending, Refusal> {
        if let Some(found) = self.stand_in(&landing) {
            // Boxed, as what only some requests need: its future is large.
            return Box::pin(self.answer_from_before(passenger, landing, found)).await;
        }
        if !landing.called && self.bill.void() {
            self.exchange.billed = false;
            count_back(self.exchange);
            return Err(*refusal);
        }
        if self.leads {
            self.exchange.waited += landing.waited;
        }
        self.bill.answered_by(&landing.provider, landing.prices);
        self.exchange.route = Some(self.bill.route.describe(self.bill.provider()).to_string());
        // No outcome that ends in a refusal is charged.
        self.exchange.quota_returned();
        self.settle(passenger, &landing, refusal.status.as_u16()).await?;
        self.exchange.token_standing = self.bill.token_standing();
        Err(*refusal)
    }

    /// The answer of before that may be given where the provider has failed, or the
    /// queue has no place.
    fn stand_in(&self, landing: &Landing) -> Option<Found> {
        let failed = matches!(landing.outcome, Outcome::ProviderError | Outcome::Cut);
        self.look.filter(|_| failed && !self.bill.has_sent())?.stand_in(self.app)
    }

    /// Answers from the cache after all; what the calls cost is borne all the same.
    async fn answer_from_before(
        &mut self,
        passenger: &mut Passenger,
        landing: Arc<Landing>,
        found: Found,
    ) -> Result<Ending, Refusal> {
        if self.leads {
            self.exchange.waited += landing.waited;
        }
        found.show(self.exchange);
        self.bill.comes_from(self.exchange.cache);
        if landing.called {
            let share = self.bill.portion(landing.cost, passenger.share(landing.cost));
            self.bill.tried(&landing.provider, share);
        }
        passenger.leave();
        recall::answer(self.app, self.client, self.exchange, self.bill, found).await
    }

    /// Settles a request whose call has ended. It leaves the call before: a client
    /// that has its last byte is nowhere aboard.
    async fn settle(
        &mut self,
        passenger: &mut Passenger,
        landing: &Landing,
        status: u16,
    ) -> Result<(), Refusal> {
        let share = self.bill.portion(landing.cost, passenger.share(landing.cost));
        passenger.leave();
        self.bill.waited(self.exchange.waited);
        self.bill.bear(share);
        let (coalesce, batch) = (landing.cost - share, landing.spared);
        self.bill.save(Savings { coalesce, batch, ..Savings::default() });
        let tokens = || (landing.tokens, landing.estimated);
        self.bill.settle(landing.outcome, status, tokens).await
    }

    /// Waits for news of the call; `None` if the client leaves meanwhile.
    async fn expect<T>(&mut self, news: impl Future<Output = T>) -> Option<T> {
        let mut waited = Duration::ZERO;
        let news = unless_gone(&mut *self.client, waiting(self.app, &mut waited, news)).await;
        if !self.leads {
            self.exchange.waited += waited;
        }
        news
    }

    /// Sends a piece; false if the client has left.
    async fn pass(&mut self, bytes: Bytes) -> bool {
        self.bill.sent(bytes.len());
        self.client.send(bytes).await.is_ok()
    }

    /// The head of the answer.
    fn head(&self, status: StatusCode, provider: &HeaderMap, charged: bool) -> AnswerHead {
        let returned = (status, respond::returned(provider));
        head(self.app, self.exchange, self.bill, returned, self.bill.provider(), charged)
    }
}

/// Keeps the answer to a call that has ended under the request's key, if it has
/// one; not where a part of the answer is not held any more.
pub(super) async fn keep(bill: &Bill<'_>, passenger: &mut Passenger) {
    if !bill.is_kept() {
        return;
    }
    if let (Ok(head), Ok((body, _))) = (passenger.head().await, passenger.whole().await) {
        bill.keep(head.status, &head.provider, &head.headers, &body).await;
    }
}
