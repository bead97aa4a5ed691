//! OpenAI's Responses, without state.
//!
//! Source: OpenAI API reference, "Responses" and "Responses: streaming events".
//! Thinking goes as a reasoning item whose `encrypted_content` holds what signed
//! it, so that it comes back whole.
//!
//! What a client may send here and no other dialect has, and that changes no
//! answer, is left out: [`request::HARMLESS`].

mod events;
mod output;
mod request;

pub(super) use events::Writer;
pub(super) use output::write_answer;
pub(super) use request::read_request;

/// How the `encrypted_content` begins that holds a signature.
const SIGNED: &str = "signature.";
/// How it begins that holds thinking that only the provider can read.
const REDACTED: &str = "redacted.";
