//! Identifiers in JSON: those that a request names, those that an answer gives
//! to what it made, and lists without those of others.
//!
//! Requests are read lexically, string by string, wherever the string stands:
//! no field that a provider may add later can hide a name. Answers are read by
//! their structure, because parts of them repeat what the client wrote.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::store::ownership::LONGEST_ID;

/// What the identifiers of providers begin with.
const PREFIXES: [&[u8]; 20] = [
    b"asst_",
    b"batch_",
    b"chatcmpl-",
    b"cntr_",
    b"conv_",
    b"eval_",
    b"file-",
    b"file_",
    b"ftjob-",
    b"msg_",
    b"part_",
    b"resp_",
    b"run_",
    b"sess_",
    b"step_",
    b"thread_",
    b"upload_",
    b"video_",
    b"vs_",
    b"vsfb_",
];

/// The longest of them, and no shorter than what a UUID begins with.
const LONGEST_PREFIX: usize = 9;

/// Whether `json` is JSON, and so UTF-8.
pub fn is_json(json: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(json).is_ok()
}

/// The strings in `json` that look like identifiers, keys included.
pub fn ids(json: &[u8]) -> impl Iterator<Item = Cow<'_, str>> {
    Strings { json }.filter_map(|(raw, escaped)| {
        if escaped {
            return unescape(raw).filter(|text| looks_like_id(text.as_bytes()));
        }
        // What looks like one is ASCII, so most strings end here.
        looks_like_id(raw).then(|| std::str::from_utf8(raw).ok()).flatten().map(Cow::Borrowed)
    })
}

/// Whether `text` looks like an identifier that a provider made.
pub fn looks_like_id(text: &[u8]) -> bool {
    if text.len() > LONGEST_ID {
        return false;
    }
    // A prefix ends with the first of these, and so does a UUID's first part.
    let Some(end) = text.iter().take(LONGEST_PREFIX).position(|byte| matches!(byte, b'-' | b'_'))
    else {
        return false;
    };
    let (prefix, rest) = text.split_at(end + 1);
    let prefixed = PREFIXES.contains(&prefix) && !rest.is_empty() && rest.iter().all(is_plain);
    prefixed || is_uuid(text)
}

/// Whether an identifier may have `byte`.
fn is_plain(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// Servers compatible with OpenAI's often name things by a UUID.
fn is_uuid(text: &[u8]) -> bool {
    text.len() == 36
        && text.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Every string of a JSON text, without its quotes, and whether it has escapes.
struct Strings<'j> {
    json: &'j [u8],
}

impl<'j> Iterator for Strings<'j> {
    type Item = (&'j [u8], bool);

    fn next(&mut self) -> Option<Self::Item> {
        let open = memchr::memchr(b'"', self.json)?;
        let (_, string) = self.json.split_at_checked(open + 1)?;
        let (mut end, mut escaped) = (0, false);
        loop {
            let rest = string.get(end..)?;
            let at = memchr::memchr2(b'"', b'\\', rest)?;
            end += at;
            if rest.get(at) == Some(&b'"') {
                break;
            }
            (end, escaped) = (end + 2, true);
        }
        self.json = string.get(end + 1..).unwrap_or_default();
        Some((string.get(..end)?, escaped))
    }
}

/// A string without its escapes, if it may be an identifier: not where it is too
/// long for one even if each of its characters is escaped, nor where it has what
/// none has, of which `\u` alone can spell the rest.
fn unescape(raw: &[u8]) -> Option<Cow<'_, str>> {
    let next = raw.iter().skip(1).map(Some).chain([None]);
    let may = |(byte, next): (&u8, Option<&u8>)| match byte {
        b'\\' => next == Some(&b'u'),
        byte => is_plain(byte),
    };
    if raw.len() > LONGEST_ID * 6 || !raw.iter().zip(next).all(may) {
        return None;
    }
    let quoted = [b"\"", raw, b"\""].concat();
    serde_json::from_slice::<String>(&quoted).ok().map(Cow::Owned)
}

/// What an answer says of the things that it made. Fields that hold something
/// else than expected count as absent.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Made<'j> {
    #[serde(borrow)]
    id: Option<&'j RawValue>,
    #[serde(borrow)]
    output_file_id: Option<&'j RawValue>,
    #[serde(borrow)]
    error_file_id: Option<&'j RawValue>,
    #[serde(borrow)]
    result_files: Option<&'j RawValue>,
    #[serde(borrow)]
    thread_id: Option<&'j RawValue>,
    /// The file of an upload that is complete.
    #[serde(borrow)]
    file: Option<&'j RawValue>,
    /// The response of a stream's event.
    #[serde(borrow)]
    response: Option<&'j RawValue>,
    #[serde(borrow)]
    data: Option<&'j RawValue>,
}

