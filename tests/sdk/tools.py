"""A tool call and its result. Only for a provider that calls tools."""

import json

from openai import OpenAI

client = OpenAI(max_retries=0, timeout=30)
tool = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
messages = [{"role": "user", "content": "What is the weather in Paris?"}]

answer = client.chat.completions.create(
    model="gpt-4o-mini", messages=messages, tools=[tool], tool_choice="auto"
)
assert answer.choices[0].finish_reason == "tool_calls", answer
assert answer.choices[0].message.content is None, answer
call = answer.choices[0].message.tool_calls[0]
assert call.type == "function" and call.function.name == "weather", call
assert json.loads(call.function.arguments) == {"city": "Paris"}, call

messages.append(answer.choices[0].message.model_dump(exclude_none=True))
messages.append({"role": "tool", "tool_call_id": call.id, "content": "Rain."})
last = client.chat.completions.create(model="gpt-4o-mini", messages=messages)
assert last.choices[0].message.content, last
