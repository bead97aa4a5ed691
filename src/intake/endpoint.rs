//! Path and method → endpoint.

use std::sync::Arc;

use http::Method;

use crate::config::Class;
use crate::exchange::Errors;
use crate::refusal::Refusal;

/// An endpoint of the understood lane, which goes through every stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `POST /v1/chat/completions`.
    ChatCompletions,
    /// `POST /v1/completions`.
    Completions,
    /// `POST /v1/embeddings`.
    Embeddings,
    /// `POST /v1/responses`.
    Responses,
    /// `POST /v1/messages`, Anthropic's.
    Messages,
    /// `POST /v1/messages/count_tokens`, Anthropic's.
    CountTokens,
}

impl Endpoint {
    /// Every endpoint, in the order of [`Endpoint::index`].
    pub const ALL: [Self; 6] = [
        Self::ChatCompletions,
        Self::Completions,
        Self::Embeddings,
        Self::Responses,
        Self::Messages,
        Self::CountTokens,
    ];

    /// Its place in [`Endpoint::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The path under the class prefix.
    pub const fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Embeddings => "/v1/embeddings",
            Self::Responses => "/v1/responses",
            Self::Messages => "/v1/messages",
            Self::CountTokens => "/v1/messages/count_tokens",
        }
    }

    /// The endpoint of a path under the class prefix.
    pub fn of(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|endpoint| endpoint.path() == path)
    }

    /// Whose error object its refusals have.
    pub const fn errors(self) -> Errors {
        match self {
            Self::Messages | Self::CountTokens => Errors::Anthropic,
            Self::ChatCompletions | Self::Completions | Self::Embeddings | Self::Responses => {
                Errors::OpenAi
            }
        }
    }

    /// Whether it makes no answer by a model, and so consumes nothing of a quota
    /// and costs nothing.
    pub const fn is_free(self) -> bool {
        matches!(self, Self::CountTokens)
    }

    /// Whether a body may name what a provider made: files, earlier responses.
    pub const fn names_things(self) -> bool {
        matches!(self, Self::ChatCompletions | Self::Responses | Self::Messages | Self::CountTokens)
    }

    /// Whether a streamed answer reports its usage only if
    /// `stream_options.include_usage` asks for it.
    pub const fn usage_on_request(self) -> bool {
        matches!(self, Self::ChatCompletions | Self::Completions)
    }
}

/// What a path asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked<'a> {
    /// An understood endpoint.
    Understood(Endpoint),
    /// `GET /v1/models`.
    Models,
    /// `GET /v1/models/{id}`.
    Model(&'a str),
    /// `GET /v1/usage`.
    Usage,
    /// `GET /v1/usage/{request_id}`.
    Record(&'a str),
    /// Something that is passed on without being understood, if at all.
    Opaque,
}

/// A path of the API, recognised.
#[derive(Clone, Debug)]
pub struct Lane<'a> {
    /// The class that the path's prefix chose.
    pub class: Option<&'a Arc<Class>>,
    /// The path under the prefix, `/v1/…`.
    pub path: &'a str,
}

impl Lane<'_> {
    /// Whose error object refusals have on this path.
    pub fn errors(&self) -> Errors {
        Endpoint::of(self.path).map(Endpoint::errors).unwrap_or_default()
    }
}

/// Recognises `path`.
///
/// # Errors
/// 404 if it is not under `/v1` or `/<class prefix>/v1`.
pub fn lane<'a>(path: &'a str, classes: &'a [Arc<Class>]) -> Result<Lane<'a>, Refusal> {
    let api = |path: &str| path.starts_with("/v1/");
    if api(path) {
        return Ok(Lane { class: None, path });
    }
    classes
        .iter()
        .find_map(|class| {
            let rest = path.strip_prefix(class.prefix.as_deref()?)?;
            api(rest).then_some(Lane { class: Some(class), path: rest })
        })
        .ok_or_else(Refusal::not_found)
}

/// What `method` on a lane's path asks for.
///
/// # Errors
/// 405 if the path has other methods.
pub fn asked<'a>(method: &Method, path: &'a str) -> Result<Asked<'a>, Refusal> {
    if let Some(endpoint) = Endpoint::of(path) {
        return match *method {
            Method::POST => Ok(Asked::Understood(endpoint)),
            _ => Err(Refusal::method_not_allowed("POST")),
        };
    }
    let usage = match path.strip_prefix("/v1/usage") {
        Some("" | "/") => Some(Asked::Usage),
        Some(rest) => rest.strip_prefix('/').map(Asked::Record),
        None => None,
    };
    if let Some(asked) = usage {
        return match *method {
            Method::GET => Ok(asked),
            _ => Err(Refusal::method_not_allowed("GET")),
        };
    }
    let models = match path.strip_prefix("/v1/models") {
        Some("" | "/") => Some(Asked::Models),
        Some(rest) => rest.strip_prefix('/').map(Asked::Model),
        None => None,
    };
    match models {
        Some(asked) if *method == Method::GET => Ok(asked),
        Some(Asked::Model(_)) if *method == Method::DELETE => Ok(Asked::Opaque),
        Some(_) => Err(Refusal::method_not_allowed("GET")),
        None => Ok(Asked::Opaque),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::Code;

    fn code(method: Method, path: &str) -> Code {
        asked(&method, path).unwrap_err().code
    }

    #[test]
    fn paths_are_matched_exactly() {
        assert_eq!(
            asked(&Method::POST, "/v1/embeddings").unwrap(),
            Asked::Understood(Endpoint::Embeddings)
        );
        assert_eq!(
            asked(&Method::POST, "/v1/messages/count_tokens").unwrap(),
            Asked::Understood(Endpoint::CountTokens)
        );
        assert_eq!(code(Method::GET, "/v1/messages"), Code::MethodNotAllowed);
        assert_eq!(asked(&Method::GET, "/v1/models").unwrap(), Asked::Models);
        assert_eq!(asked(&Method::GET, "/v1/models/a/b").unwrap(), Asked::Model("a/b"));
        assert_eq!(asked(&Method::GET, "/v1/usage").unwrap(), Asked::Usage);
        assert_eq!(asked(&Method::GET, "/v1/usage/req_1").unwrap(), Asked::Record("req_1"));
        assert_eq!(code(Method::POST, "/v1/usage"), Code::MethodNotAllowed);
        assert_eq!(code(Method::HEAD, "/v1/usage/req_1"), Code::MethodNotAllowed);
        assert_eq!(code(Method::GET, "/v1/chat/completions"), Code::MethodNotAllowed);
        assert_eq!(code(Method::DELETE, "/v1/models"), Code::MethodNotAllowed);
        assert_eq!(code(Method::PUT, "/v1/models/x"), Code::MethodNotAllowed);
        for (method, path) in [
            (Method::DELETE, "/v1/models/x"),
            (Method::POST, "/v1/chat/completions/"),
            (Method::POST, "/v1/modelsx"),
            (Method::GET, "/v1/files"),
        ] {
            assert_eq!(asked(&method, path).unwrap(), Asked::Opaque, "{path}");
        }
    }

    #[test]
    fn only_the_api_is_a_lane() {
        assert_eq!(lane("/v1/models", &[]).unwrap().path, "/v1/models");
        for path in ["/", "/v1", "/v2/models", "/nope/v1/models", "/v1beta/models"] {
            assert_eq!(lane(path, &[]).unwrap_err().code, Code::NotFound, "{path}");
        }
    }
}