#[derive(serde::Deserialize)]
struct Thing {
    id: String,
}

/// The identifiers that an answer gives to what it made; `items` includes those
/// of the items of a list.
pub fn made(json: &[u8], items: bool) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(made) = serde_json::from_slice::<Made<'_>>(json) else { return found };
    for field in [made.id, made.output_file_id, made.error_file_id, made.thread_id] {
        found.extend(field.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok()));
    }
    for field in [made.file, made.response] {
        found.extend(field.and_then(|raw| thing(raw.get())));
    }
    let list = |raw: &RawValue| serde_json::from_str::<Vec<String>>(raw.get()).ok();
    found.extend(made.result_files.and_then(list).into_iter().flatten());
    if items && let Some(data) = made.data {
        let items = serde_json::from_str::<Vec<&RawValue>>(data.get()).unwrap_or_default();
        found.extend(items.into_iter().filter_map(|item| thing(item.get())));
    }
    found.retain(|id| !id.is_empty());
    found
}

fn thing(json: &str) -> Option<String> {
    serde_json::from_str::<Thing>(json).ok().map(|thing| thing.id)
}

/// A page of a list, as a provider gave it.
#[derive(Debug)]
pub struct List<'j> {
    members: Vec<(Cow<'j, str>, &'j RawValue)>,
    items: Vec<&'j RawValue>,
}

impl<'j> List<'j> {
    /// Reads `json`; `None` if it is no object with a list `data`.
    pub fn read(json: &'j [u8]) -> Option<Self> {
        let mut parser = serde_json::Deserializer::from_slice(json);
        let members = parser.deserialize_map(Members).ok()?;
        parser.end().ok()?;
        let mut items = None;
        for (_, raw) in members.iter().filter(|(name, _)| name == "data") {
            items
                .get_or_insert_with(Vec::new)
                .extend(serde_json::from_str::<Vec<&RawValue>>(raw.get()).ok()?);
        }
        Some(Self { members, items: items? })
    }

    /// The identifiers of its items; `None` for an item without one.
    pub fn ids(&self) -> impl Iterator<Item = Option<String>> {
        self.items.iter().map(|item| thing(item.get()))
    }

    /// The items as they stand.
    pub fn items(&self) -> &[&'j RawValue] {
        &self.items
    }

    /// Whether there are further pages.
    pub fn has_more(&self) -> bool {
        self.members.iter().any(|(name, raw)| name == "has_more" && raw.get() == "true")
    }

    /// The list with these items instead of its own, and whether more follow.
    /// Its other members stay.
    pub fn with(&self, items: &[Box<RawValue>], more: bool) -> String {
        let mut out = String::from("{");
        let end = |item: Option<&Box<RawValue>>| {
            let id = item.and_then(|item| thing(item.get()));
            serde_json::Value::from(id).to_string()
        };
        let mut data_written = false;
        for (name, raw) in &self.members {
            let replaced = match &**name {
                "data" if data_written => continue,
                "data" => {
                    data_written = true;
                    let texts: Vec<&str> = items.iter().map(|item| item.get()).collect();
                    format!("[{}]", texts.join(","))
                }
                "first_id" => end(items.first()),
                "last_id" => end(items.last()),
                "has_more" => more.to_string(),
                _ => raw.get().to_owned(),
            };
            if out.len() > 1 {
                out.push(',');
            }
            out.push_str(&serde_json::Value::from(&**name).to_string());
            out.push(':');
            out.push_str(&replaced);
        }
        out.push('}');
        out
    }
}

