//! The README keeps its word: each of its commands and examples is run as it
//! stands there, against a real instance. Covers J1, J2.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::binary::{finish, text};
use crate::harness::client::Request;
use crate::harness::door::chat_body;
use crate::harness::eventually::within;
use crate::harness::provider::Provider;

const PROXY: &str = "127.0.0.1:8080";
const ADMIN: &str = "127.0.0.1:8081";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).unwrap()
}

/// The text of every code block in this language.
fn blocks(readme: &str, language: &str) -> Vec<String> {
    let opening = format!("```{language}");
    let mut blocks = Vec::new();
    let mut lines = readme.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            if line == opening {
                blocks.push(block.join("\n"));
            }
        }
    }
    assert!(!blocks.is_empty(), "no {language} in the README");
    blocks
}

/// Every command of the README's shell blocks, comments included.
fn commands(readme: &str) -> Vec<String> {
    let lines = blocks(readme, "sh").join("\n");
    lines.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect()
}

/// What stands between backquotes outside the code blocks.
fn quoted(readme: &str) -> Vec<&str> {
    let prose = readme.split("```").step_by(2);
    prose.flat_map(|part| part.split('`').skip(1).step_by(2)).collect()
}

/// A place where a reader stands after `git clone`, as far as commands need it:
/// the shipped configuration on free ports, `make run` without the build, and
/// `tollgate` in the path.
struct Checkout {
    home: TempDir,
}

impl Checkout {
    /// With `provider` in the place of OpenAI, if there is one.
    fn new(provider: Option<&Provider>) -> Self {
        let makefile = std::fs::read_to_string(root().join("Makefile")).unwrap();
        for line in ["CONFIG ?= conf/tollgate.yaml", "run --release --locked -- serve -c $(CONFIG)"]
        {
            assert!(makefile.contains(line), "`make run` is not what this test runs: {line}");
        }
        let home = TempDir::new().unwrap();
        let (bin, conf) = (home.path().join("bin"), home.path().join("conf"));
        std::fs::create_dir(&bin).unwrap();
        std::fs::create_dir(&conf).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_tollgate"), bin.join("tollgate")).unwrap();
        let make =
            "#!/bin/sh\n[ \"$*\" = run ] || exit 64\nexec tollgate serve -c conf/tollgate.yaml\n";
        let file = bin.join("make");
        std::fs::write(&file, make).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        let shipped = std::fs::read_to_string(root().join("conf/tollgate.yaml")).unwrap();
        let mut config = shipped
            .replace(&format!("proxy: {PROXY}"), "proxy: 127.0.0.1:0")
            .replace(&format!("admin: {ADMIN}"), "admin: 127.0.0.1:0");
        assert_eq!(config.matches("127.0.0.1:0 ").count(), 2, "both listeners are on free ports");
        if let Some(provider) = provider {
            config = config.replace("https://api.openai.com/v1", &provider.url());
        }
        std::fs::write(conf.join("tollgate.yaml"), config).unwrap();
        Self { home }
    }

    /// `line` in a shell, with nothing of the machine's environment.
    fn shell(&self, line: &str) -> Command {
        let mut command = Command::new("bash");
        let path = format!("{}:/usr/bin:/bin", self.home.path().join("bin").display());
        command.args(["-c", line]).current_dir(self.home.path()).stdin(Stdio::null());
        command.env_clear().env("PATH", path).env("NO_COLOR", "1");
        command
    }

    /// Starts what `line` starts and waits for its ready line.
    async fn start(&self, line: &str) -> Instance {
        let mut command = self.shell(line);
        command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let mut instance = Instance { child, banner: String::new() };
        let read = tokio::task::spawn_blocking(move || {
            let mut banner = String::new();
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            for line in lines {
                banner.push_str(&line);
                banner.push('\n');
                if line == "ready" {
                    break;
                }
            }
            banner
        });
        instance.banner = within("the ready line", read).await.unwrap();
        assert!(instance.banner.ends_with("ready\n"), "{line}: {}", instance.banner);
        instance
    }

    /// Runs `line` to its end beside `instance`.
    async fn run(&self, line: &str, instance: &Instance) -> Output {
        let mut command = self.shell(line);
        command.env("TOLLGATE_ADMIN_URL", format!("http://{}", instance.address("admin")));
        let output = finish(command).await;
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
        output
    }
}

