//! Token counts where the provider reports none.
//!
//! Texts are counted with the `o200k_base` vocabulary, that of OpenAI's current
//! models; other providers' counts differ by some per cent. The rule for chats
//! is that of the OpenAI Cookbook, "How to count tokens with tiktoken": three
//! tokens a message, one more for a name, three to prime the answer.
//!
//! Counting is bounded: of one request at most 64 KiB of text are counted (about
//! 0.3 ms for prose, 10 ms at worst), of a longer text sixteen windows spread
//! evenly; the rest is scaled from what was counted.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::meter::text::Text;

/// Tokens of an image or another part that is no text: those of an image of
/// 1,024 × 1,024 at high detail by OpenAI's rule, 85 + 4 tiles × 170.
pub const MEDIA_TOKENS: u64 = 765;

const TOKENS_PER_MESSAGE: u64 = 3;
const TOKENS_PER_NAME: u64 = 1;
const TOKENS_TO_PRIME: u64 = 3;

/// Bytes of text that are counted for one request.
const BUDGET: usize = 64 * 1024;
/// Windows over which the budget is spread in a text that exceeds it.
const WINDOWS: usize = 16;

/// Loads the vocabulary, which takes some 60 ms once; the first count does so
/// otherwise.
pub fn warm() {
    encoding();
}

/// A rough count from a length in bytes alone, for reservations: a quarter of
/// it, rounded up.
pub const fn quick(bytes: usize) -> u64 {
    bytes.div_ceil(4) as u64
}

/// The tokens of `text`; scaled from a sample above 64 KiB.
pub fn text_tokens(text: &str) -> u64 {
    let mut counter = Counter::new();
    counter.text(text);
    counter.total()
}

