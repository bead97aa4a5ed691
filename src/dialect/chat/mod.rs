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
mod model;
mod request;
mod write;

pub(super) use answer::{read_answer, write_answer};
pub(super) use events::{Reader, Writer};
pub(super) use request::read_request;
pub(super) use write::write_request;

use crate::dialect::json::{Fields, TextOr};
use crate::dialect::loss::Checked;

/// The text of a part of the kind `thinking`, which Mistral's models put among the
/// parts of a message: `thinking` is a text or a list of texts. Source: Mistral,
/// "Reasoning".
fn thinking_part(part: &mut Fields<'_>) -> Checked<String> {
    Ok(match part.text_or_objects("thinking")? {
        None => String::new(),
        Some(TextOr::Text(text)) => text,
        Some(TextOr::Objects(pieces)) => {
            let texts = pieces.into_iter().map(|mut piece| piece.text("text"));
            texts.collect::<Checked<Vec<_>>>()?.into_iter().flatten().collect()
        }
    })
}
