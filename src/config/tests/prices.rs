//! The prices of classes, and the price file.

use std::path::Path;

use super::{Surroundings, config, one_error};
use crate::base::clock::Timestamp;
use crate::base::money::Money;
use crate::config::{Basis, Config, Errors, LossGuard, Pricing, Rates, TokenPrices, parse};

fn money(text: &str) -> Money {
    text.parse().expect("an amount")
}

fn at(config: &Config, moment: Timestamp) -> Pricing {
    config.classes[0].tariff.at(moment).cloned().expect("a price")
}

/// 2026-12-01T00:00:00Z.
const DECEMBER: Timestamp = Timestamp(1_796_083_200_000_000);

#[test]
fn a_class_is_sold_by_request_by_tokens_or_by_volume() {
    let class = |keys: &str| config(&format!("classes: [{{ name: a, {keys} }}]"));
    let basis = |keys: &str| at(&class(keys), DECEMBER).basis;
    assert_eq!(basis("price: 0.02"), Basis::Request(money("0.02")));
    let Basis::Tokens(markup) = basis("tokens_price: { markup: 8.0, minimum: 0.001 }") else {
        panic!("by tokens");
    };
    assert_eq!(markup.rates, Rates::Markup("8".parse().expect("a factor")));
    assert_eq!(markup.minimum, money("0.001"));
    let Basis::Tokens(own) = basis("tokens_price: { input: 1.00, output: \"4.00\" }") else {
        panic!("by tokens");
    };
    let million = |price: &str| money(&format!("0.00000{price}"));
    let (input, output) = (million("1"), million("4"));
    assert_eq!(
        own.rates,
        Rates::Own(TokenPrices { input, cached_input: input, cache_write: input, output })
    );
    let tiers = "tiers: [{ from: 0, price: 0.02 }, { from: 10000, price: 0.015 }]";
    let Basis::Tiers(tiers) = basis(tiers) else { panic!("by volume") };
    assert_eq!((tiers[1].from, tiers[1].price), (10_000, money("0.015")));
    assert_eq!(at(&class("price: 1, price_cached: 0"), DECEMBER).cached, Some(Money::ZERO));
}

#[test]
fn prices_begin_at_a_moment_of_the_time_zone() {
    let text = "billing: { timezone: America/New_York }
classes:
  - { name: a, price: 0.02, prices: [{ from: 2026-12-01, price: 0.03, price_cached: 0.01 }] }
";
    let config = config(text);
    let midnight = Timestamp(DECEMBER.0 + 5 * 3_600_000_000);
    let before = Timestamp(midnight.0 - 1);
    assert_eq!(at(&config, before).basis, Basis::Request(money("0.02")));
    let after = at(&config, midnight);
    assert_eq!(after.basis, Basis::Request(money("0.03")));
    assert_eq!(after.cached, Some(money("0.01")));
}

#[test]
fn limits_and_guards_are_read() {
    let text = "classes: [{ name: a, max_input_tokens: 8000, max_output_tokens: 100, \
                loss_guard: route_down, margin_floor: 0.25 }, { name: b }]";
    let config = config(text);
    let [a, b] = &config.classes[..2] else { panic!("two classes") };
    assert_eq!((a.max_input_tokens, a.max_output_tokens), (Some(8_000), Some(100)));
    assert_eq!((a.loss_guard, a.margin_floor.to_string()), (LossGuard::RouteDown, "0.25".into()));
    assert_eq!((b.max_output_tokens, b.loss_guard), (None, LossGuard::Warn));
}

