// Two samples of one prompt, asked for at once: one call, and two usual answers.

import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({
  maxRetries: 0,
  timeout: 30_000,
  defaultHeaders: { "x-tollgate-samples": "distinct" },
});
const request = { model: "gpt-4o-mini", messages: [{ role: "user", content: "Say hello." }] };

async function whole() {
  const { data, response } = await client.chat.completions.create(request).withResponse();
  assert.equal(response.headers.get("x-tollgate-cache"), "batched");
  return data;
}

async function streamed(usage) {
  const options = usage ? { stream_options: { include_usage: true } } : {};
  const answer = await client.chat.completions.stream({ ...request, ...options }).finalChatCompletion();
  assert.equal(Boolean(answer.usage), usage);
  return answer;
}

async function atOnce(...asked) {
  const answers = await Promise.all(asked);
  for (const answer of answers) {
    assert.equal(answer.choices.length, 1);
    assert.equal(answer.choices[0].index, 0);
    assert.equal(answer.choices[0].finish_reason, "stop");
    if (answer.usage) {
      const { prompt_tokens: prompt, completion_tokens: own, total_tokens: total } = answer.usage;
      assert.equal(prompt, "Say hello.".length);
      assert.equal(total, prompt + own);
    }
  }
  const texts = answers.map((answer) => answer.choices[0].message.content).sort();
  assert.deepEqual(texts, ["Sample 0", "Sample 1 and more and more"]);
  assert.notEqual(answers[0].id, answers[1].id);
  return answers;
}

const sum = (answers) => answers.reduce((sum, answer) => sum + answer.usage.completion_tokens, 0);
assert.equal(sum(await atOnce(whole(), whole())), 12);
assert.equal(sum(await atOnce(streamed(true), streamed(true))), 12);
await atOnce(streamed(false), streamed(true));
