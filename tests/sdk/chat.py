"""A chat answer, whole, with everything that an application reads of it."""

import os

from openai import OpenAI

client = OpenAI(max_retries=0, timeout=30)

answer = client.chat.completions.create(
    model="gpt-4o-mini",
    messages=[
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Say hello. Grüß Gott, 你好, 👋"},
    ],
    temperature=0.2,
    extra_body={"an_unknown_field": {"nested": [1, 2.50, None]}},
)
choice = answer.choices[0]
assert choice.message.role == "assistant", answer
assert choice.message.content, answer
assert choice.finish_reason == "stop", answer
assert answer.object == "chat.completion", answer
assert answer.model == "gpt-4o-mini", answer
assert answer.usage.prompt_tokens > 0, answer
assert answer.usage.completion_tokens > 0, answer
total = answer.usage.prompt_tokens + answer.usage.completion_tokens
assert answer.usage.total_tokens == total, answer
if "TEXT" in os.environ:
    assert choice.message.content == os.environ["TEXT"], answer

raw = client.chat.completions.with_raw_response.create(
    model="gpt-4o-mini", messages=[{"role": "user", "content": "Again."}]
)
assert raw.status_code == 200
assert raw.parse().choices[0].message.content
if "GATEWAY" in os.environ:
    assert raw.headers["x-request-id"]
    assert raw.headers["x-tollgate-class"] == "default"
    assert int(raw.headers["x-ratelimit-limit-requests"]) > 0

completion = client.completions.create(model="gpt-4o-mini", prompt="Once upon a time")
assert completion.choices[0].text, completion
assert completion.usage.prompt_tokens > 0, completion
