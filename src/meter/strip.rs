//! Takes `"usage":null` out again, which providers add to every event of a
//! stream once `stream_options.include_usage` is asked.
//!
//! Source: OpenAI API reference, `stream_options.include_usage`: "All other
//! chunks will also include a `usage` field, but with a null value."

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::memmem;

use crate::base::{json, sse};

const KEY: &[u8] = b"\"usage\"";

/// `event` without the member `"usage":null` of the object in its data, and
/// without the one comma that this makes superfluous. All other bytes stay.
///
/// The event stays as it is, and is not copied, if the object has no such
/// member, has several called `usage`, or lies on several `data` lines.
pub fn strip_null_usage(event: &Bytes) -> Bytes {
    without(event, null_usage(event))
}

/// `event` without the bytes of `cut`; not copied if there is none.
pub fn without(event: &Bytes, cut: Option<Range<usize>>) -> Bytes {
    match cut {
        Some(cut) => {
            let (Some(head), Some(tail)) = (event.get(..cut.start), event.get(cut.end..)) else {
                return event.clone();
            };
            let mut rest = BytesMut::with_capacity(head.len() + tail.len());
            rest.extend_from_slice(head);
            rest.extend_from_slice(tail);
            rest.freeze()
        }
        None => event.clone(),
    }
}

/// Where in `event` the bytes are that [`strip_null_usage`] takes out.
pub fn null_usage(event: &[u8]) -> Option<Range<usize>> {
    memmem::find(event, KEY)?;
    let mut values = sse::fields(event).filter(|(name, _)| *name == b"data");
    let (_, data) = values.next()?;
    if values.next().is_some() {
        return None;
    }
    // `data` is a slice of `event`.
    let offset = (data.as_ptr() as usize).checked_sub(event.as_ptr() as usize)?;
    let member = find_member(data)?;
    Some(offset + member.start..offset + member.end)
}

/// Where in `json`, an object, its only member `usage` is, if its value is null.
fn find_member(json: &[u8]) -> Option<Range<usize>> {
    let (b'{', open) = json::token(json, 0)? else { return None };
    let mut found = None;
    let mut comma = None;
    let mut at = open + 1;
    loop {
        let (b'"', start) = json::token(json, at)? else { return found };
        let (key, after) = json::string(json, start)?;
        let (b':', colon) = json::token(json, after)? else { return None };
        let (_, value) = json::token(json, colon + 1)?;
        let end = json::value_end(json, value)?;
        let (next, place) = json::token(json, end)?;
        if key == b"usage" {
            if found.is_some() || json.get(value..end)? != b"null" {
                return None;
            }
            found = Some(match (comma, next) {
                (Some(comma), _) => comma..end,
                (None, b',') => start..json::token(json, place + 1)?.1,
                (None, _) => start..end,
            });
        }
        match next {
            b',' => {
                comma = Some(place);
                at = place + 1;
            }
            b'}' => return found,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;

    fn stripped(event: &str) -> String {
        let event = Bytes::copy_from_slice(event.as_bytes());
        String::from_utf8(strip_null_usage(&event).to_vec()).unwrap()
    }

    #[test]
    fn the_member_goes_and_nothing_else() {
        for (event, rest) in [
            (r#"{"a":1,"usage":null}"#, r#"{"a":1}"#),
            (r#"{"a":1, "usage": null, "b":2}"#, r#"{"a":1, "b":2}"#),
            (r#"{"usage":null, "b":2}"#, r#"{"b":2}"#),
            (r#"{ "usage" : null }"#, r#"{  }"#),
            (
                r#"{"choices":[{"x":null,"y":"}\""},[]],"usage":null,"obfuscation":"k"}"#,
                r#"{"choices":[{"x":null,"y":"}\""},[]],"obfuscation":"k"}"#,
            ),
        ] {
            for (head, tail) in [("data: ", "\n\n"), ("event: x\r\ndata:", "\r\nid: 7\r\n\r\n")] {
                assert_eq!(
                    stripped(&format!("{head}{event}{tail}")),
                    format!("{head}{rest}{tail}")
                );
            }
        }
    }

    #[test]
    fn what_is_no_null_usage_of_the_object_stays() {
        for data in [
            r#"{"a":1}"#,
            r#"{"usage":{"prompt_tokens":1}}"#,
            r#"{"usage":0,"a":null}"#,
            r#"{"a":{"usage":null}}"#,
            r#"{"a":"\"usage\":null"}"#,
            r#"{"a":"usage","b":null}"#,
            r#"{"usage":null,"usage":null}"#,
            r#"{"usage":nullx}"#,
            r#"{"usage":null"#,
            r#"{"usage":null,"#,
            r#"[{"usage":null}]"#,
            r#"{"usage":null
data: }"#,
            "[DONE]",
        ] {
            let event = Bytes::from(format!("data: {data}\n\n"));
            let rest = strip_null_usage(&event);
            assert_eq!(rest, event);
            assert_eq!(rest.as_ptr(), event.as_ptr(), "not copied");
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i32>().prop_map(Value::from),
            prop::sample::select(vec!["", "usage", "{", "}", "\"usage\":null", "\\", "a,b"])
                .prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                object(inner).prop_map(Value::from),
            ]
        })
    }

    fn object(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
        let key = prop::sample::select(vec!["usage", "a", "b\"", "usages", "}"]);
        prop::collection::btree_map(key.prop_map(String::from), value, 0..5)
            .prop_map(|members| members.into_iter().collect())
    }

    proptest! {
        #[test]
        fn it_means_what_a_parser_means(object in object(json()), pretty in any::<bool>()) {
            let text = if pretty {
                // White space wherever JSON allows it, on one line.
                serde_json::to_string_pretty(&object).unwrap().replace('\n', " ")
            } else {
                serde_json::to_string(&object).unwrap()
            };
            let event = Bytes::from(format!("data: {text}\n\n"));
            let rest = strip_null_usage(&event);
            let mut expected = object;
            let removed = expected.get("usage") == Some(&Value::Null);
            if removed {
                expected.remove("usage");
            }
            let data = sse::data(&rest).unwrap();
            prop_assert_eq!(serde_json::from_slice::<Map<String, Value>>(&data).unwrap(), expected);
            prop_assert_eq!(rest == event, !removed);
        }

        #[test]
        fn no_bytes_make_it_fail(bytes in prop::collection::vec(
            prop::sample::select(b"{}[]\",:\\n 1\n".to_vec()), 0..30)) {
            let event = [b"data: {\"usage\":".as_slice(), &bytes].concat();
            let event = Bytes::from(event);
            prop_assert!(strip_null_usage(&event).len() <= event.len());
        }
    }
}
