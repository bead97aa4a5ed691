"""Anthropic's SDK: refusals are the exceptions that applications catch."""

import os

import anthropic

client = anthropic.Anthropic(max_retries=0, timeout=30)
messages = [{"role": "user", "content": "Hello"}]


def refused(kind, client=client, **more):
    asked = dict(model=os.environ["MODEL"], max_tokens=16, messages=messages) | more
    try:
        client.messages.create(**asked)
    except anthropic.APIStatusError as error:
        assert type(error) is kind, (kind, error)
        assert error.body["type"] == "error" and error.body["error"]["message"], error.body
        assert error.request_id, error
        return error
    raise AssertionError(f"{kind} was expected")


refused(anthropic.AuthenticationError, client.with_options(api_key="tg_live_nobody"))
error = refused(anthropic.NotFoundError, model="no-such-model")
assert error.body["error"]["code"] == "model_not_found", error.body
error = refused(anthropic.BadRequestError, extra_body={"stream": "yes"})
assert error.body["error"]["param"] == "stream", error.body
