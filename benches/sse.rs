//! Time per event of splitting and metering a stream: `cargo bench --bench sse`.
//!
//! Prints nanoseconds per event for chunks of one event, of fifty, and of 1,000
//! bytes wherever they fall; with the events as they come from OpenAI.

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use tollgate::base::sse::{Piece, Splitter};
use tollgate::meter::stream::StreamMeter;
use tollgate::meter::strip::strip_null_usage;

const ROUNDS: usize = 400;
const EVENTS: usize = 1_000;

/// Chunks of a stream of `EVENTS` events, cut every `size` bytes.
fn chunks(event: &str, size: usize) -> Vec<Bytes> {
    let stream = Bytes::from(event.repeat(EVENTS));
    (0..stream.len())
        .step_by(size)
        .map(|at| stream.slice(at..stream.len().min(at + size)))
        .collect()
}

/// Best time of `ROUNDS` rounds over one event, in nanoseconds.
#[expect(clippy::disallowed_methods, reason = "a benchmark asks the machine")]
fn time(chunks: &[Bytes], mut work: impl FnMut(&[Bytes]) -> usize) -> u128 {
    let round = |_| {
        let start = Instant::now();
        assert_eq!(black_box(work(black_box(chunks))), EVENTS);
        start.elapsed().as_nanos() / EVENTS as u128
    };
    (0..ROUNDS).map(round).min().unwrap_or(0)
}

fn each(chunks: &[Bytes], mut then: impl FnMut(&Bytes)) -> usize {
    let mut splitter = Splitter::new(1 << 20);
    let mut events = 0;
    for chunk in chunks {
        splitter.push(chunk.clone());
        while let Some(piece) = splitter.next_piece() {
            if let Piece::Event(event) = piece {
                then(&event);
                events += 1;
            }
        }
    }
    events
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn main() {
    let short = concat!(
        r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","model":"gpt-4o","#,
        r#""choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}"#,
        "\n\n"
    );
    let full = concat!(
        r#"data: {"id":"chatcmpl-BxYz0123456789abcdefghijkl","object":"chat.completion.chunk","#,
        r#""created":1764000000,"model":"gpt-4o-mini-2024-07-18","service_tier":"default","#,
        r#""system_fingerprint":"fp_0123456789","choices":[{"index":0,"delta":{"content":" word"},"#,
        r#""logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"aBcDeF"}"#,
        "\n\n"
    );
    for (name, event) in [("short", short), ("full", full)] {
        for (cut, size) in [("one", event.len()), ("fifty", 50 * event.len()), ("1000 B", 1000)] {
            let chunks = chunks(event, size);
            let split = time(&chunks, |chunks| each(chunks, |event| _ = black_box(event)));
            let metered = time(&chunks, |chunks| {
                let mut meter = StreamMeter::new();
                each(chunks, |event| _ = black_box(meter.observe(event)))
            });
            let stripped = time(&chunks, |chunks| {
                let mut meter = StreamMeter::new();
                each(chunks, |event| {
                    meter.observe(event);
                    black_box(strip_null_usage(event));
                })
            });
            println!(
                "{name} event of {} bytes, chunks of {cut}: split {split} ns, and metered \
                 {metered} ns, and stripped {stripped} ns",
                event.len(),
            );
        }
    }
}
