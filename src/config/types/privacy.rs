//! The keys of what is kept.

use crate::base::secret::Key;

/// What wraps the keys of accounts and classes (`privacy.master_key`,
/// `privacy.retired_keys`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MasterKeys {
    /// The one in force; `None` is one that the data directory holds.
    pub current: Option<Key>,
    /// Earlier ones, for reading.
    pub retired: Vec<Key>,
}
