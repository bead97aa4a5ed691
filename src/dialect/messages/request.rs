//! Reads a request to create a message.

use serde_json::value::RawValue;

use crate::dialect::form::{
    Call, Calls, Content, Format, Kind, Media, Message, OF_MESSAGES, Part, Reasoning, Request,
    Role, Source, Tool, ToolChoice, ToolResult,
};
use crate::dialect::json::{self, Fields, TextOr};
use crate::dialect::loss::{Bad, Checked, Losses};

/// Fields without a meaning elsewhere that change no answer: how fast it comes,
/// and what of a long conversation is kept and cached.
pub(super) const HARMLESS: [&str; 3] = ["service_tier", "cache_control", "context_management"];

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
        stop: texts(&mut fields, "stop_sequences")?,
        stream: fields.flag("stream")?.unwrap_or(false),
        ..Request::default()
    };
    let max_tokens = fields.integer("max_tokens")?;
    form.max_tokens = Some(max_tokens.ok_or_else(|| fields.missing("max_tokens"))?);
    form.messages.extend(read_system(&mut fields, losses)?);
    read_messages(messages, losses, &mut form.messages)?;
    for tool in fields.objects("tools")? {
        form.tools.extend(read_tool(tool, losses)?);
    }
    if let Some(choice) = fields.object("tool_choice")? {
        read_tool_choice(choice, &mut form)?;
    }
    read_thinking(&mut fields, &mut form, losses)?;
    if let Some(mut metadata) = fields.object("metadata")? {
        form.user = metadata.text("user_id")?;
    }
    for name in OF_MESSAGES {
        form.sampling.extend(fields.keep(name).map(|value| (name, value)));
    }
    fields.finish(losses)?;
    Ok(form)
}

fn texts(fields: &mut Fields<'_>, name: &str) -> Checked<Vec<String>> {
    let path = fields.path(name);
    let text = |item: &RawValue| {
        json::as_text(item).ok_or_else(|| Bad::invalid(path.as_str(), "These must be strings."))
    };
    fields.list(name)?.unwrap_or_default().into_iter().map(text).collect()
}

fn read_system(fields: &mut Fields<'_>, losses: &mut Losses) -> Checked<Option<Message>> {
    let mut parts = Vec::new();
    for part in read_content(fields, "system", losses)? {
        match part.content {
            Content::Text(_) => parts.push(part),
            _ => return Err(Bad::invalid("system", "Only texts can stand here.")),
        }
    }
    Ok((!parts.is_empty()).then(|| Message::of(Role::System, "system".to_owned(), parts)))
}

fn read_messages(
    messages: Vec<Fields<'_>>,
    losses: &mut Losses,
    turns: &mut Vec<Message>,
) -> Checked<()> {
    let mut calls = Calls::default();
    for mut message in messages {
        let role = match message.required_text("role")?.as_str() {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "system" => Role::System,
            _ => {
                let path = message.path("role");
                return Err(Bad::invalid(path, "This must be user, assistant or system."));
            }
        };
        if role != Role::Assistant {
            message.check_filled("content")?;
        } else if !message.has("content") {
            return Err(message.missing("content"));
        }
        let at = message.path("content");
        let mut parts = read_content(&mut message, "content", losses)?;
        for (place, part) in parts.iter_mut().enumerate() {
            let wrong =
                || Bad::invalid(format!("{at}[{place}]"), "This cannot stand in this role.");
            match (&mut part.content, role) {
                (Content::Call(call), Role::Assistant) => {
                    calls.made(call, || format!("{at}[{place}].id"))?;
                }
                (Content::Result(result), Role::User) => {
                    let path = || format!("{at}[{place}].tool_use_id");
                    result.name = calls.name(&result.id, path)?;
                }
                (
                    Content::Call(_) | Content::Thinking { .. } | Content::Redacted(_),
                    Role::User,
                )
                | (Content::Result(_), Role::Assistant) => return Err(wrong()),
                (content, Role::System) if !matches!(content, Content::Text(_)) => {
                    return Err(wrong());
                }
                _ => {}
            }
        }
        let at = message.at().to_owned();
        message.finish(losses)?;
        turns.push(Message::of(role, at, parts));
    }
    Ok(())
}

