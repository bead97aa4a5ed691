//! `DELETE /admin/cache`: removes cached answers.
//!
//! `account`, `class`, `model` and `key` (as records write it) narrow the
//! choice; without any of them everything is removed.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::Uri;
use serde_json::{Value, json};

use super::error::ApiError;
use super::{AdminState, blocking};
use crate::cache::Filter;

pub(super) async fn purge(
    State(state): State<AdminState>,
    uri: Uri,
) -> Result<Json<Value>, ApiError> {
    let filter = read(&uri)?;
    let cache = Arc::clone(&state.cache);
    let removed = blocking(move || cache.purge(&filter)).await?;
    Ok(Json(json!({ "removed": removed })))
}

/// An unknown parameter is refused: a misspelt filter must not remove more than
/// was asked for.
fn read(uri: &Uri) -> Result<Filter, ApiError> {
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|_| ApiError::bad("query", "it is not of the form name=value&name=value"))?;
    let mut filter = Filter::default();
    for (name, value) in pairs {
        let wrong = |message| ApiError::BadParameter { param: name.clone().into(), message };
        let slot = match name.as_str() {
            "account" => &mut filter.account,
            "class" => &mut filter.class,
            "model" => &mut filter.model,
            "key" => &mut filter.key,
            _ => return Err(wrong("unknown; there are account, class, model and key")),
        };
        if value.is_empty() {
            return Err(wrong("empty; leave it out to mean every one"));
        }
        if slot.replace(value).is_some() {
            return Err(wrong("given twice"));
        }
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(query: &str) -> Result<Filter, ApiError> {
        read(&format!("/admin/cache{query}").parse().unwrap())
    }

    #[test]
    fn a_filter_is_read_strictly() {
        let filter = super::tests::filter("?account=a%20b&key=00ff").unwrap();
        assert_eq!(filter.account.as_deref(), Some("a b"));
        assert_eq!(filter.key.as_deref(), Some("00ff"));
        assert_eq!((filter.class, filter.model), (None, None));
        for query in ["?acount=a", "?account=", "?account=a&account=b"] {
            assert!(super::tests::filter(query).is_err(), "{query}");
        }
    }
}
