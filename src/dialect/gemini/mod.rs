//! Google's Gemini, `generateContent` and `streamGenerateContent`.
//!
//! Source: Google AI, "Gemini API reference: Generating content", and its guides
//! on function calling, thinking and thought signatures.
//!
//! Calls have ids from the third generation on alone; where they have none, they are
//! made. What signs a call's thinking must come back with the call and no client has
//! a field for it, so it goes at the end of the id.

mod answer;
mod thinking;
mod write;

pub(super) use answer::{Reader, read_answer};
pub(super) use write::write_request;

use crate::dialect::form::SIGNED_ID;

/// The id `call` with what signs it.
fn call_id(call: String, signature: Option<&str>) -> String {
    let fits = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    match signature {
        // Base64, in the letters that an id may have.
        Some(signature) => {
            let letters = signature.trim_end_matches('=').chars().map(|c| match c {
                '+' => '-',
                '/' => '_',
                c => c,
            });
            let letters = letters.filter(fits);
            call + SIGNED_ID + &letters.collect::<String>()
        }
        None => call,
    }
}

/// What signs the call of the id `id`.
fn signature(id: &str) -> Option<String> {
    let (_, letters) = id.split_once(SIGNED_ID)?;
    let mut signature: String = letters.replace('-', "+").replace('_', "/");
    while !signature.len().is_multiple_of(4) {
        signature.push('=');
    }
    Some(signature)
}
