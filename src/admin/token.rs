//! The admin token that is made at first start, where the configuration gives
//! none, and kept in the data directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::keyfile;
use crate::base::secret::Secret;

/// Where the token is kept in the data directory `dir`.
pub fn path(dir: &Path) -> PathBuf {
    dir.join("admin.token")
}

/// The token kept in the data directory `dir`; the first call makes it: 32
/// random bytes in hexadecimal behind `tg_admin_`.
///
/// # Errors
/// Those of the file system; `InvalidData` if the file holds no token.
pub fn load_or_create(dir: &Path) -> io::Result<Secret> {
    let made = || format!("tg_admin_{}", keyfile::random_hex());
    checked(dir, keyfile::load_or_create(&path(dir), made)?)
}

/// The token kept in the data directory `dir`.
///
/// # Errors
/// Those of the file system, `NotFound` among them; `InvalidData` if the file
/// holds no token.
pub fn load(dir: &Path) -> io::Result<Secret> {
    checked(dir, Secret::new(fs::read_to_string(path(dir))?.trim()))
}

fn checked(dir: &Path, token: Secret) -> io::Result<Secret> {
    let text = token.expose();
    if (8..=256).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(token);
    }
    let message = format!(
        "{} holds no token of 8 to 256 visible characters; remove it to get a new one",
        path(dir).display()
    );
    Err(io::Error::new(io::ErrorKind::InvalidData, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// Covers I4 (the admin API's own token).
    #[test]
    fn a_token_is_made_once_and_kept_for_its_owner_only() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("data");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("admin.new"), "left over").unwrap();
        let first = load_or_create(&dir).unwrap();
        assert_eq!(load_or_create(&dir).unwrap(), first);
        assert_eq!(load(&dir).unwrap(), first);
        assert_eq!(first.expose().len(), "tg_admin_".len() + 64);
        let mode = fs::metadata(path(&dir)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }

    #[test]
    fn tokens_differ_and_the_directory_is_made() {
        let root = tempfile::tempdir().unwrap();
        let (a, b) = (root.path().join("a/b"), root.path().join("c"));
        assert_ne!(load_or_create(&a).unwrap(), load_or_create(&b).unwrap());
    }

    #[test]
    fn a_file_without_a_token_is_an_error_and_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "\n", "short", "two words here"] {
            fs::write(path(dir.path()), text).unwrap();
            let error = load_or_create(dir.path()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{text:?}");
            assert_eq!(fs::read_to_string(path(dir.path())).unwrap(), text);
        }
    }
}
