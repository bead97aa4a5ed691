"""Fifty requests at once from one asynchronous client, half of them streamed."""

import asyncio

from openai import AsyncOpenAI


async def one(client, number):
    messages = [{"role": "user", "content": f"Request {number}."}]
    if number % 2:
        answer = await client.chat.completions.create(model="gpt-4o-mini", messages=messages)
        return answer.choices[0].message.content
    text = ""
    async with await client.chat.completions.create(
        model="gpt-4o-mini", messages=messages, stream=True
    ) as stream:
        async for chunk in stream:
            text += chunk.choices[0].delta.content or ""
    return text


async def main():
    async with AsyncOpenAI(max_retries=0, timeout=60) as client:
        texts = await asyncio.gather(*(one(client, number) for number in range(50)))
    assert len(texts) == 50 and all(texts), texts


asyncio.run(main())
