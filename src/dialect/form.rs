//! The internal form: what all dialects say, once.
//!
//! Numbers, schemas and arguments that nobody looks into are kept as they were
//! spelt.

use serde_json::value::RawValue;

use crate::dialect::json;
use crate::dialect::loss::{Bad, Checked};

/// The tool by which a model gives its answer where its dialect has no other
/// way to hold it to JSON.
pub(super) const ANSWER_TOOL: &str = "json_answer";

/// Ends the id of a call that its provider signed; what follows is the
/// signature, and another provider need not see it.
pub(super) const SIGNED_ID: &str = "__thought__";

/// A request.
#[derive(Debug, Default)]
pub(super) struct Request {
    /// The model, as the client calls it.
    pub(super) model: Option<String>,
    pub(super) messages: Vec<Message>,
    pub(super) tools: Vec<Tool>,
    pub(super) tool_choice: Option<ToolChoice>,
    pub(super) parallel_tool_calls: Option<bool>,
    /// The longest answer, thinking included, in tokens.
    pub(super) max_tokens: Option<u64>,
    pub(super) stop: Vec<String>,
    pub(super) format: Option<Format>,
    pub(super) reasoning: Option<Reasoning>,
    /// The end user.
    pub(super) user: Option<String>,
    pub(super) stream: bool,
    /// The numbers that steer the sampling, under the names that every dialect
    /// of clients gives them: of [`SAMPLING`].
    pub(super) sampling: Vec<(&'static str, Box<RawValue>)>,
    /// What the answer repeats of the request, where it does.
    pub(super) echo: Vec<(&'static str, Box<RawValue>)>,
}

/// The names of [`Request::sampling`].
pub(super) const SAMPLING: [&str; 11] = [
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
pub(super) enum Role {
    System,
    Developer,
    /// The user, and the results of tools.
    User,
    Assistant,
}

/// One turn.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) role: Role,
    /// The name of who speaks, beside the role.
    pub(super) name: Option<String>,
    pub(super) parts: Vec<Part>,
}

/// A part of a turn.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) content: Content,
    /// The marker up to which the provider is to cache.
    pub(super) cache: Option<Box<RawValue>>,
}

/// What a part says.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Text(String),
    Media(Media),
    Call(Call),
    Result(ToolResult),
    /// Thinking; what is signed must come back as it was.
    Thinking {
        text: String,
        signature: Option<String>,
    },
    /// Thinking that only the provider can read.
    Redacted(String),
    /// Why the model refuses.
    Refusal(String),
}

/// What kind of thing a [`Media`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Image,
    Audio,
    Document,
}

/// An image, a recording or a document.
#[derive(Clone, Debug)]
pub(super) struct Media {
    pub(super) kind: Kind,
    pub(super) source: Source,
    /// The file's name.
    pub(super) name: Option<String>,
    /// How closely to look.
    pub(super) detail: Option<String>,
    /// Where it stands in the client's request.
    pub(super) at: String,
}

/// Where the bytes of a [`Media`] are.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Url(String),
    /// In base64.
    Inline {
        media_type: String,
        data: String,
    },
}

/// A call of a tool.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) id: String,
    pub(super) name: String,
    /// The arguments, JSON if the model is right.
    pub(super) arguments: String,
}

/// What a tool gave.
#[derive(Clone, Debug)]
pub(super) struct ToolResult {
    /// The call's id.
    pub(super) id: String,
    /// The called tool's name.
    pub(super) name: String,
    /// Texts and media.
    pub(super) parts: Vec<Content>,
    pub(super) failed: bool,
}

/// A tool that the model may call.
#[derive(Debug)]
pub(super) struct Tool {
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) schema: Option<Box<RawValue>>,
    pub(super) strict: Option<bool>,
    pub(super) cache: Option<Box<RawValue>>,
}

/// Which tools are to be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ToolChoice {
    Auto,
    None,
    Required,
    Named(String),
}

