//! The id in a path and the query of a request: every parameter known, none
//! given twice.

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::Uri;
use axum::http::request::Parts;

use super::error::ApiError;

/// Accounts or keys on one page, unless the query wants fewer; and the most.
pub(super) const PAGE: usize = 1000;

/// The id in a path; what cannot be one is the id of nothing.
pub(super) struct Id(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(id)| Self(id)).map_err(|_| ApiError::NotFound)
    }
}

/// The values of the parameters called `names`, in that order.
///
/// # Errors
/// 400 for any other parameter, as a misspelt filter must not show more than was
/// asked for; and for one that is given twice.
pub(super) fn read<const N: usize>(
    uri: &Uri,
    names: [&'static str; N],
) -> Result<[Option<String>; N], ApiError> {
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|_| ApiError::bad("query", "it is not of the form name=value&name=value"))?;
    let mut values = [const { None }; N];
    for (name, value) in pairs {
        let slot = names.iter().position(|known| *known == name);
        let Some(slot) = slot.and_then(|slot| values.get_mut(slot)) else {
            let message = "there is no such parameter here";
            return Err(ApiError::BadParameter { param: name.into(), message });
        };
        if slot.replace(value).is_some() {
            return Err(ApiError::BadParameter { param: name.into(), message: "given twice" });
        }
    }
    Ok(values)
}

/// The parameter `limit`: 1 to 1000, by default 1000.
///
/// # Errors
/// 400 for anything else.
pub(super) fn limit(text: Option<&str>) -> Result<usize, ApiError> {
    text.map_or(Some(PAGE), |text| text.parse().ok())
        .filter(|limit| (1..=PAGE).contains(limit))
        .ok_or(ApiError::bad("limit", "a whole number from 1 to 1000"))
}
