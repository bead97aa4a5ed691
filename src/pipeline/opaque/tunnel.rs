//! A WebSocket: once the provider has said 101, bytes pass both ways until
//! either side closes, or there is a reason to close it. It holds what the request
//! occupies meanwhile, and has a record each minute.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, StatusCode};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::exchange::{Client, Ending};
use crate::ledger::record::Outcome;
use crate::opaque::frames::{self, Fault, Frames, Side};
use crate::opaque::said::Said;
use crate::pipeline::opaque::Passage;
use crate::pipeline::opaque::send::{Called, Failed};
use crate::pipeline::opaque::session::{Session, Verdict};
use crate::refusal::Refusal;
use crate::telemetry::metrics::labels::ProviderCode;
use crate::upstream::{Body, Failure, Framing, Reply, Sending};

/// Bytes that are read from a client at once.
const READ: usize = 16 * 1024;
/// How long a client may take for one piece.
const WRITE: Duration = Duration::from_secs(60);
/// How long either side may take for a last frame.
const LAST_WORD: Duration = Duration::from_secs(1);

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
        let mut head = self.head(status, &headers, false);
        head.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        head.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        let Ok((begun, connection)) = self.client.upgrade(head).await else {
            drop((sending, body));
            return self.gone().await;
        };
        body.wait_without_end();
        self.tab.sent(0);
        self.tab.begin_session();
        let limit = self.snapshot.config.opaque.socket_message_limit;
        let (from_client, to_client) = tokio::io::split(connection);
        let session = Mutex::new(Session::new(self.app.clock.clone()));
        let mut up = Up {
            from_client,
            sending,
            frames: Frames::of(Side::Client, limit),
            said: self.tenant.map(Said::by),
            clean: true,
        };
        let mut down =
            Down { body, to_client, frames: Frames::of(Side::Server, limit), clean: true };
        let outcome = tokio::select! {
            ended = down.pass(&session) => ended,
            ended = up.pass(begun, &session) => ended,
            ended = self.watch(&session) => ended,
        };
        let (verdict, passed) = {
            let mut session = session.lock();
            (session.verdict(), session.take())
        };
        // The provider's last words have been passed; who does not take the end of
        // the connection loses it with the drop.
        if let Some(verdict) = verdict {
            up.close(verdict).await;
            down.close(verdict).await;
        }
        let _unclean = tokio::time::timeout(LAST_WORD, down.to_client.shutdown()).await;
        self.tab.received(passed.up);
        self.tab.sent(usize::try_from(passed.down).unwrap_or(usize::MAX));
        let waited = self.exchange.waited;
        self.tab.settle_with(outcome, status.as_u16(), waited, passed.tokens).await?;
        Ok(Ending::Cut)
    }
}

/// The way to the provider.
struct Up<'t, R> {
    from_client: R,
    sending: Sending,
    frames: Frames,
    /// Hears what the client says, where ownership is enforced.
    said: Option<Said<'t>>,
    /// Whether all that was begun was sent, up to the end of a frame.
    clean: bool,
}

impl<R: AsyncRead + Unpin> Up<'_, R> {
    async fn pass(&mut self, begun: Bytes, session: &Mutex<Session>) -> Outcome {
        let mut buffer = vec![0; READ];
        let mut piece: &[u8] = &begun;
        loop {
            if let Err(verdict) = self.judge(piece) {
                session.lock().end(verdict);
                return Outcome::Ok;
            }
            session.lock().passed_up(piece.len());
            self.clean = false;
            if self.sending.send(piece).await.is_err() {
                return Outcome::Cut;
            }
            self.clean = self.frames.is_between();
            piece = match self.from_client.read(&mut buffer).await {
                Ok(count) if count > 0 => buffer.get(..count).unwrap_or_default(),
                // A client that closes ends the session, as it may at any time.
                _ => return Outcome::Ok,
            };
        }
    }

    /// Whether the next bytes may be passed on.
    fn judge(&mut self, piece: &[u8]) -> Result<(), Verdict> {
        let Some(said) = &mut self.said else {
            return self.frames.follow(piece, &mut ()).map_err(Verdict::of);
        };
        self.frames.follow(piece, said).map_err(Verdict::of)?;
        said.wrong().map_or(Ok(()), |wrong| Err(Verdict::of_said(&wrong)))
    }

    async fn close(&mut self, verdict: Verdict) {
        if self.clean && !self.frames.is_closing() {
            let (code, reason) = verdict.said();
            let frame = frames::close(Side::Client, code, reason);
            let _gone = tokio::time::timeout(LAST_WORD, self.sending.send(&frame)).await;
        }
    }
}

/// The way to the client.
struct Down<W> {
    body: Body,
    to_client: W,
    frames: Frames,
    clean: bool,
}

impl<W: AsyncWrite + Unpin> Down<W> {
    async fn pass(&mut self, session: &Mutex<Session>) -> Outcome {
        loop {
            let Ok(Some(piece)) = self.body.next().await else { return Outcome::Ok };
            let mut fault = None;
            {
                let mut session = session.lock();
                if let Err(found) = self.frames.follow(&piece, session.heard()) {
                    session.end(Verdict::of(found));
                    fault = Some(found);
                } else {
                    session.passed_down(piece.len());
                }
            }
            match fault {
                None => {}
                Some(Fault::Malformed) => return Outcome::Cut,
                Some(Fault::TooLarge) => return Outcome::Ok,
            }
            self.clean = false;
            let written = tokio::time::timeout(WRITE, async {
                self.to_client.write_all(&piece).await?;
                self.to_client.flush().await
            });
            if !matches!(written.await, Ok(Ok(()))) {
                return Outcome::ClientGoneLate;
            }
            self.clean = self.frames.is_between();
            if self.clean && session.lock().verdict().is_some() {
                return Outcome::Ok;
            }
        }
    }

    async fn close(&mut self, verdict: Verdict) {
        if self.clean && !self.frames.is_closing() {
            let (code, reason) = verdict.said();
            let frame = frames::close(Side::Server, code, reason);
            let _gone = tokio::time::timeout(LAST_WORD, async {
                self.to_client.write_all(&frame).await?;
                self.to_client.flush().await
            })
            .await;
        }
    }
}
