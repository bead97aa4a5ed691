use super::*;

#[test]
fn texts_are_counted_with_the_vocabulary_of_current_models() {
    assert_eq!(text_tokens("hello world"), 2);
    assert_eq!(text_tokens(""), 0);
    assert_eq!(text_tokens("tiktoken is great!"), 6);
}

#[test]
fn a_quarter_of_the_bytes_is_rounded_up() {
    assert_eq!([quick(0), quick(1), quick(4), quick(5)], [0, 1, 1, 2]);
}

/// The example of the OpenAI Cookbook and the count that it prints for gpt-4o.
#[test]
fn a_chat_is_counted_by_the_cookbooks_rule() {
    let body = br#"{"model":"gpt-4o","messages":[
        {"role":"system","content":"You are a helpful, pattern-following assistant that translates corporate jargon into plain English."},
        {"role":"system","name":"example_user","content":"New synergies will help drive top-line growth."},
        {"role":"system","name":"example_assistant","content":"Things working well together will increase revenue."},
        {"role":"system","name":"example_user","content":"Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage."},
        {"role":"system","name":"example_assistant","content":"Let's talk later when we're less busy about how to do better."},
        {"role":"user","content":"This late pivot means we don't have time to boil the ocean for the client deliverable."}]}"#;
    assert_eq!(prompt_tokens("/v1/chat/completions", body), 124);
}

fn chat(messages: &str) -> u64 {
    prompt_tokens("/v1/chat/completions", format!(r#"{{"messages":{messages}}}"#).as_bytes())
}

#[test]
fn parts_tool_calls_and_images_count() {
    let plain = chat(r#"[{"role":"user","content":"hello world"}]"#);
    assert_eq!(plain, 3 + 3 + 1 + 2);
    assert_eq!(
        chat(r#"[{"content":[{"type":"text","text":"hello world"}],"role":"user"}]"#),
        plain
    );
    assert_eq!(
        chat(
            r#"[{"role":"user","content":[{"type":"text","text":"hello world"},
            {"type":"image_url","image_url":{"url":"data:image/png;base64,AAAAAAAA"}}]}]"#
        ),
        plain + MEDIA_TOKENS
    );
    let call = chat(
        r#"[{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function",
        "function":{"name":"hello","arguments":"hello world"}}]}]"#,
    );
    assert_eq!(call, 3 + 3 + 1 + 1 + 2);
    let declared = br#"{"messages":[],"tools":[{"type":"function"}]}"#;
    assert_eq!(
        prompt_tokens("/v1/chat/completions", declared),
        3 + text_tokens(r#"[{"type":"function"}]"#)
    );
}

#[test]
fn completions_and_embeddings_take_texts_and_tokens() {
    for (path, key) in [("/v1/completions", "prompt"), ("/v1/embeddings", "input")] {
        let count = |value: &str| prompt_tokens(path, format!(r#"{{"{key}":{value}}}"#).as_bytes());
        assert_eq!(count(r#""hello world""#), 2);
        assert_eq!(count(r#"["hello world","hello\u0020world"]"#), 4);
        assert_eq!(count("[1,2,3]"), 3);
        assert_eq!(count("[[1,2,3],[4]]"), 4);
    }
}

#[test]
fn a_response_counts_instructions_and_items() {
    let count = |body: &str| prompt_tokens("/v1/responses", body.as_bytes());
    assert_eq!(count(r#"{"input":"hello world"}"#), 3 + 3 + 2);
    assert_eq!(
        count(
            r#"{"instructions":"hello","input":[{"role":"user","content":
            [{"type":"input_text","text":"hello world"},{"type":"input_image","image_url":"x"}]},
            {"type":"function_call_output","call_id":"c","output":"hello"}]}"#
        ),
        3 + (3 + 1) + (3 + 1 + 2 + MEDIA_TOKENS) + (3 + 1)
    );
}

#[test]
fn a_message_counts_its_system_prompt_blocks_and_tools() {
    let count = |body: &str| prompt_tokens("/v1/messages", body.as_bytes());
    let plain = count(r#"{"messages":[{"role":"user","content":"hello world"}]}"#);
    assert_eq!(plain, 3 + 3 + 1 + 2);
    for (body, more) in [
        (r#"{"system":"hello","messages":[{"role":"user","content":"hello world"}]}"#, 3 + 1),
        (
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"hello world"},
                {"type":"image","source":{"type":"base64","data":"AAAA"}}]}]}"#,
            MEDIA_TOKENS,
        ),
        (
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"hello world"},
                {"type":"document","source":{"type":"text","data":"hello world"}},
                {"type":"document","source":{"type":"content","content":
                [{"type":"text","text":"hello"}]}}]}]}"#,
            2 + 1,
        ),
        (
            r#"{"messages":[{"role":"user","content":"hello world"},{"role":"assistant","content":
                [{"type":"tool_use","id":"toolu_1","name":"hello","input":{"a":1}}]}]}"#,
            3 + 1 + 1 + text_tokens(r#"{"a":1}"#),
        ),
        (
            r#"{"messages":[{"role":"user","content":"hello world"},{"role":"user","content":
                [{"type":"tool_result","tool_use_id":"toolu_1","content":"hello"}]}]}"#,
            3 + 1 + 1,
        ),
    ] {
        assert_eq!(count(body), plain + more, "{body}");
    }
}

#[test]
fn what_is_not_understood_is_a_quarter_of_its_bytes() {
    assert_eq!(prompt_tokens("/v1/messages/batches", b"12345678"), 2);
    assert_eq!(prompt_tokens("/v1/chat/completions", b"{\"messages\":"), 3);
    assert_eq!(prompt_tokens("/v1/chat/completions", b"{}"), 1);
}

#[test]
fn a_long_text_is_sampled_over_its_whole_length() {
    let prose = "The quick brown fox jumps over the lazy dog. ".repeat(20_000);
    let dense = "x1Q9".repeat(225_000);
    let both = format!("{prose}{dense}");
    let exact = encoding().unwrap().count(&both) as u64;
    let counted = text_tokens(&both);
    assert!(counted.abs_diff(exact) * 100 < exact * 3, "{counted} for {exact}");
    let euros = "€".repeat(100_000);
    assert!(text_tokens(&euros) > 0, "cut at character boundaries");
}

#[test]
fn many_texts_share_one_budget() {
    let message = format!(r#"{{"role":"user","content":"{}"}}"#, "hello world ".repeat(1_000));
    let one = chat(&format!("[{message}]")) - 3;
    let many = chat(&format!("[{}]", vec![message; 100].join(","))) - 3;
    assert!(many.abs_diff(one * 100) * 100 < one * 100, "{many} for {}", one * 100);
}

#[test]
fn an_answer_without_usage_is_counted() {
    let answer = br#"{"choices":[{"message":{"role":"assistant","content":"hello world"}}]}"#;
    assert_eq!(answer_tokens(answer), 2);
    assert_eq!(answer_tokens(br#"{"data":[{"embedding":[0.5]}],"model":"m"}"#), 0);
}

#[test]
fn a_text_is_cut_into_its_tokens() {
    assert_eq!(split("hello world"), ["hello", " world"]);
    let text = "naïve 🦀 crabs 你好";
    assert_eq!(split(text).concat(), text);
}
