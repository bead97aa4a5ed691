//! Small secret files of the data directory, made at first start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::base::secret::Secret;

/// The text kept in `path`; the first call makes it with `make`.
///
/// The file is readable by its owner only, and appears whole or not at all. The
/// caller holds the lock of the data directory: two processes must not both be
/// first.
///
/// # Errors
/// Those of the file system.
pub fn load_or_create(path: &Path, make: impl FnOnce() -> String) -> io::Result<Secret> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Secret::new(text.trim())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(path, &make()),
        Err(error) => Err(error),
    }
}

fn create(path: &Path, text: &str) -> io::Result<Secret> {
    replace(path, format!("{text}\n").as_bytes())?;
    Ok(Secret::new(text))
}

/// Makes `bytes` the content of `path`, whatever it was, for its owner only. It
/// holds the old content or the new one at every moment, and the new one outlives
/// a loss of power once this returns.
///
/// # Errors
/// Those of the file system.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let unfinished = path.with_extension("new");
    // A leftover of a crash may have any permissions: the file is made anew.
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    File::open(directory)?.sync_all()
}

/// 32 random bytes from the system's generator, in hexadecimal.
pub fn random_hex() -> String {
    blake3::Hash::from_bytes(rand::random()).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_secret_is_made_once_and_for_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/secret.key");
        let made = load_or_create(&path, random_hex).unwrap();
        assert_eq!(made.expose().len(), 64);
        assert_eq!(load_or_create(&path, random_hex).unwrap(), made);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
