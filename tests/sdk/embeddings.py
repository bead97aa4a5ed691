"""Embeddings in both encodings; the package's default is base64."""

import os

from openai import OpenAI

client = OpenAI(max_retries=0, timeout=30)
mock = "TEXT" in os.environ


def embed(given, **more):
    answer = client.embeddings.create(model="text-embedding-3-small", input=given, **more)
    assert answer.usage.prompt_tokens > 0, answer.usage
    return [item.embedding for item in answer.data], [item.index for item in answer.data]


one, _ = embed("a text")
assert len(one) == 1 and all(isinstance(number, float) for number in one[0]), one
if mock:
    assert one[0] == [0.25, -1.5, 3.0], one
plain, _ = embed("a text", encoding_format="float")
assert len(plain[0]) == len(one[0])
assert all(abs(a - b) < 1e-6 for a, b in zip(plain[0], one[0])), (plain, one)
many, order = embed(["a text", "another", "a third"])
assert len(many) == 3 and order == [0, 1, 2], order
