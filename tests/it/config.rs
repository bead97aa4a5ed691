//! The configuration through the command: what ships is right, what is wrong is
//! named with its place. Covers J3.

use std::path::Path;

use tempfile::TempDir;

use crate::harness::binary::{finish, run, text, tollgate};
use crate::harness::tls::Authority;

/// `tollgate check` on this text: its exit code and what it said.
async fn check(yaml: &str) -> (Option<i32>, String) {
    let home = TempDir::new().unwrap();
    let file = home.path().join("t.yaml");
    std::fs::write(&file, yaml).unwrap();
    let mut command = tollgate();
    command.args(["check", "-c", "t.yaml"]).current_dir(home.path());
    let output = finish(command).await;
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

#[tokio::test]
async fn every_shipped_configuration_is_right() {
    let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    let quick_start = conf.join("tollgate.yaml");
    let output = run(&["check", "-c", &quick_start.display().to_string()]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[tokio::test]
async fn an_empty_file_is_a_configuration() {
    let (code, said) = check("").await;
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test]
async fn every_error_is_named_with_its_place() {
    let yaml = "listen:
  proxi: 127.0.0.1:0
plans:
  - { name: free, requests_per_minute: many }
classes:
  - { name: default, price: 0.02, feature: no_such_feature_anywhere }
  - { name: default, price: 0.01 }
";
    let (code, said) = check(yaml).await;
    assert_eq!(code, Some(2), "{said}");
    for place in ["t.yaml:2:3", "t.yaml:4:40", "t.yaml:7:"] {
        assert!(said.contains(place), "{place} is missing in\n{said}");
    }
    assert!(said.contains("proxy"), "no suggestion in\n{said}");
}

#[tokio::test]
async fn the_files_of_tls_are_looked_at() {
    let home = TempDir::new().unwrap();
    let authority = Authority::new();
    let (one, other) = (authority.issue(), authority.issue());
    let file = |name: &str, text: &str| std::fs::write(home.path().join(name), text).unwrap();
    file("cert", &one.cert);
    file("key", &one.key);
    file("other", &other.key);
    file("none", "nothing");
    let checked = async |cert: &str, key: &str| {
        let yaml = format!("listen:\n  tls:\n    cert: {cert}\n    key: {key}\n");
        file("t.yaml", &yaml);
        let mut command = tollgate();
        command.args(["check", "-c", "t.yaml"]).current_dir(home.path());
        let output = finish(command).await;
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    let (code, said) = checked("cert", "key").await;
    assert_eq!(code, Some(0), "{said}");
    for (cert, key, place) in [
        ("missing", "key", "t.yaml:3:11: cannot read missing"),
        ("cert", "missing", "t.yaml:4:10: cannot read missing"),
        ("none", "key", "t.yaml:3:11: none has no certificate"),
        ("cert", "none", "t.yaml:4:10: none has no private key"),
        ("cert", "other", "t.yaml:4:10: cert and other are no usable pair"),
    ] {
        let (code, said) = checked(cert, key).await;
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(place) && !said.contains("BEGIN"), "{place} is missing in {said}");
    }
}

#[tokio::test]
async fn a_secret_is_never_quoted() {
    let secret = "sk-must-not-be-shown";
    let yaml = format!(
        "providers: [{{ name: p, dialect: openai, base_url: 'ftp://x', api_key: [{secret}] }}]
admin: {{ token: {{ a: {secret} }} }}
keys: [{{ account: a, plan: nope, key: {secret}\u{e9} }}]\n"
    );
    let (code, said) = check(&yaml).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(!said.contains("must-not-be-shown"), "{said}");
}

#[tokio::test]
async fn a_missing_variable_is_named_and_a_default_used() {
    let (code, said) = check("admin: { token: '${NO_SUCH_VARIABLE_HERE}' }\n").await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("NO_SUCH_VARIABLE_HERE") && said.contains("t.yaml:1:"), "{said}");
    let (code, said) = check("admin: { token: '${NO_SUCH_VARIABLE_HERE:-}' }\n").await;
    assert_eq!(code, Some(0), "{said}");
}
