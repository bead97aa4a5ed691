//! The units and the configuration made for them, as far as they can be judged
//! without systemd running. Covers J4 but for the upgrade.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::harness::binary::{finish, text, tollgate};

/// Worst score allowed, in tenths: hardened units have 1.0 to 1.4, Debian's
/// nginx 9.6 (lower is better).
const THRESHOLD: u32 = 15;
const UNITS: [&str; 2] = ["tollgate.service", "tollgate@.service"];
const EXECUTABLE: &str = "/usr/bin/tollgate";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn unit(name: &str) -> String {
    std::fs::read_to_string(root().join("systemd").join(name)).unwrap()
}

fn production() -> String {
    std::fs::read_to_string(root().join("conf/production.yaml")).unwrap()
}

/// The value of a directive that is there once.
#[track_caller]
fn directive<'a>(unit: &'a str, name: &str) -> &'a str {
    let values: Vec<&str> =
        unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect();
    assert_eq!(values.len(), 1, "{name}: {values:?}");
    values[0]
}

/// What follows `key` in a line of the configuration.
#[track_caller]
fn setting<'a>(yaml: &'a str, key: &str) -> &'a str {
    let value = |line: &'a str| line.trim().strip_prefix(key)?.split_whitespace().next();
    yaml.lines().find_map(value).unwrap_or_else(|| panic!("no {key}"))
}

/// The names of the credentials that the configuration asks for.
fn credentials(yaml: &str) -> Vec<&str> {
    let code = yaml.lines().filter(|line| !line.trim_start().starts_with('#'));
    code.filter_map(|line| line.split_once("credential:")?.1.split_whitespace().next()).collect()
}

/// Runs `systemd-analyze` with these arguments; its exit code and all it said.
async fn analyze(arguments: &[&str]) -> (Option<i32>, String) {
    let path = "/usr/bin/systemd-analyze";
    assert!(Path::new(path).exists(), "systemd-analyze is missing: run `make setup`");
    let mut command = Command::new(path);
    command.args(arguments).env("SYSTEMD_COLORS", "0");
    let output = finish(command).await;
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

#[tokio::test]
async fn the_units_are_hardened() {
    for name in UNITS {
        let path = root().join("systemd").join(name).display().to_string();
        let threshold = format!("--threshold={THRESHOLD}");
        let (code, said) = analyze(&["security", "--offline=true", &threshold, &path]).await;
        assert_eq!(code, Some(0), "{name}\n{said}");
    }
}

#[tokio::test]
async fn systemd_has_nothing_to_say_about_the_units() {
    // `verify` wants the executable to exist and the template to be filled in.
    for (name, installed) in
        [("tollgate.service", "tollgate.service"), ("tollgate@.service", "tollgate@a.service")]
    {
        let home = TempDir::new().unwrap();
        let text = unit(name);
        assert!(text.contains(&format!("ExecStart={EXECUTABLE} ")), "{text}");
        let path: PathBuf = home.path().join(installed);
        std::fs::write(&path, text.replace(EXECUTABLE, env!("CARGO_BIN_EXE_tollgate"))).unwrap();
        let (code, said) = analyze(&["verify", "--man=no", &path.display().to_string()]).await;
        // An unknown key is a warning and exit code 0.
        assert_eq!((code, said.as_str()), (Some(0), ""), "{name}");
    }
}

#[test]
fn both_units_are_alike() {
    let alike = |name: &str, to: [&str; 2]| {
        let text = unit(name).replace("tollgate-%i", "tollgate").replace(to[0], to[1]);
        let lines = text.lines().map(str::to_owned);
        lines.filter(|line| !line.starts_with(['#', 'D'])).collect::<Vec<_>>()
    };
    assert_eq!(alike(UNITS[0], ["", ""]), alike(UNITS[1], ["%i.yaml", "tollgate.yaml"]));
}

#[test]
fn the_units_fit_the_configuration() {
    let yaml = production();
    for name in UNITS {
        let unit = unit(name);
        let stop: u64 = directive(&unit, "TimeoutStopSec").parse().unwrap();
        let grace: u64 = setting(&yaml, "grace:").trim_end_matches('s').parse().unwrap();
        assert!(stop > grace, "{name}: {stop} s is not above shutdown.grace, {grace} s");
        for credential in credentials(&yaml) {
            let line = format!("#LoadCredential={credential}:/etc/tollgate/{credential}\n");
            assert!(unit.contains(&line), "{name} has no example for {credential}");
        }
        let descriptors: u64 = directive(&unit, "LimitNOFILE").parse().unwrap();
        assert!(descriptors > 10_000 + 2 * 2_000, "{name}: one a connection, two a request");
    }
    let state = directive(&unit(UNITS[0]), "StateDirectory").to_owned();
    assert_eq!(setting(&yaml, "path:"), format!("/var/lib/{state}"));
}

#[tokio::test]
async fn the_production_configuration_is_right_with_its_credentials() {
    let home = TempDir::new().unwrap();
    let yaml = production();
    let names = credentials(&yaml);
    assert!(names.len() > 2, "{names:?}");
    for name in &names {
        std::fs::write(home.path().join(name), format!("secret-{name}\n")).unwrap();
    }
    let check = async |directory: &Path| {
        let mut command = tollgate();
        command
            .args(["check", "-c", "conf/production.yaml"])
            .current_dir(root())
            .env("CREDENTIALS_DIRECTORY", directory);
        let output = finish(command).await;
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    let (code, said) = check(home.path()).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.ends_with("conf/production.yaml: ok\n"), "{said}");
    assert!(!said.contains("warning") && !said.contains("is off"), "{said}");
    assert!(!said.contains("secret-"), "{said}");

    // A credential that is not there is an error with its place.
    std::fs::remove_file(home.path().join(names[0])).unwrap();
    let (code, said) = check(home.path()).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("production.yaml:") && said.contains(names[0]), "{said}");
}
