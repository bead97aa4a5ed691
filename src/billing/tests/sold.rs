//! What is sold and how, from the configuration to the invoice, against rational
//! numbers: each request is priced and billed by the product, and once more here
//! by what the documentation says. Covers A4 to A6, H2.

mod naive;

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use num_rational::BigRational;
use proptest::prelude::*;

use self::naive::{Said, said};
use super::super::draft::{Billed, Sources, total};
use super::super::invoice::Line;
use super::super::reading::Reading;
use super::property::{MONTHS, ZONES, moment, rates_of, rational, rounded};
use crate::admin::fixture;
use crate::base::clock::Timestamp;
use crate::base::currency::Currency;
use crate::base::money::Money;
use crate::billing::calendar::Month;
use crate::config::{
    Basis, Billing, Class, Invoicing, Pricing, Rates, Tariff, Tax, TokenPrices, TokenTariff,
    VolumeTier,
};
use crate::ledger::record::{Outcome, Tokens, UsageRecord};
use crate::meter::quote::{Ended, Quote};
use crate::store::billing::{Adjustment, AdjustmentKind, Assignment, Standing};

/// A thousandth of a dollar, in pico-dollars.
const MILLI: i128 = 1_000_000_000;

/// A plan: its fee and quota, what a request beyond that costs, whether requests
/// have a price, and whether they are paid from a balance.
struct Sold {
    name: &'static str,
    fee: i128,
    quota: Option<usize>,
    overage: Option<i128>,
    billing: Billing,
    prepaid: bool,
}

const fn plan(name: &'static str, fee: i128, billing: Billing) -> Sold {
    Sold { name, fee, quota: None, overage: None, billing, prepaid: false }
}

const PLANS: [Sold; 5] = [
    Sold { quota: Some(8), ..plan("free", 0, Billing::Included) },
    plan("pro", 29_000 * MILLI, Billing::Metered),
    Sold {
        quota: Some(12),
        overage: Some(55 * MILLI),
        ..plan("bundle", 99_990 * MILLI, Billing::Included)
    },
    Sold { quota: Some(20), overage: Some(0), ..plan("club", 5_005 * MILLI, Billing::Metered) },
    Sold { prepaid: true, ..plan("purse", 1_000 * MILLI, Billing::Metered) },
];

const CLASSES: [&str; 4] = ["flat", "tiered", "listed", "marked_up"];
/// Requests before the first of a tier, and its price.
const TIERS: [(usize, i128); 3] = [(0, 20 * MILLI), (5, 15 * MILLI), (11, MILLI / 2)];
/// What an answer from the cache costs in every other step of `flat`.
const CACHED: i128 = 5 * MILLI;
/// What a request of `marked_up` costs at least.
const MINIMUM: i128 = 30 * MILLI;
/// Pico-dollars that an input, cached input, cache write and output token of a
/// model cost.
const COSTS: [(&str, [i128; 4]); 2] = [
    ("mini", [150_000, 75_000, 150_000, 600_000]),
    ("large", [2_500_000, 1_250_000, 3_125_000, 10_000_000]),
];
/// The markup, as it is written and as a fraction.
const MARKUP: (&str, i128, i128) = ("1.5", 3, 2);

/// The price of `flat` and the prices of a token of `listed` after `step` changes.
fn flat(step: usize) -> i128 {
    10 * MILLI + 333_333_333 * i128::try_from(step).unwrap()
}

fn listed(step: usize) -> [i128; 4] {
    let step = i128::try_from(step).unwrap();
    [1_000_000 + 1_001 * step, 500_000 - 3 * step, 1_250_000 - step, 4_000_000 + 17 * step]
}

/// When, which class, which model, its tokens, whether it is charged and recalled.
type Asked = (u32, usize, usize, [u32; 4], (bool, bool));

#[derive(Clone, Debug)]
struct Story {
    place: (usize, usize, usize),
    /// When prices change.
    steps: Vec<u32>,
    /// When the account gets which plan; the first one it has from the beginning.
    plans: (usize, Vec<(u32, usize)>),
    /// The account's own price of a class.
    own: Option<(usize, i64)>,
    asked: Vec<Asked>,
    credits: Vec<i32>,
    tax: Option<u32>,
}

