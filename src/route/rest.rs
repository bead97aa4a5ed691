//! How long a provider asks to be left alone.

use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;
use jiff::fmt::rfc2822;

use crate::base::clock::Timestamp;

/// The longest wait that is heeded; a longer one is taken for a mistake.
const LONGEST: Duration = Duration::from_secs(86_400);
/// OpenAI's own header, more precise than the standard one.
const RETRY_AFTER_MS: &str = "retry-after-ms";

/// What `retry-after-ms`, or else `retry-after`, asks for at `now`, rounded up: whole
/// or decimal seconds, or a date (RFC 9110 §10.2.3). `None` where neither is there
/// and understood.
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let exact = text(RETRY_AFTER_MS).and_then(rounded_up).map(Duration::from_millis);
    let wait = exact.or_else(|| {
        let text = text(RETRY_AFTER.as_str())?;
        rounded_up(text).map(Duration::from_secs).or_else(|| until(text, now))
    })?;
    Some(wait.min(LONGEST))
}

/// A number that is not negative; a broken one counts as the next.
fn rounded_up(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let more = fraction.bytes().any(|byte| byte != b'0');
    whole.parse().map_or(Some(u64::MAX), |whole: u64| Some(whole.saturating_add(more.into())))
}

fn until(date: &str, now: Timestamp) -> Option<Duration> {
    let then = rfc2822::DateTimeParser::new().parse_timestamp(date).ok()?;
    let then = u64::try_from(then.as_microsecond()).ok()?;
    Some(Duration::from_micros(then.saturating_sub(now.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1994-11-06T08:49:30Z.
    const NOW: Timestamp = Timestamp(784_111_770_000_000);

    #[test]
    fn seconds_milliseconds_and_dates_are_understood() {
        let asked = |pairs: &[(&'static str, &str)]| {
            let pairs =
                pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            retry_after(&pairs.collect(), NOW).map(|wait| wait.as_millis())
        };
        assert_eq!(asked(&[("retry-after", "7")]), Some(7_000));
        assert_eq!(asked(&[("retry-after", "0")]), Some(0));
        assert_eq!(asked(&[("retry-after", "0.25")]), Some(1_000));
        assert_eq!(asked(&[("retry-after", "7"), ("retry-after-ms", "250")]), Some(250));
        assert_eq!(asked(&[("retry-after-ms", "12.5")]), Some(13));
        assert_eq!(asked(&[("retry-after", "7"), ("retry-after-ms", "soon")]), Some(7_000));
        assert_eq!(asked(&[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")]), Some(7_000));
        assert_eq!(asked(&[("retry-after", "Sun, 06 Nov 1994 08:49:00 GMT")]), Some(0));
        assert_eq!(asked(&[("retry-after", "99999999999999999999")]), Some(86_400_000));
        for odd in ["", "-1", "1e3", "soon", "1.x", "."] {
            assert_eq!(asked(&[("retry-after", odd)]), None, "{odd:?}");
        }
        assert_eq!(asked(&[]), None);
    }
}
