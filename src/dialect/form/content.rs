//! What a turn says: of a request and of an answer.

use std::collections::HashMap;

use base64::Engine as _;
use serde_json::value::RawValue;

use crate::dialect::form::SIGNED_ID;
use crate::dialect::json;
use crate::dialect::loss::{Bad, Checked, Losses};

/// A part of a turn.
#[derive(Debug)]
pub(in crate::dialect) struct Part {
    pub(in crate::dialect) content: Content,
    /// The marker up to which the provider is to cache.
    pub(in crate::dialect) cache: Option<Box<RawValue>>,
}

/// What a part says.
#[derive(Clone, Debug)]
pub(in crate::dialect) enum Content {
    Text(String),
    Media(Media),
    Call(Call),
    Result(ToolResult),
    /// Thinking; what is signed must come back as it was.
    Thinking {
        text: String,
        signature: Option<String>,
    },
    /// Thinking that only the provider can read.
    Redacted(String),
    /// Why the model refuses.
    Refusal(String),
}

/// What kind of thing a [`Media`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dialect) enum Kind {
    Image,
    Audio,
    Document,
}

/// An image, a recording or a document.
#[derive(Clone, Debug)]
pub(in crate::dialect) struct Media {
    pub(in crate::dialect) kind: Kind,
    pub(in crate::dialect) source: Source,
    /// The file's name.
    pub(in crate::dialect) name: Option<String>,
    /// How closely to look.
    pub(in crate::dialect) detail: Option<String>,
    /// Where it stands in the client's request.
    pub(in crate::dialect) at: String,
}

/// Where the bytes of a [`Media`] are.
#[derive(Clone, Debug)]
pub(in crate::dialect) enum Source {
    Url(String),
    /// In base64.
    Inline {
        media_type: String,
        data: String,
    },
}

/// A call of a tool.
#[derive(Clone, Debug)]
pub(in crate::dialect) struct Call {
    pub(in crate::dialect) id: String,
    pub(in crate::dialect) name: String,
    /// The arguments, JSON if the model is right.
    pub(in crate::dialect) arguments: String,
}

/// What a tool gave.
#[derive(Clone, Debug)]
pub(in crate::dialect) struct ToolResult {
    /// The call's id.
    pub(in crate::dialect) id: String,
    /// The called tool's name.
    pub(in crate::dialect) name: String,
    /// Texts and media.
    pub(in crate::dialect) parts: Vec<Content>,
    pub(in crate::dialect) failed: bool,
}

impl Part {
    /// A part without a marker.
    pub(in crate::dialect) const fn plain(content: Content) -> Self {
        Self { content, cache: None }
    }

    /// A text.
    pub(in crate::dialect) const fn text(text: String) -> Self {
        Self::plain(Content::Text(text))
    }
}

impl Call {
    /// The arguments as an object. What a model left unfinished is an empty
    /// one.
    pub(in crate::dialect) fn input(&self) -> Box<RawValue> {
        json::as_object(&self.arguments)
            .or_else(|| json::as_object("{}"))
            .unwrap_or_else(|| RawValue::NULL.to_owned())
    }
}

/// Whether `text` is a type and a subtype without parameters (RFC 6838 §4.2): any
/// other text could be anything in the URL that it becomes a part of.
fn is_media_type(text: &str) -> bool {
    let named = |name: &str| {
        let sign = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
        !name.is_empty() && name.bytes().all(sign)
    };
    text.split_once('/').is_some_and(|(kind, sub)| named(kind) && named(sub))
}

