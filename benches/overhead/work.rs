//! The kinds of work: what is asked, and what the provider answers.

use std::fmt::Write as _;
use std::str::FromStr;

use crate::Failure;

/// The API key that the load presents.
pub(crate) const KEY: &str = "tg_live_overhead_benchmark_key_0000000000000000";
/// The model that the load asks for.
pub(crate) const MODEL: &str = "gpt-4o-mini";
/// Length of an answer that is not streamed, in bytes.
pub(crate) const ANSWER: usize = 600;
/// Events of a stream that carry text.
pub(crate) const BURST: usize = 50;
/// Events of a paced stream that carry text.
pub(crate) const PACED: usize = 100;
/// Connections that ask in lockstep, some of them for the same.
pub(crate) const CALLERS: usize = 100;
/// Digits that make each request unique.
pub(crate) const DIGITS: usize = 16;

/// One kind of work, a row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// 1 KB chat, not streamed.
    Chat,
    /// The same request again and again, which Tollgate answers from its cache.
    Cached,
    /// 1 KB chat, not streamed, unique, whose answer Tollgate keeps.
    Kept,
    /// Each a second time, when Tollgate has it on the disk and hardly any in memory.
    Disk,
    /// 256 KB chat, not streamed.
    Prompt,
    /// One event each 10 ms.
    Paced,
    /// All events at once, a write each.
    Burst,
    /// All events in one write.
    Block,
    /// The same, of a client that does not ask for usage.
    Unasked,
    /// 1 KB chat, not streamed, one at a time.
    Latency,
    /// `CALLERS` at once, so many of them with the same request, not streamed.
    Shared(usize),
    /// The same, all events at once, a write each.
    Fan(usize),
}

