//! Errors: each kind at its exact place, all of a file at once.

use super::{config, errors, lines, one_error};

#[test]
fn an_unknown_key_is_an_error_at_the_key_with_what_may_be_meant() {
    one_error("\nlisten:\n  prxy: 127.0.0.1:1\n", "3:3", "did you mean `proxy`?");
    one_error("limts: {}", "1:1", "did you mean `limits`?");
    one_error("listen: { proxy: 127.0.0.1:1, zzz: 1 }", "1:31", "known: proxy, admin, metrics");
    one_error("providers:\n  - name: a\n    api-key: x\n", "3:5", "did you mean `api_key`?");
}

#[test]
fn a_value_of_the_wrong_kind_is_an_error_at_the_value() {
    one_error("routing:\n  retries: many\n", "2:12", "expected a whole number, found `many`");
    one_error("routing: { retries: \"2\" }", "1:21", "without quotes");
    one_error("routing: { timeout: 60 }", "1:21", "expected a duration such as 10s");
    one_error("routing: { timeout: [1] }", "1:21", "found a list");
    one_error("listen: { proxy: localhost }", "1:18", "an address and a port");
    one_error("listen: { body_limit: 32 }", "1:23", "expected a size such as 1KB");
    one_error("cache: { memory: 1MB }", "1:18", "must be from 16MB to 64GB");
    one_error("cache: { disk: 1KB }", "1:16", "must be 0B or from 16MB to 64GB");
    one_error("privacy: { log_text_hash: yes }", "1:27", "true or false, found `yes`");
    one_error("privacy: { log_text_hash: \"true\" }", "1:27", "without quotes");
    one_error("limits: [1, 2]", "1:9", "expected a mapping, found a list");
    one_error("providers: { name: a }", "1:12", "expected a list, found a mapping");
    one_error("providers: [openai]", "1:13", "expected a mapping, found `openai`");
    one_error("providers: [ null ]", "1:14", "an empty entry");
    one_error("- a", "1:1", "expected a mapping, found a list");
    one_error("classes: [{ name: a, price: -1 }]", "1:29", "not negative");
    one_error("classes: [{ name: a, price: 1e3 }]", "1:29", "decimal number");
}

#[test]
fn a_wrong_name_is_an_error_with_the_allowed_set() {
    let text = "providers: [{ name: a, dialect: opnai }]";
    one_error(text, "1:33", "expected openai, anthropic, gemini, sandbox, found `opnai`");
    one_error(text, "1:33", "did you mean `openai`?");
    one_error("store: { durability: disk }", "1:22", "expected process, power");
    one_error("log: { level: inf }", "1:15", "did you mean `info`?");
    one_error("log: { level: info,tolgate }", "1:20", "unknown key");
}

#[test]
fn broken_yaml_is_an_error_where_it_breaks() {
    assert_eq!(errors("listen: { proxy: ").iter().count(), 1);
    one_error("a: 1\n---\nb: 1\n", "2:1", "one YAML document");
    one_error("log:\n  level: info\n  level: debug\n", "3:3", "already set on line 2");
    one_error("log: { level: !x info }", "1:15", "tags");
    one_error("? [a]\n: 1\n", "1:3", "a key is a single text");
    one_error("a: &a [*a]", "1:8", "part of the value that it names");
    one_error("a: *b", "1:4", "anchor");
}

#[test]
fn aliases_work_within_a_bound() {
    let config = super::config(
        "limits: { user: &l { per_minute: 9, concurrent: 9 }, ip: *l }\nrouting: { retries: 1 }",
    );
    assert_eq!((config.limits.user.per_minute, config.limits.ip.per_minute), (9, 9));
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb += &format!("a{level}: &a{level} [{aliases}]\n");
    }
    let errors = lines(&bomb);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("more than 100000 values"), "{errors:?}");
    let deep = format!("a: {}", "[".repeat(100));
    assert!(lines(&deep)[0].contains("nested more than 64 deep"));
}

