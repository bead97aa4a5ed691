// The AI SDK: a loop that reads a file and rewrites it, by three APIs, whole and streamed.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";

const file = (name) => join(process.env.DESK, name);
const text = { type: "string" };
const schema = (properties) =>
  jsonSchema({ type: "object", properties, required: Object.keys(properties), additionalProperties: false });
const tools = {
  read_file: tool({
    description: "What a file says.",
    inputSchema: schema({ name: text }),
    execute: ({ name }) => readFileSync(file(name), "utf8"),
  }),
  write_file: tool({
    description: "Replaces what a file says.",
    inputSchema: schema({ name: text, text }),
    execute: ({ name, text }) => {
      writeFileSync(file(name), text);
      return "written";
    },
  }),
};

const openai = createOpenAI({});
const anthropic = createAnthropic({ baseURL: `${process.env.ANTHROPIC_BASE_URL}/v1` });
const models = [openai.chat("gpt-4.1"), openai.responses("gpt-4.1"), anthropic("claude-sonnet-4-5")];

// Where a provider keeps nothing, a client must not refer to what it kept.
const store = process.env.KEEPS === "1";

for (const model of models) {
  for (const streamed of [false, true]) {
    writeFileSync(file("greeting.txt"), "Hello, world.\n");
    const task = {
      model,
      tools,
      maxRetries: 0,
      stopWhen: stepCountIs(5),
      providerOptions: { openai: { store } },
      system: "You edit files.",
      prompt: "Make the greeting in greeting.txt formal.",
    };
    const failures = [];
    const result = streamed
      ? streamText({ ...task, onError: ({ error }) => failures.push(error) })
      : await generateText(task);
    if (streamed) for await (const _ of result.textStream);
    assert.deepEqual(failures, []);
    assert.equal(await result.text, process.env.DONE);
    const steps = await result.steps;
    assert.equal(steps.length, 3);
    for (const { usage } of steps) assert.deepEqual([usage.inputTokens, usage.outputTokens], [12, 7]);
    assert.equal(readFileSync(file("greeting.txt"), "utf8"), "Good day, world.\n");
    // The conversation goes on with all that was said, as an application keeps it.
    const { messages } = await result.response;
    const more = { role: "user", content: "Thank you." };
    const { prompt, ...asBefore } = task;
    const again = await generateText({ ...asBefore, messages: [{ role: "user", content: prompt }, ...messages, more] });
    assert.equal(again.text, process.env.DONE);
  }
}
