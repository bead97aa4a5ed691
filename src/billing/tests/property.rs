//! Every line against rational numbers that know nothing of integers of
//! pico-dollars, for any sequence of plans, prices and usage. Covers A4, H2.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use num_rational::BigRational;
use proptest::prelude::*;

use super::super::draft::{Billed, Sources, total};
use super::super::invoice::{Basis, Line};
use super::super::reading::Reading;
use crate::admin::fixture;
use crate::base::clock::Timestamp;
use crate::base::currency::Currency;
use crate::base::money::Money;
use crate::billing::calendar::Month;
use crate::config::{Invoicing, Tax, TokenPrices};
use crate::ledger::record::{TokenRates, Tokens, UsageRecord};
use crate::meter::price;
use crate::store::billing::{Adjustment, AdjustmentKind, Assignment, Standing};

pub(super) const ZONES: [&str; 3] = ["America/New_York", "Asia/Kolkata", "Pacific/Auckland"];
/// Months with daylight saving that begins or ends somewhere, and a leap day.
pub(super) const MONTHS: [&str; 6] =
    ["2026-03", "2026-04", "2026-09", "2026-11", "2028-02", "2026-02"];

/// A share of the time from a week before the month to a week after it.
pub(super) fn moment(share: u32, month: Month, zone: &TimeZone) -> Timestamp {
    const WEEK: u64 = 7 * 86_400_000_000;
    let span = month.span(zone).unwrap();
    let (from, length) = (span.from.0 - WEEK, span.micros() + 2 * WEEK);
    Timestamp(from + u64::try_from(u128::from(length) * u128::from(share) / (1 << 32)).unwrap())
}

pub(super) fn rational(picos: i128) -> BigRational {
    BigRational::from_integer(picos.into())
}

/// `exact`, rounded half-even to whole units of `unit`.
pub(super) fn rounded(exact: &BigRational, unit: &BigRational) -> BigRational {
    let two = rational(2);
    let units = exact / unit;
    let below = units.floor();
    let twice = (&units - &below) * &two;
    let even = (&below / &two).is_integer();
    let up = twice > rational(1) || (twice == rational(1) && !even);
    (if up { below + rational(1) } else { below }) * unit
}

/// What happens, in a form that proptest can make smaller.
#[derive(Clone, Debug)]
struct Story {
    zone: usize,
    month: usize,
    currency: usize,
    /// When, which plan, its fee in pico-dollars, its standing.
    plans: Vec<(u32, u8, i64, u8)>,
    /// When, which class, its price, whether it is charged and from a balance.
    requests: Vec<(u32, u8, i64, (bool, bool))>,
    /// When, which class, which model, its tokens: prompt, of these read from the
    /// provider's cache and written to it, answer.
    tokens: Vec<(u32, u8, usize, [u32; 4])>,
    /// Whole units of the currency.
    adjustments: Vec<i32>,
    tax: Option<(u32, bool)>,
}

fn story() -> impl Strategy<Value = Story> {
    let fee = prop_oneof![Just(0), Just(29_000_000_000_000), 0..400_000_000_000_000_i64];
    let plan = (any::<u32>(), 0..3_u8, fee, 0..5_u8);
    // Few prices, as price lists have, and some of half a unit.
    let price = prop_oneof![
        Just(0),
        Just(20_000_000_000),
        Just(5_000_000_000),
        Just(500_000_000_000),
        Just(1),
        0..50_000_000_000_i64,
    ];
    let charged = (prop::bool::weighted(0.9), prop::bool::weighted(0.2));
    let request = (any::<u32>(), 0..3_u8, price, charged);
    let counts = [0..200_000_u32, 0..150_000, 0..90_000, 0..9_000];
    let tokens = (any::<u32>(), 0..3_u8, 0..MODELS.len(), counts);
    (
        0..ZONES.len(),
        0..MONTHS.len(),
        0..3_usize,
        prop::collection::vec(plan, 0..8),
        prop::collection::vec(request, 0..60),
        prop::collection::vec(tokens, 0..60),
        prop::collection::vec(-1_000..1_000_i32, 0..3),
        prop::option::of((0..30_000_000_u32, any::<bool>())),
    )
        .prop_map(|(zone, month, currency, plans, requests, tokens, adjustments, tax)| Story {
            zone,
            month,
            currency,
            plans,
            requests,
            tokens,
            adjustments,
            tax,
        })
}

/// A model's name and the pico-dollars of an input, cached input, cache write and
/// output token: the first changed its price in the month, one cached token is
/// free, one written costs as others do, one price is as fine as prices can be.
const MODELS: [(&str, [i128; 4]); 4] = [
    ("mini", [1_200_000, 600_000, 1_500_000, 4_800_000]),
    ("mini", [1_350_000, 600_000, 1_500_000, 5_400_000]),
    ("large", [20_000_000, 0, 20_000_000, 80_000_000]),
    ("odd", [1, 333_333, 11, 7]),
];
pub(super) const UNITS: [&str; 4] =
    ["input tokens", "cached input tokens", "cache write tokens", "output tokens"];

