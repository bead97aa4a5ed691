//! Identifiers that a request mentions.
//!
//! Requests are read lexically, string by string, wherever the string stands:
//! no field that a provider may add later can hide a name. Beyond that, the
//! fields that a provider is known to look things up by are told apart: what
//! they name must be the account's own.

use std::borrow::Cow;

use crate::base::json::reader::{Kind, Sink, Text};
use crate::store::ownership::LONGEST_ID;

/// What the identifiers of providers begin with.
const PREFIXES: [&[u8]; 25] = [
    b"asst_",
    b"batch_",
    b"cfile_",
    b"chatcmpl-",
    b"cntr_",
    b"conv_",
    b"eval_",
    b"file-",
    b"file_",
    b"ft:",
    b"ftckpt_",
    b"ftjob-",
    b"msg_",
    b"part_",
    b"resp_",
    b"rtc_",
    b"run_",
    b"sess_",
    b"step_",
    b"thread_",
    b"upload_",
    b"video_",
    b"voice_",
    b"vs_",
    b"vsfb_",
];
/// How far into an identifier its prefix reaches at most, and the first hyphen of
/// a UUID.
const LONGEST_PREFIX: usize = 9;

/// What realtime calls are called; a `call_id` is one of a tool's else, which the
/// client only repeats.
const CALL: &str = "rtc_";
/// Things that are also named by the `id` of an object.
const BY_ID: [&str; 3] = ["cntr_", "conv_", "voice_"];
/// Names a response, in events one of their session.
const RESPONSE: &str = "response_id";
/// Mentions of a body that are kept while it is read: a body of 32 MB has room for
/// millions.
const MOST: usize = 1_024;
/// Holds what clients write for themselves; no provider looks it up.
const METADATA: &str = "metadata";

/// An identifier that a request mentions.
#[derive(Debug, PartialEq, Eq)]
pub struct Mention<'j> {
    /// The identifier.
    pub id: Cow<'j, str>,
    /// Whether a provider is known to look it up here.
    pub refers: bool,
    /// Whether a realtime session has such things of its own.
    pub in_session: bool,
}

/// What `json` mentions: strings that look like identifiers, keys included, and
/// whatever stands where a provider looks things up.
pub fn mentions(json: &[u8]) -> impl Iterator<Item = Mention<'_>> {
    Strings { json, context: Context::default() }.flatten()
}

/// The same, of a text that is read strictly, as far as they are few.
#[derive(Default)]
pub struct Mentions<'j> {
    found: Vec<Mention<'j>>,
    are_many: bool,
    context: Context<'j>,
}

impl<'j> Mentions<'j> {
    /// What was mentioned, in the order of the text; `None` if that is more than is
    /// kept, and must be looked for with [`mentions`].
    pub fn few(&self) -> Option<&[Mention<'j>]> {
        (!self.are_many).then_some(&*self.found)
    }
}

impl<'j> Sink<'j> for Mentions<'j> {
    fn begin(&mut self, _kind: Kind, _at: usize) {
        self.context.open();
    }

    fn end(&mut self, _after: usize) {
        self.context.close();
    }

    fn text(&mut self, text: Text<'j>) {
        if self.are_many {
            return;
        }
        let raw = Raw { raw: text.raw, escaped: text.escaped };
        self.found.extend(self.context.mention(raw, text.is_name));
        self.are_many = self.found.len() > MOST;
    }
}

/// Whether a provider looks up `value`, which looks like an identifier, where it
/// is given for `field`.
pub fn refers(field: &str, value: &str) -> bool {
    is_reference(field)
        || (field == "call_id" && value.starts_with(CALL))
        || (field == "id" && BY_ID.into_iter().any(|prefix| value.starts_with(prefix)))
}

/// Whether `field` is one by whose value a provider looks up something that it made.
/// Identifiers of messages and the like are not among them: a client repeats those
/// of answers that it holds itself.
fn is_reference(field: &str) -> bool {
    matches!(
        field,
        "assistant_id"
            | "container"
            | "container_id"
            | "conversation"
            | "conversation_id"
            | "file_batch_id"
            | "file_id"
            | "file_ids"
            | "input_file_id"
            | "previous_response_id"
            | RESPONSE
            | "thread_id"
            | "training_file"
            | "validation_file"
            | "vector_store_id"
            | "vector_store_ids"
    )
}

