//! Reads a request to create a response.

use crate::dialect::form::{
    Call, Calls, Content, Format, Kind, Media, Message, Part, Reasoning, Request, Role, Source,
    Tool, ToolChoice, ToolResult,
};
use crate::dialect::json::{self, Fields, TextOr};
use crate::dialect::loss::{Bad, Checked, Losses};
use crate::dialect::responses::{REDACTED, SIGNED};

/// Fields without a meaning elsewhere that change no answer. `stream_options`
/// steers how chunks are padded.
pub(super) const HARMLESS: [&str; 6] = [
    "stream_options",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "metadata",
];
/// What an answer repeats of its request.
const ECHO: [&str; 12] = [
    "instructions",
    "max_output_tokens",
    "metadata",
    "parallel_tool_calls",
    "reasoning",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
    "truncation",
    "user",
];

/// Why a reference to an item cannot be followed, and what to do.
const KEPT_NOWHERE: &str = "The provider of this model keeps no responses, so nothing can refer to \
                            what they held. Send the items themselves, as clients do with `store: false`.";

/// Reads `body`.
///
/// What needs a provider that keeps responses is lost: `previous_response_id`,
/// `conversation`, `store: true`, `background: true`, references to items.
pub(in crate::dialect) fn read_request(body: &[u8], losses: &mut Losses) -> Checked<Request> {
    let mut fields = Fields::body(body)?;
    let echo = ECHO.iter().filter_map(|name| Some((*name, fields.peek(name)?.to_owned())));
    let mut form = Request { echo: echo.collect(), ..Request::default() };
    fields.ignore(&HARMLESS);
    fields.text("model")?;
    if let Some(text) = fields.text("instructions")? {
        form.messages.push(Message::of(
            Role::System,
            "instructions".to_owned(),
            vec![Part::text(text)],
        ));
    }
    read_input(&mut fields, losses, &mut form.messages)?;
    form.parallel_tool_calls = fields.flag("parallel_tool_calls")?;
    form.max_tokens = fields.integer("max_output_tokens")?;
    form.user = fields.text("user")?;
    form.stream = fields.flag("stream")?.unwrap_or(false);
    for name in ["store", "background"] {
        if fields.flag(name)? == Some(true) {
            losses.lose(name)?;
        }
    }
    for tool in fields.objects("tools")? {
        form.tools.extend(read_tool(tool, losses)?);
    }
    form.tool_choice = read_tool_choice(&mut fields, losses)?;
    if let Some(mut reasoning) = fields.object("reasoning")? {
        reasoning.ignore(&["summary", "generate_summary"]);
        form.reasoning = reasoning.text("effort")?.map(|effort| match effort.as_str() {
            "none" => Reasoning::Off,
            _ => Reasoning::Effort(effort),
        });
        reasoning.finish(losses)?;
    }
    if let Some(mut text) = fields.object("text")? {
        form.sampling.extend(text.keep("verbosity").map(|value| ("verbosity", value)));
        if let Some(format) = text.object("format")? {
            form.format = read_format(format)?;
        }
        text.finish(losses)?;
    }
    read_include(&mut fields, losses)?;
    if fields.text("truncation")?.is_some_and(|how| how != "disabled") {
        losses.lose("truncation")?;
    }
    if fields.integer("top_logprobs")?.is_some_and(|number| number > 0) {
        losses.lose("top_logprobs")?;
    }
    for name in ["temperature", "top_p"] {
        form.sampling.extend(fields.keep(name).map(|value| (name, value)));
    }
    fields.finish(losses)?;
    Ok(form)
}

/// What is to be added to the answer: thinking that can come back is, always.
fn read_include(fields: &mut Fields<'_>, losses: &mut Losses) -> Checked<()> {
    for (place, name) in fields.list("include")?.unwrap_or_default().into_iter().enumerate() {
        if name.get() != "\"reasoning.encrypted_content\"" {
            losses.lose(format!("include[{place}]"))?;
        }
    }
    Ok(())
}