/// What `make run` started, in a process group of its own; killed when dropped.
struct Instance {
    child: Child,
    banner: String,
}

impl Instance {
    /// The address in a line such as `proxy   http://127.0.0.1:8080`.
    fn address(&self, name: &str) -> std::net::SocketAddr {
        let value =
            |line: &str| line.strip_prefix(name)?.trim().strip_prefix("http://")?.parse().ok();
        self.banner.lines().find_map(value).unwrap_or_else(|| panic!("no {name}: {}", self.banner))
    }

    /// The key that was made for this run.
    fn key(&self) -> &str {
        let word = |word: &&str| word.starts_with("tg_live_");
        self.banner.split_whitespace().find(word).unwrap_or_else(|| panic!("{}", self.banner))
    }

    /// The command that the banner says to try, its lines joined.
    fn curl(&self) -> String {
        let (_, from) = self.banner.split_once("  curl ").unwrap();
        format!("curl -sS --fail-with-body {}", from.split("\n\n").next().unwrap())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // The shell may have started another process: the whole group ends.
        let group = format!("-{}", self.child.id());
        drop(Command::new("kill").args(["-KILL", "--", &group]).status());
        drop(self.child.wait());
    }
}

/// The Python of the README as a program for `instance`.
fn python(program: &str, instance: &Instance, home: &Path) -> Command {
    assert!(program.contains(PROXY) && program.contains("\"tg_live_…\""), "{program}");
    let program = program
        .replace(PROXY, &instance.address("proxy").to_string())
        .replace("tg_live_…", instance.key());
    let file = home.join("example.py");
    std::fs::write(&file, program).unwrap();
    let interpreter = root().join(".venv/bin/python");
    assert!(interpreter.exists(), "the README's Python needs .venv: run `make setup`");
    let mut command = Command::new(interpreter);
    command.arg("-B").arg(file).env_clear();
    command
}

#[tokio::test]
async fn a_newcomer_gets_what_the_readme_promises() {
    let readme = readme();
    let checkout = Checkout::new(None);
    let commands = commands(&readme);
    let run = commands.iter().find(|line| line.starts_with("make run")).expect("make run");
    let instance = checkout.start(run).await;

    let answer = checkout.run(&instance.curl(), &instance).await;
    let answer: Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert!(answer["choices"][0]["message"]["content"].is_string(), "{answer}");

    let programs = blocks(&readme, "python");
    for program in &programs {
        let output = finish(python(program, &instance, checkout.home.path())).await;
        let said = text(&output.stdout);
        assert!(output.status.success() && said.trim().len() > 1, "{}", text(&output.stderr));
    }

    let asked = 1 + programs.len();
    for line in commands.iter().filter(|line| line.starts_with("tollgate ")) {
        let said = text(&checkout.run(line, &instance).await.stdout);
        if line.starts_with("tollgate accounts") || line.starts_with("tollgate keys") {
            let made = line.starts_with("tollgate keys create");
            assert!(said.contains("shop"), "{line}: {said}");
            assert!(!made || said.contains("tg_live_"), "{line}: {said}");
        } else if line.contains("--format json") {
            let records: Vec<Value> = serde_json::from_str(&said).unwrap();
            assert_eq!(records.len(), asked, "{line}: {said}");
            assert!(records.iter().all(|record| record["account"] == "demo"), "{said}");
        } else if line.starts_with("tollgate usage") {
            assert!(said.contains("default") && said.contains(&asked.to_string()), "{said}");
        } else if line.starts_with("tollgate report cache") {
            assert!(said.contains("default") && said.contains("total"), "{line}: {said}");
        } else if line.starts_with("tollgate invoices") {
            assert!(said.contains("demo") && said.contains("draft"), "{line}: {said}");
        } else if line.starts_with("tollgate check") {
            assert!(said.ends_with("conf/tollgate.yaml: ok\n"), "{said}");
        } else if line.starts_with("tollgate schema") {
            assert!(serde_json::from_str::<Value>(&said).unwrap()["properties"].is_object());
        } else {
            panic!("nothing says what {line} should print");
        }
    }
}

