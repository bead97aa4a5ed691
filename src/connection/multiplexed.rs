//! A client connection that speaks HTTP/2: every stream is a request.
//!
//! Pingora's own accept loop is private to its applications, so this is one on
//! the same parts. It ends with GOAWAY, so that a client knows which of its
//! requests to repeat elsewhere: on shutdown, and when nothing was asked for
//! too long.

use std::sync::Arc;

use bytes::BytesMut;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{self, H2Accept, H2Options, HttpSession};
use pingora_core::protocols::{Digest, Stream};
use pingora_core::server::ShutdownWatch;
use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::frames::FrameWatch;
use super::layered::Layered;
use super::{Connections, Handler, IDLE, LAST_CALL, Next};

/// What an HTTP/2 client sends first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Requests at once on one connection.
const STREAMS: u32 = 100;
/// Largest list of headers that is decoded, in bytes as HPACK counts them. Over
/// half of it a request is refused in words; over all of it, by a bare 431.
const HEADER_LIST: u32 = 64 * 1024;
/// Bytes of one request's body that may be under way unread.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Bytes of all bodies of one connection that may be under way unread.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Malformed requests that end the connection, as in Pingora's own loop.
const MALFORMED: usize = 32;

fn options() -> H2Options {
    let mut options = server::default_h2_options();
    options
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADER_LIST)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    options
}

/// Whether a connection whose first bytes are `first` speaks HTTP/2 by prior
/// knowledge. Reads on only while they may still become the preface; a client
/// that has not sent it `by` then has sent none.
pub(super) async fn has_preface(stream: &mut Stream, first: &mut BytesMut, by: Instant) -> bool {
    if undecided(first) {
        let more =
            async { while undecided(first) && matches!(stream.read_buf(first).await, Ok(1..)) {} };
        // What there is by then is judged as it is.
        let _over = tokio::time::timeout_at(by, more).await;
    }
    first.starts_with(PREFACE)
}

fn undecided(first: &[u8]) -> bool {
    first.len() < PREFACE.len() && PREFACE.starts_with(first)
}

