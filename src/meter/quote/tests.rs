mod exact;

use std::sync::Arc;

use super::*;
use crate::admin::fixture;
use crate::base::factor::Factor;
use crate::config::{Rates, Tariff, TokenTariff, VolumeTier};

fn money(text: &str) -> Money {
    text.parse().unwrap()
}

fn class(basis: Basis, cached: Option<&str>) -> Class {
    let pricing = Pricing { basis, cached: cached.map(money) };
    Class { tariff: Tariff::new(pricing, Vec::new()), ..Class::clone(&fixture::class("docs")) }
}

fn by_request(price: &str) -> Class {
    class(Basis::Request(money(price)), None)
}

fn quote(class: &Class, billing: Billing) -> Quote {
    Quote::new(class, None, billing, Timestamp(1))
}

/// gpt-4o-mini as shipped: $0.15, $0.075 and $0.60 per million tokens.
const COST: TokenPrices = TokenPrices {
    input: Money::from_picos(150_000),
    cached_input: Money::from_picos(75_000),
    cache_write: Money::from_picos(187_500),
    output: Money::from_picos(600_000),
};

const TOKENS: Tokens =
    Tokens { input: 1_000, cached_input: 300, output: 200, reasoning: 50, cache_write: 0 };

fn ended(outcome: Outcome) -> Ended<'static> {
    Ended { outcome, recalled: false, tokens: &TOKENS, cost: Some(&COST), number: 1, beyond: false }
}

fn charge(class: &Class, ended: &Ended<'_>) -> Charge {
    quote(class, Billing::Metered).charge(ended)
}

/// Covers A5.
#[test]
fn a_metered_request_is_charged_at_the_class_price() {
    let price = money("0.03");
    let expected = Charge { quantity: 1, unit_price: price, list_price: price, price, rates: None };
    assert_eq!(charge(&by_request("0.03"), &ended(Outcome::Ok)), expected);
}

/// Covers A5.
#[test]
fn an_included_request_is_free_and_its_list_price_recorded() {
    let charge = quote(&by_request("0.03"), Billing::Included).charge(&ended(Outcome::Ok));
    let (zero, list_price) = (Money::ZERO, money("0.03"));
    let expected = Charge { quantity: 1, unit_price: zero, list_price, price: zero, rates: None };
    assert_eq!(charge, expected);
}

#[test]
fn what_the_policy_does_not_charge_has_quantity_zero() {
    for outcome in [
        Outcome::ProviderError,
        Outcome::ClientGoneEarly,
        Outcome::Cut,
        Outcome::Lost,
        Outcome::InternalError,
    ] {
        let free = charge(&by_request("0.03"), &ended(outcome));
        assert_eq!((free.quantity, free.price), (0, Money::ZERO), "{outcome:?}");
        assert_eq!(free.unit_price, money("0.03"), "{outcome:?}");
    }
    let late = charge(&by_request("0.03"), &ended(Outcome::ClientGoneLate));
    assert_eq!(late.price, money("0.03"));
}

/// Covers A4: the overage price replaces all others, under either billing.
#[test]
fn a_request_beyond_the_quota_costs_the_overage() {
    let class = class(Basis::Request(money("0.03")), Some("0.01"));
    let overage = money("0.05");
    for (billing, own) in
        [(Billing::Metered, None), (Billing::Included, None), (Billing::Metered, Some("0.02"))]
    {
        let quote = Quote::new(&class, own.map(money), billing, Timestamp(1));
        let within = quote.known();
        let quote = quote.beyond(Some(overage));
        let charged = |beyond, recalled, outcome| {
            let charge = quote.charge(&Ended { beyond, recalled, ..ended(outcome) });
            (charge.quantity, charge.price)
        };
        assert_eq!(charged(false, false, Outcome::Ok), (1, within.unwrap()));
        assert_eq!(charged(true, false, Outcome::Ok), (1, overage));
        assert_eq!(charged(true, true, Outcome::Ok), (1, overage));
        assert_eq!(charged(true, false, Outcome::Cut), (0, Money::ZERO));
        assert_eq!(quote.charge(&ended(Outcome::Ok)).list_price, money("0.03"));
        assert_eq!(quote.known(), None, "which one it is shows when it settles");
        assert_eq!(quote.clone().beyond(within).known(), within);
        let most = |quote: &Quote| quote.most(&TOKENS, std::iter::empty());
        assert_eq!(most(&quote), overage);
        let little = quote.clone().beyond(Some(money("0.001")));
        assert_eq!(most(&little), most(&quote.clone().beyond(None)).max(money("0.001")));
    }
}