/// Reads member `name`: nothing, a text or blocks.
fn read_content(of: &mut Fields<'_>, name: &str, losses: &mut Losses) -> Checked<Vec<Part>> {
    Ok(match of.text_or_objects(name)? {
        None => Vec::new(),
        Some(TextOr::Text(text)) => vec![Part::text(text)],
        Some(TextOr::Objects(blocks)) => {
            let mut parts = Vec::with_capacity(blocks.len());
            for block in blocks {
                parts.extend(read_block(block, losses)?);
            }
            parts
        }
    })
}

fn read_block(mut block: Fields<'_>, losses: &mut Losses) -> Checked<Option<Part>> {
    let kind = block.required_text("type")?;
    let cache = block.keep("cache_control");
    let content = match kind.as_str() {
        "text" => {
            // An answer that comes back as it was has these.
            block.ignore(&["citations"]);
            Content::Text(block.required_text("text")?)
        }
        "image" => match read_media(&mut block, Kind::Image, losses)? {
            Some(media) => Content::Media(media),
            None => return Ok(None),
        },
        "document" => match read_media(&mut block, Kind::Document, losses)? {
            Some(media) => Content::Media(media),
            None => return Ok(None),
        },
        "thinking" => Content::Thinking {
            text: block.text("thinking")?.unwrap_or_default(),
            signature: block.text("signature")?.filter(|signature| !signature.is_empty()),
        },
        "redacted_thinking" => Content::Redacted(block.required_text("data")?),
        "tool_use" => {
            block.ignore(&["caller"]);
            let input = block.take("input").ok_or_else(|| block.missing("input"))?;
            if !input.get().starts_with('{') {
                return Err(Bad::invalid(block.path("input"), "This must be an object."));
            }
            Content::Call(Call {
                id: block.required_text("id")?,
                name: block.required_text("name")?,
                arguments: input.get().to_owned(),
            })
        }
        "tool_result" => Content::Result(ToolResult {
            id: block.required_text("tool_use_id")?,
            name: String::new(),
            parts: read_result(&mut block, losses)?,
            failed: block.flag("is_error")?.unwrap_or(false),
        }),
        _ => {
            losses.lose(block.path(&kind))?;
            return Ok(None);
        }
    };
    block.finish(losses)?;
    Ok(Some(Part { content, cache }))
}

/// The texts and media of a result.
fn read_result(block: &mut Fields<'_>, losses: &mut Losses) -> Checked<Vec<Content>> {
    let blocks = match block.text_or_objects("content")? {
        None => return Ok(Vec::new()),
        Some(TextOr::Text(text)) => return Ok(vec![Content::Text(text)]),
        Some(TextOr::Objects(blocks)) => blocks,
    };
    let mut parts = Vec::with_capacity(blocks.len());
    for mut block in blocks {
        block.ignore(&["cache_control", "citations"]);
        let kind = block.required_text("type")?;
        match kind.as_str() {
            "text" => parts.push(Content::Text(block.required_text("text")?)),
            "image" => {
                let media = read_media(&mut block, Kind::Image, losses)?;
                parts.extend(media.map(Content::Media));
            }
            "document" => {
                let media = read_media(&mut block, Kind::Document, losses)?;
                parts.extend(media.map(Content::Media));
            }
            _ => {
                losses.lose(block.path(&kind))?;
                continue;
            }
        }
        block.finish(losses)?;
    }
    Ok(parts)
}

