//! One account, `shop`, with a ledger, a store and a clock of its own.

use std::sync::Arc;
use std::time::Duration;

use super::super::invoice::Line;
use super::super::*;
use crate::accounts::{Change, NewAccount, Registry};
use crate::admin::fixture;
use crate::base::clock::{TestClock, Timestamp};
use crate::base::id::{RecordId, RecordIds};
use crate::config::Durability;
use crate::ledger::record::Outcome;
use crate::ledger::{Replay, Settled};
use crate::telemetry::metrics::Metrics;

/// 2026-11-01T00:00:00Z.
const NOVEMBER: Timestamp = Timestamp(1_793_491_200_000_000);
const DAY: Duration = Duration::from_secs(86_400);

pub(super) struct World {
    pub(super) biller: Arc<Biller>,
    pub(super) registry: Arc<Registry>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) clock: Arc<TestClock>,
    pub(super) config: Arc<Config>,
    pub(super) ids: RecordIds,
    pub(super) dir: tempfile::TempDir,
}

impl World {
    /// With the plans `free` and `pro`, the latter at 30 a month.
    pub(super) fn new(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = fixture::config(dir.path());
        if let Some(pro) = config.plans.get_mut(1) {
            let monthly_price = money("30");
            *pro = Arc::new(crate::config::Plan { monthly_price, ..(**pro).clone() });
        }
        change(&mut config);
        let clock = Arc::new(TestClock::at(NOVEMBER));
        let ledger =
            Ledger::open(dir.path(), Durability::Process, clock.clone(), Replay::none()).unwrap();
        let (config, ledger) = (Arc::new(config), Arc::new(ledger));
        let metrics = Arc::new(Metrics::new([]).unwrap());
        let time: Arc<dyn Clock> = clock.clone();
        let webhooks = fixture::webhooks(&config, &time, &metrics);
        let (registry, biller) =
            fixture::registry(dir.path(), &ledger, &config, time, &metrics, &webhooks);
        Self { biller, registry, ledger, clock, config, ids: RecordIds::default(), dir }
    }

    pub(super) fn shop(&self, plan: &str) -> &Self {
        let (id, name) = (Some("shop".to_owned()), "Shop".to_owned());
        let wanted = NewAccount { id, name, plan: plan.to_owned(), ..NewAccount::default() };
        self.registry.create(wanted).unwrap();
        self
    }

    /// The same after the ledger was lost.
    pub(super) fn without_ledger(&mut self) {
        let elsewhere = self.dir.path().join("elsewhere");
        let clock: Arc<dyn Clock> = self.clock.clone();
        let ledger = Ledger::open(&elsewhere, Durability::Process, clock, Replay::none()).unwrap();
        self.ledger = Arc::new(ledger);
        let ledger = self.ledger.clone();
        let biller = Arc::get_mut(&mut self.biller).unwrap();
        biller.parts.ledger = ledger;
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.wall()
    }

    /// The same with another billing time zone, as after a reload.
    pub(super) fn zone(&mut self, name: &str) {
        let timezone = jiff::tz::TimeZone::get(name).unwrap();
        self.config = Arc::new(Config { timezone, ..(*self.config).clone() });
    }

    pub(super) fn plan(&self, plan: &str) {
        let change = Change { plan: Some(plan.to_owned()), ..Change::default() };
        self.registry.change("shop", change).unwrap();
    }

    /// A charged request of the present moment.
    pub(super) fn request(&self, price: &str) {
        self.request_of(self.clock.wall(), price);
    }

    /// A request that came in at `now`, and ends only now.
    pub(super) fn request_of(&self, now: Timestamp, price: &str) -> RecordId {
        let mut record = fixture::record(now, "shop", "chat");
        record.id = self.ids.next(now);
        record.unit_price = money(price);
        record.price = record.unit_price;
        let _settled: Settled = self.ledger.settle(&record).unwrap();
        record.id
    }

    /// A request of `then` that failed here, so that it is not charged.
    pub(super) fn failure_of(&self, then: Timestamp, price: &str) -> RecordId {
        let mut record = fixture::record(then, "shop", "chat");
        record.id = self.ids.next(then);
        (record.status, record.outcome) = (503, Outcome::InternalError);
        (record.quantity, record.unit_price, record.price) = (0, money(price), Money::ZERO);
        let _settled: Settled = self.ledger.settle(&record).unwrap();
        record.id
    }

    pub(super) fn pass(&self, days: u32) -> &Self {
        self.clock.advance(DAY * days);
        self
    }

    pub(super) fn generate(&self, month: &str) -> Result<Invoice, Refused> {
        self.biller.draft(&self.config, month.parse().unwrap(), "shop", false)
    }

    pub(super) fn draft(&self, month: &str) -> Invoice {
        self.generate(month).unwrap()
    }

    pub(super) fn finalize(&self, invoice: &Invoice) -> Result<Invoice, Refused> {
        self.biller.finalize(&self.config, &invoice.content.id, None)
    }

    pub(super) fn closed(&self, month: &str) -> Invoice {
        self.finalize(&self.draft(month)).unwrap()
    }

    pub(super) fn adjust(&self, amount: &str, month: Option<&str>) -> Result<Adjustment, Refused> {
        self.make(AdjustmentKind::Invoice, amount, month)
    }

    pub(super) fn make(
        &self,
        kind: AdjustmentKind,
        amount: &str,
        month: Option<&str>,
    ) -> Result<Adjustment, Refused> {
        let wanted = NewAdjustment {
            kind,
            account: "shop".to_owned(),
            amount: money(amount),
            description: "because".to_owned(),
            month: month.map(|month| month.parse().unwrap()),
        };
        self.biller.adjust(&self.config, wanted)
    }
}

pub(super) fn money(text: &str) -> Money {
    text.parse().unwrap()
}

pub(super) fn shown(invoice: &Invoice) -> Vec<String> {
    let line = |line: &Line| {
        let Line { endpoint, description, quantity, unit_price, total, .. } = line;
        format!("{endpoint}|{description}|{quantity}|{unit_price}|{total}")
    };
    invoice.content.lines.iter().map(line).collect()
}
