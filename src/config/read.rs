//! Node tree → raw structs, through serde.
//!
//! The reader never stops at an error: a bad value, an unknown key or a wrong
//! name is noted with its position, and the value of that key is
//! [`Field::Bad`](super::field::Field).

use std::cell::RefCell;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess,
    SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::field::FIELD;
use super::raw::JSON;
use super::tree::{Entry, Fault, Kind, Mark, Node};

/// Keys whose values are never shown, nor anything below them: secrets, and
/// addresses that may carry one.
const HIDDEN: [&str; 11] = [
    "api_key",
    "api_keys",
    "base_url",
    "key",
    "master_key",
    "postgres",
    "redis",
    "retired_keys",
    "stripe",
    "token",
    "webhooks",
];

/// Reads `node` as a `T`. `None` only if it is of another kind altogether;
/// everything that is wrong is added to `faults`.
pub(super) fn read<T: DeserializeOwned>(node: &Node, faults: &mut Vec<Fault>) -> Option<T> {
    let noted = RefCell::new(Vec::new());
    let value = T::deserialize(Reader { node, hidden: false, noted: &noted });
    faults.append(&mut noted.borrow_mut());
    match value {
        Ok(value) => Some(value),
        Err(problem) => {
            faults.push((problem.mark.unwrap_or(node.mark), problem.message));
            None
        }
    }
}

/// A value as text for an error: quoted, escaped, cut.
pub(super) fn shown(text: &str) -> String {
    let cut: String = text.chars().take(40).flat_map(char::escape_debug).collect();
    if text.chars().nth(40).is_some() { format!("`{cut}…`") } else { format!("`{cut}`") }
}

/// ` (did you mean …?)` if one of `known` is close to `word`, else nothing.
pub(super) fn suggestion<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let plain = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    let word = plain(word);
    let near = known
        .into_iter()
        .map(|name| (strsim::osa_distance(&word, &plain(name)), name))
        .filter(|(distance, name)| *distance <= 1.max(name.len() / 3))
        .min();
    near.map_or_else(String::new, |(_, name)| format!(" (did you mean `{name}`?)"))
}

/// The names with commas between them.
pub(super) fn listed(names: &[&str]) -> String {
    names.join(", ")
}

#[derive(Clone, Copy)]
struct Reader<'de> {
    node: &'de Node,
    hidden: bool,
    noted: &'de RefCell<Vec<Fault>>,
}

/// Why a value cannot be read.
#[derive(Debug)]
struct Problem {
    /// Where; `None` until a reader that knows adds it.
    mark: Option<Mark>,
    message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl de::Error for Problem {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { mark: None, message: message.to_string() }
    }
}

impl<'de> Reader<'de> {
    fn note(&self, mark: Mark, message: String) {
        self.noted.borrow_mut().push((mark, message));
    }

    /// `, found …`; nothing where the value must not be shown.
    fn found(&self) -> String {
        match &self.node.kind {
            Kind::Map(_) => ", found a mapping".to_owned(),
            Kind::List(_) => ", found a list".to_owned(),
            Kind::Bad => String::new(),
            Kind::Scalar(_) if self.node.is_null() => ", found nothing".to_owned(),
            Kind::Scalar(_) if self.hidden || self.node.mark.outside => String::new(),
            Kind::Scalar(scalar) => format!(", found {}", shown(&scalar.text)),
        }
    }

    fn problem(&self, message: &str) -> Problem {
        Problem { mark: Some(self.node.mark), message: format!("{message}{}", self.found()) }
    }

    fn expected(&self, expected: &dyn Expected) -> Problem {
        self.problem(&format!("expected {expected}"))
    }

    /// Adds what the reader knows to a problem from within.
    fn place(&self, problem: Problem) -> Problem {
        match problem.mark {
            Some(_) => problem,
            None => self.problem(&problem.message),
        }
    }