/// Whether `text` looks like an identifier that a provider made.
pub fn looks_like_id(text: &[u8]) -> bool {
    let start = text.get(..LONGEST_PREFIX.min(text.len())).unwrap_or_default();
    if text.len() > LONGEST_ID || memchr::memchr3(b'-', b'_', b':', start).is_none() {
        return false;
    }
    let prefixed = |prefix: &[u8]| {
        text.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.iter().all(is_plain))
    };
    PREFIXES.into_iter().any(prefixed) || is_uuid(text)
}

/// Whether an identifier may have `byte`.
fn is_plain(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_:.".contains(byte)
}

/// Servers compatible with OpenAI's often name things by a UUID.
fn is_uuid(text: &[u8]) -> bool {
    text.len() == 36
        && text.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// A string of a JSON text, without its quotes.
#[derive(Clone, Copy)]
struct Raw<'j> {
    raw: &'j [u8],
    escaped: bool,
}

impl<'j> Raw<'j> {
    /// Whether it may look like an identifier without its escapes: most strings
    /// cannot, and are not decoded. Only `\u` can spell what an identifier has.
    fn may_be_id(self) -> bool {
        if !self.escaped {
            return looks_like_id(self.raw);
        }
        let next = self.raw.iter().skip(1).map(Some).chain([None]);
        self.raw.len() <= LONGEST_ID * 6
            && self.raw.iter().zip(next).all(|(byte, next)| match byte {
                b'\\' => next == Some(&b'u'),
                byte => is_plain(byte),
            })
    }

    /// Without escapes; `None` if it is too long for an identifier even if each of
    /// its characters is one.
    fn text(self) -> Option<Cow<'j, str>> {
        if !self.escaped {
            let short = self.raw.get(..LONGEST_ID + 1).is_none();
            return std::str::from_utf8(self.raw).ok().filter(|_| short).map(Cow::Borrowed);
        }
        if self.raw.len() > LONGEST_ID * 6 {
            return None;
        }
        let quoted = [b"\"", self.raw, b"\""].concat();
        serde_json::from_slice::<String>(&quoted).ok().map(Cow::Owned)
    }
}

/// Where in a text its strings stand.
#[derive(Default)]
struct Context<'j> {
    /// Objects and lists that are open.
    depth: usize,
    /// The key that the next string is a value of, directly or in a list.
    key: Option<Cow<'j, str>>,
    /// How deep the key `metadata` stands whose value this is.
    metadata: Option<usize>,
}

impl<'j> Context<'j> {
    const fn open(&mut self) {
        self.depth += 1;
    }

    const fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// What the next string mentions.
    fn mention(&mut self, string: Raw<'j>, is_key: bool) -> Option<Mention<'j>> {
        if is_key {
            self.metadata.take_if(|depth| self.depth <= *depth);
        }
        let field = self.key.as_deref().filter(|_| !is_key && self.metadata.is_none());
        let mention = mention(string, field);
        if is_key {
            self.key = string.text();
            if self.metadata.is_none() && self.key.as_deref() == Some(METADATA) {
                self.metadata = Some(self.depth);
            }
        }
        mention
    }
}

/// What `string` mentions as a value of `field`.
fn mention<'j>(string: Raw<'j>, field: Option<&str>) -> Option<Mention<'j>> {
    let looked_up = field.is_some_and(is_reference);
    if !(looked_up || string.may_be_id()) {
        return None;
    }
    let id = string.text()?;
    let known = looks_like_id(id.as_bytes());
    let refers = known && field.is_some_and(|field| refers(field, &id));
    let in_session = field == Some(RESPONSE);
    (known || looked_up).then_some(Mention { id, refers, in_session })
}

/// Every string of a JSON text, found lexically, and what it mentions.
struct Strings<'j> {
    json: &'j [u8],
    context: Context<'j>,
}

impl<'j> Iterator for Strings<'j> {
    type Item = Option<Mention<'j>>;

