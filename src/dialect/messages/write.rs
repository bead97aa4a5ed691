//! Writes a request to create a message.

use std::borrow::Cow;

use base64::Engine as _;

use crate::dialect::form::{
    ANSWER_TOOL, Call, Content, Format, Kind, Media, OF_MESSAGES, Part, Request, Role, Source,
    Tool, ToolChoice, ToolResult, bare_call_id, is_usual,
};
use crate::dialect::json::{self, Node, Object};
use crate::dialect::loss::{Checked, Losses, NOTHING};
use crate::dialect::messages::thinking::{Mode, Plan};
use crate::dialect::{To, Written};

/// The longest answer where the client sets no limit, thinking not counted:
/// Messages asks for one, and every model that is sold now can give as much.
const MAX_TOKENS: u64 = 8192;
/// The longest id of an end user that Anthropic takes, in bytes.
const LONGEST_USER: usize = 256;
/// The longest name of a tool that Anthropic takes, in bytes.
const LONGEST_NAME: usize = 128;
/// The largest image that Anthropic takes, in bytes.
const LARGEST_IMAGE: u64 = 10 * 1024 * 1024;

/// Writes `form` for a model of the provider's.
///
/// System messages go together to the front, wherever they stand: there is no
/// other place. Left out without a word: thinking that nobody signed (it would
/// be refused), the names of participants, how closely to look at images,
/// whether a tool's schema is strict, and an end user's id that is too long.
pub(in crate::dialect) fn write_request(
    form: &Request,
    to: &To<'_>,
    losses: &mut Losses,
) -> Checked<Written> {
    let mode = Mode::of(to.model, to.wording.thinking);
    let (mut system, turns) = form.turns(losses)?;
    let most_image = to.wording.image_limit.unwrap_or(LARGEST_IMAGE);
    let mut writer = Writer { losses, most_image };
    let mut messages = Vec::with_capacity(turns.len());
    for (role, parts) in &turns {
        messages.extend(writer.turn(*role, parts)?);
    }
    if messages.is_empty() {
        // A conversation needs a turn.
        messages.extend(writer.turn(Role::User, &std::mem::take(&mut system))?);
    }
    let system = writer.content(&system)?;
    let native = matches!(mode, Mode::Adaptive { .. });
    let schema = form.format.as_ref().filter(|format| native && format.is_strict());
    check_names(form)?;
    let (tools, tool_choice) = tools(form, form.format.as_ref().filter(|_| schema.is_none()));
    let thinking = thinking(form, mode, losses)?;
    let max_tokens = form.max_tokens.unwrap_or(MAX_TOKENS + thinking.tokens);
    let mut body = Object::new()
        .with("model", to.model)
        .with("max_tokens", max_tokens)
        .maybe("system", system)
        .with("messages", messages)
        .some("stop_sequences", stops(form, losses)?)
        .some("tools", tools)
        .maybe("tool_choice", tool_choice)
        .maybe("thinking", thinking.thinking)
        .maybe("output_config", output_config(thinking.effort, schema))
        .maybe(
            "metadata",
            form.user_within(LONGEST_USER).map(|user| Object::new().with("user_id", user)),
        );
    for (name, value) in &form.sampling {
        match *name {
            _ if is_usual(name, value) => {}
            _ if native && OF_MESSAGES.contains(name) => {
                let usual = matches!(value.get(), "1" | "1.0") && *name != "top_k";
                if !usual {
                    losses.lacks(name, "This model samples as it sees fit.")?;
                }
            }
            "temperature" if value.get().parse().is_ok_and(|given: f64| given > 1.0) => {
                losses.lacks(name, "The provider of this model takes 0 to 1.")?;
                body = body.with(name, 1);
            }
            _ if OF_MESSAGES.contains(name) => body = body.with(name, value),
            _ => losses.lacks(name, NOTHING)?,
        }
    }
    if form.stream {
        body = body.with("stream", true);
    }
    Ok(("/messages".to_owned(), None, body.to_bytes()))
}

/// What writes the turns.
struct Writer<'l> {
    losses: &'l mut Losses,
    /// The largest image that is taken, in bytes.
    most_image: u64,
}

