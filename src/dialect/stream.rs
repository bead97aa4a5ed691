//! The events of a streamed answer, on their way from dialect to dialect.

use bytes::{Bytes, BytesMut};

use crate::base::sse::{Piece, Splitter};
use crate::dialect::form::{ANSWER_TOOL, Delta, Event, Stop};
use crate::dialect::loss::{Checked, Garbled};
use crate::dialect::{
    Dialect, Translation, chat, completions, gemini, messages, refusal, responses,
};

/// Largest event that is translated, in bytes.
const LARGEST_EVENT: usize = 4 * 1024 * 1024;

/// Translates one stream of events, however it is cut into chunks.
#[derive(Debug)]
pub struct Events {
    client: Dialect,
    splitter: Splitter,
    reader: Reader,
    writer: Writer,
    /// Where the text of the answer comes as the call of a tool: what is known
    /// of the calls.
    answer_tool: Option<AnswerTool>,
    /// What the event in hand says; kept for its memory.
    steps: Vec<Event>,
    started: bool,
    /// Whether there was a call of a tool, and whether the answer has said why it ends.
    called: bool,
    stopped: bool,
    ended: bool,
}

/// Reads the events of a provider.
#[derive(Debug)]
enum Reader {
    Chat(chat::Reader),
    Messages(messages::Reader),
    Gemini(gemini::Reader),
    Nothing,
}

/// Writes the events of a client.
#[derive(Debug)]
enum Writer {
    Chat(chat::Writer),
    Completions(completions::Writer),
    Responses(Box<responses::Writer>),
    Messages(messages::Writer),
    Nothing,
}

impl Events {
    pub(super) fn new(translation: &Translation) -> Self {
        let reader = match translation.provider {
            Dialect::Chat => Reader::Chat(chat::Reader::new(translation.ids.clone())),
            Dialect::Messages => Reader::Messages(messages::Reader::default()),
            Dialect::Gemini => Reader::Gemini(gemini::Reader::new(translation.ids.clone())),
            Dialect::Completions | Dialect::Responses => Reader::Nothing,
        };
        let writer = match translation.client {
            Dialect::Chat => Writer::Chat(chat::Writer::new(translation)),
            Dialect::Completions => Writer::Completions(completions::Writer::new(translation)),
            Dialect::Responses => Writer::Responses(Box::new(responses::Writer::new(translation))),
            Dialect::Messages => Writer::Messages(messages::Writer::new(translation)),
            Dialect::Gemini => Writer::Nothing,
        };
        Self {
            client: translation.client,
            splitter: Splitter::new(LARGEST_EVENT),
            reader,
            writer,
            answer_tool: translation.answer_tool.then(AnswerTool::default),
            steps: Vec::new(),
            started: false,
            called: false,
            stopped: false,
            ended: false,
        }
    }

    /// Translates the next `bytes` of the provider's stream; appends what they
    /// come to for the client to `out`. The usage is always among it.
    ///
    /// # Errors
    /// If they are not what the provider's API describes. Then nothing that
    /// follows has a meaning; `out` has what was right before.
    pub fn push(&mut self, bytes: &[u8], out: &mut BytesMut) -> Result<(), Garbled> {
        self.splitter.push(Bytes::copy_from_slice(bytes));
        while let Some(piece) = self.splitter.next_piece() {
            self.piece(&piece, out)?;
        }
        Ok(())
    }

    /// The provider's stream is at its end.
    ///
    /// # Errors
    /// If it should have gone on: it was cut.
    pub fn end(&mut self, out: &mut BytesMut) -> Result<(), Garbled> {
        if let Some(piece) = self.splitter.finish() {
            self.piece(&piece, out)?;
        }
        if !self.ended && self.reader.is_whole() {
            self.step(Event::End, out)?;
        }
        if self.ended { Ok(()) } else { Err(Garbled("the stream ends too early".to_owned())) }
    }

