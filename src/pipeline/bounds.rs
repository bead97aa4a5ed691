//! How large a request may be and is expected to be: the class's limits on its
//! tokens, and the tokens that its price and cost are estimated from.

use memchr::memmem;

use crate::config::Class;
use crate::intake::endpoint::Endpoint;
use crate::intake::request::Request;
use crate::ledger::record::Tokens;
use crate::meter::estimate;
use crate::refusal::{Code, Refusal};

/// Tokens of one answer that a call is assumed to make where the request and the
/// class set no limit.
const ASSUMED_OUTPUT: u64 = 512;

/// Tokens that the answers of a request together may have where nothing else
/// limits them, a budget is spent on them and they are sold by the token.
const BUDGETED_OUTPUT: u64 = 4_096;

/// Holds `request` to the limits of `class`: a longer prompt is refused, a
/// longer answer is limited. One that is `budgeted`, paid by the token out of a
/// budget, must have limits, as its price is reserved. Gives the limit that was
/// put on its answers.
///
/// # Errors
/// 400 `invalid_value` if the prompt is too long, goes on with something whose
/// length is not known, or asks for more answers than there may be tokens.
pub(super) fn hold(
    class: &Class,
    endpoint: Endpoint,
    request: &mut Request,
    budgeted: bool,
) -> Result<Option<u64>, Refusal> {
    if budgeted && request.continues {
        let message = "The tokens of an earlier response or conversation are not known here, so \
                       requests that are paid by the token out of a budget do not go on with one.";
        return Err(Refusal::new(Code::InvalidValue, message).param("previous_response_id"));
    }
    if let Some(most) = class.max_input_tokens {
        check_input(class, most, endpoint, request)?;
    }
    let unlimited = budgeted && request.output_limit(endpoint).is_none();
    let most = class.max_output_tokens.or(unlimited.then_some(BUDGETED_OUTPUT));
    if let Some(most) = most {
        request.cap_output(endpoint, most)?;
    }
    Ok(most)
}

fn check_input(
    class: &Class,
    most: u64,
    endpoint: Endpoint,
    request: &Request,
) -> Result<(), Refusal> {
    let name = &class.name;
    if request.continues {
        let message = format!(
            "The class '{name}' limits the tokens of a prompt, so its requests do not go on with \
             an earlier response or conversation, whose tokens are not known here."
        );
        return Err(Refusal::new(Code::InvalidValue, message).param("previous_response_id"));
    }
    let body = request.body();
    if is_shorter(body, most) {
        return Ok(());
    }
    let tokens = estimate::prompt_tokens(endpoint.path(), body);
    if tokens <= most {
        return Ok(());
    }
    let message =
        format!("The prompt has about {tokens} tokens; the class '{name}' allows at most {most}.");
    let param = match endpoint {
        Endpoint::ChatCompletions | Endpoint::Messages | Endpoint::CountTokens => "messages",
        Endpoint::Completions => "prompt",
        Endpoint::Embeddings | Endpoint::Responses => "input",
    };
    Err(Refusal::new(Code::InvalidValue, message).param(param))
}

/// Whether `body` cannot hold more than `most` tokens, seen from its length: a
/// token of text is a byte at least. Media are counted by the piece, and a key
/// in escapes may name one.
fn is_shorter(body: &[u8], most: u64) -> bool {
    body.len() as u64 <= most && is_text(body)
}

/// Whether `body` holds nothing but text.
fn is_text(body: &[u8]) -> bool {
    const NOT_TEXT: [&[u8]; 5] = [b"image", b"audio", b"file", b"\"document\"", b"\\u"];
    !NOT_TEXT.iter().any(|key| memmem::find(body, key).is_some())
}

/// What `request` is expected to use: a quarter of its bytes as the prompt, and
/// all the answer that it allows, or that is assumed where nothing limits it.
pub(super) fn assumed(endpoint: Endpoint, request: &Request) -> Tokens {
    if endpoint.is_free() {
        return Tokens::default();
    }
    let input = estimate::quick(request.body().len());
    Tokens { input, output: output(endpoint, request), ..Tokens::default() }
}

/// The most that `request` can use, where [`hold`] has limited its answers: a
/// token of text is a byte at least, and media are counted by the piece.
pub(super) fn most(endpoint: Endpoint, request: &Request) -> Tokens {
    let body = request.body();
    let bytes = body.len() as u64;
    let input = match is_text(body) {
        true => bytes,
        false => bytes.max(estimate::prompt_tokens(endpoint.path(), body)),
    };
    Tokens { input, output: output(endpoint, request), ..Tokens::default() }
}

fn output(endpoint: Endpoint, request: &Request) -> u64 {
    let each = request.output_limit(endpoint).unwrap_or(ASSUMED_OUTPUT);
    each.saturating_mul(request.answers(endpoint))
}
