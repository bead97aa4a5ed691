//! `/v1/responses`. Source: OpenAI API reference, "Responses" and "Responses:
//! streaming events".

use bytes::Bytes;
use serde_json::{Value, json};

use crate::base::clock::Timestamp;
use crate::meter::estimate;
use crate::sandbox::Reply;
use crate::sandbox::chat::content_text;
use crate::sandbox::request::{Checked, Refused, Request};
use crate::sandbox::seed::Seed;
use crate::sandbox::tools::{self, Call};
use crate::sandbox::write::{Bounds, Format, Written};

const PATH: &str = "/v1/responses";

/// The one item of the output.
enum Item {
    Message(Written),
    Call(Call),
}

struct Answer<'a> {
    seed: Seed,
    request: &'a Request,
    created: u64,
    item: Item,
    input_tokens: u64,
}

/// A response and its item are first in progress, then at their end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Running,
    Ended,
}

pub(super) fn respond(body: &[u8], now: Timestamp) -> Checked<Reply> {
    let request = Request::read_without_model(body)?;
    if request.get("previous_response_id").is_some() {
        let message = "The sandbox keeps no responses.".to_owned();
        return Err(Refused::bad("previous_response_id", "previous_response_not_found", message));
    }
    let input = request.required("input")?;
    let question = check_input(input)?;
    request.text("instructions")?;
    request.check_sampling()?;
    let stream = request.flag("stream")?;
    let tokens = request.integer("max_output_tokens", 1, usize::MAX)?;
    let format = request.get("text").and_then(|text| text.get("format"));
    let format = Format::read("text.format", format.filter(|format| !format.is_null()))?;
    let seed = Seed::of(PATH, request.model(), input);
    let item = match tools::choose(&request, question.as_deref())? {
        Some(call) => Item::Call(call),
        None => Item::Message(Written::new(seed, format, &Bounds { tokens, stops: Vec::new() })),
    };
    let answer = Answer {
        seed,
        request: &request,
        created: now.as_secs(),
        item,
        input_tokens: estimate::prompt_tokens(PATH, body),
    };
    Ok(if stream {
        Reply::events(answer.events())
    } else {
        Reply::json(&answer.response(Stage::Ended))
    })
}

/// Checks the input; its last text if that is the user's.
fn check_input(input: &Value) -> Checked<Option<String>> {
    let items = match input {
        Value::String(text) => return Ok(Some(text.clone())),
        Value::Array(items) => items,
        other => {
            return Err(Refused::wrong_type("input", "a string or an array of objects", other));
        }
    };
    for (index, item) in items.iter().enumerate() {
        if !item.is_object() {
            return Err(Refused::wrong_type(&format!("input[{index}]"), "an object", item));
        }
    }
    let last = items.last().ok_or_else(|| Refused::empty("input"))?;
    Ok((last.get("role").and_then(Value::as_str) == Some("user")).then(|| content_text(last)))
}

