//! The items of a response, and the response around them.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::dialect::Translation;
use crate::dialect::form::{Answer, Content, Delta, Stop, Usage};
use crate::dialect::json::{Node, Object};
use crate::dialect::loss::{Bad, Checked};
use crate::dialect::openai::cached;
use crate::dialect::responses::{REDACTED, SIGNED};

/// The most that a response's items hold, in bytes: a stream ends with all.
const LARGEST: usize = 64 * 1024 * 1024;
/// The most items of one response.
const MOST_ITEMS: usize = 4096;

/// An item of the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// What is said: a text, or why not.
    Message {
        text: String,
        refusal: bool,
    },
    Call {
        call: u64,
        id: String,
        name: String,
        arguments: String,
    },
    /// Thinking, and what `encrypted_content` holds.
    Reasoning {
        text: String,
        held: Option<String>,
    },
}

/// The items of the output so far.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub(super) items: Vec<Item>,
    size: usize,
}

/// What became of the items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grown {
    /// The last one goes on.
    Last,
    /// There is a new one.
    New,
}

impl Output {
    /// Adds `delta` to the last item or to a new one.
    pub(super) fn grow(&mut self, delta: &Delta) -> Checked<Grown> {
        let more = match delta {
            Delta::Text(text) | Delta::Refusal(text) | Delta::Thinking(text) => text,
            Delta::Arguments { text, .. } | Delta::Signature(text) | Delta::Redacted(text) => text,
            Delta::Call { name, .. } => name,
        };
        self.size = self.size.saturating_add(more.len());
        if self.size > LARGEST || self.items.len() > MOST_ITEMS {
            return Err(Bad::invalid("output", "This is too large."));
        }
        let new = match (delta, self.items.last_mut()) {
            (Delta::Text(more), Some(Item::Message { text, refusal: false }))
            | (Delta::Refusal(more), Some(Item::Message { text, refusal: true }))
            | (Delta::Thinking(more), Some(Item::Reasoning { text, held: None })) => {
                text.push_str(more);
                return Ok(Grown::Last);
            }
            (Delta::Signature(signature), Some(Item::Reasoning { held: held @ None, .. })) => {
                *held = Some(format!("{SIGNED}{signature}"));
                return Ok(Grown::Last);
            }
            (Delta::Arguments { call, text }, Some(Item::Call { call: last, arguments, .. }))
                if call == last =>
            {
                arguments.push_str(text);
                return Ok(Grown::Last);
            }
            (Delta::Arguments { .. }, _) => {
                return Err(Bad::invalid("arguments", "The arguments of calls are mixed."));
            }
            (Delta::Text(text), _) => Item::Message { text: text.clone(), refusal: false },
            (Delta::Refusal(text), _) => Item::Message { text: text.clone(), refusal: true },
            (Delta::Thinking(text), _) => Item::Reasoning { text: text.clone(), held: None },
            (Delta::Signature(signature), _) => {
                Item::Reasoning { text: String::new(), held: Some(format!("{SIGNED}{signature}")) }
            }
            (Delta::Redacted(data), _) => {
                Item::Reasoning { text: String::new(), held: Some(format!("{REDACTED}{data}")) }
            }
            (Delta::Call { call, id, name }, _) => Item::Call {
                call: *call,
                id: id.clone(),
                name: name.clone(),
                arguments: String::new(),
            },
        };
        self.items.push(new);
        Ok(Grown::New)
    }
}

/// Writes `answer`, which has one choice.
pub(in crate::dialect) fn write_answer(answer: &Answer, to: &Translation) -> Checked<Bytes> {
    let missing = || Bad::invalid("choices", "There is none.");
    let choice = answer.choices.first().ok_or_else(missing)?;
    let mut output = Output::default();
    let mut calls = 0;
    for part in &choice.parts {
        for delta in deltas(part, &mut calls) {
            output.grow(&delta)?;
        }
    }
    let frame = Frame::new(to, answer.id.as_deref());
    Ok(frame.response(&State::Ended(&choice.stop), &output, answer.usage.as_ref()).to_bytes())
}

/// The steps in which `part` would come in a stream.
fn deltas(part: &Content, calls: &mut u64) -> Vec<Delta> {
    match part {
        Content::Text(text) if text.is_empty() => Vec::new(),
        Content::Text(text) => vec![Delta::Text(text.clone())],
        Content::Refusal(text) => vec![Delta::Refusal(text.clone())],
        Content::Redacted(data) => vec![Delta::Redacted(data.clone())],
        Content::Thinking { text, signature } => {
            let text = (!text.is_empty()).then(|| Delta::Thinking(text.clone()));
            text.into_iter().chain(signature.clone().map(Delta::Signature)).collect()
        }
        Content::Call(call) => {
            let number = *calls;
            *calls += 1;
            let begun = Delta::Call { call: number, id: call.id.clone(), name: call.name.clone() };
            vec![begun, Delta::Arguments { call: number, text: call.arguments.clone() }]
        }
        Content::Media(_) | Content::Result(_) => Vec::new(),
    }
}

/// How far a response is.
#[derive(Debug)]
pub(super) enum State<'a> {
    Running,
    Ended(&'a Stop),
    /// The provider failed: a code and a message.
    Failed(&'static str, String),
}

impl State<'_> {
    /// The `status` of the response.
    pub(super) const fn status(&self) -> &'static str {
        match self {
            Self::Running => "in_progress",
            Self::Ended(Stop::Length | Stop::Refused) => "incomplete",
            Self::Ended(_) => "completed",
            Self::Failed(..) => "failed",
        }
    }
}

