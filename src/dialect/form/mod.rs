//! The internal form: what all dialects say, once.
//!
//! Numbers, schemas and arguments that nobody looks into are kept as they were
//! spelt.

mod answer;
mod content;
mod request;

pub(super) use answer::{Answer, Choice, Delta, Event, Ids, Stop, Usage};
pub(super) use content::{
    Call, Calls, Content, Kind, Media, Part, Source, ToolResult, bare_call_id,
};
pub(super) use request::{
    Format, Message, OF_MESSAGES, Reasoning, Request, Role, SAMPLING, Tool, ToolChoice, is_usual,
};

/// The tool by which a model gives its answer where its dialect has no other
/// way to hold it to JSON.
pub(super) const ANSWER_TOOL: &str = "json_answer";

/// Ends the id of a call that its provider signed; what follows is the
/// signature, and another provider need not see it.
pub(super) const SIGNED_ID: &str = "__thought__";