/// The prices as a record keeps them.
pub(super) fn rates_of(prices: &TokenPrices) -> TokenRates {
    let TokenPrices { input, cached_input, cache_write, output } = *prices;
    let cache_write = (cache_write != input).then_some(cache_write);
    TokenRates { input, cached_input, cache_write, output }
}

/// Tokens by what they cost, as [`UNITS`] names them.
pub(super) fn counts(tokens: &Tokens) -> [u64; 4] {
    let Tokens { input, cached_input, cache_write, output, .. } = *tokens;
    let cached = cached_input.min(input);
    let written = cache_write.min(input - cached);
    [input - cached - written, cached, written, output]
}

struct World {
    zone: TimeZone,
    month: Month,
    invoicing: Invoicing,
    unit: BigRational,
    history: Vec<Assignment>,
    records: Vec<UsageRecord>,
    adjustments: Vec<Adjustment>,
}

impl World {
    fn of(story: &Story) -> Self {
        let zone = TimeZone::get(ZONES[story.zone]).unwrap();
        let month: Month = MONTHS[story.month].parse().unwrap();
        let currency = Currency::of(["USD", "JPY", "KWD"][story.currency]).unwrap();
        let unit = 10_i128.pow(12 - currency.decimals());
        let mut plans = story.plans.clone();
        plans.sort_by_key(|plan| plan.0);
        let history =
            plans.iter().zip(1..).map(|((share, plan, fee, standing), sequence)| Assignment {
                sequence,
                at: moment(*share, month, &zone),
                plan: format!("plan{plan}"),
                monthly_price: Money::from_picos((*fee).into()),
                included: false,
                standing: match standing {
                    0 => Standing::Deleted,
                    1 => Standing::Suspended,
                    _ => Standing::Active,
                },
            });
        let history = history.collect();
        let records = story.requests.iter().map(|(share, class, price, (charged, prepaid))| {
            let time = moment(*share, month, &zone);
            let mut record = fixture::record(time, "a", &format!("class{class}"));
            record.quantity = u32::from(*charged);
            record.unit_price = Money::from_picos((*price).into());
            record.price = record.unit_price.times(u64::from(record.quantity));
            record.prepaid = *prepaid;
            record
        });
        let by_token = story.tokens.iter().map(|(share, class, model, counts)| {
            let time = moment(*share, month, &zone);
            let mut record = fixture::record(time, "a", &format!("class{class}"));
            let (name, rates) = MODELS[*model];
            let [input, cached_input, cache_write, output] = counts.map(u64::from);
            record.model_used = name.into();
            record.tokens = Tokens { input, cached_input, cache_write, output, reasoning: 0 };
            let [input, cached_input, cache_write, output] = rates.map(Money::from_picos);
            let prices = TokenPrices { input, cached_input, cache_write, output };
            record.rates = Some(rates_of(&prices));
            record.price = price::cost(&record.tokens, &prices);
            record.unit_price = record.price;
            record
        });
        let adjustment = |units: &i32| Adjustment {
            id: format!("adj_{units}"),
            account: "a".to_owned(),
            month: month.to_string(),
            amount: Money::from_picos(i128::from(*units) * unit),
            description: "because".to_owned(),
            created_at: Timestamp(0),
            kind: AdjustmentKind::Invoice,
        };
        // Twice each: the second is paid into the balance, of which no line tells.
        let deposits = story.adjustments.iter().map(|units| Adjustment {
            id: format!("deposit_{units}"),
            kind: AdjustmentKind::Deposit,
            ..adjustment(units)
        });
        let tax =
            story.tax.map(|(rate, inclusive)| Tax { rate, name: "VAT".to_owned(), inclusive });
        Self {
            invoicing: Invoicing { currency, tax, seller: None },
            unit: rational(unit),
            history,
            records: records.chain(by_token).collect(),
            adjustments: story.adjustments.iter().map(adjustment).chain(deposits).collect(),
            zone,
            month,
        }
    }

    fn lines(&self) -> Vec<Line> {
        let billed = Billed::default();
        let mut reading = Reading::of(billed.about(self.month, &self.zone).unwrap());
        self.records.iter().for_each(|record| reading.add(record));
        let sources = Sources {
            history: &self.history,
            reading: &reading,
            adjustments: &self.adjustments,
            billed: &billed,
            despite_damage: false,
        };
        sources.lines(&self.zone, &self.invoicing).unwrap()
    }