/// The members of an object, in order.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(json: &str) -> Vec<String> {
        ids(json.as_bytes()).map(Cow::into_owned).collect()
    }

    #[test]
    fn every_string_that_looks_like_an_identifier_is_found() {
        let json = r#"{"input_file_id":"file-a1","x":{"y":["vs_1","said \"file-no\"", "batch_"]},
            "file-key":1,"n":"file a","u":"123e4567-e89b-12d3-a456-426614174000"}"#;
        assert_eq!(
            found(json),
            ["file-a1", "vs_1", "file-key", "123e4567-e89b-12d3-a456-426614174000"]
        );
    }

    #[test]
    fn escapes_hide_nothing() {
        assert_eq!(
            found(r#"{"a":"\u0066ile-1","b":"\\","c":"resp_\u0031"}"#),
            ["file-1", "resp_1"]
        );
        assert_eq!(found(r#"["\u0066\u0069\u006C\u0065\u002d1","\u005c\u0075"]"#), ["file-1"]);
        assert!(found(r#"["file-\n","file-\/","file-\\u0031","file-\u00e9"]"#).is_empty());
        assert_eq!(found(r#"["\"file-1","file-2"]"#), ["file-2"]);
        assert!(found("[\"file-1").is_empty());
    }

    #[test]
    fn an_answer_names_what_it_made_and_not_what_it_repeats() {
        let batch = br#"{"id":"batch_1","input_file_id":"file-in","output_file_id":"file-out",
            "error_file_id":null,"metadata":{"id":"file-echo"},"data":[{"id":"file-item"}]}"#;
        assert_eq!(made(batch, false), ["batch_1", "file-out"]);
        let upload = br#"{"id":"upload_1","file":{"id":"file-1"},"response":{"id":"resp_1"}}"#;
        assert_eq!(made(upload, false), ["upload_1", "file-1", "resp_1"]);
        let job = br#"{"id":7,"result_files":["file-1","file-2"]}"#;
        assert_eq!(made(job, false), ["file-1", "file-2"]);
        assert_eq!(made(br#"{"data":[{"id":"msg_1"},{}]}"#, true), ["msg_1"]);
        assert!(made(b"no", true).is_empty());
    }

    #[test]
    fn a_list_keeps_its_other_members() {
        let json = br#"{"object":"list","data":[{"id":"a","x":1.0},{"id":"b"}],"first_id":"a","last_id":"b","has_more":true}"#;
        let list = List::read(json).unwrap();
        assert!(list.has_more());
        assert_eq!(list.ids().map(Option::unwrap).collect::<Vec<_>>(), ["a", "b"]);
        let kept = [list.items()[0].to_owned()];
        assert_eq!(
            list.with(&kept, false),
            r#"{"object":"list","data":[{"id":"a","x":1.0}],"first_id":"a","last_id":"a","has_more":false}"#
        );
        assert_eq!(
            list.with(&[], false),
            r#"{"object":"list","data":[],"first_id":null,"last_id":null,"has_more":false}"#
        );
        assert!(List::read(br#"{"id":"x"}"#).is_none());
        assert!(List::read(br#"{"data":{}}"#).is_none());
    }

    #[test]
    fn a_repeated_member_hides_no_item() {
        let list = List::read(br#"{"data":[{"id":"a"}],"data":[{"id":"b"}]}"#).unwrap();
        assert_eq!(list.items().len(), 2);
        assert_eq!(list.with(&[], false), r#"{"data":[]}"#);
    }
}
