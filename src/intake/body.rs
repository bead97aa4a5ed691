//! Reading a body whole: its size and its pace are bounded.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};

use crate::base::patience::within;
use crate::config::Listen;
use crate::exchange::{Client, ReadError};
use crate::refusal::{Code, Refusal};

/// Largest buffer made on the word of a `content-length` alone.
const TRUSTED_LENGTH: usize = 1024 * 1024;

/// Refuses from the headers alone what would be refused after reading.
///
/// # Errors
/// 413 if the declared length is over the limit, 415 if the body is declared to
/// be something else than plain JSON.
pub fn check_headers(headers: &HeaderMap, limits: &Listen) -> Result<(), Refusal> {
    if declared_length(headers).is_some_and(|length| length > limits.body_limit) {
        return Err(too_large(limits));
    }
    check_encoding(headers)?;
    match headers.get(CONTENT_TYPE) {
        Some(value) if !is_json(value.as_bytes()) => Err(Refusal::new(
            Code::UnsupportedMediaType,
            "The body must be JSON: send content-type: application/json.",
        )),
        _ => Ok(()),
    }
}

/// Refuses an encoded body: it cannot be read here, and a provider, to which the
/// header is not passed on, would take it for what it is not.
///
/// # Errors
/// 415 unless the body is as it is.
pub fn check_encoding(headers: &HeaderMap) -> Result<(), Refusal> {
    match headers.get(CONTENT_ENCODING) {
        Some(value) if !value.as_bytes().eq_ignore_ascii_case(b"identity") => Err(Refusal::new(
            Code::UnsupportedMediaType,
            "An encoded body is not understood: send it without content-encoding.",
        )),
        _ => Ok(()),
    }
}

/// Reads the body of `client` whole.
///
/// # Errors
/// 413 if it is over `limits.body_limit`, 408 if it stalls or is slower than
/// `limits.min_body_rate` after `limits.body_grace`, 400 if it is cut or its chunks are
/// malformed.
pub async fn read<C: Client>(client: &mut C, limits: &Listen) -> Result<Bytes, Refusal> {
    let declared = declared_length(&client.head().headers);
    let begun = tokio::time::Instant::now();
    let first = match answered(within(limits.body_grace, client.read()).await)? {
        None => return Ok(Bytes::new()),
        Some(first) if declared == Some(first.len()) => return Ok(first),
        Some(first) => first,
    };
    let room = declared.unwrap_or(first.len() * 2).min(TRUSTED_LENGTH);
    let mut whole = BytesMut::with_capacity(room.max(first.len()));
    whole.extend_from_slice(&first);
    drop(first);
    loop {
        if whole.len() > limits.body_limit {
            return Err(too_large(limits));
        }
        let earned = Duration::from_secs(whole.len() as u64 / limits.min_body_rate.max(1));
        let left = limits.body_grace + earned;
        let left = left.checked_sub(begun.elapsed()).ok_or_else(too_slow)?;
        if answered(within(left, client.read_into(&mut whole)).await)? == 0 {
            return Ok(whole.freeze());
        }
    }
}

/// What a read came to, `None` if it took too long.
fn answered<T>(read: Option<Result<T, ReadError>>) -> Result<T, Refusal> {
    match read {
        Some(Ok(read)) => Ok(read),
        None | Some(Err(ReadError::Slow)) => Err(too_slow()),
        Some(Err(ReadError::Broken)) => Err(Refusal::new(
            Code::InvalidJson,
            "The request's body ended early or its framing is malformed.",
        )),
    }
}

fn declared_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// Whether a media type is JSON: `application/json`, or any `+json`.
fn is_json(value: &[u8]) -> bool {
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    essence.eq_ignore_ascii_case(b"application/json")
        || essence
            .len()
            .checked_sub(5)
            .and_then(|at| essence.get(at..))
            .is_some_and(|end| end.eq_ignore_ascii_case(b"+json"))
}

fn too_large(limits: &Listen) -> Refusal {
    Refusal::new(
        Code::RequestTooLarge,
        format!("The body is larger than the limit of {} bytes.", limits.body_limit),
    )
}

fn too_slow() -> Refusal {
    Refusal::new(Code::RequestTimeout, "The request's body came too slowly.")
}

#[cfg(test)]
mod tests {
    use super::is_json;

    #[test]
    fn json_is_known_by_its_media_type() {
        for yes in ["application/json", "Application/JSON; charset=utf-8", "application/x+json"] {
            assert!(is_json(yes.as_bytes()), "{yes}");
        }
        for no in ["text/plain", "application/jsonx", "json", "+jso", ""] {
            assert!(!is_json(no.as_bytes()), "{no}");
        }
    }
}
