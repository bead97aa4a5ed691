"""A streamed chat answer, with and without usage in it."""

import os

from openai import OpenAI

client = OpenAI(max_retries=0, timeout=30)
messages = [{"role": "user", "content": "Say hello."}]


def collect(**more):
    text, finish, usage, roles, empty = "", [], [], [], 0
    with client.chat.completions.create(
        model="gpt-4o-mini", messages=messages, stream=True, **more
    ) as stream:
        for chunk in stream:
            assert chunk.object == "chat.completion.chunk", chunk
            if chunk.usage is not None:
                usage.append(chunk.usage)
            if not chunk.choices:
                empty += 1
                continue
            delta = chunk.choices[0].delta
            text += delta.content or ""
            roles += [delta.role] if delta.role else []
            if chunk.choices[0].finish_reason:
                finish.append(chunk.choices[0].finish_reason)
    assert finish == ["stop"], finish
    assert roles == ["assistant"], roles
    if "TEXT" in os.environ:
        assert text == os.environ["TEXT"], text
    return text, usage, empty


plain, usage, empty = collect()
assert plain and not usage, usage
assert empty == 0, "an event without choices came that nobody asked for"

asked, usage, empty = collect(stream_options={"include_usage": True})
assert asked == plain, (asked, plain)
assert len(usage) == 1 and empty == 1, (usage, empty)
assert usage[0].prompt_tokens > 0 and usage[0].completion_tokens > 0, usage

refused, usage, empty = collect(stream_options={"include_usage": False})
assert refused == plain and not usage and empty == 0, (usage, empty)
