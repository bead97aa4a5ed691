//! One POST to one address.

use std::sync::OnceLock;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Response, StatusCode};

use super::event;
use super::lane::Failure;
use super::sign::signature;
use crate::base::clock::Timestamp;
use crate::config::Webhook;
use crate::http_client;
use crate::store::outbox::Entry;

/// Time for a whole delivery, from the connecting to the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read, so that its connection can be used again.
const READ: usize = 1024;

/// Sends events.
#[derive(Default)]
pub(super) struct Courier {
    /// Made where there is anybody to tell: it reads the authorities from the disk.
    client: OnceLock<Option<Client>>,
}

/// What came of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// How it failed; `None` is success.
    pub(super) failure: Option<Failure>,
    /// The answer's status, if there was one.
    pub(super) status: Option<u16>,
    /// Why it failed, in words that hold nothing of the address.
    pub(super) error: Option<&'static str>,
}

impl Courier {
    /// Makes ready, so that the first delivery need not. Blocks.
    pub(super) fn prepare(&self) {
        self.client.get_or_init(client);
    }

    /// Tells `webhook` of `entry` at `now`.
    pub(super) async fn deliver(
        &self,
        webhook: &Webhook,
        entry: &Entry,
        now: Timestamp,
    ) -> Outcome {
        let Some(client) = self.client.get_or_init(client) else {
            return Outcome::away("this machine has no HTTP client");
        };
        let (id, body) = (event::public_id(entry.id), event::body(entry));
        let signature = signature(&webhook.secret, &id, now.as_secs(), &body);
        let sent = client
            .post(webhook.url.expose())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", now.as_secs())
            .header("webhook-signature", signature)
            .body(body)
            .send()
            .await;
        match sent {
            Ok(response) => {
                let status = response.status();
                discard(response).await;
                Outcome::of(status)
            }
            // Its own text holds the address.
            Err(error) if error.is_timeout() => Outcome::away("no answer within 10 s"),
            Err(error) if error.is_connect() => Outcome::away("it cannot be reached"),
            Err(_) => Outcome::away("the connection broke off"),
        }
    }
}

fn client() -> Option<Client> {
    let builder = http_client::public().ok()?;
    builder
        .user_agent(concat!("Tollgate/", env!("CARGO_PKG_VERSION")))
        .timeout(PATIENCE)
        .build()
        .inspect_err(|error| tracing::error!(%error, "no webhook can be sent"))
        .ok()
}

/// Reads what there is of an answer, up to [`READ`] bytes. What is longer ends
/// with its connection.
async fn discard(mut response: Response) {
    let mut read = 0;
    while read < READ {
        match response.chunk().await {
            Ok(Some(chunk)) => read += chunk.len(),
            Ok(None) | Err(_) => return,
        }
    }
}

impl Outcome {
    const fn away(error: &'static str) -> Self {
        Self { failure: Some(Failure::Away), status: None, error: Some(error) }
    }

    fn of(status: StatusCode) -> Self {
        let (failure, error) = match status.as_u16() {
            200..=299 => (None, None),
            300..=399 => (Some(Failure::Refused), Some("it redirects, which is not followed")),
            429 | 502 | 503 | 504 => (Some(Failure::Away), Some("it takes nothing at the moment")),
            _ => (Some(Failure::Refused), Some("it refuses the event")),
        };
        Self { failure, status: Some(status.as_u16()), error }
    }
}