fn read_media(block: &mut Fields<'_>, kind: Kind, losses: &mut Losses) -> Checked<Option<Media>> {
    block.ignore(&["citations"]);
    let name = block.text("title")?;
    let mut source = block.required_object("source")?;
    let at = source.at().to_owned();
    let read = match source.required_text("type")?.as_str() {
        "base64" => {
            let media_type = source.required_text("media_type")?;
            Source::inline(media_type, source.required_text("data")?, source.path("data"))?
        }
        "url" => Source::of_url(source.required_text("url")?, source.path("url"))?,
        "text" => {
            let text = source.required_text("data")?;
            let media_type = source.text("media_type")?;
            let media_type = media_type.unwrap_or_else(|| "text/plain".to_owned());
            Source::of_text(media_type, &text, source.path("media_type"))?
        }
        _ => {
            losses.lose(at)?;
            return Ok(None);
        }
    };
    source.finish(losses)?;
    Ok(Some(Media { kind, source: read, name, detail: None, at }))
}

fn read_tool(mut tool: Fields<'_>, losses: &mut Losses) -> Checked<Option<Tool>> {
    let kind = tool.text("type")?.unwrap_or_else(|| "custom".to_owned());
    if kind != "custom" {
        losses.lose(tool.path(&kind))?;
        return Ok(None);
    }
    tool.ignore(&["eager_input_streaming"]);
    let read = Tool {
        at: tool.path("name"),
        name: tool.required_text("name")?,
        description: tool.text("description")?,
        schema: tool.keep("input_schema"),
        strict: tool.flag("strict")?,
        cache: tool.keep("cache_control"),
    };
    tool.finish(losses)?;
    Ok(Some(read))
}

fn read_tool_choice(mut choice: Fields<'_>, form: &mut Request) -> Checked<()> {
    form.tool_choice = Some(match choice.required_text("type")?.as_str() {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => ToolChoice::Named(choice.required_text("name")?),
        _ => {
            let message = "This must be auto, any, tool or none.";
            return Err(Bad::invalid(choice.path("type"), message));
        }
    });
    if choice.flag("disable_parallel_tool_use")? == Some(true) {
        form.parallel_tool_calls = Some(false);
    }
    Ok(())
}

/// Reads `thinking` and `output_config`, where its measure and the form of the
/// answer may stand.
fn read_thinking(fields: &mut Fields<'_>, form: &mut Request, losses: &mut Losses) -> Checked<()> {
    let mut effort = None;
    if let Some(mut config) = fields.object("output_config")? {
        effort = config.text("effort")?;
        if let Some(format) = config.object("format")? {
            form.format = Some(read_format(format)?);
        }
        config.finish(losses)?;
    }
    if let Some(format) = fields.object("output_format")? {
        form.format = Some(read_format(format)?);
    }
    let mut thinking = fields.object("thinking")?;
    let kind = match &mut thinking {
        Some(thinking) => Some(thinking.required_text("type")?),
        None => None,
    };
    form.reasoning = match (kind.as_deref(), thinking, effort) {
        (Some("disabled"), ..) => Some(Reasoning::Off),
        (Some("enabled"), Some(mut thinking), _) => {
            let budget = thinking.integer("budget_tokens")?;
            Some(Reasoning::Budget(budget.ok_or_else(|| thinking.missing("budget_tokens"))?))
        }
        (Some("adaptive" | "between_tools") | None, _, Some(effort)) => {
            Some(Reasoning::Effort(effort))
        }
        (Some("adaptive" | "between_tools"), ..) => Some(Reasoning::Adaptive),
        (None, ..) => None,
        (Some(_), ..) => {
            let message = "This must be enabled, disabled, adaptive or between_tools.";
            return Err(Bad::invalid("thinking.type", message));
        }
    };
    Ok(())
}

fn read_format(mut format: Fields<'_>) -> Checked<Format> {
    match format.required_text("type")?.as_str() {
        "json_schema" => Ok(Format::Schema {
            name: None,
            description: None,
            strict: Some(true),
            schema: format.keep("schema").ok_or_else(|| format.missing("schema"))?,
        }),
        _ => Err(Bad::invalid(format.path("type"), "This must be json_schema.")),
    }
}
