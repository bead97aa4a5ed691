//! The ways of speaking to a model, and the way from each to each.
//!
//! A request is read into one internal form (`form/`) and written out of it;
//! so are answers and the events of streams. A dialect knows the form alone and
//! no other dialect. Clients speak Chat Completions, Completions, Responses and
//! Messages; providers speak Chat Completions, Messages and Gemini.
//!
//! Nothing here does input or output, and nothing is kept between requests.
//! What goes from a client to a provider of its own dialect never comes here.

mod chat;
mod completions;
mod form;
mod gemini;
mod json;
mod loss;
mod messages;
mod openai;
mod refusal;
mod responses;
mod stream;

use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;

pub use loss::{Bad, Garbled, OnUnsupported, Unsupported};
pub use stream::Events;

use crate::base::clock::Timestamp;
use crate::config::Wording;
use form::{Answer, Ids, Request};
use loss::{Checked, Losses};

/// A way of speaking to a model. The client's follows from the endpoint, the
/// provider's from the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// OpenAI's Chat Completions, and what is compatible with it.
    Chat,
    /// OpenAI's legacy Completions. Clients only.
    Completions,
    /// OpenAI's Responses, without state. Clients only.
    Responses,
    /// Anthropic's Messages.
    Messages,
    /// Google's Gemini, `generateContent`. Providers only.
    Gemini,
}

/// A request in the provider's dialect, and what its answers need.
#[derive(Clone, Debug)]
pub struct Translated {
    /// The path under the provider's base URL, such as `/messages`.
    pub path: String,
    /// The query that the provider needs, such as `alt=sse`.
    pub query: Option<&'static str>,
    /// The body, JSON.
    pub body: Bytes,
    /// Translates the answers.
    pub answers: Translation,
    /// The first 64 of the fields that were dropped as the provider's dialect
    /// has no such thing; empty unless [`OnUnsupported::Drop`] was asked.
    pub dropped: Vec<String>,
}

/// Who is to answer a request.
#[derive(Clone, Copy, Debug)]
pub struct To<'a> {
    /// What the provider speaks.
    pub dialect: Dialect,
    /// The provider's own name of the model.
    pub model: &'a str,
    /// How it wants requests to be worded.
    pub wording: &'a Wording,
}

