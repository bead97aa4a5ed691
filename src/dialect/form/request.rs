//! A request.

use serde_json::value::RawValue;

use crate::dialect::form::content::{Content, Part};
use crate::dialect::loss::{Bad, Checked, Losses};

/// A request.
#[derive(Debug, Default)]
pub(in crate::dialect) struct Request {
    pub(in crate::dialect) messages: Vec<Message>,
    pub(in crate::dialect) tools: Vec<Tool>,
    pub(in crate::dialect) tool_choice: Option<ToolChoice>,
    pub(in crate::dialect) parallel_tool_calls: Option<bool>,
    /// The longest answer, thinking included, in tokens.
    pub(in crate::dialect) max_tokens: Option<u64>,
    pub(in crate::dialect) stop: Vec<String>,
    pub(in crate::dialect) format: Option<Format>,
    pub(in crate::dialect) reasoning: Option<Reasoning>,
    /// The end user.
    pub(in crate::dialect) user: Option<String>,
    pub(in crate::dialect) stream: bool,
    /// The numbers that steer the sampling, under the names that every dialect
    /// of clients gives them: of [`SAMPLING`].
    pub(in crate::dialect) sampling: Vec<(&'static str, Box<RawValue>)>,
    /// What the answer repeats of the request, where it does.
    pub(in crate::dialect) echo: Vec<(&'static str, Box<RawValue>)>,
}

/// The names of [`Request::sampling`] that Messages has too.
pub(in crate::dialect) const OF_MESSAGES: [&str; 3] = ["temperature", "top_p", "top_k"];

/// The names of [`Request::sampling`].
pub(in crate::dialect) const SAMPLING: [&str; 11] = [
    "temperature",
    "top_p",
    "top_k",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "n",
    "verbosity",
];

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dialect) enum Role {
    System,
    Developer,
    /// The user, and the results of tools.
    User,
    Assistant,
}

/// One turn.
#[derive(Debug)]
pub(in crate::dialect) struct Message {
    pub(in crate::dialect) role: Role,
    /// Where it stands in the client's request.
    pub(in crate::dialect) at: String,
    /// The name of who speaks, beside the role.
    pub(in crate::dialect) name: Option<String>,
    pub(in crate::dialect) parts: Vec<Part>,
}

/// A tool that the model may call.
#[derive(Debug)]
pub(in crate::dialect) struct Tool {
    pub(in crate::dialect) name: String,
    /// Where the name stands in the client's request.
    pub(in crate::dialect) at: String,
    pub(in crate::dialect) description: Option<String>,
    pub(in crate::dialect) schema: Option<Box<RawValue>>,
    pub(in crate::dialect) strict: Option<bool>,
    pub(in crate::dialect) cache: Option<Box<RawValue>>,
}

/// Which tools are to be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::dialect) enum ToolChoice {
    Auto,
    None,
    Required,
    Named(String),
}

/// The form of the answer, where it is not free.
#[derive(Debug)]
pub(in crate::dialect) enum Format {
    /// Any JSON object.
    Object,
    Schema {
        name: Option<String>,
        description: Option<String>,
        strict: Option<bool>,
        schema: Box<RawValue>,
    },
}

impl Format {
    /// Whether a model is to keep to a schema to the letter.
    pub(in crate::dialect) const fn is_strict(&self) -> bool {
        matches!(self, Self::Schema { strict: Some(true), .. })
    }
}

/// How much the model is to think.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::dialect) enum Reasoning {
    /// Not at all.
    Off,
    /// As it sees fit.
    Adaptive,
    /// In words: `minimal`, `low`, `medium`, `high` and above.
    Effort(String),
    /// In tokens.
    Budget(u64),
}

