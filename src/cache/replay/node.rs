//! JSON taken apart no further than needed: what is not looked into stays as
//! it was spelt.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// A JSON value.
#[derive(Clone, Debug)]
pub(super) enum Node<'a> {
    /// A value as it was spelt.
    Raw(&'a str),
    /// The same, with its own memory.
    Owned(Box<RawValue>),
    /// A text.
    Text(String),
    /// A whole number.
    Number(u64),
    /// An array.
    List(Vec<Self>),
    /// An object, its members in order.
    Object(Vec<(String, Self)>),
}

/// The members of an object in order, their values as they were spelt.
pub(super) type Members<'a> = Vec<(Cow<'a, str>, &'a str)>;

impl Node<'_> {
    /// `null`.
    pub(super) const NULL: Self = Node::Raw("null");

    /// `json` with memory of its own; `None` if it is no JSON.
    pub(super) fn owned(json: &str) -> Option<Node<'static>> {
        RawValue::from_string(json.to_owned()).ok().map(Node::Owned)
    }
}

impl Serialize for Node<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Raw(json) => {
                let value: &RawValue =
                    serde_json::from_str(json).map_err(serde::ser::Error::custom)?;
                value.serialize(serializer)
            }
            Self::Owned(value) => value.serialize(serializer),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::List(items) => serializer.collect_seq(items),
            Self::Object(members) => {
                serializer.collect_map(members.iter().map(|(name, value)| (name, value)))
            }
        }
    }
}

/// Whether `json` is `null`.
pub(super) fn null(json: &str) -> bool {
    json == "null"
}

/// Whether `json` is a text.
pub(super) fn text(json: &str) -> bool {
    json.starts_with('"')
}

/// The members of `json`; `None` if it is no object.
pub(super) fn members(json: &str) -> Option<Members<'_>> {
    let mut parser = serde_json::Deserializer::from_str(json);
    let members = parser.deserialize_map(MembersVisitor).ok()?;
    parser.end().ok()?;
    Some(members)
}

/// The elements of `json`; `None` if it is no array.
pub(super) fn items(json: &str) -> Option<Vec<&str>> {
    let items: Vec<&RawValue> = serde_json::from_str(json).ok()?;
    Some(items.into_iter().map(RawValue::get).collect())
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some((name, value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
            members.push((name.0, value.get()));
        }
        Ok(members)
    }
}

/// A member's name, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
