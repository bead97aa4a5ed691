"""Two samples of one prompt, asked for at once: one call, and two usual answers."""

from concurrent.futures import ThreadPoolExecutor

from openai import OpenAI

client = OpenAI(
    max_retries=0, timeout=30, default_headers={"x-tollgate-samples": "distinct"}
)
request = {
    "model": "gpt-4o-mini",
    "messages": [{"role": "user", "content": "Say hello."}],
}
both = ["Sample 0", "Sample 1 and more and more"]


def whole(_):
    raw = client.chat.completions.with_raw_response.create(**request)
    return raw.headers["x-tollgate-cache"], raw.parse()


def streamed(usage):
    options = {"include_usage": True} if usage else {}
    with client.chat.completions.stream(stream_options=options, **request) as stream:
        for _ in stream:
            pass
        cache = stream._response.headers["x-tollgate-cache"]
        answer = stream.get_final_completion()
        assert (answer.usage is not None) == usage, answer
        return cache, answer


def at_once(ask, *with_usage):
    with ThreadPoolExecutor(2) as pool:
        seen = list(pool.map(ask, with_usage))
    assert [cache for cache, _ in seen] == ["batched"] * 2, seen
    answers = [answer for _, answer in seen]
    for answer in answers:
        assert len(answer.choices) == 1 and answer.choices[0].index == 0, answer
        assert answer.choices[0].finish_reason == "stop", answer
        assert answer.choices[0].message.role == "assistant", answer
        if answer.usage is not None:
            used = answer.usage
            assert used.prompt_tokens == len("Say hello."), used
            assert used.total_tokens == used.prompt_tokens + used.completion_tokens, used
    assert sorted(answer.choices[0].message.content for answer in answers) == both, answers
    assert len({answer.id for answer in answers}) == 2, answers
    return answers


one, other = at_once(whole, None, None)
assert one.usage.completion_tokens + other.usage.completion_tokens == 12, (one, other)
one, other = at_once(streamed, True, True)
assert one.usage.completion_tokens + other.usage.completion_tokens == 12, (one, other)
at_once(streamed, False, True)
