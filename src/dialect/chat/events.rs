//! Reads and writes the chunks of a streamed chat completion.

use bytes::BytesMut;

use crate::base::sse;
use crate::dialect::chat::answer::{arguments, thinking};
use crate::dialect::chat::thinking_part;
use crate::dialect::form::{Delta, Event, Ids, Stop, Usage};
use crate::dialect::json::{self, Fields, Node, Object, TextOr};
use crate::dialect::loss::{Bad, Checked};
use crate::dialect::openai::{DONE, finish_reason, read_finish, read_usage, usage};
use crate::dialect::refusal::Said;
use crate::dialect::{Dialect, Translation};

/// Most calls of tools in one answer.
const MOST_CALLS: usize = 1024;
/// Most choices of one answer.
const MOST_CHOICES: u64 = 1024;

/// Reads chunks.
#[derive(Debug)]
pub(in crate::dialect) struct Reader {
    ids: Ids,
    started: bool,
    /// The calls that have begun.
    calls: Vec<Begun>,
}

/// A call that has begun.
#[derive(Debug)]
struct Begun {
    choice: u64,
    /// Its number as the provider counts.
    index: Option<u64>,
    id: String,
    /// Its number among the choice's calls.
    call: u64,
}

impl Reader {
    /// A reader of one stream.
    pub(in crate::dialect) const fn new(ids: Ids) -> Self {
        Self { ids, started: false, calls: Vec::new() }
    }

    /// Reads one event; what it says is appended to `steps`.
    pub(in crate::dialect) fn read(&mut self, event: &[u8], steps: &mut Vec<Event>) -> Checked<()> {
        let Some(data) = sse::data(event) else { return Ok(()) };
        if data.trim_ascii() == b"[DONE]" {
            steps.push(Event::End);
            return Ok(());
        }
        let mut chunk = Fields::body(&data)?;
        if let Some(error) = chunk.take("error") {
            let said = match json::as_text(error) {
                Some(message) => Said { message: Some(message), ..Said::default() },
                None => Said::read(error.get()),
            };
            let kind = said.kind.or(said.code).unwrap_or_default();
            steps.push(Event::Failed { kind, message: said.message.unwrap_or_default() });
            return Ok(());
        }
        let choices = chunk.objects("choices")?;
        let id = chunk.text("id")?.filter(|id| !id.is_empty());
        // Azure's first chunk is about the prompt, and has neither.
        if !self.started && (id.is_some() || !choices.is_empty()) {
            self.started = true;
            steps.push(Event::Start { id, usage: None });
        }
        for mut choice in choices {
            let index = choice.integer("index")?.unwrap_or(0);
            if index >= MOST_CHOICES {
                return Err(Bad::invalid(choice.path("index"), "There are too many choices."));
            }
            if let Some(logprobs) = choice.keep("logprobs") {
                steps.push(Event::Logprobs { choice: index, logprobs });
            }
            if let Some(delta) = choice.object("delta")? {
                self.read_delta(index, delta, steps)?;
            }
            if let Some(reason) = choice.text("finish_reason")? {
                let calls = self.calls.iter().any(|begun| begun.choice == index);
                let stop = read_finish(&reason).with_calls(calls);
                steps.push(Event::Stop { choice: index, stop });
            }
        }
        let usage = chunk.take("usage").and_then(read_usage);
        steps.extend(usage.map(Event::Usage));
        Ok(())
    }

    fn read_delta(
        &mut self,
        choice: u64,
        mut delta: Fields<'_>,
        steps: &mut Vec<Event>,
    ) -> Checked<()> {
        let mut push = |delta| steps.push(Event::Delta { choice, delta });
        if let Some(text) = thinking(&mut delta)? {
            push(Delta::Thinking(text));
        }
        for mut block in delta.objects("thinking_blocks")? {
            if let Some(signature) = block.text("signature")? {
                push(Delta::Signature(signature));
            } else if let Some(data) = block.text("data")? {
                push(Delta::Redacted(data));
            }
        }
        match delta.text_or_objects("content")? {
            None => {}
            Some(TextOr::Text(text)) => push(Delta::Text(text)),
            Some(TextOr::Objects(parts)) => {
                for mut part in parts {
                    if part.text("type")?.as_deref() == Some("thinking") {
                        push(Delta::Thinking(thinking_part(&mut part)?));
                    } else if let Some(text) = part.text("text")? {
                        push(Delta::Text(text));
                    }
                }
            }
        }
        if let Some(text) = delta.text("refusal")?.filter(|text| !text.is_empty()) {
            push(Delta::Refusal(text));
        }
        for call in delta.objects("tool_calls")? {
            self.read_call(choice, call, steps)?;
        }
        Ok(())
    }

