//! `tollgate --version`.

use super::out::{Failure, Out};

/// Prints the version, for people or as JSON.
pub(super) fn print(json: bool, out: &mut Out) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    if !json {
        return out.line(&format!("tollgate {version}"));
    }
    let about = serde_json::json!({
        "name": "tollgate",
        "version": version,
        // Known where the build was told.
        "commit": option_env!("TOLLGATE_COMMIT"),
        "profile": if cfg!(debug_assertions) { "debug" } else { "release" },
        "target": format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
    });
    out.line(&about.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::out::tests::Written;
    use super::*;

    #[test]
    fn the_version_is_that_of_the_crate() {
        let written = Written::default();
        let mut out = written.out();
        print(false, &mut out).unwrap();
        print(true, &mut out).unwrap();
        out.flush().unwrap();
        let text = written.text();
        let (plain, json) = text.split_once('\n').unwrap();
        assert_eq!(plain, concat!("tollgate ", env!("CARGO_PKG_VERSION")));
        let json: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    }
}
