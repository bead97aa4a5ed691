// A streamed chat answer, with and without usage in it, read by chunks, by the
// package's own collector, and left in the middle.

import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0, timeout: 30_000 });
const question = {
  model: "gpt-4o-mini",
  messages: [{ role: "user", content: "Say hello." }],
  stream: true,
};

async function collect(more = {}) {
  const seen = { text: "", finish: [], usage: [], roles: [], empty: 0 };
  const stream = await client.chat.completions.create({ ...question, ...more });
  for await (const chunk of stream) {
    assert.equal(chunk.object, "chat.completion.chunk");
    if (chunk.usage) seen.usage.push(chunk.usage);
    if (chunk.choices.length === 0) {
      seen.empty += 1;
      continue;
    }
    const { delta, finish_reason: finish } = chunk.choices[0];
    seen.text += delta.content ?? "";
    if (delta.role) seen.roles.push(delta.role);
    if (finish) seen.finish.push(finish);
  }
  assert.deepEqual(seen.finish, ["stop"]);
  assert.deepEqual(seen.roles, ["assistant"]);
  if (process.env.TEXT) assert.equal(seen.text, process.env.TEXT);
  return seen;
}

const plain = await collect();
assert.ok(plain.text);
assert.deepEqual(plain.usage, []);
assert.equal(plain.empty, 0, "an event without choices came that nobody asked for");

const asked = await collect({ stream_options: { include_usage: true } });
assert.equal(asked.text, plain.text);
assert.equal(asked.usage.length, 1);
assert.equal(asked.empty, 1);
assert.ok(asked.usage[0].prompt_tokens > 0 && asked.usage[0].completion_tokens > 0);

const { stream: _, ...whole } = question;
const collected = client.chat.completions.stream(whole);
assert.equal(await collected.finalContent(), plain.text);

const left = await client.chat.completions.create(question);
for await (const chunk of left) {
  assert.equal(chunk.choices[0].delta.role, "assistant");
  break;
}
assert.ok(left.controller.signal.aborted);