fn story() -> impl Strategy<Value = Story> {
    let plan = (any::<u32>(), 0..PLANS.len());
    let tokens = [0..200_000_u32, 0..150_000, 0..90_000, 0..9_000];
    let flags = (prop::bool::weighted(0.9), prop::bool::weighted(0.2));
    let asked = (any::<u32>(), 0..CLASSES.len(), 0..COSTS.len(), tokens, flags);
    (
        (0..ZONES.len(), 0..MONTHS.len(), 0..3_usize),
        prop_oneof![
            prop::collection::vec(any::<u32>(), 0..4),
            prop::collection::vec(any::<u32>(), 100..160)
        ],
        (0..PLANS.len(), prop::collection::vec(plan, 0..5)),
        prop::option::of((0..CLASSES.len(), 0..60_000_000_000_i64)),
        prop_oneof![
            prop::collection::vec(asked.clone(), 0..50),
            prop::collection::vec(asked, 900..1_200),
        ],
        prop::collection::vec(-900..900_i32, 0..3),
        prop::option::of(0..30_000_000_u32),
    )
        .prop_map(|(place, steps, plans, own, asked, credits, tax)| Story {
            place,
            steps,
            plans,
            own,
            asked,
            credits,
            tax,
        })
}

struct World {
    zone: TimeZone,
    month: Month,
    invoicing: Invoicing,
    unit: i128,
    /// When prices change, in order.
    steps: Vec<Timestamp>,
    history: Vec<(Timestamp, usize)>,
    asked: Vec<(Timestamp, Asked)>,
    own: Option<(usize, i128)>,
    credits: Vec<i32>,
}

/// What is known of a request before it is priced.
struct Known<'a> {
    time: Timestamp,
    asked: &'a Asked,
    plan: &'static Sold,
    /// Price changes before it.
    step: usize,
    /// Charged requests of the month before it, of its class and of the account.
    before: (usize, usize),
}

impl World {
    fn of(story: &Story) -> Self {
        let (zone, month, currency) = story.place;
        let zone = TimeZone::get(ZONES[zone]).unwrap();
        let month: Month = MONTHS[month].parse().unwrap();
        let currency = Currency::of(["USD", "JPY", "KWD"][currency]).unwrap();
        let at = |share: &u32| moment(*share, month, &zone);
        let mut steps: Vec<_> = story.steps.iter().map(at).collect();
        steps.sort();
        let mut history = vec![(Timestamp(0), story.plans.0)];
        history.extend(story.plans.1.iter().map(|(share, plan)| (at(share), *plan)));
        history.sort_by_key(|(at, _)| *at);
        let mut asked: Vec<_> = story.asked.iter().map(|asked| (at(&asked.0), *asked)).collect();
        asked.sort_by_key(|(at, _)| *at);
        let tax = story.tax.map(|rate| Tax { rate, name: "VAT".to_owned(), inclusive: false });
        Self {
            invoicing: Invoicing { currency, tax, seller: None },
            unit: 10_i128.pow(12 - currency.decimals()),
            steps,
            history,
            asked,
            own: story.own.map(|(class, price)| (class, price.into())),
            credits: story.credits.clone(),
            zone,
            month,
        }
    }

