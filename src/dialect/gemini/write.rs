//! Writes a request to generate content.

use serde_json::value::RawValue;

use crate::base::percent;
use crate::dialect::form::{
    Content, Format, Media, Part, Request, Role, Source, ToolChoice, ToolResult, is_usual,
};
use crate::dialect::gemini::signature;
use crate::dialect::gemini::thinking::{self, Mode};
use crate::dialect::json::{self, Node, Object};
use crate::dialect::loss::{Checked, Losses, NOTHING};
use crate::dialect::{To, Written};

/// Stands for the signature of a call that another provider's model made: the
/// guide on thought signatures has it for that.
const UNSIGNED: &str = "skip_thought_signature_validator";

/// The longest name of a tool that Google takes, in bytes.
const LONGEST_NAME: usize = 128;
/// The most stop sequences.
const MOST_STOPS: usize = 5;

/// Writes `form` for a model of the provider's.
///
/// Left out without a word: thinking, cache markers, the end user, the names of
/// participants, how closely to look at images, and whether schemas are strict.
pub(in crate::dialect) fn write_request(
    form: &Request,
    to: &To<'_>,
    losses: &mut Losses,
) -> Checked<Written> {
    let (mut system, turns) = form.turns(losses)?;
    form.check_names(LONGEST_NAME, is_name)?;
    let most_image = to.wording.image_limit.unwrap_or(u64::MAX);
    let mode = Mode::of(to.model, to.wording.thinking);
    // However it is told to think.
    let signs = thinking::is_third(to.model) || matches!(mode, Mode::Level(_));
    let mut writer = Writer { losses, most_image, signs };
    let mut contents = Vec::with_capacity(turns.len());
    for (role, parts) in &turns {
        let role = if *role == Role::Assistant { "model" } else { "user" };
        let parts = writer.parts(parts)?;
        if !parts.is_empty() {
            contents.push(Object::new().with("role", role).with("parts", parts).into());
        }
    }
    if contents.is_empty() {
        // A conversation needs a turn.
        let parts = writer.parts(&std::mem::take(&mut system))?;
        contents.push(Object::new().with("role", "user").with("parts", parts).into());
    }
    let system = writer.parts(&system)?;
    let system = (!system.is_empty()).then(|| Object::new().with("parts", system));
    if form.parallel_tool_calls == Some(false) && !form.tools.is_empty() {
        losses.lacks("parallel_tool_calls", NOTHING)?;
    }
    let body = Object::new()
        .maybe("systemInstruction", system)
        .with("contents", contents)
        .some("tools", tools(form))
        .maybe("toolConfig", form.choice().map(tool_config))
        .with("generationConfig", config(form, &mode, losses)?);
    let (call, query) = match form.stream {
        true => ("streamGenerateContent", Some("alt=sse")),
        false => ("generateContent", None),
    };
    Ok((format!("/{}:{call}", resource(to.model)), query, body.to_bytes()))
}

/// The path of `model`.
fn resource(model: &str) -> String {
    let (kind, name) = match model.split_once('/') {
        Some((kind @ ("models" | "tunedModels"), name)) => (kind, name),
        _ => ("models", model),
    };
    format!("{kind}/{}", percent::segment(name))
}

/// Names of tools begin with a letter or `_` here.
fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':');
    name.bytes().all(fits) && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

/// What writes the turns.
struct Writer<'l> {
    losses: &'l mut Losses,
    /// The largest image that is taken, in bytes.
    most_image: u64,
    /// Whether calls must be signed.
    signs: bool,
}

impl Writer<'_> {
    fn parts<'a>(&mut self, parts: &[&'a Part]) -> Checked<Vec<Node<'a>>> {
        let mut written = Vec::with_capacity(parts.len());
        // Only the first call of a turn is signed.
        let mut unsigned = self.signs;
        let mut shown = Vec::new();
        for part in parts {
            match &part.content {
                Content::Text(text) | Content::Refusal(text) if !text.is_empty() => {
                    written.push(Object::new().with("text", text).into());
                }
                Content::Media(media) => written.extend(self.media(media)?),
                Content::Call(call) => {
                    let function =
                        Object::new().with("name", &call.name).with("args", call.input());
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
                            shown.extend(self.media(media)?);
                        }
                    }
                }
                _ => {}
            }
        }
        written.append(&mut shown);
        Ok(written)
    }

    /// Bytes can be given; what stands at an address cannot be asked for.
    fn media<'a>(&mut self, media: &'a Media) -> Checked<Option<Node<'a>>> {
        let Source::Inline { media_type, data } = &media.source else {
            self.losses.lose(media.at.as_str())?;
            return Ok(None);
        };
        if !media.fits(self.most_image, self.losses)? {
            return Ok(None);
        }
        let inline = Object::new().with("mimeType", media_type).with("data", data);
        Ok(Some(Object::new().with("inlineData", inline).into()))
    }
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

fn config<'a>(form: &'a Request, mode: &Mode, losses: &mut Losses) -> Checked<Object<'a>> {
    let stops = form.stops(MOST_STOPS, losses)?.iter().map(Node::from).collect();
    if *mode == Mode::None && form.wants_thinking() {
        losses.lacks_thinking()?;
    }
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
    let thinking = form.reasoning.as_ref().and_then(|wanted| thinking::config(wanted, mode));
    Ok(config.maybe("thinkingConfig", thinking))
}
