// Every refusal arrives as the class of error that applications catch.
//
// MODE says what the provider and the plan have been told to do.

import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0, timeout: 30_000 });
const messages = [{ role: "user", content: "Say hello." }];

async function refused(kind, code, act) {
  const error = await act().then(
    () => assert.fail(`expected ${kind.name}`),
    (error) => error,
  );
  assert.ok(error instanceof kind, `${error}`);
  assert.equal(error.code, code);
  assert.ok(error.type && error.message && error.requestID, `${error}`);
  return error;
}

const chat = (given = {}, by = client) => () =>
  by.chat.completions.create({ model: "gpt-4o-mini", messages, ...given });

switch (process.env.MODE) {
  case "refusals": {
    const stranger = client.withOptions({ apiKey: "sk-nobody-knows-this-key" });
    await refused(OpenAI.AuthenticationError, "invalid_api_key", chat({}, stranger));
    await refused(OpenAI.NotFoundError, "model_not_found", chat({ model: "no-such-model" }));
    let error = await refused(OpenAI.BadRequestError, "invalid_value", chat({ model: 7 }));
    assert.equal(error.param, "model");
    error = await refused(OpenAI.BadRequestError, "invalid_value", chat({ stream: "yes" }));
    assert.equal(error.param, "stream");
    const root = client.baseURL.replace(/v1$/, "");
    const lost = client.withOptions({ baseURL: `${root}nowhere/v1` });
    await refused(OpenAI.NotFoundError, "not_found", chat({}, lost));
    break;
  }
  case "feature":
    await refused(OpenAI.PermissionDeniedError, "feature_not_in_plan", chat());
    break;
  case "limited": {
    await chat()();
    const { headers } = await refused(OpenAI.RateLimitError, "rate_limit_exceeded", chat());
    const seconds = Number(headers.get("retry-after"));
    const milliseconds = Number(headers.get("retry-after-ms"));
    assert.ok(milliseconds > 0 && milliseconds <= 60_000);
    assert.equal(seconds, Math.ceil(milliseconds / 1000));
    assert.equal(headers.get("x-ratelimit-remaining-requests"), "0");
    break;
  }
  case "provider":
    // The provider's own refusal passes, its failures become the gateway's.
    await refused(OpenAI.BadRequestError, "the_providers_own", chat());
    await refused(OpenAI.InternalServerError, "upstream_error", chat());
    break;
  case "retry": {
    // The provider's first answer is a 429 with `retry-after-ms: 1500`: by itself the
    // package would wait for half a second at most.
    const began = performance.now();
    const patient = client.withOptions({ maxRetries: 2 });
    const answer = await chat({}, patient)();
    const took = performance.now() - began;
    assert.ok(answer.choices[0].message.content);
    assert.ok(took >= 1499, `retried after ${took} ms, before it was told to`);
    break;
  }
  default:
    assert.fail(`MODE=${process.env.MODE}`);
}
