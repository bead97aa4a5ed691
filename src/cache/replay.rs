//! A stored stream for a caller that wants a whole answer, and the reverse.
//!
//! Sources: OpenAI API reference, "The chat completion object", "The chat
//! completion chunk object" and "The completion object"; the rules by which
//! deltas add up are those of the official SDK (openai-python,
//! `lib/streaming/_deltas.py`).
//!
//! `id`, `created` and every field that is not known here are kept as stored;
//! numbers keep their spelling.

mod merge;
mod message;
mod node;

use bytes::Bytes;

use crate::base::sse::{self, Piece, Splitter};
use crate::cache::entry::LARGEST;
use merge::{Place, add};
use node::{Members, Node, items, members, null, text};

/// Which answers can be given in the other form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Chat completions.
    Chat,
    /// Completions, the older kind.
    Completion,
    /// Anthropic's messages.
    Message,
    /// Anything else: only as it was stored.
    Fixed,
}

/// The event that ends a stream of completions.
const DONE: &[u8] = b"data: [DONE]\n\n";

/// The whole answer that a stream of `events` amounts to. `None` if there is no
/// such form, or an event is not what the API describes.
pub fn to_whole(shape: Shape, events: &Bytes) -> Option<Bytes> {
    let object = match shape {
        Shape::Chat => "chat.completion",
        Shape::Completion => "text_completion",
        Shape::Message => return message::to_whole(&split(events)?),
        Shape::Fixed => return None,
    };
    let events = split(events)?;
    let mut whole = Sum::default();
    for event in &events {
        let Some(data) = sse::data(event) else { continue };
        if data.trim_ascii() != b"[DONE]" {
            // A copy: the texts that the sum keeps must outlive the event.
            whole.add(&members(std::str::from_utf8(&data).ok()?)?, shape)?;
        }
    }
    let node = whole.finish(shape, object)?;
    serde_json::to_vec(&node).ok().map(Bytes::from)
}

/// The events that a whole answer amounts to, `[DONE]` included; with the usage
/// only if `with_usage`. `None` if there is no such form, or the answer is not
/// what the API describes.
pub fn to_stream(shape: Shape, whole: &[u8], with_usage: bool) -> Option<Bytes> {
    let whole = members(std::str::from_utf8(whole).ok()?)?;
    if shape == Shape::Message {
        return message::to_stream(&whole);
    }
    let mut chunks = Chunks { top: Vec::new(), usage: with_usage, out: Vec::new() };
    let (mut choices, mut usage) = (None, None);
    for (name, value) in &whole {
        match &**name {
            "choices" => choices = Some(value),
            "usage" => usage = Some(value).filter(|value| !null(value)),
            "object" if shape == Shape::Chat => {
                chunks.top.push((name.to_string(), Node::Text("chat.completion.chunk".to_owned())));
            }
            _ => chunks.top.push((name.to_string(), Node::Raw(value))),
        }
    }
    for (place, choice) in items(choices?)?.into_iter().enumerate() {
        match shape {
            Shape::Chat => chunks.chat_choice(place, &members(choice)?)?,
            Shape::Completion => chunks.push(Some(Node::Raw(choice)), None)?,
            Shape::Message | Shape::Fixed => return None,
        }
    }
    if let Some(usage) = usage.filter(|_| with_usage) {
        chunks.push(None, Some(Node::Raw(usage)))?;
    }
    chunks.out.extend_from_slice(DONE);
    Some(Bytes::from(chunks.out))
}

/// The events of a stream; `None` if it holds anything else.
fn split(events: &Bytes) -> Option<Vec<Bytes>> {
    let mut splitter = Splitter::new(LARGEST);
    splitter.push(events.clone());
    let mut found = Vec::new();
    while let Some(piece) = splitter.next_piece().or_else(|| splitter.finish()) {
        match piece {
            Piece::Event(event) => found.push(event),
            Piece::Raw(_) => return None,
        }
    }
    Some(found)
}

