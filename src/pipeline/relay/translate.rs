//! Targets that speak another dialect than the client: what goes out to each, and
//! the way back of its answers.
//!
//! Whoever reads an answer (the meter, the cache, other callers) sees the client's
//! dialect alone: a reply's body is translated while it is read.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::json;

use crate::base::percent;
use crate::config::{self, Provider, Target};
use crate::dialect::{self, Bad, Dialect, Events, OnUnsupported, To, Translation};
use crate::intake::endpoint::Endpoint;
use crate::meter::estimate;
use crate::pipeline::relay::adapt;
use crate::pipeline::relay::attempt::Called;
use crate::pipeline::relay::is_event_stream;
use crate::pipeline::relay::pilot::Flying;
use crate::refusal::{Code, Refusal};
use crate::upstream::{BodyError, Recode, Reply};

/// Largest whole answer that is translated, in bytes.
const LARGEST: usize = 64 * 1024 * 1024;
/// What the client's headers say of its own dialect alone.
const OF_A_DIALECT: [HeaderName; 3] = [
    HeaderName::from_static("openai-beta"),
    HeaderName::from_static("anthropic-beta"),
    HeaderName::from_static("anthropic-version"),
];
/// The headers of an answer that mean the same in every dialect.
const OF_ALL_DIALECTS: [HeaderName; 3] = [
    RETRY_AFTER,
    HeaderName::from_static("retry-after-ms"),
    HeaderName::from_static("x-should-retry"),
];
/// How a translated chat asks for a stream's usage, as its last member.
const USAGE: &[u8] = b",\"stream_options\":{\"include_usage\":true}}";

/// What goes out to one target.
pub(super) struct Order<'o> {
    /// The path under the provider's base.
    pub(super) path: Cow<'static, str>,
    pub(super) query: Option<&'o str>,
    /// The client's headers that go along, where not all do.
    pub(super) headers: Option<HeaderMap>,
    pub(super) body: Vec<Bytes>,
    /// Whether Tollgate asks for a stream's usage in it, and the client does not.
    pub(super) asked: bool,
    /// The way back, where the target speaks another dialect.
    pub(super) answers: Option<Translation>,
    /// What the target lacks of the client's request, as the client calls it.
    pub(super) dropped: Vec<String>,
}

/// How a provider can serve an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It has the endpoint itself.
    Same,
    /// By a request of its own dialect.
    Across(Dialect, Dialect),
    /// It need not be asked: tokens are counted here.
    Counted,
    /// Not at all.
    No,
}

impl Way {
    fn of(provider: &Provider, endpoint: Endpoint) -> Self {
        let speaks = match provider.dialect {
            config::Dialect::OpenAi | config::Dialect::Sandbox => Dialect::Chat,
            config::Dialect::Anthropic => Dialect::Messages,
            config::Dialect::Gemini => Dialect::Gemini,
        };
        let asked = match endpoint {
            Endpoint::ChatCompletions => Dialect::Chat,
            Endpoint::Completions => Dialect::Completions,
            Endpoint::Responses => Dialect::Responses,
            Endpoint::Messages => Dialect::Messages,
            Endpoint::CountTokens if speaks == Dialect::Messages => return Self::Same,
            Endpoint::CountTokens => return Self::Counted,
            Endpoint::Embeddings if speaks == Dialect::Chat => return Self::Same,
            Endpoint::Embeddings => return Self::No,
        };
        let same = match speaks {
            Dialect::Chat => match asked {
                Dialect::Responses => !provider.manner.lacks_responses,
                _ => asked != Dialect::Messages,
            },
            _ => asked == speaks,
        };
        if same { Self::Same } else { Self::Across(asked, speaks) }
    }
}

/// What goes out to targets, by their places, as far as it is known already.
pub(super) type Orders<'o> = Vec<(usize, Order<'o>)>;

/// Who can serve a request.
pub(super) enum Suited<'o> {
    /// The targets that are left.
    Targets(Orders<'o>),
    /// No provider has to be asked: the answer.
    Nobody(Reply),
}

