use std::sync::Arc;

use proptest::prelude::*;

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

/// A number as a fraction, worked out without any of the code under test.
#[derive(Clone, Copy, Debug)]
struct Fraction(i128, i128);

impl Fraction {
    fn plus(self, other: Self) -> Self {
        Self(self.0 * other.1 + other.0 * self.1, self.1 * other.1).reduced()
    }

    fn times(self, other: Self) -> Self {
        Self(self.0 * other.0, self.1 * other.1).reduced()
    }

    fn reduced(self) -> Self {
        let (mut a, mut b) = (self.0.abs(), self.1);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        Self(self.0 / a.max(1), self.1 / a.max(1))
    }

    fn min(self, other: Self) -> Self {
        if self.0 * other.1 <= other.0 * self.1 { self } else { other }
    }

    fn max(self, other: Self) -> Self {
        if self.0 * other.1 >= other.0 * self.1 { self } else { other }
    }

    /// In dollars, from hundredths of a cent.
    const fn basis_points(count: u32) -> Self {
        Self(count as i128, 10_000)
    }

    /// In dollars for a token, from cents a million tokens.
    const fn cents(count: u32) -> Self {
        Self(count as i128, 100_000_000)
    }
}

fn same(money: Money, fraction: Fraction) -> bool {
    money.picos() * fraction.1 == fraction.0 * 1_000_000_000_000
}

/// A tariff in plain figures.
#[derive(Clone, Debug)]
enum Plain {
    Request(u32),
    Tiers(Vec<(u8, u32)>),
    Markup { tenths: u32, minimum: u32 },
    Own { cents: [u32; 4], minimum: u32 },
}

#[derive(Clone, Debug)]
struct Asked {
    outcome: Outcome,
    recalled: bool,
    beyond: bool,
    tokens: [u32; 4],
    cost: [u32; 4],
}

fn plain() -> impl Strategy<Value = Plain> {
    let tiers = prop::collection::vec((1_u8..6, 0_u32..1_000), 1..5);
    prop_oneof![
        (0_u32..1_000).prop_map(Plain::Request),
        tiers.prop_map(Plain::Tiers),
        (0_u32..400, 0_u32..50).prop_map(|(tenths, minimum)| Plain::Markup { tenths, minimum }),
        (any::<[u16; 4]>(), 0_u32..50)
            .prop_map(|(cents, minimum)| Plain::Own { cents: cents.map(u32::from), minimum }),
    ]
}

fn asked() -> impl Strategy<Value = Asked> {
    let outcome = prop_oneof![
        4 => Just(Outcome::Ok),
        1 => Just(Outcome::ClientGoneLate),
        1 => Just(Outcome::Cut),
        1 => Just(Outcome::ProviderError),
    ];
    let four = || [0_u32..5_000, 0..5_000, 0..5_000, 0..5_000];
    (outcome, any::<[bool; 2]>(), four(), four()).prop_map(
        |(outcome, [recalled, beyond], tokens, cost)| Asked {
            outcome,
            recalled,
            beyond,
            tokens,
            cost,
        },
    )
}

fn in_cents(cents: [u32; 4]) -> TokenPrices {
    let token = |cents: u32| Money::from_picos(i128::from(cents) * 10_000);
    let [input, cached_input, cache_write, output] = cents.map(token);
    TokenPrices { input, cached_input, cache_write, output }
}

fn in_points(points: u32) -> Money {
    Money::from_picos(i128::from(points) * 100_000_000)
}

impl Plain {
    fn basis(&self) -> Basis {
        match self {
            Self::Request(points) => Basis::Request(in_points(*points)),
            Self::Tiers(widths) => {
                let mut from = 0;
                let tier = |(width, points): &(u8, u32)| {
                    let tier = VolumeTier { from, price: in_points(*points) };
                    from += u64::from(*width);
                    tier
                };
                Basis::Tiers(widths.iter().map(tier).collect())
            }
            Self::Markup { tenths, minimum } => {
                let factor: Factor = format!("{}.{}", tenths / 10, tenths % 10).parse().unwrap();
                let minimum = in_points(*minimum);
                Basis::Tokens(TokenTariff { rates: Rates::Markup(factor), minimum })
            }
            Self::Own { cents, minimum } => {
                let minimum = in_points(*minimum);
                Basis::Tokens(TokenTariff { rates: Rates::Own(in_cents(*cents)), minimum })
            }
        }
    }

