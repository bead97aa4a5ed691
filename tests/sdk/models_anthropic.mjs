// Anthropic's own client: the list of models, its pages, one of them, and one that does not exist.

import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({ maxRetries: 0, timeout: 30_000 });
const expected = process.env.MODELS.split(",");

const names = [];
for await (const model of client.models.list({ limit: 1 })) names.push(model.id);
assert.deepEqual(names, expected);
const page = await client.models.list();
assert.deepEqual(page.data.map((model) => model.id), expected);
assert.equal(page.has_more, false);
assert.equal(page.last_id, expected.at(-1));
const model = await client.models.retrieve(expected[0]);
assert.equal(model.id, expected[0]);
assert.equal(model.type, "model");
assert.ok(model.display_name);
await assert.rejects(client.models.retrieve("no-such-model"), (error) => {
  assert.ok(error instanceof Anthropic.NotFoundError);
  assert.equal(error.error.error.code, "model_not_found");
  return true;
});
