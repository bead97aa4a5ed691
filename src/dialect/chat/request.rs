//! Reads a chat completion's request.

use serde_json::value::RawValue;

use crate::dialect::chat::thinking_part;
use crate::dialect::form::{
    Call, Calls, Content, Format, Kind, Media, Message, Part, Reasoning, Request, Role, SAMPLING,
    Source, Tool, ToolChoice, ToolResult,
};
use crate::dialect::json::{self, Fields, TextOr};
use crate::dialect::loss::{Bad, Checked, Losses};
use crate::dialect::openai::read_stop;

/// Fields without a meaning elsewhere that change no answer: they say where it
/// is kept, how fast it comes, for whom it is, or how it is cached.
/// `stream_options` is one of them as the usage is always asked for.
pub(super) const HARMLESS: [&str; 8] = [
    "stream_options",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "background",
];

/// Reads `body`.
pub(in crate::dialect) fn read_request(body: &[u8], losses: &mut Losses) -> Checked<Request> {
    let mut fields = Fields::body(body)?;
    fields.ignore(&HARMLESS);
    fields.text("model")?;
    let messages = fields.objects("messages")?;
    if messages.is_empty() {
        return Err(fields.missing("messages"));
    }
    let mut form = Request {
        messages: read_messages(messages, losses)?,
        parallel_tool_calls: fields.flag("parallel_tool_calls")?,
        stop: read_stop(&mut fields)?,
        user: fields.text("user")?,
        stream: fields.flag("stream")?.unwrap_or(false),
        ..Request::default()
    };
    let older = fields.integer("max_tokens")?;
    form.max_tokens = fields.integer("max_completion_tokens")?.or(older);
    for tool in fields.objects("tools")? {
        form.tools.extend(read_tool(tool, losses)?);
    }
    form.tool_choice = read_tool_choice(&mut fields, losses)?;
    form.format = read_format(&mut fields)?;
    form.reasoning = fields.text("reasoning_effort")?.map(|effort| match effort.as_str() {
        "none" => Reasoning::Off,
        _ => Reasoning::Effort(effort),
    });
    read_modalities(&mut fields, losses)?;
    for name in SAMPLING {
        form.sampling.extend(fields.keep(name).map(|value| (name, value)));
    }
    fields.finish(losses)?;
    Ok(form)
}

/// Text is what every model gives.
fn read_modalities(fields: &mut Fields<'_>, losses: &mut Losses) -> Checked<()> {
    let Some(modalities) = fields.list("modalities")? else { return Ok(()) };
    let text = |kind: &&RawValue| kind.get() == "\"text\"";
    if modalities.iter().all(text) { Ok(()) } else { losses.lose("modalities") }
}

fn read_messages(messages: Vec<Fields<'_>>, losses: &mut Losses) -> Checked<Vec<Message>> {
    let mut calls = Calls::default();
    let mut turns: Vec<Message> = Vec::with_capacity(messages.len());
    // The results of one turn's calls are one turn.
    let mut results = false;
    for mut message in messages {
        let role = message.required_text("role")?;
        let role = match role.as_str() {
            "system" => Role::System,
            "developer" => Role::Developer,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "tool" => {
                let at = message.at().to_owned();
                let part = read_result(message, &mut calls, losses)?;
                match turns.last_mut() {
                    Some(turn) if results => turn.parts.push(part),
                    _ => turns.push(Message::of(Role::User, at, vec![part])),
                }
                results = true;
                continue;
            }
            _ => {
                let roles = "This must be system, developer, user, assistant or tool.";
                return Err(Bad::invalid(message.path("role"), roles));
            }
        };
        results = false;
        if role != Role::Assistant {
            message.check_filled("content")?;
        }
        let name = message.text("name")?;
        let mut parts = if role == Role::Assistant { thoughts(&mut message)? } else { Vec::new() };
        parts.extend(read_content(&mut message, losses)?);
        if role == Role::Assistant {
            parts.extend(message.text("refusal")?.map(Content::Refusal).map(Part::plain));
            // An answer that comes back as it was has these too.
            message.ignore(&["annotations"]);
            for call in message.objects("tool_calls")? {
                let at = call.path("id");
                let call = read_call(call, losses)?;
                calls.made(&call, || at)?;
                parts.push(Part::plain(Content::Call(call)));
            }
        }
        let at = message.at().to_owned();
        message.finish(losses)?;
        turns.push(Message { role, at, name, parts });
    }
    Ok(turns)
}

/// The thinking that an answer had.
fn thoughts(message: &mut Fields<'_>) -> Checked<Vec<Part>> {
    let plain = message.text("reasoning_content")?;
    let mut parts = Vec::new();
    for mut block in message.objects("thinking_blocks")? {
        let content = match block.required_text("type")?.as_str() {
            "redacted_thinking" => Content::Redacted(block.required_text("data")?),
            _ => Content::Thinking {
                text: block.text("thinking")?.unwrap_or_default(),
                signature: block.text("signature")?,
            },
        };
        parts.push(Part::plain(content));
    }
    if parts.is_empty() {
        let unsigned = |text| Part::plain(Content::Thinking { text, signature: None });
        parts.extend(plain.map(unsigned));
    }
    Ok(parts)
}

/// Reads `content`: nothing, a text or parts.
fn read_content(message: &mut Fields<'_>, losses: &mut Losses) -> Checked<Vec<Part>> {
    let mut parts = Vec::new();
    match message.text_or_objects("content")? {
        None => {}
        Some(TextOr::Text(text)) => {
            let cache = message.keep("cache_control");
            parts.push(Part { content: Content::Text(text), cache });
        }
        Some(TextOr::Objects(objects)) => {
            for part in objects {
                parts.extend(read_part(part, losses)?);
            }
        }
    }
    Ok(parts)
}

