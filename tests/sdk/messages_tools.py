"""Anthropic's SDK: tool calls, whole and streamed, and a result. Only for a provider that calls tools."""

import os

import anthropic

client = anthropic.Anthropic(max_retries=0, timeout=30)
tool = {
    "name": "weather",
    "description": "The weather in a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
messages = [{"role": "user", "content": "What is the weather in Paris?"}]
asked = dict(
    model=os.environ["MODEL"],
    max_tokens=1024,
    messages=messages,
    tools=[tool],
    tool_choice={"type": "auto"},
)


def check(message):
    assert message.stop_reason == "tool_use", message
    calls = [block for block in message.content if block.type == "tool_use"]
    assert len(calls) == 1 and calls[0].name == "weather" and calls[0].id, message
    assert calls[0].input == {"city": "Paris"}, message
    return calls[0]


with client.messages.stream(**asked) as stream:
    check(stream.get_final_message())

message = client.messages.create(**asked)
call = check(message)
content = [block.model_dump(exclude_none=True) for block in message.content]
messages.append({"role": "assistant", "content": content})
result = {"type": "tool_result", "tool_use_id": call.id, "content": "Rain.", "is_error": False}
messages.append({"role": "user", "content": [result]})
last = client.messages.create(model=os.environ["MODEL"], max_tokens=1024, messages=messages)
assert last.content[0].text == os.environ["TEXT"], last