    /// Each request that is served, in the order of time, as far as it is no matter
    /// of prices.
    fn served(&self) -> Vec<Known<'_>> {
        let mut charged: BTreeMap<(Month, Option<usize>), usize> = BTreeMap::new();
        let mut served = Vec::new();
        for (time, asked) in &self.asked {
            let month = Month::of(*time, &self.zone).unwrap();
            let count = |class| charged.get(&(month, class)).copied().unwrap_or_default();
            let before = (count(Some(asked.1)), count(None));
            let (_, plan) = self.history.iter().rfind(|(from, _)| from <= time).unwrap();
            let plan = &PLANS[*plan];
            if plan.overage.is_none() && plan.quota.is_some_and(|quota| before.1 >= quota) {
                continue;
            }
            if asked.4.0 {
                *charged.entry((month, Some(asked.1))).or_default() += 1;
                *charged.entry((month, None)).or_default() += 1;
            }
            let step = self.steps.iter().filter(|from| *from <= time).count();
            served.push(Known { time: *time, asked, plan, step, before });
        }
        served
    }

    fn classes(&self) -> Vec<Class> {
        let stepped = |price: &dyn Fn(usize) -> Pricing| {
            let later = self.steps.iter().zip(1..).map(|(from, step)| (*from, price(step)));
            Tariff::new(price(0), later.collect())
        };
        let money = Money::from_picos;
        let tokens = |rates, minimum| {
            let minimum = money(minimum);
            Pricing { basis: Basis::Tokens(TokenTariff { rates, minimum }), cached: None }
        };
        let tiers = TIERS.iter().map(|(from, price)| VolumeTier {
            from: u64::try_from(*from).unwrap(),
            price: money(*price),
        });
        let tariffs = [
            stepped(&|step| Pricing {
                basis: Basis::Request(money(flat(step))),
                cached: step.is_multiple_of(2).then(|| money(CACHED)),
            }),
            Tariff::new(Pricing { basis: Basis::Tiers(tiers.collect()), cached: None }, Vec::new()),
            stepped(&|step| tokens(Rates::Own(prices(listed(step))), 0)),
            Tariff::new(tokens(Rates::Markup(MARKUP.0.parse().unwrap()), MINIMUM), Vec::new()),
        ];
        let class = |(name, tariff): (&&str, Tariff)| Class {
            tariff,
            ..Class::clone(&fixture::class(name))
        };
        CLASSES.iter().zip(tariffs).map(class).collect()
    }

    /// The records, as the product prices them.
    fn records(&self) -> Vec<UsageRecord> {
        let classes = self.classes();
        let record = |known: &Known<'_>| {
            let (_, class, model, _, (charged, recalled)) = *known.asked;
            let mut record = fixture::record(known.time, "a", CLASSES[class]);
            let own = self.own.filter(|own| own.0 == class).map(|own| Money::from_picos(own.1));
            let Sold { billing, overage, prepaid, quota, .. } = known.plan;
            let overage = overage.map(Money::from_picos).filter(|_| quota.is_some());
            let quote = Quote::new(&classes[class], own, *billing, known.time).beyond(overage);
            let tokens = known.tokens();
            let charge = quote.charge(&Ended {
                outcome: if charged { Outcome::Ok } else { Outcome::Cut },
                recalled,
                tokens: &tokens,
                cost: Some(&prices(COSTS[model].1)),
                number: u64::try_from(known.before.0 + 1).unwrap(),
                beyond: known.beyond(),
            });
            (record.quantity, record.price) = (charge.quantity, charge.price);
            record.unit_price = charge.unit_price;
            let rates = charge.rates.filter(|_| charge.quantity > 0);
            record.rates = rates.as_ref().map(rates_of);
            (record.model_used, record.tokens) = (COSTS[model].0.into(), tokens);
            record.prepaid = *prepaid && !record.price.is_zero();
            record
        };
        self.served().iter().map(record).collect()
    }

    fn lines(&self, records: &[UsageRecord]) -> Vec<Line> {
        let billed = Billed::default();
        let mut reading = Reading::of(billed.about(self.month, &self.zone).unwrap());
        records.iter().for_each(|record| reading.add(record));
        let assignment = |((at, plan), sequence): (&(Timestamp, usize), u64)| Assignment {
            sequence,
            at: *at,
            plan: PLANS[*plan].name.to_owned(),
            monthly_price: Money::from_picos(PLANS[*plan].fee),
            included: PLANS[*plan].billing == Billing::Included,
            standing: Standing::Active,
        };
        let history: Vec<_> = self.history.iter().zip(1..).map(assignment).collect();
        let adjustment = |(units, number): (&i32, u32)| Adjustment {
            id: format!("adj_{number}"),
            account: "a".to_owned(),
            month: self.month.to_string(),
            amount: Money::from_picos(i128::from(*units) * self.unit),
            description: "because".to_owned(),
            created_at: Timestamp(0),
            kind: AdjustmentKind::Invoice,
        };
        let adjustments: Vec<_> = self.credits.iter().zip(0..).map(adjustment).collect();
        let sources = Sources {
            history: &history,
            reading: &reading,
            adjustments: &adjustments,
            billed: &billed,
            despite_damage: false,
        };
        sources.lines(&self.zone, &self.invoicing).unwrap()
    }
}

