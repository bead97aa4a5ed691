//! What a gateway under test is to be: a configuration, built step by step, and
//! started in this process or in one of its own.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::binary::Process;
use super::gateway::Gateway;
use super::plan::Plan;
use super::provider::Provider;
use super::tls::Authority;

/// The seller's own key at the provider, as every fixture configures it.
pub(crate) const PROVIDER_KEY: &str = "sk-provider-secret-0123456789";
/// The admin token that every fixture configures.
pub(crate) const ADMIN_TOKEN: &str = "admin-token-of-the-tests";
/// The account and plan of a fixture that names none.
pub(crate) const DEFAULT_PLAN: &str = "tester";

/// The key of the account that a fixture makes for a plan.
pub(crate) fn key_of(plan: &str) -> String {
    format!("tg_test_{plan}_key_0123456789")
}

/// Begins every fixture: `Tollgate::before(&provider).plan(…).start()`.
pub(crate) struct Tollgate;

impl Tollgate {
    /// A gateway whose provider `mock` is this one.
    pub(crate) fn before(provider: &Provider) -> Setup {
        Self::at(&provider.url())
    }

    /// A gateway whose provider `mock` has this base URL.
    pub(crate) fn at(url: &str) -> Setup {
        Setup::new(vec![json!({
            "name": "mock", "dialect": "openai", "base_url": url, "api_key": PROVIDER_KEY,
        })])
    }

    /// A gateway with the built-in provider alone.
    pub(crate) fn sandbox() -> Setup {
        let mut setup = Setup::new(vec![json!({"name": "sandbox", "dialect": "sandbox"})]);
        setup.provider = "sandbox";
        setup
    }
}

/// A configuration in the making. Everything that could get in a test's way is
/// off or large: address limits, account limits, the global caps.
pub(crate) struct Setup {
    provider: &'static str,
    providers: Vec<Value>,
    models: Option<Vec<Value>>,
    classes: Vec<Value>,
    plans: Vec<Plan>,
    settings: Vec<(String, Value)>,
    yaml: Option<String>,
}

impl Setup {
    fn new(providers: Vec<Value>) -> Self {
        Self {
            provider: "mock",
            providers,
            models: None,
            classes: Vec::new(),
            plans: Vec::new(),
            // Tests send the same request over and over.
            settings: vec![("batching.coalesce".to_owned(), json!(false))],
            yaml: None,
        }
    }

    /// Adds a plan, and an account of that name with the key `key_of(name)`.
    pub(crate) fn plan(mut self, name: &str, change: impl FnOnce(Plan) -> Plan) -> Self {
        self.plans.push(change(Plan::named(name)));
        self
    }

    /// Adds a class at `/name`, its price in dollars; further keys in `more`.
    pub(crate) fn class(mut self, name: &str, price: &str, more: &Value) -> Self {
        let mut class = json!({"name": name, "prefix": format!("/{name}"), "price": price});
        for (key, value) in more.as_object().into_iter().flatten() {
            class[key] = value.clone();
        }
        self.classes.push(class);
        self
    }

    /// Replaces the models, which otherwise are `gpt-4o-mini`, priced as in the
    /// shipped configuration, and `*`.
    pub(crate) fn models(mut self, models: &Value) -> Self {
        self.models = models.as_array().cloned();
        self
    }

    /// Sets a key of the provider `mock`.
    pub(crate) fn provider(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.providers[0][key] = value.into();
        self
    }

    /// Adds a provider.
    pub(crate) fn another_provider(mut self, provider: Value) -> Self {
        self.providers.push(provider);
        self
    }

    /// Sets any key of the configuration, dotted: `routing.retries`.
    pub(crate) fn set(mut self, path: &str, value: impl Into<Value>) -> Self {
        self.settings.push((path.to_owned(), value.into()));
        self
    }

