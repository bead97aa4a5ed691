//! From a key to an identity.

use super::*;
use crate::base::money::Money;
use crate::base::secret::Secret;
use crate::config::Billing;

const DEFAULTS: UserLimits =
    UserLimits { per_minute: 60, per_hour: 1_000, per_day: 10_000, concurrent: 50 };

fn plan(name: &str, per_minute: Option<u32>, concurrent: Option<u32>) -> Arc<Plan> {
    Arc::new(Plan {
        name: name.into(),
        billing: Billing::Metered,
        monthly_price: Money::ZERO,
        requests_per_month: None,
        requests_per_minute: per_minute,
        requests_per_hour: None,
        requests_per_day: None,
        concurrent,
        features: Vec::new(),
    })
}

fn given(account: &str, key: &str, plan: &Arc<Plan>) -> StaticKey {
    StaticKey { account: account.into(), plan: Arc::clone(plan), key: Secret::new(key) }
}

fn ring(keys: &[StaticKey]) -> Result<Keyring, SharedKey> {
    Keyring::of_configuration(KeyHasher::new([1; 32]), keys, &DEFAULTS)
}

/// Covers F1: a plan's own figure replaces the default of the same window.
#[test]
fn a_key_gives_account_plan_and_limits() {
    let (free, pro) = (plan("free", Some(5), None), plan("pro", None, Some(7)));
    let keys = [
        given("demo", "demo-key-1", &free),
        given("demo", "demo-key-2", &free),
        given("shop", "shop-key-1", &pro),
        given("later", "", &pro),
    ];
    let ring = ring(&keys).unwrap();
    assert_eq!(ring.len(), 3);

    let first = ring.identify("demo-key-1").unwrap();
    let second = ring.identify("demo-key-2").unwrap();
    assert_eq!((&*first.account, &*first.plan.name), ("demo", "free"));
    assert_eq!(first.account, second.account);
    assert_ne!(first.key_id, second.key_id);
    assert_eq!((first.limits.per_minute, first.limits.per_hour), (5, 1_000));
    assert_eq!((first.limits.per_day, first.limits.concurrent), (10_000, 50));

    let shop = ring.identify("shop-key-1").unwrap();
    assert_eq!((&*shop.account, shop.limits.per_minute, shop.limits.concurrent), ("shop", 60, 7));
}

#[test]
fn an_unknown_key_is_nobody() {
    let ring = ring(&[given("demo", "demo-key-1", &plan("free", None, None))]).unwrap();
    for key in ["demo-key-2", "demo-key-", "demo-key-11", "", "DEMO-KEY-1"] {
        assert!(ring.identify(key).is_none(), "{key:?}");
    }
    assert!(self::ring(&[]).unwrap().is_empty());
}

#[test]
fn one_key_for_two_accounts_is_an_error_that_does_not_show_the_key() {
    let free = plan("free", None, None);
    let twice = [given("demo", "same-key-1", &free), given("demo", "same-key-1", &free)];
    assert_eq!(ring(&twice).unwrap().len(), 1);
    let shared = [given("demo", "same-key-1", &free), given("shop", "same-key-1", &free)];
    let error = ring(&shared).unwrap_err();
    assert_eq!(error, SharedKey { first: "demo".into(), second: "shop".into() });
    assert!(!error.to_string().contains("same-key-1"));
    assert!(!format!("{:?}", ring(&twice).unwrap()).contains("same-key-1"));
}
