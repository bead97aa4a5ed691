//! How Anthropic's models are told to think.
//!
//! Sources: Anthropic, "Extended thinking", "Adaptive thinking", "Effort" and "Migration
//! guide": models from 4.7 on take no budget and no sampling, think by
//! `output_config.effort`, and hide what they think unless asked. Those from 5 on
//! think where nothing is said; some of them cannot be told not to.

use crate::config::Thinking;
use crate::dialect::form::{Content, Part, Reasoning, Request, Role, ToolChoice};
use crate::dialect::json::Object;

/// The least budget that thinking can have, in tokens.
const LEAST_BUDGET: u64 = 1024;
/// The families that have only models from 5 on.
const LATE_FAMILIES: [&str; 2] = ["fable", "mythos"];

/// What a model can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Nothing: it does not think.
    None,
    /// How many tokens.
    Budget,
    /// How much effort; `always` where it thinks unless told otherwise, `stops` where
    /// it can be told so.
    Adaptive { always: bool, stops: bool },
}

/// What a request says of thinking.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) thinking: Option<Object<'static>>,
    pub(super) effort: Option<&'static str>,
    /// The tokens that it is expected to take.
    pub(super) tokens: u64,
}

impl Mode {
    /// Of `model`, of which `declared` is said.
    pub(super) fn of(model: &str, declared: Option<Thinking>) -> Self {
        let version = version(model);
        let late = LATE_FAMILIES.iter().any(|family| model.contains(family));
        match declared {
            Some(Thinking::Budget | Thinking::Effort | Thinking::Level) => return Self::Budget,
            Some(Thinking::None) => return Self::None,
            None if version.is_some_and(|version| version < (3, 7)) => return Self::None,
            None if !late && version.is_none_or(|version| version < (4, 7)) => return Self::Budget,
            Some(Thinking::Adaptive) | None => {}
        }
        let always = late || version.is_some_and(|version| version >= (5, 0));
        Self::Adaptive { always, stops: !late && version == Some((5, 0)) }
    }
}

/// The generation of Claude that `model` names, such as (4, 7).
fn version(model: &str) -> Option<(u32, u32)> {
    let (_, name) = model.split_once("claude-")?;
    // A longer number is a date.
    let number = |word: &str| word.parse().ok().filter(|number| *number < 100_u32);
    let mut words = name.split(['-', '.', '@', ':']);
    let major = words.by_ref().find_map(number)?;
    Some((major, words.next().and_then(number).unwrap_or(0)))
}

impl Plan {
    /// What `form` comes to for a model of `mode`.
    pub(super) fn new(form: &Request, mode: Mode) -> Self {
        match mode {
            Mode::None => Self::default(),
            Mode::Budget => budget(form).map_or_else(Self::default, |tokens| Self {
                thinking: Some(Object::of("enabled").with("budget_tokens", tokens)),
                effort: None,
                tokens,
            }),
            Mode::Adaptive { always, stops } => Self::adaptive(form, always, stops),
        }
    }

    fn adaptive(form: &Request, always: bool, stops: bool) -> Self {
        let effort = match &form.reasoning {
            None => return Self::default(),
            Some(Reasoning::Off) => {
                let thinking = (always && stops).then(|| Object::of("disabled"));
                let effort = (always && !stops).then_some("low");
                return Self { thinking, effort, tokens: 0 };
            }
            Some(Reasoning::Adaptive) => None,
            Some(Reasoning::Effort(effort)) => Some(match effort.as_str() {
                "minimal" | "low" => "low",
                "medium" => "medium",
                "xhigh" => "xhigh",
                "max" => "max",
                _ => "high",
            }),
            Some(Reasoning::Budget(budget)) => Some(match budget {
                0..=4096 => "low",
                ..16_384 => "medium",
                _ => "high",
            }),
        };
        if is_forced(form) {
            return Self::default();
        }
        Self {
            thinking: Some(Object::of("adaptive").with("display", "summarized")),
            effort,
            tokens: tokens_of(effort.unwrap_or("high")),
        }
    }
}

