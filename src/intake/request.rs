//! What a request's body says, without building it: the few fields that
//! Tollgate reads, where they stand, and the edits that routing needs.
//!
//! Invariant: bytes that need no change are passed on as they came. The body is
//! one `Bytes`; an edit makes a list of slices of it.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::base::json::{self as text, Edit, span};
use crate::intake::endpoint::Endpoint;
use crate::intake::json;
use crate::intake::output::{self, Given, Limits};
use crate::intake::personal::{Echo, Personal};
use crate::intake::stream_options::StreamOptions;
use crate::refusal::{Code, Refusal};

/// A parsed request of the understood lane.
#[derive(Clone, Debug)]
pub struct Request {
    body: Bytes,
    /// The model asked for; absent only where the endpoint allows it.
    pub model: Option<String>,
    model_at: Range<usize>,
    /// Whether a stream is asked for.
    pub stream: bool,
    stream_options: StreamOptions,
    /// The client's `metadata` as it stood, if it is an object.
    metadata: Option<Bytes>,
    /// How long the body was as it came.
    came: usize,
    /// `metadata.class`, where it is a text.
    pub class: Option<String>,
    limits: Limits,
    /// How many answers are asked for (`n`).
    choices: u64,
    /// Whether it says so itself, be it null.
    pub says_n: bool,
    /// How many answers a completion makes of each prompt, where that is more
    /// than it gives (`best_of`).
    best_of: u64,
    /// How many prompts a completion has.
    prompts: u64,
    /// Edits of the body that goes to a provider.
    edits: Vec<Edit>,
    /// Where the fields stand that may name an end user.
    personal: Vec<(Personal, Range<usize>)>,
    /// What was changed and an answer may repeat.
    echoes: Vec<Echo>,
    /// The response that this one continues (`previous_response_id`).
    pub previous_response: Option<String>,
    /// `store`: whether the provider is to keep the answer, where it is said.
    pub store: Option<bool>,
    /// Whether the request does more at the provider than make an answer: it
    /// runs in the background, goes on with a conversation, or works in a container.
    pub stateful: bool,
    /// Whether it goes on with what the provider keeps: an earlier response or a
    /// conversation, whose tokens are not in the body.
    pub continues: bool,
}

impl Request {
    /// Parses `body`.
    ///
    /// # Errors
    /// 400 `invalid_json` with the offset if it is not JSON, not an object,
    /// nested deeper than 128, or has one of the fields read here twice; 400
    /// `invalid_value` with the field if one of them has a wrong type.
    pub fn parse(body: Bytes) -> Result<Self, Refusal> {
        let text = std::str::from_utf8(&body)
            .map_err(|error| not_json("it is not UTF-8", error.valid_up_to()))?;
        let mut parser = serde_json::Deserializer::from_str(text);
        let fields = parser
            .deserialize_map(FieldsVisitor)
            .and_then(|fields| parser.end().map(|()| fields))
            .map_err(|error| syntax_error(text, &error))?;
        if let Some(at) = json::too_deep(text) {
            return Err(not_json("it nests deeper than 128 levels", at));
        }
        let model = match fields.model {
            None => None,
            Some(raw) => Some(read::<String>(raw, "model", "a text")?),
        };
        let stream = optional(fields.stream, "stream", "true or false")?.unwrap_or(false);
        let stream_options = StreamOptions::read(text, fields.stream_options)?;
        let says_n = fields.n.is_some();
        let choices = optional(fields.n, "n", "a whole number")?.unwrap_or(1);
        let limit = |raw: Option<&RawValue>, name| {
            let value = optional(raw, name, "a whole number")?;
            Ok(Given { at: raw.map(|raw| span(text, raw)), value })
        };
        let [completion, tokens, output] = output::NAMES;
        let limits = Limits::new([
            limit(fields.max_completion_tokens, completion)?,
            limit(fields.max_tokens, tokens)?,
            limit(fields.max_output_tokens, output)?,
        ]);
        let best_of = optional(fields.best_of, "best_of", "a whole number")?.unwrap_or(1);
        let given = |raw: Option<&RawValue>| raw.is_some_and(|raw| raw.get() != "null");
        let conversation = given(fields.conversation);
        let previous_response = optional(fields.previous, "previous_response_id", "a text")?;
        let metadata = fields.metadata.filter(|raw| raw.get().starts_with('{'));
        let labels = match metadata {
            None => Metadata::default(),
            Some(raw) => serde_json::from_str::<Metadata<'_>>(raw.get())
                .map_err(|_| not_json("a key of 'metadata' is repeated", span(text, raw).start))?,
        };
        let personal = [
            (Personal::User, fields.user),
            (Personal::SafetyIdentifier, fields.safety_identifier),
            (Personal::PromptCacheKey, fields.prompt_cache_key),
            (Personal::MetadataUserId, labels.user_id),
        ];
        let placed = |(what, raw): (_, Option<&RawValue>)| Some((what, span(text, raw?)));
        Ok(Self {
            model_at: fields.model.map(|raw| span(text, raw)).unwrap_or_default(),
            metadata: metadata.map(|raw| body.slice(span(text, raw))),
            came: body.len(),
            personal: personal.into_iter().filter_map(placed).collect(),
            echoes: Vec::new(),
            model,
            stream,
            stream_options,
            class: labels.class,
            limits,
            choices,
            says_n,
            best_of,
            prompts: output::prompts(fields.prompt),
            edits: Vec::new(),
            continues: conversation || previous_response.is_some(),
            previous_response,
            store: fields.store.and_then(|raw| raw.get().parse().ok()),
            stateful: fields.background.is_some_and(|raw| raw.get() == "true")
                || conversation
                || given(fields.container),
            body,
        })
    }

