//! Which root a path is under, and which things it names.

use http::{HeaderMap, Method, header};

use crate::refusal::{Code, Refusal};

/// A root of the API whose endpoints are passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    /// Its segments under `/v1`.
    pub name: &'static str,
    /// Whether JSON sent there may name things that a provider made.
    pub asks: bool,
    /// Whether JSON that comes from there names such things.
    pub tells: bool,
    /// Whether bodies that are not JSON belong there: forms, audio, images.
    pub binary: bool,
}

const fn root(name: &'static str, asks: bool, tells: bool, binary: bool) -> Root {
    Root { name, asks, tells, binary }
}

/// What is passed on. A root of two segments, or one that is an endpoint of the
/// understood lane by itself, is passed on only below.
const ROOTS: [Root; 16] = [
    root("files", true, true, true),
    root("uploads", true, true, true),
    root("audio", true, false, true),
    root("images", true, false, true),
    root("batches", true, true, false),
    root("moderations", false, false, false),
    root("vector_stores", true, true, false),
    root("threads", true, true, false),
    root("assistants", true, true, false),
    root("conversations", true, true, false),
    root("containers", true, true, true),
    root("fine_tuning", true, true, false),
    root("realtime", true, true, true),
    root("responses", true, true, false),
    root("chat/completions", true, true, false),
    root("models", false, false, false),
];

/// A root that is passed on only if unknown ones are.
const UNKNOWN: Root = root("", true, true, true);

/// First segments that are never passed on: the seller's own account, and
/// what Tollgate itself serves, in whatever spelling.
const KEPT: [&str; 11] = [
    "organization",
    "organizations",
    "projects",
    "chat",
    "completions",
    "embeddings",
    "messages",
    "models",
    "usage",
    "feedback",
    "workspaces",
];

/// What is made under `realtime` that a client could call the provider with by
/// itself, past every limit and record.
const CREDENTIALS: [&str; 3] = ["client_secrets", "sessions", "transcription_sessions"];

/// What is kept under `audio`.
const VOICES: [&str; 2] = ["voice_consents", "voices"];

/// Segments that name an endpoint and not a thing.
const WORDS: [&str; 39] = [
    "accept",
    "alpha",
    "calls",
    "cancel",
    "checkpoints",
    "compact",
    "complete",
    "content",
    "edits",
    "events",
    "file_batches",
    "files",
    "generations",
    "graders",
    "hangup",
    "input_items",
    "input_tokens",
    "items",
    "jobs",
    "messages",
    "parts",
    "pause",
    "permissions",
    "refer",
    "reject",
    "resume",
    "run",
    "runs",
    "search",
    "speech",
    "steps",
    "submit_tool_outputs",
    "transcriptions",
    "translations",
    "validate",
    "variations",
    "voice_consents",
    "voices",
    "ws",
];

/// Longest first segment of an unknown path that a record names, in bytes.
const LONGEST_NAME: usize = 64;

/// A path of the lane, recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its root.
    pub root: Root,
    /// The root for records, such as `/v1/files`.
    pub path: String,
    /// The things that it names, in order, decoded.
    pub ids: Vec<String>,
    /// Whether the answer is a thing's content, and not about the thing.
    pub content: bool,
    /// Whether the answer's identifiers were made by it: what is attached to a
    /// vector store was made elsewhere.
    pub makes: bool,
    /// Whether it ends in a thing's name.
    thing: bool,
}

impl Place {
    /// Recognises `path`, which begins with `/v1/`, for `method`.
    ///
    /// # Errors
    /// 404 `endpoint_not_enabled` if it is never passed on, or unknown while
    /// unknown paths are denied, or if it could mean something else to a provider
    /// than it means here: an empty or dotted segment, a slash in disguise; and
    /// if it makes credentials of the seller's.
    pub fn of(method: &Method, path: &str, allow_unknown: bool) -> Result<Self, Refusal> {
        let under = path.strip_prefix("/v1/").ok_or_else(Refusal::not_found)?;
        let segments: Vec<String> =
            under.split('/').map(segment).collect::<Option<_>>().ok_or_else(not_enabled)?;
        let (mut root, rest) = known(method, &segments)
            .or_else(|| unknown(&segments).filter(|_| allow_unknown))
            .ok_or_else(not_enabled)?;
        let below = |words: &[&str]| rest.first().is_some_and(|it| words.contains(&it.as_str()));
        if root.name == "realtime" && below(&CREDENTIALS) {
            return Err(not_enabled());
        }
        root.tells |= root.name == "audio" && below(&VOICES);
        let path = match root.name {
            "" => {
                let name: &str = segments.first().map_or("", |name| name);
                let end = name.floor_char_boundary(LONGEST_NAME);
                format!("/v1/{}", name.get(..end).unwrap_or_default())
            }
            name => format!("/v1/{name}"),
        };
        let is_word = |segment: &&String| WORDS.binary_search(&segment.as_str()).is_ok();
        let attached = root.name == "vector_stores" && rest.iter().any(|word| word == "files");
        Ok(Self {
            root,
            path,
            ids: rest.iter().filter(|segment| !is_word(segment)).cloned().collect(),
            content: rest.len() > 1 && rest.last().is_some_and(|word| word == "content"),
            makes: !attached,
            thing: rest.last().is_some_and(|last| !is_word(&last)),
        })
    }

