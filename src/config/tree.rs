//! YAML text → a tree of nodes that know where they stand.
//!
//! Scalars stay text here: whether `30` is a number or a name is for the key
//! that reads it to say, and substitution comes first. Anchors and aliases are
//! resolved, within [`MAX_NODES`]; tags are refused.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::{Map, Value};

/// Most nodes of a file once its aliases are expanded, so that a few lines of
/// aliases of aliases cannot fill the memory.
const MAX_NODES: usize = 100_000;
/// Deepest nesting; the contract's own is 6.
const MAX_DEPTH: usize = 64;

/// A position in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    /// Line, from 1; 0 in what the built-in defaults say.
    pub(super) line: usize,
    /// Column in characters, from 1; 0 in what the built-in defaults say.
    pub(super) column: usize,
    /// Whether part of the value came from outside the file, so that an error
    /// must not show it.
    pub(super) outside: bool,
}

impl Mark {
    /// Line and column, both from 1.
    pub(super) const fn at(line: usize, column: usize) -> Self {
        Self { line, column, outside: false }
    }

    /// Whether the value comes from the built-in defaults.
    pub(super) const fn is_default(self) -> bool {
        self.line == 0
    }
}

/// A value and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    /// Where it begins.
    pub(super) mark: Mark,
    /// What it is.
    pub(super) kind: Kind,
}

/// The kinds of value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// A text, a number, `true`, `null`, …
    Scalar(Scalar),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the file. No key is there twice.
    Map(Vec<Entry>),
    /// A value that could not be had; already reported.
    Bad,
}

/// A scalar as it is written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scalar {
    /// Its text, escapes resolved.
    pub(super) text: String,
    /// Whether it stands without quotes.
    pub(super) plain: bool,
}

/// One key of a mapping and its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    /// The key.
    pub(super) key: String,
    /// Where the key stands.
    pub(super) mark: Mark,
    /// Its value.
    pub(super) value: Node,
}

impl Node {
    /// An empty mapping at `mark`.
    pub(super) const fn empty_map(mark: Mark) -> Self {
        Self { mark, kind: Kind::Map(Vec::new()) }
    }

    /// Whether this is YAML's null: nothing, `~` or `null` without quotes. What
    /// substitution emptied is an empty text, not null.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar(scalar) if scalar.plain && !self.mark.outside
            && matches!(scalar.text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The value of `key`, if this is a mapping that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match &self.kind {
            Kind::Map(entries) => {
                entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
            }
            _ => None,
        }
    }

    /// The text, if this is a scalar.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(scalar) => Some(&scalar.text),
            _ => None,
        }
    }

    /// The value as JSON, typed as YAML would: plain numbers, booleans and null.
    pub(super) fn json(&self) -> Value {
        match &self.kind {
            _ if self.is_null() => Value::Null,
            Kind::Bad => Value::Null,
            Kind::Scalar(scalar) if scalar.plain => match serde_json::from_str(&scalar.text) {
                Ok(value @ (Value::Bool(_) | Value::Number(_))) => value,
                _ => Value::String(scalar.text.clone()),
            },
            Kind::Scalar(scalar) => Value::String(scalar.text.clone()),
            Kind::List(items) => items.iter().map(Self::json).collect(),
            Kind::Map(entries) => {
                let pairs = entries.iter().map(|entry| (entry.key.clone(), entry.value.json()));
                Value::Object(pairs.collect::<Map<_, _>>())
            }
        }
    }

    /// Nodes in this value, itself included.
    fn size(&self) -> usize {
        match &self.kind {
            Kind::Scalar(_) | Kind::Bad => 1,
            Kind::List(items) => 1 + items.iter().map(Self::size).sum::<usize>(),
            Kind::Map(entries) => {
                1 + entries.iter().map(|entry| 1 + entry.value.size()).sum::<usize>()
            }
        }
    }
}

/// What is wrong with a text, and where.
pub(super) type Fault = (Mark, String);

