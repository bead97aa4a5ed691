//! Dashboards, alert rules and `/metrics` against a real Prometheus: every
//! panel shows something while there is load. Covers C1, C2 and C3 as far as
//! their metrics exist, C4 and C6.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::binary::{Process, text};
use crate::harness::client::Request;
use crate::harness::door::chat_body;
use crate::harness::eventually::eventually;
use crate::harness::gate::Gate;
use crate::harness::openai;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::{DEFAULT_PLAN, Tollgate, key_of};

mod prometheus;

use prometheus::{Prometheus, promtool, root};

/// A model that the provider fails to answer.
const FAILING: &str = "failing-model";

/// A shipped dashboard.
struct Dashboard {
    name: String,
    json: Value,
}

impl Dashboard {
    fn all() -> Vec<Self> {
        let files = std::fs::read_dir(root("dashboards")).unwrap();
        let paths = files.map(|entry| entry.unwrap().path());
        let all: Vec<Self> = paths
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .map(|path| Self {
                name: path.file_name().unwrap().to_string_lossy().into_owned(),
                json: serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap(),
            })
            .collect();
        assert!(!all.is_empty());
        all
    }

    /// The panels that show something, so not the rows.
    fn panels(&self) -> impl Iterator<Item = &Value> {
        self.json["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row")
    }

    /// Every query of every panel, with the panel's title.
    fn queries(&self) -> Vec<(String, String)> {
        let of_panel = |panel: &Value| -> Vec<(String, String)> {
            let targets = panel["targets"].as_array().unwrap();
            let title = format!("{}: {}", self.name, panel["title"].as_str().unwrap());
            let expression = |target: &Value| target["expr"].as_str().unwrap().to_owned();
            targets.iter().map(|target| (title.clone(), expression(target))).collect()
        };
        self.panels().flat_map(of_panel).collect()
    }

    fn variables(&self) -> &Vec<Value> {
        self.json["templating"]["list"].as_array().unwrap()
    }
}

/// `expression` as Grafana sends it, for all instances over a short range.
fn substituted(expression: &str) -> String {
    let filled = expression
        .replace("$__rate_interval", "10s")
        .replace("\"$job\"", "\"tollgate\"")
        .replace("\"$instance\"", "\".+\"");
    assert!(!filled.contains('$'), "a variable is left in {filled}");
    filled
}

/// The names in `text` that look like those of our metrics.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
        .filter(|word| word.starts_with("tollgate_") || word.starts_with("process_"))
        .collect()
}

/// A gateway in a process of its own, for the process metrics are its own.
async fn gateway(provider: &Provider) -> Process {
    provider.answer(|call| match call.json()["model"].as_str() {
        Some(FAILING) => Reply::error(500, "theirs"),
        _ => openai::answer(call),
    });
    Tollgate::before(provider)
        .plan(DEFAULT_PLAN, |plan| plan)
        .plan("limited", |plan| plan.per_minute(1))
        .class(
            "documentation",
            "0.01",
            &json!({"feature": "basic_suggestions", "cache": {"ttl": "1h", "hit_rate_target": 0.6}}),
        )
        .set("routing.retries", 1)
        .spawn()
        .await
}

/// One request of each kind: whole, streamed, of another class, without a
/// price, failed, and refused by three layers.
async fn load(gate: &Process) {
    let asking = |model: &str| {
        let mut body = chat_body();
        body["model"] = model.into();
        Request::post("/v1/chat/completions", &body).bearer(&key_of(DEFAULT_PLAN))
    };
    let documentation = Request::post("/documentation/v1/chat/completions", &chat_body())
        .bearer(&gate.key(DEFAULT_PLAN));
    let requests = [
        (gate.chat(), Some(200)),
        (gate.stream(), Some(200)),
        (documentation.clone(), Some(200)),
        (documentation, Some(200)),
        (asking("a-model-without-a-price"), Some(200)),
        (asking(FAILING), Some(500)),
        (gate.chat_as("limited"), None),
        (Request::post("/v1/chat/completions", &chat_body()).bearer("nobody"), Some(401)),
        (gate.chat_text("{"), Some(400)),
    ];
    for (request, expected) in requests {
        let status = gate.send(&request).await.status();
        assert!(expected.is_none_or(|expected| status == expected), "{request:?}: {status}");
    }
}