    /// What is made here: the root's segments under `/v1`.
    pub fn kind(&self) -> &str {
        self.path.strip_prefix("/v1/").unwrap_or(&self.path)
    }

    /// Whether an answer to `method` here lists things of every account.
    pub fn lists(&self, method: &Method) -> bool {
        *method == Method::GET && self.ids.is_empty() && self.root.tells
    }

    /// What `method` deletes here, if it deletes anything.
    pub fn deletes(&self, method: &Method) -> Option<&str> {
        let last = self.ids.last().filter(|_| *method == Method::DELETE && self.thing);
        last.map(String::as_str)
    }

    /// Whether `headers` ask for a WebSocket where there are some.
    pub fn upgrades(&self, method: &Method, headers: &HeaderMap) -> bool {
        self.root.name == "realtime"
            && *method == Method::GET
            && headers
                .get(header::UPGRADE)
                .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
    }
}

/// A known root, and the segments below it.
fn known<'s>(method: &Method, segments: &'s [String]) -> Option<(Root, &'s [String])> {
    let (first, rest) = segments.split_first()?;
    let (name, rest) = match (first.as_str(), rest) {
        ("chat", [second, below @ ..]) if second == "completions" && !below.is_empty() => {
            ("chat/completions", below)
        }
        ("responses", []) | ("chat", _) => return None,
        ("models", [_, ..]) if *method != Method::DELETE => return None,
        ("models", []) => return None,
        (name, below) => (name, below),
    };
    ROOTS.into_iter().find(|root| root.name == name).map(|root| (root, rest))
}

/// The thing that the `Location` of an answer names, and its path here; `base` is
/// the path of the provider's base URL.
pub fn location(value: &str, base: &str, allow_unknown: bool) -> Option<(Place, String)> {
    let path = match value.split_once("://") {
        Some((_, rest)) => rest.get(rest.find('/')?..)?,
        None => value,
    };
    let under = |base: &str| path.strip_prefix(base).filter(|rest| rest.starts_with('/'));
    let path = format!("/v1{}", under(base).or_else(|| under("/v1"))?);
    let place = Place::of(&Method::GET, &path, allow_unknown).ok()?;
    place.thing.then_some((place, path))
}

fn unknown(segments: &[String]) -> Option<(Root, &[String])> {
    let (first, rest) = segments.split_first()?;
    let same = |name: &str| first.eq_ignore_ascii_case(name);
    let kept = KEPT.into_iter().any(same) || ROOTS.iter().any(|root| same(root.name));
    (!kept).then_some((UNKNOWN, rest))
}

/// A segment decoded; `None` if it could be read as more than one segment, or
/// as none.
fn segment(raw: &str) -> Option<String> {
    let decoded = decode(raw)?;
    let ambiguous = |c: char| c.is_control() || matches!(c, '/' | '\\' | '%' | '?' | '#');
    let dotted = matches!(decoded.as_str(), "" | "." | "..");
    (!dotted && !decoded.contains(ambiguous)).then_some(decoded)
}

/// Percent-decodes `raw` once; `None` if that is not UTF-8, or malformed.
pub(super) fn decode(raw: &str) -> Option<String> {
    if !raw.contains('%') {
        return Some(raw.to_owned());
    }
    let mut decoded = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            decoded.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok().filter(|it| !it.starts_with('+'))?;
        decoded.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    String::from_utf8(decoded).ok()
}

