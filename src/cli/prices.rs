//! `tollgate prices import`: a price file from LiteLLM's.
//!
//! LiteLLM's file is one JSON object: for each model, dollars a token under
//! `input_cost_per_token`, `cache_read_input_token_cost`,
//! `cache_creation_input_token_cost` and `output_cost_per_token`. The names are
//! taken as they stand: bare, or with the provider before a slash.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Subcommand;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::out::{Failure, Out};
use crate::base::money::Money;

/// What is sold by the token.
const MODES: [&str; 4] = ["chat", "completion", "responses", WITHOUT_ANSWERS];

/// What needs no price of an answer token.
const WITHOUT_ANSWERS: &str = "embedding";

/// Why a model is left out that the file gives no price, or not the whole of it.
const UNKNOWN: &str = "its price is not known";

/// Decimals of a price of a million tokens.
const PLACES: i32 = 6;

#[derive(Debug, clap::Args)]
pub(super) struct Prices {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a price file of LiteLLM's model_prices_and_context_window.json
    Import {
        /// The file to read
        file: PathBuf,
        /// The file to write [default: standard output]
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Only models of this provider, as LiteLLM calls it; may be given
        /// several times
        #[arg(long = "provider", value_name = "NAME")]
        providers: Vec<String>,
    },
}

/// One model of LiteLLM's file, as far as it is read.
#[derive(Deserialize)]
struct Listed<'a> {
    #[serde(default)]
    mode: Option<String>,
    #[serde(default)]
    litellm_provider: Option<String>,
    #[serde(borrow, default, rename = "input_cost_per_token")]
    input: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "cache_read_input_token_cost")]
    cached_input: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "cache_creation_input_token_cost")]
    cache_write: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "output_cost_per_token")]
    output: Option<&'a RawValue>,
}

/// Prices of a million tokens.
struct Figures {
    input: Money,
    cached_input: Option<Money>,
    cache_write: Option<Money>,
    output: Option<Money>,
}

/// What came of a file.
#[derive(Default)]
struct Imported {
    models: BTreeMap<String, Figures>,
    /// Models sold by the token whose prices cannot be kept, and why.
    skipped: Vec<(String, &'static str)>,
}

impl Prices {
    pub(super) fn run(&self, out: &mut Out) -> Result<(), Failure> {
        let What::Import { file, output, providers } = &self.what;
        let text = std::fs::read_to_string(file)
            .map_err(|error| Failure::Failed(format!("cannot read {}: {error}", file.display())))?;
        let imported = import(&text, providers).map_err(|error| {
            Failure::Failed(format!("{} is not LiteLLM's price file: {error}", file.display()))
        })?;
        if imported.models.is_empty() {
            return Err(Failure::Failed("there is no model with a price in it".to_owned()));
        }
        let written = render(&imported.models);
        let Some(output) = output else { return out.text(&written) };
        std::fs::write(output, written).map_err(|error| {
            Failure::Failed(format!("cannot write {}: {error}", output.display()))
        })?;
        out.line(&format!("{}: {} models", output.display(), imported.models.len()))?;
        for (name, reason) in &imported.skipped {
            out.line(&format!("left out, {reason}: {}", name.escape_debug()))?;
        }
        Ok(())
    }
}

fn import(text: &str, providers: &[String]) -> Result<Imported, serde_json::Error> {
    let all: BTreeMap<String, &RawValue> = serde_json::from_str(text)?;
    let mut imported = Imported::default();
    for (name, raw) in all {
        let Ok(listed) = serde_json::from_str::<Listed<'_>>(raw.get()) else { continue };
        let of = |wanted: &String| listed.litellm_provider.as_ref() == Some(wanted);
        let sold = listed.mode.as_deref().is_some_and(|mode| MODES.contains(&mode));
        if !sold || !(providers.is_empty() || providers.iter().any(of)) {
            continue;
        }
        let named = if plain(&name) { Ok(()) } else { Err("its name cannot be kept") };
        match named.and_then(|()| figures(&listed)) {
            Ok(figures) => {
                imported.models.insert(name, figures);
            }
            Err(reason) => imported.skipped.push((name, reason)),
        }
    }
    Ok(imported)
}

/// The prices of a model; or why they cannot be kept.
fn figures(listed: &Listed<'_>) -> Result<Figures, &'static str> {
    let price =
        |raw: &RawValue| million(raw).ok_or("its price is finer than a pico-dollar, or is none");
    let optional = |raw: Option<&RawValue>| raw.map(price).transpose();
    let input = price(listed.input.ok_or(UNKNOWN)?)?;
    let (cached_input, output) = (optional(listed.cached_input)?, optional(listed.output)?);
    // Where a provider asks nothing more for what it keeps, the list has 0 or what is
    // asked for reading: nobody keeps tokens for less than it reads them new.
    let cache_write = optional(listed.cache_write)?.filter(|price| *price > input);
    match (input, output) {
        // Nobody sells for nothing: the list does not know the price.
        (Money::ZERO, None | Some(Money::ZERO)) => Err(UNKNOWN),
        (_, None) if listed.mode.as_deref() != Some(WITHOUT_ANSWERS) => Err(UNKNOWN),
        _ => Ok(Figures { input, cached_input, cache_write, output }),
    }
}

/// Whether a name can stand in quotes as it is.
fn plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(&byte))
}

