//! Whose each thing is that a provider made: its identifier → its owner.
//!
//! An identifier belongs to the owner that it was first noted for; a later note
//! for another changes nothing. A second tree holds the things of each owner in
//! order, so that they can be listed, and forgotten with what they are part of.
//! A thing is in that tree first and leaves it last: an entry there that the
//! first tree does not have, as a crash may leave one, says nothing.

use std::sync::Arc;

use async_trait::async_trait;

use crate::store::{Store, StoreError};

/// The tree of identifiers: identifier → owner, kind, whole.
const TREE: &str = "ownership";
/// The tree of owners: owner, whole, identifier → number, kind.
const THINGS: &str = "ownership_things";
/// Longest identifier that is kept, in bytes.
pub const LONGEST_ID: usize = 256;
/// Stands between the parts of keys and values; no part holds it.
const BETWEEN: u8 = 0;

/// A thing that a provider made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thing<'t> {
    /// Its identifier.
    pub id: &'t str,
    /// The root of the API that it is found under, such as `files`.
    pub kind: &'t str,
    /// The thing that it is a part of, such as a message's thread; empty if it
    /// stands for itself.
    pub whole: &'t str,
}

/// What is known of a thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// Whose it is.
    pub owner: Arc<str>,
    /// See [`Thing::kind`].
    pub kind: Arc<str>,
    /// See [`Thing::whole`].
    pub whole: Arc<str>,
}

/// Whose each thing is that a provider made.
#[async_trait]
pub trait Owners: Send + Sync {
    /// What is known of the thing called `id`.
    ///
    /// # Errors
    /// [`StoreError`].
    fn find(&self, id: &str) -> Result<Option<Owned>, StoreError>;

    /// Notes that `thing` is `owner`'s, unless it is somebody's already. Whether
    /// that is new.
    ///
    /// # Errors
    /// [`StoreError`]. An identifier that is empty, longer than [`LONGEST_ID`] or
    /// has a zero byte is nobody's.
    fn claim(&self, owner: &str, thing: Thing<'_>) -> Result<bool, StoreError>;

    /// Forgets the thing called `id` and its parts, if it is `owner`'s and of
    /// `kind`.
    ///
    /// # Errors
    /// [`StoreError`].
    fn release(&self, owner: &str, kind: &str, id: &str) -> Result<(), StoreError>;

    /// Forgets all that is `owner`'s; how many things that was. Blocks.
    ///
    /// # Errors
    /// [`StoreError`].
    fn release_all(&self, owner: &str) -> Result<usize, StoreError>;

    /// The things of `kind` that are `owner`'s and stand for themselves, in the
    /// order in which they were noted; `None` if they are more than `most`.
    ///
    /// # Errors
    /// [`StoreError`].
    fn things(
        &self,
        owner: &str,
        kind: &str,
        most: usize,
    ) -> Result<Option<Vec<String>>, StoreError>;

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
    things: sled::Tree,
    db: sled::Db,
}

impl EmbeddedOwners {
    /// The owners in `store`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(store: &Store) -> Result<Self, StoreError> {
        Ok(Self { tree: store.tree(TREE)?, things: store.tree(THINGS)?, db: store.db.clone() })
    }

    /// Forgets a thing of `owner`'s by its key in the tree of things.
    fn forget(&self, owner: &str, key: &[u8]) -> Result<bool, StoreError> {
        let Some(id) = key.rsplit(|byte| *byte == BETWEEN).next() else { return Ok(false) };
        let mut forgotten = false;
        if let Some(value) = self.tree.get(id)?
            && owned(&value).is_some_and(|found| &*found.owner == owner)
        {
            let removed = self.tree.compare_and_swap(id, Some(&value), None::<&[u8]>)?;
            forgotten = removed.is_ok();
        }
        self.things.remove(key)?;
        Ok(forgotten)
    }
}

#[async_trait]
impl Owners for EmbeddedOwners {
    fn find(&self, id: &str) -> Result<Option<Owned>, StoreError> {
        Ok(self.tree.get(id)?.and_then(|value| owned(&value)))
    }

    fn claim(&self, owner: &str, thing: Thing<'_>) -> Result<bool, StoreError> {
        let Thing { id, kind, whole } = thing;
        let sane = (1..=LONGEST_ID).contains(&id.len()) && !id.bytes().any(|it| it == BETWEEN);
        if !sane || self.tree.contains_key(id)? {
            return Ok(false);
        }
        let key = joined([owner, whole, id]);
        let number = self.db.generate_id()?;
        self.things.insert(&*key, [&number.to_be_bytes()[..], kind.as_bytes()].concat())?;
        let (free, value) = (None::<&[u8]>, joined([owner, kind, whole]));
        let claimed = self.tree.compare_and_swap(id, free, Some(value))?;
        if let Err(held) = &claimed
            && held.current.as_deref().and_then(owned).is_none_or(|found| &*found.owner != owner)
        {
            self.things.remove(key)?;
        }
        Ok(claimed.is_ok())
    }

    fn release(&self, owner: &str, kind: &str, id: &str) -> Result<(), StoreError> {
        let Some(found) = self.find(id)?.filter(|it| &*it.owner == owner && &*it.kind == kind)
        else {
            return Ok(());
        };
        for part in self.things.scan_prefix(joined([owner, id, ""])) {
            self.forget(owner, &part?.0)?;
        }
        self.forget(owner, &joined([owner, &found.whole, id]))?;
        Ok(())
    }

