//! The little that must be known of a JSON text without building it.

/// Deepest nesting that is taken.
pub const MAX_DEPTH: usize = 128;

/// Where in `text` objects and arrays nest deeper than [`MAX_DEPTH`], or `None`.
///
/// The parser skips values that nobody reads without counting their depth, but
/// they go to a provider whose parser may recurse. `text` is taken to be JSON;
/// strings are stepped over.
pub fn too_deep(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    // Few brackets cannot nest deep: the common case ends here.
    if memchr::memchr2_iter(b'[', b'{', bytes).take(MAX_DEPTH + 1).count() <= MAX_DEPTH {
        return None;
    }
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = string_end(bytes, at + 1),
            b'[' | b'{' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Some(at);
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    None
}

/// The offset of the quote that ends the string whose content begins at `at`.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found;
        if bytes.get(at) == Some(&b'"') {
            return at;
        }
        at += 2;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn depth_is_counted_outside_strings_only() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(too_deep(&nested(128)), None);
        assert_eq!(too_deep(&nested(129)), Some(128));
        assert_eq!(too_deep(&format!("{:?}", nested(500))), None);
        assert_eq!(too_deep(&format!(r#"["\\\"",{}]"#, nested(128))), Some(8 + 127));
        assert_eq!(too_deep(&format!("[{}]", vec!["{}"; 500].join(","))), None);
    }

    fn depth_of(value: &serde_json::Value) -> usize {
        match value {
            serde_json::Value::Array(items) => 1 + items.iter().map(depth_of).max().unwrap_or(0),
            serde_json::Value::Object(members) => {
                1 + members.values().map(depth_of).max().unwrap_or(0)
            }
            _ => 0,
        }
    }

    proptest! {
        #[test]
        fn what_is_shallow_is_never_refused(texts in prop::collection::vec("[\\[\\]{}\"\\\\a]{0,40}", 0..20)) {
            let value = serde_json::json!({ "list": texts, "nested": [[texts.clone()]] });
            prop_assert!(depth_of(&value) <= MAX_DEPTH);
            prop_assert_eq!(too_deep(&value.to_string()), None);
        }
    }
}
