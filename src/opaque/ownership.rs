//! Whether an account may name a thing, and whose what a provider made is.

use crate::opaque::roots::{Place, decode};
use crate::opaque::scan;
use crate::refusal::{Code, Refusal};
use crate::store::StoreError;
use crate::store::ownership::Owners;

/// One account, as far as the things that providers made for it go.
#[derive(Clone, Copy)]
pub struct Tenant<'t> {
    owners: &'t dyn Owners,
    account: &'t str,
}

impl<'t> Tenant<'t> {
    /// `account` among `owners`.
    pub fn new(owners: &'t dyn Owners, account: &'t str) -> Self {
        Self { owners, account }
    }

    /// Checks the things that a path names: the first must be the account's own,
    /// the others, which are within it, nobody else's.
    ///
    /// # Errors
    /// 404 `not_found`, 503 `storage_unavailable`.
    pub fn check_path(&self, place: &Place) -> Result<(), Refusal> {
        let mut ids = place.ids.iter();
        if let Some(first) = ids.next() {
            self.check_own(first)?;
        }
        ids.try_for_each(|id| self.check(id))
    }

    /// Checks the things that a query string names: nobody else's.
    ///
    /// # Errors
    /// As [`Tenant::check_path`].
    pub fn check_query(&self, query: Option<&str>) -> Result<(), Refusal> {
        let values = query.unwrap_or_default().split('&');
        for value in values.filter_map(|pair| pair.split_once('=').map(|(_, value)| value)) {
            match decode(value) {
                // A provider might make something of it.
                None => return Err(not_found()),
                Some(value) => value.split(',').try_for_each(|id| self.check(id))?,
            }
        }
        Ok(())
    }

    /// Checks a thing that only the account itself can have made.
    ///
    /// # Errors
    /// As [`Tenant::check_path`].
    pub fn check_own(&self, id: &str) -> Result<(), Refusal> {
        if self.owns(id)? { Ok(()) } else { Err(not_found()) }
    }

    /// Checks the things that a JSON body names: nobody else's.
    ///
    /// # Errors
    /// As [`Tenant::check_path`].
    pub fn check_body(&self, json: &[u8]) -> Result<(), Refusal> {
        scan::ids(json).try_for_each(|id| self.check(&id))
    }

    /// Notes that what an answer made is the account's. `items` are those of a
    /// list within a thing that is the account's. Whether anything was new.
    ///
    /// # Errors
    /// 503 `storage_unavailable`; the answer must then not be passed on.
    pub fn learn(&self, json: &[u8], items: bool) -> Result<bool, Refusal> {
        let mut learnt = false;
        for id in scan::made(json, items) {
            if self.owners.owner(&id).map_err(unavailable)?.is_none() {
                learnt |= self.owners.claim(&id, self.account).map_err(unavailable)?;
            }
        }
        Ok(learnt)
    }

    /// Waits until what was learnt outlives the process.
    ///
    /// # Errors
    /// 503 `storage_unavailable`.
    pub async fn keep(&self) -> Result<(), Refusal> {
        self.owners.flush().await.map_err(unavailable)
    }

    /// Whether `id` is the account's own.
    ///
    /// # Errors
    /// 503 `storage_unavailable`.
    pub fn owns(&self, id: &str) -> Result<bool, Refusal> {
        let owner = self.owners.owner(id).map_err(unavailable)?;
        Ok(owner.as_deref() == Some(self.account))
    }

    fn check(&self, id: &str) -> Result<(), Refusal> {
        let owner = self.owners.owner(id).map_err(unavailable)?;
        match owner {
            Some(owner) if &*owner != self.account => Err(not_found()),
            _ => Ok(()),
        }
    }
}

fn not_found() -> Refusal {
    Refusal::new(
        Code::NotFound,
        "The request names something that does not exist: a file, a batch, a response or the like.",
    )
}

fn unavailable(_error: StoreError) -> Refusal {
    Refusal::new(
        Code::StorageUnavailable,
        "Whose the request's objects are cannot be looked up at the moment.",
    )
    .retry_after(std::time::Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::store::Store;
    use crate::store::ownership::EmbeddedOwners;

    fn path(tenant: &Tenant<'_>, path: &str) -> Result<(), Code> {
        let place = Place::of(&Method::GET, path, true).unwrap();
        tenant.check_path(&place).map_err(|refusal| refusal.code)
    }

    #[test]
    fn others_find_nothing_of_an_accounts() {
        let dir = tempfile::tempdir().unwrap();
        let owners = EmbeddedOwners::open(&Store::open(dir.path()).unwrap()).unwrap();
        let (a, b) = (Tenant::new(&owners, "a"), Tenant::new(&owners, "b"));
        assert_eq!(path(&a, "/v1/files/file-1"), Err(Code::NotFound), "nobody's yet");
        assert!(a.learn(br#"{"id":"file-1"}"#, false).unwrap());
        assert!(a.learn(br#"{"id":"vs_1"}"#, false).unwrap());
        assert!(!a.learn(br#"{"id":"vs_1"}"#, false).unwrap(), "nothing new");
        assert_eq!(path(&a, "/v1/files/file-1"), Ok(()));
        assert_eq!(path(&b, "/v1/files/file-1"), Err(Code::NotFound));
        assert_eq!(path(&a, "/v1/vector_stores/vs_1/files/file-other"), Ok(()));
        assert!(b.learn(br#"{"id":"vs_2"}"#, false).unwrap());
        assert_eq!(path(&b, "/v1/vector_stores/vs_2/files/file-1"), Err(Code::NotFound));

        let body = br#"{"input_file_id":"file-1"}"#;
        assert!(a.check_body(body).is_ok());
        assert!(b.check_body(body).is_err());
        assert!(b.check_body(br#"{"input_file_id":"file-of-nobody"}"#).is_ok());
        assert!(a.check_query(Some("after=file-1&limit=2")).is_ok());
        for query in ["after=file-1", "limit=2&after=%66ile-1", "include=x,file-1", "after=%f"] {
            assert!(b.check_query(Some(query)).is_err(), "{query}");
        }
        assert!(b.check_query(None).is_ok());
    }
}