    fn read_call(
        &mut self,
        choice: u64,
        mut call: Fields<'_>,
        steps: &mut Vec<Event>,
    ) -> Checked<()> {
        let index = call.integer("index")?;
        let id = call.text("id")?.filter(|id| !id.is_empty());
        let mut function = call.object("function")?;
        let (mut name, mut text) = (None, String::new());
        if let Some(function) = &mut function {
            name = function.text("name")?.filter(|name| !name.is_empty());
            text = function.take("arguments").map(arguments).unwrap_or_default();
        }
        // Some servers number all calls alike, or not at all.
        let known = self.calls.iter().rev().find(|begun| {
            begun.choice == choice
                && (index.is_none() || begun.index == index)
                && id.as_ref().is_none_or(|id| *id == begun.id)
        });
        let number = match (known, name) {
            (Some(begun), _) => begun.call,
            (None, None) => {
                return Err(Bad::invalid(call.path("function.name"), "This call has no name."));
            }
            (None, Some(name)) => {
                if self.calls.len() >= MOST_CALLS {
                    return Err(Bad::invalid(call.at(), "There are too many calls."));
                }
                let number = self.calls.iter().filter(|begun| begun.choice == choice).count();
                let number = u64::try_from(number).unwrap_or(u64::MAX);
                let id = id.unwrap_or_else(|| self.ids.call(self.calls.len() as u64));
                self.calls.push(Begun { choice, index, id: id.clone(), call: number });
                let delta = Delta::Call { call: number, id, name };
                steps.push(Event::Delta { choice, delta });
                number
            }
        };
        if !text.is_empty() {
            let delta = Delta::Arguments { call: number, text };
            steps.push(Event::Delta { choice, delta });
        }
        Ok(())
    }
}

/// Writes chunks.
#[derive(Debug)]
pub(in crate::dialect) struct Writer {
    ids: Ids,
    id: String,
    created: u64,
    model: String,
    /// Whether thinking is signed, and so goes a second time with its signature.
    signed: bool,
    /// The number of the block of thinking.
    block: u64,
    /// The choices that have begun.
    begun: Vec<u64>,
    usage: Option<Usage>,
}

impl Writer {
    /// A writer of the answers to one request.
    pub(in crate::dialect) fn new(to: &Translation) -> Self {
        Self {
            ids: to.ids.clone(),
            id: to.ids.answer("chatcmpl-", None),
            created: to.created.as_secs(),
            model: to.model.clone(),
            signed: to.provider == Dialect::Messages,
            block: 0,
            begun: Vec::new(),
            usage: None,
        }
    }

    /// Writes what `event` comes to.
    pub(in crate::dialect) fn write(&mut self, event: Event, out: &mut BytesMut) {
        match event {
            Event::Start { id, usage } => {
                self.id = self.ids.answer("chatcmpl-", id.as_deref());
                self.usage = usage;
                self.begin(0, out);
            }
            Event::Delta { choice, delta } => {
                self.begin(choice, out);
                let delta = self.delta(&delta);
                self.chunk(choice, delta, None, None, out);
            }
            Event::Logprobs { choice, logprobs } => {
                self.begin(choice, out);
                self.chunk(choice, Object::new(), Some((&logprobs).into()), None, out);
            }
            Event::Stop { choice, stop } => {
                self.begin(choice, out);
                self.chunk(choice, Object::new(), None, Some(&stop), out);
            }
            Event::Usage(usage) => self.usage = Some(usage),
            Event::End => {
                if let Some(used) = &self.usage {
                    let end = self.top().with("choices", Vec::new()).with("usage", usage(used));
                    end.write_event(None, out);
                }
                out.extend_from_slice(DONE);
            }
            // Written by who knows the shapes of errors.
            Event::Failed { .. } => {}
        }
    }

    fn top(&self) -> Object<'_> {
        Object::new()
            .with("id", &self.id)
            .with("object", "chat.completion.chunk")
            .with("created", self.created)
            .with("model", &self.model)
    }

    fn begin(&mut self, choice: u64, out: &mut BytesMut) {
        if !self.begun.contains(&choice) {
            self.begun.push(choice);
            let delta = Object::new().with("role", "assistant").with("content", "");
            self.chunk(choice, delta, None, None, out);
        }
    }

    fn chunk(
        &self,
        choice: u64,
        delta: Object<'_>,
        logprobs: Option<Node<'_>>,
        stop: Option<&Stop>,
        out: &mut BytesMut,
    ) {
        let choice = Object::new()
            .with("index", choice)
            .with("delta", delta)
            .with("logprobs", logprobs)
            .with("finish_reason", stop.map(finish_reason));
        self.top().with("choices", vec![choice.into()]).write_event(None, out);
    }

    fn delta<'a>(&mut self, delta: &'a Delta) -> Object<'a> {
        let block = self.block;
        let blocks = |block: Object<'a>| vec![block.into()];
        match delta {
            Delta::Text(text) => Object::new().with("content", text),
            Delta::Refusal(text) => Object::new().with("refusal", text),
            Delta::Thinking(text) => {
                let delta = Object::new().with("reasoning_content", text);
                let signed = || thinking_block(block, "thinking").with("thinking", text);
                delta.maybe("thinking_blocks", self.signed.then(|| blocks(signed())))
            }
            Delta::Signature(signature) => {
                self.block += 1;
                let block = thinking_block(block, "thinking").with("signature", signature);
                Object::new().with("thinking_blocks", blocks(block))
            }
            Delta::Redacted(data) => {
                self.block += 1;
                let block = thinking_block(block, "redacted_thinking").with("data", data);
                Object::new().with("thinking_blocks", blocks(block))
            }
            Delta::Call { call, id, name } => {
                let function = Object::new().with("name", name).with("arguments", "");
                let call = Object::new().with("index", *call).with("id", id);
                let call = call.with("type", "function").with("function", function);
                Object::new().with("tool_calls", vec![call.into()])
            }
            Delta::Arguments { call, text } => {
                let function = Object::new().with("arguments", text);
                let call = Object::new().with("index", *call).with("function", function);
                Object::new().with("tool_calls", vec![call.into()])
            }
        }
    }
}

fn thinking_block(index: u64, kind: &str) -> Object<'_> {
    Object::new().with("index", index).with("type", kind)
}