fn prices(picos: [i128; 4]) -> TokenPrices {
    let [input, cached_input, cache_write, output] = picos.map(Money::from_picos);
    TokenPrices { input, cached_input, cache_write, output }
}

impl Known<'_> {
    fn tokens(&self) -> Tokens {
        let [input, cached_input, cache_write, output] = self.asked.3.map(u64::from);
        Tokens { input, cached_input, cache_write, output, reasoning: 0 }
    }

    fn beyond(&self) -> bool {
        self.plan.quota.is_some_and(|quota| self.before.1 >= quota)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn what_is_sold_is_what_is_billed(story in story()) {
        let world = World::of(&story);
        let records = world.records();
        let lines = world.lines(&records);
        let mut naive = world.naive();
        let mut billed: Vec<Said> = lines.iter().filter_map(said).collect();
        naive.sort();
        billed.sort();
        prop_assert_eq!(&billed, &naive);

        let unit = rational(world.unit);
        let usage = lines.iter().filter(|line| line.service == "ai_api");
        for line in usage {
            let (.., exact) = said(line).unwrap();
            prop_assert_eq!(rational(line.total.picos()), rounded(&exact, &unit), "once, half-even");
        }
        let fees = lines.iter().filter(|line| line.service == "plan");
        let fees = fees.map(|line| (line.endpoint.clone(), rational(line.total.picos())));
        prop_assert_eq!(fees.collect::<BTreeMap<_, _>>(), world.fees());

        let sum = |of: &mut dyn Iterator<Item = BigRational>| of.fold(rational(0), |a, b| a + b);
        let used = sum(&mut naive.iter().map(|(.., exact)| rounded(exact, &unit)));
        let credits = world.credits.iter().map(|units| rational(i128::from(*units)) * &unit);
        let net = used + sum(&mut world.fees().into_values()) + sum(&mut credits.into_iter());
        let rate = BigRational::new(story.tax.unwrap_or_default().into(), 100_000_000.into());
        let tax = rounded(&(&net * rate), &unit);
        prop_assert_eq!(rational(total(&lines).picos()), net + tax);

        // The ledger says so too: what was charged and not paid from a balance.
        let span = world.month.span(&world.zone).unwrap();
        let owed = records.iter().filter(|it| span.holds(it.time) && !it.prepaid);
        let owed: Money = owed.map(|it| it.price).sum();
        let exact = sum(&mut naive.iter().map(|(.., exact)| exact.clone()));
        prop_assert_eq!(rational(owed.picos()), exact);
    }
}

/// So many prices of a token in a month that one line sums them up.
#[test]
fn many_prices_of_a_token_are_one_line() {
    let apart = |count: u32| (0..count).map(move |at| at * (u32::MAX / count));
    let asked = apart(400).map(|at| (at, 2, 0, [100, 10, 5, 7], (true, false)));
    let story = Story {
        place: (0, 0, 0),
        steps: apart(130).collect(),
        plans: (1, Vec::new()),
        own: None,
        asked: asked.collect(),
        credits: Vec::new(),
        tax: None,
    };
    let world = World::of(&story);
    let mut billed: Vec<Said> = world.lines(&world.records()).iter().filter_map(said).collect();
    billed.sort();
    assert_eq!(billed, world.naive());
    let sums: Vec<_> =
        billed.iter().map(|(kind, price, ..)| (&*kind[2], price.is_none())).collect();
    assert_eq!(
        sums,
        [
            ("cache write tokens", true),
            ("cached input tokens", true),
            ("input tokens", true),
            ("output tokens", true)
        ]
    );
}