impl Writer<'_> {
    /// A turn; nothing if the assistant says nothing in it.
    fn turn<'a>(&mut self, role: Role, parts: &[&'a Part]) -> Checked<Option<Node<'a>>> {
        let content = self.content(parts)?;
        let name = if role == Role::Assistant { "assistant" } else { "user" };
        let content = match content {
            None if role == Role::Assistant => return Ok(None),
            None => Node::from(""),
            Some(content) => content,
        };
        Ok(Some(Object::new().with("role", name).with("content", content).into()))
    }

    fn content<'a>(&mut self, parts: &[&'a Part]) -> Checked<Option<Node<'a>>> {
        if let [Part { content: Content::Text(text), cache: None }] = parts
            && !text.is_empty()
        {
            return Ok(Some(text.into()));
        }
        let mut blocks = Vec::with_capacity(parts.len());
        for part in parts {
            if let Some(block) = self.block(&part.content)? {
                blocks.push(block.maybe("cache_control", part.cache.as_ref()).into());
            }
        }
        Ok((!blocks.is_empty()).then_some(Node::List(blocks)))
    }

    fn block<'a>(&mut self, content: &'a Content) -> Checked<Option<Object<'a>>> {
        Ok(match content {
            // Empty texts are refused.
            Content::Text(text) | Content::Refusal(text) => {
                (!text.is_empty()).then(|| Object::of("text").with("text", text))
            }
            Content::Media(media) => self.media(media)?,
            Content::Call(call) => Some(tool_use(call, tool_id(&call.id))),
            Content::Result(result) => Some(self.result(result)?),
            Content::Thinking { text, signature } => signature.as_ref().map(|signature| {
                Object::of("thinking").with("thinking", text).with("signature", signature)
            }),
            Content::Redacted(data) => Some(Object::of("redacted_thinking").with("data", data)),
        })
    }

    fn result<'a>(&mut self, result: &'a ToolResult) -> Checked<Object<'a>> {
        let content = match result.parts.as_slice() {
            [] => None,
            [Content::Text(text)] => Some(Node::from(text)),
            parts => {
                let mut blocks = Vec::with_capacity(parts.len());
                for part in parts {
                    blocks.extend(self.block(part)?.map(Node::from));
                }
                Some(Node::List(blocks))
            }
        };
        Ok(Object::of("tool_result")
            .with("tool_use_id", tool_id(&result.id))
            .maybe("content", content)
            .maybe("is_error", result.failed.then_some(true)))
    }

    fn media<'a>(&mut self, media: &'a Media) -> Checked<Option<Object<'a>>> {
        let kind = match media.kind {
            Kind::Image => "image",
            Kind::Document => "document",
            Kind::Audio => {
                self.losses.lose(media.at.as_str())?;
                return Ok(None);
            }
        };
        if !media.fits(self.most_image, self.losses)? {
            return Ok(None);
        }
        let source = match &media.source {
            Source::Url(url) => Object::of("url").with("url", url),
            Source::Inline { media_type, data } if media_type.starts_with("text/") => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(data).ok();
                let Some(text) = bytes.and_then(|bytes| String::from_utf8(bytes).ok()) else {
                    self.losses.lose(media.at.as_str())?;
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
}

/// A call within a message.
pub(super) fn tool_use<'a>(call: &'a Call, id: impl Into<Node<'a>>) -> Object<'a> {
    Object::of("tool_use").with("id", id).with("name", &call.name).with("input", call.input())
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

/// What is said of thinking, and whether the model can be asked for it.
fn thinking(form: &Request, mode: Mode, losses: &mut Losses) -> Checked<Plan> {
    if mode == Mode::None && form.wants_thinking() {
        losses.lacks_thinking()?;
    }
    Ok(Plan::new(form, mode))
}

fn output_config<'a>(effort: Option<&'a str>, schema: Option<&'a Format>) -> Option<Object<'a>> {
    let format = schema.and_then(|format| match format {
        Format::Schema { schema, .. } => Some(Object::of("json_schema").with("schema", schema)),
        Format::Object => None,
    });
    (effort.is_some() || format.is_some())
        .then(|| Object::new().maybe("effort", effort).maybe("format", format))
}

/// Names of tools hold letters, digits, `_` and `-` here.
fn check_names(form: &Request) -> Checked<()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    form.check_names(LONGEST_NAME, |name| name.bytes().all(fits))
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
/// of its own, where it has no field: no model of this dialect is without tools.
fn tools<'a>(form: &'a Request, format: Option<&'a Format>) -> (Vec<Node<'a>>, Option<Object<'a>>) {
    let mut tools: Vec<_> = form.tools.iter().map(write_tool).collect();
    tools.extend(format.map(answer_tool));
    let none = form.tools.is_empty() || form.tool_choice == Some(ToolChoice::None);
    let choice = match (form.choice(), format) {
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

/// Whether the arguments of `call` are an object, so that it can be written.
pub(super) fn is_whole(call: &Call) -> bool {
    json::as_object(&call.arguments).is_some()
}
