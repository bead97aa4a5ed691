//! A mock provider that speaks HTTP/2 over TLS and does what it is told.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream, server};
use http::{Request, Response};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::eventually::within;
use super::gate::Gate;
use super::openai;
use super::tls::{Accepted, Identity};

/// One request as the provider saw it.
#[derive(Clone, Debug)]
pub(crate) struct H2Call {
    /// Which connection it came on, counted from 0.
    pub(crate) connection: usize,
    /// The head as sent.
    pub(crate) head: Request<()>,
    /// The body.
    pub(crate) body: Bytes,
}

impl H2Call {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What the provider does with one request.
#[derive(Clone, Debug)]
pub(crate) enum Play {
    /// Answers like OpenAI; waits at the gate before the head.
    After(Gate),
    /// Streams these events; waits at the gate before each but the first.
    Events(Vec<String>, Gate),
    /// Streams these events at once; at the gate it resets the stream.
    EventsThenReset(Vec<String>, Gate),
    /// Resets the stream before any answer.
    Reset(Reason),
    /// Answers before it has read the request's body.
    Early(u16, &'static str),
}

#[derive(Debug, Default)]
struct Log {
    connections: usize,
    calls: Vec<H2Call>,
    /// Numbers of the calls whose caller reset the stream.
    resets: Vec<usize>,
}

struct Shared {
    log: Mutex<Log>,
    script: Mutex<VecDeque<Play>>,
    changed: watch::Sender<u64>,
    /// Counts the orders to drop every connection.
    drops: watch::Sender<u64>,
}

impl Shared {
    fn record<T>(&self, change: impl FnOnce(&mut Log) -> T) -> T {
        let result = change(&mut self.log.lock());
        self.changed.send_modify(|count| *count += 1);
        result
    }
}

/// The running provider; it ends with the test's runtime.
pub(crate) struct H2Provider {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl H2Provider {
    /// A provider on a free port that shows `identity`.
    pub(crate) async fn start(identity: &Identity) -> Self {
        let shared = Arc::new(Shared {
            log: Mutex::default(),
            script: Mutex::default(),
            changed: watch::Sender::new(0),
            drops: watch::Sender::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(accept(listener, identity.acceptor(&["h2", "http/1.1"]), shared.clone()));
        Self { address, shared }
    }

    /// The base URL, with `/v1`.
    pub(crate) fn url(&self) -> String {
        format!("https://{}/v1", self.address)
    }

    /// Plays `play` for the next request that has no script yet.
    pub(crate) fn next(&self, play: Play) {
        self.shared.script.lock().push_back(play);
    }

    /// Every call so far.
    pub(crate) fn calls(&self) -> Vec<H2Call> {
        self.shared.log.lock().calls.clone()
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.log.lock().connections
    }

    /// Waits until it has read `count` calls.
    pub(crate) async fn wait_for_calls(&self, count: usize) {
        self.wait("calls", |log| log.calls.len() >= count).await;
    }

    /// Waits until callers have reset `count` streams, and gives the calls'
    /// numbers.
    pub(crate) async fn wait_for_resets(&self, count: usize) -> Vec<usize> {
        self.wait("streams to be reset", |log| log.resets.len() >= count).await;
        self.shared.log.lock().resets.clone()
    }

    /// Drops every connection at once, without a GOAWAY.
    pub(crate) fn drop_connections(&self) {
        self.shared.drops.send_modify(|count| *count += 1);
    }

    async fn wait(&self, what: &str, condition: impl Fn(&Log) -> bool) {
        let mut changed = self.shared.changed.subscribe();
        let reached = changed.wait_for(|_| condition(&self.shared.log.lock()));
        assert!(within(what, reached).await.is_ok(), "the provider is gone");
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, shared) = (acceptor.clone(), shared.clone());
        let mut drops = shared.drops.subscribe();
        tokio::spawn(async move {
            stream.set_nodelay(true).unwrap();
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let number = shared.record(|log| {
                log.connections += 1;
                log.connections - 1
            });
            tokio::select! {
                () = serve(stream, number, shared) => {}
                _ = drops.changed() => {}
            }
        });
    }
}

async fn serve(stream: Accepted, connection: usize, shared: Arc<Shared>) {
    let mut builder = server::Builder::new();
    builder.max_concurrent_streams(250);
    let Ok(mut driven) = builder.handshake::<_, Bytes>(stream).await else { return };
    while let Some(Ok((request, respond))) = driven.accept().await {
        tokio::spawn(exchange(request, respond, connection, shared.clone()));
    }
}

async fn exchange(
    request: Request<RecvStream>,
    respond: server::SendResponse<Bytes>,
    connection: usize,
    shared: Arc<Shared>,
) {
    let mut respond = respond;
    let play = shared.script.lock().pop_front();
    let (head, mut incoming) = request.into_parts();
    let mut body = BytesMut::new();
    if !matches!(play, Some(Play::Early(..))) {
        while let Some(Ok(data)) = incoming.data().await {
            incoming.flow_control().release_capacity(data.len()).unwrap();
            body.extend_from_slice(&data);
        }
    }
    let head = Request::from_parts(head, ());
    let call = H2Call { connection, head, body: body.freeze() };
    let asked: Value = serde_json::from_slice(&call.body).unwrap_or_default();
    let number = shared.record(|log| {
        log.calls.push(call);
        log.calls.len() - 1
    });
    let played = match play {
        None => whole(&mut respond, &asked, None).await,
        Some(Play::After(gate)) => whole(&mut respond, &asked, Some(gate)).await,
        Some(Play::Events(events, gate)) => stream(&mut respond, &events, Some(&gate)).await,
        Some(Play::EventsThenReset(events, gate)) => cut_stream(&mut respond, &events, &gate).await,
        Some(Play::Reset(reason)) => {
            respond.send_reset(reason);
            Ok(())
        }
        Some(Play::Early(status, text)) => {
            let head =
                Response::builder().status(status).header("content-type", "application/json");
            let mut out = respond.send_response(head.body(()).unwrap(), false).unwrap();
            out.send_data(Bytes::from_static(text.as_bytes()), true).map_err(|_| Left)
        }
    };
    if played.is_err() {
        shared.record(|log| log.resets.push(number));
    }
}

/// The caller has reset the stream.
struct Left;

async fn whole(
    respond: &mut server::SendResponse<Bytes>,
    asked: &Value,
    gate: Option<Gate>,
) -> Result<(), Left> {
    if asked["stream"] == true {
        let model = asked["model"].as_str().unwrap_or_default();
        let events = openai::chat_events(model, openai::wants_usage(asked));
        return stream(respond, &events, gate.as_ref()).await;
    }
    if let Some(gate) = gate {
        tokio::select! {
            () = gate.pass() => {}
            _ = std::future::poll_fn(|cx| respond.poll_reset(cx)) => return Err(Left),
        }
    }
    let body = Bytes::from(openai::chat(asked).to_string());
    let head = Response::builder()
        .header("content-type", "application/json")
        .header("content-length", body.len());
    let mut out = respond.send_response(head.body(()).unwrap(), false).map_err(|_| Left)?;
    out.send_data(body, true).map_err(|_| Left)
}

async fn stream(
    respond: &mut server::SendResponse<Bytes>,
    events: &[String],
    gate: Option<&Gate>,
) -> Result<(), Left> {
    let head = Response::builder().header("content-type", "text/event-stream").body(()).unwrap();
    let mut out = respond.send_response(head, false).map_err(|_| Left)?;
    for (place, event) in events.iter().enumerate() {
        if let Some(gate) = gate.filter(|_| place > 0) {
            tokio::select! {
                biased;
                () = gate.pass() => {}
                _ = std::future::poll_fn(|cx| out.poll_reset(cx)) => return Err(Left),
            }
        }
        send(&mut out, format!("data: {event}\n\n").into()).await?;
    }
    out.send_data(Bytes::new(), true).map_err(|_| Left)
}

async fn cut_stream(
    respond: &mut server::SendResponse<Bytes>,
    events: &[String],
    gate: &Gate,
) -> Result<(), Left> {
    let head = Response::builder().header("content-type", "text/event-stream").body(()).unwrap();
    let mut out = respond.send_response(head, false).map_err(|_| Left)?;
    for event in events {
        send(&mut out, format!("data: {event}\n\n").into()).await?;
    }
    gate.pass().await;
    out.send_reset(Reason::INTERNAL_ERROR);
    Ok(())
}

async fn send(out: &mut SendStream<Bytes>, mut data: Bytes) -> Result<(), Left> {
    while !data.is_empty() {
        out.reserve_capacity(data.len());
        let room = std::future::poll_fn(|cx| out.poll_capacity(cx)).await;
        let Some(Ok(room)) = room else { return Err(Left) };
        out.send_data(data.split_to(room.min(data.len())), false).map_err(|_| Left)?;
    }
    Ok(())
}