    fn next(&mut self) -> Option<Option<Mention<'j>>> {
        let open = memchr::memchr(b'"', self.json)?;
        let (between, string) = self.json.split_at_checked(open)?;
        for byte in between {
            match byte {
                b'{' | b'[' => self.context.open(),
                b'}' | b']' => self.context.close(),
                _ => {}
            }
        }
        let string = string.get(1..)?;
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
        let raw = Raw { raw: string.get(..end)?, escaped };
        let is_key = self.json.trim_ascii_start().first() == Some(&b':');
        Some(self.context.mention(raw, is_key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::json::reader;

    fn found(json: &str) -> Vec<String> {
        mentions(json.as_bytes()).map(|mention| mention.id.into_owned()).collect()
    }

    #[test]
    fn what_is_read_strictly_mentions_the_same_and_only_few_are_kept() {
        let json = r#"{"file_ids":["file-1",["x\u0031"]],"a":{"metadata":{"file_id":"file-2"}},
            "thread_id":"","vs_1":"b","s":"resp_\u0032","n":[1,null,"file 3"]}"#;
        let mut strict = Mentions::default();
        reader::read(json.as_bytes(), &mut strict).unwrap();
        let lexical: Vec<_> = mentions(json.as_bytes()).collect();
        assert_eq!(strict.few().unwrap(), lexical);
        assert_eq!(lexical.len(), 9);
        for (count, few) in [(MOST, true), (MOST + 1, false)] {
            // The key looks like an identifier too.
            let json = format!("{{\"file_ids\":[{}\"\"]}}", "\"\",".repeat(count - 2));
            let mut strict = Mentions::default();
            reader::read(json.as_bytes(), &mut strict).unwrap();
            assert_eq!(strict.few().is_some(), few);
        }
    }

    fn referred(json: &str) -> Vec<String> {
        let refers = |mention: Mention<'_>| mention.refers.then(|| mention.id.into_owned());
        mentions(json.as_bytes()).filter_map(refers).collect()
    }

    #[test]
    fn every_string_that_looks_like_an_identifier_is_found() {
        let json = r#"{"input":"file-a1","x":{"y":["vs_1","said \"file-no\"", "batch_"]},
            "file-key":1,"n":"file a","u":"123e4567-e89b-12d3-a456-426614174000",
            "model":"ft:gpt-4o-mini:org::abc:ckpt-step-90"}"#;
        assert_eq!(
            found(json),
            [
                "file-a1",
                "vs_1",
                "file-key",
                "123e4567-e89b-12d3-a456-426614174000",
                "ft:gpt-4o-mini:org::abc:ckpt-step-90"
            ]
        );
        assert_eq!(found(r#"{"input_file_id":"anything"}"#), ["anything"]);
    }

    #[test]
    fn escapes_hide_nothing() {
        assert_eq!(
            found(r#"{"a":"\u0066ile-1","b":"\\","c":"resp_\u0031"}"#),
            ["file-1", "resp_1"]
        );
        assert_eq!(found(r#"["\"file-1","file-2"]"#), ["file-2"]);
        assert!(found("[\"file-1").is_empty());
        assert_eq!(referred(r#"{"file\u005fid" : "\u0066ile-1"}"#), ["file-1"]);
    }

    #[test]
    fn what_a_provider_looks_up_is_told_from_what_only_looks_so() {
        let json = r#"{"messages":[{"content":[{"type":"file","file":{"file_id":"file-1"}}]}],
            "tools":[{"name":"run_code","parameters":{"properties":{"file_path":{},"batch_size":{}},
            "required":["file_path","batch_size"]}},{"vector_store_ids":["vs_1", "vs_2"]}],
            "metadata":{"file_id":"file-m","deep":{"file_id":"file-d"}},"thread_id":"thread_1",
            "conversation":{"id":"conv_1"},"input":[{"type":"message","id":"msg_1"},
            {"type":"function_call_output","call_id":"chatcmpl-tool-1"}],"call_id":"rtc_1"}"#;
        assert_eq!(referred(json), ["file-1", "vs_1", "vs_2", "thread_1", "conv_1", "rtc_1"]);
        let all = found(json);
        for weak in ["run_code", "batch_size", "file-m", "file-d", "msg_1"] {
            assert!(all.iter().any(|id| id == weak), "{weak}");
        }
    }
}
