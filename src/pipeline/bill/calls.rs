//! The calls that one request makes to providers, written down one by one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::admission::queue::{CallSlot, Priority, Who};
use crate::app::App;
use crate::base::money::Money;
use crate::config::TokenPrices;
use crate::ledger::record::{Attempt, Tokens, UsageRecord};
use crate::meter::price;
use crate::pipeline::bill::{Bill, storage_unavailable};
use crate::refusal::Refusal;
use crate::telemetry::metrics::Running;
use crate::telemetry::metrics::labels::Scope;

/// A request's calls. They are apart from its bill, because a call may go on when
/// the client whose request it was has left.
pub(in crate::pipeline) struct Calls<'a> {
    app: &'a App,
    /// What the next frame says.
    frame: Attempt,
    /// What the account's things at providers are kept under.
    owner: Arc<str>,
    /// What a call is expected to use.
    assumed: Tokens,
    /// What the provider of the calls charges; `None` is unpriced.
    prices: Option<TokenPrices>,
    /// The request's share of calls before these, which were made for others too.
    spent: Money,
    /// How many calls had been made by then.
    before: u32,
    priority: Priority,
    /// Calls made; the bill knows them too.
    made: Arc<AtomicU32>,
    /// The slot, from before a call is made to the end of its answer.
    slot: Option<CallSlot>,
    /// Counts the call that runs.
    calling: Option<Running>,
}

impl<'a> Bill<'a> {
    /// The calls that the request makes.
    pub(in crate::pipeline) fn calls(&self) -> Calls<'a> {
        let record = &self.record;
        let frame = Attempt {
            record: record.id,
            number: 0,
            time: record.time,
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
            session: record.session,
        };
        let (app, priority, made) = (self.app, self.priority, self.made.clone());
        let (assumed, prices) = (self.assumed, self.prices);
        let owner = self.owner.clone();
        let (spent, before, slot, calling) = (Money::ZERO, 0, None, None);
        Calls { app, frame, owner, assumed, prices, spent, before, priority, made, slot, calling }
    }
}

impl<'a> Calls<'a> {
    /// Further calls of the request, expected to use `assumed`.
    pub(in crate::pipeline) fn expecting(&self, assumed: Tokens) -> Calls<'a> {
        let (app, prices, priority) = (self.app, self.prices, self.priority);
        let mut frame = self.frame.clone();
        frame.estimated_input = assumed.input;
        let (made, owner) = (self.made.clone(), self.owner.clone());
        let (spent, before, slot, calling) = (Money::ZERO, 0, None, None);
        Calls { app, frame, owner, assumed, prices, spent, before, priority, made, slot, calling }
    }

    /// Notes that the calls so far were made for others too and brought the request
    /// nothing, and its share of what they cost.
    pub(in crate::pipeline) fn spend(&mut self, share: Money) {
        self.spent += share;
        self.before = self.made.load(Ordering::Relaxed);
    }

    /// Whether something was spent on such calls.
    pub(in crate::pipeline) fn has_spent(&self) -> bool {
        !self.spent.is_zero()
    }

    /// Names the provider of the calls that follow, and what it charges.
    pub(in crate::pipeline) fn aim(&mut self, provider: &Arc<str>, prices: Option<TokenPrices>) {
        self.frame.provider = provider.clone();
        self.prices = prices;
        self.frame.unpriced = prices.is_none();
        self.frame.estimated_cost = self.cost(&self.assumed);
    }

    /// What the provider of the calls charges; `None` is unpriced.
    pub(in crate::pipeline) const fn prices(&self) -> Option<TokenPrices> {
        self.prices
    }

    /// What a call is expected to use.
    pub(in crate::pipeline) const fn assumed(&self) -> Tokens {
        self.assumed
    }

    /// What it charges for `tokens`; nothing where that is not known.
    pub(in crate::pipeline) fn cost(&self, tokens: &Tokens) -> Money {
        self.prices.as_ref().map_or(Money::ZERO, |prices| price::cost(tokens, prices))
    }

    /// What the request bears if `tokens` are charged now, with what it has spent before.
    pub(in crate::pipeline) fn cost_in_all(&self, tokens: &Tokens) -> Money {
        self.cost(tokens) + self.spent
    }

    /// What the last frame says, or the next one if no call was made.
    pub(in crate::pipeline) const fn frame(&self) -> &Attempt {
        &self.frame
    }

    /// What the account's things at providers are kept under.
    pub(in crate::pipeline) fn owner(&self) -> &str {
        &self.owner
    }

    /// Who asks for a slot.
    pub(in crate::pipeline) fn who(&self) -> Who<'_> {
        Who { account: &self.frame.account, priority: self.priority }
    }

    /// Whether there is a slot for a call.
    pub(in crate::pipeline) const fn has_slot(&self) -> bool {
        self.slot.is_some()
    }

    /// Holds `slot` until the provider's answer has ended.
    pub(in crate::pipeline) fn call_in(&mut self, slot: CallSlot) {
        self.slot = Some(slot);
    }

    /// Frees the slot: no call runs for now.
    pub(in crate::pipeline) fn let_go(&mut self) {
        self.slot = None;
        // After the slot: where no call is counted, the next one finds it free.
        self.calling = None;
    }

    /// Whether a call was made, for the request alone.
    pub(in crate::pipeline) fn any(&self) -> bool {
        self.made.load(Ordering::Relaxed) > self.before
    }

    /// Writes down that the call goes on as a part of the session that `record` is
    /// to be the next record of.
    ///
    /// # Errors
    /// 503 `storage_unavailable`; the session must then end.
    pub(super) fn go_on(&mut self, record: &UsageRecord) -> Result<(), Refusal> {
        (self.frame.record, self.frame.time) = (record.id, record.time);
        self.frame.session = record.session;
        let begun = self.app.ledger.begin(&self.frame);
        self.app.journal_took(begun).map_err(|_| storage_unavailable())
    }

    /// Writes down a call that is about to be made.
    ///
    /// # Errors
    /// 503 `storage_unavailable`; the provider must then not be called.
    pub(in crate::pipeline) fn attempt(&mut self) -> Result<(), Refusal> {
        self.frame.number = self.made.load(Ordering::Relaxed) + 1;
        self.frame.time = self.app.clock.wall();
        self.app
            .journal_took(self.app.ledger.begin(&self.frame))
            .map_err(|_| storage_unavailable())?;
        self.made.store(self.frame.number, Ordering::Relaxed);
        self.calling = Some(self.app.metrics.enter(Scope::Provider));
        Ok(())
    }
}