#[test]
fn wrong_prices_are_errors_at_their_place() {
    let class = |keys: &str| format!("classes:\n  - name: a\n    {keys}\n");
    for (keys, place, words) in [
        ("tokens_price: {}", "3:19", "expected a `markup`, or `input`"),
        ("tokens_price: { markup: 2, input: 1 }", "3:39", "exclude each other"),
        ("tokens_price: { output: 1 }", "3:19", "`input` is missing"),
        ("tokens_price: { input: 0.0000001 }", "3:28", "at most six decimals"),
        ("tokens_price: { markup: 1.0000001 }", "3:29", "at most six decimals"),
        ("tokens_price: { markup: -1 }", "3:29", "a factor is a decimal number"),
        ("tokens_price: { markup: 0.000001 }", "3:29", "finer than a pico-dollar"),
        ("tiers: []", "3:12", "no tier"),
        ("tiers: [{ from: 1, price: 1 }]", "3:21", "begins at 0"),
        ("tiers: [{ from: 0, price: 1 }, { from: 0, price: 2 }]", "3:44", "after the one before"),
        ("tiers: [{ from: 0 }]", "3:13", "`price` is missing"),
        ("prices: [{ from: 2026-12-01 }]", "3:14", "one of `price`"),
        ("prices: [{ from: 2026-13-01, price: 1 }]", "3:22", "a date such as"),
        ("prices: [{ price: 1 }]", "3:14", "`from` is missing"),
        (
            "prices: [{ from: 2026-12-01, price: 1 }, { from: 2026-12-01T00:00, price: 2 }]",
            "3:54",
            "already",
        ),
        ("margin_floor: 1.5", "3:19", "from 0 to 1"),
        ("loss_guard: stop", "3:17", "expected warn, route_down, refuse"),
        ("max_output_tokens: 0", "3:24", "must be from 1"),
    ] {
        // The price file beside the usual source would add warnings alone.
        let text = if keys.contains("0.000001") {
            format!(
                "{}models: [{{ name: m, targets: [{{ provider: openai }}], cost: {{ input: 0.5 }} }}]\n",
                class(keys)
            )
        } else {
            class(keys)
        };
        one_error(&text, place, words);
    }
    let both = "tokens_price: { markup: 2 }\n    tiers: [{ from: 0, price: 1 }]";
    one_error(&class(both), "4:12", "exclude each other");
}

/// The meaning of `text` as the configuration in `directory`.
fn beside(directory: &Path, text: &str) -> Result<Config, Errors> {
    parse(text, &directory.join("tollgate.yaml"), &Surroundings::default())
}

#[test]
fn a_price_file_is_found_beside_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    assert!(beside(directory.path(), "").unwrap().prices.is_empty());
    let prices = "models:\n  m: { input: 1, cached_input: 0.5, cache_write: 1.25, output: 4 }\n  \
                  \"p/m\": { input: 2 }\n";
    std::fs::write(directory.path().join("prices.yaml"), prices).unwrap();
    let config = beside(directory.path(), "").unwrap();
    assert_eq!(config.prices.len(), 2);
    let input = |provider, model| config.prices.find(provider, model).map(|cost| cost.input);
    assert_eq!(input("p", "m"), Some(money("0.000002")));
    assert_eq!(input("q", "m"), Some(money("0.000001")));
    assert_eq!(input("q", "n"), None);
    let written = |provider| config.prices.find(provider, "m").map(|cost| cost.cache_write);
    assert_eq!(written("q"), Some(money("0.00000125")));
    assert_eq!(written("p"), Some(money("0.000002")), "as other prompt tokens");
}

#[test]
fn what_is_wrong_with_a_price_file_is_an_error_where_it_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let errors = |text: &str| {
        std::fs::write(directory.path().join("own.yaml"), text).unwrap();
        beside(directory.path(), "price_file: own.yaml").unwrap_err().to_string()
    };
    for (text, words) in [
        ("models: { m: { input: 0.1234567 } }", "own.yaml:1:23: a price of a million tokens"),
        ("models:\n  m: { output: 1 }", "own.yaml:2:6: `input` is missing here"),
        ("models:\n  m: { input: 1 }\n  m: { input: 2 }", "own.yaml:3:3"),
        ("models: { m: { input: 1, price: 1 } }", "unknown key `price`"),
        ("models: { m: { input: 1, cache_write: 0.1234567 } }", "own.yaml:1:39"),
        ("models: { m: }", "prices are missing here"),
        ("models: [", "own.yaml"),
    ] {
        let said = errors(text);
        assert!(said.contains(words) && said.contains("tollgate.yaml:1:13"), "{text}: {said}");
    }
    let missing = beside(directory.path(), "price_file: none.yaml").unwrap_err().to_string();
    assert!(missing.contains("1:13: cannot read the price file `none.yaml`"), "{missing}");
}

/// Covers B1.
#[test]
fn the_shipped_price_file_prices_the_current_models() {
    let config = config("");
    assert!(config.prices.len() >= 60, "{}", config.prices.len());
    for (name, cost) in config.prices.iter() {
        assert!(!cost.input.is_zero() || !cost.output.is_zero(), "{name} is free");
        assert!(cost.cached_input <= cost.input, "{name}: cached tokens are dearer");
    }
    for model in &config.models {
        let name = model.targets.first().and_then(|target| target.model.as_ref());
        let listed = config.prices.find("openai", name.unwrap_or(&model.name));
        if let (Some(own), Some(listed)) = (model.cost, listed) {
            // The contract's models say nothing of what is written to a cache.
            let listed = TokenPrices { cache_write: own.input, ..*listed };
            assert_eq!(own, listed, "{}", model.name);
        }
    }
}