#[test]
fn ranges_are_checked() {
    one_error("limits: { user: { per_minute: 0 } }", "1:31", "must be from 1 to 4294967295");
    one_error("limits: { user: { per_day: 4294967296 } }", "1:28", "must be from 1");
    one_error("routing: { retries: 11 }", "1:21", "must be from 0 to 10");
    one_error("routing: { prefer: price }", "1:20", "expected order, weight, latency, cost");
    one_error("routing: { retry_budget: 1.5 }", "1:26", "must be from 0 to 1");
    one_error("routing: { breaker: { calls: 61 } }", "1:30", "must be from 1 to 60");
    one_error("routing: { breaker: { minimum: 21 } }", "1:32", "more than routing.breaker.calls");
    one_error("routing: { breaker: { calls: 5 } }", "1:30", "more than routing.breaker.calls");
    one_error("routing: { breaker: { failures: 0 } }", "1:33", "must be above 0");
    one_error("routing: { breaker: { open: 0s } }", "1:29", "must be from 1ms");
    one_error("routing: { chunk_timeout: 0s }", "1:27", "must be from 1ms to 86400s");
    one_error("listen: { body_limit: 1B }", "1:23", "must be from 1024B to 1024MB");
    one_error("slo: { error_rate: 1.5 }", "1:20", "must be from 0 to 1");
    one_error("page: { interval: 1us }", "1:19", "must be from 100ms to 3600s");
    one_error("autoscale: { min: 30 }", "1:19", "more than autoscale.max");
    one_error("autoscale: { down: { cpu: 90 } }", "1:27", "not below autoscale.up.cpu");
    one_error("autoscale: { up: { queue: 5 } }", "1:27", "not below autoscale.up.queue");
    one_error("billing: { currency: Dollar }", "1:22", "three capital letters");
    one_error("billing: { currency: ABC }", "1:22", "ISO 4217");
    one_error("billing: { tax: { rate: 101 } }", "1:25", "percent, from 0 to 100");
    one_error("billing: { tax: { name: VAT } }", "1:17", "`rate` is missing here");
    one_error("billing: { seller: { address: [a] } }", "1:20", "`name` is missing here");
    one_error("billing: { seller: { name: \"\" } }", "1:28", "1 to 256 bytes");
    one_error("listen: { admin: 127.0.0.1:8080 }", "1:18", "the same address");
    one_error("listen: { proxy: 127.0.0.1:8081 }", "1:18", "the same address");
    one_error("listen: { tls: { cert: a } }", "1:16", "`key` is missing");
    one_error("store: { path: \"\" }", "1:16", "has a path");
    one_error("limits: { global: { queue_timeout: 0s } }", "1:36", "must be from 1ms to 86400s");
    one_error("limits: { global: { connections: 2000000 } }", "1:34", "from 1 to 1000000");
    one_error("limits: { global: { queue: 4000000000 } }", "1:28", "must be from 0 to 1000000");
    one_error("limits: { global: { concurrent: -1 } }", "1:33", "");
    one_error("limits: { ip: { connections: 0 } }", "1:30", "must be from 1");
    one_error("limits: { ip: { exempt: [10.0.0.0/33] } }", "1:26", "");
    one_error("listen: { trusted_proxies: [10.0.0.0.0/8] }", "1:29", "");
    one_error("listen: { header_timeout: 1h }", "1:27", "must be from 1ms to 300s");
    one_error("listen: { stall_timeout: 0s }", "1:26", "must be from 1ms to 300s");
    one_error("listen: { body_grace: -1s }", "1:23", "expected a duration");
    one_error("plans: [{ name: pro, requests_per_month: 0 }]", "1:42", "1 or more");
    one_error("plans: [{ name: pro, requests_per_minute: 0 }]", "1:43", "must be from 1");
    one_error("plans: [{ name: pro, monthly_price: -1 }]", "1:37", "not negative");
    one_error("plans: [{ name: pro, budget: 0 }]", "1:30", "a budget is more than 0");
    one_error("plans: [{ name: pro, budget: -1 }]", "1:30", "an amount");
    one_error("plans: [{ name: pro, overage: refuse }]", "1:31", "an amount");
    one_error("privacy: { master_key: short }", "1:24", "8 to 256 visible");
    one_error("privacy: { retired_keys: [\"two words\"] }", "1:27", "8 to 256 visible");
    one_error("keys: [{ account: a, plan: pro, budget: 0.0 }]", "1:41", "more than 0");
}

#[test]
fn references_must_resolve() {
    let text = "models:\n  - { name: m, targets: [{ provider: opeani }] }\n";
    one_error(text, "2:38", "no provider `opeani` is defined (did you mean `openai`?)");
    one_error("keys: [{ account: a, plan: gold }]", "1:28", "defined: free, pro, enterprise");
    one_error("plans: [{ name: pro, extends: fre }]", "1:31", "no plan `fre` is defined");
    one_error("plans: [{ name: pro, classes: [chat] }]", "1:32", "no class `chat` is defined");
    one_error("classes: [{ name: a, price: 1, feature: fast }]", "1:41", "no feature `fast`");
    one_error("opaque: { provider: x }", "1:21", "no provider `x` is defined");
    let models = "models: [{ name: m, targets: [{ provider: openai }] }]\n";
    one_error(&format!("{models}routing: {{ auto: {{ simple: n }} }}"), "2:28", "no model `n`");
    one_error(
        &format!("{models}classes: [{{ name: a, price: 1, models: [n] }}]"),
        "2:41",
        "no model `n` is defined",
    );
}

