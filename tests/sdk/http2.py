"""A hundred requests at once on one HTTP/2 connection, then one cancelled."""

import asyncio
import os
import ssl

from openai import AsyncOpenAI, DefaultAsyncHttpxClient

connections = set()


async def note(response):
    assert response.http_version == "HTTP/2", response.http_version
    connections.add(response.extensions["network_stream"].get_extra_info("client_addr"))


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
    http = DefaultAsyncHttpxClient(
        http2=True,
        verify=ssl.create_default_context(cafile=os.environ["CA"]),
        event_hooks={"response": [note]},
    )
    async with AsyncOpenAI(max_retries=0, timeout=60, http_client=http) as client:
        # The first one settles which protocol is spoken. It is read to its end:
        # a stream that the SDK leaves at [DONE] counts as open a little longer.
        assert await one(client, 1) == os.environ["TEXT"]
        texts = await asyncio.gather(*(one(client, number) for number in range(100)))
        assert texts == [os.environ["TEXT"]] * 100, texts
        stream = await client.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": "Go on."}], stream=True
        )
        async for _ in stream:
            break
        await stream.close()
    assert len(connections) == 1, connections


asyncio.run(main())
