//! Writes a chat completion's request.

use crate::dialect::Written;
use crate::dialect::form::{
    Call, Content, Format, Kind, Media, Message, Part, Reasoning, Request, Role, Source, Tool,
    ToolChoice, bare_call_id,
};
use crate::dialect::json::{Node, Object};
use crate::dialect::loss::{Checked, Losses, NOTHING};

/// Up to this many tokens of thinking are a `low` effort.
const LOW_BUDGET: u64 = 4096;
/// Up to this many are a `medium` one; more are `high`.
const MEDIUM_BUDGET: u64 = 16_384;
/// The name of a schema that its client gave none.
const SCHEMA_NAME: &str = "answer";

/// Writes `form` for the provider's model `model`.
///
/// Left out without a word: cache markers (a server of this dialect caches by
/// itself), the mark that a tool failed (the result says how), signed thinking
/// (only who signed it can read it).
pub(in crate::dialect) fn write_request(
    form: &Request,
    model: &str,
    losses: &mut Losses,
) -> Checked<Written> {
    let mut messages = Vec::with_capacity(form.messages.len());
    for message in &form.messages {
        write_message(message, losses, &mut messages)?;
    }
    let longest = if counts_reasoning(model) { "max_completion_tokens" } else { "max_tokens" };
    let stop = form.stop.iter().map(Node::from).collect();
    let mut body = Object::new()
        .with("model", model)
        .with("messages", messages)
        .maybe(longest, form.max_tokens)
        .some("stop", stop)
        .some("tools", tools(form))
        .maybe("tool_choice", form.tool_choice.as_ref().map(tool_choice))
        .maybe("parallel_tool_calls", form.parallel_tool_calls)
        .maybe("response_format", form.format.as_ref().map(format))
        .maybe("reasoning_effort", form.reasoning.as_ref().and_then(effort))
        .maybe("user", form.user.as_ref());
    for (name, value) in &form.sampling {
        if *name == "top_k" {
            losses.lacks(name, NOTHING)?;
        } else {
            body = body.with(name, value);
        }
    }
    if form.stream {
        let options = Object::new().with("include_usage", true);
        body = body.with("stream", true).with("stream_options", options);
    }
    Ok(("/chat/completions".to_owned(), None, body.to_bytes()))
}

/// Whether `model` is one of OpenAI's that think, which refuse `max_tokens`.
/// Most compatible servers know that name alone.
fn counts_reasoning(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    let digit = |rest: Option<&str>, least: char| {
        rest.and_then(|rest| rest.chars().next()).is_some_and(|c| (least..='9').contains(&c))
    };
    digit(name.strip_prefix('o'), '1') || digit(name.strip_prefix("gpt-"), '5')
}

fn write_message<'a>(
    message: &'a Message,
    losses: &mut Losses,
    out: &mut Vec<Node<'a>>,
) -> Checked<()> {
    let role = match message.role {
        Role::System => "system",
        Role::Developer => "developer",
        Role::Assistant => return write_assistant(message, losses, out),
        Role::User => "user",
    };
    let mut parts = Vec::new();
    // A result here has no media; they follow as the user's.
    let mut shown = Vec::new();
    for part in &message.parts {
        match &part.content {
            Content::Result(result) => {
                let mut texts = Vec::new();
                for content in &result.parts {
                    match content {
                        Content::Text(text) => texts.push(text.as_str()),
                        Content::Media(media) => shown.extend(write_media(media, losses)?),
                        _ => {}
                    }
                }
                let content = match texts.as_slice() {
                    [] => Node::from(""),
                    [text] => Node::from(*text),
                    texts => texts.iter().map(|text| text_part(text)).collect(),
                };
                let result = Object::new()
                    .with("role", "tool")
                    .with("tool_call_id", bare_call_id(&result.id))
                    .with("content", content);
                out.push(result.into());
            }
            Content::Text(text) => parts.push(text_part(text)),
            Content::Media(media) => parts.extend(write_media(media, losses)?),
            _ => {}
        }
    }
    shown.append(&mut parts);
    if shown.is_empty() {
        return Ok(());
    }
    let content = match (message.parts.as_slice(), shown.len()) {
        ([Part { content: Content::Text(text), .. }], 1) => Node::from(text),
        _ => shown.into_iter().collect(),
    };
    let name = message.name.as_ref();
    out.push(Object::new().with("role", role).maybe("name", name).with("content", content).into());
    Ok(())
}

