//! `/v1/completions`. Source: OpenAI API reference, "Completions".

use bytes::Bytes;
use serde_json::{Value, json};

use crate::base::clock::Timestamp;
use crate::meter::estimate;
use crate::sandbox::chat::usage;
use crate::sandbox::request::{Checked, Refused, Request, Stream};
use crate::sandbox::seed::Seed;
use crate::sandbox::write::{Bounds, Format, Written};
use crate::sandbox::{DONE, Reply, event};

const PATH: &str = "/v1/completions";
/// OpenAI's default of `max_tokens`.
const DEFAULT_TOKENS: usize = 16;
/// Most choices of one answer, over all prompts.
const MOST_CHOICES: usize = 128;

struct Answer<'a> {
    seed: Seed,
    model: &'a str,
    created: u64,
    choices: Vec<Written>,
    prompt_tokens: u64,
}

pub(super) fn respond(body: &[u8], now: Timestamp) -> Checked<Reply> {
    let request = Request::read(body)?;
    let prompt = request.required("prompt")?;
    let prompts = prompts(prompt)?;
    request.check_sampling()?;
    if request.get("logprobs").is_some() {
        return Err(Refused::unsupported("logprobs", "The sandbox has no log probabilities."));
    }
    let stream = request.stream()?;
    let tokens = request.integer("max_tokens", 0, usize::MAX)?.or(Some(DEFAULT_TOKENS));
    let bounds = Bounds { tokens, stops: request.stops()? };
    let echo = request.flag("echo")?;
    let each = request.integer("n", 1, MOST_CHOICES)?.unwrap_or(1);
    if prompts.len() * each > MOST_CHOICES {
        return Err(Refused::invalid("prompt", "too many choices in all."));
    }
    let seed = Seed::of(PATH, request.model(), prompt);
    let mut choices = Vec::new();
    for prompt in prompts {
        for _ in 0..each {
            let mut written = Written::new(seed.choice(choices.len()), Format::Text, &bounds);
            if echo && let Some(prompt) = prompt {
                written.parts.insert(0, prompt.to_owned());
            }
            choices.push(written);
        }
    }
    let answer = Answer {
        seed,
        model: request.model(),
        created: now.as_secs(),
        choices,
        prompt_tokens: estimate::prompt_tokens(PATH, body),
    };
    Ok(match stream {
        Stream::No => Reply::json(&answer.whole()),
        Stream::Plain => Reply::events(answer.events(false)),
        Stream::WithUsage => Reply::events(answer.events(true)),
    })
}

/// The prompts; one in tokens has no text.
fn prompts(prompt: &Value) -> Checked<Vec<Option<&str>>> {
    let wrong = || {
        Refused::wrong_type(
            "prompt",
            "a string, an array of strings, or arrays of integers",
            prompt,
        )
    };
    match prompt {
        Value::String(text) => Ok(vec![Some(text)]),
        Value::Array(parts) if parts.is_empty() => Err(Refused::empty("prompt")),
        Value::Array(parts) if parts.iter().all(Value::is_u64) => Ok(vec![None]),
        Value::Array(parts) => parts
            .iter()
            .map(|part| match part {
                Value::String(text) => Ok(Some(text.as_str())),
                Value::Array(tokens) if tokens.iter().all(Value::is_u64) => Ok(None),
                _ => Err(wrong()),
            })
            .collect(),
        _ => Err(wrong()),
    }
}

impl Answer<'_> {
    fn body(&self, choices: &Value) -> Value {
        json!({
            "id": self.seed.id("cmpl-"),
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": "fp_sandbox",
            "choices": choices,
        })
    }

    fn with_usage(mut body: Value, usage: Value) -> Value {
        if let Some(members) = body.as_object_mut() {
            members.insert("usage".to_owned(), usage);
        }
        body
    }

    fn usage(&self) -> Value {
        usage(self.prompt_tokens, self.choices.iter().map(|text| text.parts.len() as u64).sum())
    }

    fn whole(&self) -> Value {
        let choices = self.choices.iter().enumerate();
        let choices: Value =
            choices.map(|(index, text)| choice(index, &text.text(), text.reason())).collect();
        Self::with_usage(self.body(&choices), self.usage())
    }

    fn events(&self, include_usage: bool) -> Vec<Bytes> {
        let chunk = |choices: Value, usage: Value| {
            let body = self.body(&choices);
            event(&if include_usage { Self::with_usage(body, usage) } else { body })
        };
        let mut events = Vec::new();
        for (index, text) in self.choices.iter().enumerate() {
            for part in &text.parts {
                events.push(chunk(json!([choice(index, part, Value::Null)]), Value::Null));
            }
            events.push(chunk(json!([choice(index, "", text.reason())]), Value::Null));
        }
        if include_usage {
            events.push(chunk(json!([]), self.usage()));
        }
        events.push(DONE);
        events
    }
}

impl Written {
    /// The `finish_reason`.
    fn reason(&self) -> Value {
        if self.cut { "length".into() } else { "stop".into() }
    }
}

fn choice(index: usize, text: &str, finish_reason: Value) -> Value {
    json!({ "text": text, "index": index, "logprobs": null, "finish_reason": finish_reason })
}