impl<'a> Flying<'a> {
    /// Leaves out the targets that cannot express the request, if others can.
    ///
    /// # Errors
    /// The refusal if no target can express it.
    pub(super) fn suit(&mut self) -> Result<Suited<'a>, Refusal> {
        let width = self.route.width();
        let targets = || (0..width).filter_map(|place| self.route.target(place));
        let ways = || targets().map(|target| Way::of(&target.provider, self.endpoint));
        let mut orders = Vec::new();
        if ways().all(|way| way == Way::Same) {
            return Ok(Suited::Targets(orders));
        }
        if self.endpoint == Endpoint::CountTokens && !ways().any(|way| way == Way::Same) {
            return Ok(Suited::Nobody(self.counted()));
        }
        if width == 1 {
            return Ok(Suited::Targets(orders));
        }
        let mut unsuited = Vec::new();
        let mut refusal = None;
        for (place, target) in targets().enumerate() {
            // One that makes fewer samples is asked for one alone, another body.
            if !self.course.makes(target) {
                continue;
            }
            match self.order(target, true) {
                Ok(order) => orders.push((place, order)),
                Err(why) => {
                    unsuited.push(place);
                    refusal.get_or_insert(why);
                }
            }
        }
        match refusal {
            Some(refusal) if unsuited.len() == width => Err(refusal),
            _ => {
                self.course.leave_out(unsuited);
                Ok(Suited::Targets(orders))
            }
        }
    }

    /// The answer to a count of tokens that no provider makes.
    fn counted(&self) -> Reply {
        let tokens = estimate::prompt_tokens(self.endpoint.path(), self.request.body());
        let body = json!({ "input_tokens": tokens }).to_string();
        Reply::made(200, "application/json", vec![Bytes::from(body)])
    }

    /// The request as it goes to `target`; `usage` is whether the server may be
    /// asked for a stream's usage.
    ///
    /// # Errors
    /// 400 `unsupported_field` if the target cannot express it, 400 `invalid_value`
    /// if it is wrong in its own dialect.
    pub(super) fn order(&self, target: &Target, usage: bool) -> Result<Order<'a>, Refusal> {
        match Way::of(&target.provider, self.endpoint) {
            Way::Same => {
                let usage = usage && self.endpoint.usage_on_request();
                let path = self.endpoint.path();
                Ok(Order {
                    path: self.placed(target, path.strip_prefix("/v1").unwrap_or(path).into())?,
                    query: self.query,
                    headers: None,
                    body: self.own_words(target, usage),
                    asked: usage && self.request.stream && !self.request.asks_usage(),
                    answers: None,
                    dropped: Vec::new(),
                })
            }
            Way::Across(from, to) => self.translated(target, from, to, usage),
            Way::Counted | Way::No => Err(unsupported("model", "The model has nothing like this.")),
        }
    }

    /// The client's body for a target of its own dialect.
    fn own_words(&self, target: &Target, usage: bool) -> Vec<Bytes> {
        let outgoing = self.request.outgoing(self.route.name_at(target), usage);
        let wording = target.provider.manner.wording;
        if wording.changes_chats() && self.endpoint == Endpoint::ChatCompletions {
            return vec![adapt::adapted(outgoing.joined(), &wording)];
        }
        outgoing.pieces
    }

    fn translated(
        &self,
        target: &Target,
        from: Dialect,
        to: Dialect,
        usage: bool,
    ) -> Result<Order<'a>, Refusal> {
        let on = match self.snapshot.config.routing.drop_unsupported {
            true => OnUnsupported::Drop,
            false => OnUnsupported::Refuse,
        };
        let body = self.request.outgoing(None, false).joined();
        let wording = target.wording();
        let model = self.route.model_at(target);
        let to = To { dialect: to, model, wording: &wording };
        let translated = dialect::request(from, &to, &body, on);
        let translated = translated.map_err(|bad| match &bad {
            Bad::Unsupported(_) => unsupported(bad.param().to_owned(), bad.to_string()),
            Bad::Invalid { param, .. } => {
                Refusal::new(Code::InvalidValue, bad.to_string()).param(param.clone())
            }
        })?;
        let asked = translated.body.ends_with(USAGE);
        let body = if usage { translated.body } else { without_usage(&translated.body) };
        let mut headers = self.headers.clone();
        for name in &OF_A_DIALECT {
            headers.remove(name);
        }
        Ok(Order {
            path: self.placed(target, translated.path.into())?,
            query: translated.query,
            headers: Some(headers),
            body: vec![body],
            asked: asked && usage,
            answers: Some(translated.answers.at(self.app.clock.wall())),
            dropped: translated.dropped,
        })
    }

    /// The path of an endpoint at `target`, whose server may have another in front
    /// that names the model.
    fn placed(
        &self,
        target: &Target,
        path: Cow<'static, str>,
    ) -> Result<Cow<'static, str>, Refusal> {
        let front = target.provider.manner.model_path.as_deref();
        let Some(front) = front.filter(|_| path != "/responses") else { return Ok(path) };
        let model = self.route.model_at(target);
        if matches!(model, "" | "." | "..") {
            return Err(Refusal::new(Code::ModelNotFound, "There is no such model.").param("model"));
        }
        Ok((front.replace("{model}", &percent::segment(model)) + &path).into())
    }
}

