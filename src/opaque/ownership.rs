//! Whether an account may name a thing, and whose what a provider made is.

use crate::opaque::made::{self, Made, Origin};
use crate::opaque::mention::{self, Mention};
use crate::opaque::roots::{Place, decode};
use crate::refusal::{Code, Refusal};
use crate::store::StoreError;
use crate::store::ownership::{LONGEST_ID, Owned, Owners, Thing};

/// One account, as far as the things that providers made for it go.
#[derive(Clone, Copy)]
pub struct Tenant<'t> {
    owners: &'t dyn Owners,
    owner: &'t str,
}

impl<'t> Tenant<'t> {
    /// The account whose things are `owner`'s among `owners`.
    pub fn new(owners: &'t dyn Owners, owner: &'t str) -> Self {
        Self { owners, owner }
    }

    /// Checks the things that a path names: the first must be the account's own and
    /// be found there, the others, which are within it, nobody else's.
    ///
    /// # Errors
    /// 404 `not_found`, 503 `storage_unavailable`.
    pub fn check_path(&self, place: &Place) -> Result<(), Refusal> {
        let mut ids = place.ids.iter();
        if let Some(first) = ids.next() {
            let found = self.own(first)?.filter(|it| &*it.kind == place.kind());
            found.filter(stands_alone).ok_or_else(not_found)?;
        }
        ids.try_for_each(|id| self.check(id))
    }

    /// Checks the things that a query string names: the account's own where a
    /// provider looks them up, nobody else's anywhere.
    ///
    /// # Errors
    /// As [`Tenant::check_path`].
    pub fn check_query(&self, query: Option<&str>) -> Result<(), Refusal> {
        for (field, value) in
            query.unwrap_or_default().split('&').filter_map(|it| it.split_once('='))
        {
            // A provider might make something of what is malformed.
            let (field, value) = decode(field).zip(decode(value)).ok_or_else(not_found)?;
            for id in value.split(',') {
                let known = mention::looks_like_id(id.as_bytes());
                self.check_mention(id, known && mention::refers(&field, id))?;
            }
        }
        Ok(())
    }

    /// Checks a thing that only the account itself can have made.
    ///
    /// # Errors
    /// As [`Tenant::check_path`].
    pub fn check_own(&self, id: &str) -> Result<(), Refusal> {
        self.check_mention(id, true)
    }

    /// Checks a model that the catalogue does not have: what somebody else has
    /// trained is not there.
    ///
    /// # Errors
    /// 404 `model_not_found`, 503 `storage_unavailable`.
    pub fn check_model(&self, name: &str) -> Result<(), Refusal> {
        let message = "The model does not exist or is not available here.";
        let unknown = || Refusal::new(Code::ModelNotFound, message).param("model");
        if self.is_anothers(name)? { Err(unknown()) } else { Ok(()) }
    }

    /// Checks the things that a JSON body names: the account's own where a provider
    /// looks them up, nobody else's anywhere.
    ///
    /// # Errors
    /// As [`Tenant::check_path`].
    pub fn check_body(&self, json: &[u8]) -> Result<(), Refusal> {
        mention::mentions(json).try_for_each(|it| self.check_mention(&it.id, it.refers))
    }

