//! Accounts and keys in sled.

use std::ops::Bound;

use sled::transaction::{ConflictableTransactionError, TransactionError, Transactional};

use super::{Account, Accounts, ApiKey, Keys};
use crate::store::{Store, StoreError};

/// Between an account's id and a key's in the index; no id holds it.
const SEPARATOR: u8 = 0;

/// Both traits on the embedded store.
pub struct Directory {
    store: Store,
    accounts: sled::Tree,
    /// By id.
    keys: sled::Tree,
    /// The id of an account, [`SEPARATOR`], the id of a key of it.
    by_account: sled::Tree,
}

impl Directory {
    /// The accounts and keys of `store`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn new(store: &Store) -> Result<Self, StoreError> {
        Ok(Self {
            accounts: store.tree("accounts")?,
            keys: store.tree("keys")?,
            by_account: store.tree("keys_by_account")?,
            store: store.clone(),
        })
    }

    /// The ids of the account's keys, those after `after`.
    fn ids(
        &self,
        account: &str,
        after: Option<&str>,
    ) -> impl Iterator<Item = Result<sled::IVec, StoreError>> {
        let from = Bound::Excluded(index(account, after.unwrap_or_default()));
        let mut to = index(account, "");
        to.pop();
        to.push(SEPARATOR + 1);
        let skip = account.len() + 1;
        self.by_account
            .range((from, Bound::Excluded(to)))
            .keys()
            .map(move |key| key.map(|key| key.subslice(skip, key.len() - skip)).map_err(Into::into))
    }
}

impl Accounts for Directory {
    fn add(&self, account: &Account) -> Result<bool, StoreError> {
        let added =
            self.accounts.compare_and_swap(&account.id, None::<&[u8]>, Some(bytes(account)?))?;
        Ok(added.is_ok())
    }

    fn account(&self, id: &str) -> Result<Option<Account>, StoreError> {
        self.accounts.get(id)?.map(|bytes| read(&bytes)).transpose()
    }

    fn replace(&self, account: &Account) -> Result<(), StoreError> {
        self.accounts.insert(&account.id, bytes(account)?)?;
        Ok(())
    }

    fn remove(&self, id: &str) -> Result<bool, StoreError> {
        // The keys first: what breaks off in between leaves no key without an
        // account.
        let ids = self.ids(id, None).collect::<Result<Vec<_>, _>>()?;
        for key in ids {
            let entry = [id.as_bytes(), &[SEPARATOR], &key].concat();
            (&self.keys, &self.by_account)
                .transaction(|(keys, by_account)| {
                    keys.remove(&*key)?;
                    by_account.remove(&*entry)?;
                    Ok::<_, ConflictableTransactionError<sled::Error>>(())
                })
                .map_err(failed)?;
        }
        Ok(self.accounts.remove(id)?.is_some())
    }

    fn accounts(&self, after: Option<&str>, limit: usize) -> Result<Vec<Account>, StoreError> {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.as_bytes()));
        self.accounts
            .range::<&[u8], _>((from, Bound::Unbounded))
            .values()
            .take(limit)
            .map(|bytes| read(&bytes?))
            .collect()
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.store.flush()
    }
}

impl Keys for Directory {
    fn add_key(&self, key: &ApiKey) -> Result<bool, StoreError> {
        let (value, entry) = (bytes(key)?, index(&key.account, &key.id));
        let added = (&self.keys, &self.by_account).transaction(|(keys, by_account)| {
            if keys.get(&key.id)?.is_some() {
                return Ok(false);
            }
            keys.insert(key.id.as_bytes(), &*value)?;
            by_account.insert(&*entry, &[])?;
            Ok::<_, ConflictableTransactionError<sled::Error>>(true)
        });
        added.map_err(failed)
    }

    fn key(&self, id: &str) -> Result<Option<ApiKey>, StoreError> {
        self.keys.get(id)?.map(|bytes| read(&bytes)).transpose()
    }

    fn replace_key(&self, key: &ApiKey) -> Result<(), StoreError> {
        self.keys.insert(&key.id, bytes(key)?)?;
        Ok(())
    }

    fn keys(
        &self,
        account: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ApiKey>, StoreError> {
        match account {
            Some(account) => self
                .ids(account, after)
                .filter_map(|id| id.and_then(|id| Ok(self.keys.get(id)?)).transpose())
                .take(limit)
                .map(|bytes| read(&bytes?))
                .collect(),
            None => {
                let from = after.map_or(Bound::Unbounded, |id| Bound::Excluded(id.as_bytes()));
                self.keys
                    .range::<&[u8], _>((from, Bound::Unbounded))
                    .values()
                    .take(limit)
                    .map(|bytes| read(&bytes?))
                    .collect()
            }
        }
    }
}

fn index(account: &str, key: &str) -> Vec<u8> {
    [account.as_bytes(), &[SEPARATOR], key.as_bytes()].concat()
}

fn bytes<T: minicbor::Encode<()>>(record: &T) -> Result<Vec<u8>, StoreError> {
    minicbor::to_vec(record).map_err(|error| StoreError(error.to_string()))
}

fn read<T: for<'b> minicbor::Decode<'b, ()>>(bytes: &[u8]) -> Result<T, StoreError> {
    minicbor::decode(bytes).map_err(|error| StoreError(error.to_string()))
}

fn failed(error: TransactionError<sled::Error>) -> StoreError {
    match error {
        TransactionError::Abort(error) | TransactionError::Storage(error) => error.into(),
    }
}
