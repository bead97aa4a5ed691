//! `GET /admin/usage`: usage records, or their sums.
//!
//! `from` is the first moment that counts, `to` the first that does not. With
//! neither, the current month in UTC is meant. `by` is `class` unless given.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::Uri;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::{AdminState, List, blocking, period};
use crate::base::clock::Timestamp;
use crate::base::id::RecordId;
use crate::ledger::{By, Filter, Page};

/// Records on one page, unless the query wants fewer.
const PAGE: usize = 1000;

pub(super) async fn list(State(state): State<AdminState>, uri: Uri) -> Result<Response, ApiError> {
    let wanted = Wanted::read(&uri, state.clock.wall())?;
    let ledger = Arc::clone(&state.ledger);
    blocking(move || match wanted.kind {
        Kind::Records(page) => {
            let found =
                ledger.records(&wanted.filter, page).map_err(|error| unavailable(&error))?;
            let next = found.next.map(|id| id.to_string());
            Ok(Json(List { data: found.records, next }).into_response())
        }
        Kind::Sums(by) => {
            let rows = ledger.summary(&wanted.filter, by).map_err(|error| unavailable(&error))?;
            Ok(Json(List::whole(rows)).into_response())
        }
    })
    .await?
}

pub(super) fn unavailable(error: &crate::ledger::StorageError) -> ApiError {
    tracing::error!(%error, "the ledger could not be read");
    ApiError::Storage
}

/// A checked query.
#[derive(Debug)]
struct Wanted {
    filter: Filter,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Records(Page),
    Sums(By),
}

impl Wanted {
    fn read(uri: &Uri, now: Timestamp) -> Result<Self, ApiError> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| ApiError::bad("query", "it is not of the form name=value&name=value"))?;
        let mut query = Parameters::default();
        for (name, value) in pairs {
            let slot = query.slot(&name)?;
            if slot.replace(value).is_some() {
                let message = "given twice";
                return Err(ApiError::BadParameter { param: name.into(), message });
            }
        }
        query.check(now)
    }
}

/// The parameters as written.
#[derive(Default)]
struct Parameters {
    account: Option<String>,
    from: Option<String>,
    to: Option<String>,
    by: Option<String>,
    limit: Option<String>,
    after: Option<String>,
}

impl Parameters {
    /// An unknown parameter is refused: a misspelt filter must not show more
    /// than was asked for.
    fn slot(&mut self, name: &str) -> Result<&mut Option<String>, ApiError> {
        Ok(match name {
            "account" => &mut self.account,
            "from" => &mut self.from,
            "to" => &mut self.to,
            "by" => &mut self.by,
            "limit" => &mut self.limit,
            "after" => &mut self.after,
            _ => {
                let message = "unknown; there are account, from, to, by, limit and after";
                return Err(ApiError::BadParameter { param: name.to_owned().into(), message });
            }
        })
    }

    fn check(self, now: Timestamp) -> Result<Wanted, ApiError> {
        if self.account.as_deref() == Some("") {
            return Err(ApiError::bad("account", "empty; leave it out to see every account"));
        }
        let (from, to) = period::read(self.from.as_deref(), self.to.as_deref(), now)?;
        let filter = Filter { account: self.account.map(Arc::from), from, to };
        let by = match self.by.as_deref() {
            Some("request") => None,
            Some("class") | None => Some(By::Class),
            Some("model") => Some(By::Model),
            Some("account") => Some(By::Account),
            Some("day") => Some(By::Day),
            Some(_) => {
                return Err(ApiError::bad("by", "one of request, class, model, account, day"));
            }
        };
        let kind = match by {
            None => Kind::Records(Page {
                after: self.after.as_deref().map(read_cursor).transpose()?,
                limit: self.limit.as_deref().map_or(Ok(PAGE), read_limit)?,
            }),
            Some(by) => {
                for (param, value) in [("limit", &self.limit), ("after", &self.after)] {
                    if value.is_some() {
                        return Err(ApiError::bad(param, "goes with by=request only"));
                    }
                }
                Kind::Sums(by)
            }
        };
        Ok(Wanted { filter, kind })
    }
}

fn read_cursor(text: &str) -> Result<RecordId, ApiError> {
    let id = text.parse().map_err(|_| ApiError::bad("after", "the next of an earlier page"))?;
    Ok(RecordId(id))
}

fn read_limit(text: &str) -> Result<usize, ApiError> {
    text.parse()
        .ok()
        .filter(|limit| (1..=PAGE).contains(limit))
        .ok_or(ApiError::bad("limit", "a whole number from 1 to 1000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Wanted, ApiError> {
        let uri: Uri = format!("/admin/usage?{query}").parse().unwrap();
        Wanted::read(&uri, period::moment("2026-11-24T05:00:00Z").unwrap())
    }

    #[test]
    fn without_a_time_the_current_month_is_meant() {
        let wanted = read("").unwrap();
        assert_eq!(wanted.filter.from, period::moment("2026-11-01"));
        assert_eq!(wanted.filter.to, None);
        assert!(matches!(wanted.kind, Kind::Sums(By::Class)));
        let wanted = read("to=2026-10-01").unwrap();
        assert_eq!((wanted.filter.from, wanted.filter.to), (None, period::moment("2026-10-01")));
    }

    #[test]
    fn every_parameter_is_read() {
        let id = "019374a0-0000-7000-8000-000000000000";
        let wanted = read(&format!(
            "account=a%20b&from=2026-01-01T02:00:00+02:00&to=2026-01-02T01%3A00%3A00%2B01:00&by=request&limit=7&after={id}"
        ))
        .unwrap();
        assert_eq!(wanted.filter.account.as_deref(), Some("a b"));
        assert_eq!(wanted.filter.from, period::moment("2026-01-01"));
        assert_eq!(wanted.filter.to, period::moment("2026-01-02"));
        let Kind::Records(page) = wanted.kind else { panic!("sums") };
        assert_eq!(page.limit, 7);
        assert_eq!(page.after.unwrap().to_string(), id);
    }

    #[test]
    fn a_bad_value_names_its_parameter() {
        for (query, param) in [
            ("from=yesterday", "from"),
            ("to=2026-02-30", "to"),
            ("from=2026-11-24&to=2026-11-24", "to"),
            ("by=provider", "by"),
            ("by=", "by"),
            ("by=request&limit=0", "limit"),
            ("by=request&limit=1001", "limit"),
            ("by=request&limit=-1", "limit"),
            ("by=request&after=x", "after"),
            ("by=day&limit=5", "limit"),
            ("after=019374a0-0000-7000-8000-000000000000", "after"),
            ("account=", "account"),
            ("acount=a", "acount"),
            ("by=day&by=class", "by"),
        ] {
            match read(query) {
                Err(ApiError::BadParameter { param: named, .. }) => assert_eq!(named, param),
                other => panic!("{query}: {other:?}"),
            }
        }
    }
}
