//! What the name of a chat model says of it.
//!
//! Sources: OpenAI, "Reasoning models" and the pages of its models. Servers that are
//! compatible run all kinds of models, of which the names say little: what is not
//! known here is the server's to judge, or declared.

use crate::config::{Thinking, TokenLimit, Wording};
use crate::dialect::form::Reasoning;

/// Up to this many tokens of thinking are a `low` effort.
const LOW_BUDGET: u64 = 4096;
/// Up to this many are a `medium` one; more are `high`.
const MEDIUM_BUDGET: u64 = 16_383;
/// The efforts, the least first.
const EFFORTS: [&str; 6] = ["none", "minimal", "low", "medium", "high", "xhigh"];
/// How the names of models begin that do not think.
const THOUGHTLESS: [&str; 8] =
    ["gpt-3", "gpt-4", "chatgpt-", "davinci", "babbage", "llama", "mixtral", "codestral"];

/// A chat model.
#[derive(Clone, Debug)]
pub(super) struct Model {
    /// The generation, where it is one of OpenAI's: (0, n) of those called `o`n.
    openai: Option<(u32, u32)>,
    /// The efforts that it takes; none if it does not think. `None` if nothing is known.
    efforts: Option<&'static [&'static str]>,
}

impl Model {
    /// The model of this name, worded so at its server.
    pub(super) fn new(name: &str, wording: &Wording) -> Self {
        let name = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
        let openai = generation(&name);
        let known = efforts(&name, openai);
        let efforts = match wording.thinking {
            Some(Thinking::None) => Some([].as_slice()),
            Some(_) => Some(known.filter(|known| !known.is_empty()).unwrap_or(&EFFORTS)),
            None => known,
        };
        Self { openai, efforts }
    }

    /// Whether it is one of OpenAI's.
    pub(super) const fn is_openais(&self) -> bool {
        self.openai.is_some()
    }

    /// The field that limits its answers. OpenAI's models that think refuse
    /// `max_tokens`, and most compatible servers know that name alone.
    pub(super) fn token_limit(&self, wording: &Wording) -> &'static str {
        let newer = self.openai.is_some_and(|(major, _)| major == 0 || major >= 5);
        match wording.token_limit {
            Some(TokenLimit::MaxTokens) => "max_tokens",
            Some(TokenLimit::MaxCompletionTokens) => "max_completion_tokens",
            None if newer => "max_completion_tokens",
            None => "max_tokens",
        }
    }

    /// The `reasoning_effort` for what is `wanted`, if it needs one: the nearest that
    /// the model takes.
    ///
    /// # Errors
    /// If the model does not think.
    pub(super) fn effort<'a>(&self, wanted: &'a Reasoning) -> Result<Option<&'a str>, Thoughtless> {
        let wanted = match (wanted, self.efforts) {
            // A server of which nothing is known may not know the word, and need not think.
            (Reasoning::Adaptive, _) | (Reasoning::Off, None | Some([])) => return Ok(None),
            (_, Some([])) => return Err(Thoughtless),
            (wanted, _) => wanted,
        };
        let wanted = match wanted {
            Reasoning::Off | Reasoning::Adaptive => "none",
            Reasoning::Effort(effort) if effort == "max" => "xhigh",
            Reasoning::Effort(effort) => effort,
            Reasoning::Budget(0..=LOW_BUDGET) => "low",
            Reasoning::Budget(..=MEDIUM_BUDGET) => "medium",
            Reasoning::Budget(_) => "high",
        };
        let rank = |effort: &str| EFFORTS.iter().position(|known| *known == effort);
        let Some(place) = rank(wanted) else { return Ok(Some(wanted)) };
        // Of two that are as near the greater one.
        let far = |effort: &&&str| {
            rank(effort)
                .map_or(usize::MAX, |at| (at.abs_diff(place) << 1) + usize::from(at < place))
        };
        Ok(self.efforts.map_or(Some(wanted), |efforts| efforts.iter().min_by_key(far).copied()))
    }
}

/// A model does not think.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Thoughtless;

/// The generation of the model of OpenAI's called `name`.
fn generation(name: &str) -> Option<(u32, u32)> {
    let number = |word: &str| word.parse::<u32>().ok();
    if let Some(digit) = name.strip_prefix('o').and_then(|rest| rest.split('-').next()) {
        return number(digit).map(|number| (0, number));
    }
    let version = name.strip_prefix("gpt-").or_else(|| name.strip_prefix("chatgpt-"))?;
    let version = version.split('-').next()?;
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    let major = major.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    Some((number(major)?, number(minor).unwrap_or(0)))
}

