//! Messages of Anthropic's: a stream of events as the whole message, and the
//! reverse.
//!
//! Sources: Anthropic API reference, "Create a Message" and "Streaming messages";
//! the rules by which events add up are those of the official SDK
//! (anthropic-sdk-python, `lib/streaming/_messages.py`).

use bytes::Bytes;

use super::merge::{Place, add};
use super::node::{Members, Node, items, members, null};
use super::write_data;
use crate::base::sse;

/// The members of an object that is made here.
type Object<'a> = Vec<(String, Node<'a>)>;

/// The message that `events` amount to; `None` if one of them is not what the API
/// describes.
pub(super) fn to_whole(events: &[Bytes]) -> Option<Bytes> {
    let mut sum = Sum::default();
    for event in events {
        let Some(data) = sse::data(event) else { continue };
        sum.add(&members(std::str::from_utf8(&data).ok()?)?)?;
    }
    serde_json::to_vec(&sum.finish()?).ok().map(Bytes::from)
}

/// What the events of a stream add up to so far.
#[derive(Default)]
struct Sum {
    message: Object<'static>,
    blocks: Vec<Block>,
}

/// A part of a message's content.
#[derive(Default)]
struct Block {
    members: Object<'static>,
    /// What a tool is called with, as far as it has come.
    input: String,
}

impl Sum {
    fn add(&mut self, event: &Members<'_>) -> Option<()> {
        match &*text_of(event, "type")? {
            "message_start" => {
                for (name, value) in &members(member(event, "message")?)? {
                    let place = if name == "usage" { Place::Delta } else { Place::Last };
                    add(&mut self.message, name, value, place, 0)?;
                }
            }
            "content_block_start" => {
                if index(event)? != self.blocks.len() {
                    return None;
                }
                let mut block = Block::default();
                for (name, value) in &members(member(event, "content_block")?)? {
                    let grows = matches!(&**name, "text" | "thinking" | "signature" | "citations");
                    let place = if grows { Place::Delta } else { Place::Last };
                    add(&mut block.members, name, value, place, 0)?;
                }
                self.blocks.push(block);
            }
            "content_block_delta" => {
                let block = self.blocks.get_mut(index(event)?)?;
                block.add(&members(member(event, "delta")?)?)?;
            }
            "message_delta" => self.add_end(event)?,
            "content_block_stop" | "message_stop" | "ping" => {}
            _ => return None,
        }
        Some(())
    }

    /// What is known at the end: why it ended, and what was used in all.
    fn add_end(&mut self, event: &Members<'_>) -> Option<()> {
        for (name, value) in event {
            match &**name {
                "type" => {}
                "delta" => {
                    for (name, value) in &members(value)? {
                        add(&mut self.message, name, value, Place::Last, 0)?;
                    }
                }
                "usage" => {
                    let usage = self.message.iter_mut().find(|(name, _)| name == "usage");
                    let Some((_, Node::Object(usage))) = usage else { return None };
                    for (name, value) in &members(value)? {
                        add(usage, name, value, Place::Last, 0)?;
                    }
                }
                name => add(&mut self.message, name, value, Place::Last, 0)?,
            }
        }
        Some(())
    }

    fn finish(mut self) -> Option<Node<'static>> {
        let content = self.blocks.into_iter().map(Block::finish).collect::<Option<_>>()?;
        let (_, place) = self.message.iter_mut().find(|(name, _)| name == "content")?;
        *place = Node::List(content);
        Some(Node::Object(self.message))
    }
}

impl Block {
    fn add(&mut self, delta: &Members<'_>) -> Option<()> {
        let kind = text_of(delta, "type")?;
        let name = match &*kind {
            "text_delta" => "text",
            "thinking_delta" => "thinking",
            "signature_delta" => "signature",
            "input_json_delta" => {
                let piece: String = serde_json::from_str(member(delta, "partial_json")?).ok()?;
                self.input.push_str(&piece);
                return Some(());
            }
            "citations_delta" => {
                let list = format!("[{}]", member(delta, "citation")?);
                return add(&mut self.members, "citations", &list, Place::Delta, 0);
            }
            _ => return None,
        };
        add(&mut self.members, name, member(delta, name)?, Place::Delta, 0)
    }

    fn finish(mut self) -> Option<Node<'static>> {
        if !self.input.is_empty() {
            add(&mut self.members, "input", self.input.trim(), Place::Last, 0)?;
        }
        Some(Node::Object(self.members))
    }
}