#[tokio::test]
async fn every_panel_shows_something_under_load() {
    let provider = Provider::start().await;
    let gate = gateway(&provider).await;
    let prometheus = Prometheus::scraping(gate.admin).await;

    // One stream stays open, so that something is in flight.
    let held = Gate::closed();
    let events = openai::chat_events("gpt-4o-mini", true);
    provider.next(Reply::stream().event(&events[0]).wait(&held));
    let mut open = gate.open(&gate.stream()).await;
    assert_eq!(open.head().await.status(), 200);

    let dashboards = Dashboard::all();
    let mut missing: Vec<(String, String)> = Vec::new();
    for dashboard in &dashboards {
        missing.extend(dashboard.queries());
        for variable in dashboard.variables().iter().filter(|variable| variable["type"] == "query")
        {
            let query = variable["query"]["query"].as_str().unwrap();
            let inside =
                query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
            let (metric, label) = inside.unwrap().rsplit_once(", ").unwrap();
            let title = format!("{}: variable {}", dashboard.name, variable["name"]);
            missing
                .push((title, format!("count by ({label}) ({metric}) and on ({label}) {metric}")));
        }
    }
    assert!(missing.len() > 40, "{}", missing.len());
    // All of them at once in the end: a panel that flickers is not there.
    let seen = tokio::sync::Mutex::new(Vec::new());
    let all_shown = eventually("every panel to show something", async || {
        load(&gate).await;
        let mut empty = Vec::new();
        for (title, expression) in &missing {
            let found = prometheus.query(&substituted(expression)).await;
            if !found.iter().any(|(_, value)| value.is_finite() && *value > 0.0) {
                empty.push(format!("{title}: {expression}\n    gives {found:?}"));
            }
        }
        let done = empty.is_empty().then_some(());
        *seen.lock().await = empty;
        done
    });
    if tokio::time::timeout(crate::harness::eventually::DEADLINE * 9 / 10, all_shown).await.is_err()
    {
        panic!("nothing to see in\n{}", seen.lock().await.join("\n"));
    }
}

#[tokio::test]
async fn metrics_are_named_as_prometheus_wants_and_as_the_dashboards_ask() {
    let provider = Provider::start().await;
    let gate = gateway(&provider).await;
    load(&gate).await;
    let metrics = gate.admin("/metrics").await.ok().text();
    let home = tempfile::TempDir::new().unwrap();
    let file = home.path().join("metrics");
    std::fs::write(&file, &metrics).unwrap();
    let output = promtool(&["check", "metrics"], Some(&file)).await;
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");

    let types: Vec<(&str, &str)> =
        metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let exists = |name: &str| {
        types.iter().any(|(family, kind)| {
            name == *family
                || (*kind == "histogram"
                    && name
                        .strip_prefix(family)
                        .is_some_and(|suffix| ["_bucket", "_sum", "_count"].contains(&suffix)))
        })
    };
    let alerts = std::fs::read_to_string(root("conf/alerts.yml")).unwrap();
    let mut named = metrics_in(&alerts);
    let dashboards = Dashboard::all();
    let queries: Vec<String> =
        dashboards.iter().flat_map(Dashboard::queries).map(|(_, query)| query).collect();
    named.extend(queries.iter().flat_map(|query| metrics_in(query)));
    let unknown: Vec<&str> = named.iter().copied().filter(|name| !exists(name)).collect();
    assert!(named.len() > 20 && unknown.is_empty(), "{unknown:?} do not exist");
}

#[tokio::test]
async fn rules_are_sound_and_alert_when_they_should() {
    let checks: [&[&str]; 3] = [
        &["check", "rules", "--lint=all", "--lint-fatal", "conf/alerts.yml"],
        &["check", "config", "conf/prometheus.yml"],
        &["test", "rules", "tests/rules/alerts.yml"],
    ];
    for arguments in checks {
        let output = promtool(arguments, None).await;
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
    }
}

#[test]
fn every_alert_says_how_grave_it_is_and_what_happened() {
    let rules = std::fs::read_to_string(root("conf/alerts.yml")).unwrap();
    let tests = std::fs::read_to_string(root("tests/rules/alerts.yml")).unwrap();
    let alerts: Vec<&str> = rules.split("- alert: ").skip(1).collect();
    assert!(alerts.len() > 10);
    for alert in alerts {
        let name = alert.lines().next().unwrap();
        assert!(name.starts_with("Tollgate"), "{name}");
        assert!(tests.contains(name), "{name} has no test in tests/rules/alerts.yml");
        for key in ["severity: ", "summary: ", "description: "] {
            assert!(alert.contains(key), "{name} has no {key}");
        }
    }
}

#[test]
fn dashboards_are_well_laid_out() {
    for dashboard in Dashboard::all() {
        let (name, json) = (&dashboard.name, &dashboard.json);
        assert!(json["uid"].as_str().is_some_and(|uid| uid.starts_with("tollgate-")), "{name}");
        assert_eq!(json["schemaVersion"], 42, "{name}");
        assert!(json.get("id").is_none(), "{name}: an id belongs to one Grafana");
        let all = json["panels"].as_array().unwrap();
        let ids: BTreeSet<u64> = all.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
        assert_eq!(ids.len(), all.len(), "{name}: ids must differ");
        let mut taken = BTreeSet::new();
        for panel in all {
            let title = panel["title"].as_str().unwrap();
            let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            assert!(at("x") + at("w") <= 24, "{name}: {title} is too far right");
            for column in at("x")..at("x") + at("w") {
                for line in at("y")..at("y") + at("h") {
                    assert!(taken.insert((column, line)), "{name}: {title} lies over another");
                }
            }
        }
        for panel in dashboard.panels() {
            let title = panel["title"].as_str().unwrap();
            assert!(panel["description"].as_str().is_some_and(|text| text.len() > 10), "{title}");
            assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title} has no unit");
            for target in panel["targets"].as_array().unwrap().iter().chain([panel]) {
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            }
        }
    }
}
