//! The bill of one request: opened when it is ordered, settled exactly once
//! whatever happens.
//!
//! Invariants: each attempt at a provider is in the journal before the provider
//! sees it; the settlement is in the journal before the last byte of the answer
//! is sent. A bill that is dropped unsettled (a panic, a stopped task, a refusal
//! after the order) settles itself if a provider may have been called, and gives
//! everything back if not.

pub(super) mod opaque;
mod prices;

use std::sync::Arc;
use std::time::Duration;

use crate::admission::Permit;
use crate::admission::queue::{CallSlot, Who};
use crate::app::App;
use crate::auth::keyring::Identity;
use crate::base::money::Money;
use crate::config::{Class, Target, TokenPrices};
use crate::exchange::{CacheResult, Exchange};
use crate::intake::endpoint::Endpoint;
use crate::intake::request::Request;
use crate::ledger::Settled;
use crate::ledger::record::{Attempt, Outcome, Tokens, UsageRecord};
use crate::meter::policy::{self, TokenSource};
use crate::meter::quote::{Ended, Quote};
use crate::pipeline::bounds;
use crate::refusal::{Code, Refusal};
use crate::route::catalog::Route;
use crate::telemetry::metrics::labels::Scope;
use crate::telemetry::metrics::{RequestLabels, RequestSample, Running};

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
    record: UsageRecord,
    /// Where the request runs.
    pub(super) route: Route,
    /// The endpoint.
    pub(super) endpoint: Endpoint,
    quote: Quote,
    /// What the provider that is called charges; `None` is unpriced.
    prices: Option<TokenPrices>,
    /// The month that the request counts in.
    month: u32,
    started: Duration,
    waited: Duration,
    /// What the request is expected to use.
    assumed: Tokens,
    /// The most that it can use.
    bound: Tokens,
    /// What the cache had to do with the answer.
    cache: CacheResult,
    /// Whether the answer came from there.
    recalled: bool,
    settled: bool,
    /// What the request occupies: freed by the settlement, so that a client that
    /// has its answer can send its next request.
    occupied: Option<(Permit, Running)>,
    /// The slot of the call to a provider, from before it is made to the end of
    /// its answer.
    slot: Option<CallSlot>,
    /// Counts the call to a provider that runs.
    calling: Option<Running>,
}

impl<'a> Bill<'a> {
    /// The bill of what is ordered.
    pub(super) fn open(app: &'a App, exchange: &Exchange, order: Order<'_>) -> Self {
        let Order { caller, class, quote, endpoint, route, request, text_hash, cache_key } = order;
        let cost = route.target(0).and_then(|target| route.cost(target));
        let assumed = bounds::assumed(endpoint, request);
        let names = &app.names;
        let record = UsageRecord {
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
            bytes_in: request.body().len() as u64,
            bytes_out: 0,
            duration_ms: 0,
            first_byte_ms: None,
            text_hash,
            cache_key,
            complexity: None,
            metadata: request.metadata_text().map(Arc::from),
            rates: None,
        };
        Self {
            app,
            record,
            route,
            endpoint,
            quote,
            prices: cost,
            month: prices::month(app, exchange),
            started: exchange.started,
            waited: exchange.waited,
            assumed,
            bound: bounds::most(endpoint, request),
            cache: exchange.cache,
            recalled: false,
            settled: false,
            occupied: None,
            slot: None,
            calling: None,
        }
    }

    /// Keeps `permit` until the request is settled.
    pub(super) fn holding(mut self, permit: Permit) -> Self {
        self.occupied = Some((permit, self.app.metrics.enter(Scope::Requests)));
        self
    }

    /// The provider of the last attempt.
    pub(super) fn provider(&self) -> &str {
        &self.record.provider
    }

    /// Names the target of the attempts that follow.
    pub(super) fn aim(&mut self, target: &Target) {
        self.record.provider = target.provider.name.clone();
        self.prices = self.route.cost(target);
        self.record.unpriced = self.prices.is_none();
    }

