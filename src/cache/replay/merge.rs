//! How the deltas of a stream add up.

use super::node::{Node, items, members, null, text};

/// Deepest nesting that is added up; what lies deeper is replaced.
const MAX_DEPTH: usize = 8;

/// Texts of a delta that are said once, however often they come.
const SAID_ONCE: [&str; 3] = ["role", "id", "type"];

/// By which rule values add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The first that is not null stays: what every chunk repeats.
    Once,
    /// The last that is not null stays: what comes at the end.
    Last,
    /// Texts are joined, arrays joined or their elements added up by `index`,
    /// objects added up member by member: what comes in pieces.
    Delta,
}

/// Adds the member `name` with `value` to `sum`. `None` if `value` is no JSON.
pub(super) fn add(
    sum: &mut Vec<(String, Node<'static>)>,
    name: &str,
    value: &str,
    place: Place,
    depth: usize,
) -> Option<()> {
    let at = match sum.iter().position(|(known, _)| known == name) {
        Some(at) => at,
        None => {
            sum.push((name.to_owned(), Node::NULL));
            sum.len() - 1
        }
    };
    let (_, before) = sum.get_mut(at)?;
    if null(value) {
        return Some(());
    }
    let is_empty = matches!(before, Node::Raw("null"));
    match place {
        Place::Once if !is_empty => {}
        Place::Once | Place::Last => *before = Node::owned(value)?,
        Place::Delta => add_delta(before, name, value, depth)?,
    }
    Some(())
}

fn add_delta(before: &mut Node<'static>, name: &str, value: &str, depth: usize) -> Option<()> {
    if text(value) {
        let piece: String = serde_json::from_str(value).ok()?;
        match before {
            Node::Text(_) if SAID_ONCE.contains(&name) => {}
            Node::Text(text) => text.push_str(&piece),
            _ => *before = Node::Text(piece),
        }
    } else if depth < MAX_DEPTH && value.starts_with('{') {
        if !matches!(before, Node::Object(_)) {
            *before = Node::Object(Vec::new());
        }
        if let Node::Object(sum) = before {
            for (name, value) in members(value)? {
                add(sum, &name, value, Place::Delta, depth + 1)?;
            }
        }
    } else if depth < MAX_DEPTH && value.starts_with('[') {
        if !matches!(before, Node::List(_)) {
            *before = Node::List(Vec::new());
        }
        if let Node::List(sum) = before {
            for item in items(value)? {
                add_item(sum, item, depth + 1)?;
            }
        }
    } else {
        *before = Node::owned(value)?;
    }
    Some(())
}

/// Adds one element of an array: to the element with the same `index`, if it
/// has one, else at the end.
fn add_item(sum: &mut Vec<Node<'static>>, item: &str, depth: usize) -> Option<()> {
    let parts = if item.starts_with('{') { members(item)? } else { Vec::new() };
    let Some((_, index)) = parts.iter().find(|(name, _)| name == "index") else {
        sum.push(Node::owned(item)?);
        return Some(());
    };
    let has_index = |node: &Node<'static>| match node {
        Node::Object(known) => known.iter().any(|(name, value)| {
            name == "index" && matches!(value, Node::Owned(raw) if raw.get() == *index)
        }),
        _ => false,
    };
    let at = match sum.iter().position(has_index) {
        Some(at) => at,
        None => {
            sum.push(Node::Object(Vec::new()));
            sum.len() - 1
        }
    };
    if let Some(Node::Object(known)) = sum.get_mut(at) {
        for (name, value) in &parts {
            add(known, name, value, Place::Delta, depth)?;
        }
    }
    Some(())
}
