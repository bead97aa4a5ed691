//! Lists of what every account made, without what others made.
//!
//! A provider's pages are those of all accounts together, so one page of an
//! account's own may take several of the provider's.

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::exchange::Client;
use crate::opaque::scan::List;
use crate::pipeline::opaque::Passage;
use crate::pipeline::opaque::answer::whole_page;
use crate::pipeline::opaque::send::Called;
use crate::refusal::{Code, Refusal};

/// Items of a provider's page: few enough that a page stays readable.
const PAGE: u64 = 100;
/// Most provider's pages for one page of an account's.
const PAGES: usize = 50;
/// Most items of an account's page.
const LARGEST_PAGE: u64 = 1_000;

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

    /// The account's page, of which `first` is the provider's first.
    pub(super) async fn list(&mut self, first: Bytes) -> Result<Result<Bytes, Called>, Refusal> {
        let Some(tenant) = self.tenant else { return Ok(Ok(first)) };
        let pages = if self.pages() { PAGES } else { 1 };
        let query = self.target.query.clone();
        let wanted = value(query.as_deref(), "limit").and_then(|limit| limit.parse().ok());
        let wanted = usize::try_from(wanted.unwrap_or(PAGE).min(LARGEST_PAGE)).unwrap_or(1);
        let wanted = if pages == 1 { usize::MAX } else { wanted };
        let mut own: Vec<Box<RawValue>> = Vec::new();
        let mut page_bytes = first.clone();
        let (mut more, mut cursor) = (false, None);
        for number in 1..=pages {
            let Some(list) = List::read(&page_bytes) else {
                return unlisted(page_bytes, number).map(Ok);
            };
            let (mut last, mut over) = (None, false);
            for (item, id) in std::iter::zip(list.items(), list.ids()) {
                let Some(id) = id else { continue };
                if tenant.owns(&id)? {
                    over = own.len() >= wanted;
                    if over {
                        break;
                    }
                    own.push((*item).to_owned());
                }
                last = Some(id);
            }
            more = over || list.has_more();
            if own.len() >= wanted || !more || last.is_none() || last == cursor || number == pages {
                break;
            }
            cursor = last;
            let next = page(query.as_deref(), cursor.as_deref());
            page_bytes = match whole_page(self, &next).await {
                Ok(bytes) => bytes,
                Err(called) => return Ok(Err(called)),
            };
        }
        let list = List::read(&first);
        Ok(Ok(list.map_or(first.clone(), |list| Bytes::from(list.with(&own, more)))))
    }
}

/// What is no list cannot be filtered: an object is about one thing, and passes.
fn unlisted(answer: Bytes, number: usize) -> Result<Bytes, Refusal> {
    let object = answer.trim_ascii_start().first() == Some(&b'{');
    if object && number == 1 && memchr::memmem::find(&answer, b"\"data\"").is_none() {
        return Ok(answer);
    }
    Err(Refusal::new(Code::UpstreamError, "The provider's list could not be read."))
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
    pairs.extend(cursor.map(|cursor| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        let encoded: String =
            cursor
                .bytes()
                .map(|byte| {
                    if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
                })
                .collect();
        format!("after={encoded}")
    }));
    pairs.join("&")
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