impl Source {
    /// An address of the web, or the bytes that a data URL holds, which stands at
    /// `at`.
    pub(in crate::dialect) fn of_url(url: String, at: impl Into<String>) -> Checked<Self> {
        if ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Ok(Self::Url(url));
        }
        let data = url.strip_prefix("data:").and_then(|rest| rest.split_once(','));
        let data = data.and_then(|(head, data)| Some((head.strip_suffix(";base64")?, data)));
        let Some((head, data)) = data else {
            let message = "This must be an http(s) address or a data URL in base64.";
            return Err(Bad::invalid(at, message));
        };
        let media_type = head.split(';').next().unwrap_or_default().to_owned();
        Self::inline(media_type, data.to_owned(), at)
    }

    /// The bytes that `data`, which stands at `at`, spells in base64 (RFC 4648 §4,
    /// its padding may be missing).
    pub(in crate::dialect) fn inline(
        media_type: String,
        data: String,
        at: impl Into<String>,
    ) -> Checked<Self> {
        let digits = data.trim_end_matches('=');
        let padding = data.len() - digits.len();
        let digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
        let fits = padding == 0 || padding < 3 && data.len().is_multiple_of(4);
        if digits.is_empty() || digits.len() % 4 == 1 || !fits || !digits.bytes().all(digit) {
            return Err(Bad::invalid(at, "This must be base64."));
        }
        if !is_media_type(&media_type) {
            return Err(Bad::invalid(at, "This must have a media type such as image/png."));
        }
        Ok(Self::Inline { media_type, data })
    }

    /// A text, which stands at `at`, as the bytes of a file.
    pub(in crate::dialect) fn of_text(
        media_type: String,
        text: &str,
        at: impl Into<String>,
    ) -> Checked<Self> {
        if !is_media_type(&media_type) {
            return Err(Bad::invalid(at, "This must have a media type such as text/plain."));
        }
        let data = base64::engine::general_purpose::STANDARD.encode(text);
        Ok(Self::Inline { media_type, data })
    }

    /// As a URL.
    pub(in crate::dialect) fn to_url(&self) -> String {
        match self {
            Self::Url(url) => url.clone(),
            Self::Inline { media_type, data } => format!("data:{media_type};base64,{data}"),
        }
    }
}

impl Media {
    /// How many bytes it has, as far as they are given.
    fn size(&self) -> usize {
        match &self.source {
            Source::Url(_) => 0,
            Source::Inline { data, .. } => data.trim_end_matches('=').len() / 4 * 3,
        }
    }

    /// Whether it can go to a target that takes images of `most` bytes; an error if
    /// it cannot and may not be left out.
    pub(in crate::dialect) fn fits(&self, most: u64, losses: &mut Losses) -> Checked<bool> {
        let size = u64::try_from(self.size()).unwrap_or(u64::MAX);
        if self.kind != Kind::Image || size <= most {
            return Ok(true);
        }
        let message =
            format!("The image has {size} bytes; the provider of this model takes {most}.");
        losses.lose_as(self.at.as_str(), &message)?;
        Ok(false)
    }
}

/// The calls of a conversation so far: a result needs one.
#[derive(Debug, Default)]
pub(in crate::dialect) struct Calls(HashMap<String, Made>);

/// A call that was made.
#[derive(Debug)]
struct Made {
    name: String,
    /// Whether it has its result.
    answered: bool,
}

impl Calls {
    /// A call was made; its id stands at `at`.
    pub(in crate::dialect) fn made(
        &mut self,
        call: &Call,
        at: impl FnOnce() -> String,
    ) -> Checked<()> {
        let made = Made { name: call.name.clone(), answered: false };
        match self.0.insert(call.id.clone(), made) {
            None => Ok(()),
            Some(_) => Err(Bad::invalid(at(), "An earlier call of a tool has this id.")),
        }
    }

    /// The name of the tool whose call has the id that stands at `at`; the result of
    /// that call comes now.
    pub(in crate::dialect) fn name(
        &mut self,
        id: &str,
        at: impl FnOnce() -> String,
    ) -> Checked<String> {
        match self.0.get_mut(id) {
            Some(made) if !made.answered => {
                made.answered = true;
                Ok(made.name.clone())
            }
            Some(_) => Err(Bad::invalid(at(), "The call of this id has a result already.")),
            None => {
                let message = "No call of a tool before this result has this id.";
                Err(Bad::invalid(at(), message))
            }
        }
    }
}

/// The `id` of a call without what another provider put at its end.
pub(in crate::dialect) fn bare_call_id(id: &str) -> &str {
    id.split_once(SIGNED_ID).map_or(id, |(bare, _)| bare)
}
