//! The authorities that may vouch for providers.
//!
//! Pingora's connector loads the system's, or those of `SSL_CERT_FILE` where it
//! is set. A file that is not there would leave every provider unreachable
//! without a word, and one that is malformed would be a panic; so it is looked
//! at first.

use std::env;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Why the authorities of `SSL_CERT_FILE` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// It cannot be read as a list of certificates.
    #[error("SSL_CERT_FILE: cannot read certificates in PEM form from {}", .0.display())]
    Unreadable(PathBuf),
    /// It has none.
    #[error("SSL_CERT_FILE: {} has no certificate", .0.display())]
    Empty(PathBuf),
    /// One of them cannot vouch for anybody.
    #[error("SSL_CERT_FILE: certificate {number} of {} is not usable", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Which one, from 1.
        number: usize,
    },
}

/// Checks the file that `SSL_CERT_FILE` names, if it is set.
///
/// # Errors
/// [`RootsError`] if the file cannot be used.
pub fn check() -> Result<(), RootsError> {
    env::var_os("SSL_CERT_FILE").map_or(Ok(()), |path| check_file(Path::new(&path)))
}

fn check_file(path: &Path) -> Result<(), RootsError> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|_| RootsError::Unreadable(path.to_owned()))?;
    if certificates.is_empty() {
        return Err(RootsError::Empty(path.to_owned()));
    }
    let mut store = RootCertStore::empty();
    for (place, certificate) in certificates.into_iter().enumerate() {
        store
            .add(certificate)
            .map_err(|_| RootsError::Unusable { path: path.to_owned(), number: place + 1 })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_authorities_is_usable_or_named() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("roots.pem");
        assert!(matches!(check_file(&path), Err(RootsError::Unreadable(_))));
        std::fs::write(&path, "").unwrap();
        assert!(matches!(check_file(&path), Err(RootsError::Empty(_))));
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&path, made.cert.pem()).unwrap();
        assert!(check_file(&path).is_ok());
        let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(&path, made.cert.pem() + bad).unwrap();
        assert!(matches!(check_file(&path), Err(RootsError::Unusable { number: 2, .. })));
    }
}
