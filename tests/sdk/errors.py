"""Every refusal arrives as the class of exception that applications catch.

MODE says what the provider has been told to do."""

import os

import openai
from openai import OpenAI

client = OpenAI(max_retries=0, timeout=30)
messages = [{"role": "user", "content": "Say hello."}]


def refused(kind, code, act):
    try:
        act()
    except kind as error:
        assert error.code == code, (error.code, error)
        assert error.type, error
        assert error.message, error
        assert error.request_id, error
        return error
    raise AssertionError(f"expected {kind.__name__}")


def chat(client=client, model="gpt-4o-mini", **more):
    return lambda: client.chat.completions.create(model=model, messages=messages, **more)


mode = os.environ["MODE"]
if mode == "refusals":
    stranger = client.with_options(api_key="sk-nobody-knows-this-key")
    refused(openai.AuthenticationError, "invalid_api_key", chat(stranger))
    refused(openai.NotFoundError, "model_not_found", chat(model="no-such-model"))
    error = refused(openai.BadRequestError, "invalid_value", chat(model=7))
    assert error.param == "model", error
    error = refused(
        openai.BadRequestError, "invalid_value", chat(extra_body={"stream": "yes"})
    )
    assert error.param == "stream", error
    root = str(client.base_url).removesuffix("v1/")
    lost = client.with_options(base_url=root + "nowhere/v1")
    refused(openai.NotFoundError, "not_found", chat(lost))
    lost = client.with_options(base_url=root + "v1/nowhere")
    refused(openai.NotFoundError, "endpoint_not_enabled", chat(lost))
elif mode == "feature":
    refused(openai.PermissionDeniedError, "feature_not_in_plan", chat())
elif mode == "limited":
    chat()()
    error = refused(openai.RateLimitError, "rate_limit_exceeded", chat())
    headers = error.response.headers
    seconds, milliseconds = int(headers["retry-after"]), int(headers["retry-after-ms"])
    assert 0 < milliseconds <= 60_000, headers
    assert seconds == -(-milliseconds // 1000), headers
    assert headers["x-ratelimit-remaining-requests"] == "0", headers
elif mode == "provider":
    # The provider's own refusal passes, its failures become the gateway's.
    error = refused(openai.BadRequestError, "the_providers_own", chat())
    refused(openai.InternalServerError, "upstream_error", chat())
else:
    raise AssertionError(mode)
