use std::time::Duration;

use super::*;
use crate::base::clock::{TestClock, Timestamp};
use crate::base::secret::Secret;
use crate::config::INVOICE_FINALIZED;
use crate::notice::Kind;

const NOW: Timestamp = Timestamp(1_795_496_400_000_000);

struct Fixture {
    clock: Arc<TestClock>,
    metrics: Arc<Metrics>,
    outbox: Arc<EmbeddedOutbox>,
    webhooks: Arc<Webhooks>,
    _dir: tempfile::TempDir,
}

/// Addresses that nothing is sent to: nobody runs the sending.
fn hook(number: u32) -> Arc<Webhook> {
    Arc::new(Webhook {
        url: Secret::new(format!("http://127.0.0.1:1/{number}")),
        shown: "http://127.0.0.1:1".into(),
        secret: Secret::new("0123456789abcdef"),
        events: None,
    })
}

impl Fixture {
    fn new(hooks: &[Arc<Webhook>]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let outbox = Arc::new(EmbeddedOutbox::open(&store).unwrap());
        let clock = Arc::new(TestClock::at(NOW));
        let metrics = Arc::new(Metrics::new([]).unwrap());
        let webhooks =
            Webhooks::open(outbox.clone(), clock.clone(), metrics.clone(), hooks).unwrap();
        Self { clock, metrics, outbox, webhooks, _dir: dir }
    }

    fn waiting(&self) -> Vec<Waiting> {
        let mut waiting = Vec::new();
        self.outbox.waiting(&mut |one| waiting.push(one)).unwrap();
        waiting
    }

    /// The events that somebody waits for.
    fn kept(&self) -> Vec<Entry> {
        let mut ids: Vec<_> = self.waiting().iter().map(|one| one.id).collect();
        ids.dedup();
        ids.into_iter().map(|id| self.outbox.entry(id).unwrap().unwrap()).collect()
    }

    /// Has so many events of this kind wait, without a disk's wait for each.
    fn post(&self, kind: &'static str, count: usize) -> Vec<RecordId> {
        let event = || self.webhooks.event(kind, json!({}));
        let kept = (0..count).flat_map(|_| self.webhooks.keep(&event(), None).unwrap());
        let kept: Vec<Waiting> = kept.collect();
        self.webhooks.release(kept.clone());
        kept.into_iter().map(|one| one.id).collect()
    }

    fn metric(&self, series: &str) -> u64 {
        let text = self.metrics.render().unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap().parse().unwrap()
    }
}

fn notice(account: &str, threshold: u8, month: &str) -> Notice {
    Notice {
        account: account.into(),
        key_id: None,
        kind: Kind::Quota,
        threshold,
        used: "80".to_owned(),
        limit: "100".to_owned(),
        month: month.to_owned(),
    }
}

#[test]
fn a_notice_is_kept_once_for_each_account_threshold_and_month() {
    let it = Fixture::new(&[hook(1)]);
    for _ in 0..3 {
        it.webhooks.raise(notice("a", 80, "2026-11"));
        it.webhooks.raise(notice("a", 100, "2026-11"));
        it.webhooks.raise(notice("b", 80, "2026-11"));
        it.webhooks.raise(notice("a", 80, "2026-12"));
        it.webhooks.keep_raised();
    }
    assert_eq!(it.kept().len(), 4);
    let data: Value = serde_json::from_str(&it.kept()[0].data).unwrap();
    let expected = json!({
        "account": "a", "key_id": null, "kind": "quota", "threshold": 80, "used": "80",
        "limit": "100", "month": "2026-11",
    });
    assert_eq!(data, expected);
}

#[test]
fn what_nobody_hears_is_announced_once_somebody_does() {
    let it = Fixture::new(&[]);
    it.webhooks.raise(notice("a", 80, "2026-11"));
    it.webhooks.keep_raised();
    assert_eq!(it.kept(), []);
    it.webhooks.configure(&[hook(1)]);
    let used_up = || vec![notice("a", 80, "2026-11")];
    it.webhooks.keep_missed(&used_up);
    assert_eq!(it.kept().len(), 1);
    it.webhooks.configure(&[hook(2), hook(1)]);
    it.webhooks.keep_missed(&used_up);
    assert_eq!(it.kept().len(), 1);
}

