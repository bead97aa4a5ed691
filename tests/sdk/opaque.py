"""Everything beyond chat: files, batches, audio, images, moderations."""

import io
import os

from openai import NotFoundError, OpenAI

client = OpenAI(max_retries=0, timeout=30)

line = b'{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{}}\n'
made = client.files.create(file=("in.jsonl", line), purpose="batch")
assert made.id.startswith("file-"), made
assert client.files.retrieve(made.id).id == made.id
assert client.files.content(made.id).read() == line
assert [file.id for file in client.files.list()] == [made.id]
more = [client.files.create(file=io.BytesIO(b"{}"), purpose="batch").id for _ in range(5)]
assert [file.id for file in client.files.list(limit=2)] == [made.id, *more]

batch = client.batches.create(
    input_file_id=made.id, endpoint="/v1/chat/completions", completion_window="24h"
)
assert batch.status == "validating", batch
batch = client.batches.retrieve(batch.id)
assert batch.status == "completed", batch
assert client.files.content(batch.output_file_id).text
assert [one.id for one in client.batches.list()] == [batch.id]
assert client.batches.cancel(batch.id).id == batch.id
try:
    client.batches.create(
        input_file_id="file-x", endpoint="/v1/chat/completions", completion_window="24h"
    )
    raise AssertionError("a file of nobody's must not be used")
except NotFoundError as error:
    assert error.code == "not_found", error

store = client.vector_stores.create(name="kept")
assert [one.id for one in client.vector_stores.list()] == [store.id]
filed = client.vector_stores.file_batches.create(store.id, file_ids=[made.id])
assert filed.id.startswith("vsfb_"), filed
assert client.vector_stores.delete(store.id).deleted
assert [one.id for one in client.vector_stores.list()] == []

response = client.responses.create(model="gpt-4o-mini", input="Hello.", store=True)
assert client.responses.retrieve(response.id).id == response.id
client.responses.create(model="gpt-4o-mini", input="On.", previous_response_id=response.id)
client.responses.delete(response.id)


def refused(call):
    """What is deleted, or of another, is not found: by Tollgate, not by the provider."""
    try:
        call()
    except NotFoundError as error:
        assert error.code == "not_found", error
        return
    raise AssertionError("it should not be found")


refused(lambda: client.responses.retrieve(response.id))
refused(
    lambda: client.responses.create(
        model="gpt-4o-mini", input="On.", previous_response_id=response.id
    )
)
refused(lambda: client.vector_stores.retrieve(store.id))
refused(lambda: client.vector_stores.search(store.id, query="x"))

assert client.files.delete(made.id).deleted
try:
    client.files.retrieve("file-of-another")
    raise AssertionError("it should not be found")
except NotFoundError as error:
    assert error.code == "not_found", error

length = int(os.environ["SPEECH"])
speech = client.audio.speech.create(model="tts-1", voice="alloy", input="Hello.")
assert len(speech.read()) == length
with client.audio.speech.with_streaming_response.create(
    model="tts-1", voice="alloy", input="Hello."
) as streamed:
    assert sum(len(piece) for piece in streamed.iter_bytes()) == length
heard = client.audio.transcriptions.create(model="whisper-1", file=("a.mp3", bytes(70_000)))
assert heard.text == "70000 bytes of sound", heard

image = client.images.generate(model="gpt-image-1", prompt="A gate.")
assert image.data[0].b64_json, image
assert client.moderations.create(input="Hello.").results[0].flagged is False