/// Puts the answer of a target that speaks another dialect into the client's.
pub(super) fn back(called: Called, answers: Option<Translation>) -> Called {
    let (called, answers) = match (called, answers) {
        (Called::Reply(reply), Some(answers)) => (reply, answers),
        (called, _) => return called,
    };
    let status = called.status;
    if !(status.is_success() || status.is_client_error()) {
        return Called::Reply(called);
    }
    let mut headers = HeaderMap::with_capacity(4);
    for name in OF_ALL_DIALECTS {
        if let Some(value) = called.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    let streams = status.is_success() && is_event_stream(&called.headers);
    let kind = if streams { "text/event-stream; charset=utf-8" } else { "application/json" };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    let recode: Box<dyn Recode> = match streams {
        true => Box::new(Streamed(answers.events())),
        false => Box::new(Whole { status, answers, read: BytesMut::new() }),
    };
    Called::Reply(called.recoded(headers, recode))
}

/// A stream on its way from dialect to dialect.
struct Streamed(Events);

impl Recode for Streamed {
    fn push(&mut self, piece: &[u8], out: &mut BytesMut) -> Result<(), BodyError> {
        self.0.push(piece, out).map_err(|_| BodyError::Garbled)
    }

    fn end(&mut self, out: &mut BytesMut) -> Result<(), BodyError> {
        self.0.end(out).map_err(|_| BodyError::Cut)
    }
}

/// A whole answer, or a refusal, that is translated at its end.
struct Whole {
    status: StatusCode,
    answers: Translation,
    read: BytesMut,
}

impl Recode for Whole {
    fn push(&mut self, piece: &[u8], _: &mut BytesMut) -> Result<(), BodyError> {
        if self.read.len() + piece.len() > LARGEST {
            return Err(BodyError::Cut);
        }
        self.read.extend_from_slice(piece);
        Ok(())
    }

    fn end(&mut self, out: &mut BytesMut) -> Result<(), BodyError> {
        let read = std::mem::take(&mut self.read);
        let body = match self.status.is_success() {
            true => self.answers.whole(&read).map_err(|_| BodyError::Garbled)?,
            false => self.answers.refusal(self.status.as_u16(), &read),
        };
        out.extend_from_slice(&body);
        Ok(())
    }
}

/// `body`, a chat's, without its wish for a stream's usage.
fn without_usage(body: &Bytes) -> Bytes {
    match body.strip_suffix(USAGE) {
        Some(rest) => [rest, b"}"].concat().into(),
        None => body.clone(),
    }
}

fn unsupported(
    param: impl Into<Cow<'static, str>>,
    message: impl Into<Cow<'static, str>>,
) -> Refusal {
    Refusal::new(Code::UnsupportedField, message).param(param)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_translated_stream_asks_for_usage_and_can_do_without() {
        let body = br#"{"model":"m","max_tokens":9,"stream":true,"messages":[{"role":"user","content":",\"stream_options\":{\"include_usage\":true}}"}]}"#;
        let on = OnUnsupported::Refuse;
        let wording = config::Wording::default();
        let to = To { dialect: Dialect::Chat, model: "m", wording: &wording };
        let chat = dialect::request(Dialect::Messages, &to, body, on).unwrap().body;
        let asking: serde_json::Value = serde_json::from_slice(&chat).unwrap();
        assert_eq!(asking["stream_options"], json!({"include_usage": true}));
        let without: serde_json::Value = serde_json::from_slice(&without_usage(&chat)).unwrap();
        assert_eq!(without["stream_options"], serde_json::Value::Null);
        assert_eq!(without["messages"], asking["messages"]);
        let whole = Bytes::from_static(b"{\"model\":\"m\"}");
        assert_eq!(without_usage(&whole), whole);
    }
}
