"""The list of models, one of them, and one that does not exist."""

from openai import NotFoundError, OpenAI

client = OpenAI(max_retries=0, timeout=30)

names = [model.id for model in client.models.list()]
assert "gpt-4o-mini" in names, names
assert "*" not in names, names
model = client.models.retrieve("gpt-4o-mini")
assert model.id == "gpt-4o-mini" and model.object == "model", model
try:
    client.models.retrieve("no-such-model")
except NotFoundError as error:
    assert error.code == "model_not_found", error
else:
    raise AssertionError("a model that does not exist was found")
