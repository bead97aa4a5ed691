//! JSON read field by field, so that what nobody has read is known, and written
//! in the order of the fields. Values that pass unread keep their spelling.

use std::borrow::Cow;
use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::dialect::loss::{Bad, Checked, Losses};

/// An object that is being read: its members leave it one by one.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    /// Where it stands, such as `messages[0]`; empty for the whole text.
    at: String,
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Fields<'a> {
    /// The members of `text`, which stands at `at`.
    pub(super) fn parse(text: &'a str, at: impl Into<String>) -> Checked<Self> {
        let at = at.into();
        let mut parser = serde_json::Deserializer::from_str(text);
        match parser.deserialize_map(Members).and_then(|members| parser.end().map(|()| members)) {
            Ok(members) => Ok(Self { at, members }),
            Err(_) => Err(Bad::invalid(at, "This must be an object.")),
        }
    }

    /// The members of a whole body.
    pub(super) fn body(body: &'a [u8]) -> Checked<Self> {
        let text = std::str::from_utf8(body)
            .map_err(|_| Bad::invalid("", "The body must be JSON in UTF-8."))?;
        Self::parse(text, "")
    }

    /// The path of member `name`.
    pub(super) fn path(&self, name: &str) -> String {
        if self.at.is_empty() { name.to_owned() } else { format!("{}.{name}", self.at) }
    }

    /// Where the object stands.
    pub(super) fn at(&self) -> &str {
        &self.at
    }

    /// Whether member `name` is there still, and not null.
    pub(super) fn has(&self, name: &str) -> bool {
        self.peek(name).is_some()
    }

    /// Member `name`, which stays.
    pub(super) fn peek(&self, name: &str) -> Option<&'a RawValue> {
        let (_, value) = self.members.iter().find(|(given, _)| given == name)?;
        (!is_null(value)).then_some(*value)
    }

    /// Takes member `name`; null is as if it were not there.
    pub(super) fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        let place = self.members.iter().position(|(given, _)| given == name)?;
        let (_, value) = self.members.remove(place);
        (!is_null(value)).then_some(value)
    }

    /// The same with memory of its own.
    pub(super) fn keep(&mut self, name: &str) -> Option<Box<RawValue>> {
        self.take(name).map(ToOwned::to_owned)
    }

    /// Takes member `name`, a text.
    pub(super) fn text(&mut self, name: &str) -> Checked<Option<String>> {
        self.typed(name, "This must be a string.")
    }

    /// The same where it must be there.
    pub(super) fn required_text(&mut self, name: &str) -> Checked<String> {
        self.text(name)?.ok_or_else(|| self.missing(name))
    }

    /// Takes member `name`, a whole number.
    pub(super) fn integer(&mut self, name: &str) -> Checked<Option<u64>> {
        self.typed(name, "This must be a whole number.")
    }

    /// Takes member `name`, true or false.
    pub(super) fn flag(&mut self, name: &str) -> Checked<Option<bool>> {
        self.typed(name, "This must be true or false.")
    }

    /// Takes member `name`, an array.
    pub(super) fn list(&mut self, name: &str) -> Checked<Option<Vec<&'a RawValue>>> {
        self.typed(name, "This must be an array.")
    }

    /// Takes member `name`, an array of objects.
    pub(super) fn objects(&mut self, name: &str) -> Checked<Vec<Fields<'a>>> {
        let items = self.list(name)?.unwrap_or_default();
        let path = self.path(name);
        let parse = |(index, item): (usize, &'a RawValue)| {
            Fields::parse(item.get(), format!("{path}[{index}]"))
        };
        items.into_iter().enumerate().map(parse).collect()
    }

    /// Takes member `name`, an object.
    pub(super) fn object(&mut self, name: &str) -> Checked<Option<Fields<'a>>> {
        let path = self.path(name);
        self.take(name).map(|value| Fields::parse(value.get(), path)).transpose()
    }

    /// The same where it must be there.
    pub(super) fn required_object(&mut self, name: &str) -> Checked<Fields<'a>> {
        self.object(name)?.ok_or_else(|| self.missing(name))
    }

    /// That member `name` is there, and no empty array.
    pub(super) fn check_filled(&self, name: &str) -> Checked<()> {
        let Some(value) = self.peek(name) else { return Err(self.missing(name)) };
        let inner = value.get().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        match inner {
            Some(inner) if inner.trim().is_empty() => {
                Err(Bad::invalid(self.path(name), "This must not be empty."))
            }
            _ => Ok(()),
        }
    }

    /// Takes member `name`, a text or an array of objects.
    pub(super) fn text_or_objects(&mut self, name: &str) -> Checked<Option<TextOr<'a>>> {
        let path = self.path(name);
        let Some(value) = self.take(name) else { return Ok(None) };
        if let Some(text) = as_text(value) {
            return Ok(Some(TextOr::Text(text)));
        }
        let items: Vec<&RawValue> = serde_json::from_str(value.get())
            .map_err(|_| Bad::invalid(path.as_str(), "This must be a string or an array."))?;
        let parse = |(index, item): (usize, &'a RawValue)| {
            Fields::parse(item.get(), format!("{path}[{index}]"))
        };
        let objects = items.into_iter().enumerate().map(parse).collect::<Checked<Vec<_>>>()?;
        Ok(Some(TextOr::Objects(objects)))
    }

    /// Takes the members `names` and forgets them.
    pub(super) fn ignore(&mut self, names: &[&str]) {
        self.members.retain(|(given, _)| !names.contains(&&**given));
    }

    /// All has been read: what is left has no meaning in the form and is lost.
    pub(super) fn finish(self, losses: &mut Losses) -> Checked<()> {
        for (name, value) in &self.members {
            if !is_null(value) {
                losses.lose(self.path(name))?;
            }
        }
        Ok(())
    }

    /// That member `name` is missing.
    pub(super) fn missing(&self, name: &str) -> Bad {
        Bad::invalid(self.path(name), "This field is required.")
    }

    fn typed<T: Deserialize<'a>>(&mut self, name: &str, message: &str) -> Checked<Option<T>> {
        let value = self.take(name).map(|value| serde_json::from_str(value.get()));
        value.transpose().map_err(|_| Bad::invalid(self.path(name), message))
    }
}