/// What the answers to one request need to know of it.
#[derive(Clone, Debug)]
pub struct Translation {
    client: Dialect,
    provider: Dialect,
    /// The provider's own name of the model.
    model: String,
    /// When the answer was made, for dialects that say so.
    created: Timestamp,
    /// Whether the text of the answer comes as the call of
    /// [`form::ANSWER_TOOL`].
    answer_tool: bool,
    /// The ids of what the provider gives none.
    ids: Ids,
    /// What the answers repeat of the request.
    echo: Arc<[(&'static str, Box<RawValue>)]>,
}

/// The request `body`, which a client wrote in dialect `from`, for the model `to`.
///
/// # Errors
/// [`Bad::Unsupported`] for a field that `to` cannot express, unless `on` says
/// to drop it, and for pairs of dialects between which there is no way;
/// [`Bad::Invalid`] for what is no request in `from`.
pub fn request(
    from: Dialect,
    to: &To<'_>,
    body: &[u8],
    on: OnUnsupported,
) -> Result<Translated, Bad> {
    let mut losses = Losses::new(from, on);
    let mut form = from.read_request(body, &mut losses)?;
    if form.messages.iter().all(|message| message.parts.is_empty()) {
        return Err(Bad::invalid(from.turns(), "There is nothing to answer."));
    }
    let answers = Translation {
        client: from,
        provider: to.dialect,
        model: to.model.to_owned(),
        created: Timestamp::default(),
        answer_tool: to.dialect == Dialect::Messages && form.format.is_some(),
        ids: Ids::new(),
        echo: std::mem::take(&mut form.echo).into(),
    };
    let (path, query, body) = to.dialect.write_request(&form, to, &mut losses)?;
    Ok(Translated { path, query, body, answers, dropped: losses.dropped() })
}

impl Translation {
    /// The same for an answer made at `now`: the providers of some dialects do
    /// not say when that was, and the clients of others are told.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Self {
        Self { created: now, ..self }
    }

    /// The whole answer `body`, of a status of 2xx, in the client's dialect.
    ///
    /// # Errors
    /// If it is no answer in the provider's dialect.
    pub fn whole(&self, body: &[u8]) -> Result<Bytes, Garbled> {
        let mut answer = self.provider.read_answer(body, &self.ids)?;
        if self.answer_tool {
            answer.unwrap_answer_tool();
        }
        Ok(self.client.write_answer(&answer, self)?)
    }

    /// The provider's refusal `body` of status `status` in the client's shape.
    /// Its message is kept, without addresses and what looks like a key.
    pub fn refusal(&self, status: u16, body: &[u8]) -> Bytes {
        refusal::translate(self.client, status, body)
    }

    /// A translator for the events of one streamed answer.
    pub fn events(&self) -> Events {
        Events::new(self)
    }
}

/// What is written: path, query and body.
type Written = (String, Option<&'static str>, Bytes);

impl Dialect {
    fn read_request(self, body: &[u8], losses: &mut Losses) -> Checked<Request> {
        match self {
            Self::Chat => chat::read_request(body, losses),
            Self::Completions => completions::read_request(body, losses),
            Self::Responses => responses::read_request(body, losses),
            Self::Messages => messages::read_request(body, losses),
            Self::Gemini => Err(self.no_client()),
        }
    }

    fn write_request(self, form: &Request, to: &To<'_>, losses: &mut Losses) -> Checked<Written> {
        match self {
            Self::Chat => chat::write_request(form, to, losses),
            Self::Messages => messages::write_request(form, to, losses),
            Self::Gemini => gemini::write_request(form, to, losses),
            Self::Completions | Self::Responses => Err(self.no_provider()),
        }
    }

    fn read_answer(self, body: &[u8], ids: &Ids) -> Checked<Answer> {
        match self {
            Self::Chat => chat::read_answer(body, ids),
            Self::Messages => messages::read_answer(body),
            Self::Gemini => gemini::read_answer(body, ids),
            Self::Completions | Self::Responses => Err(self.no_provider()),
        }
    }

    fn write_answer(self, answer: &Answer, to: &Translation) -> Checked<Bytes> {
        match self {
            Self::Chat => Ok(chat::write_answer(answer, to)),
            Self::Completions => Ok(completions::write_answer(answer, to)),
            Self::Responses => responses::write_answer(answer, to),
            Self::Messages => messages::write_answer(answer, to),
            Self::Gemini => Err(self.no_client()),
        }
    }

    /// The field that a client's turns stand in.
    const fn turns(self) -> &'static str {
        match self {
            Self::Completions => "prompt",
            Self::Responses => "input",
            Self::Chat | Self::Messages | Self::Gemini => "messages",
        }
    }

    /// How clients of this dialect call what the form calls `field`.
    const fn name_of(self, field: &str) -> &str {
        match (self, field.as_bytes()) {
            (Self::Messages, b"stop") => "stop_sequences",
            (Self::Messages, b"parallel_tool_calls") => "tool_choice.disable_parallel_tool_use",
            (Self::Messages, b"reasoning") => "thinking",
            (Self::Responses, b"reasoning") => "reasoning.effort",
            (_, b"reasoning") => "reasoning_effort",
            _ => field,
        }
    }

    fn no_client(self) -> Bad {
        let message = format!("No client speaks {self:?} to a provider of another dialect.");
        Bad::Unsupported(Unsupported { param: "model".to_owned(), message })
    }

    fn no_provider(self) -> Bad {
        let message = format!("No provider is translated to {self:?}.");
        Bad::Unsupported(Unsupported { param: "model".to_owned(), message })
    }
}

#[cfg(test)]
mod tests;
