//! Names in the paths of URLs (RFC 3986).

use std::fmt::Write as _;

/// `name` as one segment of a path (RFC 3986 §3.3), whatever its letters are: it may
/// be a client's.
///
/// ```
/// assert_eq!(tollgate::base::percent::segment("a/b c"), "a%2Fb%20c");
/// ```
pub fn segment(name: &str) -> String {
    let mut segment = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            segment.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _infallible = write!(segment, "%{byte:02X}");
        }
    }
    segment
}

#[cfg(test)]
mod tests {
    use super::segment;

    #[test]
    fn a_name_is_one_segment_of_a_path() {
        assert_eq!(segment("gpt-4o_mini.1~x"), "gpt-4o_mini.1~x");
        assert_eq!(segment("a/../b?c#d%e f:é"), "a%2F..%2Fb%3Fc%23d%25e%20f%3A%C3%A9");
    }
}
