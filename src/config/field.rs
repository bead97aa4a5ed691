//! One key's value as the raw structs hold it: absent, null, bad, or a value
//! with its position.
//!
//! A bad value is reported when it is read and leaves a mark here, so that
//! reading and checking go on and one run finds every error.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};

use super::tree::Mark;

/// The name by which the reader recognises a [`Field`].
pub(super) const FIELD: &str = "tollgate::Field";

/// The value of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Field<T> {
    /// The key is not there.
    #[default]
    Absent,
    /// The key is there without a value.
    Null(Mark),
    /// The value is of the wrong kind; already reported.
    Bad(Mark),
    /// The value.
    Set(Mark, T),
}

impl<T> Field<T> {
    /// The value, if there is a good one.
    pub(super) const fn value(&self) -> Option<&T> {
        match self {
            Self::Set(_, value) => Some(value),
            _ => None,
        }
    }

    /// The value and its position, if there is a good one.
    pub(super) const fn placed(&self) -> Option<(Mark, &T)> {
        match self {
            Self::Set(mark, value) => Some((*mark, value)),
            _ => None,
        }
    }

    /// Where the value stands, if the key is there at all.
    pub(super) const fn mark(&self) -> Option<Mark> {
        match self {
            Self::Absent => None,
            Self::Null(mark) | Self::Bad(mark) | Self::Set(mark, _) => Some(*mark),
        }
    }

    /// Whether the value was reported as bad.
    pub(super) const fn is_bad(&self) -> bool {
        matches!(self, Self::Bad(_))
    }
}

impl<T: Copy> Field<T> {
    /// The value, or `otherwise` if there is no good one.
    pub(super) fn or(&self, otherwise: T) -> T {
        self.value().copied().unwrap_or(otherwise)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(FIELD, FieldVisitor(PhantomData))
    }
}

/// Takes the mark and the value from the reader. The value is missing where it
/// was bad, and `None` where it is null.
struct FieldVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for FieldVisitor<T> {
    type Value = Field<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value with its position")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Field<T>, A::Error> {
        let missing = || A::Error::custom("a position is missing");
        let line = parts.next_element()?.ok_or_else(missing)?;
        let column = parts.next_element()?.ok_or_else(missing)?;
        let outside = parts.next_element()?.ok_or_else(missing)?;
        let mark = Mark { line, column, outside };
        Ok(match parts.next_element::<Option<T>>()? {
            None => Field::Bad(mark),
            Some(None) => Field::Null(mark),
            Some(Some(value)) => Field::Set(mark, value),
        })
    }
}

impl<T: JsonSchema> JsonSchema for Field<T> {
    fn inline_schema() -> bool {
        <Option<T>>::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        <Option<T>>::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        <Option<T>>::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        <Option<T>>::json_schema(generator)
    }

    fn _schemars_private_is_option() -> bool {
        true
    }
}