    /// Replaces the whole configuration by this text, in which `{data}` is the
    /// data directory and `{provider}` the provider's base URL.
    pub(crate) fn yaml(mut self, text: &str) -> Self {
        self.yaml = Some(text.to_owned());
        self
    }

    /// Starts it in this process, with a test clock.
    pub(crate) async fn start(self) -> Gateway {
        let home = TempDir::new().unwrap();
        let file = self.write(home.path());
        Gateway::start(home, &file).await
    }

    /// Starts the real command in a process of its own.
    pub(crate) async fn spawn(self) -> Process {
        let home = TempDir::new().unwrap();
        let file = self.write(home.path());
        Process::start(home, file, Vec::new()).await
    }

    /// The same, with `authority` as the only one that it trusts.
    pub(crate) async fn spawn_trusting(self, authority: &Authority) -> Process {
        let home = TempDir::new().unwrap();
        let file = self.write(home.path());
        let trust = authority.write(home.path());
        Process::start(home, file, vec![("SSL_CERT_FILE", trust)]).await
    }

    /// Writes the configuration file into `home` and gives its path.
    pub(crate) fn write(&self, home: &Path) -> PathBuf {
        let file = home.join("tollgate.yaml");
        let data = home.join("data").display().to_string();
        let text = match &self.yaml {
            Some(yaml) => {
                let url = self.providers[0]["base_url"].as_str().unwrap_or_default();
                yaml.replace("{data}", &data).replace("{provider}", url)
            }
            // JSON is YAML.
            None => serde_json::to_string_pretty(&self.value(&data)).unwrap(),
        };
        std::fs::write(&file, text).unwrap();
        file
    }

    fn value(&self, data: &str) -> Value {
        let provider = self.provider;
        let models = self.models.clone().unwrap_or_else(|| {
            vec![
                json!({
                    "name": "gpt-4o-mini", "tier": "simple", "targets": [{"provider": provider}],
                    "cost": {"input": "0.15", "cached_input": "0.075", "output": "0.60"},
                }),
                json!({"name": "*", "targets": [{"provider": provider}]}),
            ]
        });
        let mut classes = self.classes.clone();
        classes.push(json!({"name": "default", "price": "0.02", "feature": "basic_suggestions"}));
        let mut plans = self.plans.clone();
        if plans.is_empty() {
            plans.push(Plan::named(DEFAULT_PLAN));
        }
        let plans: Vec<Value> = plans.into_iter().map(Plan::into_value).collect();
        let name = |plan: &Value| plan["name"].as_str().unwrap_or_default().to_owned();
        let keys: Vec<Value> = plans
            .iter()
            .map(name)
            .map(|plan| json!({"account": plan, "plan": plan, "key": key_of(&plan)}))
            .collect();
        let mut config = json!({
            "listen": {"proxy": "127.0.0.1:0", "admin": "127.0.0.1:0"},
            "admin": {"token": ADMIN_TOKEN},
            "store": {"path": data},
            "providers": self.providers, "models": models, "classes": classes, "plans": plans,
            "limits": {
                "user": {
                    "per_minute": 1_000_000, "per_hour": 1_000_000, "per_day": 1_000_000,
                    "concurrent": 100_000,
                },
                "ip": {
                    "per_minute": 1_000_000, "per_hour": 1_000_000, "concurrent": 100_000,
                    "connections": 100_000, "failed_keys_per_minute": 1_000_000,
                },
            },
            "keys": keys,
            "shutdown": {"grace": "5s"},
            "log": {"level": "warn"},
        });
        for (path, value) in &self.settings {
            let pointer = format!("/{}", path.replace('.', "/"));
            set(&mut config, &pointer, value.clone());
        }
        config
    }
}

fn set(config: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').unwrap_or_default();
    if config.pointer(parent).is_none() {
        set(config, parent, json!({}));
    }
    match config.pointer_mut(parent) {
        Some(Value::Array(items)) => items[key.parse::<usize>().unwrap()] = value,
        Some(parent) => parent[key] = value,
        None => {}
    }
}
