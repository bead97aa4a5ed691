//! `/v1/chat/completions`. Source: OpenAI API reference, "Chat completions".

use bytes::Bytes;
use serde_json::{Value, json};

use crate::base::clock::Timestamp;
use crate::meter::estimate;
use crate::sandbox::request::{Checked, Refused, Request, Stream};
use crate::sandbox::seed::Seed;
use crate::sandbox::tools::{self, Call};
use crate::sandbox::write::{Bounds, Format, Written};
use crate::sandbox::{DONE, Reply, event};

const PATH: &str = "/v1/chat/completions";
const ROLES: [&str; 6] = ["developer", "system", "user", "assistant", "tool", "function"];

/// What the model says in one choice.
enum Said {
    Text(Written),
    Call(Call),
}

/// An answer before it is given a form.
struct Answer<'a> {
    seed: Seed,
    model: &'a str,
    created: u64,
    choices: Vec<Said>,
    prompt_tokens: u64,
}

pub(super) fn respond(body: &[u8], now: Timestamp) -> Checked<Reply> {
    let request = Request::read(body)?;
    let messages = request.required("messages")?;
    let question = check_messages(messages)?;
    request.check_sampling()?;
    if request.flag("logprobs")? || request.integer("top_logprobs", 0, 20)?.is_some() {
        return Err(Refused::unsupported("logprobs", "The sandbox has no log probabilities."));
    }
    let stream = request.stream()?;
    let most = request.integer("max_tokens", 1, usize::MAX)?;
    let tokens = request.integer("max_completion_tokens", 1, usize::MAX)?.or(most);
    let bounds = Bounds { tokens, stops: request.stops()? };
    let format = Format::read("response_format", request.get("response_format"))?;
    let call = tools::choose(&request, question.as_deref())?;
    let seed = Seed::of(PATH, request.model(), messages);
    let say = |index| match &call {
        Some(call) => Said::Call(call.clone()),
        None => Said::Text(Written::new(seed.choice(index), format, &bounds)),
    };
    let answer = Answer {
        seed,
        model: request.model(),
        created: now.as_secs(),
        choices: (0..request.integer("n", 1, 128)?.unwrap_or(1)).map(say).collect(),
        prompt_tokens: estimate::prompt_tokens(PATH, body),
    };
    Ok(match stream {
        Stream::No => Reply::json(&answer.whole()),
        Stream::Plain => Reply::events(answer.events(false)),
        Stream::WithUsage => Reply::events(answer.events(true)),
    })
}

/// Checks the messages; the text of the last one if it is the user's.
fn check_messages(messages: &Value) -> Checked<Option<String>> {
    let Value::Array(list) = messages else {
        return Err(Refused::wrong_type("messages", "an array of objects", messages));
    };
    for (index, message) in list.iter().enumerate() {
        let at = |member: &str| format!("messages[{index}]{member}");
        if !message.is_object() {
            return Err(Refused::wrong_type(&at(""), "an object", message));
        }
        let role = match message.get("role") {
            None => return Err(Refused::missing(&at(".role"))),
            Some(Value::String(role)) if ROLES.contains(&role.as_str()) => role,
            Some(Value::String(_)) => {
                let message = format!("supported values are: '{}'.", ROLES.join("', '"));
                return Err(Refused::invalid(&at(".role"), &message));
            }
            Some(other) => return Err(Refused::wrong_type(&at(".role"), "a string", other)),
        };
        match message.get("content") {
            Some(Value::String(_)) => {}
            Some(Value::Array(parts)) if parts.iter().all(Value::is_object) => {}
            None | Some(Value::Null) if role == "assistant" => {}
            None => return Err(Refused::missing(&at(".content"))),
            Some(other) => {
                let expected = "a string or an array of objects";
                return Err(Refused::wrong_type(&at(".content"), expected, other));
            }
        }
    }
    let last = list.last().ok_or_else(|| Refused::empty("messages"))?;
    Ok((last.get("role").and_then(Value::as_str) == Some("user")).then(|| content_text(last)))
}

/// The texts of a message or of an item, one after the other.
pub(super) fn content_text(message: &Value) -> String {
    match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let texts = parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str));
            texts.collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