    fn release_all(&self, owner: &str) -> Result<usize, StoreError> {
        let mut count = 0;
        for thing in self.things.scan_prefix(joined([owner, ""])) {
            count += usize::from(self.forget(owner, &thing?.0)?);
        }
        self.db.flush()?;
        Ok(count)
    }

    fn things(
        &self,
        owner: &str,
        kind: &str,
        most: usize,
    ) -> Result<Option<Vec<String>>, StoreError> {
        let mut found = Vec::new();
        for thing in self.things.scan_prefix(joined([owner, "", ""])) {
            let (key, value) = thing?;
            let Some((number, its_kind)) = value.split_first_chunk::<8>() else { continue };
            let id = key.rsplit(|byte| *byte == BETWEEN).next().unwrap_or_default();
            if its_kind == kind.as_bytes()
                && let Ok(id) = std::str::from_utf8(id)
            {
                if found.len() == most {
                    return Ok(None);
                }
                found.push((u64::from_be_bytes(*number), id.to_owned()));
            }
        }
        found.sort_unstable();
        Ok(Some(found.into_iter().map(|(_, id)| id).collect()))
    }

    async fn flush(&self) -> Result<(), StoreError> {
        self.tree.flush_async().await?;
        Ok(())
    }
}

fn joined<const N: usize>(parts: [&str; N]) -> Vec<u8> {
    parts.map(str::as_bytes).join(&BETWEEN)
}

fn owned(value: &[u8]) -> Option<Owned> {
    let mut parts = std::str::from_utf8(value).ok()?.split(char::from(BETWEEN)).map(Arc::from);
    let owner = parts.next()?;
    Some(Owned { owner, kind: parts.next()?, whole: parts.next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(id: &str) -> Thing<'_> {
        Thing { id, kind: "files", whole: "" }
    }

    fn owner(owners: &EmbeddedOwners, id: &str) -> Option<String> {
        owners.find(id).unwrap().map(|found| found.owner.to_string())
    }

    #[tokio::test]
    async fn the_first_owner_stays_the_owner() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let owners = EmbeddedOwners::open(&store).unwrap();
        assert_eq!(owner(&owners, "file-1"), None);
        assert!(owners.claim("a", file("file-1")).unwrap());
        assert!(!owners.claim("a", file("file-1")).unwrap(), "nothing new");
        assert!(!owners.claim("b", file("file-1")).unwrap());
        for odd in ["f".repeat(LONGEST_ID + 1), "file\0x".to_owned(), String::new()] {
            assert!(!owners.claim("b", file(&odd)).unwrap());
            assert_eq!(owner(&owners, &odd), None);
        }
        owners.flush().await.unwrap();
        drop((owners, store));
        let store = Store::open(dir.path()).unwrap();
        let owners = EmbeddedOwners::open(&store).unwrap();
        assert_eq!(owner(&owners, "file-1").as_deref(), Some("a"));
    }

    #[test]
    fn things_are_listed_in_the_order_of_their_making() {
        let dir = tempfile::tempdir().unwrap();
        let owners = EmbeddedOwners::open(&Store::open(dir.path()).unwrap()).unwrap();
        for (whose, id) in [("a", "file-z"), ("ab", "file-o"), ("a", "file-b"), ("a", "file-m")] {
            owners.claim(whose, file(id)).unwrap();
        }
        owners.claim("a", Thing { id: "vs_1", kind: "vector_stores", whole: "" }).unwrap();
        owners.claim("a", Thing { id: "file-part", kind: "files", whole: "file-z" }).unwrap();
        let things = |most| owners.things("a", "files", most).unwrap();
        assert_eq!(things(3).unwrap(), ["file-z", "file-b", "file-m"]);
        assert_eq!(things(2), None);
    }

    #[test]
    fn what_is_deleted_goes_with_its_parts() {
        let dir = tempfile::tempdir().unwrap();
        let owners = EmbeddedOwners::open(&Store::open(dir.path()).unwrap()).unwrap();
        let thread = |id, whole| Thing { id, kind: "threads", whole };
        for thing in [thread("t1", ""), thread("m1", "t1"), thread("m2", "t1"), thread("t2", "")] {
            assert!(owners.claim("a", thing).unwrap());
        }
        owners.release("b", "threads", "t1").unwrap();
        owners.release("a", "files", "t1").unwrap();
        assert!(owner(&owners, "t1").is_some(), "not another's, nor of another kind");
        owners.release("a", "threads", "m2").unwrap();
        assert_eq!((owner(&owners, "m2"), owner(&owners, "m1").is_some()), (None, true));
        owners.release("a", "threads", "t1").unwrap();
        assert_eq!((owner(&owners, "t1"), owner(&owners, "m1")), (None, None));
        assert!(owner(&owners, "t2").is_some());
        assert!(owners.claim("b", thread("t1", "")).unwrap(), "free for whoever comes");

        assert_eq!(owners.release_all("a").unwrap(), 1);
        assert_eq!((owner(&owners, "t2"), owner(&owners, "t1").as_deref()), (None, Some("b")));
        assert_eq!(owners.things.len(), 1, "nothing is left behind");
    }
}