    /// The body as it came.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The client's own `metadata` as JSON text.
    pub fn metadata_text(&self) -> Option<&str> {
        std::str::from_utf8(self.metadata.as_ref()?).ok()
    }

    /// How many bytes of body the client sent.
    pub const fn came(&self) -> usize {
        self.came
    }

    /// The same request with another body, which the rules of its class made of
    /// this one.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn remade(&self, body: Bytes) -> Result<Self, Refusal> {
        let remade = Self::parse(body)?;
        let (metadata, echoes) = (self.metadata.clone(), self.echoes.clone());
        Ok(Self { metadata, echoes, came: self.came, ..remade })
    }

    /// Where the fields stand that may name an end user.
    pub fn personal(&self) -> &[(Personal, Range<usize>)] {
        &self.personal
    }

    /// Puts `new` where the value at `at` stands, in the body that goes to a
    /// provider.
    pub fn put(&mut self, at: Range<usize>, new: Bytes) {
        self.edits.push((at, new));
    }

    /// Notes what an answer that repeats the request is to say.
    pub fn note_echo(&mut self, echo: Echo) {
        self.echoes.push(echo);
    }

    /// What was changed and an answer may repeat.
    pub fn echoes(&self) -> &[Echo] {
        &self.echoes
    }

    /// Whether the client itself asked for a stream's usage.
    pub fn asks_usage(&self) -> bool {
        self.stream_options == StreamOptions::On
    }

    /// The most tokens of one answer of `endpoint`; `None` if nothing limits it.
    pub fn output_limit(&self, endpoint: Endpoint) -> Option<u64> {
        self.limits.most(endpoint)
    }

    /// How many answers `endpoint` makes, those included that it does not give.
    pub fn answers(&self, endpoint: Endpoint) -> u64 {
        match endpoint {
            Endpoint::Embeddings | Endpoint::CountTokens => 0,
            Endpoint::Completions => {
                self.choices.max(self.best_of).max(1).saturating_mul(self.prompts.max(1))
            }
            Endpoint::ChatCompletions => self.choices.max(1),
            Endpoint::Responses | Endpoint::Messages => 1,
        }
    }

    /// Limits all the answers of `endpoint` together to `cap` tokens, in the
    /// body that goes to a provider.
    ///
    /// # Errors
    /// 400 `invalid_value` if it asks for more answers than that.
    pub fn cap_output(&mut self, endpoint: Endpoint, cap: u64) -> Result<(), Refusal> {
        let Some(each) = cap.checked_div(self.answers(endpoint)) else { return Ok(()) };
        if each == 0 {
            let message = format!("At most {cap} answer tokens may be asked for here in all.");
            return Err(Refusal::new(Code::InvalidValue, message).param("n"));
        }
        self.edits.extend(self.limits.cap(endpoint, each, &self.body));
        Ok(())
    }

    /// The same request for so many answers; of one that says itself how many it
    /// wants, nothing is to be asked.
    pub fn sampling(&self, samples: u64) -> Self {
        let mut joint = self.clone();
        joint.choices = samples;
        if let Some(brace) = memchr::memchr(b'{', &self.body) {
            // The object has members, so a member and a comma can go first.
            joint.edits.push((brace + 1..brace + 1, format!("\"n\":{samples},").into()));
        }
        joint
    }

    /// The body for a provider: `model` renamed to `model` if given, usage of a
    /// stream asked for if `ask_usage`, answers limited (see
    /// [`Self::cap_output`]). Without any of these it is the body itself.
    pub fn outgoing(&self, model: Option<&str>, ask_usage: bool) -> Outgoing {
        let mut edits = self.edits.clone();
        if let Some(model) = model.filter(|model| self.model.as_deref() != Some(model)) {
            let quoted = serde_json::Value::from(model).to_string();
            if self.model.is_some() {
                edits.push((self.model_at.clone(), Bytes::from(quoted)));
            }
        }
        if ask_usage && self.stream {
            edits.extend(self.stream_options.usage_edit(&self.body));
        }
        Outgoing { pieces: text::pieces(&self.body, edits) }
    }
}

/// A body on its way to a provider, in pieces that share the client's bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// The pieces in order; none is empty.
    pub pieces: Vec<Bytes>,
}