/// Writes the data line of an event, and the end of the event.
fn write_data(out: &mut Vec<u8>, data: &Node<'_>) -> Option<()> {
    out.extend_from_slice(b"data: ");
    let start = out.len();
    serde_json::to_writer(&mut *out, data).ok()?;
    // A line end in JSON is white space, but it would end the event's line.
    for byte in out.get_mut(start..).into_iter().flatten() {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    out.extend_from_slice(b"\n\n");
    Some(())
}

/// What the chunks of a stream add up to so far.
#[derive(Default)]
struct Sum {
    top: Vec<(String, Node<'static>)>,
    choices: Vec<(u64, Vec<(String, Node<'static>)>)>,
    usage: Option<Node<'static>>,
}

impl Sum {
    fn add(&mut self, chunk: &Members<'_>, shape: Shape) -> Option<()> {
        for (name, value) in chunk {
            match &**name {
                "choices" => {
                    for choice in items(value)? {
                        self.add_choice(&members(choice)?, shape)?;
                    }
                }
                "usage" if null(value) => {}
                "usage" => self.usage = Some(Node::owned(value)?),
                // Padding against the guessing of lengths, no part of the answer.
                "obfuscation" | "object" => {}
                "error" if !null(value) => return None,
                name => add(&mut self.top, name, value, Place::Once, 0)?,
            }
        }
        Some(())
    }

    fn add_choice(&mut self, choice: &Members<'_>, shape: Shape) -> Option<()> {
        let index = choice.iter().find(|(name, _)| name == "index");
        let index: u64 = index.map_or(Some(0), |(_, value)| value.parse().ok())?;
        let at = match self.choices.binary_search_by_key(&index, |(index, _)| *index) {
            Ok(at) => at,
            Err(at) => {
                self.choices.insert(at, (index, Vec::new()));
                at
            }
        };
        let (_, sum) = self.choices.get_mut(at)?;
        for (name, value) in choice {
            match (shape, &**name) {
                (Shape::Chat, "delta") => add(sum, "message", value, Place::Delta, 0)?,
                (Shape::Completion, "text") => add(sum, "text", value, Place::Delta, 0)?,
                (_, "logprobs") => add(sum, "logprobs", value, Place::Delta, 0)?,
                (_, name) => add(sum, name, value, Place::Last, 0)?,
            }
        }
        Some(())
    }

    fn finish(self, shape: Shape, object: &str) -> Option<Node<'static>> {
        if self.choices.is_empty() {
            return None;
        }
        let mut whole = self.top;
        let place = whole.len().min(1);
        whole.insert(place, ("object".to_owned(), Node::Text(object.to_owned())));
        let choices = self.choices.into_iter().map(|(_, mut choice)| {
            if shape == Shape::Chat {
                complete_message(&mut choice);
            }
            Node::Object(choice)
        });
        whole.push(("choices".to_owned(), Node::List(choices.collect())));
        whole.extend(self.usage.map(|usage| ("usage".to_owned(), usage)));
        Some(Node::Object(whole))
    }
}

/// Gives a message what every message has, and takes from its tool calls the
/// `index` that only deltas have.
fn complete_message(choice: &mut Vec<(String, Node<'static>)>) {
    let position = choice.iter().position(|(name, _)| name == "message");
    let mut message = match position.map(|at| choice.remove(at)) {
        Some((_, Node::Object(message))) => message,
        _ => Vec::new(),
    };
    let has = |message: &[(String, Node<'_>)], wanted: &str| {
        message.iter().any(|(name, _)| name == wanted)
    };
    if !has(&message, "role") {
        message.insert(0, ("role".to_owned(), Node::Text("assistant".to_owned())));
    }
    if !has(&message, "content") {
        message.push(("content".to_owned(), Node::NULL));
    }
    for (name, value) in &mut message {
        if let (true, Node::List(calls)) = (name == "tool_calls", value) {
            for call in calls {
                if let Node::Object(call) = call {
                    call.retain(|(name, _)| name != "index");
                }
            }
        }
    }
    choice.insert(position.unwrap_or(0), ("message".to_owned(), Node::Object(message)));
}

/// Chunks in the making.
struct Chunks<'a> {
    /// What every chunk says.
    top: Vec<(String, Node<'a>)>,
    /// Whether chunks say that they have no usage.
    usage: bool,
    out: Vec<u8>,
}

impl<'a> Chunks<'a> {
    /// Adds a chunk of one choice, or of none.
    fn push(&mut self, choice: Option<Node<'a>>, usage: Option<Node<'a>>) -> Option<()> {
        let mut chunk = self.top.clone();
        chunk.push(("choices".to_owned(), Node::List(choice.into_iter().collect())));
        if self.usage {
            chunk.push(("usage".to_owned(), usage.unwrap_or(Node::NULL)));
        }
        write_data(&mut self.out, &Node::Object(chunk))
    }

    /// The chunks of one choice: who speaks, the text, each tool call, the end.
    fn chat_choice(&mut self, place: usize, choice: &Members<'a>) -> Option<()> {
        let (mut index, mut message, mut logprobs) = (None, None, None);
        let mut end = Vec::new();
        for (name, value) in choice {
            match &**name {
                "index" => index = Some(*value),
                "message" => message = Some(members(value)?),
                "logprobs" => logprobs = Some(*value),
                _ => end.push((name.to_string(), Node::Raw(value))),
            }
        }
        let index = index.map_or_else(|| Node::Number(place as u64), Node::Raw);
        let Said { opening, content, calls } = Said::of(&message?)?;
        let mut deltas = vec![opening];
        deltas.extend(content.map(|content| vec![("content".to_owned(), content)]));
        // Log probabilities belong to the text, where there is one.
        let carrier = deltas.len() - 1;
        deltas.extend(
            calls
                .into_iter()
                .map(|call| vec![("tool_calls".to_owned(), Node::List(vec![Node::Object(call)]))]),
        );
        for (number, delta) in deltas.into_iter().enumerate() {
            let mut part = vec![("index".to_owned(), index.clone())];
            part.push(("delta".to_owned(), Node::Object(delta)));
            if let Some(logprobs) = logprobs {
                let value = if number == carrier { Node::Raw(logprobs) } else { Node::NULL };
                part.push(("logprobs".to_owned(), value));
            }
            part.push(("finish_reason".to_owned(), Node::NULL));
            self.push(Some(Node::Object(part)), None)?;
        }
        let mut part = vec![("index".to_owned(), index)];
        part.push(("delta".to_owned(), Node::Object(Vec::new())));
        if logprobs.is_some() {
            part.push(("logprobs".to_owned(), Node::NULL));
        }
        part.extend(end);
        self.push(Some(Node::Object(part)), None)
    }
}

/// A message, taken apart for its deltas.
struct Said<'a> {
    /// Who speaks, and all that comes in one piece.
    opening: Vec<(String, Node<'a>)>,
    /// The text, if there is one.
    content: Option<Node<'a>>,
    /// The tool calls, each with its place.
    calls: Vec<Vec<(String, Node<'a>)>>,
}

impl<'a> Said<'a> {
    fn of(message: &Members<'a>) -> Option<Self> {
        let mut said = Self { opening: Vec::new(), content: None, calls: Vec::new() };
        for (name, value) in message {
            match &**name {
                "content" if text(value) => {
                    said.opening.push((name.to_string(), Node::Text(String::new())));
                    said.content = (value.len() > 2).then_some(Node::Raw(value));
                }
                "tool_calls" if items(value).is_some_and(|calls| !calls.is_empty()) => {
                    for (place, call) in items(value)?.into_iter().enumerate() {
                        let mut part = vec![("index".to_owned(), Node::Number(place as u64))];
                        let call = members(call)?.into_iter().filter(|(name, _)| name != "index");
                        part.extend(
                            call.map(|(name, value)| (name.into_owned(), Node::Raw(value))),
                        );
                        said.calls.push(part);
                    }
                }
                _ => said.opening.push((name.to_string(), Node::Raw(value))),
            }
        }
        Some(said)
    }
}

#[cfg(test)]
mod tests;
