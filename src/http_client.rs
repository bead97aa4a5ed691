//! Clients for HTTP calls that no customer waits for: the commands' to the admin
//! API, and those that tell others of events.
//!
//! None follows redirects and none takes a proxy from the environment: what is
//! called is what the operator has written, and nothing on the way sees the
//! secrets of a call.

use std::sync::Arc;

use reqwest::{Client, ClientBuilder, redirect};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

/// A client that speaks to servers which the system's authorities vouch for, or
/// those of `SSL_CERT_FILE` where it is set, as towards providers. Reads them
/// from the disk.
///
/// # Errors
/// If there is no client to be had on this machine.
pub fn public() -> Result<ClientBuilder, rustls::Error> {
    let mut roots = RootCertStore::empty();
    match rustls_native_certs::load_native_certs() {
        Ok(certificates) => {
            let (_, unusable) = roots.add_parsable_certificates(certificates);
            if unusable > 0 {
                tracing::debug!(unusable, "some of the system's authorities cannot be used");
            }
        }
        Err(error) => tracing::warn!(%error, "the system's authorities cannot be read"),
    }
    builder(roots)
}

/// A client for plain HTTP alone, which trusts nobody's certificate.
///
/// # Errors
/// If there is no client to be had on this machine.
pub fn plain() -> Result<ClientBuilder, rustls::Error> {
    builder(RootCertStore::empty())
}

fn builder(roots: RootCertStore) -> Result<ClientBuilder, rustls::Error> {
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(redirect::Policy::none());
    Ok(builder)
}
