//! Writes a chat completion's request.

use crate::config::ThinkingField;
use crate::dialect::chat::model::Model;
use crate::dialect::form::{
    Call, Content, Format, Kind, Media, Message, Part, Request, Role, Source, Tool, ToolChoice,
    bare_call_id,
};
use crate::dialect::json::{Node, Object};
use crate::dialect::loss::{Checked, Losses, NOTHING};
use crate::dialect::{To, Written};

/// The most stop sequences that OpenAI takes; other servers take more.
const MOST_STOPS: usize = 4;
/// The longest name of a tool that OpenAI takes, in bytes.
const LONGEST_NAME: usize = 64;
/// The longest that other servers take.
const LONGEST_NAME_ELSEWHERE: usize = 256;
/// The longest id of an end user that OpenAI takes, in bytes.
const LONGEST_USER: usize = 64;
/// The name of a schema that its client gave none.
const SCHEMA_NAME: &str = "answer";

/// Writes `form` for a model of the provider's.
///
/// Left out without a word: cache markers (a server of this dialect caches by
/// itself), the mark that a tool failed (the result says how), signed thinking
/// (only who signed it can read it), and an end user's id that is too long.
pub(in crate::dialect) fn write_request(
    form: &Request,
    to: &To<'_>,
    losses: &mut Losses,
) -> Checked<Written> {
    let model = Model::new(to.model, to.wording);
    let (longest, most) = match model.is_openais() {
        true => (LONGEST_NAME, MOST_STOPS),
        false => (LONGEST_NAME_ELSEWHERE, usize::MAX),
    };
    form.check_names(longest, is_name)?;
    let developer = to.wording.developer_role.unwrap_or(model.is_openais());
    let mut writer = Writer {
        losses,
        most_image: to.wording.image_limit.unwrap_or(u64::MAX),
        developer: if developer { "developer" } else { "system" },
        thinking: match to.wording.thinking_field {
            ThinkingField::ReasoningContent => "reasoning_content",
            ThinkingField::Reasoning => "reasoning",
        },
    };
    let mut messages = Vec::with_capacity(form.messages.len());
    for message in &form.messages {
        writer.message(message, &mut messages)?;
    }
    let stop = form.stops(most, losses)?.iter().map(Node::from).collect();
    let effort = match form.reasoning.as_ref().map(|wanted| model.effort(wanted)) {
        Some(Ok(effort)) => effort,
        Some(Err(_)) => {
            losses.lacks_thinking()?;
            None
        }
        None => None,
    };
    let mut body = Object::new()
        .with("model", to.model)
        .with("messages", messages)
        .maybe(model.token_limit(to.wording), form.max_tokens)
        .some("stop", stop)
        .some("tools", tools(form))
        .maybe("tool_choice", form.choice().map(tool_choice))
        .maybe("parallel_tool_calls", form.parallel_tool_calls.filter(|_| !form.tools.is_empty()))
        .maybe("response_format", form.format.as_ref().map(format))
        .maybe("reasoning_effort", effort)
        .maybe("user", form.user_within(LONGEST_USER));
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

/// Names of tools hold letters, digits, `_`, `-` and `.` here.
fn is_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

/// What writes the messages.
struct Writer<'l> {
    losses: &'l mut Losses,
    /// The largest image that is taken, in bytes.
    most_image: u64,
    /// The role of the developer.
    developer: &'static str,
    /// The field that thinking goes back in.
    thinking: &'static str,
}

impl Writer<'_> {
    fn message<'a>(&mut self, message: &'a Message, out: &mut Vec<Node<'a>>) -> Checked<()> {
        let role = match message.role {
            Role::System => "system",
            Role::Developer => self.developer,
            Role::Assistant => return self.assistant(message, out),
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
                            Content::Media(media) => shown.extend(self.media(media)?),
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
                Content::Media(media) => parts.extend(self.media(media)?),
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
        out.push(
            Object::new().with("role", role).maybe("name", name).with("content", content).into(),
        );
        Ok(())
    }

    fn assistant<'a>(&mut self, message: &'a Message, out: &mut Vec<Node<'a>>) -> Checked<()> {
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
                Content::Media(media) => self.losses.lose(media.at.as_str())?,
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
            .maybe(self.thinking, (!thinking.is_empty()).then_some(thinking))
            .some("tool_calls", calls);
        out.push(message.into());
        Ok(())
    }

    fn media<'a>(&mut self, media: &'a Media) -> Checked<Option<Object<'a>>> {
        if !media.fits(self.most_image, self.losses)? {
            return Ok(None);
        }
        Ok(Some(match (media.kind, &media.source) {
            (Kind::Image, source) => {
                let image = Object::new().with("url", source.to_url());
                Object::of("image_url")
                    .with("image_url", image.maybe("detail", media.detail.as_ref()))
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
                self.losses.lose(media.at.as_str())?;
                return Ok(None);
            }
        }))
    }
}

fn text_part(text: &str) -> Object<'_> {
    Object::of("text").with("text", text)
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