impl Work {
    pub(crate) const ALL: [Self; 16] = [
        Self::Chat,
        Self::Cached,
        Self::Kept,
        Self::Disk,
        Self::Prompt,
        Self::Paced,
        Self::Burst,
        Self::Unasked,
        Self::Block,
        Self::Latency,
        Self::Shared(1),
        Self::Shared(10),
        Self::Shared(100),
        Self::Fan(1),
        Self::Fan(10),
        Self::Fan(100),
    ];

    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Cached => "cached",
            Self::Kept => "kept",
            Self::Disk => "disk",
            Self::Prompt => "prompt",
            Self::Paced => "paced",
            Self::Burst => "burst",
            Self::Unasked => "unasked",
            Self::Block => "block",
            Self::Latency => "latency",
            Self::Shared(1) => "shared-1",
            Self::Shared(10) => "shared-10",
            Self::Shared(_) => "shared-100",
            Self::Fan(1) => "fan-1",
            Self::Fan(10) => "fan-10",
            Self::Fan(_) => "fan-100",
        }
    }

    /// Its row in the table.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Chat => "1 KB chat, not streamed, unique; CPU µs a request",
            Self::Cached => "1 KB chat, answered from Tollgate's cache; CPU µs a request",
            Self::Kept => "1 KB chat, unique, kept in Tollgate's cache; CPU µs a request",
            Self::Disk => "1 KB chat, from Tollgate's cache on the disk; CPU µs a request",
            Self::Prompt => "256 KB prompt; CPU µs a request",
            Self::Paced => "SSE, an event each 10 ms, 16 streams; CPU µs an event",
            Self::Burst => "SSE, 50 events in a burst; CPU µs an event",
            Self::Unasked => "the same, usage not asked for; CPU µs an event",
            Self::Block => "SSE, 50 events in one write; CPU µs an event",
            Self::Latency => "1 KB chat, 1 connection",
            Self::Shared(1) => "1 KB chat, 100 callers, each its own; CPU µs a request",
            Self::Shared(10) => "1 KB chat, 100 callers, 10 equal; CPU µs a request",
            Self::Shared(_) => "1 KB chat, 100 callers, all equal; CPU µs a request",
            Self::Fan(1) => "SSE, burst, 100 callers, each its own; CPU µs an event",
            Self::Fan(10) => "SSE, burst, 100 callers, 10 equal; CPU µs an event",
            Self::Fan(_) => "SSE, burst, 100 callers, all equal; CPU µs an event",
        }
    }

    /// Connections, and requests on each.
    pub(crate) fn amount(self) -> (usize, usize) {
        match self {
            Self::Chat | Self::Cached | Self::Kept => (32, 800),
            Self::Disk => (32, 400),
            Self::Prompt => (32, 60),
            Self::Paced => (16, 2),
            Self::Burst | Self::Unasked | Self::Block => (32, 80),
            Self::Latency => (1, 3_000),
            Self::Shared(_) => (CALLERS, 100),
            Self::Fan(_) => (CALLERS, 20),
        }
    }

    /// Events that carry text; `None` if not streamed.
    fn text_events(self) -> Option<usize> {
        match self {
            Self::Chat
            | Self::Cached
            | Self::Kept
            | Self::Disk
            | Self::Prompt
            | Self::Latency
            | Self::Shared(_) => None,
            Self::Paced => Some(PACED),
            Self::Burst | Self::Unasked | Self::Block | Self::Fan(_) => Some(BURST),
        }
    }

    /// How many equal requests come at once; `None` where each comes when it can.
    pub(crate) fn equal(self) -> Option<usize> {
        match self {
            Self::Shared(equal) | Self::Fan(equal) => Some(equal),
            _ => None,
        }
    }

    /// Whether Tollgate must have each answer in its cache.
    pub(crate) fn hits(self) -> bool {
        matches!(self, Self::Cached | Self::Disk)
    }

    /// Events that the client must see: text, usage if asked for, `[DONE]`.
    pub(crate) fn events(self) -> Option<usize> {
        let usage = usize::from(self != Self::Unasked);
        self.text_events().map(|text| text + usage + 1)
    }

    /// The request as it goes over the wire, and where its unique digits are.
    pub(crate) fn request(self, connection: usize) -> (Vec<u8>, usize) {
        let size = if self == Self::Prompt { 256 * 1024 } else { 1_024 };
        let mut body = format!(r#"{{"model":"{MODEL}","user":"load","#);
        if self.text_events().is_some() {
            body.push_str(r#""stream":true,"#);
        }
        if matches!(self, Self::Paced | Self::Burst | Self::Block | Self::Fan(_)) {
            body.push_str(r#""stream_options":{"include_usage":true},"#);
        }
        body.push_str(r#""messages":[{"role":"user","content":""#);
        // By its first word the provider knows the work.
        body.extend([self.name(), " "]);
        let digits = body.len();
        let prefix = connection + 1;
        body.push_str(&format!("{prefix:0DIGITS$}"));
        let end = r#""}],"temperature":0.7}"#;
        let text = r" Explain how a reverse proxy reads a request, and why it matters.\n";
        while body.len() + text.len() + end.len() <= size {
            body.push_str(text);
        }
        body.extend(std::iter::repeat_n('.', size.saturating_sub(body.len() + end.len())));
        body.push_str(end);
        let kept = matches!(self, Self::Cached | Self::Kept | Self::Disk);
        let steering = if kept { "x-tollgate-cache-ttl: 1h\r\n" } else { "" };
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n\
             authorization: Bearer {KEY}\r\ncontent-type: application/json\r\n\
             accept: application/json\r\nuser-agent: OpenAI/Python 2.8.0\r\n\
             {steering}content-length: {}\r\n\r\n",
            body.len()
        );
        let at = head.len() + digits;
        (format!("{head}{body}").into_bytes(), at)
    }
}

impl FromStr for Work {
    type Err = Failure;

    fn from_str(name: &str) -> Result<Self, Failure> {
        let found = Self::ALL.into_iter().find(|work| work.name() == name);
        found.ok_or_else(|| format!("no such work: {name}").into())
    }
}

/// The provider's answers.
pub(crate) struct Answers {
    /// Not streamed, head included.
    pub(crate) whole: Vec<u8>,
    /// Streams without usage and with it.
    pub(crate) streams: [Stream; 2],
}

/// The parts of a streamed answer.
pub(crate) struct Stream {
    /// One event that carries text.
    pub(crate) event: Vec<u8>,
    /// What comes after the last of them.
    pub(crate) end: Vec<u8>,
    /// Head, `BURST` events and end.
    pub(crate) block: Vec<u8>,
}

/// The head of a streamed answer. nginx passes a stream on unbuffered because
/// of its last field, which is its own and goes no further.
pub(crate) const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
     x-request-id: req_mock\r\nopenai-processing-ms: 5\r\n\
     transfer-encoding: chunked\r\nx-accel-buffering: no\r\n\r\n";

impl Answers {
    pub(crate) fn new() -> Self {
        let start = r#"{"id":"chatcmpl-BxYz0123456789abcdefghijkl","object":"chat.completion","created":1767225600,"model":"gpt-4o-mini-2024-07-18","choices":[{"index":0,"message":{"role":"assistant","content":""#;
        let end = r#""},"finish_reason":"stop"}],"usage":{"prompt_tokens":230,"completion_tokens":60,"total_tokens":290}}"#;
        let text = "a".repeat(ANSWER.saturating_sub(start.len() + end.len()));
        let whole = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_mock\r\n\
             openai-processing-ms: 5\r\ncontent-length: {ANSWER}\r\n\r\n{start}{text}{end}"
        );
        let stream = |usage| {
            let (event, end) = (text_event(usage), last_events(usage));
            let block = format!("{STREAM_HEAD}{}{end}", event.repeat(BURST));
            Stream { event: event.into(), end: end.into(), block: block.into() }
        };
        Self { whole: whole.into_bytes(), streams: [stream(false), stream(true)] }
    }
}

/// One event that carries text, as an HTTP chunk.
fn text_event(usage: bool) -> String {
    let usage = if usage { r#","usage":null"# } else { "" };
    chunk(&format!(
        "data: {{\"id\":\"chatcmpl-BxYz0123456789\",\"object\":\"chat.completion.chunk\",\
         \"model\":\"gpt-4o-mini\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" word\"}}}}]\
         {usage}}}\n\n"
    ))
}

/// What a stream ends with: usage if asked for, `[DONE]`, the last chunk.
fn last_events(usage: bool) -> String {
    let mut end = String::new();
    if usage {
        end.push_str(&chunk(
            "data: {\"id\":\"chatcmpl-BxYz0123456789\",\"object\":\"chat.completion.chunk\",\
             \"model\":\"gpt-4o-mini\",\"choices\":[],\"usage\":{\"prompt_tokens\":230,\
             \"completion_tokens\":50,\"total_tokens\":280}}\n\n",
        ));
    }
    end.push_str(&chunk("data: [DONE]\n\n"));
    end.push_str("0\r\n\r\n");
    end
}

fn chunk(data: &str) -> String {
    let mut chunk = String::new();
    // Writing to a String cannot fail.
    let _infallible = write!(chunk, "{:x}\r\n{data}\r\n", data.len());
    chunk
}