/// The form of the answer, where it is not free.
#[derive(Debug)]
pub(super) enum Format {
    /// Any JSON object.
    Object,
    Schema {
        name: Option<String>,
        description: Option<String>,
        strict: Option<bool>,
        schema: Box<RawValue>,
    },
}

/// How much the model is to think.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reasoning {
    /// Not at all.
    Off,
    /// As it sees fit.
    Adaptive,
    /// In words: `minimal`, `low`, `medium`, `high` and above.
    Effort(String),
    /// In tokens.
    Budget(u64),
}

/// An answer.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) id: Option<String>,
    /// In the order of their numbers; at least one.
    pub(super) choices: Vec<Choice>,
    pub(super) usage: Option<Usage>,
}

/// One of an answer's choices.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) parts: Vec<Content>,
    pub(super) stop: Stop,
    pub(super) logprobs: Option<Box<RawValue>>,
}

/// Why an answer ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The model was done.
    End,
    /// It was as long as it may be.
    Length,
    /// A stop sequence, if the provider says which.
    Sequence(Option<String>),
    /// It calls tools.
    Tools,
    /// The model or a filter refused.
    Refused,
    /// The provider makes a pause; the client may go on.
    Pause,
}

/// The tokens of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// All of the prompt, what is in the cache included.
    pub(super) input: u64,
    /// Read from the provider's cache.
    pub(super) cached: u64,
    /// Written to it.
    pub(super) cache_written: u64,
    /// All of the answer, thinking included.
    pub(super) output: u64,
    pub(super) reasoning: u64,
}

/// One step of a streamed answer.
#[derive(Debug)]
pub(super) enum Event {
    /// It begins.
    Start { id: Option<String>, usage: Option<Usage> },
    /// A choice goes on.
    Delta { choice: u64, delta: Delta },
    /// The log probabilities of what a choice says next.
    Logprobs { choice: u64, logprobs: Box<RawValue> },
    /// A choice ends.
    Stop { choice: u64, stop: Stop },
    /// What it used; the last one counts.
    Usage(Usage),
    /// The provider failed; nothing follows.
    Failed { kind: String, message: String },
    /// It is whole; nothing follows.
    End,
}

/// How a choice goes on.
#[derive(Debug)]
pub(super) enum Delta {
    Text(String),
    Thinking(String),
    /// The thinking so far is signed.
    Signature(String),
    Redacted(String),
    Refusal(String),
    /// Call number `call` of the choice begins, from 0.
    Call {
        call: u64,
        id: String,
        name: String,
    },
    /// Its arguments go on.
    Arguments {
        call: u64,
        text: String,
    },
}

impl Request {
    /// Which tools are to be called. Without tools the usual choices say
    /// nothing, and providers refuse them.
    pub(super) fn choice(&self) -> Option<&ToolChoice> {
        let usual = |choice: &&ToolChoice| matches!(choice, ToolChoice::Auto | ToolChoice::None);
        self.tool_choice.as_ref().filter(|choice| !self.tools.is_empty() || !usual(choice))
    }

    /// The end user's id, unless it is longer than a provider takes.
    pub(super) fn user_within(&self, longest: usize) -> Option<&String> {
        self.user.as_ref().filter(|user| user.len() <= longest)
    }

    /// The parts of the system's turns, and the other turns: those of one role
    /// that follow each other as one, results before what else the user says.
    pub(super) fn turns(&self) -> (Vec<&Part>, Vec<(Role, Vec<&Part>)>) {
        let mut system = Vec::new();
        let mut turns: Vec<(Role, Vec<&Part>)> = Vec::new();
        for Message { role, parts, .. } in &self.messages {
            match (role, turns.last_mut()) {
                (Role::System | Role::Developer, _) => system.extend(parts),
                (role, Some((last, turn))) if role == last => turn.extend(parts),
                (role, _) => turns.push((*role, parts.iter().collect())),
            }
        }
        for (_, parts) in &mut turns {
            parts.sort_by_key(|part| !matches!(part.content, Content::Result(_)));
        }
        (system, turns)
    }
}

