// A tool call and its result. Only for a provider that calls tools.

import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0, timeout: 30_000 });
const tool = {
  type: "function",
  function: {
    name: "weather",
    description: "The weather in a city.",
    strict: true,
    parameters: {
      type: "object",
      properties: { city: { type: "string" } },
      required: ["city"],
      additionalProperties: false,
    },
  },
};
const messages = [{ role: "user", content: "What is the weather in Paris?" }];

const answer = await client.chat.completions.create({
  model: "gpt-4o-mini",
  messages,
  tools: [tool],
  tool_choice: "auto",
});
const [choice] = answer.choices;
assert.equal(choice.finish_reason, "tool_calls");
assert.equal(choice.message.content, null);
const [call] = choice.message.tool_calls;
assert.equal(call.type, "function");
assert.equal(call.function.name, "weather");
assert.deepEqual(JSON.parse(call.function.arguments), { city: "Paris" });

messages.push(choice.message, { role: "tool", tool_call_id: call.id, content: "Rain." });
const last = await client.chat.completions.create({ model: "gpt-4o-mini", messages });
assert.ok(last.choices[0].message.content);
