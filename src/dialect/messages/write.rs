//! Writes a request to create a message.

use std::borrow::Cow;

use base64::Engine as _;

use crate::dialect::Written;
use crate::dialect::form::{
    ANSWER_TOOL, Call, Content, Format, Kind, Media, Part, Reasoning, Request, Role, Source, Tool,
    ToolChoice, ToolResult, bare_call_id, is_usual,
};
use crate::dialect::json::{self, Node, Object};
use crate::dialect::loss::{Checked, Losses, NOTHING};

/// The longest answer where the client sets no limit, thinking not counted:
/// Messages asks for one, and every model that is sold now can give as much.
const MAX_TOKENS: u64 = 8192;
/// The longest id of an end user that Anthropic takes, in bytes.
const LONGEST_USER: usize = 256;
/// The least budget that thinking can have.
const LEAST_BUDGET: u64 = 1024;

/// Writes `form` for the provider's model `model`.
///
/// System messages go together to the front, wherever they stand: there is no
/// other place. Left out without a word: thinking that nobody signed (it would
/// be refused), the names of participants, how closely to look at images,
/// whether a tool's schema is strict, and an end user's id that is too long.
pub(in crate::dialect) fn write_request(
    form: &Request,
    model: &str,
    losses: &mut Losses,
) -> Checked<Written> {
    let (mut system, turns) = form.turns();
    let mut messages = Vec::with_capacity(turns.len());
    for (role, parts) in &turns {
        messages.extend(write_turn(*role, parts, losses)?);
    }
    if messages.is_empty() {
        // A conversation needs a turn.
        messages.extend(write_turn(Role::User, &std::mem::take(&mut system), losses)?);
    }
    let (tools, tool_choice) = tools(form);
    let budget = budget(form);
    let max_tokens = form.max_tokens.unwrap_or(MAX_TOKENS + budget.unwrap_or(0));
    let mut body = Object::new()
        .with("model", model)
        .with("max_tokens", max_tokens)
        .maybe("system", write_content(&system, losses)?)
        .with("messages", messages)
        .some("stop_sequences", stops(form, losses)?)
        .some("tools", tools)
        .maybe("tool_choice", tool_choice)
        .maybe("thinking", budget.map(|budget| Object::of("enabled").with("budget_tokens", budget)))
        .maybe(
            "metadata",
            form.user_within(LONGEST_USER).map(|user| Object::new().with("user_id", user)),
        );
    for (name, value) in &form.sampling {
        match *name {
            "temperature" if value.get().parse().is_ok_and(|given: f64| given > 1.0) => {
                losses.lacks(name, "The provider of this model takes 0 to 1.")?;
                body = body.with(name, 1);
            }
            "temperature" | "top_p" | "top_k" => body = body.with(name, value),
            _ if is_usual(name, value) => {}
            _ => losses.lacks(name, NOTHING)?,
        }
    }
    if form.stream {
        body = body.with("stream", true);
    }
    Ok(("/messages".to_owned(), None, body.to_bytes()))
}

/// A turn; nothing if the assistant says nothing in it.
fn write_turn<'a>(
    role: Role,
    parts: &[&'a Part],
    losses: &mut Losses,
) -> Checked<Option<Node<'a>>> {
    let content = write_content(parts, losses)?;
    let name = if role == Role::Assistant { "assistant" } else { "user" };
    let content = match content {
        None if role == Role::Assistant => return Ok(None),
        None => Node::from(""),
        Some(content) => content,
    };
    Ok(Some(Object::new().with("role", name).with("content", content).into()))
}

fn write_content<'a>(parts: &[&'a Part], losses: &mut Losses) -> Checked<Option<Node<'a>>> {
    if let [Part { content: Content::Text(text), cache: None }] = parts
        && !text.is_empty()
    {
        return Ok(Some(text.into()));
    }
    let mut blocks = Vec::with_capacity(parts.len());
    for part in parts {
        if let Some(block) = write_block(&part.content, losses)? {
            blocks.push(block.maybe("cache_control", part.cache.as_ref()).into());
        }
    }
    Ok((!blocks.is_empty()).then_some(Node::List(blocks)))
}

fn write_block<'a>(content: &'a Content, losses: &mut Losses) -> Checked<Option<Object<'a>>> {
    Ok(match content {
        // Empty texts are refused.
        Content::Text(text) | Content::Refusal(text) => {
            (!text.is_empty()).then(|| Object::of("text").with("text", text))
        }
        Content::Media(media) => write_media(media, losses)?,
        Content::Call(call) => Some(tool_use(call, tool_id(&call.id))),
        Content::Result(result) => Some(write_result(result, losses)?),
        Content::Thinking { text, signature } => signature.as_ref().map(|signature| {
            Object::of("thinking").with("thinking", text).with("signature", signature)
        }),
        Content::Redacted(data) => Some(Object::of("redacted_thinking").with("data", data)),
    })
}

/// A call within a message.
pub(super) fn tool_use<'a>(call: &'a Call, id: impl Into<Node<'a>>) -> Object<'a> {
    Object::of("tool_use").with("id", id).with("name", &call.name).with("input", call.input())
}