/// Serves the connection, whose first bytes are `first`, to its end. Returns once
/// its last stream has ended.
pub(super) async fn serve<H: Handler>(
    connections: &Arc<Connections<H>>,
    stream: Stream,
    first: BytesMut,
    shutdown: &ShutdownWatch,
) {
    let digest = Arc::new(Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: stream.get_proxy_digest(),
        socket_digest: stream.get_socket_digest(),
    });
    let patience = connections.handler.header_timeout();
    let watch = FrameWatch::new(patience, connections.handler.stall_timeout());
    let stream: Stream = Box::new(Layered::watched(stream, first, watch));
    // A client that has just connected has something to ask.
    let soon = Instant::now() + patience;
    let greeted = tokio::time::timeout(patience, server::handshake(stream, Some(options()))).await;
    let Ok(Ok(mut connection)) = greeted else { return };
    let mut streams = JoinSet::new();
    let mut stopping = shutdown.clone();
    let (mut closing, mut asked, mut malformed) = (false, false, 0);
    // Answers that broke off. To drop one resets its stream, and h2 throws away
    // what is queued of it; so each waits until the connection has been driven
    // once more after its last piece.
    let mut cut: Vec<ServerSession> = Vec::new();
    loop {
        let quiet = match (closing, asked) {
            (true, _) => Instant::now() + LAST_CALL,
            (false, true) => Instant::now() + IDLE,
            (false, false) => soon,
        };
        tokio::select! {
            biased;
            // A closed channel means that the server is gone: the same.
            _ = stopping.wait_for(|stopping| *stopping), if !closing => {
                closing = true;
                connection.graceful_shutdown();
            }
            // This also drives the connection: reads, writes, flow control.
            accepted = HttpSession::from_h2_conn(&mut connection, digest.clone()) => match accepted {
                Ok(Some(H2Accept::Session(session))) => {
                    asked = true;
                    let (connections, shutdown) = (connections.clone(), shutdown.clone());
                    streams.spawn(async move {
                        let session = ServerSession::new_http2(session);
                        connections.handler.handle(session, &shutdown).await
                    });
                }
                Ok(Some(H2Accept::Rejected)) => {
                    malformed += 1;
                    if malformed == MALFORMED {
                        break;
                    }
                }
                Ok(None) | Err(_) => break,
            },
            () = std::future::ready(()), if !cut.is_empty() => cut.clear(),
            Some(ended) = streams.join_next() => {
                if let Ok(Next::Cut(session)) = ended {
                    cut.push(session);
                }
            }
            () = tokio::time::sleep_until(quiet), if streams.is_empty() => {
                if closing {
                    break;
                }
                closing = true;
                connection.graceful_shutdown();
            }
        }
    }
    // Streams that still run learn by this that their client is gone.
    drop(connection);
    while streams.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pingora_core::apps::ServerApp as _;
    use tokio::io::AsyncWriteExt as _;
    use tokio::sync::watch;
    use tokio::time::timeout;

    use super::*;
    use crate::base::slots::Slots;
    use crate::connection::head::BadHead;
    use crate::connection::limit::PeerLimit;
    use crate::telemetry::metrics::Metrics;

    struct Nobody;

    impl Handler for Nobody {
        fn header_timeout(&self) -> Duration {
            Duration::from_secs(10)
        }

        fn stall_timeout(&self) -> Duration {
            Duration::from_secs(15)
        }

        async fn handle(&self, session: ServerSession, _shutdown: &ShutdownWatch) -> Next {
            Next::Cut(session)
        }

        async fn refuse(&self, _session: ServerSession, _bad: BadHead) {}
    }

    fn connections() -> Arc<Connections<Nobody>> {
        let none: [Arc<str>; 0] = [];
        let metrics = Arc::new(Metrics::new(none.iter()).unwrap());
        let none = crate::config::parse("", "t.yaml".as_ref(), &crate::config::ProcessEnvironment);
        let peers = PeerLimit::new(Arc::new(none.unwrap()));
        Arc::new(Connections::new(Nobody, Slots::new(1), peers, metrics))
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_on_which_nothing_is_asked_is_told_to_go() {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (_stop, shutdown) = watch::channel(false);
        let begun = Instant::now();
        let served = tokio::spawn(async move {
            serve(&connections(), Box::new(ours), BytesMut::new(), &shutdown).await;
        });
        let (kept, connection) = h2::client::handshake(theirs).await.unwrap();
        let ended = timeout(IDLE, connection).await.expect("an end");
        assert!(ended.is_ok(), "a GOAWAY without an error, not {ended:?}");
        served.await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), 10);
        drop(kept);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_answer_the_goaway_is_left() {
        let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
        let (stop, shutdown) = watch::channel(false);
        let served = tokio::spawn(async move {
            serve(&connections(), Box::new(ours), BytesMut::new(), &shutdown).await;
        });
        // The preface and empty settings; nothing after that.
        let greeting = [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
        theirs.write_all(&greeting).await.unwrap();
        stop.send_replace(true);
        timeout(LAST_CALL * 2, served).await.expect("an end").unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_greet_is_left() {
        let (ours, _theirs) = tokio::io::duplex(64 * 1024);
        let (_stop, shutdown) = watch::channel(false);
        let connections = connections();
        let served = serve(&connections, Box::new(ours), BytesMut::new(), &shutdown);
        timeout(Duration::from_secs(11), served).await.expect("an end");
    }

    /// The preface and the head share one clock, which runs from the first byte.
    #[tokio::test(start_paused = true)]
    async fn what_never_becomes_a_preface_has_the_time_of_one_head() {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let (_stop, shutdown) = watch::channel(false);
        let begun = Instant::now();
        let served = tokio::spawn(async move {
            connections().process_new(Box::new(ours), &shutdown).await.is_none()
        });
        for byte in &PREFACE[..3] {
            theirs.write_all(&[*byte]).await.unwrap();
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        assert!(served.await.unwrap());
        assert_eq!(begun.elapsed().as_secs(), 10);
    }

    #[test]
    fn a_request_is_told_from_the_preface_at_its_first_other_byte() {
        for may in ["", "P", "PR", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
            assert!(undecided(may.as_bytes()), "{may:?}");
        }
        let whole = std::str::from_utf8(PREFACE).unwrap();
        for cannot in ["G", "PO", "PRI / HTTP/1.1\r\n", whole, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0"]
        {
            assert!(!undecided(cannot.as_bytes()), "{cannot:?}");
        }
    }
}
