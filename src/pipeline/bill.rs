//! The bill of one request: opened when it is ordered, settled exactly once
//! whatever happens.
//!
//! Invariants: each attempt at a provider is in the journal before the provider
//! sees it; the settlement is in the journal before the last byte of the answer
//! is sent. A bill that is dropped unsettled (a panic, a stopped task, a refusal
//! after the order) settles itself if a provider may have been called, and gives
//! everything back if not.

pub(super) mod calls;
mod charge;
pub(super) mod idempotent;
pub(super) mod opaque;
mod session;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::admission::Permit;
use crate::admission::queue::Priority;
use crate::app::App;
use crate::auth::keyring::Identity;
use crate::base::money::Money;
use crate::config::{Class, TokenPrices};
use crate::exchange::{CacheResult, Exchange, RateStanding};
use crate::intake::endpoint::Endpoint;
use crate::intake::request::Request;
use crate::ledger::Settled;
use crate::ledger::record::{Outcome, Savings, Tokens, UsageRecord};
use crate::meter::policy::TokenSource;
use crate::meter::quote::Quote;
use crate::notice::Kind;
use crate::pipeline::bounds;
use crate::refusal::{Code, Refusal};
use crate::route::catalog::Route;
use crate::telemetry::metrics::labels::Scope;
use crate::telemetry::metrics::{RequestLabels, RequestSample, Running, Series};

/// What a request orders.
pub(super) struct Order<'o> {
    /// Who pays.
    pub(super) caller: &'o Identity,
    /// The class.
    pub(super) class: &'o Class,
    /// Its prices.
    pub(super) quote: Quote,
    /// The endpoint.
    pub(super) endpoint: Endpoint,
    /// Where it runs.
    pub(super) route: Route,
    /// The request.
    pub(super) request: &'o Request,
    /// The keyed hash of its text, where it may be kept.
    pub(super) text_hash: Option<Arc<str>>,
    /// The key of its answer in the cache, where it has one.
    pub(super) cache_key: Option<Arc<str>>,
}

/// One request's bill.
pub(super) struct Bill<'a> {
    app: &'a App,
    /// Boxed, as a bill is handed on from stage to stage.
    record: Box<UsageRecord>,
    /// What the account's things at providers are kept under.
    owner: Arc<str>,
    /// Where the request runs.
    pub(super) route: Route,
    /// The endpoint.
    pub(super) endpoint: Endpoint,
    /// How its calls stand in the queue.
    priority: Priority,
    quote: Quote,
    /// What the provider charges that answers, or that is called first; `None` is
    /// unpriced.
    prices: Option<TokenPrices>,
    started: Duration,
    waited: Duration,
    /// What the request is expected to use.
    assumed: Tokens,
    /// What the cache had to do with the answer.
    cache: CacheResult,
    /// Whether the answer came from there.
    recalled: bool,
    /// What is borne of the cost of an answer that this request made no call
    /// for, or not alone.
    borne: Option<Money>,
    /// Calls made.
    made: Arc<AtomicU32>,
    settled: bool,
    /// What the request has to do with its `idempotency-key`, if it has one.
    part: Option<idempotent::Part>,
    /// The monthly limits of which a threshold was reached, once it is charged.
    warnings: Option<Vec<(Kind, u8)>>,
    /// What the request occupies: freed by the settlement, so that a client that
    /// has its answer can send its next request.
    occupied: Option<(Permit, Running)>,
    /// Where the account's tokens stand once they are settled.
    token_standing: Option<RateStanding>,
}

impl<'a> Bill<'a> {
    /// The bill of what is ordered.
    pub(super) fn open(app: &'a App, exchange: &Exchange, order: Order<'_>) -> Self {
        let Order { caller, class, quote, endpoint, route, request, text_hash, cache_key } = order;
        let cost = route.target(0).and_then(|target| route.cost(target));
        let assumed = bounds::assumed(endpoint, request);
        let names = &app.names;
        let record = Box::new(UsageRecord {
            id: exchange.id,
            time: exchange.received,
            request_id: exchange.request_id.clone(),
            account: caller.account.clone(),
            key_id: caller.key_id.clone(),
            plan: caller.plan.name.clone(),
            service: names.service.clone(),
            endpoint: class.name.clone(),
            path: names.path(endpoint),
            model_asked: names.model_asked(request.model.as_deref(), &route),
            model_used: route.model.clone(),
            provider: Arc::default(),
            tier: names.tier(route.tier),
            status: 0,
            outcome: Outcome::InternalError,
            cache: names.cache(exchange.cache),
            similarity: None,
            stream: request.stream,
            attempts: 0,
            quantity: 0,
            unit_price: Money::ZERO,
            list_price: quote.list_price(&assumed, cost.as_ref(), 1),
            price: Money::ZERO,
            cost: Money::ZERO,
            unpriced: cost.is_none(),
            tokens: Tokens::default(),
            estimated: false,
            bytes_in: request.came() as u64,
            bytes_out: 0,
            duration_ms: 0,
            first_byte_ms: None,
            text_hash,
            cache_key,
            complexity: None,
            metadata: request.metadata_text().map(Arc::from),
            rates: None,
            prepaid: false,
            saved: None,
            session: None,
            void: false,
        });
        Self {
            app,
            record,
            owner: caller.owner.clone(),
            route,
            endpoint,
            priority: Priority::of(&caller.plan),
            quote,
            prices: cost,
            started: exchange.started,
            waited: exchange.waited,
            assumed,
            cache: exchange.cache,
            recalled: false,
            borne: None,
            made: Arc::default(),
            settled: false,
            part: None,
            warnings: None,
            occupied: None,
            token_standing: None,
        }
    }