#[test]
fn what_could_not_be_read_is_not_called_undefined_besides() {
    let text = "providers: [{ name: [] }]\nmodels: [{ name: m, targets: [{ provider: p }] }]\n";
    one_error(text, "1:21", "a string");
    one_error("plans: [5]\nkeys: [{ account: a, plan: pro }]", "1:9", "expected a mapping");
}

#[test]
fn circles_of_plans_are_errors() {
    let text = "plans:
  - { name: a, extends: b }
  - { name: b, extends: c }
  - { name: c, extends: b }
  - { name: d, extends: d }
keys: []
classes: []
";
    assert_eq!(
        lines(text),
        [
            "3:25: a plan extends itself: b → c → b",
            "4:25: a plan extends itself: c → b → c",
            "5:25: a plan extends itself: d → d",
        ]
    );
}

#[test]
fn names_are_given_and_unique() {
    one_error("keys: [{ plan: pro }]", "1:8", "`account` is missing here");
    one_error("plans: [{ name: pro }, { name: pro }]", "1:32", "already defined on line 1");
    one_error("classes: [{ name: a b, price: 1 }]", "1:19", "a name is 1 to 128");
    one_error(
        "classes: [{ name: a, price: 1, prefix: /a }, { name: b, price: 1, prefix: /a }]",
        "1:75",
        "already taken on line 1",
    );
    for (one, other) in [("/a", "/a/b"), ("/a/b/c", "/a/b")] {
        one_error(
            &format!(
                "classes:\n- {{ name: a, price: 1, prefix: {one} }}\n- {{ name: b, price: 1, prefix: {other} }}"
            ),
            "3:32",
            &format!("overlaps {one} on line 2"),
        );
    }
    super::config(
        "classes: [{ name: a, price: 1, prefix: /a }, { name: b, price: 1, prefix: /ab }]",
    );
    one_error("models: [{ name: m }]", "1:10", "`targets` is missing here");
    one_error("models: [{ name: m, targets: [] }]", "1:30", "at least one target");
    one_error(
        "keys: [{ account: a, plan: pro, key: 12345678 }, { account: a, plan: free }]",
        "1:70",
        "another plan",
    );
    one_error(
        "keys: [{ account: a, plan: pro, key: 12345678 }, { account: b, plan: pro, key: 12345678 }]",
        "1:80",
        "already given",
    );
}

#[test]
fn prefixes_are_paths_before_v1() {
    for prefix in ["docs", "/", "/a/", "/a//b", "/../a", "/a?b", "/é"] {
        one_error(
            &format!("classes: [{{ name: a, price: 1, prefix: \"{prefix}\" }}]"),
            "1:40",
            "a path",
        );
    }
    for prefix in ["/v1", "/v1/a", "/a/v1"] {
        one_error(&format!("classes: [{{ name: a, price: 1, prefix: {prefix} }}]"), "1:40", "/v1");
    }
}

#[test]
fn a_base_url_is_http_with_a_host() {
    for url in [
        "api.openai.com",
        "ftp://host/v1",
        "https://",
        "https:///v1",
        "https://u:p@host/v1",
        "https://host/v1?a=b",
        "https://host:0/v1",
        "https://host:99999/v1",
        "https://ho st/v1",
        "",
    ] {
        let text = format!("providers: [{{ name: openai, base_url: \"{url}\" }}]");
        one_error(&text, "1:39", "expected a URL such as");
    }
    one_error("providers: [{ name: s, dialect: sandbox, api_key: x }]", "1:51", "a sandbox has no");
    one_error("providers: [{ name: p, latency: 1s }]", "1:33", "only a sandbox");
    let two = "providers: [{ name: s, dialect: sandbox }, { name: t, dialect: sandbox }]";
    one_error(two, "1:64", "one sandbox");
}

#[test]
fn a_price_of_tokens_has_whole_picodollars_a_token() {
    let text = "models: [{ name: m, targets: [{ provider: openai }], cost: { input: 0.0000001 } }]";
    one_error(text, "1:69", "at most six decimals");
    one_error(
        "models: [{ name: m, targets: [{ provider: openai }], cost: { output: 1 } }]",
        "1:60",
        "`input` is missing",
    );
}

