//! A running gateway as its clients and operators see it, in whichever process
//! it runs.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::client::{Answer, Connection, Request};
use super::eventually::eventually;
use super::setup::{ADMIN_TOKEN, DEFAULT_PLAN, key_of};

/// The addresses of a running gateway.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    /// Where customers come in.
    pub(crate) proxy: SocketAddr,
    /// Where operators come in.
    pub(crate) admin: SocketAddr,
}

/// A chat request that the mock provider and the sandbox answer.
pub(crate) fn chat_body() -> Value {
    json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello."}]})
}

/// The same, streamed.
pub(crate) fn stream_body() -> Value {
    let mut body = chat_body();
    body["stream"] = true.into();
    body
}

impl Door {
    /// The base URL for an SDK.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.proxy)
    }

    /// The key of the account that was made for `plan`.
    pub(crate) fn key(&self, plan: &str) -> String {
        key_of(plan)
    }

    /// A chat request of the fixture's own account.
    pub(crate) fn chat(&self) -> Request {
        self.chat_as(DEFAULT_PLAN)
    }

    /// A chat request of the account that was made for `plan`.
    pub(crate) fn chat_as(&self, plan: &str) -> Request {
        self.post(&chat_body()).bearer(&key_of(plan))
    }

    /// A streamed chat request of the fixture's own account.
    pub(crate) fn stream(&self) -> Request {
        self.post(&stream_body()).bearer(&key_of(DEFAULT_PLAN))
    }

    /// A chat request of the fixture's own account with these very bytes.
    pub(crate) fn chat_text(&self, body: &str) -> Request {
        Request::post_text("/v1/chat/completions", body.to_owned()).bearer(&key_of(DEFAULT_PLAN))
    }

    fn post(&self, body: &Value) -> Request {
        Request::post("/v1/chat/completions", body)
    }

    /// Sends `request` on a connection of its own and reads the whole answer.
    pub(crate) async fn send(&self, request: &Request) -> Answer {
        request.send(self.proxy).await
    }

    /// Sends `request` on a connection of its own.
    pub(crate) async fn open(&self, request: &Request) -> Connection {
        request.open(self.proxy).await
    }

    /// A new connection for customers.
    pub(crate) async fn connect(&self) -> Connection {
        Connection::open(self.proxy).await
    }

    /// `GET path` at the admin listener, with the token.
    pub(crate) async fn admin(&self, path: &str) -> Answer {
        Request::get(path).bearer(ADMIN_TOKEN).send(self.admin).await
    }

    /// Sends `body` to `path` at the admin listener, with the token.
    pub(crate) async fn tell(&self, method: &str, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        Request::with_text(method, path, body).bearer(ADMIN_TOKEN).send(self.admin).await
    }

    /// Changes what is at `path` of the admin listener.
    pub(crate) async fn change(&self, path: &str, body: &Value) -> Answer {
        self.tell("PATCH", path, body).await
    }

    /// The value of a metric that counts, its labels included as they are shown;
    /// 0 where there is none.
    pub(crate) async fn metric(&self, series: &str) -> u64 {
        let text = self.admin("/metrics").await.ok().text();
        let value = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok();
        text.lines().find_map(value).unwrap_or(0)
    }

    /// Waits until a metric has this value.
    pub(crate) async fn wait_for_metric(&self, series: &str, value: u64) {
        eventually(&format!("{series} {value}"), async || {
            (self.metric(series).await == value).then_some(())
        })
        .await;
    }

    /// Every usage record so far, the list followed to its end.
    pub(crate) async fn records(&self) -> Vec<Value> {
        let mut records = Vec::new();
        let mut path = "/admin/usage?by=request".to_owned();
        loop {
            let page = self.admin(&path).await.ok().json();
            records.extend(page["data"].as_array().expect("a list").iter().cloned());
            match &page["next"] {
                Value::Null => break,
                next => {
                    let next = next.as_str().map_or_else(|| next.to_string(), str::to_owned);
                    path = format!("/admin/usage?by=request&after={next}");
                }
            }
        }
        records
    }

    /// Waits until there are `count` usage records, and gives them. For ends of
    /// requests that no client can see, such as its own departure.
    pub(crate) async fn wait_for_records(&self, count: usize) -> Vec<Value> {
        eventually(&format!("{count} usage records"), async || {
            let records = self.records().await;
            (records.len() >= count).then_some(records)
        })
        .await
    }

    /// The record of the request whose `x-request-id` this is, once it is there.
    pub(crate) async fn record_of(&self, request_id: &str) -> Value {
        eventually(&format!("the record of {request_id}"), async || {
            self.records().await.into_iter().find(|record| record["request_id"] == request_id)
        })
        .await
    }

    /// The only usage record, which must be there by now.
    pub(crate) async fn only_record(&self) -> Value {
        let mut records = self.records().await;
        assert_eq!(records.len(), 1, "{records:#?}");
        records.remove(0)
    }
}