fn read_input(
    fields: &mut Fields<'_>,
    losses: &mut Losses,
    turns: &mut Vec<Message>,
) -> Checked<()> {
    match fields.text_or_objects("input")? {
        None => return Err(fields.missing("input")),
        Some(TextOr::Text(text)) => {
            turns.push(Message::of(Role::User, "input".to_owned(), vec![Part::text(text)]));
        }
        Some(TextOr::Objects(items)) if items.is_empty() => return Err(fields.missing("input")),
        Some(TextOr::Objects(items)) => {
            let mut calls = Calls::default();
            for item in items {
                read_item(item, &mut calls, losses, turns)?;
            }
        }
    }
    Ok(())
}

/// Reads one item. What an assistant says and does in one go is one turn, and
/// so are the results of its calls.
fn read_item(
    mut item: Fields<'_>,
    calls: &mut Calls,
    losses: &mut Losses,
    turns: &mut Vec<Message>,
) -> Checked<()> {
    let kind = item.text("type")?.unwrap_or_else(|| "message".to_owned());
    let at = item.at().to_owned();
    item.ignore(&["id", "status", "phase"]);
    match kind.as_str() {
        "message" => {
            let role = match item.required_text("role")?.as_str() {
                "user" => Role::User,
                "assistant" => Role::Assistant,
                "system" => Role::System,
                "developer" => Role::Developer,
                _ => {
                    let message = "This must be user, assistant, system or developer.";
                    return Err(Bad::invalid(item.path("role"), message));
                }
            };
            item.check_filled("content")?;
            let parts = read_content(&mut item, "content", losses)?;
            let thought = |part: &Part| {
                matches!(part.content, Content::Thinking { .. } | Content::Redacted(_))
            };
            match turns.last_mut() {
                Some(Message { role: Role::Assistant, parts: turn, .. })
                    if role == Role::Assistant && turn.iter().all(thought) =>
                {
                    turn.extend(parts);
                }
                _ => turns.push(Message::of(role, at, parts)),
            }
        }
        "function_call" => {
            let call = Call {
                id: item.required_text("call_id")?,
                name: item.required_text("name")?,
                arguments: item.text("arguments")?.unwrap_or_default(),
            };
            if json::as_object(&call.arguments).is_none() {
                let message = "This must be a JSON object, written as a string.";
                return Err(Bad::invalid(item.path("arguments"), message));
            }
            calls.made(&call, || item.path("call_id"))?;
            add(turns, Role::Assistant, at, Content::Call(call));
        }
        "function_call_output" => {
            let id = item.required_text("call_id")?;
            let name = calls.name(&id, || item.path("call_id"))?;
            let parts = read_content(&mut item, "output", losses)?;
            let parts = parts.into_iter().map(|part| part.content).collect();
            let result = ToolResult { id, name, parts, failed: false };
            add(turns, Role::User, at, Content::Result(result));
        }
        "reasoning" => {
            let content = read_reasoning(&mut item)?;
            add(turns, Role::Assistant, at, content);
        }
        "item_reference" => {
            losses.lose_as(item.path(&kind), KEPT_NOWHERE)?;
            return Ok(());
        }
        _ => {
            losses.lose(item.path(&kind))?;
            return Ok(());
        }
    }
    item.finish(losses)
}

/// Adds `content`, which stands at `at`, to the turn of `role`, if it is the last and may have it.
fn add(turns: &mut Vec<Message>, role: Role, at: String, content: Content) {
    let result = |part: &Part| matches!(part.content, Content::Result(_));
    let part = Part::plain(content);
    match turns.last_mut() {
        Some(turn)
            if turn.role == role && (role == Role::Assistant || turn.parts.iter().all(result)) =>
        {
            turn.parts.push(part);
        }
        _ => turns.push(Message::of(role, at, vec![part])),
    }
}

fn read_reasoning(item: &mut Fields<'_>) -> Checked<Content> {
    let mut text = String::new();
    for name in ["summary", "content"] {
        for mut part in item.objects(name)? {
            text.push_str(&part.text("text")?.unwrap_or_default());
        }
    }
    let held = item.text("encrypted_content")?.unwrap_or_default();
    Ok(match held.strip_prefix(REDACTED) {
        Some(data) => Content::Redacted(data.to_owned()),
        None => {
            let signature = held.strip_prefix(SIGNED).map(str::to_owned);
            Content::Thinking { text, signature }
        }
    })
}

