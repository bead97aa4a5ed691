//! Time of the cache on the way of a request: `cargo bench --bench cache_key`.
//!
//! Prints nanoseconds for the key of a chat body of 1 KB, as clients send it and
//! with escapes in it, and of 256 KB; for all that is read of such a body at once,
//! fields, hash and mentions; and for a look-up of an answer that is
//! there, whole or streamed, in the form that it was stored in and in the other.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use tollgate::cache::entry::{Answer, Cut, Entry, Recordings};
use tollgate::cache::key::{BodyHash, Context, Fields, Form, Key, key};
use tollgate::cache::replay::Shape;
use tollgate::cache::{self, Cache, Wanted};
use tollgate::intake::request::Request;
use tollgate::opaque::mention::Mentions;
use tollgate::telemetry::metrics::Metrics;

const ROUNDS: usize = 50;

/// Best time of `ROUNDS` rounds of `count` runs, over one run, in nanoseconds.
#[expect(clippy::disallowed_methods, reason = "a benchmark asks the machine")]
fn time<T>(count: u32, mut work: impl FnMut() -> T) -> u128 {
    let round = |_| {
        let start = Instant::now();
        for _ in 0..count {
            black_box(work());
        }
        start.elapsed().as_nanos() / u128::from(count)
    };
    (0..ROUNDS).map(round).min().unwrap_or(0)
}

/// A chat body of about `size` bytes whose prompt repeats `word`.
fn body(word: &str, size: usize) -> String {
    let head = r#"{"model":"gpt-4o-mini","messages":[{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":""#;
    let tail = r#""}],"temperature":0.7,"max_tokens":256,"stream":true,"stream_options":{"include_usage":true},"user":"user-1234"}"#;
    let room = size.saturating_sub(head.len() + tail.len());
    format!("{head}{}{tail}", word.repeat(room / word.len()))
}

fn key_of(headers: &HeaderMap, body: &str) -> Option<Key> {
    let context = Context {
        endpoint: "/v1/chat/completions",
        class: "default",
        account: Some("demo"),
        model: "gpt-4o-mini",
        provider: "openai",
        provider_model: Some("gpt-4o-mini"),
        max_output: None,
        headers,
        set: &[],
        query: None,
    };
    let hash = BodyHash::of(body.as_bytes(), Fields::WithEffect)?;
    Some(key(&[7; 32], &context, &hash))
}

fn stream() -> Option<Answer> {
    let mut recorder = Recordings::default().begin();
    for _ in 0..200 {
        let event = concat!(
            r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","model":"gpt-4o","#,
            r#""choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}],"#,
            r#""usage":null}"#,
            "\n\n"
        );
        let from = event.find(r#","usage""#)?;
        recorder.event(event.as_bytes(), Cut::Part(from..from + 13), false);
    }
    recorder.event(b"data: [DONE]\n\n", Cut::Nothing, true);
    recorder.finish().map(Answer::Stream)
}

fn entry(answer: Answer) -> Entry {
    Entry {
        account: "demo".into(),
        shared: false,
        class: "default".into(),
        model: "gpt-4o-mini".into(),
        provider: "openai".into(),
        headers: HeaderMap::new(),
        answer,
        tokens: tollgate::ledger::record::Tokens::default(),
        estimated: false,
        aged: Duration::ZERO,
        made: Duration::ZERO,
        expires: Duration::from_secs(3_600),
        stale_for: Duration::ZERO,
    }
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn main() {
    let headers = HeaderMap::new();
    for (name, word, size, count) in [
        ("1 KB chat", "word ", 1_024, 1_000),
        ("1 KB chat with escapes", r#"\tlet x = \"word\";\n"#, 1_024, 1_000),
        ("8 KB chat", "word ", 8_192, 200),
        ("256 KB chat", "word ", 262_144, 5),
        ("256 KB chat with escapes", r#"\tlet x = \"word\";\n"#, 262_144, 5),
    ] {
        let body = body(word, size);
        println!("key of {name}: {} ns", time(count, || key_of(&headers, &body)));
        let bytes = Bytes::from(body);
        let read = || {
            let form = Form::new(bytes.len(), Fields::WithEffect);
            Request::read(&bytes, (form, Mentions::default())).map(|(request, (form, mentions))| {
                (request, form.finish(), mentions.few().is_some())
            })
        };
        println!("all that is read of {name}: {} ns", time(count, read));
    }
    let Some(key) = key_of(&headers, "{}") else { return };
    let text = "word ".repeat(200);
    let whole = format!(
        r#"{{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}"}},"finish_reason":"stop"}}]}}"#
    );
    let answers = [("whole", Some(Answer::Whole(Bytes::from(whole)))), ("stream", stream())];
    for (stored, answer) in answers {
        let (Some(answer), Ok(metrics)) = (answer, Metrics::new(&[])) else { return };
        let cache = Cache::new([7; 32], 1024 * 1024, metrics.cache_level("memory"));
        cache.insert(key, entry(answer), cache.epoch());
        for (asked, stream) in [("whole", false), ("stream", true)] {
            let wanted = Wanted { shape: Shape::Chat, stream, usage: false };
            let look_up = || {
                let entry = cache.get(&key, Duration::from_secs(1))?;
                cache::serve(&entry, wanted)
            };
            assert!(look_up().is_some());
            println!("hit on a {stored} answer asked for as {asked}: {} ns", time(200, look_up));
        }
    }
}
