//! Models and providers of accounts' own. One record an account: what belongs
//! together changes together. Records are CBOR as those of accounts.

use minicbor::{Decode, Encode};

use super::accounts::moment;
use super::{Store, StoreError};
use crate::base::clock::Timestamp;
use crate::config::Dialect;

/// The tree of records, by account.
const TREE: &str = "custom_models";

/// What a provider of an account's own speaks, as it is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Spoken {
    /// [`Dialect::OpenAi`].
    #[default]
    #[n(0)]
    OpenAi,
    /// [`Dialect::Anthropic`].
    #[n(1)]
    Anthropic,
    /// [`Dialect::Gemini`].
    #[n(2)]
    Gemini,
}

impl Spoken {
    /// The dialect of this name in configuration and API.
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::OpenAi, Self::Anthropic, Self::Gemini];
        all.into_iter().find(|spoken| spoken.dialect().as_str() == name)
    }

    /// The same among those of the configuration.
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::OpenAi => Dialect::OpenAi,
            Self::Anthropic => Dialect::Anthropic,
            Self::Gemini => Dialect::Gemini,
        }
    }
}

/// A provider of an account's own, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct OwnProvider {
    /// What tells it from every other, those of this name before it included.
    #[n(0)]
    pub id: String,
    /// Its name among the account's.
    #[n(1)]
    pub name: String,
    /// Its base URL.
    #[n(2)]
    pub base_url: String,
    /// Its key, sealed under the account's; empty where it needs none.
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    pub sealed: Vec<u8>,
    /// When it was given.
    #[n(4)]
    #[cbor(with = "moment")]
    pub created_at: Timestamp,
    /// Whether the seller allows its address though it may be a private one.
    #[n(5)]
    pub allowed: bool,
    /// What it speaks.
    #[n(6)]
    #[cbor(default)]
    pub spoken: Spoken,
}

/// A model of an account's own, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct OwnModel {
    /// The name that the account uses.
    #[n(0)]
    pub name: String,
    /// The name of the account's provider that it runs on; `None` where it is
    /// another name of one of the seller's models.
    #[n(1)]
    pub provider: Option<String>,
    /// The provider's name of it, or the seller's.
    #[n(2)]
    pub model: String,
    /// When it was given.
    #[n(3)]
    #[cbor(with = "moment")]
    pub created_at: Timestamp,
}

/// What one account has of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Own {
    /// Its providers; no name is there twice.
    #[n(0)]
    pub providers: Vec<OwnProvider>,
    /// Its models; no name is there twice.
    #[n(1)]
    pub models: Vec<OwnModel>,
}

/// What accounts have of their own. Everything blocks, and nothing outlives a crash
/// before [`CustomModels::flush`] has returned.
pub trait CustomModels: Send + Sync {
    /// What `account` has.
    ///
    /// # Errors
    /// [`StoreError`].
    fn own(&self, account: &str) -> Result<Own, StoreError>;

    /// Writes what `account` has, in the place of what it had.
    ///
    /// # Errors
    /// [`StoreError`].
    fn replace(&self, account: &str, own: &Own) -> Result<(), StoreError>;

    /// Every account that has anything, and what.
    ///
    /// # Errors
    /// [`StoreError`].
    fn all(&self) -> Result<Vec<(String, Own)>, StoreError>;

    /// Makes everything written so far survive the end of the process.
    ///
    /// # Errors
    /// [`StoreError`].
    fn flush(&self) -> Result<(), StoreError>;
}

/// [`CustomModels`] in the embedded store.
pub struct EmbeddedModels {
    store: Store,
    tree: sled::Tree,
}

impl EmbeddedModels {
    /// Those of `store`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn new(store: &Store) -> Result<Self, StoreError> {
        Ok(Self { tree: store.tree(TREE)?, store: store.clone() })
    }
}

impl CustomModels for EmbeddedModels {
    fn own(&self, account: &str) -> Result<Own, StoreError> {
        self.tree.get(account)?.map_or_else(|| Ok(Own::default()), |bytes| read(&bytes))
    }

    fn replace(&self, account: &str, own: &Own) -> Result<(), StoreError> {
        if own.providers.is_empty() && own.models.is_empty() {
            self.tree.remove(account)?;
            return Ok(());
        }
        let bytes = minicbor::to_vec(own).map_err(|error| StoreError(error.to_string()))?;
        self.tree.insert(account, bytes)?;
        Ok(())
    }

    fn all(&self) -> Result<Vec<(String, Own)>, StoreError> {
        let read = |entry: sled::Result<(sled::IVec, sled::IVec)>| {
            let (account, bytes) = entry?;
            Ok((String::from_utf8_lossy(&account).into_owned(), read(&bytes)?))
        };
        self.tree.iter().map(read).collect()
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.store.flush()
    }
}

fn read(bytes: &[u8]) -> Result<Own, StoreError> {
    minicbor::decode(bytes).map_err(|error| StoreError(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_nothing_is_no_record() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let models = EmbeddedModels::new(&store).unwrap();
        let own = Own {
            providers: vec![OwnProvider {
                id: "own_1".to_owned(),
                name: "p".to_owned(),
                base_url: "https://a/v1".to_owned(),
                sealed: vec![1, 2],
                created_at: Timestamp(7),
                allowed: true,
                spoken: Spoken::Gemini,
            }],
            models: vec![OwnModel {
                name: "m".to_owned(),
                provider: Some("p".to_owned()),
                model: "n".to_owned(),
                created_at: Timestamp(8),
            }],
        };
        models.replace("a", &own).unwrap();
        models.flush().unwrap();
        assert_eq!(
            (models.own("a").unwrap(), models.own("b").unwrap()),
            (own.clone(), Own::default())
        );
        assert_eq!(models.all().unwrap(), [("a".to_owned(), own)]);
        models.replace("a", &Own::default()).unwrap();
        assert_eq!(models.all().unwrap(), []);
    }
}