/// Covers A6.
#[test]
fn an_accounts_own_price_replaces_the_classs() {
    let class = class(Basis::Request(money("0.02")), Some("0.01"));
    let charged = |own: &str, recalled| {
        let quote = Quote::new(&class, Some(money(own)), Billing::Metered, Timestamp(1));
        let charge = quote.charge(&Ended { recalled, ..ended(Outcome::Ok) });
        (charge.price.to_string(), charge.list_price.to_string())
    };
    assert_eq!(charged("0.015", false), ("0.015".into(), "0.02".into()));
    assert_eq!(charged("0.015", true), ("0.01".into(), "0.01".into()));
    assert_eq!(charged("0.005", true), ("0.005".into(), "0.01".into()), "no dearer than its own");
}

/// Covers B3.
#[test]
fn a_recalled_request_has_its_own_price_where_there_is_one() {
    let recalled = Ended { recalled: true, ..ended(Outcome::Ok) };
    let dear = class(Basis::Request(money("0.02")), None);
    assert_eq!(charge(&dear, &recalled).price, money("0.02"));
    let cheap = class(Basis::Request(money("0.02")), Some("0.004"));
    assert_eq!(charge(&cheap, &recalled).price, money("0.004"));
    assert_eq!(charge(&cheap, &ended(Outcome::Ok)).price, money("0.02"));
    let free = class(Basis::Request(money("0.02")), Some("0"));
    assert_eq!(charge(&free, &recalled).price, Money::ZERO);
}

fn by_tokens(rates: Rates, minimum: &str) -> Class {
    class(Basis::Tokens(TokenTariff { rates, minimum: money(minimum) }), None)
}

#[test]
fn a_markup_multiplies_what_the_provider_charges() {
    let class = by_tokens(Rates::Markup("8".parse().unwrap()), "0");
    let charge = charge(&class, &ended(Outcome::Ok));
    // 8 × (700 × 0.15 + 300 × 0.075 + 200 × 0.60) per million.
    assert_eq!(charge.price, money("0.00198"));
    assert_eq!((charge.quantity, charge.unit_price), (1, charge.price));
    let rates = charge.rates.unwrap();
    assert_eq!(rates.output, money("0.0000048"));
    assert_eq!(price::cost(&TOKENS, &rates), charge.price);
}

#[test]
fn a_markup_on_an_unknown_cost_is_no_price() {
    let markup = by_tokens(Rates::Markup("8".parse().unwrap()), "0.01");
    assert!(!quote(&markup, Billing::Metered).is_priced(None));
    assert!(quote(&markup, Billing::Metered).is_priced(Some(&COST)));
    let own = Quote::new(&markup, Some(money("0.01")), Billing::Metered, Timestamp(1));
    assert!(own.is_priced(None));
    assert!(quote(&by_tokens(Rates::Own(COST), "0"), Billing::Metered).is_priced(None));
}

#[test]
fn a_request_by_tokens_costs_the_minimum_at_least() {
    let class = by_tokens(Rates::Own(COST), "0.01");
    let least = charge(&class, &ended(Outcome::Ok));
    assert_eq!((least.price, least.rates), (money("0.01"), None));
    let tokens = Tokens { output: 1_000_000, ..TOKENS };
    let more = charge(&class, &Ended { tokens: &tokens, ..ended(Outcome::Ok) });
    assert_eq!((more.price, more.rates), (money("0.6001275"), Some(COST)));
}

#[test]
fn volume_tiers_are_graduated() {
    let tiers = [(0, "0.02"), (10, "0.015"), (100, "0")];
    let tiers = tiers.map(|(from, price)| VolumeTier { from, price: money(price) });
    let class = class(Basis::Tiers(Arc::from(tiers)), None);
    for (number, price) in
        [(1, "0.02"), (10, "0.02"), (11, "0.015"), (100, "0.015"), (101, "0"), (u64::MAX, "0")]
    {
        let charge = charge(&class, &Ended { number, ..ended(Outcome::Ok) });
        assert_eq!(charge.price, money(price), "{number}");
    }
    let all: Money =
        (1..=101).map(|number| charge(&class, &Ended { number, ..ended(Outcome::Ok) }).price).sum();
    assert_eq!(all, money("1.55"), "10 × 0.02 + 90 × 0.015 + 1 × 0");
}

#[test]
fn prices_change_at_their_moment() {
    let at = |price| Pricing { basis: Basis::Request(money(price)), cached: None };
    let changes = vec![(Timestamp(200), at("0.03")), (Timestamp(100), at("0.02"))];
    let class =
        Class { tariff: Tariff::new(at("0.01"), changes), ..Class::clone(&fixture::class("docs")) };
    for (moment, price) in [(0, "0.01"), (99, "0.01"), (100, "0.02"), (199, "0.02"), (200, "0.03")]
    {
        let quote = Quote::new(&class, None, Billing::Metered, Timestamp(moment));
        assert_eq!(quote.known(), Some(money(price)), "{moment}");
    }
}