/// What a response says beside its output.
#[derive(Debug)]
pub(super) struct Frame {
    /// What follows the prefix of every id.
    id: String,
    created: u64,
    model: String,
    echo: Arc<[(&'static str, Box<RawValue>)]>,
}

impl Frame {
    /// The frame of an answer to the request of `to`.
    pub(super) fn new(to: &Translation, id: Option<&str>) -> Self {
        Self {
            id: to.ids.answer("", id),
            created: to.created.as_secs(),
            model: to.model.clone(),
            echo: Arc::clone(&to.echo),
        }
    }

    /// The response.
    pub(super) fn response<'a>(
        &'a self,
        state: &State<'a>,
        output: &'a Output,
        usage: Option<&Usage>,
    ) -> Object<'a> {
        let echo =
            |name: &str| self.echo.iter().find(|(given, _)| *given == name).map(|(_, value)| value);
        let or = |name: &str, usual: Node<'a>| echo(name).map_or(usual, Node::from);
        let reason = match state {
            State::Ended(Stop::Length) => Some("max_output_tokens"),
            State::Ended(Stop::Refused) => Some("content_filter"),
            _ => None,
        };
        let error = match state {
            State::Failed(code, message) => {
                Some(Object::new().with("code", *code).with("message", message.clone()))
            }
            _ => None,
        };
        let ended = !matches!(state, State::Running);
        let items = if ended { output.items.as_slice() } else { &[] };
        let items = (0..).zip(items).map(|(place, item)| self.item(place, item, Some(state)));
        let text = || Object::new().with("format", Object::of("text")).into();
        let thinking =
            || Object::new().with("effort", Node::Null).with("summary", Node::Null).into();
        Object::new()
            .with("id", format!("resp_{}", self.id))
            .with("object", "response")
            .with("created_at", self.created)
            .with("status", state.status())
            .with("background", false)
            .with("error", error)
            .with("incomplete_details", reason.map(|reason| Object::new().with("reason", reason)))
            .with("instructions", echo("instructions"))
            .with("max_output_tokens", echo("max_output_tokens"))
            .with("metadata", or("metadata", Object::new().into()))
            .with("model", &self.model)
            .with("output", items.collect::<Node<'_>>())
            .with("parallel_tool_calls", or("parallel_tool_calls", true.into()))
            .with("previous_response_id", Node::Null)
            .with("reasoning", or("reasoning", thinking()))
            .with("store", false)
            .with("temperature", echo("temperature"))
            .with("text", or("text", text()))
            .with("tool_choice", or("tool_choice", "auto".into()))
            .with("tools", or("tools", Vec::new().into()))
            .with("top_p", echo("top_p"))
            .with("truncation", or("truncation", "disabled".into()))
            .with("usage", usage.filter(|_| ended).map(write_usage))
            .with("user", echo("user"))
    }

    /// The id of item `place`.
    pub(super) fn item_id(&self, place: usize, item: &Item) -> String {
        let prefix = match item {
            Item::Message { .. } => "msg",
            Item::Call { .. } => "fc",
            Item::Reasoning { .. } => "rs",
        };
        format!("{prefix}_{}_{place}", self.id)
    }

    /// Item `place`; without a state it has only begun, and is empty.
    pub(super) fn item<'a>(
        &self,
        place: usize,
        item: &'a Item,
        state: Option<&State<'_>>,
    ) -> Object<'a> {
        let status = match state {
            None | Some(State::Running) => "in_progress",
            Some(State::Ended(Stop::Length) | State::Failed(..)) => "incomplete",
            Some(State::Ended(_)) => "completed",
        };
        let whole = state.is_some();
        let id = self.item_id(place, item);
        match item {
            Item::Message { .. } => {
                let content = part(item, whole).filter(|_| whole).map(Node::from);
                Object::of("message")
                    .with("id", id)
                    .with("status", status)
                    .with("role", "assistant")
                    .with("content", content.into_iter().collect::<Node<'_>>())
            }
            Item::Call { id: call, name, arguments, .. } => Object::of("function_call")
                .with("id", id)
                .with("status", status)
                .with("call_id", call)
                .with("name", name)
                .with("arguments", if whole { arguments } else { "" }),
            Item::Reasoning { held, .. } => {
                let summary = part(item, whole).filter(|_| whole).map(Node::from);
                let held = held.as_ref().filter(|_| whole);
                Object::of("reasoning")
                    .with("id", id)
                    .with("summary", summary.into_iter().collect::<Node<'_>>())
                    .maybe("encrypted_content", held)
            }
        }
    }
}

/// The one part of `item`, empty unless it is `whole`; none of a call, nor of
/// thinking without words.
pub(super) fn part(item: &Item, whole: bool) -> Option<Object<'_>> {
    Some(match item {
        Item::Message { text, refusal: false } => Object::of("output_text")
            .with("annotations", Vec::new())
            .with("logprobs", Vec::new())
            .with("text", if whole { text } else { "" }),
        Item::Message { text, refusal: true } => {
            Object::of("refusal").with("refusal", if whole { text } else { "" })
        }
        Item::Reasoning { text, .. } if !text.is_empty() => {
            Object::of("summary_text").with("text", if whole { text } else { "" })
        }
        Item::Call { .. } | Item::Reasoning { .. } => return None,
    })
}

fn write_usage(usage: &Usage) -> Object<'static> {
    Object::new()
        .with("input_tokens", usage.input)
        .with("input_tokens_details", cached(usage))
        .with("output_tokens", usage.output)
        .with("output_tokens_details", Object::new().with("reasoning_tokens", usage.reasoning))
        .with("total_tokens", usage.input.saturating_add(usage.output))
}
