//! What holds where a file says nothing, and defaults that go off.

use super::{Surroundings, config, lines, source};
use crate::base::clock::Timestamp;
use crate::base::money::Money;
use crate::config::{
    Basis, Billing, CacheScope, CacheWhen, Class, ClassCache, Durability, LogFormat, Stale, Tier,
    parse,
};
use std::time::Duration;

fn money(text: &str) -> Money {
    text.parse().expect("an amount")
}

/// The price of a request of a class that has one price.
fn price(class: &Class) -> Money {
    match class.tariff.at(Timestamp(1)).map(|pricing| &pricing.basis) {
        Some(Basis::Request(price)) => *price,
        other => panic!("{other:?}"),
    }
}

/// Covers A1, D1, F1, F2, F3.
#[test]
fn an_empty_file_means_the_contracts_figures() {
    let config = config("");
    assert_eq!(config.listen.proxy.to_string(), "127.0.0.1:8080");
    assert_eq!(config.listen.admin.to_string(), "127.0.0.1:8081");
    assert_eq!(config.listen.metrics, None);
    assert_eq!(config.listen.body_limit, 32 * 1024 * 1024);
    assert_eq!(config.listen.header_timeout, Duration::from_secs(10));
    assert_eq!(config.listen.min_body_rate, 1024);
    assert!(config.admin_token.is_empty());
    assert_eq!(config.store.path.to_str(), Some("./data"));
    assert_eq!(config.store.durability, Durability::Process);
    let plan = |index: usize| {
        let plan = &config.plans[index];
        let fee = plan.monthly_price.to_string();
        (
            &*plan.name,
            fee,
            plan.requests_per_month,
            plan.requests_per_minute,
            plan.features.as_ref().map_or(0, Vec::len),
        )
    };
    assert_eq!(plan(0), ("free", "0".into(), Some(1000), Some(5), 2));
    assert_eq!(plan(1), ("pro", "29".into(), Some(25000), Some(30), 5));
    assert_eq!(plan(2), ("enterprise", "199".into(), None, Some(100), 8));
    let billing: Vec<_> = config.plans.iter().map(|plan| plan.billing).collect();
    assert_eq!(billing, [Billing::Included, Billing::Metered, Billing::Metered]);
    let classes: Vec<_> =
        config.classes.iter().map(|it| (&*it.name, price(it).to_string(), it.cache)).collect();
    let hours = |hours| Duration::from_secs(hours * 3_600);
    let class = |name, price: &str, cache: Option<(u64, f64)>| {
        let if_error = Duration::from_secs(if name == "code_suggestions" { 600 } else { 0 });
        let cache = cache.map(|(ttl, target)| ClassCache {
            ttl: hours(ttl),
            hit_rate_target: Some(target),
            scope: CacheScope::Account,
            when: CacheWhen::Always,
            stale: Stale { if_error, while_revalidate: Duration::ZERO },
            finish: false,
        });
        (name, price.to_owned(), cache)
    };
    assert_eq!(
        classes,
        [
            class("code_suggestions", "0.02", Some((1, 0.45))),
            class("confidence_analysis", "0.03", Some((7 * 24, 0.70))),
            class("documentation", "0.01", Some((3 * 24, 0.60))),
            class("default", "0.02", None),
        ]
    );
    let user = config.limits.user;
    assert_eq!(
        (user.per_minute, user.per_hour, user.per_day, user.concurrent),
        (60, 1000, 10000, 50)
    );
    let ip = &config.limits.ip;
    assert_eq!((ip.per_minute, ip.per_hour, ip.concurrent, ip.connections), (100, 2000, 100, 256));
    assert_eq!(ip.failed_keys_per_minute, 60);
    let global = config.limits.global;
    assert_eq!((global.connections, global.requests), (10000, 2000));
    assert_eq!((global.concurrent, global.reserved, global.queue), (500, 50, 1000));
    assert_eq!(global.queue_timeout, Duration::from_secs(10));
    assert_eq!(config.routing.retries, 2);
    assert_eq!(config.routing.chunk_timeout, Duration::from_secs(30));
    assert_eq!(config.shutdown_grace, Duration::from_secs(60));
    assert_eq!((config.log.format, &*config.log.level), (LogFormat::Pretty, "info"));
    assert!(config.log_text_hash);
    assert!(config.not_in_force.is_empty());
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

/// Covers B1.
#[test]
fn prices_are_exact_per_token() {
    let config = config("");
    let mini = config.models[0].cost.expect("it has a price");
    assert_eq!(mini.input, money("0.00000015"));
    assert_eq!(mini.cached_input, money("0.000000075"));
    assert_eq!(mini.output, money("0.0000006"));
    assert_eq!(config.models[0].tier, Tier::Simple);
    assert_eq!(config.models[3].tier, Tier::Expert);
    assert_eq!(config.models[3].cost, None);
}

/// Covers J2.
#[test]
fn the_sandbox_answers_only_while_no_other_provider_is_on() {
    let alone = config("");
    let off: Vec<_> = alone.providers.iter().map(|it| it.off.as_deref()).collect();
    assert_eq!(off, [Some("no api_key"), Some("no api_key"), None]);
    assert_eq!(&*alone.sandbox().expect("it is on").name, "sandbox");
    let surroundings = Surroundings::default().with("OPENAI_API_KEY", "sk-test");
    let keyed = parse("", source(), &surroundings).expect("it is right");
    assert_eq!(keyed.providers[2].off.as_deref(), Some("another provider is on"));
    assert!(keyed.sandbox().is_none());
}

#[test]
fn a_section_or_key_without_a_value_is_left_out() {
    let written = config("limits:\nproviders:\nrouting:\n  retries:\n  timeout: ~\n");
    assert_eq!(format!("{written:?}"), format!("{:?}", config("")));
}

#[test]
fn single_keys_of_a_section_leave_the_others_at_their_defaults() {
    let config = config("limits: { user: { per_hour: 7 } }");
    assert_eq!((config.limits.user.per_minute, config.limits.user.per_hour), (60, 7));
    assert_eq!(config.limits.ip.per_minute, 100);
}

#[test]
fn a_list_replaces_the_default_list_whole_but_a_class_default_is_added() {
    let config = config("classes: [{ name: chat, price: 1 }]\nkeys: []");
    let names: Vec<_> = config.classes.iter().map(|it| (&*it.name, price(it))).collect();
    assert_eq!(names, [("chat", money("1")), ("default", money("0.02"))]);
    assert!(config.keys.is_empty());
}

#[test]
fn defaults_that_name_what_is_gone_are_off_with_a_warning() {
    let text = "providers: [{ name: local, base_url: http://127.0.0.1:8000/v1 }]
plans: [{ name: basic }]
";
    let config = config(text);
    assert!(config.models.iter().all(|model| model.targets.is_empty()));
    assert!(config.keys.is_empty());
    assert!(config.classes.iter().all(|class| class.feature.is_none()));
    let warned = config.warnings.join("\n");
    for word in ["gpt-4o-mini", "openai", "account demo", "class default", "opaque"] {
        assert!(warned.contains(word), "{word}: {warned}");
    }
}

#[test]
fn default_routes_to_models_that_are_gone_are_off_with_a_warning() {
    let config = config("models: [{ name: m, targets: [{ provider: openai }] }]");
    assert_eq!(config.warnings.len(), 1, "{:?}", config.warnings);
    assert!(config.warnings[0].contains("routing.auto"), "{:?}", config.warnings);
    let config = super::config(
        "models: [{ name: m, targets: [{ provider: openai }] }]\nrouting: { auto: null }",
    );
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn a_limit_above_the_descriptor_limit_is_a_warning() {
    let surroundings = Surroundings { open_files: Some(1024), ..Surroundings::default() };
    let config = parse("", source(), &surroundings).expect("a warning is no error");
    assert_eq!(config.warnings.len(), 1);
    assert!(config.warnings[0].contains("1024"), "{:?}", config.warnings);
    assert!(config.warnings[0].contains("limits.global.connections, limits.global.requests"));
    let surroundings = Surroundings { open_files: Some(20_000), ..Surroundings::default() };
    assert!(parse("", source(), &surroundings).expect("right").warnings.is_empty());
}

#[test]
fn a_bad_variable_of_the_defaults_is_an_error_without_its_value() {
    let surroundings = Surroundings::default().with("DEMO_KEY", "short");
    let errors = parse("", source(), &surroundings).expect_err("a key has 8 characters");
    let text = errors.to_string();
    assert!(text.contains("built-in defaults") && text.contains("`demo`"), "{text}");
    assert!(!text.contains("short"), "{text}");
    assert!(lines("keys: 5").len() == 1);
}
