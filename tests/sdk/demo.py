"""`make demo`: Tollgate with its built-in provider, and one request of each kind.

Starts the release binary on free ports with an empty data directory, so that it
needs no account anywhere and leaves nothing behind."""

import os
import pathlib
import subprocess
import sys
import tempfile

import openai

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOLLGATE = ROOT / "target" / "release" / "tollgate"
KEY = "demo-key-of-this-demonstration"
CONFIG = """
listen: { proxy: 127.0.0.1:0, admin: 127.0.0.1:0 }
store: { path: %s/data }
providers: [{ name: sandbox, dialect: sandbox }]
plans: [{ name: small, requests_per_minute: 5, features: [basic_suggestions, confidence_analysis] }]
keys: [{ account: demo, plan: small, key: %s }]
log: { level: warn }
"""


def show(title, text):
    print(f"\n\033[1m{title}\033[0m\n{text}", flush=True)


def address(banner, name):
    line = next(line for line in banner.splitlines() if line.split()[:1] == [name])
    return line.split()[1]


def requests(client):
    messages = [{"role": "user", "content": "What does a tollgate do?"}]
    raw = client.chat.completions.with_raw_response.create(model="gpt-4o-mini", messages=messages)
    show("A chat answer", raw.parse().choices[0].message.content)
    kept = ("x-tollgate-", "x-ratelimit-", "x-request-id")
    headers = [f"{name}: {value}" for name, value in raw.headers.items() if name.startswith(kept)]
    show("What its headers say", "\n".join(headers))
    stream = client.chat.completions.create(model="gpt-4o-mini", messages=messages, stream=True)
    show("The same, streamed", "|".join(
        chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices
    ))
    vector = client.embeddings.create(model="text-embedding-3-small", input="a text")
    show("An embedding", f"{len(vector.data[0].embedding)} numbers")
    try:
        client.chat.completions.create(model="gpt-4o-mini", messages="not a list")
    except openai.APIStatusError as error:
        show("A bad request", f"{error.status_code} {error.message}")
    try:
        for _ in range(6):
            client.chat.completions.create(model="gpt-4o-mini", messages=messages)
    except openai.RateLimitError as error:
        wait = error.response.headers["retry-after-ms"]
        show("Over the plan's 5 a minute", f"429 {error.message} (retry after {wait} ms)")


def main():
    with tempfile.TemporaryDirectory() as home:
        config = pathlib.Path(home) / "tollgate.yaml"
        config.write_text(CONFIG % (home, KEY))
        server = subprocess.Popen(
            [TOLLGATE, "serve", "-c", config], stdout=subprocess.PIPE, text=True
        )
        try:
            banner = ""
            for line in server.stdout:
                banner += line
                if line.strip() == "ready":
                    break
            if not banner.endswith("ready\n"):
                sys.exit("Tollgate did not start.")
            show("Tollgate's banner", banner)
            url = address(banner, "proxy") + "/v1"
            requests(openai.OpenAI(base_url=url, api_key=KEY, max_retries=0))
            environment = {
                **os.environ,
                "TOLLGATE_ADMIN_URL": address(banner, "admin"),
                "TOLLGATE_ADMIN_TOKEN": (pathlib.Path(home) / "data/admin.token").read_text().strip(),
            }
            usage = [TOLLGATE, "usage", "--account", "demo", "--by", "model"]
            ran = subprocess.run(usage, env=environment, capture_output=True, text=True, check=True)
            show("What it recorded", ran.stdout)
        finally:
            server.terminate()
            server.wait()


main()
