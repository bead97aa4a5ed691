//! How a request steers the cache, by its headers.
//!
//! Source: RFC 9111, section 5.2.1, "Request Directives", and RFC 5861, section 4,
//! "The stale-if-error Cache-Control Extension". Directives that are not read here
//! (`no-transform`, …) have no effect, as section 5.2.3 asks. Where directives
//! contradict one another, or come twice, the strictest counts; one whose figure is
//! none counts as the strictest that it could be.

use std::time::Duration;

use http::HeaderMap;
use http::header::CACHE_CONTROL;

use crate::refusal::{Code, Refusal};

/// Longest lifetime that a request can ask for; a longer one counts as this.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// What a request says about the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steering {
    /// `no-store`: neither look the answer up nor keep it.
    pub no_store: bool,
    /// `no-cache`: do not look the answer up; keep it.
    pub no_cache: bool,
    /// `only-if-cached`: do not call a provider.
    pub only_if_cached: bool,
    /// `max-age`, in seconds: an older answer does not count.
    pub max_age: Option<u64>,
    /// `min-fresh`, in seconds: an answer must stay fresh for so long.
    pub min_fresh: Option<u64>,
    /// `max-stale`, in seconds: an answer may be past its time by so much.
    pub max_stale: Option<u64>,
    /// `stale-if-error`, in seconds: in place of a failing provider's, an answer may
    /// be past its time by no more.
    pub stale_if_error: Option<u64>,
    /// `x-tollgate-cache-ttl`: how long the answer may be kept.
    pub lifetime: Option<Duration>,
    /// `x-tollgate-samples`: whether the caller wants a sample of its own.
    pub distinct: Option<bool>,
}

impl Steering {
    /// Reads the headers of a request.
    ///
    /// # Errors
    /// 400 `invalid_value` if a header of Tollgate's own is not understood.
    pub fn read(headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut steering = Self::default();
        for value in headers.get_all(CACHE_CONTROL) {
            for directive in value.as_bytes().split(|byte| *byte == b',') {
                steering.direct(directive.trim_ascii());
            }
        }
        for value in headers.get_all("x-tollgate-cache-ttl") {
            let lifetime = value.to_str().ok().and_then(lifetime).ok_or_else(|| {
                Refusal::new(
                    Code::InvalidValue,
                    "The header x-tollgate-cache-ttl is a duration such as 10s, 1h or 7d, or whole \
                     seconds.",
                )
                .param("x-tollgate-cache-ttl")
            })?;
            steering.lifetime = least(steering.lifetime, lifetime.min(LONGEST));
        }
        if let Some(value) = headers.get("x-tollgate-samples") {
            steering.distinct = Some(match value.as_bytes() {
                b"shared" => false,
                b"distinct" => true,
                _ => {
                    let message = "The header x-tollgate-samples is `shared` or `distinct`.";
                    return Err(
                        Refusal::new(Code::InvalidValue, message).param("x-tollgate-samples")
                    );
                }
            });
        }
        Ok(steering)
    }

    fn direct(&mut self, directive: &[u8]) {
        let mut parts = directive.splitn(2, |byte| *byte == b'=');
        let name = parts.next().unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"no-store") {
            self.no_store = true;
        } else if name.eq_ignore_ascii_case(b"no-cache") {
            self.no_cache = true;
        } else if name.eq_ignore_ascii_case(b"only-if-cached") {
            self.only_if_cached = true;
        } else if name.eq_ignore_ascii_case(b"max-age") {
            self.max_age = least(self.max_age, seconds(parts.next(), 0));
        } else if name.eq_ignore_ascii_case(b"min-fresh") {
            let least = seconds(parts.next(), u64::MAX);
            self.min_fresh = self.min_fresh.max(Some(least));
        } else if name.eq_ignore_ascii_case(b"max-stale") {
            // Without a figure: however stale.
            let most = parts.next().map_or(u64::MAX, |value| seconds(Some(value), 0));
            self.max_stale = least(self.max_stale, most);
        } else if name.eq_ignore_ascii_case(b"stale-if-error") {
            self.stale_if_error = least(self.stale_if_error, seconds(parts.next(), 0));
        }
    }
}

/// The smaller of what was said before, if anything was, and `now`.
fn least<T: Ord>(before: Option<T>, now: T) -> Option<T> {
    match before {
        Some(before) => Some(before.min(now)),
        None => Some(now),
    }
}

