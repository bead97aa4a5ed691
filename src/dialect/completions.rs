//! OpenAI's legacy Completions: a prompt and what follows it.
//!
//! Source: OpenAI API reference, "Completions". To a model that talks, the
//! prompt is what the user says.

use bytes::{Bytes, BytesMut};

use crate::dialect::Translation;
use crate::dialect::form::{
    Answer, Content, Delta, Event, Ids, Message, Part, Request, Role, SAMPLING, Stop, Usage,
    is_usual,
};
use crate::dialect::json::{self, Fields, Node, Object};
use crate::dialect::loss::{Bad, Checked, Losses};
use crate::dialect::openai::{DONE, finish_reason, read_stop, usage};

/// The longest answer where the client sets no limit: as this API has it.
const MAX_TOKENS: u64 = 16;
/// Fields that change no answer. `stream_options` is one of them as the usage is
/// always asked for.
const HARMLESS: [&str; 3] = ["stream_options", "service_tier", "metadata"];

/// Reads the request `body`.
///
/// A prompt in tokens, several prompts in one request and `logprobs` (which
/// count otherwise than Chat's) have no equal anywhere.
pub(super) fn read_request(body: &[u8], losses: &mut Losses) -> Checked<Request> {
    let mut fields = Fields::body(body)?;
    fields.ignore(&HARMLESS);
    fields.text("model")?;
    let prompt = fields.take("prompt").ok_or_else(|| fields.missing("prompt"))?;
    let prompt = match (json::as_text(prompt), serde_json::from_str::<Vec<String>>(prompt.get())) {
        (Some(text), _) => text,
        (None, Ok(texts)) if texts.len() == 1 => texts.concat(),
        (None, Ok(_)) => {
            losses.lose("prompt")?;
            return Err(Bad::invalid("prompt", "This must be one text."));
        }
        (None, Err(_)) => {
            let message = "This must be a string; tokens mean nothing to another provider.";
            return Err(Bad::invalid("prompt", message));
        }
    };
    for name in ["echo", "best_of"] {
        let usual = |value: &str| matches!((name, value), ("echo", "false") | ("best_of", "1"));
        if fields.take(name).is_some_and(|value| !usual(value.get())) {
            losses.lose(name)?;
        }
    }
    let mut form = Request {
        messages: vec![Message::of(Role::User, "prompt".to_owned(), vec![Part::text(prompt)])],
        max_tokens: Some(fields.integer("max_tokens")?.unwrap_or(MAX_TOKENS)),
        stop: read_stop(&mut fields)?,
        user: fields.text("user")?,
        stream: fields.flag("stream")?.unwrap_or(false),
        ..Request::default()
    };
    for name in SAMPLING {
        // These are other things in Chat, or nothing here.
        if !matches!(name, "logprobs" | "top_logprobs" | "verbosity") {
            let value = fields.keep(name).filter(|value| !is_usual(name, value));
            form.sampling.extend(value.map(|value| (name, value)));
        }
    }
    fields.finish(losses)?;
    Ok(form)
}

/// Writes `answer`: its texts.
pub(super) fn write_answer(answer: &Answer, to: &Translation) -> Bytes {
    let choices = answer.choices.iter().zip(0_u64..).map(|(given, index)| {
        let text = given.parts.iter().filter_map(|part| match part {
            Content::Text(text) | Content::Refusal(text) => Some(text.as_str()),
            _ => None,
        });
        choice(index, text.collect::<String>(), Some(&given.stop))
    });
    top(&to.ids.answer("cmpl-", answer.id.as_deref()), to.created.as_secs(), &to.model)
        .with("choices", choices.collect::<Node<'_>>())
        .maybe("usage", answer.usage.as_ref().map(usage))
        .to_bytes()
}

fn top<'a>(id: &'a str, created: u64, model: &'a str) -> Object<'a> {
    Object::new()
        .with("id", id)
        .with("object", "text_completion")
        .with("created", created)
        .with("model", model)
}

fn choice<'a>(index: u64, text: impl Into<Node<'a>>, stop: Option<&Stop>) -> Object<'a> {
    // A call that nobody asked for is an end like another.
    let reason = stop.map(|stop| match stop {
        Stop::Tools => "stop",
        stop => finish_reason(stop),
    });
    Object::new()
        .with("text", text)
        .with("index", index)
        .with("logprobs", Node::Null)
        .with("finish_reason", reason)
}

/// Writes the events of a stream.
#[derive(Debug)]
pub(super) struct Writer {
    ids: Ids,
    id: String,
    created: u64,
    model: String,
    usage: Option<Usage>,
}

impl Writer {
    /// A writer of the answers to one request.
    pub(super) fn new(to: &Translation) -> Self {
        Self {
            ids: to.ids.clone(),
            id: to.ids.answer("cmpl-", None),
            created: to.created.as_secs(),
            model: to.model.clone(),
            usage: None,
        }
    }

    /// Writes what `event` comes to.
    pub(super) fn write(&mut self, event: Event, out: &mut BytesMut) {
        match event {
            Event::Start { id, usage } => {
                self.id = self.ids.answer("cmpl-", id.as_deref());
                self.usage = usage;
            }
            Event::Delta { choice: index, delta: Delta::Text(text) | Delta::Refusal(text) } => {
                self.chunk(choice(index, text, None), out);
            }
            Event::Stop { choice: index, stop } => self.chunk(choice(index, "", Some(&stop)), out),
            Event::Usage(usage) => self.usage = Some(usage),
            Event::End => {
                if let Some(used) = &self.usage {
                    let end = top(&self.id, self.created, &self.model).with("choices", Vec::new());
                    end.with("usage", usage(used)).write_event(None, out);
                }
                out.extend_from_slice(DONE);
            }
            Event::Delta { .. } | Event::Logprobs { .. } | Event::Failed { .. } => {}
        }
    }

    fn chunk(&self, choice: Object<'_>, out: &mut BytesMut) {
        let chunk = top(&self.id, self.created, &self.model).with("choices", vec![choice.into()]);
        chunk.write_event(None, out);
    }
}
