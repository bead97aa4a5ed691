//! Lists of what every account made, without what others made.
//!
//! A provider's pages are those of all accounts together, so one page of an
//! account's own may take several of the provider's. Where too many of them hold
//! nothing of the account's, its things are asked for one by one.

use std::collections::HashSet;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::exchange::Client;
use crate::opaque::list::{List, id_of};
use crate::opaque::made::Origin;
use crate::pipeline::opaque::Passage;
use crate::pipeline::opaque::answer::whole_page;
use crate::pipeline::opaque::send::Called;
use crate::refusal::{Code, Refusal};
use crate::upstream::Failure;

/// Items of a provider's page: few enough that a page stays readable.
const PAGE: u64 = 100;
/// Most provider's pages for one page of an account's.
const PAGES: usize = 50;
/// Most items of an account's page.
const LARGEST_PAGE: u64 = 1_000;
/// Most things that are asked for one by one for one page.
const ONE_BY_ONE: usize = 100;
/// Most things of an account that a list keeps in mind.
const MOST_KNOWN: usize = 1_000;
/// Parameters of a list that say nothing about its items.
const PAGING: [&str; 5] = ["after", "before", "include", "limit", "order"];

/// The account's own page.
#[derive(Default)]
struct Own {
    items: Vec<Box<RawValue>>,
    more: bool,
}

impl<C: Client> Passage<'_, C> {
    /// Whether the answer lists what every account made.
    pub(super) fn is_list(&self) -> bool {
        self.tenant.is_some() && self.place.lists(&self.target.method)
    }

    /// The query of the provider's first page, where it is to be another than
    /// the client's.
    pub(super) fn first_page(&self) -> Option<String> {
        if !self.is_list() || !self.pages() {
            return None;
        }
        Some(page(self.target.query.as_deref(), None))
    }

    /// Whether further pages may be asked for: not in unknown places, not
    /// backwards, and not with a limit that the provider is to refuse.
    fn pages(&self) -> bool {
        let query = self.target.query.as_deref();
        !self.place.root.name.is_empty()
            && value(query, "before").is_none()
            && value(query, "limit").is_none_or(|limit| limit.parse().is_ok_and(|n: u64| n > 0))
    }

    /// The account's page, of which `first` is the provider's first. What its items
    /// name of their making is noted.
    pub(super) async fn list(&mut self, first: Bytes) -> Result<Result<Bytes, Called>, Refusal> {
        if List::read(&first).is_none() {
            return unlisted(first).map(Ok);
        }
        let walked = match self.walk(first.clone()).await? {
            Ok(Some(own)) => Ok(own),
            Ok(None) => self.one_by_one().await?,
            Err(called) => Err(called),
        };
        let own = match walked {
            Ok(own) => own,
            Err(called) => return Ok(Err(called)),
        };
        self.learn_items(&own.items).await?;
        let list = List::read(&first);
        Ok(Ok(list.map_or(first.clone(), |list| list.with(&own.items, own.more).into())))
    }

    /// Looks for the account's things page by page; `None` if it has some and not
    /// one was found.
    async fn walk(&mut self, first: Bytes) -> Result<Result<Option<Own>, Called>, Refusal> {
        let Some(tenant) = self.tenant else { return Ok(Ok(Some(Own::default()))) };
        let pages = if self.pages() { PAGES } else { 1 };
        let query = self.target.query.clone();
        let wanted = if pages == 1 { usize::MAX } else { self.wanted() };
        // After a cursor, what comes before it is not to be expected.
        let known = tenant.things(&self.place, MOST_KNOWN)?;
        let mut missing: Option<HashSet<String>> = known
            .filter(|_| pages > 1 && value(query.as_deref(), "after").is_none())
            .map(|known| known.into_iter().collect());
        let mut own = Own::default();
        let (mut page_bytes, mut cursor) = (first, None);
        for number in 1..=pages {
            let Some(list) = List::read(&page_bytes) else { return Err(unreadable()) };
            let (mut last, mut over) = (None, false);
            for (item, id) in std::iter::zip(list.items(), list.ids()) {
                let Some(id) = id else { continue };
                if tenant.owns(&id)? {
                    over = own.items.len() >= wanted;
                    if over {
                        break;
                    }
                    if let Some(missing) = &mut missing {
                        missing.remove(&id);
                    }
                    own.items.push((*item).to_owned());
                }
                last = Some(id);
            }
            let all_seen = missing.as_ref().is_some_and(HashSet::is_empty);
            own.more = over || (list.has_more() && !all_seen);
            if own.items.len() >= wanted || !own.more || last.is_none() || last == cursor {
                break;
            }
            if number == pages {
                return Ok(Ok(Some(own).filter(|own| pages == 1 || !own.items.is_empty())));
            }
            cursor = last;
            let next = page(query.as_deref(), cursor.as_deref());
            let path = self.target.path.clone();
            page_bytes = match whole_page(self, &path, Some(&next)).await {
                Ok(Some(bytes)) => bytes,
                Ok(None) => return Ok(Err(Called::Failed(Failure::NoAnswer))),
                Err(called) => return Ok(Err(called)),
            };
        }
        Ok(Ok(Some(own)))
    }

    /// The account's page out of its things, each of which is asked for by its
    /// name: the latest first, unless the client wants it otherwise.
    async fn one_by_one(&mut self) -> Result<Result<Own, Called>, Refusal> {
        let Some(tenant) = self.tenant else { return Ok(Ok(Own::default())) };
        let query = self.target.query.clone();
        let query = query.as_deref();
        let mut things = tenant.things(&self.place, usize::MAX)?.unwrap_or_default();
        if value(query, "order") != Some("asc") {
            things.reverse();
        }
        let after = value(query, "after").and_then(|id| things.iter().position(|it| it == id));
        let mut rest = things.split_off(after.map_or(0, |at| at + 1)).into_iter();
        let mut own = Own::default();
        for id in rest.by_ref().take(ONE_BY_ONE) {
            // An entry that a crash left behind says nothing of whose it is.
            if !tenant.owns(&id)? {
                continue;
            }
            let path = format!("{}/{}", self.target.path, encoded(&id));
            match whole_page(self, &path, None).await {
                Ok(Some(thing)) => own.items.extend(self.wished(&thing)),
                Ok(None) => {}
                Err(called) => return Ok(Err(called)),
            }
            if own.items.len() >= self.wanted() {
                break;
            }
        }
        own.more = rest.next().is_some() && !own.items.is_empty();
        Ok(Ok(own))
    }

    /// A thing, if it is as the client's query wants it.
    fn wished(&self, thing: &Bytes) -> Option<Box<RawValue>> {
        let whole = serde_json::from_slice::<&RawValue>(thing).ok()?;
        let fields = serde_json::from_slice::<serde_json::Value>(thing).ok()?;
        let pairs = self.target.query.as_deref().unwrap_or_default().split('&');
        let mut wishes = pairs
            .filter_map(|pair| pair.split_once('='))
            .filter(|(name, _)| !PAGING.contains(name));
        let fits = wishes.all(|(name, value)| fields.get(name).is_none_or(|it| it == value));
        (fits && id_of(whole.get()).is_some()).then(|| whole.to_owned())
    }

    /// How many items the client's page has.
    fn wanted(&self) -> usize {
        let limit = value(self.target.query.as_deref(), "limit").and_then(|it| it.parse().ok());
        usize::try_from(limit.unwrap_or(PAGE).min(LARGEST_PAGE)).unwrap_or(1)
    }

    /// Notes what the account's own items name, such as a batch its output.
    async fn learn_items(&self, items: &[Box<RawValue>]) -> Result<(), Refusal> {
        let Some(tenant) = self.tenant else { return Ok(()) };
        let mut learnt = false;
        for item in items {
            let origin = Origin { kind: self.place.kind(), whole: None, items: false };
            learnt |= tenant.learn(item.get().as_bytes(), origin)?;
        }
        if learnt { tenant.keep().await } else { Ok(()) }
    }
}

