// Anthropic's SDK: messages whole and streamed, a count of tokens, tool calls, a refusal.

import assert from "node:assert/strict";

import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({ maxRetries: 0, timeout: 30_000 });
const { MODEL: model, TEXT, TOOLS } = process.env;
const asked = {
  model,
  max_tokens: 1024,
  system: "Be brief.",
  messages: [{ role: "user", content: "Say hello. Grüß Gott, 你好, 👋" }],
};

const message = await client.messages.create(asked);
assert.equal(message.type, "message");
assert.equal(message.model, model);
assert.equal(message.stop_reason, "end_turn");
assert.ok(message.usage.input_tokens > 0 && message.usage.output_tokens > 0);
const text = message.content.map((block) => block.text).join("");
assert.ok(text);
if (TEXT) assert.equal(text, TEXT);

const final = await client.messages.stream(asked).finalMessage();
assert.deepEqual(final.content.map((block) => block.text).join(""), text);
assert.equal(final.stop_reason, "end_turn");
assert.equal(final.usage.output_tokens, message.usage.output_tokens);

const counted = await client.messages.countTokens({ model, messages: asked.messages });
assert.ok(counted.input_tokens > 0);

if (TOOLS) {
  const tool = {
    name: "weather",
    input_schema: { type: "object", properties: { city: { type: "string" } } },
  };
  const calling = { ...asked, tools: [tool] };
  const whole = await client.messages.create(calling);
  const streamed = await client.messages.stream(calling).finalMessage();
  for (const called of [whole, streamed]) {
    assert.equal(called.stop_reason, "tool_use");
    const call = called.content.find((block) => block.type === "tool_use");
    assert.equal(call.name, "weather");
    assert.deepEqual(call.input, { city: "Paris" });
  }
}

await assert.rejects(
  client.messages.create({ ...asked, stream: "yes" }),
  (error) => error instanceof Anthropic.BadRequestError && error.error.error.param === "stream",
);