#[test]
fn all_errors_of_a_file_are_reported_in_its_order() {
    let text = "listen: { prxy: 1, proxy: nowhere }
limits:
  user: { per_minute: 0, per_hour: lots }
  pi: {}
providers:
  - { dialect: openai }
  - { name: p, dialect: x, n_max: 0 }
plans:
  - { name: a, extends: zz, monthly_price: free }
log: { level: info, level: debug, format: xml }
";
    let places: Vec<_> = errors(text).iter().map(|it| (it.line, it.column)).collect();
    assert_eq!(
        places,
        [
            (1, 11),
            (1, 27),
            (3, 23),
            (3, 36),
            (4, 3),
            (6, 5),
            (7, 25),
            (7, 35),
            (9, 25),
            (9, 44),
            (10, 21),
            (10, 43),
        ],
        "{}",
        errors(text)
    );
}

#[test]
fn an_error_is_shown_as_file_line_column_message() {
    let errors = errors("limts: {}");
    assert!(errors.to_string().starts_with("conf/tollgate.yaml:1:1: unknown key `limts`"));
    let json = serde_json::to_value(&errors).expect("it is JSON");
    assert_eq!(json[0]["file"], "conf/tollgate.yaml");
    assert_eq!((&json[0]["line"], &json[0]["column"]), (&1.into(), &1.into()));
    assert!(json[0]["message"].as_str().is_some_and(|it| it.starts_with("unknown key")));
}

#[test]
fn a_webhook_has_a_url_a_secret_and_events_that_there_are() {
    let one = |entry: &str, place: &str, what: &str| {
        one_error(&format!("billing:\n  webhooks:\n  - {entry}\n"), place, what);
    };
    one("{ secret: 0123456789abcdef }", "3:5", "`url` is missing");
    one("{ url: https://a/ }", "3:5", "`secret` is missing");
    one("{ url: ftp://a/, secret: 0123456789abcdef }", "3:12", "https:// or http://");
    one("{ url: nonsense, secret: 0123456789abcdef }", "3:12", "cannot be parsed");
    one("{ url: \"https://a/#b\", secret: 0123456789abcdef }", "3:12", "no fragment");
    one("{ url: https://a/, secret: 0123456789abcde }", "3:32", "16 to 1024 characters");
    one("{ url: https://a/, secret: whsec_0123456789 }", "3:32", "16 bytes or more in base64");
    let secret = "secret: 0123456789abcdef";
    one(&format!("{{ url: https://a/, {secret}, events: [] }}"), "3:58", "leave it out");
    one(&format!("{{ url: https://a/, {secret}, events: [quota.warn] }}"), "3:59", "no such event");
    one(&format!("{{ url: https://a/, {secret}, event: [] }}"), "3:50", "did you mean `events`?");
    let twice = format!("{{ url: https://a/, {secret} }}\n  - {{ url: https://a, {secret} }}");
    one(&twice, "4:12", "already given");
}

#[test]
fn reserved_slots_leave_some_to_others() {
    let reserved = |text: &str| config(text).limits.global.reserved;
    assert_eq!(reserved("limits: { global: { concurrent: 39 } }"), 3);
    assert_eq!(reserved("limits: { global: { concurrent: 9 } }"), 0);
    assert_eq!(reserved("limits: { global: { concurrent: unlimited } }"), 0);
    assert_eq!(reserved("limits: { global: { concurrent: unlimited, reserved: 7 } }"), 7);
    assert_eq!(reserved("limits: { global: { concurrent: 2, reserved: 1 } }"), 1);
    assert_eq!(reserved("limits: { global: { concurrent: 1, reserved: 0 } }"), 0);
    let below = "must be below limits.global.concurrent, which is 2";
    one_error("limits: { global: { concurrent: 2, reserved: 2 } }", "1:46", below);
    one_error("limits: { global: { reserved: 500 } }", "1:31", "which is 500");
    one_error("limits: { global: { reserved: unlimited } }", "1:31", "some slots are for others");
    one_error("limits: { global: { reserved: -1 } }", "1:31", "found `-1`");
    one_error("limits: { global: { concurrent: 0, reserved: 1 } }", "1:33", "from 1");
}

#[test]
fn a_pool_is_shared_or_dedicated() {
    one_error("providers: [{ name: a, pool: mine }]", "1:30", "expected shared, dedicated");
    one_error("providers: [{ name: s, dialect: sandbox, pool: dedicated }]", "1:48", "no `pool`");
}