/// The figure of a directive, which may stand in quotes; `otherwise` if it is none.
fn seconds(value: Option<&[u8]>, otherwise: u64) -> u64 {
    let value = value.and_then(|value| std::str::from_utf8(value).ok());
    let value = value.map(|value| value.trim().trim_matches('"'));
    value.and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

/// `3600`, `1h`, `1h30m`, `500ms`; `None` for anything else.
fn lifetime(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return rest.parse().ok().map(Duration::from_secs);
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let unit = rest.find(|c: char| !c.is_ascii_digit())?;
        let (digits, after) = rest.split_at_checked(unit)?;
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at_checked(end)?;
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        let millis = digits.parse::<u64>().ok()?.checked_mul(millis)?;
        total = total.checked_add(Duration::from_millis(millis))?;
        rest = next;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn read(headers: &[(&'static str, &str)]) -> Result<Steering, Refusal> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        Steering::read(&map)
    }

    /// Covers D5.
    #[test]
    fn directives_are_read_whatever_their_case_and_company() {
        let both = Steering { no_store: true, no_cache: true, ..Steering::default() };
        assert_eq!(read(&[("cache-control", "No-Cache, no-store")]).unwrap(), both);
        let headers = [("cache-control", "no-cache"), ("cache-control", "x, no-store=\"y\"")];
        assert_eq!(read(&headers).unwrap(), both);
        let aged = read(&[("cache-control", "max-age=60,only-if-cached")]).unwrap();
        assert_eq!((aged.max_age, aged.only_if_cached), (Some(60), true));
        assert_eq!(read(&[]).unwrap(), Steering::default());
        let other = read(&[("cache-control", "no-transform, =5, xno-cache, ,max-agee=1")]).unwrap();
        assert_eq!(other, Steering::default());
    }

    #[test]
    fn how_stale_or_fresh_is_read_and_the_strictest_counts() {
        let read = |value: &str| {
            let read = read(&[("cache-control", value)]).unwrap();
            (read.min_fresh, read.max_stale, read.stale_if_error)
        };
        for (value, meant) in [
            ("max-stale", (None, Some(u64::MAX), None)),
            ("max-stale=5, max-stale", (None, Some(5), None)),
            ("max-stale=, stale-if-error", (None, Some(0), Some(0))),
            ("MIN-FRESH=5, min-fresh=\"9\"", (Some(9), None, None)),
            ("min-fresh, stale-if-error=60, stale-if-error=7", (Some(u64::MAX), None, Some(7))),
            ("min-fresh=-1, max-stale=x", (Some(u64::MAX), Some(0), None)),
        ] {
            assert_eq!(read(value), meant, "{value}");
        }
    }

    #[test]
    fn of_two_lifetimes_the_shorter_counts() {
        let twice = [("x-tollgate-cache-ttl", "1h"), ("x-tollgate-cache-ttl", "10s")];
        assert_eq!(read(&twice).unwrap().lifetime, Some(Duration::from_secs(10)));
    }

    #[test]
    fn a_max_age_that_is_none_is_zero_and_the_strictest_counts() {
        for (value, seconds) in
            [("max-age", 0), ("max-age=", 0), ("max-age=-1", 0), ("max-age=1h", 0)]
        {
            assert_eq!(
                read(&[("cache-control", value)]).unwrap().max_age,
                Some(seconds),
                "{value}"
            );
        }
        for (value, seconds) in
            [("max-age=\"7\"", 7), ("MAX-AGE= 8 ", 8), ("max-age=9,max-age=3", 3)]
        {
            assert_eq!(
                read(&[("cache-control", value)]).unwrap().max_age,
                Some(seconds),
                "{value}"
            );
        }
    }

    #[test]
    fn a_lifetime_is_a_duration_or_seconds() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("90", 90_000),
            ("90s", 90_000),
            ("1h30m", 5_400_000),
            ("500ms", 500),
            ("7d", 604_800_000),
            ("9999d", 30 * 86_400_000),
        ] {
            let lifetime = read(&[("x-tollgate-cache-ttl", text)]).unwrap().lifetime;
            assert_eq!(lifetime, Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", " ", "s", "1x", "-1", "1.5h", "1h5", "99999999999999999999"] {
            let refusal = read(&[("x-tollgate-cache-ttl", text)]).unwrap_err();
            assert_eq!(refusal.code, Code::InvalidValue, "{text:?}");
        }
    }

    #[test]
    fn samples_are_shared_or_distinct() {
        assert_eq!(read(&[("x-tollgate-samples", "distinct")]).unwrap().distinct, Some(true));
        assert_eq!(read(&[("x-tollgate-samples", "shared")]).unwrap().distinct, Some(false));
        let refusal = read(&[("x-tollgate-samples", "Distinct")]).unwrap_err();
        assert_eq!(refusal.param.as_deref(), Some("x-tollgate-samples"));
    }
}