/// The prompt tokens of the request `body` for the endpoint `path`, such as
/// `/v1/chat/completions`. A body that is not understood, or another path,
/// gives [`quick`] of its length.
pub fn prompt_tokens(path: &str, body: &[u8]) -> u64 {
    let mut counter = Counter::new();
    let counted = match path {
        "/v1/chat/completions" => read(body).map(|chat: Chat<'_>| chat.count(&mut counter)),
        "/v1/completions" => read(body).map(|text: Completion<'_>| text.prompt.count(&mut counter)),
        "/v1/embeddings" => read(body).map(|text: Embedding<'_>| text.input.count(&mut counter)),
        "/v1/responses" => read(body).map(|response: Response<'_>| response.count(&mut counter)),
        _ => None,
    };
    counted.map_or_else(|| quick(body.len()), |()| counter.total())
}

/// The answer tokens of a whole answer `body` that reports no usage.
pub fn answer_tokens(body: &[u8]) -> u64 {
    let mut text = Text::default();
    text.collect(body);
    text.tokens()
}

/// The tokens of `rest` bytes at the rate of `tokens` in `counted` bytes.
pub(super) fn scale(tokens: u64, counted: u64, rest: u64) -> u64 {
    if counted == 0 {
        return rest.div_ceil(4);
    }
    let scaled = u128::from(rest) * u128::from(tokens) / u128::from(counted);
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// The vocabulary. This build has it; `None` would mean counting by bytes.
fn encoding() -> Option<&'static tiktoken::CoreBpe> {
    tiktoken::get_encoding("o200k_base")
}

fn read<'a, T: serde::Deserialize<'a>>(body: &'a [u8]) -> Option<T> {
    serde_json::from_slice(body).ok()
}

/// Counts texts until the budget is used up, then bytes.
struct Counter {
    budget: usize,
    /// Tokens that follow from the rules and not from a text.
    fixed: u64,
    tokens: u64,
    counted: u64,
    skipped: u64,
}

impl Counter {
    const fn new() -> Self {
        Self { budget: BUDGET, fixed: 0, tokens: 0, counted: 0, skipped: 0 }
    }

    fn text(&mut self, text: &str) {
        if text.len() <= self.budget {
            self.count(text);
            return;
        }
        let window = self.budget / WINDOWS;
        let stride = text.len() / WINDOWS;
        let before = self.counted;
        for place in 0..WINDOWS {
            let start = text.floor_char_boundary(place * stride);
            let end = text.floor_char_boundary(place * stride + window);
            self.count(text.get(start..end).unwrap_or_default());
        }
        self.budget = 0;
        self.skipped += (text.len() as u64).saturating_sub(self.counted - before);
    }

    fn count(&mut self, text: &str) {
        self.tokens += encoding().map_or_else(|| quick(text.len()), |e| e.count(text) as u64);
        self.counted += text.len() as u64;
        self.budget = self.budget.saturating_sub(text.len());
    }

    const fn fixed(&mut self, tokens: u64) {
        self.fixed = self.fixed.saturating_add(tokens);
    }

    fn total(&self) -> u64 {
        let scaled = scale(self.tokens, self.counted, self.skipped);
        self.fixed.saturating_add(self.tokens).saturating_add(scaled)
    }
}

/// Text, or anything in which texts may be found.
#[derive(Debug, Default)]
enum Content<'a> {
    #[default]
    Nothing,
    Text(Cow<'a, str>),
    /// An element of an array of tokens.
    Number,
    Many(Vec<Self>),
    /// A part that is no text.
    Media,
    Item(Box<Item<'a>>),
}

/// A message, a part of one, or an item of the Responses API.
#[derive(Debug, Default)]
struct Item<'a> {
    role: Content<'a>,
    name: Content<'a>,
    /// `content`, `text`, `refusal`, `arguments`, `output`, `function`, `tool_calls`.
    texts: Vec<Content<'a>>,
}

impl Content<'_> {
    fn count(&self, counter: &mut Counter) {
        match self {
            Self::Nothing => {}
            Self::Text(text) => counter.text(text),
            Self::Number => counter.fixed(1),
            Self::Media => counter.fixed(MEDIA_TOKENS),
            Self::Many(parts) => parts.iter().for_each(|part| part.count(counter)),
            Self::Item(item) => {
                item.role.count(counter);
                item.name.count(counter);
                item.texts.iter().for_each(|text| text.count(counter));
            }
        }
    }

    /// Counts an array of messages by the Cookbook's rule.
    fn count_messages(&self, counter: &mut Counter) {
        let Self::Many(messages) = self else { return self.count(counter) };
        for message in messages {
            counter.fixed(TOKENS_PER_MESSAGE);
            if let Self::Item(item) = message
                && let Self::Text(_) = item.name
            {
                counter.fixed(TOKENS_PER_NAME);
            }
            message.count(counter);
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Content::Nothing)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Content::Nothing)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Content::Number)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Content::Number)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Content::Number)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Content::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Content::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut parts = Vec::new();
        while let Some(part) = seq.next_element()? {
            parts.push(part);
        }
        Ok(Content::Many(parts))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut item = Item::default();
        let mut media = false;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match &*key {
                "role" => item.role = map.next_value()?,
                "name" => item.name = map.next_value()?,
                "content" | "text" | "refusal" | "arguments" | "output" | "function"
                | "tool_calls" => item.texts.push(map.next_value()?),
                "image_url" | "input_audio" | "file" | "file_data" | "file_id" => {
                    media = true;
                    map.next_value::<IgnoredAny>()?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(if media { Content::Media } else { Content::Item(Box::new(item)) })
    }
}

/// A chat request, as far as it is prompt.
#[derive(serde::Deserialize)]
struct Chat<'a> {
    #[serde(borrow)]
    messages: Content<'a>,
    #[serde(borrow, default)]
    tools: Option<&'a RawValue>,
    #[serde(borrow, default)]
    functions: Option<&'a RawValue>,
}

impl Chat<'_> {
    fn count(&self, counter: &mut Counter) {
        counter.fixed(TOKENS_TO_PRIME);
        self.messages.count_messages(counter);
        for declared in [self.tools, self.functions].into_iter().flatten() {
            counter.text(declared.get());
        }
    }
}

#[derive(serde::Deserialize)]
struct Completion<'a> {
    #[serde(borrow)]
    prompt: Content<'a>,
}

#[derive(serde::Deserialize)]
struct Embedding<'a> {
    #[serde(borrow)]
    input: Content<'a>,
}

/// A request of the Responses API, as far as it is prompt.
#[derive(serde::Deserialize)]
struct Response<'a> {
    #[serde(borrow, default)]
    instructions: Content<'a>,
    #[serde(borrow)]
    input: Content<'a>,
    #[serde(borrow, default)]
    tools: Option<&'a RawValue>,
}

impl Response<'_> {
    fn count(&self, counter: &mut Counter) {
        counter.fixed(TOKENS_TO_PRIME);
        if let Content::Text(instructions) = &self.instructions {
            counter.fixed(TOKENS_PER_MESSAGE);
            counter.text(instructions);
        }
        if let Content::Text(_) = self.input {
            counter.fixed(TOKENS_PER_MESSAGE);
        }
        self.input.count_messages(counter);
        if let Some(tools) = self.tools {
            counter.text(tools.get());
        }
    }
}

#[cfg(test)]
mod tests;
