"""LangChain's models: a loop that reads a file and rewrites it, by three APIs, whole and streamed."""

import os
from pathlib import Path

from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

desk = Path(os.environ["DESK"])


@tool
def read_file(name: str) -> str:
    """What a file says."""
    return (desk / name).read_text()


@tool
def write_file(name: str, text: str) -> str:
    """Replaces what a file says."""
    (desk / name).write_text(text)
    return "written"


tools = {tool.name: tool for tool in (read_file, write_file)}
patient = dict(max_retries=0, timeout=30)
models = [
    ChatOpenAI(model="gpt-4.1", stream_usage=True, **patient),
    ChatOpenAI(model="gpt-4.1", use_responses_api=True, **patient),
    ChatAnthropic(model="claude-sonnet-4-5", **patient),
]


def ask(model, messages, streamed):
    if not streamed:
        return model.invoke(messages)
    whole = None
    for chunk in model.stream(messages):
        whole = chunk if whole is None else whole + chunk
    return whole


for model in models:
    armed = model.bind_tools(list(tools.values()))
    for streamed in (False, True):
        (desk / "greeting.txt").write_text("Hello, world.\n")
        messages = [
            SystemMessage("You edit files."),
            HumanMessage("Make the greeting in greeting.txt formal."),
        ]
        steps = 0
        while True:
            answer = ask(armed, messages, streamed)
            steps += 1
            assert answer.usage_metadata["input_tokens"] == 12, answer
            assert answer.usage_metadata["output_tokens"] == 7, answer
            messages.append(answer)
            if not answer.tool_calls:
                break
            for call in answer.tool_calls:
                messages.append(tools[call["name"]].invoke(call))
        assert steps == 3, messages
        assert answer.text == os.environ["DONE"], answer
        said = (desk / "greeting.txt").read_text()
        assert said == "Good day, world.\n", said
