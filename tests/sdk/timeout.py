"""A provider that never answers: the application's own time-out is first. Only its wait
for the answer is short, and long enough for the request to come to the provider."""

import httpx
import openai
from openai import OpenAI

client = OpenAI(max_retries=0, timeout=httpx.Timeout(30, read=3))
try:
    client.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": "Say hello."}]
    )
except openai.APITimeoutError:
    pass
else:
    raise AssertionError("an answer came")
