//! What right files mean.

use std::time::Duration;

use super::config;
use crate::base::money::Money;
use crate::base::secret::Key;
use crate::config::{Billing, Dialect, Errors, LogFormat, Ownership, Prefer, load};

#[test]
fn plans_extend_others_in_any_order() {
    let config = config(
        "plans:
  - { name: big, extends: mid, features: [c], concurrent: 9 }
  - { name: mid, extends: small, monthly_price: 5.5, features: [b, a] }
  - { name: small, billing: included, requests_per_month: 10, requests_per_hour: unlimited, features: [a] }
keys: [{ account: x, plan: big }]
",
    );
    let big = &config.keys[0].plan;
    assert_eq!(big.billing, Billing::Included);
    assert_eq!(big.monthly_price.to_string(), "5.5");
    assert_eq!(big.requests_per_month, Some(10));
    assert_eq!(big.requests_per_hour, Some(u32::MAX));
    assert_eq!((big.requests_per_minute, big.concurrent), (None, Some(9)));
    let features: Vec<_> = big.features.iter().flatten().map(|it| &**it).collect();
    assert_eq!(features, ["a", "b", "c"]);
}

/// Covers A6.
#[test]
fn budgets_and_overage_are_inherited_until_null_takes_them_back() {
    let config = config(
        "plans:
  - { name: small, requests_per_month: 10, budget: 5, overage: 0.05 }
  - { name: mid, extends: small, budget: 7.5 }
  - { name: big, extends: mid, budget: null, overage: ~ }
  - { name: odd, overage: 0.01 }
keys: [{ account: x, plan: mid, budget: 0.25 }, { account: y, plan: big, budget: null }]
",
    );
    let dollars = |amount: Option<Money>| amount.map(|amount| amount.to_string());
    let plan = |at: usize| {
        let plan = &config.plans[at];
        (dollars(plan.budget), dollars(plan.overage))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(plan(0), (some("5"), some("0.05")));
    assert_eq!(plan(1), (some("7.5"), some("0.05")));
    assert_eq!(plan(2), (None, None));
    let budgets: Vec<_> = config.keys.iter().map(|key| dollars(key.budget)).collect();
    assert_eq!(budgets, [some("0.25"), None]);
    let of_no_effect: Vec<_> = config.warnings.iter().filter(|it| it.contains("overage")).collect();
    assert_eq!(of_no_effect.len(), 1, "{of_no_effect:?}");
    assert!(of_no_effect[0].contains("plan odd"), "{of_no_effect:?}");
}

/// Covers E4.
#[test]
fn a_base_url_is_taken_apart() {
    let url = |url: &str| {
        let text = format!("providers: [{{ name: p, base_url: \"{url}\" }}]");
        let base = config(&text).providers[0].base_url.clone().expect("it has a base");
        (base.tls, base.host.to_string(), base.port, base.path.to_string())
    };
    assert_eq!(url("https://a.example/v1"), (true, "a.example".into(), 443, "/v1".into()));
    assert_eq!(url("http://a.example/"), (false, "a.example".into(), 80, String::new()));
    assert_eq!(url("http://[::1]:8000/x/v1/"), (false, "::1".into(), 8000, "/x/v1".into()));
}

#[test]
fn a_provider_without_the_key_api_key_needs_none() {
    let providers = config(
        "providers:
  - { name: ollama, base_url: http://127.0.0.1:11434/v1 }
  - { name: empty, base_url: http://127.0.0.1:1/v1, api_key: \"\" }
  - { name: nothing, base_url: http://127.0.0.1:1/v1, api_key: }
  - { name: unset, base_url: http://127.0.0.1:1/v1, api_key: \"${NONE:-}\" }
  - { name: public }
  - { name: claude, dialect: anthropic, api_key: some-key }
",
    )
    .providers;
    let off: Vec<_> = providers.iter().map(|it| it.off.as_deref()).collect();
    let no_key = Some("no api_key");
    assert_eq!(off, [None, no_key, no_key, no_key, no_key, None]);
    assert_eq!(providers[0].dialect, Dialect::OpenAi);
    assert!(providers[0].stream_usage);
    assert_eq!(providers[0].n_max, 1);
}

#[test]
fn a_key_over_plain_http_to_another_machine_is_a_warning() {
    let warned = |host: &str| {
        let text = format!(
            "providers: [{{ name: openai, base_url: \"http://{host}/v1\", api_key: secret-key }},
             {{ name: anthropic }}]"
        );
        config(&text).warnings
    };
    assert_eq!(warned("gpu.example").len(), 1, "{:?}", warned("gpu.example"));
    assert!(warned("127.0.0.1:9").is_empty() && warned("[::1]").is_empty());
}

#[test]
fn texts_may_look_like_numbers() {
    let config =
        config("keys: [{ account: 7, plan: pro, key: 12345678 }]\nadmin: { token: 1e345678 }");
    assert_eq!(&*config.keys[0].account, "7");
    assert_eq!(config.keys[0].key.expose(), "12345678");
    assert_eq!(config.admin_token.expose(), "1e345678");
}

#[test]
fn sandbox_latency_and_log_are_read() {
    let config = config(
        "providers: [{ name: s, dialect: sandbox, latency: 20ms }]\nlog: { format: json, level: warn }",
    );
    assert_eq!(config.providers[0].latency, Duration::from_millis(20));
    assert_eq!((config.log.format, &*config.log.level), (LogFormat::Json, "warn"));
}

#[test]
fn a_feature_that_no_plan_has_is_a_warning() {
    let config = config(
        "plans: [{ name: pro, features: [mine] }]
classes: [{ name: a, price: 1, feature: custom_models }, { name: default, price: 1, feature: mine }]
",
    );
    assert_eq!(config.warnings.len(), 1, "{:?}", config.warnings);
    assert!(config.warnings[0].contains("Class a can be used by nobody"), "{:?}", config.warnings);
}

#[test]
fn a_file_that_cannot_be_read_is_one_error() {
    let directory = tempfile::tempdir().expect("a directory");
    let missing = directory.path().join("none.yaml");
    let only = |errors: Errors| {
        assert_eq!(errors.iter().count(), 1, "{errors}");
        errors.to_string()
    };
    assert!(
        only(load(&missing).expect_err("it is missing")).contains("none.yaml:1:1: cannot read")
    );
    let binary = directory.path().join("binary.yaml");
    std::fs::write(&binary, b"\xff\xfe").expect("written");
    assert!(only(load(&binary).expect_err("it is no text")).contains("not UTF-8"));
    let large = directory.path().join("large.yaml");
    std::fs::write(&large, " ".repeat(1024 * 1024 + 1)).expect("written");
    assert!(only(load(&large).expect_err("it is too large")).contains("larger than 1024 KB"));
    let right = directory.path().join("right.yaml");
    std::fs::write(&right, "log: { level: warn }").expect("written");
    assert_eq!(load(&right).expect("it is right").log.level, "warn");
}

#[test]
fn the_opaque_lane_is_closed_unless_it_is_opened() {
    let lane = config("").opaque;
    let provider = lane.provider.expect("the default provider is defined");
    assert_eq!((&*provider.name, lane.ownership), ("openai", Ownership::Enforce));
    assert_eq!((lane.allow_unknown, lane.price), (false, Money::ZERO));
    let lane = config(
        "providers: [{ name: p, base_url: http://127.0.0.1:1 }]
opaque: { provider: p, ownership: off, unknown: allow, price: 0.001 }",
    )
    .opaque;
    assert_eq!(lane.provider.map(|provider| provider.name.to_string()), Some("p".to_owned()));
    assert_eq!((lane.ownership, lane.allow_unknown), (Ownership::Off, true));
    assert_eq!(lane.price, "0.001".parse().unwrap());
}

/// Covers A2.
#[test]
fn a_dedicated_pool_for_nobody_is_a_warning() {
    let text = |feature: &str| {
        format!(
            "providers: [{{ name: own, api_key: sk-x, pool: dedicated }}]
plans: [{{ name: free }}, {{ name: big, features: [{feature}] }}]
models: []
keys: []"
        )
    };
    let about = |feature: &str| {
        let warnings = config(&text(feature)).warnings;
        warnings.iter().any(|warning| warning.contains("no model runs at provider own"))
    };
    assert!(about("priority_support"), "a plan without features has none of it");
    assert!(!about("dedicated_instances"));
}

/// Covers D2.
#[test]
fn the_cache_has_room_in_memory_and_on_the_disk() {
    let megabytes = |bytes: u64| bytes / (1024 * 1024);
    let room = |text: &str| {
        let room = config(text).cache;
        (megabytes(room.memory), megabytes(room.disk))
    };
    assert_eq!(room(""), (256, 1024));
    assert_eq!(room("cache: { memory: 16MB, disk: 0B }"), (16, 0));
    assert_eq!(room("cache: { disk: 64GB }"), (256, 65_536));
}

/// Covers I2.
#[test]
fn master_keys_are_read_or_derived_and_none_is_given_by_default() {
    let keys = |privacy: &str| config(&format!("privacy: {{ {privacy} }}")).master_keys;
    assert_eq!(keys("").current, None);
    assert_eq!(keys("master_key: \"\"").current, None);
    let hex = "0a".repeat(32);
    assert_eq!(keys(&format!("master_key: {hex}")).current, Some(Key::new([10; 32])));
    let text = "a-text-of-the-seller's-own-and-long";
    let given = keys(&format!("master_key: {text}, retired_keys: [{hex}, 12345678]"));
    assert_eq!(given.current, Some(Key::derive(text)));
    assert_eq!(given.retired, [Key::new([10; 32]), Key::derive("12345678")]);
    let warned = |key: &str| {
        let warnings = config(&format!("privacy: {{ master_key: {key} }}")).warnings;
        warnings.iter().any(|warning| warning.contains("privacy.master_key"))
    };
    assert!(warned("12345678") && !warned(text) && !warned(&hex));
}

/// Covers E5.
#[test]
fn providers_may_have_several_keys_and_be_probed() {
    let config = config(
        "providers:
  - { name: a, api_key: k-1, api_keys: [k-2, '', k-3], probe: 30s }
  - { name: b, api_keys: [k-4], probe: { interval: 1m, path: /health, timeout: 2s } }
  - { name: c, api_keys: [''], base_url: http://127.0.0.1:1 }
  - { name: d, base_url: http://127.0.0.1:1 }
models:
  - { name: m, prefer: cost, targets: [{ provider: a, weight: 2 }, { provider: b }] }
",
    );
    let keys = |at: usize| {
        let provider = &config.providers[at];
        let all = std::iter::once(&provider.api_key).chain(&provider.further_keys);
        all.map(|key| key.expose().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(keys(0), ["k-1", "k-2", "k-3"]);
    assert_eq!(keys(1), ["k-4"]);
    let off = |at: usize| config.providers[at].off.as_deref();
    assert_eq!((off(1), off(2), off(3)), (None, Some("no api_key"), None));
    let probe = |at: usize| {
        let probe = config.providers[at].probe.as_ref()?;
        Some((probe.interval.as_secs(), probe.path.to_string(), probe.timeout.as_secs()))
    };
    assert_eq!(probe(0), Some((30, "/models".to_owned(), 5)));
    assert_eq!(probe(1), Some((60, "/health".to_owned(), 2)));
    assert_eq!(probe(2), None);
    let model = &config.models[0];
    assert_eq!((model.prefer, config.routing.prefer), (Some(Prefer::Cost), Prefer::Order));
    let weights: Vec<_> = model.targets.iter().map(|target| target.weight).collect();
    assert_eq!(weights, [Some(2), None]);
}

#[test]
fn mistakes_of_keys_and_probes_have_their_place() {
    let provider = |rest: &str| format!("providers: [{{ name: openai, api_key: k-1, {rest} }}]");
    super::one_error(&provider("api_keys: [k-2, k-1]"), "1:59", "stands here twice");
    super::one_error(&provider("api_keys: ['k 2']"), "1:54", "visible ASCII");
    super::one_error(&provider("probe: soon"), "1:50", "a duration");
    super::one_error(&provider("probe: 1ms"), "1:50", "must be from 100ms");
    super::one_error(&provider("probe: { path: /x }"), "1:50", "`interval` is missing");
    super::one_error(&provider("probe: { interval: 1s, path: x }"), "1:72", "begins with /");
    let sandbox = "providers: [{ name: s, dialect: sandbox, probe: 1s }]";
    super::one_error(sandbox, "1:49", "a sandbox has no `probe`");
}
