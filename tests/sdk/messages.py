"""Anthropic's SDK: a message whole and streamed, and a count of tokens."""

import os

import anthropic

client = anthropic.Anthropic(max_retries=0, timeout=30)
model = os.environ["MODEL"]
asked = dict(
    model=model,
    max_tokens=1024,
    system="Be brief.",
    messages=[{"role": "user", "content": "Say hello. Grüß Gott, 你好, 👋"}],
)


def text_of(message):
    return "".join(block.text for block in message.content if block.type == "text")


message = client.messages.create(**asked)
assert message.type == "message" and message.role == "assistant", message
assert message.model == model, message
assert message.stop_reason == "end_turn", message
assert message.usage.input_tokens > 0 and message.usage.output_tokens > 0, message
assert message._request_id, "the SDK finds the request's id"
text = text_of(message)
assert text == os.environ.get("TEXT", text) and text, message

with client.messages.stream(**asked) as stream:
    streamed = "".join(stream.text_stream)
    final = stream.get_final_message()
assert streamed == text, (streamed, text)
assert text_of(final) == text, final
assert final.stop_reason == "end_turn" and final.model == model, final
for figure in ("input_tokens", "output_tokens", "cache_read_input_tokens"):
    whole, summed = getattr(message.usage, figure), getattr(final.usage, figure)
    assert (whole or 0) == (summed or 0), (figure, message.usage, final.usage)

kinds = [event.type for event in client.messages.create(**asked, stream=True)]
assert kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"], kinds

counted = client.messages.count_tokens(model=model, messages=asked["messages"])
assert counted.input_tokens > 0, counted
