//! A real Prometheus on a free port, with the shipped configuration.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::binary::finish;
use crate::harness::client::Request;
use crate::harness::eventually::eventually;

/// Where the quick start's operators' listener is, which the shipped
/// configuration scrapes.
const SHIPPED_TARGET: &str = "127.0.0.1:8081";

/// A file or folder of the repository.
pub(super) fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs `promtool` with these arguments, `input` on its standard input.
pub(super) async fn promtool(arguments: &[&str], input: Option<&Path>) -> Output {
    let mut command = Command::new("promtool");
    let input = input.map_or_else(Stdio::null, |path| std::fs::File::open(path).unwrap().into());
    command.args(arguments).current_dir(root("")).stdin(input);
    assert!(installed("promtool"), "promtool is missing: run `make setup`");
    finish(command).await
}

fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).exists())
}

/// The running server; it is ended when dropped.
pub(super) struct Prometheus {
    child: Child,
    address: SocketAddr,
    _home: TempDir,
}

impl Prometheus {
    /// Starts one that scrapes `target` every second, and waits until it is
    /// ready. All else is as in `conf/prometheus.yml`.
    pub(super) async fn scraping(target: SocketAddr) -> Self {
        assert!(installed("prometheus"), "prometheus is missing: run `make setup`");
        let home = TempDir::new().unwrap();
        let shipped = std::fs::read_to_string(root("conf/prometheus.yml")).unwrap();
        assert!(
            shipped.contains(SHIPPED_TARGET) && shipped.contains("_interval: 15s"),
            "{shipped}"
        );
        let config = shipped
            .replace(SHIPPED_TARGET, &target.to_string())
            .replace("_interval: 15s", "_interval: 1s");
        let file = home.path().join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        std::fs::copy(root("conf/alerts.yml"), home.path().join("alerts.yml")).unwrap();
        let log = home.path().join("log");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", home.path().join("data").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut started =
            Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), _home: home };
        started.address = eventually("Prometheus to listen", async || {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            let line = log.lines().find(|line| line.contains("msg=\"Listening on\""))?.to_owned();
            let (_, address) = line.split_once("address=")?;
            address.split_whitespace().next()?.parse().ok()
        })
        .await;
        eventually("Prometheus to be ready", async || {
            let answer = Request::get("/-/ready").send(started.address).await;
            (answer.status() == 200).then_some(())
        })
        .await;
        started
    }

    /// What an instant query gives now: each series' labels and value.
    pub(super) async fn query(&self, expression: &str) -> Vec<(Value, f64)> {
        let path = format!("/api/v1/query?query={}", encoded(expression));
        let answer = Request::get(&path).send(self.address).await;
        let json = answer.json();
        assert_eq!(json["status"], "success", "{expression}\n{json}");
        let result = json["data"]["result"].as_array().cloned().unwrap_or_default();
        let value = |series: &Value| series["value"][1].as_str().unwrap().parse().unwrap();
        result.iter().map(|series| (series["metric"].clone(), value(series))).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may be gone already, which is just as well.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// `text` in a query string (RFC 3986 §2.1).
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}