/// The efforts that the model called `name` takes; `None` if its name does not say.
fn efforts(name: &str, openai: Option<(u32, u32)>) -> Option<&'static [&'static str]> {
    Some(match openai {
        _ if THOUGHTLESS.iter().any(|start| name.starts_with(start)) => &[],
        Some((0, _)) => &["low", "medium", "high"],
        Some(_) if name.contains("-chat") => &[],
        Some(version) if name.contains("-pro") => match version {
            (5, ..=1) => &["high"],
            _ => &["medium", "high", "xhigh"],
        },
        Some(version) if name.contains("-codex") => match version {
            (5, ..=1) => &["low", "medium", "high"],
            _ => &["low", "medium", "high", "xhigh"],
        },
        Some((5, 0)) => &["minimal", "low", "medium", "high"],
        Some((5, 1)) => &["none", "low", "medium", "high"],
        Some(_) => &["none", "low", "medium", "high", "xhigh"],
        None if name.starts_with("gpt-oss") => &["low", "medium", "high"],
        None => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effort(name: &str, declared: Option<Thinking>, wanted: &str) -> Option<String> {
        let wording = Wording { thinking: declared, ..Wording::default() };
        let wanted = match wanted {
            "none" => Reasoning::Off,
            "adaptive" => Reasoning::Adaptive,
            effort => Reasoning::Effort(effort.to_owned()),
        };
        match Model::new(name, &wording).effort(&wanted) {
            Ok(effort) => effort.map(str::to_owned),
            Err(Thoughtless) => Some("refused".to_owned()),
        }
    }

    #[test]
    fn an_effort_is_one_that_the_model_takes() {
        for (name, wanted, expected) in [
            ("gpt-4o-mini", "low", Some("refused")),
            ("gpt-4.1", "high", Some("refused")),
            ("gpt-4o", "none", None),
            ("gpt-4o", "adaptive", None),
            ("gpt-5-chat-latest", "low", Some("refused")),
            ("meta-llama/Llama-3.3-70B-Instruct", "low", Some("refused")),
            ("o3", "none", Some("low")),
            ("o4-mini", "xhigh", Some("high")),
            ("openai/gpt-5-mini", "none", Some("minimal")),
            ("gpt-5.1", "minimal", Some("low")),
            ("gpt-5.1", "none", Some("none")),
            ("gpt-5.1-codex", "none", Some("low")),
            ("gpt-5-pro", "low", Some("high")),
            ("gpt-5.2", "max", Some("xhigh")),
            ("gpt-oss-120b", "none", Some("low")),
            ("magistral-medium-latest", "none", None),
            ("magistral-medium-latest", "high", Some("high")),
            ("deepseek-reasoner", "high", Some("high")),
            ("qwen3-32b", "default", Some("default")),
        ] {
            assert_eq!(effort(name, None, wanted).as_deref(), expected, "{name} {wanted}");
        }
    }

    #[test]
    fn what_is_declared_stands_above_the_name() {
        assert_eq!(effort("o3", Some(Thinking::None), "low").as_deref(), Some("refused"));
        assert_eq!(effort("o3", Some(Thinking::None), "none"), None);
        assert_eq!(effort("llama-4", Some(Thinking::Effort), "low").as_deref(), Some("low"));
        assert_eq!(effort("o3", Some(Thinking::Effort), "none").as_deref(), Some("low"));
        let declared = effort("magistral-medium-latest", Some(Thinking::Effort), "none");
        assert_eq!(declared.as_deref(), Some("none"));
    }

    #[test]
    fn the_limit_has_the_name_that_the_model_takes() {
        let limit = |name: &str, declared| {
            let wording = Wording { token_limit: declared, ..Wording::default() };
            Model::new(name, &wording).token_limit(&wording)
        };
        for (name, field) in [
            ("gpt-4o-mini", "max_tokens"),
            ("o3-mini", "max_completion_tokens"),
            ("gpt-5.4", "max_completion_tokens"),
            ("gpt-oss-20b", "max_tokens"),
            ("olmo-2", "max_tokens"),
            ("mistral-large", "max_tokens"),
        ] {
            assert_eq!(limit(name, None), field, "{name}");
        }
        assert_eq!(limit("gpt-5", Some(TokenLimit::MaxTokens)), "max_tokens");
        assert_eq!(limit("my-own", Some(TokenLimit::MaxCompletionTokens)), "max_completion_tokens");
    }
}