/// The parts of the system's turns, and the other turns.
pub(in crate::dialect) type Turns<'a> = (Vec<&'a Part>, Vec<(Role, Vec<&'a Part>)>);

impl Request {
    /// Which tools are to be called. Without tools the usual choices say
    /// nothing, and providers refuse them.
    pub(in crate::dialect) fn choice(&self) -> Option<&ToolChoice> {
        let usual = |choice: &&ToolChoice| matches!(choice, ToolChoice::Auto | ToolChoice::None);
        self.tool_choice.as_ref().filter(|choice| !self.tools.is_empty() || !usual(choice))
    }

    /// Whether the model is to think, in so many words.
    pub(in crate::dialect) const fn wants_thinking(&self) -> bool {
        matches!(self.reasoning, Some(Reasoning::Effort(_) | Reasoning::Budget(_)))
    }

    /// That the names of the tools are such as the target takes: not empty, at most
    /// `longest` bytes, and of what `fits`.
    pub(in crate::dialect) fn check_names(
        &self,
        longest: usize,
        fits: impl Fn(&str) -> bool,
    ) -> Checked<()> {
        let bad = |tool: &&Tool| !(1..=longest).contains(&tool.name.len()) || !fits(&tool.name);
        match self.tools.iter().find(bad) {
            None => Ok(()),
            Some(tool) => {
                let message = "The provider of this model takes no such name of a tool.";
                Err(Bad::unsupported(tool.at.as_str(), message))
            }
        }
    }

    /// The stop sequences, of which the target takes `most`.
    pub(in crate::dialect) fn stops(&self, most: usize, losses: &mut Losses) -> Checked<&[String]> {
        match self.stop.get(..most) {
            Some(first) if self.stop.len() > most => {
                let message = format!("The provider of this model takes at most {most}.");
                losses.lacks("stop", &message)?;
                Ok(first)
            }
            _ => Ok(&self.stop),
        }
    }

    /// The end user's id, unless it is longer than a provider takes.
    pub(in crate::dialect) fn user_within(&self, longest: usize) -> Option<&String> {
        self.user.as_ref().filter(|user| user.len() <= longest)
    }

    /// The parts of the system's turns, and the other turns: those of one role
    /// that follow each other as one, results before what else the user says. The
    /// first is the user's: what an assistant says before it is lost.
    pub(in crate::dialect) fn turns(&self, losses: &mut Losses) -> Checked<Turns<'_>> {
        let mut system = Vec::new();
        let mut turns: Vec<(Role, Vec<&Part>)> = Vec::new();
        for Message { role, parts, at, .. } in &self.messages {
            match (role, turns.last_mut()) {
                (Role::System | Role::Developer, _) => system.extend(parts),
                (Role::Assistant, None) => {
                    let message =
                        "The first turn must be the user's at the provider of this model.";
                    let calls = parts.iter().any(|part| matches!(part.content, Content::Call(_)));
                    if calls {
                        return Err(Bad::unsupported(format!("{at}.role"), message));
                    }
                    losses.lose_as(format!("{at}.role"), message)?;
                }
                (role, Some((last, turn))) if role == last => turn.extend(parts),
                (role, _) => turns.push((*role, parts.iter().collect())),
            }
        }
        for (_, parts) in &mut turns {
            parts.sort_by_key(|part| !matches!(part.content, Content::Result(_)));
        }
        Ok((system, turns))
    }
}

impl Message {
    /// A turn of nobody's name.
    pub(in crate::dialect) const fn of(role: Role, at: String, parts: Vec<Part>) -> Self {
        Self { role, at, name: None, parts }
    }
}

/// Whether the sampling field `name` says what every model does anyway, or only wishes.
pub(in crate::dialect) fn is_usual(name: &str, value: &RawValue) -> bool {
    let value = value.get();
    match name {
        "frequency_penalty" | "presence_penalty" => matches!(value, "0" | "0.0"),
        "logit_bias" => value.strip_prefix('{').is_some_and(|rest| rest.trim() == "}"),
        "logprobs" => value == "false",
        "top_logprobs" => value == "0",
        "n" => value == "1",
        "verbosity" => true,
        _ => false,
    }
}
