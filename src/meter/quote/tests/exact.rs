//! Charges of any sequence of requests against fractions.

use proptest::prelude::*;

use super::*;

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
