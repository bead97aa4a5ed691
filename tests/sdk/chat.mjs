// A chat answer, whole, with everything that an application reads of it.

import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0, timeout: 30_000 });

const answer = await client.chat.completions.create({
  model: "gpt-4o-mini",
  messages: [
    { role: "system", content: "Be brief." },
    { role: "user", content: "Say hello. Grüß Gott, 你好, 👋" },
  ],
  temperature: 0.2,
  an_unknown_field: { nested: [1, 2.5, null] },
});
const choice = answer.choices[0];
assert.equal(choice.message.role, "assistant");
assert.ok(choice.message.content);
assert.equal(choice.finish_reason, "stop");
assert.equal(answer.object, "chat.completion");
assert.equal(answer.model, "gpt-4o-mini");
assert.ok(answer.usage.prompt_tokens > 0);
assert.ok(answer.usage.completion_tokens > 0);
assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
if (process.env.TEXT) assert.equal(choice.message.content, process.env.TEXT);

const { data, response, request_id: id } = await client.chat.completions
  .create({ model: "gpt-4o-mini", messages: [{ role: "user", content: "Again." }] })
  .withResponse();
assert.equal(response.status, 200);
assert.ok(data.choices[0].message.content);
assert.ok(id);
assert.equal(response.headers.get("x-request-id"), id);
assert.equal(response.headers.get("x-tollgate-class"), "default");
assert.ok(Number(response.headers.get("x-ratelimit-limit-requests")) > 0);

const completion = await client.completions.create({
  model: "gpt-4o-mini",
  prompt: "Once upon a time",
});
assert.ok(completion.choices[0].text);
assert.ok(completion.usage.prompt_tokens > 0);