/// The tokens that an effort takes.
fn tokens_of(effort: &str) -> u64 {
    match effort {
        "minimal" => LEAST_BUDGET,
        "low" => 4096,
        "medium" => 8192,
        "high" => 16_384,
        _ => 32_768,
    }
}

/// Whether a tool must be called, where models do not think.
fn is_forced(form: &Request) -> bool {
    matches!(form.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_)))
        || form.format.as_ref().is_some_and(|format| !format.is_strict())
}

/// The budget of thinking, in tokens. There is none if it cannot be had: where
/// a tool must be called, where the limit leaves no room, where sampling is asked
/// for that does not go with it, and where an open turn was begun without
/// thinking, or without what signed it.
fn budget(form: &Request) -> Option<u64> {
    let wanted = match form.reasoning.as_ref()? {
        Reasoning::Off | Reasoning::Adaptive => return None,
        Reasoning::Budget(budget) => *budget,
        Reasoning::Effort(effort) => tokens_of(effort),
    };
    let forced = form.format.is_some() || is_forced(form);
    if forced || samples(form) || open_without_thinking(form) {
        return None;
    }
    let most = form.max_tokens.map_or(u64::MAX, |limit| limit / 2);
    Some(wanted.min(most)).filter(|budget| *budget >= LEAST_BUDGET)
}

/// Whether answers are sampled as they are not with thinking: at a temperature but
/// 1, from the likeliest `top_k`, or from less than 0.95 of what is likely. Source:
/// Anthropic, "Extended thinking", "Feature compatibility".
fn samples(form: &Request) -> bool {
    form.sampling.iter().any(|(name, value)| {
        let given: Option<f64> = value.get().parse().ok();
        match *name {
            "temperature" => given.is_some_and(|given| given < 1.0),
            "top_p" => given.is_some_and(|given| given < 0.95),
            "top_k" => given.is_some(),
            _ => false,
        }
    })
}

/// Whether the turn that goes on calls tools and has no signed thinking.
fn open_without_thinking(form: &Request) -> bool {
    let said = |part: &Part| !matches!(part.content, Content::Result(_));
    let turn = form
        .messages
        .iter()
        .rev()
        .take_while(|message| message.role != Role::User || !message.parts.iter().any(said));
    turn.filter(|message| message.role == Role::Assistant).any(|message| {
        let has = |of: fn(&Content) -> bool| message.parts.iter().any(|part| of(&part.content));
        has(|content| matches!(content, Content::Call(_)))
            && !has(|content| {
                matches!(
                    content,
                    Content::Redacted(_) | Content::Thinking { signature: Some(_), .. }
                )
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_model_thinks_follows_from_its_name() {
        let adaptive = |always, stops| Mode::Adaptive { always, stops };
        for (model, mode) in [
            ("claude-2.1", Mode::None),
            ("claude-3-5-haiku-20241022", Mode::None),
            ("claude-3-7-sonnet-20250219", Mode::Budget),
            ("claude-opus-4-20250514", Mode::Budget),
            ("claude-sonnet-4-5-20250929", Mode::Budget),
            ("us.anthropic.claude-opus-4-6-v1:0", Mode::Budget),
            ("claude-sonnet", Mode::Budget),
            ("another-maker", Mode::Budget),
            ("claude-opus-4-7", adaptive(false, false)),
            ("anthropic/claude-opus-4.8", adaptive(false, false)),
            ("claude-opus-5", adaptive(true, true)),
            ("claude-sonnet-5-20260601", adaptive(true, true)),
            ("claude-opus-5-5", adaptive(true, false)),
            ("claude-fable-5", adaptive(true, false)),
            ("claude-mythos-preview", adaptive(true, false)),
        ] {
            assert_eq!(Mode::of(model, None), mode, "{model}");
        }
        assert_eq!(Mode::of("claude-opus-4-7", Some(Thinking::Budget)), Mode::Budget);
        assert_eq!(Mode::of("alias", Some(Thinking::Adaptive)), adaptive(false, false));
        assert_eq!(Mode::of("claude-opus-5", Some(Thinking::None)), Mode::None);
    }
}
