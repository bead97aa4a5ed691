use super::*;

/// Feeds `events`, each the data of one, and gives what was observed of them.
fn observe(meter: &mut StreamMeter, events: &[&str]) -> Vec<Observed> {
    let whole = |data: &&str| Bytes::from(format!("data: {data}\n\n"));
    events.iter().map(whole).map(|event| meter.observe(&event)).collect()
}

fn tokens(input: u64, output: u64) -> Option<Tokens> {
    Some(Tokens { input, output, ..Tokens::default() })
}

const PLAIN: Observed = Observed { is_usage_only: false, is_terminal: false, is_error: false };
const TERMINAL: Observed = Observed { is_terminal: true, ..PLAIN };
const USAGE: &str = r#"{"id":"c","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}"#;
const DELTA: &str = r#"{"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":"Hello"},"finish_reason":null}],"usage":null}"#;

#[test]
fn the_usage_chunk_is_for_us_alone() {
    let mut meter = StreamMeter::new();
    let seen = observe(&mut meter, &[DELTA, USAGE, "[DONE]"]);
    assert_eq!(seen, [PLAIN, Observed { is_usage_only: true, ..PLAIN }, TERMINAL]);
    let usage = meter.finish();
    assert_eq!(
        usage,
        StreamUsage {
            tokens: tokens(9, 2),
            counted: false,
            output: 2,
            complete: true,
            failed: false
        }
    );
    assert_eq!(usage.settle(|| unreachable!()), (tokens(9, 2).unwrap(), false));
}

#[test]
fn usage_beside_the_last_content_is_not_stripped() {
    let mut meter = StreamMeter::new();
    let last = r#"{"choices":[{"delta":{"content":"."},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#;
    assert_eq!(observe(&mut meter, &[last]), [PLAIN]);
    assert_eq!(meter.finish().tokens, tokens(9, 2));
}

#[test]
fn an_empty_choice_without_usage_is_the_clients() {
    let mut meter = StreamMeter::new();
    let first = r#"{"choices":[],"prompt_filter_results":[],"usage":null}"#;
    assert_eq!(observe(&mut meter, &[first]), [PLAIN]);
}

#[test]
fn of_several_reports_the_last_one_holds() {
    let mut meter = StreamMeter::new();
    let running = |output: u64| {
        format!(
            r#"{{"choices":[{{}}],"usage":{{"prompt_tokens":9,"completion_tokens":{output}}}}}"#
        )
    };
    observe(&mut meter, &[&running(1), &running(2), r#"{"usage":{"prompt_tokens":-1}}"#]);
    assert_eq!(meter.finish().tokens, tokens(9, 2));
}

#[test]
fn without_usage_the_text_is_counted() {
    let mut meter = StreamMeter::new();
    observe(
        &mut meter,
        &[
            r#"{"choices":[{"delta":{"role":"assistant","content":"tik"}}]}"#,
            r#"{"choices":[{"delta":{"content":"token is"}}]}"#,
            r#"{"choices":[{"delta":{"content":" gr\u0065at!"},"logprobs":{"content":[{"token":"no"}]}}]}"#,
        ],
    );
    let usage = meter.finish();
    assert_eq!((usage.tokens, usage.output, usage.complete), (None, 6, false));
    assert_eq!(usage.settle(|| 40), (tokens(40, 6).unwrap(), true));
}

#[test]
fn tool_calls_and_completions_count_too() {
    let mut meter = StreamMeter::new();
    observe(
        &mut meter,
        &[
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"hello","arguments":""}}]}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":" world"}}]}}]}"#,
            r#"{"choices":[{"text":" hello world","index":0}]}"#,
        ],
    );
    assert_eq!(meter.finish().output, 4);
}

#[test]
fn a_response_reports_in_its_last_event() {
    let mut meter = StreamMeter::new();
    let events = [
        "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"usage\":null}}\n\n",
        "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"Hi\"}\n\n",
        "event: response.completed\ndata: {\"response\":{\"output\":[{\"type\":\"message\",\"content\":[{\"type\":\"output_text\",\"text\":\"Hi\"}]}],\"error\":null,\"usage\":{\"input_tokens\":5,\"output_tokens\":1,\"total_tokens\":6}},\"type\":\"response.completed\"}\n\n",
    ];
    let seen: Vec<_> = events.map(|event| meter.observe(&Bytes::from(event))).to_vec();
    assert_eq!(seen, [PLAIN, PLAIN, TERMINAL]);
    let usage = meter.finish();
    assert_eq!((usage.tokens, usage.complete, usage.failed), (tokens(5, 1), true, false));
}