impl Answer<'_> {
    fn item_id(&self) -> String {
        self.seed.choice(0).id(match self.item {
            Item::Message(_) => "msg_",
            Item::Call(_) => "fc_",
        })
    }

    const fn is_cut(&self) -> bool {
        matches!(self.item, Item::Message(Written { cut: true, .. }))
    }

    /// The output item; while it runs, still empty.
    fn item(&self, stage: Stage) -> Value {
        let running = stage == Stage::Running;
        let status = match stage {
            Stage::Running => "in_progress",
            Stage::Ended if self.is_cut() => "incomplete",
            Stage::Ended => "completed",
        };
        match &self.item {
            Item::Message(written) => json!({
                "id": self.item_id(),
                "type": "message",
                "status": status,
                "role": "assistant",
                "content": if running { json!([]) } else { json!([part(&written.text())]) },
            }),
            Item::Call(call) => json!({
                "id": self.item_id(),
                "type": "function_call",
                "status": status,
                "call_id": self.seed.id("call_"),
                "name": call.name,
                "arguments": if running { "" } else { &call.arguments },
            }),
        }
    }

    /// The response object, with all that it echoes of the request.
    fn response(&self, stage: Stage) -> Value {
        let ended = stage == Stage::Ended;
        let incomplete = ended && self.is_cut();
        let status = match stage {
            Stage::Running => "in_progress",
            Stage::Ended if incomplete => "incomplete",
            Stage::Ended => "completed",
        };
        let echo = |name: &str| self.request.get(name).cloned();
        let reason = json!({ "reason": "max_output_tokens" });
        json!({
            "id": self.seed.id("resp_"),
            "object": "response",
            "created_at": self.created,
            "status": status,
            "background": false,
            "error": null,
            "incomplete_details": if incomplete { reason } else { Value::Null },
            "instructions": echo("instructions"),
            "max_output_tokens": echo("max_output_tokens"),
            "max_tool_calls": echo("max_tool_calls"),
            "metadata": echo("metadata").unwrap_or_else(|| json!({})),
            "model": self.request.model(),
            "output": if ended { json!([self.item(Stage::Ended)]) } else { json!([]) },
            "parallel_tool_calls": echo("parallel_tool_calls").unwrap_or(Value::Bool(true)),
            "previous_response_id": null,
            "reasoning": { "effort": null, "summary": null },
            "service_tier": "default",
            "store": false,
            "temperature": echo("temperature").unwrap_or_else(|| json!(1.0)),
            "text": echo("text").unwrap_or_else(|| json!({ "format": { "type": "text" } })),
            "tool_choice": echo("tool_choice").unwrap_or_else(|| json!("auto")),
            "tools": echo("tools").unwrap_or_else(|| json!([])),
            "top_logprobs": 0,
            "top_p": echo("top_p").unwrap_or_else(|| json!(1.0)),
            "truncation": "disabled",
            "usage": if ended { self.usage() } else { Value::Null },
            "user": echo("user"),
        })
    }

    fn usage(&self) -> Value {
        let output_tokens = match &self.item {
            Item::Message(written) => written.parts.len() as u64,
            Item::Call(call) => {
                estimate::text_tokens(&call.name) + estimate::text_tokens(&call.arguments)
            }
        };
        json!({
            "input_tokens": self.input_tokens,
            "input_tokens_details": { "cached_tokens": 0, "cache_write_tokens": 0 },
            "output_tokens": output_tokens,
            "output_tokens_details": { "reasoning_tokens": 0 },
            "total_tokens": self.input_tokens + output_tokens,
        })
    }

    fn events(&self) -> Vec<Bytes> {
        let running = || json!({ "response": self.response(Stage::Running) });
        let item = |stage| json!({ "output_index": 0, "item": self.item(stage) });
        let mut steps = vec![
            ("response.created", running()),
            ("response.in_progress", running()),
            ("response.output_item.added", item(Stage::Running)),
        ];
        match &self.item {
            Item::Message(written) => steps.extend(self.text_steps(written)),
            Item::Call(call) => steps.extend(self.call_steps(call)),
        }
        let last = if self.is_cut() { "response.incomplete" } else { "response.completed" };
        steps.push(("response.output_item.done", item(Stage::Ended)));
        steps.push((last, json!({ "response": self.response(Stage::Ended) })));
        steps
            .into_iter()
            .enumerate()
            .map(|(number, (kind, step))| named(number, kind, step))
            .collect()
    }

    fn text_steps(&self, written: &Written) -> Vec<(&'static str, Value)> {
        let step = |member: &str, value: Value| json!({ "item_id": self.item_id(), "output_index": 0, "content_index": 0, member: value });
        let text_step = |member: &str, text: &str| {
            let mut step = step(member, text.into());
            if let Some(members) = step.as_object_mut() {
                members.insert("logprobs".to_owned(), json!([]));
            }
            step
        };
        let delta = |text: &String| ("response.output_text.delta", text_step("delta", text));
        let mut steps = vec![("response.content_part.added", step("part", part("")))];
        steps.extend(written.parts.iter().map(delta));
        let text = written.text();
        steps.push(("response.output_text.done", text_step("text", &text)));
        steps.push(("response.content_part.done", step("part", part(&text))));
        steps
    }

    fn call_steps(&self, call: &Call) -> Vec<(&'static str, Value)> {
        let step = |member: &str, value: &str| json!({ "item_id": self.item_id(), "output_index": 0, member: value });
        let deltas = estimate::split(&call.arguments);
        let mut steps: Vec<_> = deltas
            .iter()
            .map(|part| ("response.function_call_arguments.delta", step("delta", part)))
            .collect();
        let mut done = step("arguments", &call.arguments);
        if let Some(members) = done.as_object_mut() {
            members.insert("name".to_owned(), call.name.clone().into());
        }
        steps.push(("response.function_call_arguments.done", done));
        steps
    }
}

/// A part of a message.
fn part(text: &str) -> Value {
    json!({ "type": "output_text", "annotations": [], "logprobs": [], "text": text })
}

/// The event number `number`, of type `kind`.
fn named(number: usize, kind: &str, mut data: Value) -> Bytes {
    if let Some(members) = data.as_object_mut() {
        members.insert("type".to_owned(), kind.into());
        members.insert("sequence_number".to_owned(), number.into());
    }
    format!("event: {kind}\ndata: {data}\n\n").into()
}
