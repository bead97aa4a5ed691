//! `DELETE /admin/cache`: removes cached answers.
//!
//! `account`, `class`, `model` and `key` (as records write it) narrow the
//! choice; without any of them everything is removed.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde_json::{Value, json};

use super::error::ApiError;
use super::{AdminState, blocking, query};
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

fn read(uri: &Uri) -> Result<Filter, ApiError> {
    const NAMES: [&str; 4] = ["account", "class", "model", "key"];
    let values = query::read(uri, NAMES)?;
    // A variable that a script left unset must not remove everything.
    let empty = |value: &Option<String>| value.as_deref() == Some("");
    if let Some((name, _)) = NAMES.iter().zip(&values).find(|(_, value)| empty(value)) {
        return Err(ApiError::bad(name, "empty; leave it out to mean every one"));
    }
    let [account, class, model, key] = values;
    Ok(Filter { account, class, model, key })
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