    fn piece(&mut self, piece: &Piece, out: &mut BytesMut) -> Result<(), Garbled> {
        if self.ended {
            return Ok(());
        }
        let event = match piece {
            Piece::Event(event) => event,
            Piece::Raw(mark) if !self.started && mark.as_ref() == "\u{feff}".as_bytes() => {
                return Ok(());
            }
            Piece::Raw(_) => return Err(Garbled("an event is cut, or too large".to_owned())),
        };
        self.started = true;
        let mut steps = std::mem::take(&mut self.steps);
        let read = self.reader.read(event, &mut steps);
        // What was read before a fault is right, and is written.
        let written = steps.drain(..).try_for_each(|step| self.step(step, out));
        self.steps = steps;
        written?;
        Ok(read?)
    }

    fn step(&mut self, step: Event, out: &mut BytesMut) -> Result<(), Garbled> {
        if self.ended {
            return Ok(());
        }
        let Some(step) = (match &mut self.answer_tool {
            Some(tool) => tool.translate(step),
            None => Some(step),
        }) else {
            return Ok(());
        };
        if is_empty(&step) {
            return Ok(());
        }
        match &step {
            Event::Delta { delta: Delta::Call { .. }, .. } => self.called = true,
            Event::Stop { .. } => self.stopped = true,
            // Some servers do not say why; a client must be told something.
            Event::End if !std::mem::replace(&mut self.stopped, true) => {
                let stop = Stop::End.with_calls(self.called);
                self.write(Event::Stop { choice: 0, stop }, out)?;
            }
            _ => {}
        }
        self.ended = matches!(step, Event::End | Event::Failed { .. });
        if let Event::Failed { kind, message } = &step
            && self.client != Dialect::Responses
        {
            refusal::write_event(self.client, kind, message, out);
            return Ok(());
        }
        self.write(step, out)
    }

    fn write(&mut self, step: Event, out: &mut BytesMut) -> Result<(), Garbled> {
        match &mut self.writer {
            Writer::Chat(writer) => writer.write(step, out),
            Writer::Completions(writer) => writer.write(step, out),
            Writer::Responses(writer) => writer.write(step, out)?,
            Writer::Messages(writer) => return writer.write(step, out),
            Writer::Nothing => return Err(Garbled("no client speaks this dialect".to_owned())),
        }
        Ok(())
    }
}

impl Reader {
    fn read(&mut self, event: &[u8], steps: &mut Vec<Event>) -> Checked<()> {
        match self {
            Self::Chat(reader) => reader.read(event, steps),
            Self::Messages(reader) => reader.read(event, steps),
            Self::Gemini(reader) => reader.read(event, steps),
            Self::Nothing => Ok(()),
        }
    }

    /// Whether the stream may end here without saying so.
    const fn is_whole(&self) -> bool {
        match self {
            Self::Gemini(reader) => reader.is_whole(),
            Self::Chat(_) | Self::Messages(_) | Self::Nothing => false,
        }
    }
}

/// Whether `step` adds nothing.
fn is_empty(step: &Event) -> bool {
    let Event::Delta { delta, .. } = step else { return false };
    match delta {
        Delta::Text(text) | Delta::Thinking(text) | Delta::Refusal(text) => text.is_empty(),
        Delta::Signature(text) | Delta::Arguments { text, .. } => text.is_empty(),
        Delta::Redacted(_) | Delta::Call { .. } => false,
    }
}

/// Turns the call of [`ANSWER_TOOL`] into text.
#[derive(Debug, Default)]
struct AnswerTool {
    /// The number of its call.
    call: Option<u64>,
    /// Whether another tool is called.
    others: bool,
}

impl AnswerTool {
    fn translate(&mut self, step: Event) -> Option<Event> {
        Some(match step {
            Event::Delta { delta: Delta::Call { call, name, .. }, .. } if name == ANSWER_TOOL => {
                self.call = Some(call);
                return None;
            }
            Event::Delta { choice, delta: Delta::Arguments { call, text } }
                if self.call == Some(call) =>
            {
                Event::Delta { choice, delta: Delta::Text(text) }
            }
            Event::Delta { delta: Delta::Call { .. }, .. } => {
                self.others = true;
                step
            }
            Event::Stop { choice, stop: Stop::Tools } if !self.others => {
                Event::Stop { choice, stop: Stop::End }
            }
            other => other,
        })
    }
}
