// Embeddings in both encodings; the package's default is base64.

import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0, timeout: 30_000 });

async function embed(input, more = {}) {
  const answer = await client.embeddings.create({ model: "text-embedding-3-small", input, ...more });
  assert.ok(answer.usage.prompt_tokens > 0);
  assert.deepEqual(answer.data.map((item) => item.index), [...answer.data.keys()]);
  return answer.data.map((item) => item.embedding);
}

const [one] = await embed("a text");
assert.ok(one.length > 0 && one.every((number) => typeof number === "number"));
if (process.env.TEXT) assert.deepEqual(one, [0.25, -1.5, 3]);
const [plain] = await embed("a text", { encoding_format: "float" });
assert.equal(plain.length, one.length);
assert.ok(plain.every((number, at) => Math.abs(number - one[at]) < 1e-6));
const many = await embed(["a text", "another", "a third"]);
assert.equal(many.length, 3);