/// Reads member `name`: a text or parts.
fn read_content(item: &mut Fields<'_>, name: &str, losses: &mut Losses) -> Checked<Vec<Part>> {
    Ok(match item.text_or_objects(name)? {
        None => Vec::new(),
        Some(TextOr::Text(text)) => vec![Part::text(text)],
        Some(TextOr::Objects(objects)) => {
            let mut parts = Vec::with_capacity(objects.len());
            for part in objects {
                parts.extend(read_part(part, losses)?.map(Part::plain));
            }
            parts
        }
    })
}

fn read_part(mut part: Fields<'_>, losses: &mut Losses) -> Checked<Option<Content>> {
    let kind = part.required_text("type")?;
    let at = part.at().to_owned();
    let (kind, source, name) = match kind.as_str() {
        "input_text" | "output_text" | "text" => {
            // An answer that comes back as it was has these.
            part.ignore(&["annotations", "logprobs"]);
            let text = part.required_text("text")?;
            part.finish(losses)?;
            return Ok(Some(Content::Text(text)));
        }
        "refusal" => return Ok(Some(Content::Refusal(part.required_text("refusal")?))),
        "input_image" => (Kind::Image, url(&mut part, "image_url")?, None),
        "input_file" => {
            let data = url(&mut part, "file_data")?;
            (Kind::Document, data.or(url(&mut part, "file_url")?), part.text("filename")?)
        }
        _ => {
            losses.lose(part.path(&kind))?;
            return Ok(None);
        }
    };
    let detail = part.text("detail")?;
    part.finish(losses)?;
    // Without it there was an id, which is lost by now.
    let Some(source) = source else { return Ok(None) };
    Ok(Some(Content::Media(Media { kind, source, name, detail, at })))
}

/// Takes the URL `name`.
fn url(part: &mut Fields<'_>, name: &str) -> Checked<Option<Source>> {
    let at = part.path(name);
    part.text(name)?.map(|url| Source::of_url(url, at)).transpose()
}

fn read_tool(mut tool: Fields<'_>, losses: &mut Losses) -> Checked<Option<Tool>> {
    let kind = tool.required_text("type")?;
    if kind != "function" {
        losses.lose(tool.path(&kind))?;
        return Ok(None);
    }
    let read = Tool {
        at: tool.path("name"),
        name: tool.required_text("name")?,
        description: tool.text("description")?,
        schema: tool.keep("parameters"),
        strict: tool.flag("strict")?,
        cache: None,
    };
    tool.finish(losses)?;
    Ok(Some(read))
}

fn read_tool_choice(fields: &mut Fields<'_>, losses: &mut Losses) -> Checked<Option<ToolChoice>> {
    let Some(choice) = fields.take("tool_choice") else { return Ok(None) };
    match json::as_text(choice).as_deref() {
        Some("auto") => return Ok(Some(ToolChoice::Auto)),
        Some("none") => return Ok(Some(ToolChoice::None)),
        Some("required") => return Ok(Some(ToolChoice::Required)),
        Some(_) => {
            let message = "This must be none, auto, required or a function.";
            return Err(Bad::invalid("tool_choice", message));
        }
        None => {}
    }
    let mut choice = Fields::parse(choice.get(), "tool_choice")?;
    if choice.required_text("type")? == "function" {
        return Ok(Some(ToolChoice::Named(choice.required_text("name")?)));
    }
    losses.lose("tool_choice")?;
    Ok(None)
}

fn read_format(mut format: Fields<'_>) -> Checked<Option<Format>> {
    match format.required_text("type")?.as_str() {
        "text" => Ok(None),
        "json_object" => Ok(Some(Format::Object)),
        "json_schema" => Ok(Some(Format::Schema {
            name: format.text("name")?,
            description: format.text("description")?,
            strict: format.flag("strict")?,
            schema: format.keep("schema").ok_or_else(|| format.missing("schema"))?,
        })),
        _ => {
            let message = "This must be text, json_object or json_schema.";
            Err(Bad::invalid(format.path("type"), message))
        }
    }
}
