//! Whose each thing is that a provider made: its identifier → the account.
//!
//! An identifier belongs to the account that it was first noted for; a later
//! note for another account changes nothing.

use std::sync::Arc;

use async_trait::async_trait;

use crate::store::{Store, StoreError};

/// The tree of identifiers.
const TREE: &str = "ownership";
/// Longest identifier that is kept, in bytes.
pub const LONGEST_ID: usize = 256;

/// Whose each thing is that a provider made.
#[async_trait]
pub trait Owners: Send + Sync {
    /// The account that `id` belongs to.
    ///
    /// # Errors
    /// [`StoreError`].
    fn owner(&self, id: &str) -> Result<Option<Arc<str>>, StoreError>;

    /// Notes that `id` belongs to `account`, unless it belongs to somebody
    /// already. Whether it is `account`'s now.
    ///
    /// # Errors
    /// [`StoreError`]. An identifier over [`LONGEST_ID`] is nobody's.
    fn claim(&self, id: &str, account: &str) -> Result<bool, StoreError>;

    /// Waits until what was noted outlives the process.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn flush(&self) -> Result<(), StoreError>;
}

/// [`Owners`] in the embedded store.
#[derive(Clone)]
pub struct EmbeddedOwners {
    tree: sled::Tree,
}

impl EmbeddedOwners {
    /// The owners in `store`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(store: &Store) -> Result<Self, StoreError> {
        Ok(Self { tree: store.tree(TREE)? })
    }
}

#[async_trait]
impl Owners for EmbeddedOwners {
    fn owner(&self, id: &str) -> Result<Option<Arc<str>>, StoreError> {
        let found = self.tree.get(id)?;
        Ok(found.and_then(|account| std::str::from_utf8(&account).ok().map(Arc::from)))
    }

    fn claim(&self, id: &str, account: &str) -> Result<bool, StoreError> {
        if id.len() > LONGEST_ID {
            return Ok(false);
        }
        let free = None::<&[u8]>;
        let claimed = self.tree.compare_and_swap(id, free, Some(account.as_bytes()))?;
        Ok(claimed.err().is_none_or(|held| held.current.as_deref() == Some(account.as_bytes())))
    }

    async fn flush(&self) -> Result<(), StoreError> {
        self.tree.flush_async().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_owner_stays_the_owner() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let owners = EmbeddedOwners::open(&store).unwrap();
        assert_eq!(owners.owner("file-1").unwrap(), None);
        assert!(owners.claim("file-1", "a").unwrap());
        assert!(owners.claim("file-1", "a").unwrap());
        assert!(!owners.claim("file-1", "b").unwrap());
        assert!(!owners.claim(&"f".repeat(LONGEST_ID + 1), "b").unwrap());
        owners.flush().await.unwrap();
        drop((owners, store));
        let store = Store::open(dir.path()).unwrap();
        let owners = EmbeddedOwners::open(&store).unwrap();
        assert_eq!(owners.owner("file-1").unwrap().as_deref(), Some("a"));
    }
}
