"""OpenAI's agents: a loop that reads a file and rewrites it, by both APIs, whole and streamed."""

import asyncio
import os
from pathlib import Path

from agents import Agent, Runner, function_tool, set_default_openai_api

desk = Path(os.environ["DESK"])


@function_tool
def read_file(name: str) -> str:
    """What a file says.

    Args:
        name: The file's name.
    """
    return (desk / name).read_text()


@function_tool
def write_file(name: str, text: str) -> str:
    """Replaces what a file says.

    Args:
        name: The file's name.
        text: What it is to say.
    """
    (desk / name).write_text(text)
    return "written"


async def main():
    for api in ("responses", "chat_completions"):
        set_default_openai_api(api)
        # Its own default model, with the settings that go with it.
        agent = Agent(
            name="clerk", instructions="You edit files.", tools=[read_file, write_file]
        )
        for streamed in (False, True):
            (desk / "greeting.txt").write_text("Hello, world.\n")
            task = "Make the greeting in greeting.txt formal."
            if streamed:
                result = Runner.run_streamed(agent, task)
                events = [event async for event in result.stream_events()]
                assert any(event.type == "raw_response_event" for event in events), events
            else:
                result = await Runner.run(agent, task)
            assert result.final_output == os.environ["DONE"], result
            said = (desk / "greeting.txt").read_text()
            assert said == "Good day, world.\n", said
            usage = result.context_wrapper.usage
            # It does not ask for the usage of streamed chats.
            asked = api == "responses" or not streamed
            assert usage.requests == 3 and usage.input_tokens == asked * 36, usage


asyncio.run(main())
