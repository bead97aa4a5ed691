//! Every key of the contract is accepted.

use super::{Surroundings, config};
use crate::config::{parse, schema};

/// The contract's own example, whole, with the keys that it names besides.
const CONTRACT: &str = r#"
listen:    { proxy: 127.0.0.1:8080, admin: 127.0.0.1:8081, metrics: null, trusted_proxies: [], tls: null, body_limit: 32MB, header_timeout: 10s, min_body_rate: 1KB }   # tls: { cert, key }
admin:     { token: "${TOLLGATE_ADMIN_TOKEN:-}" }          # empty: made at first start, kept in the data directory
store:     { path: ./data, durability: process, redis: null, postgres: null, on_store_loss: local }
providers:                                                  # key missing: the provider is off, said in the banner
  - { name: openai,    dialect: openai,    base_url: https://api.openai.com/v1,    api_key: "${OPENAI_API_KEY:-}", n_max: 1, stream_usage: true }
  - { name: anthropic, dialect: anthropic, base_url: https://api.anthropic.com/v1, api_key: "${ANTHROPIC_API_KEY:-}" }
  - { name: sandbox,   dialect: sandbox }                   # answers any model by itself, only while no other provider is on; never a failover target
models:                                                     # public name → targets, by preference or weight; no tier = expert
  - { name: gpt-4o-mini,   tier: simple,  targets: [{ provider: openai, model: gpt-4o-mini, weight: 1 }], cost: { input: 0.15, cached_input: 0.075, output: 0.60 } }   # $/1M tokens
  - { name: gpt-4o,        tier: complex, targets: [{ provider: openai }],    cost: { input: 2.50, cached_input: 1.25, output: 10.00 } }
  - { name: claude-sonnet, tier: expert,  targets: [{ provider: anthropic, model: claude-sonnet-4-5 }], cost: { input: 3.00, cached_input: 0.30, output: 15.00 } }
  - { name: "*", targets: [{ provider: openai }] }          # anything else, under its own name
classes:                                                    # first match by prefix, then header x-tollgate-class, then metadata.class; else `default`
  - { name: code_suggestions, prefix: /code_suggestions, price: 0.02, feature: basic_suggestions, samples: shared, coalesce: true,
      cache: { ttl: 1h, hit_rate_target: 0.45, scope: account, when: always, stale_if_error: 10m, stale_while_revalidate: 0s, finish: false } }
  - { name: confidence_analysis, prefix: /confidence_analysis, price: 0.03, feature: confidence_analysis, cache: { ttl: 7d, hit_rate_target: 0.70 } }
  - { name: documentation, prefix: /documentation, price: 0.01, feature: basic_suggestions, cache: { ttl: 3d, hit_rate_target: 0.60 } }
  - { name: default, price: 0.02, feature: basic_suggestions, cache: null }       # cached only when the request sends x-tollgate-cache-ttl
plans:                                                      # extends: lists add, scalars replace
  - { name: free, billing: included, monthly_price: 0, requests_per_month: 1000, requests_per_minute: 5, features: [basic_suggestions, confidence_analysis] }
  - { name: pro, extends: free, billing: metered, monthly_price: 29, requests_per_month: 25000, requests_per_minute: 30, features: [advanced_suggestions, context_awareness, priority_support] }
  - { name: enterprise, extends: pro, monthly_price: 199, requests_per_month: unlimited, requests_per_minute: 100, features: [custom_models, dedicated_instances, sla_guarantee] }
limits:
  user:   { per_minute: 60, per_hour: 1000, per_day: 10000, concurrent: 50 }     # user = account; its keys share; a plan's own figure replaces
  ip:     { per_minute: 100, per_hour: 2000, concurrent: 100, connections: 256, failed_keys_per_minute: 60, exempt: [] }   # failed keys: only unknown keys are then refused
  global: { connections: 10000, requests: 2000, concurrent: 500, queue: 1000, queue_timeout: 10s }
batching:  { window: 100ms, coalesce: true, samples: true, embeddings: true }
opaque:    { provider: openai, ownership: enforce, unknown: deny, price: 0 }    # ownership: off for a single tenant; unknown: allow
routing:   { auto: { simple: gpt-4o-mini, complex: gpt-4o, expert: claude-sonnet }, retries: 2, timeout: 60s, first_byte_timeout: 60s, chunk_timeout: 30s, on_unsupported: refuse }
keys:      [{ account: demo, plan: pro, key: "${DEMO_KEY:-}" }]                 # empty: generated, printed once at start
economics: { infrastructure_monthly: 0, acquisition_monthly: 0, targets: {} }
billing:   { timezone: UTC, currency: USD, tax: null, stripe: null, webhooks: [] }
privacy:   { retention: 30d, master_key: null, retired_keys: [], log_text_hash: true }   # null: made at first start in the data directory
autoscale: { min: 2, max: 20, up: { cpu: 70, memory: 80, queue: 50 }, down: { cpu: 30, memory: 40, queue: 5 }, cooldown: 300s, executor: none }
slo:       { availability: 0.999, error_rate: 0.01, latency_avg: 500ms, cache_hit_rate: 0.5 }
page:      { interval: 5s }
shutdown:  { grace: 60s }
log:       { format: pretty, level: info }
"#;

/// The keys that the contract names besides its example, and other values.
const BESIDES: &str = r#"
listen:
  tls: { cert: tls/cert.pem, key: tls/key.pem }
  trusted_proxies: [10.0.0.0/8, "::1"]
  metrics: 127.0.0.1:9090
store: { durability: power, redis: "redis://127.0.0.1:6379/0", postgres: postgres://127.0.0.1/tollgate, on_store_loss: refuse }
providers:
  - { name: local, base_url: http://127.0.0.1:11434/v1, stream_usage: false, probe: 30s, n_max: 8, pool: dedicated }
  - { name: gemini, dialect: gemini, api_key: not-a-real-key }
  - { name: sandbox, dialect: sandbox, latency: 250us }
models:
  - { name: llama, targets: [{ provider: local, model: "llama3.2:1b", weight: 3 }], cost: { input: "0.000001" } }
classes:
  - name: chat
    prefix: /app/chat
    price: "0.05"
    models: [llama]
    max_input_tokens: 8000
    max_output_tokens: 1000
    samples: distinct
    coalesce: false
    template: "Answer in one sentence."
    rewrite: { set: { temperature: 0 }, default: { max_tokens: 100, stop: [a, b] }, cap: { max_tokens: 200 }, remove: [logit_bias] }
    price_cached: 0.01
    tokens_price: { input: 1, output: 2 }
    cache: { ttl: 1h, scope: shared, finish: true }
plans:
  - name: pro
    monthly_price: 29.99
    requests_per_hour: 100
    requests_per_day: unlimited
    tokens_per_minute: 10000
    concurrent: 2
    classes: [chat]
    budget: 100
    overage: 0.05
    retention: 7d
    features: [my_own]
limits: { ip: { exempt: [127.0.0.1, fd00::/8] }, global: { reserved: 20 } }
opaque: { provider: local, ownership: off, unknown: allow, price: 0.001 }
cache: { memory: 1GB, disk: 0B }
routing: { auto: { simple: llama }, connect_timeout: 2s }
billing: { timezone: Europe/Berlin, currency: EUR, tax: { rate: 19 }, stripe: { api_key: x }, webhooks: [{ url: "https://example.com/hook", secret: 0123456789abcdef, events: [quota.warning] }] }
privacy: { master_key: 0123456789abcdef, retired_keys: [fedcba9876543210] }
economics: { targets: { gross_margin: 0.7 } }
autoscale: { executor: systemd }
log: { format: json, level: "info,tollgate=debug" }
"#;

#[test]
fn the_contracts_example_is_the_default() {
    let written = format!("{:#?}", config(CONTRACT));
    let mut empty = config("");
    // The file sets keys that are not in force; that is all it may change.
    empty.not_in_force = config(CONTRACT).not_in_force;
    assert_eq!(written, format!("{empty:#?}"));
}

#[test]
fn every_other_key_of_the_contract_is_accepted() {
    let config = config(BESIDES);
    assert_eq!(
        config.not_in_force,
        [
            "store.redis",
            "store.postgres",
            "store.on_store_loss",
            "plans[].retention",
            "routing.auto",
            "economics",
            "billing.stripe",
            "autoscale",
        ]
    );
}

#[test]
fn null_and_default_keys_are_not_named_as_not_in_force() {
    assert!(config("listen: { tls: null }\nautoscale:\n").not_in_force.is_empty());
}

#[test]
fn the_quick_start_means_the_defaults() {
    let text = include_str!("../../../conf/tollgate.yaml");
    let quick = config(text);
    let mut empty = config("");
    empty.not_in_force.clone_from(&quick.not_in_force);
    assert_eq!(format!("{quick:#?}"), format!("{empty:#?}"));
}

#[test]
fn the_quick_start_listens_to_its_variables() {
    let text = include_str!("../../../conf/tollgate.yaml");
    let surroundings = Surroundings::default()
        .with("OPENAI_API_KEY", "sk-test")
        .with("TOLLGATE_ADMIN_TOKEN", "a-long-token")
        .with("DEMO_KEY", "tg_live_demo");
    let config = parse(text, super::source(), &surroundings).expect("it is right");
    assert_eq!(config.providers[0].off, None);
    assert_eq!(config.providers[0].api_key.expose(), "sk-test");
    assert_eq!(config.admin_token.expose(), "a-long-token");
    assert_eq!(config.keys[0].key.expose(), "tg_live_demo");
    assert_eq!(config.providers[2].off.as_deref(), Some("another provider is on"));
}

#[test]
fn the_schema_knows_every_key_with_its_default() {
    let schema = schema();
    let at = |pointer: &str| schema.pointer(pointer).unwrap_or_else(|| panic!("{pointer}: none"));
    assert_eq!(at("/$defs/Listen/properties/proxy/default"), "127.0.0.1:8080");
    assert_eq!(at("/$defs/UserLimits/properties/per_minute/default"), 60);
    assert_eq!(at("/properties/plans/default/2/requests_per_month"), "unlimited");
    assert_eq!(at("/$defs/Autoscale/properties/up/default/cpu"), 70);
    assert_eq!(at("/$defs/Privacy/properties/log_text_hash/default"), true);
    assert_eq!(at("/additionalProperties"), false);
    assert_eq!(at("/$defs/Provider/additionalProperties"), false);
    assert_eq!(at("/$defs/Provider/required"), &serde_json::json!(["name"]));
    assert_eq!(at("/$defs/Key/required"), &serde_json::json!(["account", "plan"]));
    let latency = at("/$defs/Provider/properties/latency/description").as_str().unwrap();
    assert!(latency.contains("sandbox"), "{latency}");
    let undescribed: Vec<_> = schema
        .pointer("/$defs")
        .and_then(|definitions| definitions.as_object())
        .expect("types")
        .iter()
        .flat_map(|(name, kind)| {
            let keys = kind.get("properties").and_then(|keys| keys.as_object());
            keys.into_iter().flatten().map(move |(key, schema)| (name, key, schema))
        })
        .filter(|(_, _, schema)| schema.get("description").is_none())
        .map(|(name, key, _)| format!("{name}.{key}"))
        .collect();
    assert!(undescribed.is_empty(), "{undescribed:?}");
}
