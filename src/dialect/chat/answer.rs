//! Reads and writes whole chat completions.

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::dialect::Translation;
use crate::dialect::chat::thinking_part;
use crate::dialect::chat::write::tool_call;
use crate::dialect::form::{Answer, Call, Choice, Content, Ids};
use crate::dialect::json::{self, Fields, Node, Object, TextOr};
use crate::dialect::loss::Checked;
use crate::dialect::openai::{finish_reason, read_finish, read_usage, usage};

/// Reads the answer `body`.
pub(in crate::dialect) fn read_answer(body: &[u8], ids: &Ids) -> Checked<Answer> {
    let mut fields = Fields::body(body)?;
    let mut answer = Answer {
        id: fields.text("id")?,
        usage: fields.take("usage").and_then(read_usage),
        ..Answer::default()
    };
    let mut choices = Vec::new();
    let mut number = 0;
    for (place, mut choice) in fields.objects("choices")?.into_iter().enumerate() {
        let place = u64::try_from(place).unwrap_or(u64::MAX);
        let index = choice.integer("index")?.unwrap_or(place);
        let message = choice.required_object("message")?;
        let reason = choice.text("finish_reason")?.unwrap_or_default();
        let logprobs = choice.keep("logprobs");
        let parts = read_message(message, ids, &mut number)?;
        let calls = parts.iter().any(|part| matches!(part, Content::Call(_)));
        choices.push((
            index,
            Choice { parts, stop: read_finish(&reason).with_calls(calls), logprobs },
        ));
    }
    if choices.is_empty() {
        return Err(fields.missing("choices"));
    }
    choices.sort_by_key(|(index, _)| *index);
    answer.choices = choices.into_iter().map(|(_, choice)| choice).collect();
    Ok(answer)
}

/// Reads a message; `number` is how many calls there were before.
fn read_message(mut message: Fields<'_>, ids: &Ids, number: &mut u64) -> Checked<Vec<Content>> {
    let mut parts = Vec::new();
    if let Some(text) = thinking(&mut message)? {
        parts.push(Content::Thinking { text, signature: None });
    }
    for block in message.objects("thinking_blocks")? {
        sign(block, &mut parts)?;
    }
    read_content(&mut message, &mut parts)?;
    parts.extend(message.text("refusal")?.map(Content::Refusal));
    for mut call in message.objects("tool_calls")? {
        let id = call.text("id")?.filter(|id| !id.is_empty());
        let id = id.unwrap_or_else(|| ids.call(*number));
        *number += 1;
        let mut function = call.required_object("function")?;
        let name = function.required_text("name")?;
        let arguments = function.take("arguments").map(arguments).unwrap_or_default();
        parts.push(Content::Call(Call { id, name, arguments }));
    }
    Ok(parts)
}

/// The arguments; some servers give the object itself.
pub(super) fn arguments(arguments: &RawValue) -> String {
    json::as_text(arguments).unwrap_or_else(|| arguments.get().to_owned())
}

/// The thinking, under either of its names.
pub(super) fn thinking(message: &mut Fields<'_>) -> Checked<Option<String>> {
    let content = message.text("reasoning_content")?.filter(|text| !text.is_empty());
    let reasoning = message.take("reasoning").and_then(json::as_text);
    Ok(content.or(reasoning).filter(|text| !text.is_empty()))
}

/// Puts the signed `block` in the place of the same thinking without one.
fn sign(mut block: Fields<'_>, parts: &mut Vec<Content>) -> Checked<()> {
    let content = match block.text("type")?.as_deref() {
        Some("redacted_thinking") => Content::Redacted(block.required_text("data")?),
        _ => Content::Thinking {
            text: block.text("thinking")?.unwrap_or_default(),
            signature: block.text("signature")?,
        },
    };
    parts.retain(|part| !matches!(part, Content::Thinking { signature: None, .. }));
    parts.push(content);
    Ok(())
}

/// Reads the `content`: a text or parts, thinking among them.
fn read_content(message: &mut Fields<'_>, parts: &mut Vec<Content>) -> Checked<()> {
    match message.text_or_objects("content")? {
        None => {}
        Some(TextOr::Text(text)) => {
            parts.extend((!text.is_empty()).then_some(Content::Text(text)));
        }
        Some(TextOr::Objects(objects)) => {
            for mut part in objects {
                if part.text("type")?.as_deref() == Some("thinking") {
                    let text = thinking_part(&mut part)?;
                    parts.push(Content::Thinking { text, signature: None });
                } else {
                    parts.extend(part.text("text")?.map(Content::Text));
                }
            }
        }
    }
    Ok(())
}

/// Writes `answer`.
pub(in crate::dialect) fn write_answer(answer: &Answer, to: &Translation) -> Bytes {
    let choices = answer.choices.iter().zip(0_u64..).map(|(choice, index)| {
        Object::new()
            .with("index", index)
            .with("message", message(&choice.parts))
            .with("logprobs", choice.logprobs.as_ref())
            .with("finish_reason", finish_reason(&choice.stop))
            .into()
    });
    Object::new()
        .with("id", to.ids.answer("chatcmpl-", answer.id.as_deref()))
        .with("object", "chat.completion")
        .with("created", to.created.as_secs())
        .with("model", &to.model)
        .with("choices", choices.collect::<Vec<_>>())
        .maybe("usage", answer.usage.as_ref().map(usage))
        .to_bytes()
}

fn message(parts: &[Content]) -> Object<'_> {
    let mut text: Option<String> = None;
    let mut refusal: Option<String> = None;
    let mut thinking: Option<String> = None;
    let (mut blocks, mut calls) = (Vec::new(), Vec::new());
    for part in parts {
        match part {
            Content::Text(more) => text.get_or_insert_default().push_str(more),
            Content::Refusal(more) => refusal.get_or_insert_default().push_str(more),
            Content::Call(call) => calls.push(tool_call(call, &call.id).into()),
            Content::Thinking { text, signature } => {
                thinking.get_or_insert_default().push_str(text);
                let block = |signature| {
                    Object::of("thinking")
                        .with("thinking", text)
                        .with("signature", signature)
                        .into()
                };
                blocks.extend(signature.as_ref().map(block));
            }
            Content::Redacted(data) => {
                blocks.push(Node::from(Object::of("redacted_thinking").with("data", data)));
            }
            Content::Media(_) | Content::Result(_) => {}
        }
    }
    Object::new()
        .with("role", "assistant")
        .with("content", text)
        .with("refusal", refusal)
        .maybe("reasoning_content", thinking)
        .some("thinking_blocks", blocks)
        .some("tool_calls", calls)
}
