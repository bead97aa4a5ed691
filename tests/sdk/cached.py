"""Equal requests as a whole and as a stream: one call, the same answer."""

import os

from openai import OpenAI

client = OpenAI(max_retries=0, timeout=30)
seen = []


def say(prompt, **more):
    return {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": prompt}],
        **more,
    }


def whole(**request):
    raw = client.chat.completions.with_raw_response.create(**request)
    seen.append(raw.headers["x-tollgate-cache"])
    return raw.parse()


def streamed(usage, **request):
    options = {"include_usage": True} if usage else {}
    with client.chat.completions.stream(stream_options=options, **request) as stream:
        for _ in stream:
            pass
        seen.append(stream._response.headers["x-tollgate-cache"])
        return stream.get_final_completion()


tool = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
for request in (say("Say hello."), say("What is the weather?", tools=[tool])):
    if "tools" in request and os.environ["ORDER"] == "stream first":
        # The mock provider calls tools in whole answers only.
        continue
    seen.clear()
    first = whole(**request) if os.environ["ORDER"] == "whole first" else None
    one = streamed(True, **request)
    other = streamed(False, **request)
    last = whole(**request)
    assert seen == ["miss"] + ["hit"] * (len(seen) - 1), seen
    for answer in [first, one, other]:
        if answer is None:
            continue
        message, expected = answer.choices[0].message, last.choices[0].message
        assert answer.id == last.id and answer.created == last.created, (answer, last)
        assert message.role == expected.role == "assistant", answer
        assert message.content == expected.content, (message, expected)
        assert answer.choices[0].finish_reason == last.choices[0].finish_reason, answer
        calls = [call.function for call in message.tool_calls or []]
        wanted = [call.function for call in expected.tool_calls or []]
        assert [(it.name, it.arguments) for it in calls] == [
            (it.name, it.arguments) for it in wanted
        ], (calls, wanted)
    assert one.usage.total_tokens == last.usage.total_tokens, (one.usage, last.usage)
    assert other.usage is None, other.usage
