//! Who may use `/admin/*`: whoever has the admin token.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use subtle::ConstantTimeEq;

use super::AdminState;
use super::error::ApiError;
use crate::base::secret::Secret;

/// Lets a request through if it carries the admin token.
pub(super) async fn require_token(
    State(state): State<AdminState>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if !is_admin(request.headers(), &state.token) {
        return Err(ApiError::Unauthorized);
    }
    Ok(next.run(request).await)
}

/// Compares in a time that depends on the lengths only.
fn is_admin(headers: &HeaderMap, token: &Secret) -> bool {
    let Some(value) = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    let Some((scheme, shown)) = value.split_once(' ') else {
        return false;
    };
    // An empty token is no token: it must not let everybody in.
    scheme.eq_ignore_ascii_case("bearer")
        && !token.is_empty()
        && bool::from(shown.trim().as_bytes().ct_eq(token.expose().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lets_in(value: &str, token: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        is_admin(&headers, &Secret::new(token))
    }

    #[test]
    fn only_the_token_itself_lets_in() {
        assert!(lets_in("Bearer s3cret", "s3cret"));
        assert!(lets_in("bearer s3cret", "s3cret"));
        for value in
            ["Bearer s3cre", "Bearer s3cret1", "Bearer", "Bearer ", "s3cret", "Basic s3cret"]
        {
            assert!(!lets_in(value, "s3cret"), "{value}");
        }
        assert!(!is_admin(&HeaderMap::new(), &Secret::new("s3cret")));
    }

    #[test]
    fn an_empty_token_lets_nobody_in() {
        assert!(!lets_in("Bearer ", ""));
        assert!(!lets_in("Bearer  ", ""));
    }
}
