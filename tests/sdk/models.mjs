// The list of models, one of them, and one that does not exist.

import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0, timeout: 30_000 });

const names = [];
for await (const model of client.models.list()) names.push(model.id);
assert.ok(names.includes("gpt-4o-mini"), names.join());
assert.ok(!names.includes("*"), names.join());
const model = await client.models.retrieve("gpt-4o-mini");
assert.equal(model.id, "gpt-4o-mini");
assert.equal(model.object, "model");
await assert.rejects(client.models.retrieve("no-such-model"), (error) => {
  assert.ok(error instanceof OpenAI.NotFoundError);
  assert.equal(error.code, "model_not_found");
  return true;
});