impl Outgoing {
    /// The body in one piece; copied only if it was edited.
    pub fn joined(mut self) -> Bytes {
        match self.pieces.len() {
            0 | 1 => self.pieces.pop().unwrap_or_default(),
            _ => Bytes::from(self.pieces.concat()),
        }
    }
}

/// The fields that are read, as they stand in the body.
#[derive(Default)]
struct Fields<'a> {
    model: Option<&'a RawValue>,
    stream: Option<&'a RawValue>,
    stream_options: Option<&'a RawValue>,
    metadata: Option<&'a RawValue>,
    n: Option<&'a RawValue>,
    best_of: Option<&'a RawValue>,
    prompt: Option<&'a RawValue>,
    max_tokens: Option<&'a RawValue>,
    max_completion_tokens: Option<&'a RawValue>,
    max_output_tokens: Option<&'a RawValue>,
    previous: Option<&'a RawValue>,
    store: Option<&'a RawValue>,
    background: Option<&'a RawValue>,
    conversation: Option<&'a RawValue>,
    container: Option<&'a RawValue>,
    user: Option<&'a RawValue>,
    safety_identifier: Option<&'a RawValue>,
    prompt_cache_key: Option<&'a RawValue>,
}

/// The name of a field. One with an escape (`"mod\u0065l"`) is owned; it must be
/// recognised too.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields::default();
        while let Some(Name(key)) = map.next_key()? {
            let (name, slot) = match &*key {
                "model" => ("model", &mut fields.model),
                "stream" => ("stream", &mut fields.stream),
                "stream_options" => ("stream_options", &mut fields.stream_options),
                "metadata" => ("metadata", &mut fields.metadata),
                "n" => ("n", &mut fields.n),
                "best_of" => ("best_of", &mut fields.best_of),
                "prompt" => ("prompt", &mut fields.prompt),
                "max_tokens" => ("max_tokens", &mut fields.max_tokens),
                "max_completion_tokens" => {
                    ("max_completion_tokens", &mut fields.max_completion_tokens)
                }
                "max_output_tokens" => ("max_output_tokens", &mut fields.max_output_tokens),
                "previous_response_id" => ("previous_response_id", &mut fields.previous),
                "store" => ("store", &mut fields.store),
                "background" => ("background", &mut fields.background),
                "conversation" => ("conversation", &mut fields.conversation),
                "container" => ("container", &mut fields.container),
                "user" => ("user", &mut fields.user),
                "safety_identifier" => ("safety_identifier", &mut fields.safety_identifier),
                "prompt_cache_key" => ("prompt_cache_key", &mut fields.prompt_cache_key),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            if slot.is_some() {
                return Err(A::Error::duplicate_field(name));
            }
            *slot = Some(map.next_value()?);
        }
        Ok(fields)
    }
}

#[derive(Default, serde::Deserialize)]
struct Metadata<'a> {
    #[serde(default, deserialize_with = "lenient_text")]
    class: Option<String>,
    #[serde(borrow, default, deserialize_with = "even_null")]
    user_id: Option<&'a RawValue>,
}

/// A text, or nothing where it is something else.
fn lenient_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let raw: &RawValue = serde::Deserialize::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).ok())
}

/// A value as it stands, a null included, which `Option` would swallow.
pub(super) fn even_null<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'de RawValue>, D::Error> {
    serde::Deserialize::deserialize(deserializer).map(Some)
}

/// The value of a field that may be null or absent.
fn optional<T: serde::de::DeserializeOwned>(
    raw: Option<&RawValue>,
    param: &'static str,
    wanted: &'static str,
) -> Result<Option<T>, Refusal> {
    raw.filter(|raw| raw.get() != "null").map(|raw| read(raw, param, wanted)).transpose()
}

fn read<T: serde::de::DeserializeOwned>(
    raw: &RawValue,
    param: &'static str,
    wanted: &'static str,
) -> Result<T, Refusal> {
    serde_json::from_str(raw.get()).map_err(|_| wrong(param, wanted))
}

pub(super) fn wrong(param: &'static str, wanted: &'static str) -> Refusal {
    Refusal::new(Code::InvalidValue, format!("Invalid value for '{param}': it must be {wanted}."))
        .param(param)
}

fn syntax_error(text: &str, error: &serde_json::Error) -> Refusal {
    // serde_json counts lines from 1 and columns in bytes.
    let line_start: usize =
        text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let at = (line_start + error.column().saturating_sub(1)).min(text.len());
    match error.classify() {
        serde_json::error::Category::Data => {
            let duplicate = error.to_string();
            let field = duplicate.split('`').nth(1).filter(|_| duplicate.contains("duplicate"));
            match field {
                Some(field) => not_json(&format!("the key '{field}' is repeated"), at),
                None => not_json("it is not an object", at),
            }
        }
        serde_json::error::Category::Eof => not_json("it ends too early", text.len()),
        _ => not_json("it is malformed", at),
    }
}

fn not_json(what: &str, at: usize) -> Refusal {
    Refusal::new(
        Code::InvalidJson,
        format!("The body could not be read as JSON: {what} (offset {at})."),
    )
}

#[cfg(test)]
mod tests;
