//! Values from outside the file, and what errors may show. Covers I1, I4.

use std::path::Path;

use proptest::prelude::*;

use super::{Surroundings, config, errors, source};
use crate::config::parse;

#[test]
fn variables_fill_values_and_parts_of_values() {
    let surroundings = Surroundings::default()
        .with("HOST", "gpu.example")
        .with("RETRIES", "4")
        .with("EMPTY", "")
        .with("HASH", "false");
    let text = "providers: [{ name: p, base_url: \"https://${HOST}:${PORT:-8443}/v1\", api_key: \"a$$b$c\" }]
routing:
  retries: ${RETRIES}
  timeout: ${EMPTY:-7s}
privacy:
  log_text_hash: ${HASH}
opaque: { provider: p }
";
    let config = parse(text, source(), &surroundings).unwrap_or_else(|it| panic!("{it}"));
    let base = config.providers[0].base_url.as_ref().expect("a base");
    assert_eq!((&*base.host, base.port), ("gpu.example", 8443));
    assert_eq!(config.providers[0].api_key.expose(), "a$b$c");
    assert_eq!(config.routing.retries, 4);
    assert_eq!(config.routing.timeout.as_secs(), 7);
    assert!(!config.log_text_hash);
}

#[test]
fn an_unset_variable_is_an_error_with_its_name_and_place_alone() {
    let text = "routing:\n  retries: 1\n  timeout: ${NOT_SET}\n";
    super::one_error(text, "3:12", "variable NOT_SET is not set");
    super::one_error("routing:\n  timeout: ${1}\n", "2:12", "the name of a variable");
    super::one_error("routing:\n  timeout: \"${X\"\n", "2:12", "without its `}`");
}

#[test]
fn a_variable_cannot_add_yaml() {
    let evil = "x, plan: enterprise }]\nlog:\n  level: trace\nkeys: [{ account: y";
    let surroundings = Surroundings::default().with("EVIL", evil);
    let text = "economics:\n  targets:\n    margin: ${EVIL}\nlog: { level: info }\nkeys: []\n";
    let config = parse(text, source(), &surroundings).unwrap_or_else(|it| panic!("{it}"));
    assert_eq!(config.log.level, "info");
    assert!(config.keys.is_empty());
    // What it says is a name to the keys that want one, and a bad one.
    let text = "keys:\n  - account: ${EVIL}\n    plan: pro\n";
    let errors = parse(text, source(), &surroundings).expect_err("it is no name");
    assert_eq!(errors.iter().count(), 1, "{errors}");
    assert!(!errors.to_string().contains("enterprise"), "{errors}");
    // `file:` from a variable is just text, and so is `${…}`.
    for value in ["file:/etc/hostname", "${HOME}"] {
        let surroundings = Surroundings::default().with("KEY", value);
        let text = "admin: { token: \"${KEY}${PAD:-........}\" }";
        let config = parse(text, source(), &surroundings).unwrap_or_else(|it| panic!("{it}"));
        assert_eq!(config.admin_token.expose(), format!("{value}........"));
    }
}

#[test]
fn secrets_come_from_files_and_credentials() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("key"), "key-from-file\n").expect("written");
    std::fs::write(path("token"), "token-of-systemd").expect("written");
    std::fs::write(path("two"), "two\nlines\n\n").expect("written");
    let surroundings = Surroundings::default()
        .with("CREDENTIALS_DIRECTORY", directory.path().to_str().expect("UTF-8"))
        .with("NAME", "key");
    let text = "providers: [{ name: openai, api_key: \"file:${NAME}\" }]
admin: { token: credential:token }
classes: [{ name: a, price: 1, template: file:two }]
";
    let source = path("tollgate.yaml");
    let config = parse(text, &source, &surroundings).unwrap_or_else(|it| panic!("{it}"));
    assert_eq!(config.providers[0].api_key.expose(), "key-from-file");
    assert_eq!(config.admin_token.expose(), "token-of-systemd");
    let wrong =
        "admin: { token: file:none }\nkeys: [{ account: a, plan: pro, key: credential:../key }]";
    let errors = parse(wrong, &source, &surroundings).expect_err("neither is there");
    let places: Vec<_> = errors.iter().map(|it| (it.line, it.column)).collect();
    assert_eq!(places, [(1, 17), (2, 38)], "{errors}");
    assert!(errors.to_string().contains("`file:none`: cannot read it"), "{errors}");
    // Two line breaks: only the last is cut, and a key holds none.
    let wrong = "providers: [{ name: openai, api_key: file:two }]";
    let errors = parse(wrong, &source, &surroundings).expect_err("no key");
    assert!(errors.to_string().contains("line breaks"), "{errors}");
    super::one_error("admin: { token: credential:x }", "1:17", "CREDENTIALS_DIRECTORY is not set");
}

#[test]
fn no_error_shows_a_secret() {
    let text = "listen: { tls: { key: { hunter2: 1 } } }
admin: { token: hunter2 }
store: { redis: hunter2, postgres: hunter2@host }
providers:
  - { name: a, api_key: \"hunter2 hunter2\", base_url: \"https://u:hunter2@host\" }
  - { name: b, api_key: [hunter2], base_url: hunter2 }
keys:
  - { account: x, plan: pro, key: hunter2 }
  - { account: y, plan: pro, key: \"hunter2\\thunter2\" }
privacy: { master_key: [hunter2], retired_keys: hunter2 }
billing: { stripe: hunter2, webhooks: hunter2 }
";
    let errors = errors(text);
    assert!(errors.iter().count() >= 12, "{errors}");
    assert!(!errors.to_string().contains("hunter2"), "{errors}");
}

#[test]
fn no_error_shows_what_came_from_outside() {
    let surroundings = Surroundings::default().with("S", "hunter2");
    let text = "listen:\n  proxy: ${S}\n  body_limit: ${S}
routing:\n  retries: ${S}\n  timeout: ${S}
log:\n  level: ${S}\n  format: ${S}
providers:\n  - name: a\n    dialect: ${S}\n    base_url: ${S}\n    stream_usage: ${S}
models:\n  - { name: m, targets: [{ provider: \"${S}\" }] }
plans:\n  - { name: p, extends: \"${S}\" }\n  - { name: \"${S}\" }\n  - { name: \"${S}\" }
classes:\n  - { name: a, price: \"${S}\", prefix: \"${S}\" }
keys:\n  - { account: \"${S}\", plan: nope, key: \"${S}\" }
limits: ${S}
";
    let errors = parse(text, source(), &surroundings).expect_err("nearly all of it is wrong");
    assert!(errors.iter().count() >= 14, "{errors}");
    for error in &errors {
        // A defined name is a name: other errors may list it.
        let (before, _) = error.message.split_once("; defined: ").unwrap_or((&error.message, ""));
        assert!(!before.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_config_shows_no_secret_when_debugged() {
    let text =
        "admin: { token: hunter2-token }\nkeys: [{ account: a, plan: pro, key: hunter2-key }]
providers: [{ name: openai, api_key: hunter2-sk }]";
    assert!(!format!("{:?}", config(text)).contains("hunter2"));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let _ignored = parse(&text, Path::new("x.yaml"), &Surroundings::default());
    }

    #[test]
    fn no_yaml_like_text_makes_it_panic(
        text in "([a-z]{1,3}|listen|providers|plans|name|extends|[ \n:,&*!?|>%@#\"'$\\-\\[\\]{}]| {2}|\n  |: |- ){0,60}",
    ) {
        let _ignored = parse(&text, Path::new("x.yaml"), &Surroundings::default());
    }
}
