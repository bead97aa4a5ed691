//! How Google's models are told to think.
//!
//! Source: Google AI, "Gemini API: Gemini thinking": a budget until generation 2.5, a
//! level from generation 3 on; each model has its range, and not all can be told not
//! to think.

use std::ops::RangeInclusive;

use crate::config::Thinking;
use crate::dialect::form::Reasoning;
use crate::dialect::json::Object;

/// What a model can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Nothing: it does not think.
    None,
    /// How many tokens; `off` is the budget that comes closest to no thinking.
    Budget { range: RangeInclusive<u64>, off: u64 },
    /// One of these, the least first.
    Level(&'static [&'static str]),
}

impl Mode {
    /// Of `model`, of which `declared` is said.
    pub(super) fn of(model: &str, declared: Option<Thinking>) -> Self {
        let name = model.rsplit('/').next().unwrap_or(model);
        let pro = name.contains("pro");
        let version = version(name);
        let levels = || {
            Self::Level(match version {
                Some((3, 0)) if pro => &["low", "high"],
                _ if pro => &["low", "medium", "high"],
                Some((3, 7)) => &["low", "medium", "high"],
                _ => &["minimal", "low", "medium", "high"],
            })
        };
        match declared {
            Some(Thinking::None) => return Self::None,
            Some(Thinking::Level) => return levels(),
            None if is_third(model) => return levels(),
            None if version.is_some_and(|version| version < (2, 5)) => return Self::None,
            _ => {}
        }
        let (range, off) = match () {
            () if pro => (128..=32_768, 128),
            () if name.contains("lite") => (512..=24_576, 0),
            () => (0..=24_576, 0),
        };
        Self::Budget { range, off }
    }
}

/// Whether `model` is known to be of the third generation or a later one, which wants
/// a signature of each call in a conversation, be it another model's.
pub(super) fn is_third(model: &str) -> bool {
    version(model.rsplit('/').next().unwrap_or(model)).is_some_and(|version| version >= (3, 0))
}

/// The generation of Gemini that `name` names, such as (2, 5).
fn version(name: &str) -> Option<(u32, u32)> {
    let mut words = name.strip_prefix("gemini-")?.split(['-', '.']);
    let major = words.next()?.parse().ok()?;
    Some((major, words.next().and_then(|word| word.parse().ok()).unwrap_or(0)))
}

/// The `thinkingConfig` for what is `wanted`; `None` if there is nothing to say.
pub(super) fn config(wanted: &Reasoning, mode: &Mode) -> Option<Object<'static>> {
    let shown = || Object::new().with("includeThoughts", true);
    Some(match (mode, wanted) {
        (Mode::None, _) => return None,
        (_, Reasoning::Adaptive) => shown(),
        (Mode::Budget { off, .. }, Reasoning::Off) => Object::new().with("thinkingBudget", *off),
        (Mode::Budget { range, .. }, Reasoning::Budget(budget)) => {
            shown().with("thinkingBudget", (*budget).clamp(*range.start(), *range.end()))
        }
        (Mode::Budget { range, .. }, Reasoning::Effort(effort)) => {
            let budget: u64 = match effort.as_str() {
                "minimal" => 512,
                "low" => 1024,
                "medium" => 8192,
                _ => 24_576,
            };
            shown().with("thinkingBudget", budget.clamp(*range.start(), *range.end()))
        }
        (Mode::Level(levels), Reasoning::Off) => {
            Object::new().with("thinkingLevel", nearest(levels, "minimal"))
        }
        (Mode::Level(levels), Reasoning::Budget(budget)) => {
            let level = match budget {
                0..=4096 => "low",
                ..16_384 => "medium",
                _ => "high",
            };
            shown().with("thinkingLevel", nearest(levels, level))
        }
        (Mode::Level(levels), Reasoning::Effort(effort)) => {
            shown().with("thinkingLevel", nearest(levels, effort))
        }
    })
}

/// The first of `levels` that is no less than `wanted`; the greatest if none is.
fn nearest(levels: &[&'static str], wanted: &str) -> &'static str {
    const ORDER: [&str; 4] = ["minimal", "low", "medium", "high"];
    let rank = |level: &str| ORDER.iter().position(|known| *known == level).unwrap_or(ORDER.len());
    let found = levels.iter().find(|level| rank(level) >= rank(wanted));
    found.or(levels.last()).copied().unwrap_or("high")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn written(model: &str, declared: Option<Thinking>, wanted: &Reasoning) -> Value {
        let config = config(wanted, &Mode::of(model, declared));
        config.map_or(Value::Null, |config| serde_json::to_value(config).unwrap())
    }

    #[test]
    fn a_budget_stays_within_what_the_model_takes() {
        for (model, asked, budget) in [
            ("gemini-2.5-pro", 1, 128),
            ("gemini-2.5-pro", 99_999, 32_768),
            ("gemini-2.5-pro", 4096, 4096),
            ("models/gemini-2.5-flash", 0, 0),
            ("gemini-2.5-flash", 99_999, 24_576),
            ("gemini-2.5-flash-lite", 100, 512),
        ] {
            let config = written(model, None, &Reasoning::Budget(asked));
            assert_eq!(
                config,
                json!({"includeThoughts": true, "thinkingBudget": budget}),
                "{model}"
            );
        }
    }

    #[test]
    fn off_is_the_least_that_a_model_can_do() {
        for (model, config) in [
            ("gemini-2.5-pro", json!({"thinkingBudget": 128})),
            ("gemini-2.5-flash", json!({"thinkingBudget": 0})),
            ("gemini-2.5-flash-lite", json!({"thinkingBudget": 0})),
            ("gemini-3-flash-preview", json!({"thinkingLevel": "minimal"})),
            ("gemini-3-pro-preview", json!({"thinkingLevel": "low"})),
            ("gemini-2.0-flash", Value::Null),
        ] {
            assert_eq!(written(model, None, &Reasoning::Off), config, "{model}");
        }
    }

    #[test]
    fn from_the_third_generation_on_it_is_a_level() {
        let effort = |effort: &str| Reasoning::Effort(effort.to_owned());
        for (model, wanted, level) in [
            ("gemini-3-pro-preview", effort("minimal"), "low"),
            ("gemini-3-pro-preview", effort("medium"), "high"),
            ("gemini-3.1-pro-preview", effort("medium"), "medium"),
            ("gemini-3-flash", effort("minimal"), "minimal"),
            ("gemini-3.5-flash", effort("xhigh"), "high"),
            ("gemini-3.5-flash", Reasoning::Budget(2000), "low"),
            ("gemini-3.5-flash", Reasoning::Budget(30_000), "high"),
        ] {
            let config = written(model, None, &wanted);
            assert_eq!(config, json!({"includeThoughts": true, "thinkingLevel": level}), "{model}");
        }
        let declared = written("tuned", Some(Thinking::Level), &effort("low"));
        assert_eq!(declared["thinkingLevel"], "low");
        let declared = written("gemini-3-flash", Some(Thinking::Budget), &effort("low"));
        assert_eq!(declared["thinkingBudget"], 1024);
        assert_eq!(written("gemini-3-flash", Some(Thinking::None), &effort("low")), Value::Null);
    }
}