fn read_part(mut part: Fields<'_>, losses: &mut Losses) -> Checked<Option<Part>> {
    let kind = part.required_text("type")?;
    let content = match kind.as_str() {
        "text" => Content::Text(part.required_text("text")?),
        "refusal" => Content::Refusal(part.required_text("refusal")?),
        // As Mistral gives it.
        "thinking" => {
            part.ignore(&["closed"]);
            Content::Thinking { text: thinking_part(&mut part)?, signature: None }
        }
        "image_url" => {
            let mut image = part.required_object("image_url")?;
            let url = image.required_text("url")?;
            let source = Source::of_url(url, image.path("url"))?;
            let at = image.at().to_owned();
            let detail = image.text("detail")?;
            image.finish(losses)?;
            Content::Media(Media { kind: Kind::Image, source, name: None, detail, at })
        }
        "input_audio" => {
            let mut audio = part.required_object("input_audio")?;
            let media_type = format!("audio/{}", audio.required_text("format")?);
            let data = audio.required_text("data")?;
            let source = Source::inline(media_type, data, audio.path("data"))?;
            let at = audio.at().to_owned();
            audio.finish(losses)?;
            Content::Media(Media { kind: Kind::Audio, source, name: None, detail: None, at })
        }
        "file" => {
            let mut file = part.required_object("file")?;
            let at = file.at().to_owned();
            let name = file.text("filename")?;
            let data = file.text("file_data")?;
            let path = file.path("file_data");
            file.finish(losses)?;
            let Some(data) = data else { return Ok(None) };
            let source = Source::of_url(data, path)?;
            Content::Media(Media { kind: Kind::Document, source, name, detail: None, at })
        }
        _ => {
            losses.lose(part.path(&kind))?;
            return Ok(None);
        }
    };
    let cache = part.keep("cache_control");
    part.finish(losses)?;
    Ok(Some(Part { content, cache }))
}

fn read_call(mut call: Fields<'_>, losses: &mut Losses) -> Checked<Call> {
    call.ignore(&["type", "index"]);
    let id = call.required_text("id")?;
    // Calls of other kinds than functions are lost by their name.
    let Some(mut function) = call.object("function")? else {
        call.finish(losses)?;
        return Err(Bad::invalid("messages", "A tool call must have a `function`."));
    };
    let name = function.required_text("name")?;
    let arguments = function.text("arguments")?.unwrap_or_default();
    if json::as_object(&arguments).is_none() {
        let message = "This must be a JSON object, written as a string.";
        return Err(Bad::invalid(function.path("arguments"), message));
    }
    function.finish(losses)?;
    call.finish(losses)?;
    Ok(Call { id, name, arguments })
}

fn read_result(mut message: Fields<'_>, calls: &mut Calls, losses: &mut Losses) -> Checked<Part> {
    let id = message.required_text("tool_call_id")?;
    let name = calls.name(&id, || message.path("tool_call_id"))?;
    message.ignore(&["name"]);
    let mut cache = message.keep("cache_control");
    let mut parts = Vec::new();
    for part in read_content(&mut message, losses)? {
        cache = part.cache.or(cache);
        parts.push(part.content);
    }
    message.finish(losses)?;
    let result = ToolResult { id, name, parts, failed: false };
    Ok(Part { content: Content::Result(result), cache })
}

fn read_tool(mut tool: Fields<'_>, losses: &mut Losses) -> Checked<Option<Tool>> {
    let kind = tool.text("type")?.unwrap_or_else(|| "function".to_owned());
    if kind != "function" {
        losses.lose(tool.path(&kind))?;
        return Ok(None);
    }
    let mut function = tool.required_object("function")?;
    let read = Tool {
        at: function.path("name"),
        name: function.required_text("name")?,
        description: function.text("description")?,
        schema: function.keep("parameters"),
        strict: function.flag("strict")?,
        cache: tool.keep("cache_control"),
    };
    function.finish(losses)?;
    tool.finish(losses)?;
    Ok(Some(read))
}

fn read_tool_choice(fields: &mut Fields<'_>, losses: &mut Losses) -> Checked<Option<ToolChoice>> {
    let Some(choice) = fields.take("tool_choice") else { return Ok(None) };
    if let Some(word) = json::as_text(choice) {
        return match word.as_str() {
            "auto" => Ok(Some(ToolChoice::Auto)),
            "none" => Ok(Some(ToolChoice::None)),
            "required" => Ok(Some(ToolChoice::Required)),
            _ => {
                let message = "This must be none, auto, required or a function.";
                Err(Bad::invalid("tool_choice", message))
            }
        };
    }
    let mut choice = Fields::parse(choice.get(), "tool_choice")?;
    if let Some(mut function) = choice.object("function")? {
        return Ok(Some(ToolChoice::Named(function.required_text("name")?)));
    }
    losses.lose("tool_choice")?;
    Ok(None)
}

fn read_format(fields: &mut Fields<'_>) -> Checked<Option<Format>> {
    let Some(mut format) = fields.object("response_format")? else { return Ok(None) };
    match format.required_text("type")?.as_str() {
        "text" => Ok(None),
        "json_object" => Ok(Some(Format::Object)),
        "json_schema" => {
            let mut schema = format.required_object("json_schema")?;
            Ok(Some(Format::Schema {
                name: schema.text("name")?,
                description: schema.text("description")?,
                strict: schema.flag("strict")?,
                schema: schema.keep("schema").ok_or_else(|| schema.missing("schema"))?,
            }))
        }
        _ => {
            let message = "This must be text, json_object or json_schema.";
            Err(Bad::invalid(format.path("type"), message))
        }
    }
}