#[tokio::test]
async fn every_answer_says_what_it_was() {
    let readme = readme();
    let checkout = Checkout::new(None);
    let instance = checkout.start("make run").await;
    let quoted = quoted(&readme);
    let base = quoted.iter().find_map(|text| text.strip_prefix(&format!("http://{PROXY}/")));
    let base = base.expect("the base URL of a class");
    let request = Request::post(&format!("/{base}/chat/completions"), &chat_body());
    let answer = request.bearer(instance.key()).send(instance.address("proxy")).await.ok();
    let class = base.split('/').next();
    assert_eq!(answer.header("x-tollgate-class"), class);
    let headers: Vec<&str> = quoted.into_iter().filter(|text| text.starts_with("x-")).collect();
    assert!(headers.len() > 4, "{headers:?}");
    for name in headers {
        let there = match name.strip_suffix('*') {
            Some(prefix) => answer.head.headers.iter().any(|(name, _)| name.starts_with(prefix)),
            None => answer.header(name).is_some(),
        };
        assert!(there, "{name} is not in {:?}", answer.head);
    }
}

#[tokio::test]
async fn with_a_providers_key_the_sandbox_steps_aside() {
    const KEY: &str = "sk-a-key-of-the-readers-own";
    let provider = Provider::start().await;
    let checkout = Checkout::new(Some(&provider));
    let commands = commands(&readme());
    let line = commands.iter().find(|line| line.starts_with("OPENAI_API_KEY=")).expect("the key");
    assert!(line.contains("=sk-… "), "{line}");
    let instance = checkout.start(&line.replace("sk-…", KEY)).await;
    let state = |name: &str| {
        let mut lines = instance.banner.lines().map(str::trim);
        let line = lines.find(|line| line.starts_with(name)).unwrap_or_default();
        line.trim_start_matches(name).trim().to_owned()
    };
    assert_eq!(state("openai"), "on");
    assert!(state("sandbox").starts_with("off"), "{}", instance.banner);
    let request = Request::post("/v1/chat/completions", &chat_body()).bearer(instance.key());
    request.send(instance.address("proxy")).await.ok();
    let call = provider.only_call();
    assert_eq!(call.header("authorization"), Some(&*format!("Bearer {KEY}")));
    assert!(!instance.banner.contains(KEY));
}

#[tokio::test]
async fn the_operators_listener_has_what_the_readme_lists() {
    let readme = readme();
    let quoted = quoted(&readme);
    assert!(quoted.contains(&&*format!("http://{ADMIN}")));
    let checkout = Checkout::new(None);
    let instance = checkout.start("make run").await;
    let admin = instance.address("admin");
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert!(quoted.contains(&path), "{path} is not in the README");
        Request::get(path).send(admin).await.ok();
    }
    assert!(quoted.contains(&"/admin/*"));
    Request::get("/admin/usage").send(admin).await.refused(401, "invalid_api_key");
}

#[tokio::test]
async fn every_command_is_one_that_is_run_here_or_a_target_of_make() {
    let readme = readme();
    let mut targets = BTreeSet::new();
    for line in commands(&readme).iter().map(String::as_str).chain(quoted(&readme)) {
        let words = line.split_whitespace().skip_while(|word| word.contains('='));
        let words: Vec<&str> = words.take(2).collect();
        match words[..] {
            ["make", target] => drop(targets.insert(target.to_owned())),
            _ => assert!(
                line.starts_with("tollgate ") || quoted(&readme).contains(&line),
                "nothing runs {line}"
            ),
        }
    }
    assert!(targets.len() > 3, "{targets:?}");
    for target in targets {
        let mut command = Command::new("make");
        command.args(["-n", &target]).current_dir(root());
        let output = finish(command).await;
        assert!(output.status.success(), "make {target}: {}", text(&output.stderr));
    }
}

#[test]
fn every_file_that_the_readme_names_exists() {
    let readme = readme();
    let folders = ["conf/", "docs/", "dashboards/", "systemd/", "src/"];
    let named: Vec<PathBuf> = quoted(&readme)
        .into_iter()
        .filter(|text| folders.iter().any(|folder| text.starts_with(folder)))
        .map(|text| root().join(text))
        .collect();
    assert!(named.len() > 4, "{named:?}");
    for path in named {
        assert!(path.exists(), "{}", path.display());
    }
}
