//! Writes a request to generate content.

use serde_json::value::RawValue;

use crate::dialect::Written;
use crate::dialect::form::{
    Content, Format, Media, Part, Reasoning, Request, Role, Source, ToolChoice, ToolResult,
    is_usual,
};
use crate::dialect::gemini::signature;
use crate::dialect::json::{self, Node, Object};
use crate::dialect::loss::{Checked, Losses, NOTHING};

/// Stands for the signature of a call that another provider's model made: the
/// guide on thought signatures has it for that.
const UNSIGNED: &str = "skip_thought_signature_validator";

/// Writes `form` for the provider's model `model`.
///
/// Left out without a word: thinking, cache markers, the end user, the names of
/// participants, how closely to look at images, and whether schemas are strict.
pub(in crate::dialect) fn write_request(
    form: &Request,
    model: &str,
    losses: &mut Losses,
) -> Checked<Written> {
    let newer = is_newer(model);
    let (mut system, turns) = form.turns();
    let mut contents = Vec::with_capacity(turns.len());
    for (role, parts) in &turns {
        let role = if *role == Role::Assistant { "model" } else { "user" };
        let parts = write_parts(parts, newer, losses)?;
        if !parts.is_empty() {
            contents.push(Object::new().with("role", role).with("parts", parts).into());
        }
    }
    if contents.is_empty() {
        // A conversation needs a turn.
        let parts = write_parts(&std::mem::take(&mut system), newer, losses)?;
        contents.push(Object::new().with("role", "user").with("parts", parts).into());
    }
    let system = write_parts(&system, newer, losses)?;
    let system = (!system.is_empty()).then(|| Object::new().with("parts", system));
    if form.parallel_tool_calls == Some(false) && !form.tools.is_empty() {
        losses.lacks("parallel_tool_calls", NOTHING)?;
    }
    let body = Object::new()
        .maybe("systemInstruction", system)
        .with("contents", contents)
        .some("tools", tools(form))
        .maybe("toolConfig", form.tool_choice.as_ref().map(tool_config))
        .with("generationConfig", config(form, newer, losses)?);
    let (call, query) = match form.stream {
        true => ("streamGenerateContent", Some("alt=sse")),
        false => ("generateContent", None),
    };
    Ok((format!("/{}:{call}", resource(model)), query, body.to_bytes()))
}

/// The path of `model`; a name is one segment whatever its letters are, as it
/// may be a client's.
fn resource(model: &str) -> String {
    let (kind, name) = match model.split_once('/') {
        Some((kind @ ("models" | "tunedModels"), name)) => (kind, name),
        _ => ("models", model),
    };
    let mut path = format!("{kind}/");
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

/// Whether `model` is of the third generation or later, which thinks by levels
/// and asks for signatures.
fn is_newer(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    let generation = name.strip_prefix("gemini-").and_then(|rest| rest.chars().next());
    generation.is_some_and(|digit| ('3'..='9').contains(&digit))
}

fn write_parts<'a>(parts: &[&'a Part], newer: bool, losses: &mut Losses) -> Checked<Vec<Node<'a>>> {
    let mut written = Vec::with_capacity(parts.len());
    // Only the first call of a turn is signed.
    let mut unsigned = newer;
    let mut shown = Vec::new();
    for part in parts {
        match &part.content {
            Content::Text(text) | Content::Refusal(text) if !text.is_empty() => {
                written.push(Object::new().with("text", text).into());
            }
            Content::Media(media) => written.extend(write_media(media, losses)?),
            Content::Call(call) => {
                let function = Object::new().with("name", &call.name).with("args", call.input());
                let signature = signature(&call.id);
                let signature = signature.or_else(|| unsigned.then(|| UNSIGNED.to_owned()));
                unsigned = false;
                let call = Object::new().with("functionCall", function);
                written.push(call.maybe("thoughtSignature", signature).into());
            }
            Content::Result(result) => {
                written.push(write_result(result));
                for content in &result.parts {
                    if let Content::Media(media) = content {
                        shown.extend(write_media(media, losses)?);
                    }
                }
            }
            _ => {}
        }
    }
    written.append(&mut shown);
    Ok(written)
}