    /// Who asks for a slot.
    pub(super) fn who(&self) -> Who<'_> {
        Who { account: &self.record.account }
    }

    /// Whether it holds a slot for a call.
    pub(super) fn has_slot(&self) -> bool {
        self.slot.is_some()
    }

    /// Holds `slot` until the provider's answer has ended.
    pub(super) fn call_in(&mut self, slot: CallSlot) {
        self.slot = Some(slot);
    }

    /// Frees the slot: no call runs for now.
    pub(super) fn let_go(&mut self) {
        (self.calling, self.slot) = (None, None);
    }

    /// Ends the bill without a record and gives back what the request took,
    /// if no attempt was made; otherwise does nothing and returns false.
    pub(super) fn void(&mut self) -> bool {
        if self.settled || self.record.attempts > 0 {
            return false;
        }
        self.settled = true;
        self.let_go();
        if let Some((permit, _)) = self.occupied.take() {
            permit.refund();
        }
        true
    }

    /// Writes down an attempt that is about to be made.
    ///
    /// # Errors
    /// 503 `storage_unavailable`; the provider must then not be called.
    pub(super) fn attempt(&mut self) -> Result<(), Refusal> {
        let record = &self.record;
        let attempt = Attempt {
            record: record.id,
            number: record.attempts + 1,
            time: self.app.clock.wall(),
            request_id: record.request_id.clone(),
            account: record.account.clone(),
            key_id: record.key_id.clone(),
            plan: record.plan.clone(),
            endpoint: record.endpoint.clone(),
            path: record.path.clone(),
            model_asked: record.model_asked.clone(),
            model_used: record.model_used.clone(),
            provider: record.provider.clone(),
            tier: record.tier.clone(),
            stream: record.stream,
            list_price: record.list_price,
            estimated_input: self.assumed.input,
            estimated_cost: self.cost(&self.assumed),
            unpriced: record.unpriced,
            bytes_in: record.bytes_in,
        };
        self.app
            .journal_took(self.app.ledger.begin(&attempt))
            .map_err(|_| storage_unavailable())?;
        self.record.attempts += 1;
        self.calling = Some(self.app.metrics.enter(Scope::Provider));
        Ok(())
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
        let settled = self.write(outcome, status, tokens)?;
        self.app.ledger.durable(settled).await.map_err(|_| storage_unavailable())?;
        self.app.metrics.ledger_committed(self.app.clock.monotonic().saturating_sub(from));
        Ok(())
    }

    /// Settles an answer from the cache, whose making used `tokens`: it costs
    /// nothing now, and is priced like any other.
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
        self.settle(Outcome::Ok, status, || (tokens, estimated)).await?;
        self.app.metrics.saved_by_cache(self.cost(&tokens));
        Ok(())
    }

    /// The record as it stands.
    pub(super) fn record(&self) -> &UsageRecord {
        &self.record
    }

    fn write(
        &mut self,
        outcome: Outcome,
        status: u16,
        tokens: impl FnOnce() -> (Tokens, bool),
    ) -> Result<Settled, Refusal> {
        (self.record.tokens, self.record.estimated) = match policy::terms(outcome).tokens {
            _ if self.record.attempts == 0 && !self.recalled => (Tokens::default(), false),
            TokenSource::Settled => tokens(),
            TokenSource::Assumed => (self.assumed, true),
            TokenSource::None => (Tokens::default(), false),
        };
        let (number, taken) = self.number(outcome);
        let charge = self.quote.charge(&Ended {
            outcome,
            recalled: self.recalled,
            tokens: &self.record.tokens,
            cost: self.prices.as_ref(),
            number,
        });
        let cost = if self.recalled { Money::ZERO } else { self.cost(&self.record.tokens) };
        let duration = self.elapsed();
        let record = &mut self.record;
        record.outcome = outcome;
        record.status = status;
        record.quantity = charge.quantity;
        record.unit_price = charge.unit_price;
        record.list_price = charge.list_price;
        record.rates = charge.rates.filter(|_| charge.quantity > 0).map(prices::rates);
        record.price = charge.price;
        record.cost = cost;
        record.unpriced &= !self.recalled;
        record.duration_ms = millis(duration);
        let written = self.app.ledger.settle(record);
        let settled = self.app.journal_took(written).map_err(|_| {
            if taken && let Some((permit, _)) = &self.occupied {
                permit.volume().give_back(&self.record.endpoint, self.month);
            }
            storage_unavailable()
        })?;
        self.settled = true;
        self.observe(duration);
        if let Some((permit, _)) = self.occupied.as_mut().filter(|_| charge.quantity > 0) {
            permit.charge();
        }
        self.occupied = None;
        self.let_go();
        Ok(settled)
    }

    fn observe(&self, duration: Duration) {
        let record = &self.record;
        let labels = RequestLabels {
            class: &record.endpoint,
            model: &record.model_used,
            provider: &record.provider,
            plan: &record.plan,
            code: record.status,
            cache: self.cache.as_str(),
        };
        self.app.metrics.series(labels).observe(&RequestSample {
            duration,
            first_byte: record.first_byte_ms.map(Duration::from_millis),
            overhead: duration.saturating_sub(self.waited),
            tokens: record.tokens,
            cost: record.cost,
            revenue: record.price,
            unpriced: record.unpriced && record.attempts > 0,
        });
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
        let _unwritable = self.write(Outcome::InternalError, 500, || (assumed, true));
    }
}

fn storage_unavailable() -> Refusal {
    Refusal::new(
        Code::StorageUnavailable,
        "The request cannot be recorded at the moment, so it is not served.",
    )
    .retry_after(Duration::from_secs(1))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
