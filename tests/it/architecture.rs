//! The source keeps the shape that `docs/ARCHITECTURE.md` draws.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What the request path is made of; a stage imports no other stage.
const STAGES: [&str; 15] = [
    "connection",
    "auth",
    "admission",
    "intake",
    "class",
    "route",
    "idempotency",
    "cache",
    "share",
    "dialect",
    "upstream",
    "opaque",
    "sandbox",
    "meter",
    "ledger",
];
/// What a request never meets; the data plane does not know of it.
const CONTROL: [&str; 9] = [
    "accounts",
    "admin",
    "billing",
    "dashboard",
    "autoscale",
    "cli",
    "banner",
    "http_client",
    "webhooks",
];
/// What every stage may import.
const SHARED: [&str; 8] =
    ["base", "config", "exchange", "notice", "refusal", "store", "telemetry", "vault"];
/// Who may name Pingora.
const ON_PINGORA: [&str; 4] = ["server", "gateway", "connection", "upstream"];
/// The words of one stage that every stage may use: a record is what they all
/// fill, and the built-in provider counts tokens as the meter does.
const VOCABULARY: [&str; 2] = ["crate::ledger::record", "crate::meter::estimate"];

struct Source {
    /// The module under `src`, such as `ledger`; its tests are left out.
    module: String,
    path: PathBuf,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|given| given == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<Source> {
    let source = root().join("src");
    let is_test = |path: &PathBuf| {
        let inside = path.strip_prefix(&source).unwrap();
        inside.iter().any(|part| part == "tests" || part == "tests.rs")
    };
    files(&source, "rs")
        .into_iter()
        .filter(|path| !is_test(path))
        .map(|path| {
            let inside = path.strip_prefix(&source).unwrap();
            let first = inside.iter().next().unwrap().to_string_lossy();
            let module = first.trim_end_matches(".rs").to_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            Source { module, path: inside.to_owned(), text }
        })
        .collect()
}

/// The paths below `crate` that a file names outside its comments and its tests.
fn imports(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let mut found = Vec::new();
    for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for (at, _) in line.match_indices("crate::") {
            let rest = line.get(at..).unwrap_or_default();
            if let Some(list) = rest.strip_prefix("crate::{") {
                let names = list.split('}').next().unwrap_or_default();
                found.extend(names.split(',').map(|name| format!("crate::{}", name.trim())));
                continue;
            }
            let end = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':');
            found.push(rest.split(end).next().unwrap_or_default().trim_end_matches(':').to_owned());
        }
    }
    found
}

fn module_of(import: &str) -> &str {
    import.trim_start_matches("crate::").split(':').next().unwrap_or_default()
}

fn within(import: &str, path: &str) -> bool {
    import == path || import.starts_with(&format!("{path}::"))
}

/// Fails with every import of `whose` modules that is `forbidden`.
#[track_caller]
fn no_import(whose: impl Fn(&str) -> bool, forbidden: impl Fn(&str, &str) -> bool) {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| whose(&source.module)) {
        for import in imports(&source.text) {
            if forbidden(&source.module, &import) {
                found.push(format!("src/{}: {import}", source.path.display()));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_stage_imports_no_other_stage() {
    no_import(
        |module| STAGES.contains(&module),
        |module, import| {
            module_of(import) != module
                && !SHARED.contains(&module_of(import))
                && !VOCABULARY.iter().any(|path| within(import, path))
        },
    );
}

#[test]
fn what_is_shared_imports_no_stage() {
    no_import(
        |module| SHARED.contains(&module),
        |_, import| {
            !SHARED.contains(&module_of(import))
                && !VOCABULARY.iter().any(|path| within(import, path))
        },
    );
}

#[test]
fn the_base_imports_nothing_of_tollgates() {
    no_import(|module| module == "base", |_, import| module_of(import) != "base");
}

#[test]
fn the_data_plane_knows_nothing_of_the_control_plane() {
    let above = ["app", "main", "lib", "server"];
    no_import(
        |module| !CONTROL.contains(&module) && !above.contains(&module),
        |_, import| CONTROL.contains(&module_of(import)),
    );
}

#[test]
fn pingora_is_named_by_few() {
    for source in sources() {
        let code = source.text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let named = code
            .clone()
            .any(|line| line.contains("pingora_core::") || line.contains("pingora_http::"));
        let allowed = ON_PINGORA.contains(&source.module.as_str());
        assert!(!named || allowed, "src/{} names pingora", source.path.display());
    }
}

#[test]
fn reqwest_stays_off_the_request_path() {
    for source in sources() {
        let named = source.text.lines().any(|line| line.contains("reqwest::"));
        let allowed = CONTROL.contains(&source.module.as_str());
        assert!(!named || allowed, "src/{} names reqwest", source.path.display());
    }
}

#[test]
fn the_map_names_files_that_exist_and_every_module() {
    let map = std::fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let inside: Vec<&str> = map.split('`').skip(1).step_by(2).collect();
    let mut named = BTreeSet::new();
    for word in inside {
        let path = word.trim_start_matches("src/");
        let is_path = path.ends_with(".rs") || path.ends_with('/');
        if !is_path || path.contains(['*', ' ', '<', '{']) || path.starts_with('/') {
            continue;
        }
        let exists = root().join("src").join(path).exists() || root().join(word).exists();
        assert!(exists, "docs/ARCHITECTURE.md names {word}, which does not exist");
        named.insert(path.split(['/', '.']).next().unwrap_or_default().to_owned());
    }
    let unnamed: BTreeSet<String> = sources()
        .into_iter()
        .map(|source| source.module)
        .filter(|module| !named.contains(module) && module != "main" && module != "lib")
        .collect();
    assert!(unnamed.is_empty(), "docs/ARCHITECTURE.md does not name {unnamed:?}");
}

#[test]
fn no_file_is_too_long() {
    for source in sources() {
        let lines = source.text.lines().count();
        assert!(lines <= 450, "src/{}: {lines} lines", source.path.display());
    }
}

#[test]
fn the_product_speaks_of_itself_alone() {
    let leaks = ["/work/", "/root/", "/home/", "issue #", "TODO", "FIXME", "localhost:9"];
    let mut texts: Vec<PathBuf> = files(&root().join("src"), "rs");
    texts.extend(files(&root().join("docs"), "md"));
    texts.extend(files(&root().join("conf"), "yaml"));
    for path in texts {
        let text = std::fs::read_to_string(&path).unwrap();
        for leak in leaks {
            assert!(!text.contains(leak), "{} has {leak:?}", path.display());
        }
    }
}