/// The events of the message `whole`; `None` if it is not what the API describes.
pub(super) fn to_stream(whole: &Members<'_>) -> Option<Bytes> {
    let mut events = Events::default();
    let mut message = Vec::new();
    let (mut content, mut usage, mut delta) = (None, None, Vec::new());
    for (name, value) in whole {
        let in_start = match &**name {
            "content" => {
                content = Some(items(value)?);
                Node::List(Vec::new())
            }
            "usage" => {
                usage = Some(*value);
                usage_so_far(value)?
            }
            "stop_reason" | "stop_sequence" => {
                delta.push((name.to_string(), Node::Raw(value)));
                Node::NULL
            }
            _ => Node::Raw(value),
        };
        message.push((name.to_string(), in_start));
    }
    if text_of(whole, "type")? != "message" {
        return None;
    }
    events.push("message_start", vec![("message", Node::Object(message))])?;
    for (index, block) in content?.into_iter().enumerate() {
        events.block(index as u64, &members(block)?)?;
    }
    let end = vec![("delta", Node::Object(delta)), ("usage", Node::Raw(usage?))];
    events.push("message_delta", end)?;
    events.push("message_stop", Vec::new())?;
    Some(Bytes::from(events.out))
}

/// The usage that a stream begins with: nothing of the answer is there yet.
fn usage_so_far(usage: &str) -> Option<Node<'_>> {
    let member = |(name, value): (std::borrow::Cow<'_, str>, &'_ str)| match &*name {
        "output_tokens" => (name.into_owned(), Node::Number(0)),
        _ => (name.into_owned(), Node::owned(value).unwrap_or(Node::NULL)),
    };
    Some(Node::Object(members(usage)?.into_iter().map(member).collect()))
}

/// Events in the making.
#[derive(Default)]
struct Events {
    out: Vec<u8>,
}

impl Events {
    fn push(&mut self, kind: &str, rest: Vec<(&str, Node<'_>)>) -> Option<()> {
        self.out.extend_from_slice(b"event: ");
        self.out.extend_from_slice(kind.as_bytes());
        self.out.push(b'\n');
        let mut data = vec![("type".to_owned(), Node::Text(kind.to_owned()))];
        data.extend(rest.into_iter().map(|(name, value)| (name.to_owned(), value)));
        write_data(&mut self.out, &Node::Object(data))
    }

    /// A block: its beginning, without what comes in pieces, these pieces, its end.
    fn block(&mut self, index: u64, block: &Members<'_>) -> Option<()> {
        let kind = text_of(block, "type")?;
        let mut start = Vec::new();
        let mut deltas: Vec<(&str, &str, Node<'_>)> = Vec::new();
        for (name, value) in block {
            let grows = match (&*kind, &**name) {
                ("text", "text") => Some(("text_delta", "text")),
                ("thinking", "thinking") => Some(("thinking_delta", "thinking")),
                ("thinking", "signature") => Some(("signature_delta", "signature")),
                _ => None,
            };
            let in_start = match (grows, &**name) {
                (Some((delta, piece)), _) if value.starts_with('"') => {
                    if value.len() > 2 {
                        deltas.push((delta, piece, Node::Raw(value)));
                    }
                    Node::Text(String::new())
                }
                (None, "citations") if kind == "text" && !null(value) => {
                    let each = items(value)?.into_iter();
                    deltas.extend(each.map(|one| ("citations_delta", "citation", Node::Raw(one))));
                    Node::List(Vec::new())
                }
                (None, "input") if kind.ends_with("tool_use") => {
                    let piece = Node::Text((*value).to_owned());
                    deltas.push(("input_json_delta", "partial_json", piece));
                    Node::Object(Vec::new())
                }
                _ => Node::Raw(value),
            };
            start.push((name.to_string(), in_start));
        }
        let place = || ("index", Node::Number(index));
        self.push("content_block_start", vec![place(), ("content_block", Node::Object(start))])?;
        for (kind, name, piece) in deltas {
            let delta =
                vec![("type".to_owned(), Node::Text(kind.to_owned())), (name.to_owned(), piece)];
            self.push("content_block_delta", vec![place(), ("delta", Node::Object(delta))])?;
        }
        self.push("content_block_stop", vec![place()])
    }
}

fn member<'a>(object: &Members<'a>, wanted: &str) -> Option<&'a str> {
    object.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value)
}

/// The text that is the member `wanted`.
fn text_of(object: &Members<'_>, wanted: &str) -> Option<String> {
    serde_json::from_str(member(object, wanted)?).ok()
}

/// The place of the block that an event is about.
fn index(event: &Members<'_>) -> Option<usize> {
    member(event, "index")?.parse().ok()
}

#[cfg(test)]
mod tests;
