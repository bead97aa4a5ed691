"""OpenAI's SDK before a provider of another dialect: chats whole and streamed, tools."""

import json
import os

from openai import OpenAI

client = OpenAI(max_retries=0, timeout=30)
asked = dict(
    model="gpt-4o-mini",
    messages=[
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Say hello. Grüß Gott, 你好, 👋"},
    ],
    temperature=0.2,
)

answer = client.chat.completions.create(**asked)
choice = answer.choices[0]
assert answer.object == "chat.completion" and answer.model == "gpt-4o-mini", answer
assert choice.message.role == "assistant" and choice.finish_reason == "stop", answer
assert choice.message.content == os.environ["TEXT"], answer
assert answer.usage.prompt_tokens > 0 and answer.usage.completion_tokens > 0, answer
assert answer.created > 1_500_000_000, answer

for wanted in (False, True):
    more = {"stream_options": {"include_usage": True}} if wanted else {}
    chunks = list(client.chat.completions.create(**asked, stream=True, **more))
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == os.environ["TEXT"], chunks
    usages = [chunk.usage for chunk in chunks if chunk.usage]
    assert len(usages) == int(wanted), usages
    assert all(chunk.model == "gpt-4o-mini" for chunk in chunks), chunks
    if wanted:
        assert usages[0].prompt_tokens == answer.usage.prompt_tokens, usages
        assert usages[0].completion_tokens == answer.usage.completion_tokens, usages

tool = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
messages = [{"role": "user", "content": "What is the weather in Paris?"}]
asked = dict(model="gpt-4o-mini", messages=messages, tools=[tool], tool_choice="auto")
with client.chat.completions.stream(**asked) as stream:
    streamed = stream.get_final_completion().choices[0]
called = client.chat.completions.create(**asked).choices[0]
for choice in (streamed, called):
    assert choice.finish_reason == "tool_calls", choice
    call = choice.message.tool_calls[0]
    assert call.function.name == "weather" and call.id, choice
    assert json.loads(call.function.arguments) == {"city": "Paris"}, choice
messages.append(called.message.model_dump(exclude_none=True))
messages.append({"role": "tool", "tool_call_id": call.id, "content": "Rain."})
last = client.chat.completions.create(model="gpt-4o-mini", messages=messages)
assert last.choices[0].message.content == os.environ["TEXT"], last