impl Said {
    const fn finish_reason(&self) -> &'static str {
        match self {
            Self::Text(Written { cut: true, .. }) => "length",
            Self::Text(_) => "stop",
            Self::Call(_) => "tool_calls",
        }
    }

    fn tokens(&self) -> u64 {
        match self {
            Self::Text(written) => written.parts.len() as u64,
            Self::Call(call) => {
                estimate::text_tokens(&call.name) + estimate::text_tokens(&call.arguments)
            }
        }
    }
}

impl Answer<'_> {
    fn id(&self) -> String {
        self.seed.id("chatcmpl-")
    }

    /// The identifier of the tool call of choice `index`.
    fn call_id(&self, index: usize) -> String {
        self.seed.choice(index).id("call_")
    }

    fn usage(&self) -> Value {
        let completion_tokens: u64 = self.choices.iter().map(Said::tokens).sum();
        usage(self.prompt_tokens, completion_tokens)
    }

    fn whole(&self) -> Value {
        let choices = self.choices.iter().enumerate().map(|(index, said)| {
            let mut message = json!({
                "role": "assistant", "content": null, "refusal": null, "annotations": [],
            });
            let (member, value) = match said {
                Said::Text(written) => ("content", written.text().into()),
                Said::Call(call) => ("tool_calls", json!([self.call(index, call)])),
            };
            if let Some(members) = message.as_object_mut() {
                members.insert(member.to_owned(), value);
            }
            json!({
                "index": index,
                "message": message,
                "logprobs": null,
                "finish_reason": said.finish_reason(),
            })
        });
        json!({
            "id": self.id(),
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": choices.collect::<Vec<_>>(),
            "usage": self.usage(),
            "service_tier": "default",
            "system_fingerprint": "fp_sandbox",
        })
    }

    fn call(&self, index: usize, call: &Call) -> Value {
        json!({
            "id": self.call_id(index),
            "type": "function",
            "function": { "name": call.name, "arguments": call.arguments },
        })
    }

    fn events(&self, include_usage: bool) -> Vec<Bytes> {
        let id = self.id();
        let chunk = |choices: Value, usage: Value| {
            let mut chunk = json!({
                "id": id,
                "object": "chat.completion.chunk",
                "created": self.created,
                "model": self.model,
                "service_tier": "default",
                "system_fingerprint": "fp_sandbox",
                "choices": choices,
            });
            if include_usage && let Some(members) = chunk.as_object_mut() {
                members.insert("usage".to_owned(), usage);
            }
            event(&chunk)
        };
        let mut events = Vec::new();
        for (index, said) in self.choices.iter().enumerate() {
            let mut push = |delta: Value, finish_reason: Value| {
                let choice = json!([{
                    "index": index,
                    "delta": delta,
                    "logprobs": null,
                    "finish_reason": finish_reason,
                }]);
                events.push(chunk(choice, Value::Null));
            };
            self.deltas(index, said).for_each(|delta| push(delta, Value::Null));
            push(json!({}), said.finish_reason().into());
        }
        if include_usage {
            events.push(chunk(json!([]), self.usage()));
        }
        events.push(DONE);
        events
    }

    /// The deltas of one choice: who speaks, then a token each.
    fn deltas<'s>(&'s self, index: usize, said: &'s Said) -> impl Iterator<Item = Value> + 's {
        let (first, parts) = match said {
            Said::Text(written) => {
                let first = json!({ "role": "assistant", "content": "", "refusal": null });
                (first, written.parts.clone())
            }
            Said::Call(call) => {
                let opening = Call { name: call.name.clone(), arguments: String::new() };
                let mut tool_call = self.call(index, &opening);
                if let Some(members) = tool_call.as_object_mut() {
                    members.insert("index".to_owned(), 0.into());
                }
                let first = json!({
                    "role": "assistant", "content": null, "tool_calls": [tool_call], "refusal": null,
                });
                (first, estimate::split(&call.arguments))
            }
        };
        let is_text = matches!(said, Said::Text(_));
        std::iter::once(first).chain(parts.into_iter().map(move |part| {
            if is_text {
                json!({ "content": part })
            } else {
                json!({ "tool_calls": [{ "index": 0, "function": { "arguments": part } }] })
            }
        }))
    }
}

/// The usage of chat and completions.
pub(super) fn usage(prompt_tokens: u64, completion_tokens: u64) -> Value {
    json!({
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": { "cached_tokens": 0, "audio_tokens": 0 },
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    })
}