    /// What request number `number` costs, by hand.
    fn naive(&self, asked: &Asked, number: u64) -> Fraction {
        let sum = |cents: [u32; 4]| {
            let [input, cached, written, output] = asked.tokens;
            let cached = cached.min(input);
            let written = written.min(input - cached);
            [input - cached - written, cached, written, output]
                .into_iter()
                .zip(cents)
                .map(|(count, cents)| Fraction::cents(cents).times(Fraction(count.into(), 1)))
                .fold(Fraction(0, 1), Fraction::plus)
        };
        match self {
            Self::Request(points) => Fraction::basis_points(*points),
            Self::Tiers(widths) => {
                let mut left = number;
                let mut price = widths.last().unwrap().1;
                for (width, points) in widths {
                    if left <= u64::from(*width) {
                        price = *points;
                        break;
                    }
                    left -= u64::from(*width);
                }
                Fraction::basis_points(price)
            }
            Self::Markup { tenths, minimum } => sum(asked.cost)
                .times(Fraction((*tenths).into(), 10))
                .max(Fraction::basis_points(*minimum)),
            Self::Own { cents, minimum } => sum(*cents).max(Fraction::basis_points(*minimum)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Covers B1: the price of any sequence is what fractions say, to the last
    /// unit, and no request costs more than the most that was said before.
    #[test]
    fn prices_of_any_sequence_are_exact(
        plain in plain(),
        cached in prop::option::of(0_u32..1_000),
        own in prop::option::weighted(0.2, 0_u32..1_000),
        included in prop::bool::weighted(0.2),
        overage in prop::option::weighted(0.3, 0_u32..1_000),
        sequence in prop::collection::vec(asked(), 1..30),
    ) {
        let pricing = Pricing { basis: plain.basis(), cached: cached.map(in_points) };
        let class = Class {
            tariff: Tariff::new(pricing, Vec::new()),
            ..Class::clone(&fixture::class("docs"))
        };
        let billing = if included { Billing::Included } else { Billing::Metered };
        let quote = Quote::new(&class, own.map(in_points), billing, Timestamp(1))
            .beyond(overage.map(in_points));
        let (mut total, mut expected, mut charged) = (Money::ZERO, Fraction(0, 1), 0_u64);
        for asked in &sequence {
            let cost = in_cents(asked.cost);
            let [input, cached_input, cache_write, output] = asked.tokens.map(u64::from);
            let tokens = Tokens { input, cached_input, cache_write, output, reasoning: 0 };
            let pays = matches!(asked.outcome, Outcome::Ok | Outcome::ClientGoneLate);
            charged += u64::from(pays);
            let number = if pays { charged } else { charged + 1 };
            let charge = quote.charge(&Ended {
                outcome: asked.outcome,
                recalled: asked.recalled,
                tokens: &tokens,
                cost: Some(&cost),
                number,
                beyond: asked.beyond && overage.is_some(),
            });
            let full = plain.naive(asked, number);
            let cheap = cached.filter(|_| asked.recalled).map(Fraction::basis_points);
            let list = cheap.unwrap_or(full);
            let own = own.map(Fraction::basis_points);
            let unit = own.map_or(list, |own| cheap.map_or(own, |cheap| own.min(cheap)));
            let unit = if included { Fraction(0, 1) } else { unit };
            let unit = overage.filter(|_| asked.beyond).map_or(unit, Fraction::basis_points);
            prop_assert!(same(charge.list_price, list), "{:?} is not {:?}", charge, list);
            prop_assert!(same(charge.unit_price, unit), "{:?} is not {:?}", charge, unit);
            prop_assert!(charge.price <= quote.most(&tokens, std::iter::once(Some(cost))));
            if let Some(rates) = charge.rates {
                prop_assert_eq!(price::cost(&tokens, &rates), charge.unit_price);
            }
            if pays {
                total += charge.price;
                expected = expected.plus(unit);
            } else {
                prop_assert_eq!(charge.price, Money::ZERO);
            }
        }
        prop_assert!(same(total, expected), "{} is not {:?}", total, expected);
    }
}