impl Part {
    /// A part without a marker.
    pub(super) const fn plain(content: Content) -> Self {
        Self { content, cache: None }
    }

    /// A text.
    pub(super) const fn text(text: String) -> Self {
        Self::plain(Content::Text(text))
    }
}

impl Message {
    /// A turn of nobody's name.
    pub(super) const fn of(role: Role, parts: Vec<Part>) -> Self {
        Self { role, name: None, parts }
    }
}

impl Call {
    /// The arguments as an object. What a model left unfinished is an empty
    /// one.
    pub(super) fn input(&self) -> Box<RawValue> {
        json::as_object(&self.arguments)
            .or_else(|| json::as_object("{}"))
            .unwrap_or_else(|| RawValue::NULL.to_owned())
    }
}

impl Source {
    /// A URL, or the bytes that a data URL holds; `None` if it holds none in
    /// base64.
    pub(super) fn of_url(url: String) -> Option<Self> {
        let Some(rest) = url.strip_prefix("data:") else { return Some(Self::Url(url)) };
        let (head, data) = rest.split_once(',')?;
        let head = head.strip_suffix(";base64")?;
        let media_type = head.split(';').next().unwrap_or_default().to_owned();
        Some(Self::Inline { media_type, data: data.to_owned() })
    }

    /// As a URL.
    pub(super) fn to_url(&self) -> String {
        match self {
            Self::Url(url) => url.clone(),
            Self::Inline { media_type, data } => format!("data:{media_type};base64,{data}"),
        }
    }
}

impl Stop {
    /// As the stop of a choice that has calls, or has none: providers differ in
    /// what they say there.
    pub(super) fn with_calls(self, calls: bool) -> Self {
        match self {
            Self::End if calls => Self::Tools,
            other => other,
        }
    }
}

/// The `id` that a provider gave to an answer, as one of those that begin with
/// `prefix`.
pub(super) fn answer_id(prefix: &str, id: Option<&str>) -> String {
    let id = id.unwrap_or("translated");
    let bare = ["chatcmpl-", "msg_"].iter().find_map(|known| id.strip_prefix(known));
    format!("{prefix}{}", bare.unwrap_or(id))
}

impl Answer {
    /// The id, as one of those that begin with `prefix`.
    pub(super) fn id(&self, prefix: &str) -> String {
        answer_id(prefix, self.id.as_deref())
    }

    /// Turns the call of [`ANSWER_TOOL`] into the text that it carries.
    pub(super) fn unwrap_answer_tool(&mut self) {
        for choice in &mut self.choices {
            for part in &mut choice.parts {
                if let Content::Call(call) = part
                    && call.name == ANSWER_TOOL
                {
                    *part = Content::Text(std::mem::take(&mut call.arguments));
                }
            }
            let calls = choice.parts.iter().any(|part| matches!(part, Content::Call(_)));
            if choice.stop == Stop::Tools && !calls {
                choice.stop = Stop::End;
            }
        }
    }
}

/// The calls of a conversation so far: a result needs one.
#[derive(Debug, Default)]
pub(super) struct Calls(std::collections::HashMap<String, String>);

impl Calls {
    /// A call was made.
    pub(super) fn made(&mut self, call: &Call) {
        self.0.insert(call.id.clone(), call.name.clone());
    }

    /// The name of the tool whose call has the id that stands at `at`.
    pub(super) fn name(&self, id: &str, at: impl FnOnce() -> String) -> Checked<String> {
        self.0
            .get(id)
            .cloned()
            .ok_or_else(|| Bad::invalid(at(), "No call of a tool before this result has this id."))
    }
}

/// The `id` of a call without what another provider put at its end.
pub(super) fn bare_call_id(id: &str) -> &str {
    id.split_once(SIGNED_ID).map_or(id, |(bare, _)| bare)
}

/// Whether the sampling field `name` says what every model does anyway, or only wishes.
pub(super) fn is_usual(name: &str, value: &RawValue) -> bool {
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