    fn text<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match &self.node.kind {
            Kind::Scalar(scalar) if !self.node.is_null() => {
                visitor.visit_str(&scalar.text).map_err(|problem| self.place(problem))
            }
            _ => Err(self.expected(&visitor)),
        }
    }

    fn mapping<V: Visitor<'de>>(
        self,
        known: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        match &self.node.kind {
            Kind::Map(entries) => {
                let keys = Keys { reader: self, entries: entries.iter(), known, value: None };
                visitor.visit_map(keys).map_err(|problem| self.place(problem))
            }
            _ => Err(self.problem("expected a mapping")),
        }
    }
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Problem;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match &self.node.kind {
            Kind::Scalar(_) | Kind::Bad => self.text(visitor),
            Kind::List(_) => self.deserialize_seq(visitor),
            Kind::Map(_) => self.mapping(None, visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match &self.node.kind {
            Kind::Scalar(scalar) if scalar.plain => match scalar.text.as_str() {
                "true" | "True" | "TRUE" => visitor.visit_bool(true),
                "false" | "False" | "FALSE" => visitor.visit_bool(false),
                _ => Err(self.problem("expected true or false")),
            },
            Kind::Scalar(_) => Err(self.problem("expected true or false without quotes")),
            _ => Err(self.problem("expected true or false")),
        }
    }

    /// A number: a text to the visitor, but one without quotes.
    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match &self.node.kind {
            Kind::Scalar(scalar) if !scalar.plain => {
                Err(self.problem("expected a number without quotes"))
            }
            _ => self.text(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.text(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.text(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        if self.node.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        if name == FIELD {
            visitor.visit_seq(Parts { reader: self, given: 0 })
        } else if name == JSON {
            visitor.visit_string(self.node.json().to_string())
        } else {
            visitor.visit_newtype_struct(self)
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match &self.node.kind {
            Kind::List(items) => {
                let items = Items { reader: self, items: items.iter() };
                visitor.visit_seq(items).map_err(|problem| self.place(problem))
            }
            _ => Err(self.problem("expected a list")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.mapping(None, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.mapping(Some(fields), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        let allowed = format!("expected {}", listed(variants));
        match &self.node.kind {
            Kind::Scalar(scalar) => {
                let text = scalar.text.as_str();
                if variants.contains(&text) {
                    let name: StrDeserializer<'_, Problem> = text.into_deserializer();
                    return visitor.visit_enum(name);
                }
                let mut problem = self.problem(&allowed);
                if !self.hidden && !self.node.mark.outside {
                    problem.message += &suggestion(text, variants.iter().copied());
                }
                Err(problem)
            }
            _ => Err(self.problem(&allowed)),
        }
    }

    /// Anything goes; what is below is not looked at.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u128 f32 f64 char bytes byte_buf unit
        unit_struct tuple tuple_struct identifier
    }
}

/// What a [`Field`](super::field::Field) is made of: the mark, then the value.
struct Parts<'de> {
    reader: Reader<'de>,
    given: u8,
}

impl<'de> SeqAccess<'de> for Parts<'de> {
    type Error = Problem;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Problem> {
        let Mark { line, column, outside } = self.reader.node.mark;
        self.given += 1;
        match self.given {
            1 => seed.deserialize(line.into_deserializer()).map(Some),
            2 => seed.deserialize(column.into_deserializer()).map(Some),
            3 => seed.deserialize(outside.into_deserializer()).map(Some),
            _ if self.reader.node.kind == Kind::Bad => Ok(None),
            _ => Ok(seed.deserialize(self.reader).map_or_else(
                |problem| {
                    let mark = problem.mark.unwrap_or(self.reader.node.mark);
                    self.reader.note(mark, problem.message);
                    None
                },
                Some,
            )),
        }
    }
}

struct Items<'de> {
    reader: Reader<'de>,
    items: std::slice::Iter<'de, Node>,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Problem;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Problem> {
        let Some(node) = self.items.next() else { return Ok(None) };
        seed.deserialize(Reader { node, ..self.reader }).map(Some)
    }
}

struct Keys<'de> {
    reader: Reader<'de>,
    entries: std::slice::Iter<'de, Entry>,
    /// The keys that may be there; `None` allows any.
    known: Option<&'static [&'static str]>,
    value: Option<&'de Entry>,
}

impl<'de> MapAccess<'de> for Keys<'de> {
    type Error = Problem;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Problem> {
        for entry in self.entries.by_ref() {
            let key = entry.key.as_str();
            if let Some(known) = self.known
                && !known.contains(&key)
            {
                let hint = suggestion(key, known.iter().copied());
                let known = listed(known);
                self.reader
                    .note(entry.mark, format!("unknown key {}{hint}; known: {known}", shown(key)));
                continue;
            }
            self.value = Some(entry);
            let key: StrDeserializer<'_, Problem> = key.into_deserializer();
            return seed.deserialize(key).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Problem> {
        let entry = self.value.take().ok_or_else(|| de::Error::custom("a value before its key"))?;
        let hidden = self.reader.hidden || HIDDEN.contains(&entry.key.as_str());
        seed.deserialize(Reader { node: &entry.value, hidden, ..self.reader })
    }
}
