//! A WebSocket: once the provider has said 101, bytes pass both ways until
//! either side closes. It holds what the request occupies meanwhile.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, StatusCode};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::exchange::{AnswerHead, Client, Ending, Raw};
use crate::ledger::record::Outcome;
use crate::pipeline::opaque::Passage;
use crate::pipeline::opaque::send::{Called, Failed};
use crate::refusal::Refusal;
use crate::telemetry::metrics::labels::ProviderCode;
use crate::upstream::{Body, Failure, Framing, Reply, Sending};

/// Bytes that are read from a client at once.
const READ: usize = 16 * 1024;
/// How long both sides may be silent.
const IDLE: Duration = Duration::from_secs(15 * 60);
/// How long a client may take for one piece.
const WRITE: Duration = Duration::from_secs(60);

/// What passed.
#[derive(Default)]
struct Passed {
    up: u64,
    down: u64,
}

impl<C: Client> Passage<'_, C> {
    /// Serves a WebSocket, from its handshake to its end.
    pub(super) async fn tunnel(&mut self) -> Result<Ending, Refusal> {
        let patience = self.snapshot.config.routing.first_byte_timeout;
        let opened = match self.open(Framing::Upgrade).await {
            Ok((sending, mut answering)) => {
                match tokio::time::timeout(patience, answering.head()).await {
                    Ok(Ok(())) => Ok((sending, answering.reply())),
                    Ok(Err(failure)) => Err(Called::Failed(failure)),
                    Err(_) => Err(Called::Failed(Failure::TimedOut)),
                }
            }
            Err(Failed::Provider(failure)) => Err(Called::Failed(failure)),
            Err(Failed::Refused(refusal)) => Err(Called::Refused(refusal)),
        };
        let (sending, reply) = match opened {
            Ok(opened) => opened,
            Err(called) => {
                let called = self.count(called);
                return self.no_reply(called).await;
            }
        };
        self.reach.series.called(ProviderCode::Status(reply.status.as_u16()));
        if reply.status != StatusCode::SWITCHING_PROTOCOLS {
            return self.hand_over(reply).await;
        }
        self.switch(sending, reply).await
    }

    async fn switch(&mut self, sending: Sending, reply: Reply) -> Result<Ending, Refusal> {
        let Reply { status, headers, mut body } = reply;
        let mut headers = self.headers(status, &headers, false);
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        let Ok((begun, connection)) = self.client.upgrade(AnswerHead { status, headers }).await
        else {
            drop((sending, body));
            return self.gone().await;
        };
        body.wait_without_end();
        self.tab.sent(0);
        let (passed, outcome) = pass(begun, connection, sending, body).await;
        self.tab.received(passed.up);
        self.tab.sent(usize::try_from(passed.down).unwrap_or(usize::MAX));
        self.tab.settle(outcome, status.as_u16(), self.exchange.waited).await?;
        Ok(Ending::Cut)
    }
}

/// Passes bytes both ways until either side closes; then both are closed. Each
/// way has its own buffer, so that neither waits for the other.
async fn pass(
    begun: Bytes,
    connection: Box<dyn Raw>,
    mut sending: Sending,
    mut body: Body,
) -> (Passed, Outcome) {
    let mut passed = Passed::default();
    let heard = Mutex::new(Instant::now());
    let (up, down) = (&mut passed.up, &mut passed.down);
    let (mut from_client, mut to_client) = tokio::io::split(connection);
    let upward = async {
        let mut buffer = vec![0; READ];
        let mut piece: &[u8] = &begun;
        loop {
            *heard.lock() = Instant::now();
            *up += piece.len() as u64;
            if sending.send(piece).await.is_err() {
                return Outcome::Cut;
            }
            piece = match from_client.read(&mut buffer).await {
                Ok(count) if count > 0 => buffer.get(..count).unwrap_or_default(),
                // A client that closes ends the session, as it may at any time.
                _ => return Outcome::Ok,
            };
        }
    };
    let downward = async {
        loop {
            let Ok(Some(piece)) = body.next().await else { return Outcome::Ok };
            *heard.lock() = Instant::now();
            *down += piece.len() as u64;
            let written = tokio::time::timeout(WRITE, async {
                to_client.write_all(&piece).await?;
                to_client.flush().await
            });
            if !matches!(written.await, Ok(Ok(()))) {
                return Outcome::ClientGoneLate;
            }
        }
    };
    let silence = async {
        loop {
            let until = *heard.lock() + IDLE;
            if until <= Instant::now() {
                return Outcome::Ok;
            }
            tokio::time::sleep_until(until).await;
        }
    };
    let outcome = tokio::select! {
        ended = downward => ended,
        ended = upward => ended,
        ended = silence => ended,
    };
    // The provider's last words have been passed; a client that does not take
    // the end of the connection loses it with the drop.
    let _unclean = to_client.shutdown().await;
    (passed, outcome)
}