    /// Keeps `permit` until the request is settled.
    pub(super) fn hold(&mut self, permit: Permit) {
        self.occupied = Some((permit, self.app.metrics.enter(Scope::Requests)));
    }

    /// What a call is assumed to use, by the length of its prompt.
    pub(super) fn assumed(&self) -> Tokens {
        self.assumed
    }

    /// Where the account's tokens stand once those of this request are settled;
    /// `None` before, or if it has no limit.
    pub(super) fn token_standing(&self) -> Option<RateStanding> {
        self.token_standing
    }

    /// Names the provider that answered, or was asked, and what it charges.
    pub(super) fn answered_by(&mut self, provider: &Arc<str>, prices: Option<TokenPrices>) {
        self.record.provider = provider.clone();
        self.prices = prices;
        self.record.unpriced = prices.is_none();
    }

    /// Notes where the answer comes from after all.
    pub(super) fn comes_from(&mut self, cache: CacheResult) {
        self.cache = cache;
        self.record.cache = self.app.names.cache(cache);
    }

    /// Notes that calls to `provider`, which cost `cost`, brought no answer.
    pub(super) fn tried(&mut self, provider: &Arc<str>, cost: Money) {
        self.record.provider = provider.clone();
        self.bear(cost);
    }

    /// Notes what was spared.
    pub(super) fn save(&mut self, saved: Savings) {
        self.record.saved = Some(saved).filter(|saved| *saved != Savings::default());
    }

    /// Bears `cost` of an answer that was made for several, whoever made it.
    pub(super) fn bear(&mut self, cost: Money) {
        self.borne = Some(cost);
    }

    /// The provider of the last attempt.
    pub(super) fn provider(&self) -> &str {
        &self.record.provider
    }

    /// Ends the bill without a record and gives back what the request took,
    /// if no attempt was made; otherwise does nothing and returns false.
    pub(super) fn void(&mut self) -> bool {
        if self.settled || self.made.load(Ordering::Relaxed) > 0 {
            return false;
        }
        self.settled = true;
        if let Some((permit, _)) = self.occupied.take() {
            permit.refund();
        }
        true
    }

    /// Counts body bytes sent to the client.
    pub(super) fn sent(&mut self, bytes: usize) {
        if self.record.first_byte_ms.is_none() {
            self.record.first_byte_ms = Some(millis(self.elapsed()));
        }
        self.record.bytes_out += bytes as u64;
    }

    /// Counts bytes that leave right after the settlement.
    pub(super) fn sending(&mut self, bytes: usize) {
        if bytes > 0 {
            self.sent(bytes);
        }
    }

    /// Whether the client has been sent a part of the body.
    pub(super) fn has_sent(&self) -> bool {
        self.record.bytes_out > 0
    }

    /// Notes time that was spent waiting for others.
    pub(super) fn waited(&mut self, waited: Duration) {
        self.waited = waited;
    }

    /// Settles: the record is in the journal, and as safe as configured, when
    /// this returns. A second settlement does nothing.
    ///
    /// # Errors
    /// 503 `storage_unavailable`; the rest of the answer must then not be sent.
    pub(super) async fn settle(
        &mut self,
        outcome: Outcome,
        status: u16,
        tokens: impl FnOnce() -> (Tokens, bool),
    ) -> Result<(), Refusal> {
        let from = self.app.clock.monotonic();
        let settled = self.write(outcome, status, tokens, from)?;
        let durable = self.app.ledger.durable(settled).await;
        self.app.journal_took(durable).map_err(|_| storage_unavailable())?;
        self.app.metrics.ledger_committed(self.app.clock.monotonic().saturating_sub(from));
        Ok(())
    }

