//! The fields of a body that Tollgate reads: where they stand.

use std::borrow::Cow;
use std::ops::Range;

use crate::base::json::reader::{Kind, Sink, Text, Word};

/// Where a value stands; `None` if the field is not there.
pub(super) type Place = Option<Range<usize>>;

/// The values of the fields that are read, as they stand in the body.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) model: Place,
    pub(super) stream: Place,
    pub(super) stream_options: Place,
    pub(super) metadata: Place,
    pub(super) n: Place,
    pub(super) best_of: Place,
    pub(super) prompt: Place,
    pub(super) max_tokens: Place,
    pub(super) max_completion_tokens: Place,
    pub(super) max_output_tokens: Place,
    pub(super) previous: Place,
    pub(super) store: Place,
    pub(super) background: Place,
    pub(super) conversation: Place,
    pub(super) container: Place,
    pub(super) user: Place,
    pub(super) safety_identifier: Place,
    pub(super) prompt_cache_key: Place,
}

/// A field and the place that is noted for it.
type Slot = (&'static str, fn(&mut Fields) -> &mut Place);

/// Finds the fields while a body is read.
#[derive(Default)]
pub(super) struct Finder {
    pub(super) fields: Fields,
    /// A field that stands there twice, and where it does so again.
    pub(super) repeated: Option<(&'static str, usize)>,
    /// Where a name stands that is none: it has half a surrogate pair, which each
    /// parser takes for something else.
    pub(super) nameless: Option<usize>,
    /// Whether the body is an object.
    pub(super) is_object: bool,
    /// Objects and lists that are open.
    depth: usize,
    /// Where the value begins that is a member of the body.
    start: usize,
    /// The field whose value comes next.
    next: Option<Slot>,
}

impl Finder {
    /// Takes a value that has ended.
    fn value(&mut self, at: Range<usize>) {
        if self.depth == 1
            && let Some((_, place)) = self.next.take()
        {
            *place(&mut self.fields) = Some(at);
        }
    }

    fn name(&mut self, text: Text<'_>) {
        let Some(name) = name(text) else {
            self.nameless.get_or_insert(text.at);
            return;
        };
        self.next = slot(&name);
        if let Some((name, place)) = self.next
            && place(&mut self.fields).is_some()
        {
            self.repeated.get_or_insert((name, text.span().end));
        }
    }
}

impl<'j> Sink<'j> for Finder {
    fn begin(&mut self, kind: Kind, at: usize) {
        match self.depth {
            0 => self.is_object = kind == Kind::Object,
            1 => self.start = at,
            _ => {}
        }
        self.depth += 1;
    }

    fn end(&mut self, after: usize) {
        self.depth -= 1;
        self.value(self.start..after);
    }

    fn text(&mut self, text: Text<'j>) {
        if self.depth != 1 {
            return;
        }
        match text.is_name {
            true => self.name(text),
            false => self.value(text.span()),
        }
    }

    fn number(&mut self, spelling: &'j [u8], at: usize) {
        self.value(at..at + spelling.len());
    }

    fn word(&mut self, word: Word, at: usize) {
        self.value(at..at + word.spelling().len());
    }
}

/// A name without its escapes: one with some (`"mod\u0065l"`) must be recognised too.
fn name(text: Text<'_>) -> Option<Cow<'_, [u8]>> {
    if !text.escaped {
        return Some(Cow::Borrowed(text.raw));
    }
    let quoted = [b"\"", text.raw, b"\""].concat();
    let name = serde_json::from_slice::<String>(&quoted).ok()?;
    Some(Cow::Owned(name.into_bytes()))
}

fn slot(name: &[u8]) -> Option<Slot> {
    Some(match name {
        b"model" => ("model", |fields| &mut fields.model),
        b"stream" => ("stream", |fields| &mut fields.stream),
        b"stream_options" => ("stream_options", |fields| &mut fields.stream_options),
        b"metadata" => ("metadata", |fields| &mut fields.metadata),
        b"n" => ("n", |fields| &mut fields.n),
        b"best_of" => ("best_of", |fields| &mut fields.best_of),
        b"prompt" => ("prompt", |fields| &mut fields.prompt),
        b"max_tokens" => ("max_tokens", |fields| &mut fields.max_tokens),
        b"max_completion_tokens" => {
            ("max_completion_tokens", |fields| &mut fields.max_completion_tokens)
        }
        b"max_output_tokens" => ("max_output_tokens", |fields| &mut fields.max_output_tokens),
        b"previous_response_id" => ("previous_response_id", |fields| &mut fields.previous),
        b"store" => ("store", |fields| &mut fields.store),
        b"background" => ("background", |fields| &mut fields.background),
        b"conversation" => ("conversation", |fields| &mut fields.conversation),
        b"container" => ("container", |fields| &mut fields.container),
        b"user" => ("user", |fields| &mut fields.user),
        b"safety_identifier" => ("safety_identifier", |fields| &mut fields.safety_identifier),
        b"prompt_cache_key" => ("prompt_cache_key", |fields| &mut fields.prompt_cache_key),
        _ => return None,
    })
}