/// What is no list cannot be filtered: an object is about one thing, and passes.
fn unlisted(answer: Bytes) -> Result<Bytes, Refusal> {
    let object = answer.trim_ascii_start().first() == Some(&b'{');
    if object && memchr::memmem::find(&answer, b"\"data\"").is_none() {
        return Ok(answer);
    }
    Err(unreadable())
}

fn unreadable() -> Refusal {
    Refusal::new(Code::UpstreamError, "The provider's list could not be read.")
}

/// `query` for a page after `cursor`.
fn page(query: Option<&str>, cursor: Option<&str>) -> String {
    let replaced = |pair: &&str| {
        let name = pair.split('=').next().unwrap_or_default();
        !(pair.is_empty() || name == "limit" || (cursor.is_some() && name == "after"))
    };
    let mut pairs: Vec<String> =
        query.unwrap_or_default().split('&').filter(replaced).map(str::to_owned).collect();
    pairs.push(format!("limit={PAGE}"));
    pairs.extend(cursor.map(|cursor| format!("after={}", encoded(cursor))));
    pairs.join("&")
}

/// `text` percent-encoded, as a segment of a path or a value of a query.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let encode = |byte| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

fn value<'q>(query: Option<&'q str>, name: &str) -> Option<&'q str> {
    let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_keeps_the_clients_other_wishes() {
        assert_eq!(page(None, None), "limit=100");
        assert_eq!(page(Some("purpose=batch&limit=5"), None), "purpose=batch&limit=100");
        assert_eq!(page(Some("after=file-1&order=asc"), None), "after=file-1&order=asc&limit=100");
        assert_eq!(page(Some("after=file-1"), Some("file 2")), "limit=100&after=file%202");
        assert_eq!(value(Some("a=1&limit=7"), "limit"), Some("7"));
        assert_eq!(value(Some("alimit=7"), "limit"), None);
    }
}