fn write_assistant<'a>(
    message: &'a Message,
    losses: &mut Losses,
    out: &mut Vec<Node<'a>>,
) -> Checked<()> {
    let mut texts = Vec::new();
    let mut calls = Vec::new();
    let mut refusal = None;
    let mut thinking = String::new();
    for part in &message.parts {
        match &part.content {
            Content::Text(text) => texts.push(text.as_str()),
            Content::Call(call) => calls.push(tool_call(call, bare_call_id(&call.id)).into()),
            Content::Refusal(text) => refusal = Some(text),
            Content::Thinking { text, signature: None } => thinking.push_str(text),
            Content::Media(media) => losses.lose(media.at.as_str())?,
            Content::Thinking { .. } | Content::Redacted(_) | Content::Result(_) => {}
        }
    }
    let content = match texts.as_slice() {
        [] => Node::Null,
        [text] => Node::from(*text),
        texts => texts.iter().map(|text| text_part(text)).collect(),
    };
    let message = Object::new()
        .with("role", "assistant")
        .maybe("name", message.name.as_ref())
        .with("content", content)
        .maybe("refusal", refusal)
        .maybe("reasoning_content", (!thinking.is_empty()).then_some(thinking))
        .some("tool_calls", calls);
    out.push(message.into());
    Ok(())
}

fn text_part(text: &str) -> Object<'_> {
    Object::of("text").with("text", text)
}

fn write_media<'a>(media: &'a Media, losses: &mut Losses) -> Checked<Option<Object<'a>>> {
    Ok(Some(match (media.kind, &media.source) {
        (Kind::Image, source) => {
            let image = Object::new().with("url", source.to_url());
            Object::of("image_url").with("image_url", image.maybe("detail", media.detail.as_ref()))
        }
        (Kind::Document, source @ Source::Inline { .. }) => {
            let text = matches!(source, Source::Inline { media_type, .. } if media_type.starts_with("text/"));
            let usual = if text { "document.txt" } else { "document.pdf" };
            let name = media.name.as_deref().unwrap_or(usual);
            let file = Object::new().with("filename", name);
            Object::of("file").with("file", file.with("file_data", source.to_url()))
        }
        (Kind::Audio, Source::Inline { media_type, data }) => {
            let format = media_type.rsplit('/').next().unwrap_or_default();
            let audio = Object::new().with("data", data).with("format", format);
            Object::of("input_audio").with("input_audio", audio)
        }
        (Kind::Document | Kind::Audio, Source::Url(_)) => {
            losses.lose(media.at.as_str())?;
            return Ok(None);
        }
    }))
}

/// A call within a message.
pub(super) fn tool_call<'a>(call: &'a Call, id: &'a str) -> Object<'a> {
    let arguments = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
    let function = Object::new().with("name", &call.name).with("arguments", arguments);
    Object::new().with("id", id).with("type", "function").with("function", function)
}

fn tools<'a>(form: &'a Request) -> Vec<Node<'a>> {
    let tool = |tool: &'a Tool| {
        let function = Object::new()
            .with("name", &tool.name)
            .maybe("description", tool.description.as_ref())
            .maybe("parameters", tool.schema.as_ref())
            .maybe("strict", tool.strict);
        Object::of("function").with("function", function).into()
    };
    form.tools.iter().map(tool).collect()
}

fn tool_choice(choice: &ToolChoice) -> Node<'_> {
    match choice {
        ToolChoice::Auto => "auto".into(),
        ToolChoice::None => "none".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Named(name) => {
            Object::of("function").with("function", Object::new().with("name", name)).into()
        }
    }
}

fn format(format: &Format) -> Object<'_> {
    match format {
        Format::Object => Object::of("json_object"),
        Format::Schema { name, description, strict, schema } => {
            let schema = Object::new()
                .with("name", name.as_deref().unwrap_or(SCHEMA_NAME))
                .maybe("description", description.as_ref())
                .maybe("strict", *strict)
                .with("schema", schema);
            Object::of("json_schema").with("json_schema", schema)
        }
    }
}

/// The `reasoning_effort`; models that do not think know none.
fn effort(reasoning: &Reasoning) -> Option<&str> {
    match reasoning {
        Reasoning::Off | Reasoning::Adaptive => None,
        Reasoning::Effort(effort) if effort == "max" => Some("xhigh"),
        Reasoning::Effort(effort) => Some(effort),
        Reasoning::Budget(0..=LOW_BUDGET) => Some("low"),
        Reasoning::Budget(..=MEDIUM_BUDGET) => Some("medium"),
        Reasoning::Budget(_) => Some("high"),
    }
}