/// What stands where a text or an array of objects may.
#[derive(Debug)]
pub(super) enum TextOr<'a> {
    Text(String),
    Objects(Vec<Fields<'a>>),
}

/// The text `value`, if it is one.
pub(super) fn as_text(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// Whether `value` is a text.
pub(super) fn is_text(value: &RawValue) -> bool {
    value.get().starts_with('"')
}

/// `text` as the object that it spells; an empty one if it is blank.
pub(super) fn as_object(text: &str) -> Option<Box<RawValue>> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    let value = RawValue::from_string(text.to_owned()).ok()?;
    value.get().starts_with('{').then_some(value)
}

fn is_null(value: &RawValue) -> bool {
    value.get() == "null"
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((name, value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
            members.push((name.0, value));
        }
        Ok(members)
    }
}

/// A member's name, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// A value that is being written.
#[derive(Debug)]
pub(super) enum Node<'a> {
    Null,
    Flag(bool),
    Number(u64),
    Text(Cow<'a, str>),
    Raw(&'a RawValue),
    Owned(Box<RawValue>),
    List(Vec<Self>),
    Object(Object<'a>),
}

/// An object that is being written.
#[derive(Debug, Default)]
pub(super) struct Object<'a>(Vec<(&'static str, Node<'a>)>);

impl<'a> Object<'a> {
    /// An object without members.
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    /// An object that says what it is.
    pub(super) fn of(kind: &'a str) -> Self {
        Self::new().with("type", kind)
    }

    /// The same with one member more.
    #[must_use]
    pub(super) fn with(mut self, name: &'static str, value: impl Into<Node<'a>>) -> Self {
        self.0.push((name, value.into()));
        self
    }

    /// The same with all members of `more`.
    #[must_use]
    pub(super) fn and(mut self, more: Self) -> Self {
        self.0.extend(more.0);
        self
    }

    /// The same with one member more, if there is a value.
    #[must_use]
    pub(super) fn maybe(self, name: &'static str, value: Option<impl Into<Node<'a>>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// The same with one member more, if the list is not empty.
    #[must_use]
    pub(super) fn some(self, name: &'static str, list: Vec<Node<'a>>) -> Self {
        self.maybe(name, (!list.is_empty()).then_some(list))
    }

    /// The text of it.
    pub(super) fn to_bytes(&self) -> Bytes {
        // Nothing here can fail: names are texts, and raw values are JSON.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// Writes it to `out` as an event called `name`.
    pub(super) fn write_event(&self, name: Option<&str>, out: &mut BytesMut) {
        if let Some(name) = name {
            out.extend_from_slice(b"event: ");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\n");
        }
        out.extend_from_slice(b"data: ");
        let mut data = out.split_off(out.len()).writer();
        if serde_json::to_writer(&mut data, self).is_ok() {
            let mut data = data.into_inner();
            // Line ends stand between the tokens of raw values only.
            for byte in data.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')) {
                *byte = b' ';
            }
            out.unsplit(data);
        }
        out.extend_from_slice(b"\n\n");
    }
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl Serialize for Node<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_none(),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Raw(value) => value.serialize(serializer),
            Self::Owned(value) => value.serialize(serializer),
            Self::List(items) => serializer.collect_seq(items),
            Self::Object(object) => object.serialize(serializer),
        }
    }
}

impl<'a, T: Into<Self>> FromIterator<T> for Node<'a> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

impl<'a> From<&'a str> for Node<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl<'a> From<&'a String> for Node<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Node<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl<'a> From<Cow<'a, str>> for Node<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Node<'_> {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<u64> for Node<'_> {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl<'a> From<&'a RawValue> for Node<'a> {
    fn from(value: &'a RawValue) -> Self {
        Self::Raw(value)
    }
}

impl<'a> From<&'a Box<RawValue>> for Node<'a> {
    fn from(value: &'a Box<RawValue>) -> Self {
        Self::Raw(value)
    }
}

impl From<Box<RawValue>> for Node<'_> {
    fn from(value: Box<RawValue>) -> Self {
        Self::Owned(value)
    }
}

impl<'a> From<Vec<Self>> for Node<'a> {
    fn from(items: Vec<Self>) -> Self {
        Self::List(items)
    }
}

impl<'a> From<Object<'a>> for Node<'a> {
    fn from(object: Object<'a>) -> Self {
        Self::Object(object)
    }
}

impl<'a, T: Into<Self>> From<Option<T>> for Node<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Node::Null, Into::into)
    }
}