#[test]
fn a_response_without_usage_counts_its_deltas_once() {
    let mut meter = StreamMeter::new();
    let seen = observe(
        &mut meter,
        &[
            r#"{"type":"response.output_text.delta","delta":"hello world"}"#,
            r#"{"type":"response.output_text.done","text":"hello world"}"#,
            r#"{"type":"response.incomplete","response":{"output":[{"content":[{"text":"hello world"}]}]}}"#,
        ],
    );
    assert_eq!(seen, [PLAIN, PLAIN, TERMINAL]);
    assert_eq!(meter.finish().output, 2);
}

#[test]
fn every_end_is_recognised() {
    for (end, failed) in [
        ("[DONE]", false),
        (" [DONE] ", false),
        (r#"{"type":"response.completed"}"#, false),
        (r#"{"type":"response.incomplete"}"#, false),
        (r#"{"type": "response.failed","response":{"error":{"code":"server_error"}}}"#, true),
        (r#"{"type":"message_stop"}"#, false),
    ] {
        let mut meter = StreamMeter::new();
        assert_eq!(
            observe(&mut meter, &[end]),
            [Observed { is_error: failed, ..TERMINAL }],
            "{end}"
        );
        assert!(meter.finish().complete);
    }
    for no_end in
        [r#"{"choices":[{"delta":{"content":"[DONE]"}}]}"#, r#"{"item":{"type":"message_stop"}}"#]
    {
        assert_eq!(observe(&mut StreamMeter::new(), &[no_end]), [PLAIN], "{no_end}");
    }
}

#[test]
fn an_error_of_the_provider_is_recognised() {
    for error in [
        r#"{"error":{"message":"overloaded","type":"server_error"}}"#,
        r#"{"error": "overloaded"}"#,
        r#"{"id":"c","choices":[{"delta":{"content":""},"finish_reason":"error"}],"error":{"code":502}}"#,
        r#"{"type":"error","error":{"type":"overloaded_error"}}"#,
        r#"{"type":"error","code":"server_error","message":"x"}"#,
    ] {
        let mut meter = StreamMeter::new();
        assert_eq!(
            observe(&mut meter, &[error]),
            [Observed { is_error: true, ..PLAIN }],
            "{error}"
        );
        assert!(meter.finish().failed);
    }
    for fine in [
        r#"{"choices":[{"delta":{"content":"\"error\":{}"}}],"error":null}"#,
        r#"{"choices":[{"error":{"deeper":1}}]}"#,
    ] {
        assert_eq!(observe(&mut StreamMeter::new(), &[fine]), [PLAIN], "{fine}");
    }
}

#[test]
fn what_is_no_json_is_nothing() {
    let mut meter = StreamMeter::new();
    for event in
        [": ping\n\n", "\n", "data\n\n", "data: {\"usage\":\n\n", "data: \"\\\n\n", "event: x\n\n"]
    {
        assert_eq!(meter.observe(&Bytes::from(event)), PLAIN, "{event:?}");
    }
    assert_eq!(meter.finish(), StreamUsage::default());
}

const START: &str = r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","content":[],"model":"claude","stop_reason":null,"usage":{"input_tokens":25,"cache_creation_input_tokens":5,"cache_read_input_tokens":10,"output_tokens":1}}}"#;
const TEXT: &str = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hello world"}}"#;

/// Covers E4.
#[test]
fn a_message_reports_its_prompt_at_the_beginning_and_its_answer_at_the_end() {
    let mut meter = StreamMeter::new();
    let delta = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":15}}"#;
    let seen = observe(
        &mut meter,
        &[START, r#"{"type":"ping"}"#, TEXT, delta, r#"{"type":"message_stop"}"#],
    );
    assert_eq!(seen, [PLAIN, PLAIN, PLAIN, PLAIN, TERMINAL]);
    let usage = meter.finish();
    let expected = Tokens { input: 40, cached_input: 10, output: 15, reasoning: 0, cache_write: 5 };
    assert_eq!(usage.settle(|| unreachable!()), (expected, false));
    assert!(usage.complete && !usage.failed);
}

#[test]
fn of_a_message_that_breaks_off_the_answer_is_counted() {
    let mut meter = StreamMeter::new();
    observe(&mut meter, &[START, TEXT, TEXT]);
    let expected = Tokens { input: 40, cached_input: 10, output: 4, reasoning: 0, cache_write: 5 };
    assert_eq!(meter.finish().settle(|| unreachable!()), (expected, true));
}

#[test]
fn an_error_in_a_stream_of_a_message_fails_it() {
    let mut meter = StreamMeter::new();
    let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let seen = observe(&mut meter, &[START, error]);
    assert_eq!(seen, [PLAIN, Observed { is_error: true, ..PLAIN }]);
    assert!(meter.finish().failed);
}