    /// Settles an answer from the cache, whose making used `tokens`: it costs
    /// nothing now but what was borne before.
    ///
    /// # Errors
    /// As [`Self::settle`].
    pub(super) async fn settle_recalled(
        &mut self,
        status: u16,
        tokens: Tokens,
        estimated: bool,
    ) -> Result<(), Refusal> {
        self.recalled = true;
        if self.borne.is_none() {
            self.bear(Money::ZERO);
            self.record.unpriced = false;
            self.save(Savings { cache: self.cost(&tokens), ..Savings::default() });
        }
        self.settle(Outcome::Ok, status, || (tokens, estimated)).await
    }

    fn write(
        &mut self,
        outcome: Outcome,
        status: u16,
        tokens: impl FnOnce() -> (Tokens, bool),
        now: Duration,
    ) -> Result<Settled, Refusal> {
        let (settled, duration) = self.put_down(outcome, status, tokens, now)?;
        self.settled = true;
        self.observe(duration);
        self.free_key();
        self.pay();
        if let Some((permit, _)) = &mut self.occupied {
            self.token_standing = permit.settle_tokens(now, self.record.tokens.total());
        }
        self.occupied = None;
        Ok(settled)
    }

    /// Puts the record down as it is `now`, with how long the request took.
    fn put_down(
        &mut self,
        outcome: Outcome,
        status: u16,
        tokens: impl FnOnce() -> (Tokens, bool),
        now: Duration,
    ) -> Result<(Settled, Duration), Refusal> {
        let made = self.made.load(Ordering::Relaxed);
        self.record.attempts = if self.goes_on() { 0 } else { made };
        (self.record.tokens, self.record.estimated) = match self.terms(outcome).tokens {
            _ if self.record.attempts == 0 && self.borne.is_none() => (Tokens::default(), false),
            TokenSource::Settled => tokens(),
            TokenSource::Assumed => (self.assumed, true),
            TokenSource::None => (Tokens::default(), false),
        };
        let charge = self.decide(outcome);
        let cost = self.borne.unwrap_or_else(|| self.cost(&self.record.tokens));
        let duration = now.saturating_sub(self.started);
        let record = &mut self.record;
        record.outcome = outcome;
        record.status = status;
        record.quantity = charge.quantity;
        record.unit_price = charge.unit_price;
        record.list_price = charge.list_price;
        record.rates = charge.rates.filter(|_| charge.quantity > 0).map(charge::rates);
        record.price = charge.price;
        record.cost = cost;
        record.duration_ms = millis(duration);
        let written = self.app.ledger.settle(record);
        let Ok(settled) = self.app.journal_took(written) else {
            self.undecide();
            return Err(storage_unavailable());
        };
        Ok((settled, duration))
    }

    fn observe(&self, duration: Duration) {
        let (series, sample) = self.sample(duration);
        match self.record.outcome {
            Outcome::Revalidation => series.observe_call(&sample),
            _ => series.observe(&sample),
        }
    }

    fn sample(&self, duration: Duration) -> (Arc<Series>, RequestSample) {
        let record = &self.record;
        let labels = RequestLabels {
            class: &record.endpoint,
            model: &record.model_used,
            provider: &record.provider,
            plan: &record.plan,
            code: record.status,
            cache: self.cache.as_str(),
        };
        let sample = RequestSample {
            duration,
            first_byte: record.first_byte_ms.map(Duration::from_millis),
            overhead: duration.saturating_sub(self.waited),
            tokens: record.tokens,
            cost: record.cost,
            revenue: record.price,
            unpriced: record.unpriced && record.attempts > 0,
        };
        if let Some(saved) = &record.saved {
            self.app.metrics.saved(saved);
        }
        (self.app.metrics.series(labels), sample)
    }

    fn elapsed(&self) -> Duration {
        self.app.clock.monotonic().saturating_sub(self.started)
    }
}

impl Drop for Bill<'_> {
    fn drop(&mut self) {
        // A request that nothing was done for is refused, and consumes nothing.
        if self.settled || self.void() {
            return;
        }
        let assumed = self.assumed;
        // Nothing can be done about a store that fails here: the attempt is in
        // the journal, and recovery will close it as lost.
        let now = self.app.clock.monotonic();
        let _unwritable = self.write(Outcome::InternalError, 500, || (assumed, true), now);
    }
}

pub(super) fn storage_unavailable() -> Refusal {
    Refusal::new(
        Code::StorageUnavailable,
        "The request cannot be recorded at the moment, so it is not served.",
    )
    .retry_after(Duration::from_secs(1))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
