//! Reads generated content, whole and in a stream: both are the same object.

use std::collections::BTreeMap;

use crate::base::sse;
use crate::dialect::form::{Answer, Call, Choice, Content, Delta, Event, Ids, Stop, Usage};
use crate::dialect::gemini::call_id;
use crate::dialect::json::Fields;
use crate::dialect::loss::{Bad, Checked};
use crate::dialect::refusal::Said;

/// Most choices of one answer.
const MOST_CHOICES: u64 = 1024;

/// Reads the answer `body`.
pub(in crate::dialect) fn read_answer(body: &[u8], ids: &Ids) -> Checked<Answer> {
    let mut reader = Reader::new(ids.clone());
    let mut steps = Vec::new();
    reader.read_object(Fields::body(body)?, &mut steps)?;
    let mut answer = Answer { id: reader.id.clone(), ..Answer::default() };
    let mut choices: BTreeMap<u64, Choice> = BTreeMap::new();
    for step in steps {
        match step {
            Event::Delta { choice, delta } => add(&mut of(&mut choices, choice).parts, delta),
            Event::Stop { choice, stop } => of(&mut choices, choice).stop = stop,
            Event::Usage(usage) => answer.usage = Some(usage),
            Event::Failed { .. } => return Err(Bad::invalid("error", "The answer is an error.")),
            Event::Start { .. } | Event::Logprobs { .. } | Event::End => {}
        }
    }
    answer.choices = choices.into_values().collect();
    if answer.choices.is_empty() {
        return Err(Bad::invalid("candidates", "There is none."));
    }
    Ok(answer)
}

/// Choice `number`, which may be new.
fn of(choices: &mut BTreeMap<u64, Choice>, number: u64) -> &mut Choice {
    let new = || Choice { parts: Vec::new(), stop: Stop::End, logprobs: None };
    choices.entry(number).or_insert_with(new)
}

/// Adds `delta` to the last of `parts` or as a new one.
fn add(parts: &mut Vec<Content>, delta: Delta) {
    match (delta, parts.last_mut()) {
        (Delta::Text(more), Some(Content::Text(text)))
        | (Delta::Thinking(more), Some(Content::Thinking { text, .. })) => text.push_str(&more),
        (Delta::Arguments { text, .. }, Some(Content::Call(call))) => call.arguments = text,
        (Delta::Text(text), _) => parts.push(Content::Text(text)),
        (Delta::Thinking(text), _) => parts.push(Content::Thinking { text, signature: None }),
        (Delta::Call { id, name, .. }, _) => {
            parts.push(Content::Call(Call { id, name, arguments: String::new() }));
        }
        _ => {}
    }
}

/// Reads the events of a stream.
#[derive(Debug)]
pub(in crate::dialect) struct Reader {
    ids: Ids,
    started: bool,
    id: Option<String>,
    /// How many calls each choice has.
    calls: BTreeMap<u64, u64>,
    /// How many calls there are.
    number: u64,
    /// Whether a choice has come to its end: streams just stop then.
    stopped: bool,
}

impl Reader {
    /// A reader of one answer.
    pub(in crate::dialect) const fn new(ids: Ids) -> Self {
        let calls = BTreeMap::new();
        Self { ids, started: false, id: None, calls, number: 0, stopped: false }
    }

    /// Reads one event; what it says is appended to `steps`.
    pub(in crate::dialect) fn read(&mut self, event: &[u8], steps: &mut Vec<Event>) -> Checked<()> {
        let Some(data) = sse::data(event) else { return Ok(()) };
        self.read_object(Fields::body(&data)?, steps)
    }

    /// Whether the stream may end here.
    pub(in crate::dialect) const fn is_whole(&self) -> bool {
        self.stopped
    }

    fn read_object(&mut self, mut object: Fields<'_>, steps: &mut Vec<Event>) -> Checked<()> {
        if let Some(error) = object.take("error") {
            let Said { kind, message, .. } = Said::read(error.get());
            let (kind, message) = (kind.unwrap_or_default(), message.unwrap_or_default());
            steps.push(Event::Failed { kind, message });
            return Ok(());
        }
        if !self.started {
            self.started = true;
            self.id = object.text("responseId")?;
            steps.push(Event::Start { id: self.id.clone(), usage: None });
        }
        for mut candidate in object.objects("candidates")? {
            let choice = candidate.integer("index")?.unwrap_or(0);
            if choice >= MOST_CHOICES {
                return Err(Bad::invalid(candidate.path("index"), "There are too many."));
            }
            if let Some(mut content) = candidate.object("content")? {
                for part in content.objects("parts")? {
                    self.read_part(choice, part, steps)?;
                }
            }
            if let Some(reason) = candidate.text("finishReason")? {
                let calls = self.calls.contains_key(&choice);
                let stop = read_stop(&reason)
                    .ok_or_else(|| Bad::invalid(candidate.path("finishReason"), "No answer."))?;
                self.stopped = true;
                steps.push(Event::Stop { choice, stop: stop.with_calls(calls) });
            }
        }
        if let Some(mut feedback) = object.object("promptFeedback")?
            && feedback.text("blockReason")?.is_some()
        {
            self.stopped = true;
            steps.push(Event::Stop { choice: 0, stop: Stop::Refused });
        }
        let usage = object.object("usageMetadata")?.and_then(read_usage);
        steps.extend(usage.map(Event::Usage));
        Ok(())
    }

    fn read_part(
        &mut self,
        choice: u64,
        mut part: Fields<'_>,
        steps: &mut Vec<Event>,
    ) -> Checked<()> {
        let mut push = |delta| steps.push(Event::Delta { choice, delta });
        let thought = part.flag("thought")?.unwrap_or(false);
        if let Some(text) = part.text("text")? {
            push(if thought { Delta::Thinking(text) } else { Delta::Text(text) });
        }
        if let Some(mut function) = part.object("functionCall")? {
            let signature = part.text("thoughtSignature")?;
            let number = self.calls.entry(choice).or_default();
            let call = *number;
            *number += 1;
            let id = function.text("id")?.filter(|id| !id.is_empty());
            let id = id.unwrap_or_else(|| self.ids.call(self.number));
            let id = call_id(id, signature.as_deref());
            self.number += 1;
            push(Delta::Call { call, id, name: function.required_text("name")? });
            let text = function.take("args").map_or("{}", |args| args.get()).to_owned();
            push(Delta::Arguments { call, text });
        }
        Ok(())
    }
}

/// What a `finishReason` says; nothing of an answer that broke.
fn read_stop(reason: &str) -> Option<Stop> {
    Some(match reason {
        "MAX_TOKENS" => Stop::Length,
        "SAFETY" | "RECITATION" | "LANGUAGE" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII"
        | "IMAGE_SAFETY" => Stop::Refused,
        "MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL" => return None,
        _ => Stop::End,
    })
}

/// Thoughts are counted beside the answer here.
fn read_usage(mut figures: Fields<'_>) -> Option<Usage> {
    let mut figure = |name: &str| figures.integer(name).ok().flatten();
    let prompt = figure("promptTokenCount")?;
    let reasoning = figure("thoughtsTokenCount").unwrap_or(0);
    let tools = figure("toolUsePromptTokenCount").unwrap_or(0);
    Some(Usage {
        input: prompt.saturating_add(tools),
        cached: figure("cachedContentTokenCount").unwrap_or(0),
        cache_written: 0,
        output: figure("candidatesTokenCount").unwrap_or(0).saturating_add(reasoning),
        reasoning,
    })
}