fn not_enabled() -> Refusal {
    Refusal::new(Code::EndpointNotEnabled, "This endpoint is not enabled here.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str) -> Place {
        Place::of(&Method::GET, path, false).unwrap_or_else(|_| panic!("{path}"))
    }

    fn code(method: Method, path: &str, allow_unknown: bool) -> Code {
        match Place::of(&method, path, allow_unknown) {
            Err(refusal) => refusal.code,
            Ok(place) => panic!("{path}: {place:?}"),
        }
    }

    #[test]
    fn the_words_are_in_order() {
        assert!(WORDS.is_sorted());
    }

    /// Covers J1.
    #[test]
    fn a_path_names_its_root_and_its_things() {
        for (path, root, ids) in [
            ("/v1/files", "/v1/files", &[][..]),
            ("/v1/files/file-1/content", "/v1/files", &["file-1"]),
            ("/v1/files/%66ile-1", "/v1/files", &["file-1"]),
            ("/v1/audio/speech", "/v1/audio", &[]),
            ("/v1/fine_tuning/jobs/ftjob-1/cancel", "/v1/fine_tuning", &["ftjob-1"]),
            ("/v1/vector_stores/vs_1/files/file-2", "/v1/vector_stores", &["vs_1", "file-2"]),
            ("/v1/responses/resp_1", "/v1/responses", &["resp_1"]),
            ("/v1/responses/input_tokens", "/v1/responses", &[]),
            ("/v1/chat/completions/chatcmpl-1/messages", "/v1/chat/completions", &["chatcmpl-1"]),
            ("/v1/realtime", "/v1/realtime", &[]),
        ] {
            let place = place(path);
            assert_eq!(place.path, root, "{path}");
            assert_eq!(place.ids, ids, "{path}");
        }
        assert!(place("/v1/files/file-1/content").content);
        assert!(!place("/v1/files/content").content);
        assert!(!place("/v1/vector_stores/vs_1/files").makes);
        assert!(place("/v1/files").lists(&Method::GET));
        assert!(!place("/v1/files").lists(&Method::POST));
        assert!(!place("/v1/threads/thread_1/messages").lists(&Method::GET));
        assert!(place("/v1/audio/voices").lists(&Method::GET));
        assert!(!place("/v1/audio/speech").lists(&Method::GET));
        assert_eq!(place("/v1/fine_tuning/jobs").kind(), "fine_tuning");
    }

    #[test]
    fn what_is_deleted_is_the_last_thing() {
        let deleted = |path| place(path).deletes(&Method::DELETE).map(str::to_owned);
        assert_eq!(deleted("/v1/files/file-1").as_deref(), Some("file-1"));
        assert_eq!(deleted("/v1/threads/t/messages/m").as_deref(), Some("m"));
        assert_eq!(deleted("/v1/files/file-1/content"), None);
        assert_eq!(deleted("/v1/files"), None);
        assert_eq!(place("/v1/files/file-1").deletes(&Method::GET), None);
    }

    /// Covers I4.
    #[test]
    fn nobody_gets_credentials_of_the_sellers() {
        for path in ["client_secrets", "sessions", "transcription_sessions", "%73essions"] {
            let path = format!("/v1/realtime/{path}");
            assert_eq!(code(Method::POST, &path, true), Code::EndpointNotEnabled, "{path}");
        }
    }

    #[test]
    fn a_location_is_one_under_here() {
        let told =
            |value| location(value, "/base/v1", false).map(|(place, path)| (place.ids, path));
        let call = Some((vec!["rtc_1".to_owned()], "/v1/realtime/calls/rtc_1".to_owned()));
        assert_eq!(told("/base/v1/realtime/calls/rtc_1"), call);
        assert_eq!(told("https://provider.example/base/v1/realtime/calls/rtc_1"), call);
        assert_eq!(told("/v1/realtime/calls/rtc_1"), call);
        for odd in ["https://provider.example", "/base/v1/files", "/other/x", "/v1/organization/x"]
        {
            assert_eq!(told(odd), None, "{odd}");
        }
    }

    #[test]
    fn what_could_be_read_otherwise_is_not_served() {
        for path in [
            "/v1/files/",
            "/v1//files",
            "/v1/files/../organization",
            "/v1/files/%2e%2E/organization",
            "/v1/files%2fx",
            "/v1/files/%252e%252e/x",
            "/v1/files/a%5cb",
            "/v1/files/%0a",
            "/v1/files/%f",
            "/v1/files/%+1",
            "/v1/files/%ff",
            "/v1/chat/completions/",
            "/v1/responses/",
        ] {
            assert_eq!(code(Method::GET, path, true), Code::EndpointNotEnabled, "{path}");
        }
    }

    #[test]
    fn the_sellers_account_and_the_understood_lane_are_never_passed_on() {
        for path in [
            "/v1/organization/admin_api_keys",
            "/v1/Organization/users",
            "/v1/%6frganization/users",
            "/v1/projects/proj_1",
            "/v1/%65mbeddings",
            "/v1/Embeddings",
            "/v1/chat",
            "/v1/chat/other",
            "/v1/Chat/completions",
            "/v1/%63hat/completions",
            "/v1/%72esponses",
            "/v1/Responses",
            "/v1/models",
            "/v1/messages",
            "/v1/usage",
        ] {
            assert_eq!(code(Method::POST, path, true), Code::EndpointNotEnabled, "{path}");
        }
    }

    #[test]
    fn unknown_roots_are_passed_on_only_if_allowed() {
        assert_eq!(code(Method::GET, "/v1/videos/video_1", false), Code::EndpointNotEnabled);
        let place = Place::of(&Method::GET, "/v1/videos/video_1", true).unwrap();
        assert_eq!((place.path.as_str(), place.ids), ("/v1/videos", vec!["video_1".to_owned()]));
        let long = format!("/v1/{}", "ä".repeat(100));
        assert!(Place::of(&Method::GET, &long, true).unwrap().path.len() <= 4 + LONGEST_NAME);
    }

    #[test]
    fn a_model_can_only_be_deleted() {
        assert_eq!(Place::of(&Method::DELETE, "/v1/models/ft:m:1", false).unwrap().ids, ["ft:m:1"]);
        assert_eq!(code(Method::PATCH, "/v1/models/m", true), Code::EndpointNotEnabled);
    }
}
