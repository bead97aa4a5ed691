//! Reads and writes the events of a streamed message.

use bytes::BytesMut;

use crate::base::sse;
use crate::dialect::Translation;
use crate::dialect::form::{Delta, Event, Ids, Stop, Usage};
use crate::dialect::json::{Fields, Node, Object};
use crate::dialect::loss::{Bad, Checked, Garbled};
use crate::dialect::messages::{Figures, read_stop, read_usage, stop_reason, stop_sequence, usage};
use crate::dialect::refusal::Said;

/// Reads events.
#[derive(Debug, Default)]
pub(in crate::dialect) struct Reader {
    started: bool,
    usage: Figures,
    /// The block that is open: its number, and what it is.
    open: Option<(u64, Open)>,
    /// How many calls there were.
    calls: u64,
}

/// What a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    /// Text or thinking.
    Words,
    /// A call, and whether it has arguments so far.
    Call { call: u64, begun: bool },
    /// What nothing else knows.
    Other,
}

impl Reader {
    /// Reads one event; what it says is appended to `steps`.
    pub(in crate::dialect) fn read(&mut self, event: &[u8], steps: &mut Vec<Event>) -> Checked<()> {
        let Some(data) = sse::data(event) else { return Ok(()) };
        let mut event = Fields::body(&data)?;
        let kind = event.required_text("type")?;
        if !self.started && !matches!(kind.as_str(), "message_start" | "ping" | "error") {
            return Err(Bad::invalid("type", "The message has not begun."));
        }
        match kind.as_str() {
            "message_start" if self.started => {
                return Err(Bad::invalid("type", "The message begins again."));
            }
            "message_start" => {
                let mut message = event.required_object("message")?;
                if let Some(figures) = message.object("usage")? {
                    read_usage(figures, &mut self.usage);
                }
                self.started = true;
                let usage = Some(self.usage.usage());
                steps.push(Event::Start { id: message.text("id")?, usage });
            }
            "content_block_start" => self.start(event, steps)?,
            "content_block_delta" => self.delta(event, steps)?,
            "content_block_stop" => self.close(steps),
            "message_delta" => {
                if let Some(figures) = event.object("usage")? {
                    read_usage(figures, &mut self.usage);
                    steps.push(Event::Usage(self.usage.usage()));
                }
                let mut delta = event.required_object("delta")?;
                if let Some(reason) = delta.text("stop_reason")? {
                    let stop = read_stop(&reason, delta.text("stop_sequence")?);
                    steps.push(Event::Stop { choice: 0, stop });
                }
            }
            "message_stop" => {
                self.close(steps);
                steps.push(Event::End);
            }
            "error" => {
                let error = event.take("error").map(|error| Said::read(error.get()));
                let Said { kind, message, .. } = error.unwrap_or_default();
                let (kind, message) = (kind.unwrap_or_default(), message.unwrap_or_default());
                steps.push(Event::Failed { kind, message });
            }
            // Pings, and what may be added.
            _ => {}
        }
        Ok(())
    }

    /// The open block ends, if there is one: some servers do not say so.
    fn close(&mut self, steps: &mut Vec<Event>) {
        if let Some((_, Open::Call { call, begun: false })) = self.open.take() {
            push(steps, Delta::Arguments { call, text: "{}".to_owned() });
        }
    }

    fn start(&mut self, mut event: Fields<'_>, steps: &mut Vec<Event>) -> Checked<()> {
        self.close(steps);
        let index = event.integer("index")?.ok_or_else(|| event.missing("index"))?;
        let mut block = event.required_object("content_block")?;
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        let open = match block.required_text("type")?.as_str() {
            "text" => {
                steps.extend(some(block.text("text")?).map(Delta::Text).map(first));
                Open::Words
            }
            "thinking" => {
                steps.extend(some(block.text("thinking")?).map(Delta::Thinking).map(first));
                steps.extend(some(block.text("signature")?).map(Delta::Signature).map(first));
                Open::Words
            }
            "redacted_thinking" => {
                push(steps, Delta::Redacted(block.required_text("data")?));
                Open::Words
            }
            "tool_use" => {
                let call = self.calls;
                self.calls += 1;
                let (id, name) = (block.required_text("id")?, block.required_text("name")?);
                push(steps, Delta::Call { call, id, name });
                // Some servers give the arguments at once.
                let input = block.take("input").map(|input| input.get().to_owned());
                let input = input.filter(|input| input.len() > 2 && input.starts_with('{'));
                let begun = input.is_some();
                steps.extend(input.map(|text| Delta::Arguments { call, text }).map(first));
                Open::Call { call, begun }
            }
            _ => Open::Other,
        };
        self.open = Some((index, open));
        Ok(())
    }

    fn delta(&mut self, mut event: Fields<'_>, steps: &mut Vec<Event>) -> Checked<()> {
        let index = event.integer("index")?.ok_or_else(|| event.missing("index"))?;
        let open = match &mut self.open {
            Some((open, what)) if *open == index => what,
            _ => return Err(Bad::invalid("index", "This block is not open.")),
        };
        let mut delta = event.required_object("delta")?;
        let kind = delta.required_text("type")?;
        match (kind.as_str(), open) {
            ("text_delta", Open::Words) => push(steps, Delta::Text(delta.required_text("text")?)),
            ("thinking_delta", Open::Words) => {
                push(steps, Delta::Thinking(delta.required_text("thinking")?));
            }
            ("signature_delta", Open::Words) => {
                push(steps, Delta::Signature(delta.required_text("signature")?));
            }
            ("input_json_delta", Open::Call { call, begun }) => {
                let text = delta.required_text("partial_json")?;
                if !text.is_empty() {
                    *begun = true;
                    push(steps, Delta::Arguments { call: *call, text });
                }
            }
            ("text_delta" | "thinking_delta" | "signature_delta" | "input_json_delta", what)
                if *what != Open::Other =>
            {
                return Err(Bad::invalid("delta.type", "This is another block's."));
            }
            _ => {}
        }
        Ok(())
    }
}

