//! Reads and writes whole messages.

use bytes::Bytes;

use crate::dialect::Translation;
use crate::dialect::form::{Answer, Call, Choice, Content, Stop};
use crate::dialect::json::{Fields, Node, Object};
use crate::dialect::loss::{Bad, Checked};
use crate::dialect::messages::write::{is_whole, tool_use};
use crate::dialect::messages::{Figures, read_stop, read_usage, stop_reason, stop_sequence, usage};

/// Reads the answer `body`.
pub(in crate::dialect) fn read_answer(body: &[u8]) -> Checked<Answer> {
    let mut fields = Fields::body(body)?;
    let id = fields.text("id")?;
    if !fields.has("content") {
        return Err(fields.missing("content"));
    }
    let mut parts = Vec::new();
    for block in fields.objects("content")? {
        parts.extend(read_block(block)?);
    }
    let reason = fields.text("stop_reason")?.unwrap_or_default();
    let stop = read_stop(&reason, fields.text("stop_sequence")?);
    let usage = fields.object("usage")?.map(|figures| {
        let mut usage = Figures::default();
        read_usage(figures, &mut usage);
        usage.usage()
    });
    Ok(Answer { id, choices: vec![Choice { parts, stop, logprobs: None }], usage })
}

/// A block; kinds that nothing else knows are left out.
fn read_block(mut block: Fields<'_>) -> Checked<Option<Content>> {
    Ok(Some(match block.required_text("type")?.as_str() {
        "text" => Content::Text(block.required_text("text")?),
        "thinking" => Content::Thinking {
            text: block.text("thinking")?.unwrap_or_default(),
            signature: block.text("signature")?.filter(|signature| !signature.is_empty()),
        },
        "redacted_thinking" => Content::Redacted(block.required_text("data")?),
        "tool_use" => Content::Call(Call {
            id: block.required_text("id")?,
            name: block.required_text("name")?,
            arguments: block.take("input").map_or_else(|| "{}".into(), |input| input.get().into()),
        }),
        _ => return Ok(None),
    }))
}

/// Writes `answer`, which has one choice.
pub(in crate::dialect) fn write_answer(answer: &Answer, to: &Translation) -> Checked<Bytes> {
    let missing = || Bad::invalid("choices", "There is none.");
    let choice = answer.choices.first().ok_or_else(missing)?;
    let mut refused = false;
    let mut blocks = Vec::with_capacity(choice.parts.len());
    for part in &choice.parts {
        refused |= matches!(part, Content::Refusal(_));
        blocks.extend(write_block(part, &choice.stop)?.map(Node::from));
    }
    let stop = match &choice.stop {
        Stop::End if refused => &Stop::Refused,
        stop => stop,
    };
    let body = Object::new()
        .with("id", to.ids.answer("msg_", answer.id.as_deref()))
        .with("type", "message")
        .with("role", "assistant")
        .with("model", &to.model)
        .with("content", blocks)
        .with("stop_reason", stop_reason(stop))
        .with("stop_sequence", stop_sequence(stop))
        .with("usage", usage(&answer.usage.unwrap_or_default()));
    Ok(body.to_bytes())
}

fn write_block<'a>(content: &'a Content, stop: &Stop) -> Checked<Option<Object<'a>>> {
    Ok(match content {
        Content::Text(text) | Content::Refusal(text) => {
            (!text.is_empty()).then(|| Object::of("text").with("text", text))
        }
        // Arguments are broken where the answer was cut, and else by mistake.
        Content::Call(call) if *stop == Stop::Length || is_whole(call) => {
            Some(tool_use(call, &call.id))
        }
        Content::Call(_) => return Err(Bad::invalid("arguments", "They are no object.")),
        Content::Thinking { text, signature } => Some(
            Object::of("thinking")
                .with("thinking", text)
                .with("signature", signature.as_deref().unwrap_or_default()),
        ),
        Content::Redacted(data) => Some(Object::of("redacted_thinking").with("data", data)),
        Content::Media(_) | Content::Result(_) => None,
    })
}
