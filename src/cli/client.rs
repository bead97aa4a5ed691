//! The admin API of a running instance, from outside.

use std::error::Error;
use std::time::Duration;

pub(super) use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::out::Failure;
use super::{ConfigFile, variable};
use crate::admin::token;
use crate::banner::reachable;
use crate::base::secret::Secret;
use crate::config::Config;
use crate::http_client;

/// A client of the admin API.
pub(super) struct AdminClient {
    http: reqwest::Client,
    base: Url,
    /// The base without a slash at its end, for messages.
    shown: String,
    token: Secret,
}

/// One page of a list; its items as the text that they are.
#[derive(Debug, Deserialize)]
pub(super) struct ListPage {
    pub(super) data: Vec<Box<RawValue>>,
    pub(super) next: Option<String>,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorObject,
}

#[derive(Deserialize)]
struct ErrorObject {
    message: String,
}

impl AdminClient {
    /// A client of the instance that `TOLLGATE_ADMIN_URL` and
    /// `TOLLGATE_ADMIN_TOKEN` name. What they leave out is taken from the
    /// configuration, the token where that gives none from the data directory.
    pub(super) fn find(file: &ConfigFile) -> Result<Self, Failure> {
        let (url, token) = (variable("TOLLGATE_ADMIN_URL"), variable("TOLLGATE_ADMIN_TOKEN"));
        if let (Some(url), Some(token)) = (&url, &token) {
            return Self::new(url, Secret::new(token.as_str()));
        }
        let config = file.load()?;
        let url = url.unwrap_or_else(|| format!("http://{}", reachable(config.listen.admin)));
        let token = token.map_or_else(|| kept_token(&config), |token| Ok(Secret::new(token)))?;
        Self::new(&url, token)
    }

    pub(super) fn new(url: &str, token: Secret) -> Result<Self, Failure> {
        let base = Url::parse(url)
            .ok()
            .filter(|url| url.scheme() == "http" && url.has_host())
            .ok_or_else(|| {
                Failure::Usage(format!(
                    "{url:?} is no address of an admin API, such as http://127.0.0.1:8081"
                ))
            })?;
        let http = http_client::plain()
            .map_err(|error| Failure::Failed(format!("cannot make a client: {error}")))?
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(120))
            .build()
            .map_err(|error| Failure::Failed(format!("cannot make a client: {error}")))?;
        let shown = base.as_str().trim_end_matches('/').to_owned();
        Ok(Self { http, base, shown, token })
    }

    /// One page of the list at `path`.
    pub(super) async fn page(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<ListPage, Failure> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        if !query.is_empty() {
            url.query_pairs_mut().clear().extend_pairs(query);
        }
        let body = self.ask(self.http.get(url)).await?;
        serde_json::from_slice(&body).map_err(|_| {
            Failure::Failed(format!("{} answered with something else than a list", self.shown))
        })
    }

    /// The text at `path`, an escaped one, whatever its type.
    pub(super) async fn text(&self, path: &str, query: &[(&str, &str)]) -> Result<String, Failure> {
        let mut url = self.url(path)?;
        url.query_pairs_mut().extend_pairs(query);
        let body = self.ask(self.http.get(url)).await?;
        String::from_utf8(body.to_vec()).map_err(|_| {
            Failure::Failed(format!("{} answered with something else than text", self.shown))
        })
    }

    /// The URL of an escaped path.
    fn url(&self, path: &str) -> Result<Url, Failure> {
        // Not `set_path`, which would escape what is escaped already.
        Url::parse(&format!("{}{path}", self.shown))
            .map_err(|error| Failure::Usage(format!("{path:?}: {error}")))
    }

    /// Asks for what is at `path`, or changes it; the answer as the text that it
    /// is.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Box<RawValue>, Failure> {
        let mut request = self.http.request(method, self.url(path)?);
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let body = self.ask(request).await?;
        serde_json::from_slice(&body).map_err(|_| {
            Failure::Failed(format!("{} answered with something else than JSON", self.shown))
        })
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> Result<bytes::Bytes, Failure> {
        let sent = request.bearer_auth(self.token.expose()).send().await;
        let answer = sent.map_err(|error| self.unreachable(error))?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(|error| self.unreachable(error))?;
        if !status.is_success() {
            return Err(self.refused(status, &body));
        }
        Ok(body)
    }

    fn unreachable(&self, error: reqwest::Error) -> Failure {
        let refused = error.is_connect();
        let error = error.without_url();
        // The innermost cause is the one that says something.
        let mut cause: &dyn Error = &error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        let advice = if refused {
            ". Start an instance with `tollgate serve`, or name a running one with \
             TOLLGATE_ADMIN_URL or -c FILE"
        } else {
            ""
        };
        Failure::Failed(format!("cannot reach the admin API at {}: {cause}{advice}", self.shown))
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> Failure {
        let message = serde_json::from_slice::<ErrorBody>(body)
            .map_or_else(|_| format!("status {status}"), |body| body.error.message);
        match status {
            StatusCode::UNAUTHORIZED => Failure::Failed(format!(
                "the instance at {} refuses the admin token; set TOLLGATE_ADMIN_TOKEN, or give \
                 its configuration with -c FILE",
                self.shown
            )),
            StatusCode::BAD_REQUEST => Failure::Usage(message),
            _ => Failure::Failed(format!("{} says: {message}", self.shown)),
        }
    }
}

fn kept_token(config: &Config) -> Result<Secret, Failure> {
    if !config.admin_token.is_empty() {
        return Ok(config.admin_token.clone());
    }
    token::load(&config.store.path).map_err(|error| {
        let path = token::path(&config.store.path);
        Failure::Failed(format!(
            "cannot read the admin token in {}: {error}; it is made at the first `tollgate \
             serve`, or set TOLLGATE_ADMIN_TOKEN",
            path.display()
        ))
    })
}
