//! TLS towards clients: the handshake, and a certificate that can be replaced
//! while connections live.
//!
//! The handshake is made here and not in Pingora's listener, whose time-out is
//! fixed at 60 s and which panics on a bad certificate; so a connection counts
//! before it costs a handshake.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::BytesMut;
use parking_lot::Mutex;
use pingora_core::listeners::tls::Acceptor;
use pingora_core::protocols::Stream;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::layered::Layered;
use crate::config::TlsFiles;

/// Largest certificate or key file, in bytes.
const LARGEST_FILE: u64 = 1024 * 1024;
/// The protocols offered, the preferred one first (RFC 7301).
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why a certificate cannot be used. The messages name files, never contents.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The file has no certificate in PEM form.
    #[error("{} has no certificate in PEM form", .0.display())]
    NoCertificate(PathBuf),
    /// The file has no private key in PEM form.
    #[error("{} has no private key in PEM form", .0.display())]
    NoKey(PathBuf),
    /// The two do not fit, or are of a kind that is not supported.
    #[error("{} and {} are no usable pair: {error}", cert.display(), key.display())]
    Unusable {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong with them.
        error: rustls::Error,
    },
    /// TLS itself cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

impl CertificateError {
    /// Line and column of what is at fault in the configuration that names
    /// `files`.
    pub fn place(&self, files: &TlsFiles) -> (usize, usize) {
        match self {
            Self::Unreadable { path, .. } if *path == files.cert => files.cert_at,
            Self::NoCertificate(_) | Self::Setup(_) => files.cert_at,
            Self::Unreadable { .. } | Self::NoKey(_) | Self::Unusable { .. } => files.key_at,
        }
    }
}

/// The certificate that new connections get.
#[derive(Debug)]
pub struct Certificate {
    current: ArcSwap<CertifiedKey>,
    /// The hash of what the files held when they were last looked at, good or
    /// not.
    seen: Mutex<blake3::Hash>,
}

impl Certificate {
    /// The certificate in `files`.
    ///
    /// # Errors
    /// [`CertificateError`] if it cannot be used.
    pub fn load(files: &TlsFiles) -> Result<Arc<Self>, CertificateError> {
        let texts = Texts::read(files)?;
        let seen = Mutex::new(texts.hash());
        Ok(Arc::new(Self { current: ArcSwap::from_pointee(texts.pair(files)?), seen }))
    }

    /// Looks whether `files` have changed since, and takes what they hold now
    /// if it is good; true if so. A bad change is reported once. Blocks on the
    /// disk.
    ///
    /// # Errors
    /// [`CertificateError`]; the certificate in force stays.
    pub fn refresh(&self, files: &TlsFiles) -> Result<bool, CertificateError> {
        let mut seen = self.seen.lock();
        let texts = match Texts::read(files) {
            Ok(texts) => texts,
            Err(error) => {
                let hash = blake3::hash(error.to_string().as_bytes());
                let known = std::mem::replace(&mut *seen, hash) == hash;
                return if known { Ok(false) } else { Err(error) };
            }
        };
        let hash = texts.hash();
        if std::mem::replace(&mut *seen, hash) == hash {
            return Ok(false);
        }
        self.current.store(Arc::new(texts.pair(files)?));
        Ok(true)
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

/// The two files as they are on the disk.
struct Texts {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Texts {
    fn read(files: &TlsFiles) -> Result<Self, CertificateError> {
        Ok(Self { cert: read(&files.cert)?, key: read(&files.key)? })
    }

    fn hash(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.cert.len().to_le_bytes()).update(&self.cert).update(&self.key);
        hasher.finalize()
    }

    fn pair(&self, files: &TlsFiles) -> Result<CertifiedKey, CertificateError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.cert).collect();
        let chain = chain
            .ok()
            .filter(|chain| !chain.is_empty())
            .ok_or_else(|| CertificateError::NoCertificate(files.cert.clone()))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|_| CertificateError::NoKey(files.key.clone()))?;
        CertifiedKey::from_der(chain, key, &provider()).map_err(|error| {
            CertificateError::Unusable { cert: files.cert.clone(), key: files.key.clone(), error }
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let read = || {
        if fs::metadata(path)?.len() > LARGEST_FILE {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MB"));
        }
        fs::read(path)
    };
    read().map_err(|error| CertificateError::Unreadable { path: path.to_owned(), error })
}

fn provider() -> CryptoProvider {
    ring::default_provider()
}

/// TLS 1.2 and 1.3 with a [`Certificate`], HTTP/2 preferred.
pub struct Tls {
    acceptor: Acceptor,
}

impl Tls {
    /// TLS with `certificate`, whichever it is when a connection comes.
    ///
    /// # Errors
    /// [`CertificateError::Setup`] if the system has no randomness.
    pub fn new(certificate: Arc<Certificate>) -> Result<Self, CertificateError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(certificate);
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
        config.ticketer = ring::Ticketer::new()?;
        Ok(Self { acceptor: Acceptor::from_server_config(Arc::new(config)) })
    }

    /// Makes the handshake; `None` if it fails or takes longer than `patience`.
    pub(super) async fn accept(&self, stream: Stream, patience: Duration) -> Option<Stream> {
        let layered = Layered::new(stream, BytesMut::new());
        let handshake = self.acceptor.tls_handshake(layered);
        let secured = tokio::time::timeout(patience, handshake).await.ok()?;
        Some(Box::new(secured.ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate and its key in `home`, and the texts of both.
    fn made(home: &Path) -> (TlsFiles, String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let files = TlsFiles {
            cert: home.join("cert"),
            key: home.join("key"),
            cert_at: (1, 1),
            key_at: (1, 1),
        };
        fs::write(&files.cert, &cert).unwrap();
        fs::write(&files.key, &key).unwrap();
        (files, cert, key)
    }

    #[test]
    fn a_change_is_taken_once_and_a_bad_one_reported_once() {
        let home = tempfile::tempdir().unwrap();
        let (files, cert, key) = made(home.path());
        let certificate = Certificate::load(&files).unwrap();
        let first = certificate.current.load_full();
        assert!(!certificate.refresh(&files).unwrap(), "nothing has changed");

        let (_, other, _) = made(home.path());
        fs::write(&files.key, &key).unwrap();
        let error = certificate.refresh(&files).expect_err("the two do not fit").to_string();
        assert!(error.contains("no usable pair") && !error.contains("BEGIN"), "{error}");
        assert!(!certificate.refresh(&files).unwrap(), "reported already");
        fs::remove_file(&files.key).unwrap();
        certificate.refresh(&files).expect_err("there is no key");
        assert!(!certificate.refresh(&files).unwrap(), "reported already");
        fs::write(&files.key, vec![b'x'; 1024 * 1024 + 1]).unwrap();
        certificate.refresh(&files).expect_err("too large to be a key");
        assert_eq!(certificate.current.load().cert, first.cert);
        assert_ne!(other, cert);

        made(home.path());
        assert!(certificate.refresh(&files).unwrap());
        assert_ne!(certificate.current.load().cert, first.cert);
    }

    #[tokio::test(start_paused = true)]
    async fn a_handshake_that_does_not_come_is_given_up() {
        let home = tempfile::tempdir().unwrap();
        let certificate = Certificate::load(&made(home.path()).0).unwrap();
        let tls = Tls::new(certificate).unwrap();
        let (ours, _theirs) = tokio::io::duplex(64);
        let begun = tokio::time::Instant::now();
        assert!(tls.accept(Box::new(ours), Duration::from_secs(10)).await.is_none());
        assert_eq!(begun.elapsed().as_secs(), 10);
    }
}
