//! What a request's body says, without building it: the few fields that
//! Tollgate reads, where they stand, and the edits that routing needs.
//!
//! Invariant: bytes that need no change are passed on as they came. The body is
//! one `Bytes`; an edit makes a list of slices of it.

use std::ops::Range;

use bytes::Bytes;
use serde::de::Deserializer;
use serde_json::value::RawValue;

use crate::base::json::reader::{self, Fault, Sink, What};
use crate::base::json::{self, Edit, span};
use crate::intake::endpoint::Endpoint;
use crate::intake::fields::{Fields, Finder, Place};
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
    personal: [(Personal, Place); 4],
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
    pub fn parse(body: &Bytes) -> Result<Self, Refusal> {
        Self::read(body, ()).map(|(request, ())| request)
    }

    /// The same, and has `with` told of the body as it is read, which happens once.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn read<'j, S: Sink<'j>>(body: &'j Bytes, with: S) -> Result<(Self, S), Refusal> {
        let mut sinks = (Finder::default(), with);
        reader::read(body, &mut sinks).map_err(|fault| not_taken(&fault))?;
        let (found, with) = sinks;
        if !found.is_object {
            return Err(not_json("it is not an object", 0));
        }
        if let Some(at) = found.nameless {
            return Err(not_json("it is malformed", at));
        }
        if let Some((field, at)) = found.repeated {
            return Err(not_json(&format!("the key '{field}' is repeated"), at));
        }
        Ok((Self::of(body.clone(), found.fields)?, with))
    }

    /// The request that `body` is, where `fields` stand in it.
    fn of(body: Bytes, fields: Fields) -> Result<Self, Refusal> {
        let at = |place: &Place| part(&body, place.as_ref());
        let model = match at(&fields.model) {
            None => None,
            Some(raw) => Some(read::<String>(raw, "model", "a text")?),
        };
        let stream = optional(at(&fields.stream), "stream", "true or false")?.unwrap_or(false);
        let stream_options = StreamOptions::read(&body, fields.stream_options)?;
        let says_n = fields.n.is_some();
        let choices = optional(at(&fields.n), "n", "a whole number")?.unwrap_or(1);
        let limit = |place: Place, name| {
            let value = optional(at(&place), name, "a whole number")?;
            Ok(Given { at: place, value })
        };
        let [completion, tokens, output] = output::NAMES;
        let limits = Limits::new([
            limit(fields.max_completion_tokens, completion)?,
            limit(fields.max_tokens, tokens)?,
            limit(fields.max_output_tokens, output)?,
        ]);
        let best_of = optional(at(&fields.best_of), "best_of", "a whole number")?.unwrap_or(1);
        let given = |place: &Place| at(place).is_some_and(|raw| raw != "null");
        let conversation = given(&fields.conversation);
        let previous_response = optional(at(&fields.previous), "previous_response_id", "a text")?;
        let labels = fields.metadata.filter(|at| body.get(at.start) == Some(&b'{'));
        let metadata = match &labels {
            None => Metadata::default(),
            Some(at) => Metadata::read(&body, at)?,
        };
        let personal = [
            (Personal::User, fields.user),
            (Personal::SafetyIdentifier, fields.safety_identifier),
            (Personal::PromptCacheKey, fields.prompt_cache_key),
            (Personal::MetadataUserId, metadata.user_id),
        ];
        Ok(Self {
            prompts: output::prompts(at(&fields.prompt)),
            store: at(&fields.store).and_then(|raw| raw.parse().ok()),
            stateful: at(&fields.background) == Some("true")
                || conversation
                || given(&fields.container),
            model_at: fields.model.unwrap_or_default(),
            metadata: labels.map(|at| body.slice(at)),
            came: body.len(),
            personal,
            echoes: Vec::new(),
            model,
            stream,
            stream_options,
            class: metadata.class,
            limits,
            choices,
            says_n,
            best_of,
            edits: Vec::new(),
            continues: conversation || previous_response.is_some(),
            previous_response,
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
    pub fn remade(&self, body: &Bytes) -> Result<Self, Refusal> {
        let remade = Self::parse(body)?;
        let (metadata, echoes) = (self.metadata.clone(), self.echoes.clone());
        Ok(Self { metadata, echoes, came: self.came, ..remade })
    }

    /// Where the fields stand that may name an end user.
    pub fn personal(&self) -> impl Iterator<Item = (Personal, Range<usize>)> + use<> {
        self.personal.clone().into_iter().filter_map(|(what, place)| Some((what, place?)))
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
        Outgoing { pieces: json::pieces(&self.body, edits) }
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

/// What is read of `metadata`.
#[derive(Default)]
struct Metadata {
    class: Option<String>,
    user_id: Place,
}

impl Metadata {
    /// Reads the object that stands in `body` at `at`.
    fn read(body: &[u8], at: &Range<usize>) -> Result<Self, Refusal> {
        #[derive(serde::Deserialize)]
        struct Labels<'a> {
            #[serde(borrow, default, deserialize_with = "even_null")]
            class: Option<&'a RawValue>,
            #[serde(borrow, default, deserialize_with = "even_null")]
            user_id: Option<&'a RawValue>,
        }
        let text = part(body, Some(at)).unwrap_or_default();
        let labels: Labels<'_> = serde_json::from_str(text)
            .map_err(|_| not_json("a key of 'metadata' is repeated", at.start))?;
        let user_id = labels.user_id.map(|raw| within(at, span(text, raw)));
        // A class that is no text is none.
        let class = labels.class.and_then(|raw| serde_json::from_str(raw.get()).ok());
        Ok(Self { class, user_id })
    }
}

/// The place `inner` of a text that stands at `outer`.
pub(super) fn within(outer: &Range<usize>, inner: Range<usize>) -> Range<usize> {
    outer.start + inner.start..outer.start + inner.end
}

/// A value as it stands, a null included, which `Option` would swallow.
pub(super) fn even_null<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'de RawValue>, D::Error> {
    serde::Deserialize::deserialize(deserializer).map(Some)
}

/// What stands at `place` in `body`, which was read without a fault.
pub(super) fn part<'b>(body: &'b [u8], place: Option<&Range<usize>>) -> Option<&'b str> {
    std::str::from_utf8(body.get(place?.clone())?).ok()
}

/// The value of a field that may be null or absent.
fn optional<T: serde::de::DeserializeOwned>(
    raw: Option<&str>,
    param: &'static str,
    wanted: &'static str,
) -> Result<Option<T>, Refusal> {
    raw.filter(|raw| *raw != "null").map(|raw| read(raw, param, wanted)).transpose()
}

fn read<T: serde::de::DeserializeOwned>(
    raw: &str,
    param: &'static str,
    wanted: &'static str,
) -> Result<T, Refusal> {
    serde_json::from_str(raw).map_err(|_| wrong(param, wanted))
}

pub(super) fn wrong(param: &'static str, wanted: &'static str) -> Refusal {
    Refusal::new(Code::InvalidValue, format!("Invalid value for '{param}': it must be {wanted}."))
        .param(param)
}

fn not_taken(fault: &Fault) -> Refusal {
    let what = match fault.what {
        What::Malformed => "it is malformed",
        What::EndsEarly => "it ends too early",
        What::NotUtf8 => "it is not UTF-8",
        What::TooDeep => "it nests deeper than 128 levels",
    };
    not_json(what, fault.at)
}

fn not_json(what: &str, at: usize) -> Refusal {
    Refusal::new(
        Code::InvalidJson,
        format!("The body could not be read as JSON: {what} (offset {at})."),
    )
}

#[cfg(test)]
mod tests;
