//! OpenAI's Chat Completions.
//!
//! Source: OpenAI API reference, "Chat completions". Thinking goes as
//! `reasoning_content`, as DeepSeek and vLLM have it, and what is signed also as
//! `thinking_blocks`, as LiteLLM has it, so that it comes back whole.
//!
//! What a client may send here and no other dialect has, and that changes no
//! answer, is left out: [`request::HARMLESS`].

mod answer;
mod events;
mod request;
mod write;

pub(super) use answer::{read_answer, write_answer};
pub(super) use events::{Reader, Writer};
pub(super) use request::read_request;
pub(super) use write::write_request;
