// Everything beyond chat: files, batches, audio, images, moderations.

import assert from "node:assert/strict";
import OpenAI, { toFile } from "openai";

const client = new OpenAI({ maxRetries: 0, timeout: 30_000 });

const line = '{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{}}\n';
const made = await client.files.create({
  file: await toFile(Buffer.from(line), "in.jsonl"),
  purpose: "batch",
});
assert.match(made.id, /^file-/);
assert.equal((await client.files.retrieve(made.id)).id, made.id);
assert.equal(await (await client.files.content(made.id)).text(), line);
const listed = [];
for await (const file of client.files.list()) listed.push(file.id);
assert.deepEqual(listed, [made.id]);

const batch = await client.batches.create({
  input_file_id: made.id,
  endpoint: "/v1/chat/completions",
  completion_window: "24h",
});
assert.equal((await client.batches.retrieve(batch.id)).id, batch.id);

const store = await client.vectorStores.create({ name: "kept" });
const stores = [];
for await (const one of client.vectorStores.list()) stores.push(one.id);
assert.deepEqual(stores, [store.id]);
const filed = await client.vectorStores.fileBatches.create(store.id, { file_ids: [made.id] });
assert.match(filed.id, /^vsfb_/);
assert.equal((await client.vectorStores.delete(store.id)).deleted, true);

const asked = { model: "gpt-4o-mini", input: "Hello.", store: true };
const response = await client.responses.create(asked);
assert.equal((await client.responses.retrieve(response.id)).id, response.id);
await client.responses.create({ ...asked, previous_response_id: response.id });
await client.responses.delete(response.id);
// What is deleted, or of another, is not found: by Tollgate, not by the provider.
const refused = (promise) =>
  assert.rejects(promise, (error) => error instanceof OpenAI.NotFoundError && error.code === "not_found");
await refused(client.responses.retrieve(response.id));
await refused(client.responses.create({ ...asked, previous_response_id: response.id }));
await refused(client.vectorStores.retrieve(store.id));

assert.equal((await client.files.delete(made.id)).deleted, true);
await assert.rejects(client.files.retrieve("file-of-another"), OpenAI.NotFoundError);

const speech = await client.audio.speech.create({ model: "tts-1", voice: "alloy", input: "Hello." });
assert.equal((await speech.arrayBuffer()).byteLength, Number(process.env.SPEECH));
const heard = await client.audio.transcriptions.create({
  model: "whisper-1",
  file: await toFile(Buffer.alloc(70_000), "a.mp3"),
});
assert.equal(heard.text, "70000 bytes of sound");

const image = await client.images.generate({ model: "gpt-image-1", prompt: "A gate." });
assert.ok(image.data[0].b64_json);
const judged = await client.moderations.create({ input: "Hello." });
assert.equal(judged.results[0].flagged, false);
