"""An application that has read enough closes its stream."""

from openai import OpenAI

client = OpenAI(max_retries=0, timeout=30)
stream = client.chat.completions.create(
    model="gpt-4o-mini", messages=[{"role": "user", "content": "Say hello."}], stream=True
)
first = next(iter(stream))
assert first.choices[0].delta.role == "assistant", first
stream.close()
