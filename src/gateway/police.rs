//! What HTTP forbids and parsers let pass, for both versions of it; and
//! refusals of what is no request.
//!
//! All of it is decided before anything else is, so that no stage ever meets a
//! request of which two readers could think differently.

use std::borrow::Cow;

use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, TRANSFER_ENCODING,
    UPGRADE,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, Method, Version, request};

use crate::connection::head::{BadHead, LARGEST_HEAD, MOST_FIELDS, is_plain, is_served};
use crate::refusal::{Code, Refusal};

/// The methods that a refusal of another names.
const ALLOWED: &str = "GET, POST";
/// Fields of which stages read the first and providers may heed another
/// (RFC 9110 §5.3 allows one of these each).
const SINGLE: [HeaderName; 7] = [
    CONTENT_TYPE,
    AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    CONTENT_LENGTH,
    CONTENT_ENCODING,
    EXPECT,
    UPGRADE,
];
/// Digits of the longest length that every reader can hold.
const LONGEST_LENGTH: usize = 18;

/// Refuses a head that is ambiguous, too large, or asks for what no path has.
pub(super) fn police(head: &request::Parts) -> Result<(), Refusal> {
    let headers = &head.headers;
    if headers.len() > MOST_FIELDS || header_list_size(head) > LARGEST_HEAD {
        return Err(refusal(BadHead::TooLarge));
    }
    if !is_served(head.method.as_str().as_bytes()) {
        return Err(refusal(BadHead::Method));
    }
    let repeats = headers.len() > headers.keys_len();
    let twice = |single: &&HeaderName| headers.get_all(*single).iter().nth(1).is_some();
    if repeats && let Some(single) = SINGLE.iter().find(twice) {
        let message = "A header that may stand once is there more than once.";
        return Err(bad(message, single.as_str().to_owned()));
    }
    let target = head.uri.path_and_query().map_or("", |target| target.as_str());
    if !target.starts_with('/') || !is_plain(target.as_bytes()) {
        let message = "The target is no path, or has a byte that must be encoded there.";
        return Err(bad(message, "target"));
    }
    host(head)?;
    framing(headers, head.version)?;
    // An HTTP/1.0 client cannot expect anything (RFC 9110 §10.1.1).
    let expects = headers.get(EXPECT).filter(|_| head.version != Version::HTTP_10);
    if expects.is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(bad("The only expectation that can be met is 100-continue.", "expect"));
    }
    if upgrades(head) && has_body(headers) {
        return Err(bad("A request that upgrades its connection has no body.", "upgrade"));
    }
    Ok(())
}

/// Whether a request asks for the one other protocol that some path speaks. Any
/// other `upgrade` is an offer that may be ignored (RFC 9110 §7.8), and is: some
/// clients offer HTTP/2 in this way with every first request.
pub(super) fn upgrades(head: &request::Parts) -> bool {
    let protocol = head.headers.get(UPGRADE).map(|value| value.as_bytes());
    head.version == Version::HTTP_11
        && head.method == Method::GET
        && protocol.is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"))
}

fn host(head: &request::Parts) -> Result<(), Refusal> {
    let given = head.headers.get(HOST);
    let host = match given {
        Some(host) => host.as_bytes(),
        None if head.version == Version::HTTP_11 => {
            return Err(bad("The request has no Host header.", "host"));
        }
        None if head.version == Version::HTTP_2 => {
            head.uri.authority().map_or(&b""[..], |authority| authority.as_str().as_bytes())
        }
        None => return Ok(()),
    };
    let valid = Authority::try_from(host).is_ok_and(|authority| {
        let rest = authority.as_str().get(authority.host().len()..);
        let port = rest.and_then(|rest| rest.strip_prefix(':'));
        !authority.host().is_empty()
            && match port {
                None => rest == Some(""),
                Some(port) => port.is_empty() || port.parse::<u16>().is_ok(),
            }
    });
    if valid { Ok(()) } else { Err(bad("The Host header is not a host.", "host")) }
}

/// A body has one length, in digits, or one coding, `chunked` (RFC 9112 §6).
fn framing(headers: &HeaderMap, version: Version) -> Result<(), Refusal> {
    let length = headers.get(CONTENT_LENGTH).map(|value| value.as_bytes());
    if length.is_some_and(|digits| {
        !(1..=LONGEST_LENGTH).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit)
    }) {
        return Err(bad("The content-length is not a length.", "content-length"));
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(()) };
    let chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
    match chunked && version == Version::HTTP_11 && length.is_none() {
        true => Ok(()),
        false => {
            let message = "The only transfer-encoding that is understood is chunked.";
            Err(bad(message, "transfer-encoding"))
        }
    }
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0")
}

/// The size of a head in bytes. HTTP/2 counts 32 more for each field (RFC 9113
/// §6.5.2); the bytes of HTTP/1 have been counted as they came.
fn header_list_size(head: &request::Parts) -> usize {
    if head.version != Version::HTTP_2 {
        return 0;
    }
    let fields = head.headers.iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + 32);
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    fields.sum::<usize>() + target
}

/// The refusal for a head that is not taken.
pub(super) fn refusal(head: BadHead) -> Refusal {
    match head {
        BadHead::Malformed(what) => bad(what, "head"),
        BadHead::Method => Refusal::method_not_allowed(ALLOWED),
        BadHead::TooLarge => Refusal::new(
            Code::HeadersTooLarge,
            "The request's header is larger than 32 KB or has more than 256 fields.",
        ),
        BadHead::Slow => {
            Refusal::new(Code::RequestTimeout, "The request's header did not arrive in time.")
        }
    }
}

/// `part` of the head is wrong.
fn bad(message: &'static str, part: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(Code::InvalidValue, message).param(part)
}