fn write_result<'a>(result: &'a ToolResult, losses: &mut Losses) -> Checked<Object<'a>> {
    let content = match result.parts.as_slice() {
        [] => None,
        [Content::Text(text)] => Some(Node::from(text)),
        parts => {
            let mut blocks = Vec::with_capacity(parts.len());
            for part in parts {
                blocks.extend(write_block(part, losses)?.map(Node::from));
            }
            Some(Node::List(blocks))
        }
    };
    Ok(Object::of("tool_result")
        .with("tool_use_id", tool_id(&result.id))
        .maybe("content", content)
        .maybe("is_error", result.failed.then_some(true)))
}

/// Ids hold letters, digits, `_` and `-` here; other servers make others.
fn tool_id(id: &str) -> Cow<'_, str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let id = bare_call_id(id);
    if id.chars().all(fits) {
        return id.into();
    }
    id.chars().map(|c| if fits(c) { c } else { '_' }).collect()
}

fn write_media<'a>(media: &'a Media, losses: &mut Losses) -> Checked<Option<Object<'a>>> {
    let kind = match media.kind {
        Kind::Image => "image",
        Kind::Document => "document",
        Kind::Audio => {
            losses.lose(media.at.as_str())?;
            return Ok(None);
        }
    };
    let source = match &media.source {
        Source::Url(url) => Object::of("url").with("url", url),
        Source::Inline { media_type, data } if media_type.starts_with("text/") => {
            let bytes = base64::engine::general_purpose::STANDARD.decode(data).ok();
            let Some(text) = bytes.and_then(|bytes| String::from_utf8(bytes).ok()) else {
                losses.lose(media.at.as_str())?;
                return Ok(None);
            };
            Object::of("text").with("media_type", "text/plain").with("data", text)
        }
        Source::Inline { media_type, data } => {
            Object::of("base64").with("media_type", media_type).with("data", data)
        }
    };
    Ok(Some(Object::of(kind).with("source", source).maybe("title", media.name.as_ref())))
}

fn stops<'a>(form: &'a Request, losses: &mut Losses) -> Checked<Vec<Node<'a>>> {
    let mut stops = Vec::with_capacity(form.stop.len());
    for stop in &form.stop {
        if stop.trim().is_empty() {
            let message = "The provider of this model takes no white space alone.";
            losses.lacks("stop", message)?;
        } else {
            stops.push(stop.into());
        }
    }
    Ok(stops)
}

/// The tools and which of them to call. An answer in JSON is the call of a tool
/// of its own: no model of this dialect is without tools.
fn tools(form: &Request) -> (Vec<Node<'_>>, Option<Object<'_>>) {
    let mut tools: Vec<_> = form.tools.iter().map(write_tool).collect();
    if let Some(format) = &form.format {
        tools.push(answer_tool(format));
    }
    let none = form.tools.is_empty() || form.tool_choice == Some(ToolChoice::None);
    let choice = match (form.choice(), &form.format) {
        (Some(ToolChoice::Named(name)), _) => Some(Object::of("tool").with("name", name)),
        (_, Some(_)) if none => Some(Object::of("tool").with("name", ANSWER_TOOL)),
        (_, Some(_)) | (Some(ToolChoice::Required), None) => Some(Object::of("any")),
        (Some(ToolChoice::None), None) => return (tools, Some(Object::of("none"))),
        (Some(ToolChoice::Auto), None) => Some(Object::of("auto")),
        (None, None) => None,
    };
    let single = form.parallel_tool_calls == Some(false) && !tools.is_empty();
    let choice = match choice {
        None if single => Some(Object::of("auto")),
        other => other,
    };
    (tools, choice.map(|choice| choice.maybe("disable_parallel_tool_use", single.then_some(true))))
}

fn write_tool(tool: &Tool) -> Node<'_> {
    let schema = match &tool.schema {
        Some(schema) => Node::from(schema),
        None => Object::of("object").with("properties", Object::new()).into(),
    };
    Object::new()
        .with("name", &tool.name)
        .maybe("description", tool.description.as_ref())
        .with("input_schema", schema)
        .maybe("cache_control", tool.cache.as_ref())
        .into()
}

fn answer_tool(format: &Format) -> Node<'_> {
    let tool = Object::new().with("name", ANSWER_TOOL);
    match format {
        Format::Object => tool
            .with("description", "Gives the answer: any JSON object.")
            .with("input_schema", Object::of("object")),
        Format::Schema { description, schema, .. } => tool
            .with("description", description.as_deref().unwrap_or("Gives the answer."))
            .with("input_schema", schema),
    }
    .into()
}

/// The budget of thinking, in tokens. There is none if it cannot be had: where
/// a tool must be called, where the limit leaves no room, where sampling is asked
/// for that does not go with it, and where an open turn was begun without
/// thinking, or without what signed it.
fn budget(form: &Request) -> Option<u64> {
    let wanted = match form.reasoning.as_ref()? {
        Reasoning::Off | Reasoning::Adaptive => return None,
        Reasoning::Budget(budget) => *budget,
        Reasoning::Effort(effort) => match effort.as_str() {
            "minimal" => LEAST_BUDGET,
            "low" => 4096,
            "medium" => 8192,
            "high" => 16_384,
            _ => 32_768,
        },
    };
    let forced = matches!(form.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_)));
    if forced || form.format.is_some() || samples(form) || open_without_thinking(form) {
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

/// Whether the arguments of `call` are an object, so that it can be written.
pub(super) fn is_whole(call: &Call) -> bool {
    json::as_object(&call.arguments).is_some()
}