/// Parses `text`, one document. An empty text is an empty mapping. The tree is
/// there despite faults that leave it whole, such as a key given twice, so that
/// what it says can be checked too; it is not there if the reading broke off.
pub(super) fn parse(text: &str) -> (Option<Node>, Vec<Fault>) {
    let mut builder = Builder::default();
    let mut parser = Parser::new_from_str(text);
    while let Some(next) = parser.next_event() {
        let stop = match next {
            Ok((event, span)) => builder.take(event, span).err(),
            Err(error) => {
                let at = error.marker();
                Some((Mark::at(at.line(), at.col() + 1), error.info().to_owned()))
            }
        };
        if let Some(fault) = stop {
            builder.faults.push(fault);
            return (None, builder.faults);
        }
    }
    let root =
        builder.root.filter(|root| !root.is_null()).unwrap_or(Node::empty_map(Mark::at(1, 1)));
    (Some(root), builder.faults)
}

/// A collection that is not complete yet.
struct Open {
    mark: Mark,
    anchor: usize,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Node>),
    /// The entries, and the key whose value comes next.
    Map(Vec<Entry>, Option<(String, Mark)>),
}

#[derive(Default)]
struct Builder {
    stack: Vec<Open>,
    anchors: HashMap<usize, Node>,
    root: Option<Node>,
    documents: usize,
    nodes: usize,
    faults: Vec<Fault>,
}

impl Builder {
    /// Takes the next event; an error ends the reading.
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let mark = Mark::at(span.start.line(), span.start.col() + 1);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err((mark, "a configuration is one YAML document".to_owned()));
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), mark);
                let plain = style == ScalarStyle::Plain;
                let scalar = Scalar { text: text.into_owned(), plain };
                self.place(Node { mark, kind: Kind::Scalar(scalar) }, anchor, 1)
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    return Err((mark, "this alias is part of the value that it names".to_owned()));
                };
                let node = node.clone();
                let size = node.size();
                self.place(node, 0, size)
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), mark);
                self.open(mark, anchor, OpenKind::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), mark);
                self.open(mark, anchor, OpenKind::Map(Vec::new(), None))
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.stack.pop() else { return Ok(()) };
                let anchor = open.anchor;
                self.place(close(open), anchor, 1)
            }
        }
    }

    fn refuse_tag(&mut self, tagged: bool, mark: Mark) {
        if tagged {
            self.faults.push((mark, "tags (`!…`) have no meaning here".to_owned()));
        }
    }

    fn open(&mut self, mark: Mark, anchor: usize, kind: OpenKind) -> Result<(), Fault> {
        if self.stack.len() >= MAX_DEPTH {
            return Err((mark, format!("nested more than {MAX_DEPTH} deep")));
        }
        self.stack.push(Open { mark, anchor, kind });
        Ok(())
    }

    /// Counts `size` more nodes.
    fn room(&mut self, size: usize, mark: Mark) -> Result<(), Fault> {
        self.nodes = self.nodes.saturating_add(size);
        if self.nodes > MAX_NODES {
            return Err(too_many(mark));
        }
        Ok(())
    }

    /// Puts a complete value where it belongs: into the innermost open
    /// collection, as a key or as a value.
    fn place(&mut self, node: Node, anchor: usize, size: usize) -> Result<(), Fault> {
        self.room(size, node.mark)?;
        if anchor > 0 {
            // The copy counts too: anchors within anchors are kept once a level.
            self.room(node.size(), node.mark)?;
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.kind {
            OpenKind::List(items) => items.push(node),
            OpenKind::Map(entries, pending) => match pending.take() {
                None => match node.kind {
                    Kind::Scalar(scalar) => *pending = Some((scalar.text, node.mark)),
                    _ => return Err((node.mark, "a key is a single text".to_owned())),
                },
                Some((key, mark)) => match entries.iter().find(|entry| entry.key == key) {
                    Some(first) => {
                        let line = first.mark.line;
                        self.faults.push((mark, format!("`{key}` is already set on line {line}")));
                    }
                    None => entries.push(Entry { key, mark, value: node }),
                },
            },
        }
        Ok(())
    }
}

fn too_many(mark: Mark) -> Fault {
    (mark, format!("more than {MAX_NODES} values, aliases expanded"))
}

fn close(open: Open) -> Node {
    let kind = match open.kind {
        OpenKind::List(items) => Kind::List(items),
        OpenKind::Map(entries, _) => Kind::Map(entries),
    };
    Node { mark: open.mark, kind }
}