    /// Checks the things that a body was found to name, as [`Tenant::check_body`]
    /// does.
    ///
    /// # Errors
    /// As [`Tenant::check_path`].
    pub fn check_mentions(&self, mentions: &[Mention<'_>]) -> Result<(), Refusal> {
        mentions.iter().try_for_each(|it| self.check_mention(&it.id, it.refers))
    }

    /// Checks the things that a field of a form names, as those of a JSON body.
    ///
    /// # Errors
    /// As [`Tenant::check_path`].
    pub fn check_field(&self, name: &str, value: &[u8]) -> Result<(), Refusal> {
        // Lists and objects are spelt out: `file_ids[]`, `session[tools][0][container]`.
        let is_key = |part: &&str| part.bytes().any(|byte| !byte.is_ascii_digit());
        let field = name.split(['[', ']']).rfind(is_key).unwrap_or_default();
        for id in std::str::from_utf8(value).unwrap_or_default().split(',') {
            let id = id.trim();
            let known = mention::looks_like_id(id.as_bytes());
            self.check_mention(id, known && mention::refers(field, id))?;
        }
        self.check_body(value)
    }

    /// Checks the things that an event of a client's names in a session. Its
    /// responses are the session's own, and are not noted.
    ///
    /// # Errors
    /// As [`Tenant::check_path`].
    pub fn check_event(&self, json: &[u8]) -> Result<(), Refusal> {
        mention::mentions(json)
            .try_for_each(|it| self.check_mention(&it.id, it.refers && !it.in_session))
    }

    /// Notes that what an answer from `origin` made is the account's. Whether
    /// anything was new.
    ///
    /// # Errors
    /// 503 `storage_unavailable`; the answer must then not be passed on.
    pub fn learn(&self, json: &[u8], origin: Origin<'_>) -> Result<bool, Refusal> {
        let mut learnt = false;
        for Made { id, kind, whole } in made::made(json, origin) {
            let thing = Thing { id: &id, kind: &kind, whole: &whole };
            learnt |= self.owners.claim(self.owner, thing).map_err(unavailable)?;
        }
        Ok(learnt)
    }

    /// Notes that the thing that `place` names last is the account's. Whether that
    /// is new.
    ///
    /// # Errors
    /// As [`Tenant::learn`].
    pub fn learn_place(&self, place: &Place) -> Result<bool, Refusal> {
        let (Some(id), whole) = (place.ids.last(), place.ids.first()) else { return Ok(false) };
        let whole = whole.filter(|whole| *whole != id).map_or("", |whole| whole);
        let thing = Thing { id, kind: place.kind(), whole };
        self.owners.claim(self.owner, thing).map_err(unavailable)
    }

    /// Forgets the thing called `id`, which was deleted, and its parts.
    ///
    /// # Errors
    /// 503 `storage_unavailable`.
    pub fn forget(&self, place: &Place, id: &str) -> Result<(), Refusal> {
        self.owners.release(self.owner, place.kind(), id).map_err(unavailable)
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
        Ok(self.own(id)?.is_some())
    }

    /// The account's things that `place` lists, in the order of their making;
    /// `None` if they are more than `most`.
    ///
    /// # Errors
    /// 503 `storage_unavailable`.
    pub fn things(&self, place: &Place, most: usize) -> Result<Option<Vec<String>>, Refusal> {
        self.owners.things(self.owner, place.kind(), most).map_err(unavailable)
    }

    fn check(&self, id: &str) -> Result<(), Refusal> {
        if self.is_anothers(id)? { Err(not_found()) } else { Ok(()) }
    }

    /// Checks a thing that is named; where it `refers`, a provider looks it up.
    fn check_mention(&self, id: &str, refers: bool) -> Result<(), Refusal> {
        if !refers {
            // Nothing is called so.
            let nothing = id.is_empty() || id.len() > LONGEST_ID;
            return if nothing { Ok(()) } else { self.check(id) };
        }
        let found = self.own(id)?.filter(|it| stands_alone(it) || &*it.kind == "containers");
        found.map(drop).ok_or_else(not_found)
    }

    fn own(&self, id: &str) -> Result<Option<Owned>, Refusal> {
        let found = self.owners.find(id).map_err(unavailable)?;
        Ok(found.filter(|found| &*found.owner == self.owner))
    }

    fn is_anothers(&self, id: &str) -> Result<bool, Refusal> {
        let found = self.owners.find(id).map_err(unavailable)?;
        Ok(found.is_some_and(|found| &*found.owner != self.owner))
    }
}

/// Whether a thing is no part of another. Clients may have named parts.
fn stands_alone(found: &Owned) -> bool {
    found.whole.is_empty()
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

    fn learn(tenant: &Tenant<'_>, kind: &str, json: &str) -> bool {
        let origin = Origin { kind, whole: None, items: false };
        tenant.learn(json.as_bytes(), origin).unwrap()
    }

    #[test]
    fn others_find_nothing_of_an_accounts() {
        let dir = tempfile::tempdir().unwrap();
        let owners = EmbeddedOwners::open(&Store::open(dir.path()).unwrap()).unwrap();
        let (a, b) = (Tenant::new(&owners, "a"), Tenant::new(&owners, "b"));
        assert_eq!(path(&a, "/v1/files/file-1"), Err(Code::NotFound), "nobody's yet");
        assert!(learn(&a, "files", r#"{"id":"file-1"}"#));
        assert!(learn(&a, "vector_stores", r#"{"id":"vs_1"}"#));
        assert!(!learn(&a, "vector_stores", r#"{"id":"vs_1"}"#), "nothing new");
        assert_eq!(path(&a, "/v1/files/file-1"), Ok(()));
        assert_eq!(path(&a, "/v1/batches/file-1"), Err(Code::NotFound), "it is no batch");
        assert_eq!(path(&b, "/v1/files/file-1"), Err(Code::NotFound));
        assert_eq!(path(&a, "/v1/vector_stores/vs_1/files/file-other"), Ok(()));
        assert!(learn(&b, "vector_stores", r#"{"id":"vs_2"}"#));
        assert_eq!(path(&b, "/v1/vector_stores/vs_2/files/file-1"), Err(Code::NotFound));

        let body = br#"{"input_file_id":"file-1"}"#;
        assert!(a.check_body(body).is_ok());
        assert!(b.check_body(body).is_err());
        assert!(a.check_body(br#"{"input_file_id":"file-of-nobody"}"#).is_err());
        assert!(a.check_body(br#"{"name":"file-of-nobody"}"#).is_ok());
        assert!(b.check_body(br#"{"name":"file-1"}"#).is_err());
        assert!(a.check_query(Some("after=file-1&limit=2")).is_ok());
        for query in ["after=file-1", "limit=2&after=%66ile-1", "include=x,file-1", "after=%f"] {
            assert!(b.check_query(Some(query)).is_err(), "{query}");
        }
        assert!(b.check_query(Some("after=file-of-nobody")).is_ok());
        assert!(b.check_query(Some("call_id=rtc_of_nobody")).is_err());
        assert!(b.check_query(None).is_ok());
    }

    #[test]
    fn a_part_that_a_client_has_named_opens_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let owners = EmbeddedOwners::open(&Store::open(dir.path()).unwrap()).unwrap();
        let a = Tenant::new(&owners, "a");
        let origin = Origin { kind: "responses", whole: Some("resp_1"), items: true };
        assert!(a.learn(br#"{"data":[{"id":"file-sellers"}]}"#, origin).unwrap());
        assert_eq!(path(&a, "/v1/files/file-sellers"), Err(Code::NotFound));
        assert_eq!(path(&a, "/v1/responses/file-sellers"), Err(Code::NotFound));
        assert!(a.check_body(br#"{"input_file_id":"file-sellers"}"#).is_err());
    }

    #[test]
    fn a_trained_model_is_its_owners() {
        let dir = tempfile::tempdir().unwrap();
        let owners = EmbeddedOwners::open(&Store::open(dir.path()).unwrap()).unwrap();
        let (a, b) = (Tenant::new(&owners, "a"), Tenant::new(&owners, "b"));
        assert!(learn(&a, "fine_tuning", r#"{"id":"ftjob-1","fine_tuned_model":"ft:m:o::1"}"#));
        assert!(a.check_model("ft:m:o::1").is_ok());
        assert_eq!(b.check_model("ft:m:o::1").unwrap_err().code, Code::ModelNotFound);
        assert!(b.check_body(br#"{"model":"ft:m:o::1"}"#).is_err());
        assert!(b.check_model("gpt-4o").is_ok());
    }
}