/// A result is an object here: the tool's own, or one around its text.
fn write_result(result: &ToolResult) -> Node<'_> {
    let texts = result.parts.iter().filter_map(|part| match part {
        Content::Text(text) => Some(text.as_str()),
        _ => None,
    });
    let text: String = texts.collect();
    let object = json::as_object(&text).filter(|_| !result.failed && !text.trim().is_empty());
    let response = match object {
        Some(object) => Node::from(object),
        None if result.failed => Object::new().with("error", text).into(),
        None => Object::new().with("result", text).into(),
    };
    let response = Object::new().with("name", &result.name).with("response", response);
    Object::new().with("functionResponse", response).into()
}

/// Bytes can be given; what stands at an address cannot be asked for.
fn write_media<'a>(media: &'a Media, losses: &mut Losses) -> Checked<Option<Node<'a>>> {
    let Source::Inline { media_type, data } = &media.source else {
        losses.lose(media.at.as_str())?;
        return Ok(None);
    };
    let inline = Object::new().with("mimeType", media_type).with("data", data);
    Ok(Some(Object::new().with("inlineData", inline).into()))
}

fn tools(form: &Request) -> Vec<Node<'_>> {
    let declarations: Vec<Node<'_>> = form
        .tools
        .iter()
        .map(|tool| {
            Object::new()
                .with("name", &tool.name)
                .maybe("description", tool.description.as_ref())
                .maybe("parametersJsonSchema", tool.schema.as_ref())
                .into()
        })
        .collect();
    if declarations.is_empty() {
        return Vec::new();
    }
    vec![Object::new().with("functionDeclarations", declarations).into()]
}

fn tool_config(choice: &ToolChoice) -> Object<'_> {
    let (mode, name) = match choice {
        ToolChoice::Auto => ("AUTO", None),
        ToolChoice::None => ("NONE", None),
        ToolChoice::Required => ("ANY", None),
        ToolChoice::Named(name) => ("ANY", Some(name)),
    };
    let names = name.map(|name| vec![Node::from(name)]);
    let config = Object::new().with("mode", mode).maybe("allowedFunctionNames", names);
    Object::new().with("functionCallingConfig", config)
}

fn config<'a>(form: &'a Request, newer: bool, losses: &mut Losses) -> Checked<Object<'a>> {
    let stops = form.stop.iter().map(Node::from).collect();
    let mut config =
        Object::new().maybe("maxOutputTokens", form.max_tokens).some("stopSequences", stops);
    for (name, value) in &form.sampling {
        let called = match *name {
            "temperature" => "temperature",
            "top_p" => "topP",
            "top_k" => "topK",
            "frequency_penalty" => "frequencyPenalty",
            "presence_penalty" => "presencePenalty",
            "seed" => "seed",
            "n" => "candidateCount",
            _ if is_usual(name, value) => continue,
            _ => {
                losses.lacks(name, NOTHING)?;
                continue;
            }
        };
        config = config.with(called, value);
    }
    if let Some(format) = &form.format {
        let schema: Option<&RawValue> = match format {
            Format::Object => None,
            Format::Schema { schema, .. } => Some(schema),
        };
        config =
            config.with("responseMimeType", "application/json").maybe("responseJsonSchema", schema);
    }
    Ok(config
        .maybe("thinkingConfig", form.reasoning.as_ref().map(|wanted| thinking(wanted, newer))))
}

fn thinking(wanted: &Reasoning, newer: bool) -> Object<'_> {
    let shown = Object::new().with("includeThoughts", true);
    match wanted {
        Reasoning::Off => Object::new().with("thinkingBudget", 0),
        Reasoning::Adaptive => shown,
        Reasoning::Budget(budget) => shown.with("thinkingBudget", *budget),
        Reasoning::Effort(effort) => {
            let (level, budget) = match effort.as_str() {
                "minimal" => ("minimal", 512),
                "low" => ("low", 1024),
                "medium" => ("medium", 8192),
                _ => ("high", 24_576),
            };
            match newer {
                true => shown.with("thinkingLevel", level),
                false => shown.with("thinkingBudget", budget),
            }
        }
    }
}