/// The price of a million tokens from that of one, such as `1.5e-07`: exact in
/// the decimal digits, but for the dust that floats leave in the sixteenth and
/// later. `None` if it has more than six decimals, or is no price.
fn million(raw: &RawValue) -> Option<Money> {
    let text = raw.get().trim_matches('"').to_ascii_lowercase();
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.trim_start_matches('+').parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let value: u128 = digits.parse().ok()?;
    let significant = i32::try_from(value.to_string().len()).ok()?;
    // value × 10^places is the price of a million tokens in millionths.
    let places = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let places = places.checked_add(6 + PLACES)?;
    let millionths = if places >= 0 {
        value.checked_mul(10_u128.checked_pow(places.unsigned_abs())?)?
    } else {
        let unit = 10_u128.checked_pow(places.unsigned_abs())?;
        let (quotient, rest) = (value / unit, value % unit);
        match rest.min(unit - rest) {
            0 => quotient,
            dust if significant >= 16 && dust.checked_mul(1_000_000_000_000)? < value => {
                quotient + u128::from(rest > dust)
            }
            _ => return None,
        }
    };
    let picos = i128::try_from(millionths).ok()?.checked_mul(1_000_000)?;
    Some(Money::from_picos(picos))
}

/// The price file.
fn render(models: &BTreeMap<String, Figures>) -> String {
    let mut text = String::from(
        "# What providers charge, in dollars per million tokens, by their own names of their models,\n\
         # bare or as provider/name. It gives the cost of models whose entry in `models` has none.\n\
         # Made by `tollgate prices import`; prices change, so make it anew now and then.\n\
         models:\n",
    );
    for (name, figures) in models {
        let Figures { input, cached_input, cache_write, output } = figures;
        let mut line = format!("  \"{name}\": {{ input: {input}");
        for (key, price) in
            [("cached_input", cached_input), ("cache_write", cache_write), ("output", output)]
        {
            if let Some(price) = price {
                // Writing to a text cannot fail.
                let _written = write!(line, ", {key}: {price}");
            }
        }
        text.push_str(&line);
        text.push_str(" }\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(price: &str) -> Option<String> {
        let raw: Box<RawValue> = serde_json::from_str(price).unwrap();
        million(&raw).map(|price| price.to_string())
    }

    #[test]
    fn prices_are_exact_in_every_spelling() {
        for (token, price) in [
            ("1.5e-07", "0.15"),
            ("1e-05", "10"),
            ("7.5e-8", "0.075"),
            ("0.0000021", "2.1"),
            ("0", "0"),
            ("0.0", "0"),
            ("\"2.5e-06\"", "2.5"),
            ("1e-12", "0.000001"),
            ("3.0E-6", "3"),
        ] {
            assert_eq!(of(token).as_deref(), Some(price), "{token}");
        }
    }

    #[test]
    fn the_dust_of_floats_is_no_part_of_a_price() {
        assert_eq!(of("1.6000000000000001e-06").as_deref(), Some("1.6"));
        assert_eq!(of("5.9999999999999995e-08").as_deref(), Some("0.06"));
        for token in ["1.25e-13", "1.142857142857143e-07", "-1e-6", "null", "[]", "1e-99"] {
            assert_eq!(of(token), None, "{token}");
        }
    }

    #[test]
    fn no_number_is_too_odd_to_be_refused() {
        for token in [
            "1e2147483647",
            "1.5e-2147483648",
            "1e99999999999999999999",
            "1e30",
            "340282366920938463463374607431768211456e-50",
            "1234567890123456789012345678e-50",
            "\"\"",
            "\"e\"",
            "true",
        ] {
            assert_eq!(of(token), None, "{token}");
        }
    }

    /// What is not known, or only in part, is never taken for free.
    #[test]
    fn a_price_that_is_not_whole_is_left_out_and_named() {
        let text = r#"{
            "whole": {"mode": "chat", "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6,
                      "cache_read_input_token_cost": 0.0, "cache_creation_input_token_cost": 0.0},
            "no output": {"mode": "chat", "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6},
            "a\u001b[2J": {"mode": "chat", "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6},
            "no-output": {"mode": "chat", "input_cost_per_token": 1e-6},
            "null-output": {"mode": "responses", "input_cost_per_token": 1e-6, "output_cost_per_token": null},
            "no-input": {"mode": "completion", "output_cost_per_token": 1e-6},
            "by-the-second": {"mode": "chat", "input_cost_per_second": 0.1},
            "no-number": {"mode": "chat", "input_cost_per_token": [1], "output_cost_per_token": 2e-6},
            "cheap": {"mode": "chat", "input_cost_per_token": 3.75e-6, "output_cost_per_token": 1.5e-5,
                      "cache_creation_input_token_cost": 1.875e-6},
            "odd": 7, "odder": {"mode": ["chat"], "input_cost_per_token": 1e-6}
        }"#;
        let imported = import(text, &[]).unwrap();
        let skipped: Vec<&str> = imported.skipped.iter().map(|(name, _)| &**name).collect();
        let named = [
            "a\u{1b}[2J",
            "by-the-second",
            "no output",
            "no-input",
            "no-number",
            "no-output",
            "null-output",
        ];
        assert_eq!(skipped, named);
        // What is kept for nothing more costs as any other prompt token.
        let written = render(&imported.models);
        assert!(
            written.ends_with("models:\n  \"cheap\": { input: 3.75, output: 15 }\n  \"whole\": { input: 1, cached_input: 0, output: 2 }\n"),
            "{written}"
        );
    }

    #[test]
    fn what_is_sold_by_the_token_is_taken() {
        let text = r#"{
            "sample_spec": {"mode": "one of: chat", "input_cost_per_token": 0.0},
            "a": {"mode": "chat", "litellm_provider": "x", "input_cost_per_token": 1e-6,
                  "cache_read_input_token_cost": 1e-7, "cache_creation_input_token_cost": 1.25e-6,
                  "output_cost_per_token": 4e-6, "unknown": {"deep": [1]}},
            "x/b": {"mode": "embedding", "litellm_provider": "x", "input_cost_per_token": 2e-8},
            "c": {"mode": "chat", "litellm_provider": "y", "input_cost_per_token": 1e-6,
                  "output_cost_per_token": 4e-6},
            "free": {"mode": "chat", "litellm_provider": "x", "input_cost_per_token": 0.0,
                     "output_cost_per_token": 0},
            "fine": {"mode": "chat", "litellm_provider": "x", "input_cost_per_token": 1.5e-13},
            "image": {"mode": "image_generation", "litellm_provider": "x", "input_cost_per_token": 1e-6}
        }"#;
        let imported = import(text, &["x".to_owned()]).unwrap();
        let skipped: Vec<&str> = imported.skipped.iter().map(|(name, _)| &**name).collect();
        assert_eq!(skipped, ["fine", "free"]);
        let written = render(&imported.models);
        let lines: Vec<&str> = written.lines().skip_while(|line| *line != "models:").collect();
        assert_eq!(
            lines,
            [
                "models:",
                "  \"a\": { input: 1, cached_input: 0.1, cache_write: 1.25, output: 4 }",
                "  \"x/b\": { input: 0.02 }",
            ]
        );
        assert_eq!(import(text, &[]).unwrap().models.len(), 3);
        assert!(import("[]", &[]).is_err());
    }
}
