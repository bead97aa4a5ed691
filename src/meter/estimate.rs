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

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
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

/// `text` cut into its tokens. A character over several tokens stays whole, so
/// there may be fewer parts than tokens.
pub fn split(text: &str) -> Vec<String> {
    let Some(encoding) = encoding() else { return vec![text.to_owned()] };
    let mut parts = Vec::new();
    let mut bytes = Vec::new();
    for token in encoding.encode(text) {
        bytes.extend(encoding.decode(&[token]));
        match String::from_utf8(std::mem::take(&mut bytes)) {
            Ok(part) => parts.push(part),
            Err(incomplete) => bytes = incomplete.into_bytes(),
        }
    }
    parts
}

/// The prompt tokens of the request `body` for the endpoint `path`, such as
/// `/v1/chat/completions`. A body that is not understood, or another path,
/// gives [`quick`] of its length.
pub fn prompt_tokens(path: &str, body: &[u8]) -> u64 {
    let counted = Kind::of(path).and_then(|kind| {
        let mut counter = Counter::new();
        let request = Request { kind, counter: &mut counter };
        serde_json::Deserializer::from_slice(body).deserialize_map(request).ok()?;
        Some(counter.total())
    });
    counted.unwrap_or_else(|| quick(body.len()))
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
        if window == 0 {
            self.skipped += text.len() as u64;
            return;
        }
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

/// A kind of request: which member is its prompt, and how that is counted.
#[derive(Clone, Copy)]
struct Kind {
    prompt: &'static str,
    place: Place,
    /// Tokens that every request of the kind has.
    fixed: u64,
}

impl Kind {
    fn of(path: &str) -> Option<Self> {
        let (prompt, place, fixed) = match path {
            "/v1/chat/completions" => ("messages", Place::Messages, TOKENS_TO_PRIME),
            "/v1/responses" => ("input", Place::Messages, TOKENS_TO_PRIME),
            "/v1/messages" | "/v1/messages/count_tokens" => {
                ("messages", Place::Messages, TOKENS_TO_PRIME)
            }
            "/v1/completions" => ("prompt", Place::Within, 0),
            "/v1/embeddings" => ("input", Place::Within, 0),
            _ => return None,
        };
        Some(Self { prompt, place, fixed })
    }
}

/// Where a value stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The messages, or the items of the Responses API; a text is one message.
    Messages,
    /// One message.
    Message,
    /// Within a message, or texts that are no messages.
    Within,
}

/// Counts a request while it is parsed; nothing of it is kept. An error if it
/// is no object with a prompt.
struct Request<'c> {
    kind: Kind,
    counter: &'c mut Counter,
}

impl<'de> Visitor<'de> for Request<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with {}", self.kind.prompt)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { kind, counter } = self;
        let mut has_prompt = false;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match &*key {
                key if key == kind.prompt => {
                    has_prompt = true;
                    map.next_value_seed(Count { place: kind.place, counter })?;
                }
                "instructions" | "system" => {
                    map.next_value_seed(Count { place: kind.place, counter })?
                }
                "tools" | "functions" => counter.text(map.next_value::<&RawValue>()?.get()),
                _ => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        counter.fixed(kind.fixed);
        if has_prompt { Ok(()) } else { Err(A::Error::missing_field(kind.prompt)) }
    }
}

/// Counts one value of a request while it is parsed.
struct Count<'c> {
    place: Place,
    counter: &'c mut Counter,
}

impl<'de> DeserializeSeed<'de> for Count<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Count<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    /// An element of an array of tokens.
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.counter.fixed(1);
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if self.place == Place::Messages {
            self.counter.fixed(TOKENS_PER_MESSAGE);
        }
        self.counter.text(text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { place, counter } = self;
        let place = if place == Place::Messages { Place::Message } else { Place::Within };
        while seq.next_element_seed(Count { place, counter })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { place, counter } = self;
        let is_message = place == Place::Message;
        if is_message {
            counter.fixed(TOKENS_PER_MESSAGE);
        }
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match &*key {
                "name" if is_message => {
                    counter.fixed(TOKENS_PER_NAME);
                    map.next_value_seed(Count { place: Place::Within, counter })?;
                }
                "role" | "name" | "content" | "text" | "refusal" | "arguments" | "output"
                | "function" | "tool_calls" => {
                    map.next_value_seed(Count { place: Place::Within, counter })?;
                }
                // What a tool of Anthropic's is called with.
                "input" => counter.text(map.next_value::<&RawValue>()?.get()),
                "source" => count_source(map.next_value::<&RawValue>()?, counter),
                "image_url" | "input_audio" | "file" | "file_data" | "file_id" => {
                    counter.fixed(MEDIA_TOKENS);
                    map.next_value::<IgnoredAny>()?;
                }
                _ => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(())
    }
}

/// What a block of Anthropic's stands for: a document may be a text.
#[derive(Deserialize)]
struct Source<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

fn count_source(source: &RawValue, counter: &mut Counter) {
    let source: Option<Source<'_>> = serde_json::from_str(source.get()).ok();
    let Some(Source { kind, data, content }) = source else {
        return counter.fixed(MEDIA_TOKENS);
    };
    let text = match kind.as_deref() {
        Some("text") => data,
        Some("content") => content,
        _ => None,
    };
    let Some(text) = text else { return counter.fixed(MEDIA_TOKENS) };
    let count = Count { place: Place::Within, counter };
    // It was parsed before, so there is nothing wrong with it.
    _ = count.deserialize(&mut serde_json::Deserializer::from_str(text.get()));
}

#[cfg(test)]
mod tests;
