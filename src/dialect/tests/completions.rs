//! Clients of the legacy Completions.

use super::answers::{completion, message};
use super::streams::{blocks, chunks, delta, start, stop};
use super::*;
use Dialect::{Chat, Completions, Messages};

fn hi(more: &Value) -> Value {
    with(question(Completions), more)
}

#[test]
fn a_prompt_is_what_the_user_says() {
    let body = json!({"model": "public", "prompt": ["Once"], "max_tokens": 5, "stop": "\n\n", "n": 2,
        "temperature": 0, "user": "u", "stream": true, "echo": false, "best_of": 1, "logprobs": null});
    assert_eq!(
        translate(Completions, Chat, &body),
        json!({"model": "target-model", "messages": [{"role": "user", "content": "Once"}], "max_tokens": 5,
            "stop": ["\n\n"], "n": 2, "temperature": 0, "user": "u", "stream": true,
            "stream_options": {"include_usage": true}})
    );
    assert_eq!(
        translate(Completions, Messages, &hi(&json!({"frequency_penalty": 0, "n": 1}))),
        json!({"model": "target-model", "max_tokens": 16, "messages": [{"role": "user", "content": "Hi"}]})
    );
}

#[test]
fn what_has_no_equal_is_named() {
    for (more, param) in [
        (json!({"suffix": "x"}), "suffix"),
        (json!({"echo": true}), "echo"),
        (json!({"best_of": 3}), "best_of"),
        (json!({"logprobs": 2}), "logprobs"),
        (json!({"prompt": ["a", "b"]}), "prompt"),
        (json!({"n": 2}), "n"),
    ] {
        assert_eq!(unsupported(Completions, Messages, &hi(&more)), param);
    }
    for more in [json!({"prompt": [1, 2]}), json!({"prompt": null}), json!({"prompt": 7})] {
        assert_eq!(invalid(Completions, Chat, &hi(&more)), "prompt");
    }
}

#[test]
fn answers_are_texts() {
    let text = json!([{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "upon"}]);
    assert_eq!(
        whole(&answers(Completions, Messages), &message(&text, "max_tokens")),
        json!({"id": "cmpl-9", "object": "text_completion", "created": 1_700_000_000, "model": "target-model",
            "choices": [{"text": "upon", "index": 0, "logprobs": null, "finish_reason": "length"}],
            "usage": {"prompt_tokens": 30, "completion_tokens": 7, "total_tokens": 37,
                "prompt_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 6},
                "completion_tokens_details": {"reasoning_tokens": 0}}})
    );
    let mut two = completion(&json!({"content": "a"}), "stop");
    let second = json!({"index": 1, "message": {"content": "b"}, "finish_reason": "stop"});
    two["choices"].as_array_mut().unwrap().push(second);
    let answer = whole(&answers(Completions, Chat), &two);
    assert_eq!(answer["choices"][1]["text"], "b");
    assert_eq!(answer["choices"][1]["index"], 1);
}

#[test]
fn streams_are_texts() {
    let events = blocks(
        &[
            start(0, &json!({"type": "text", "text": ""})),
            delta(0, &json!({"type": "text_delta", "text": "up"})),
            delta(0, &json!({"type": "text_delta", "text": "on"})),
            stop(0),
        ],
        "end_turn",
    );
    let out = stream(&answers(Completions, Messages), &events, 9).unwrap();
    assert!(out.ends_with("data: [DONE]\n\n"));
    let payloads = payloads(&out);
    assert_eq!(payloads.len(), 4);
    assert_eq!(
        payloads[1]["choices"],
        json!([{"text": "on", "index": 0, "logprobs": null, "finish_reason": null}])
    );
    assert_eq!(
        payloads[2]["choices"],
        json!([{"text": "", "index": 0, "logprobs": null, "finish_reason": "stop"}])
    );
    assert_eq!(payloads[3]["choices"], json!([]));
    assert_eq!(payloads[3]["usage"]["total_tokens"], 37);
    let out = stream(&answers(Completions, Chat), &chunks(&[json!({"content": "x"})], "length"), 9);
    assert!(out.unwrap().contains(r#""finish_reason":"length""#));
}
