"""A provider that never answers: the application's own time-out is first."""

import openai
from openai import OpenAI

client = OpenAI(max_retries=0, timeout=0.5)
try:
    client.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": "Say hello."}]
    )
except openai.APITimeoutError:
    pass
else:
    raise AssertionError("an answer came")
