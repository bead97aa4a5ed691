//! What the configuration says of endpoints that Tollgate does not understand.

use std::sync::Arc;

use crate::base::money::Money;
use crate::config::Provider;

/// Endpoints that Tollgate does not understand.
#[derive(Clone, Debug)]
pub struct Opaque {
    /// The provider that answers them, which may be off; `None` where the
    /// default is not among the providers.
    pub provider: Option<Arc<Provider>>,
    /// Whether what an account made is kept from others.
    pub ownership: Ownership,
    /// Whether paths that are not known at all are served.
    pub allow_unknown: bool,
    /// Price of one request.
    pub price: Money,
}

/// Whether what an account made at a provider is kept from other accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// Others get a 404.
    Enforce,
    /// Nothing is checked: for a single tenant.
    Off,
}
