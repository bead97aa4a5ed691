"""Anthropic's own client: the list of models, its pages, one of them, and one that does not exist."""

import os

from anthropic import Anthropic, NotFoundError

client = Anthropic(max_retries=0, timeout=30)
expected = os.environ["MODELS"].split(",")

names = [model.id for model in client.models.list()]
assert names == expected, names
page = client.models.list(limit=1)
assert [model.id for model in page.data] == expected[:1] and page.has_more, page
assert page.first_id == page.last_id == expected[0], page
assert [model.id for model in client.models.list(limit=1)] == expected, "page after page"
model = client.models.retrieve(expected[0])
assert model.id == expected[0] and model.type == "model" and model.display_name, model
assert model.created_at.year == 1970, model
try:
    client.models.retrieve("no-such-model")
except NotFoundError as error:
    assert error.body["error"]["code"] == "model_not_found", error.body
else:
    raise AssertionError("a model that does not exist was found")