/// The one choice goes on.
const fn first(delta: Delta) -> Event {
    Event::Delta { choice: 0, delta }
}

fn push(steps: &mut Vec<Event>, delta: Delta) {
    steps.push(first(delta));
}

/// Writes events.
#[derive(Debug)]
pub(in crate::dialect) struct Writer {
    ids: Ids,
    model: String,
    started: bool,
    /// The block that is open.
    open: Option<Block>,
    /// The number of the next block.
    next: u64,
    usage: Usage,
    stop: Stop,
    refused: bool,
}

/// A block that is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Text,
    Thinking,
    Call(u64),
}

impl Writer {
    /// A writer of the answers to one request.
    pub(in crate::dialect) fn new(to: &Translation) -> Self {
        Self {
            ids: to.ids.clone(),
            model: to.model.clone(),
            started: false,
            open: None,
            next: 0,
            usage: Usage::default(),
            stop: Stop::End,
            refused: false,
        }
    }

    /// Writes what `event` comes to.
    ///
    /// # Errors
    /// If the arguments of a call go on after another block has begun: blocks
    /// follow each other here.
    pub(in crate::dialect) fn write(
        &mut self,
        event: Event,
        out: &mut BytesMut,
    ) -> Result<(), Garbled> {
        match event {
            Event::Start { id, usage } => {
                self.usage = usage.unwrap_or(self.usage);
                self.start(id.as_deref(), out);
            }
            Event::Delta { choice: 0, delta } => self.delta(&delta, out)?,
            Event::Stop { choice: 0, stop } => self.stop = stop,
            Event::Usage(usage) => self.usage = usage,
            Event::End => {
                if !self.started {
                    self.start(None, out);
                }
                self.end(out);
            }
            Event::Delta { .. }
            | Event::Stop { .. }
            | Event::Logprobs { .. }
            | Event::Failed { .. } => {}
        }
        Ok(())
    }

    fn start(&mut self, id: Option<&str>, out: &mut BytesMut) {
        self.started = true;
        let message = Object::new()
            .with("id", self.ids.answer("msg_", id))
            .with("type", "message")
            .with("role", "assistant")
            .with("model", &self.model)
            .with("content", Vec::new())
            .with("stop_reason", Node::Null)
            .with("stop_sequence", Node::Null)
            .with("usage", usage(&self.usage));
        let start = Object::of("message_start").with("message", message);
        start.write_event(Some("message_start"), out);
    }

    fn delta(&mut self, delta: &Delta, out: &mut BytesMut) -> Result<(), Garbled> {
        match delta {
            Delta::Text(text) | Delta::Refusal(text) => {
                self.refused |= matches!(delta, Delta::Refusal(_));
                self.open(Block::Text, || Object::of("text").with("text", ""), out);
                self.go_on(Object::of("text_delta").with("text", text), out);
            }
            Delta::Thinking(text) => {
                self.open(Block::Thinking, thinking, out);
                self.go_on(Object::of("thinking_delta").with("thinking", text), out);
            }
            Delta::Signature(signature) => {
                self.open(Block::Thinking, thinking, out);
                self.go_on(Object::of("signature_delta").with("signature", signature), out);
                // What follows is another thought.
                self.close(out);
            }
            Delta::Redacted(data) => {
                self.close(out);
                let block = || Object::of("redacted_thinking").with("data", data);
                self.open(Block::Thinking, block, out);
                self.close(out);
            }
            Delta::Call { call, id, name } => {
                let block = || {
                    let block = Object::of("tool_use").with("id", id).with("name", name);
                    block.with("input", Object::new())
                };
                self.open(Block::Call(*call), block, out);
            }
            Delta::Arguments { call, text } => {
                if self.open != Some(Block::Call(*call)) {
                    return Err(Garbled("the arguments of calls are mixed".to_owned()));
                }
                self.go_on(Object::of("input_json_delta").with("partial_json", text), out);
            }
        }
        Ok(())
    }

    /// Opens `block`, which begins as `content`, unless it is open.
    fn open<'a>(&mut self, block: Block, content: impl FnOnce() -> Object<'a>, out: &mut BytesMut) {
        if self.open == Some(block) {
            return;
        }
        self.close(out);
        let start = Object::of("content_block_start").with("index", self.next);
        start.with("content_block", content()).write_event(Some("content_block_start"), out);
        self.open = Some(block);
    }

    fn close(&mut self, out: &mut BytesMut) {
        if self.open.take().is_some() {
            let stop = Object::of("content_block_stop").with("index", self.next);
            stop.write_event(Some("content_block_stop"), out);
            self.next += 1;
        }
    }

    fn go_on(&self, delta: Object<'_>, out: &mut BytesMut) {
        let event = Object::of("content_block_delta").with("index", self.next);
        event.with("delta", delta).write_event(Some("content_block_delta"), out);
    }

    fn end(&mut self, out: &mut BytesMut) {
        self.close(out);
        if self.refused && self.stop == Stop::End {
            self.stop = Stop::Refused;
        }
        let delta = Object::new()
            .with("stop_reason", stop_reason(&self.stop))
            .with("stop_sequence", stop_sequence(&self.stop));
        let end = Object::of("message_delta").with("delta", delta);
        end.with("usage", usage(&self.usage)).write_event(Some("message_delta"), out);
        Object::of("message_stop").write_event(Some("message_stop"), out);
    }
}

/// A thought at its beginning.
fn thinking() -> Object<'static> {
    Object::of("thinking").with("thinking", "").with("signature", "")
}
