"""The package retries a 429 by itself, when the answer says it may.

The provider's first answer is a 429 with `retry-after-ms: 1500`: by itself the package
would wait for half a second at most."""

import time

from openai import OpenAI

client = OpenAI(max_retries=2, timeout=30)
began = time.monotonic()
raw = client.chat.completions.with_raw_response.create(
    model="gpt-4o-mini", messages=[{"role": "user", "content": "Say hello."}]
)
took = time.monotonic() - began
assert raw.parse().choices[0].message.content
assert raw.retries_taken == 1, raw.retries_taken
assert took >= 1.5, f"retried after {took} s, before it was told to"