    /// What each line comes to before it is rounded, by what it is about; tax left
    /// out.
    fn naive(&self) -> BTreeMap<(String, String, i128), BigRational> {
        let span = self.month.span(&self.zone).unwrap();
        let (from, to) = (i128::from(span.from.0), i128::from(span.to.0));
        let mut exact: BTreeMap<_, BigRational> = BTreeMap::new();
        let mut add = |key: (String, String, i128), amount: BigRational| {
            let sum = exact.entry(key).or_insert_with(|| rational(0));
            *sum = &*sum + amount;
        };
        for (index, plan) in self.history.iter().enumerate() {
            let next = self.history.get(index + 1).map_or(to, |next| next.at.0.into());
            let held = next.min(to) - i128::from(plan.at.0).max(from);
            let fee = plan.monthly_price.picos();
            if held > 0 && fee > 0 && plan.standing != Standing::Deleted {
                let share = BigRational::new(held.into(), (to - from).into());
                add(("plan".to_owned(), plan.plan.clone(), fee), share * rational(fee));
            }
        }
        for record in &self.records {
            let inside = (from..to).contains(&i128::from(record.time.0));
            if inside && let Some(rates) = record.rates {
                let counts = counts(&record.tokens);
                let written = rates.cache_write.unwrap_or(rates.input);
                let rates = [rates.input, rates.cached_input, written, rates.output];
                for ((unit, count), rate) in UNITS.iter().zip(counts).zip(rates) {
                    if count > 0 {
                        let what = format!("{} {} {unit}", record.endpoint, record.model_used);
                        let exact = rational(count.into()) * rational(rate.picos());
                        add(("ai_api".to_owned(), what, rate.picos()), exact);
                    }
                }
            } else if inside && record.quantity > 0 && !record.prepaid {
                let price = record.unit_price.picos();
                add(("ai_api".to_owned(), record.endpoint.to_string(), price), rational(price));
            }
        }
        let invoiced = |it: &&Adjustment| it.kind == AdjustmentKind::Invoice;
        for adjustment in self.adjustments.iter().filter(invoiced) {
            let key = ("adjustment".to_owned(), adjustment.id.clone(), 0);
            // The same id twice is the same adjustment with the same amount.
            add(key, rational(adjustment.amount.picos()));
        }
        exact
    }
}

/// What a line of usage is about: its class, with its model and the kind of its
/// tokens if they are what it counts.
fn subject(line: &Line) -> String {
    match &line.basis {
        Basis::Usage { model: Some(model), unit, .. } => {
            format!("{} {model} {unit}", line.endpoint)
        }
        _ => line.endpoint.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn an_invoice_is_what_rational_numbers_say(story in story()) {
        let world = World::of(&story);
        let lines = world.lines();
        let naive = world.naive();
        let (taxes, sold): (Vec<&Line>, Vec<&Line>) =
            lines.iter().partition(|line| line.service == "tax");

        let wanted: BigRational =
            naive.values().map(|exact| rounded(exact, &world.unit)).fold(rational(0), |a, b| a + b);
        let sum = |lines: &[&Line]| lines.iter().map(|line| line.total.picos()).sum::<i128>();
        prop_assert_eq!(rational(sum(&sold)), wanted.clone());
        let of = |service: &str| sold.iter().filter(|line| line.service == service).count();
        let count = |service: &str| naive.keys().filter(|key| key.0 == service).count();
        prop_assert_eq!(of("plan"), count("plan"));
        prop_assert_eq!(of("ai_api"), count("ai_api"));

        // No line is further from its exact amount than half a unit.
        let half = &world.unit / rational(2);
        for line in sold.iter().filter(|line| line.service == "ai_api") {
            let price = line.unit_price.picos();
            let key = (line.service.clone(), subject(line), price);
            let exact = rational(price) * rational(line.quantity.into());
            prop_assert_eq!(&naive[&key], &exact, "quantity × unit price");
            let off = rational(line.total.picos()) - exact;
            prop_assert!(off <= half && off >= -half.clone());
        }

        // The lines make up what the ledger says is owed, to half a unit a line.
        let span = world.month.span(&world.zone).unwrap();
        let inside = |it: &&UsageRecord| span.from <= it.time && it.time < span.to && !it.prepaid;
        let owed: i128 = world.records.iter().filter(inside).map(|it| it.price.picos()).sum();
        let used: Vec<&Line> = sold.iter().copied().filter(|it| it.service == "ai_api").collect();
        let off = rational(sum(&used)) - rational(owed);
        let most = half * rational(i128::try_from(used.len()).unwrap());
        prop_assert!(off <= most && off >= -most.clone());

        match &world.invoicing.tax {
            Some(tax) if !sold.is_empty() => {
                prop_assert_eq!(taxes.len(), 1);
                let rate = BigRational::new(tax.rate.into(), 100_000_000.into());
                let tax_on_top = if tax.inclusive { rational(0) } else {
                    rounded(&(wanted.clone() * rate), &world.unit)
                };
                prop_assert_eq!(rational(taxes[0].total.picos()), tax_on_top);
            }
            _ => prop_assert_eq!(taxes.len(), 0),
        }
        prop_assert_eq!(total(&lines).picos(), lines.iter().map(|line| line.total.picos()).sum());
    }
}
