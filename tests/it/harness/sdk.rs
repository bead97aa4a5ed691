//! Runs the scripts in `tests/sdk` with the official packages of OpenAI and
//! Anthropic for Python, from the environment that `make setup` makes.

use std::path::Path;
use std::process::Command;

use super::binary::{finish, text};
use super::door::Door;
use super::setup::{DEFAULT_PLAN, key_of};

/// Runs `tests/sdk/<script>` as a client of `door`. A script prints nothing and
/// exits 0 if all is well; `environment` is passed on.
pub(crate) async fn run(script: &str, door: &Door, environment: &[(&str, &str)]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join(".venv/bin/python");
    assert!(python.exists(), "the SDK tests need .venv: run `make setup`");
    let mut command = Command::new(python);
    command
        .arg("-B")
        .arg(root.join("tests/sdk").join(script))
        .env_clear()
        .env("OPENAI_BASE_URL", door.url())
        .env("OPENAI_API_KEY", key_of(DEFAULT_PLAN))
        .env("ANTHROPIC_BASE_URL", format!("http://{}", door.proxy))
        .env("ANTHROPIC_API_KEY", key_of(DEFAULT_PLAN))
        .envs(environment.iter().copied());
    let output = finish(command).await;
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{script}: {}\n{said}", output.status);
}
