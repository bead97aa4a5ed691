//! Writes the events of a streamed response.

use bytes::BytesMut;

use crate::dialect::Translation;
use crate::dialect::form::{Delta, Event, Stop, Usage};
use crate::dialect::json::Object;
use crate::dialect::loss::Checked;
use crate::dialect::refusal;
use crate::dialect::responses::output::{Frame, Grown, Item, Output, State, part};

/// Writes events.
#[derive(Debug)]
pub(in crate::dialect) struct Writer {
    /// For the frame, once the id is known.
    to: Translation,
    frame: Frame,
    started: bool,
    output: Output,
    usage: Option<Usage>,
    stop: Stop,
    numbers: Numbers,
}

impl Writer {
    /// A writer of the answers to one request.
    pub(in crate::dialect) fn new(to: &Translation) -> Self {
        Self {
            to: to.clone(),
            frame: Frame::new(to, None),
            started: false,
            output: Output::default(),
            usage: None,
            stop: Stop::End,
            numbers: Numbers(0),
        }
    }

    /// Writes what `event` comes to.
    ///
    /// # Errors
    /// If the arguments of a call go on after another item has begun, or the
    /// output is too large.
    pub(in crate::dialect) fn write(&mut self, event: Event, out: &mut BytesMut) -> Checked<()> {
        match event {
            Event::Start { id, usage } => {
                self.frame = Frame::new(&self.to, id.as_deref());
                self.usage = usage;
                self.start(out);
            }
            Event::Delta { choice: 0, delta } => self.delta(&delta, out)?,
            Event::Stop { choice: 0, stop } => self.stop = stop,
            Event::Usage(usage) => self.usage = Some(usage),
            Event::End => {
                self.start(out);
                let stop = self.stop.clone();
                let state = State::Ended(&stop);
                self.close_item(self.output.items.len(), &state, out);
                let incomplete = state.status() == "incomplete";
                let name = if incomplete { "response.incomplete" } else { "response.completed" };
                self.response(name, &state, out);
            }
            Event::Failed { kind, message } => {
                self.start(out);
                let limit = refusal::is_limit(&kind);
                let code = if limit { "rate_limit_exceeded" } else { "server_error" };
                let state = State::Failed(code, refusal::clean(&message));
                self.response("response.failed", &state, out);
            }
            Event::Delta { .. } | Event::Stop { .. } | Event::Logprobs { .. } => {}
        }
        Ok(())
    }

    fn start(&mut self, out: &mut BytesMut) {
        if !std::mem::replace(&mut self.started, true) {
            self.response("response.created", &State::Running, out);
            self.response("response.in_progress", &State::Running, out);
        }
    }

    fn response(&mut self, name: &'static str, state: &State<'_>, out: &mut BytesMut) {
        let response = self.frame.response(state, &self.output, self.usage.as_ref());
        self.numbers.write(name, Object::new().with("response", response), out);
    }

    fn delta(&mut self, delta: &Delta, out: &mut BytesMut) -> Checked<()> {
        let before = self.output.items.len();
        if self.output.grow(delta)? == Grown::New {
            self.close_item(before, &State::Ended(&Stop::End), out);
            self.open_item(out);
        }
        let Some((place, item)) = self.last(self.output.items.len()) else { return Ok(()) };
        let of = of(&self.frame, place, item);
        let (name, of) = match delta {
            Delta::Text(text) => {
                let of = of.with("content_index", 0).with("delta", text);
                ("response.output_text.delta", of.with("logprobs", Vec::new()))
            }
            Delta::Refusal(text) => {
                ("response.refusal.delta", of.with("content_index", 0).with("delta", text))
            }
            Delta::Thinking(text) => (
                "response.reasoning_summary_text.delta",
                of.with("summary_index", 0).with("delta", text),
            ),
            Delta::Arguments { text, .. } => {
                ("response.function_call_arguments.delta", of.with("delta", text))
            }
            Delta::Signature(_) | Delta::Redacted(_) | Delta::Call { .. } => return Ok(()),
        };
        self.numbers.write(name, of, out);
        Ok(())
    }

    /// The last of the first `count` items.
    fn last(&self, count: usize) -> Option<(usize, &Item)> {
        let place = count.checked_sub(1)?;
        Some((place, self.output.items.get(place)?))
    }

    /// The last item begins.
    fn open_item(&mut self, out: &mut BytesMut) {
        let Some(place) = self.output.items.len().checked_sub(1) else { return };
        let Some(item) = self.output.items.get(place) else { return };
        let begun = Object::new().with("output_index", number(place));
        let begun = begun.with("item", self.frame.item(place, item, None));
        self.numbers.write("response.output_item.added", begun, out);
        if let Some(part) = part(item, false) {
            let (name, index) = match item {
                Item::Reasoning { .. } => {
                    ("response.reasoning_summary_part.added", "summary_index")
                }
                _ => ("response.content_part.added", "content_index"),
            };
            let added = of(&self.frame, place, item).with(index, 0).with("part", part);
            self.numbers.write(name, added, out);
        }
    }

    /// The last of the first `count` items is at its end.
    fn close_item(&mut self, count: usize, state: &State<'_>, out: &mut BytesMut) {
        let Some(place) = count.checked_sub(1) else { return };
        let Some(item) = self.output.items.get(place) else { return };
        let of = || of(&self.frame, place, item);
        let done = match item {
            Item::Message { text, refusal: false } => {
                let of = of().with("content_index", 0).with("text", text);
                Some(("response.output_text.done", of.with("logprobs", Vec::new())))
            }
            Item::Message { text, refusal: true } => {
                let of = of().with("content_index", 0).with("refusal", text);
                Some(("response.refusal.done", of))
            }
            Item::Call { name, arguments, .. } => {
                let of = of().with("name", name).with("arguments", arguments);
                Some(("response.function_call_arguments.done", of))
            }
            Item::Reasoning { text, .. } if !text.is_empty() => {
                let of = of().with("summary_index", 0).with("text", text);
                Some(("response.reasoning_summary_text.done", of))
            }
            Item::Reasoning { .. } => None,
        };
        if let Some((name, done)) = done {
            self.numbers.write(name, done, out);
        }
        if let Some(part) = part(item, true) {
            let (name, index) = match item {
                Item::Reasoning { .. } => ("response.reasoning_summary_part.done", "summary_index"),
                _ => ("response.content_part.done", "content_index"),
            };
            self.numbers.write(name, of().with(index, 0).with("part", part), out);
        }
        let done = Object::new().with("output_index", number(place));
        let done = done.with("item", self.frame.item(place, item, Some(state)));
        self.numbers.write("response.output_item.done", done, out);
    }
}

/// What every event about item `place` says.
fn of(frame: &Frame, place: usize, item: &Item) -> Object<'static> {
    Object::new().with("item_id", frame.item_id(place, item)).with("output_index", number(place))
}

fn number(place: usize) -> u64 {
    u64::try_from(place).unwrap_or(u64::MAX)
}

/// The number of the next event.
#[derive(Debug)]
struct Numbers(u64);

impl Numbers {
    /// Writes the event `name`, which says `more`.
    fn write(&mut self, name: &'static str, more: Object<'_>, out: &mut BytesMut) {
        let event = Object::of(name).with("sequence_number", self.0).and(more);
        event.write_event(Some(name), out);
        self.0 += 1;
    }
}