#[test]
fn notices_for_which_there_is_no_room_are_found_again() {
    let it = Fixture::new(&[hook(1)]);
    it.webhooks.keep_missed(&Vec::new);
    let all: Vec<Notice> =
        (0..=MOST_RAISED).map(|n| notice(&format!("a{n}"), 80, "2026-11")).collect();
    all.iter().for_each(|notice| it.webhooks.raise(notice.clone()));
    it.webhooks.keep_raised();
    assert_eq!(it.kept().len(), MOST_RAISED);
    it.webhooks.keep_missed(&|| all.clone());
    assert_eq!(it.kept().len(), MOST_RAISED + 1);
}

#[test]
fn an_address_that_is_gone_holds_nothing_back() {
    let it = Fixture::new(&[hook(1), hook(2)]);
    let event = it.webhooks.event(QUOTA_WARNING, json!({}));
    assert_eq!(it.webhooks.post(&event, None).unwrap(), 2);
    it.webhooks.configure(&[hook(2)]);
    let waiting: Vec<_> = it.waiting().iter().map(|one| one.recipient).collect();
    assert_eq!(waiting, [recipient(&hook(2))]);
    assert_eq!(it.metric("tollgate_outbox_pending"), 1);
    it.webhooks.configure(&[hook(3)]);
    assert_eq!(it.kept(), []);
    assert_eq!(it.metric("tollgate_outbox_pending"), 0);
}

#[test]
fn of_too_many_events_the_oldest_go() {
    let it = Fixture::new(&[hook(1)]);
    let of_money = it.post(INVOICE_FINALIZED, 3);
    let others = it.post(QUOTA_WARNING, MOST + 2);
    let kept: Vec<_> = it.waiting().iter().map(|one| one.id).collect();
    assert_eq!(kept, [&of_money, &others[2..]].concat(), "but none that tells of money");
    assert_eq!(it.metric("tollgate_outbox_dropped_total"), 2);
    assert_eq!(it.metric("tollgate_outbox_pending"), 10_003);
    assert_eq!(it.webhooks.standing()[0].pending, MOST + 3);
}

/// However many tell of money: each waits, and each is there after a start.
#[test]
fn no_event_that_tells_of_money_is_lost_for_want_of_room() {
    let it = Fixture::new(&[hook(1)]);
    let of_money = it.post(INVOICE_FINALIZED, MOST + 2);
    let other = it.post(QUOTA_WARNING, 1);
    let again = Webhooks::open(it.outbox.clone(), it.clock.clone(), it.metrics.clone(), &[hook(1)]);
    assert_eq!(again.unwrap().standing()[0].pending, MOST + 3);
    let kept: Vec<_> = it.waiting().iter().map(|one| one.id).collect();
    assert_eq!(kept, [of_money, other].concat());
    assert_eq!(it.metric("tollgate_outbox_dropped_total"), 0);
}

#[test]
fn marks_of_months_long_over_are_forgotten() {
    let it = Fixture::new(&[hook(1)]);
    let raise = |account: &str, month: &str| {
        it.webhooks.raise(notice(account, 80, month));
        it.webhooks.keep_raised();
        it.kept().len()
    };
    assert_eq!((raise("a", "2026-11"), raise("b", "2026-11")), (1, 2));
    // Two months on it may still be announced, though not again.
    it.clock.advance(Duration::from_secs(60 * 86_400));
    assert_eq!((raise("a", "2027-01"), raise("a", "2026-11")), (3, 3));
    // Nobody has reloaded anything since.
    it.clock.advance(Duration::from_secs(30 * 86_400));
    assert_eq!((raise("a", "2027-02"), raise("a", "2026-11")), (4, 5));
    assert_eq!(month_before("2026-01").as_deref(), Some("2025-12"));
    assert_eq!(month_before("2026-12").as_deref(), Some("2026-11"));
}
