//! The mock provider: a real HTTP/1.1 server on raw TCP, in a thread of its
//! own, that records every byte and does exactly what it is told.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

use super::eventually::within;
use super::openai;
use super::reply::{Reply, Step};
use super::wire::{Framing, Head, Wire};

/// One request as the provider saw it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Which connection it came on, counted from 0.
    pub(crate) connection: usize,
    /// The head as sent.
    pub(crate) head: Head,
    /// The body without its framing.
    pub(crate) body: Bytes,
    /// Head and body as they were on the wire, framing included.
    pub(crate) wire: Bytes,
}

impl Call {
    /// `POST`, `GET`, …
    pub(crate) fn method(&self) -> &str {
        self.head.word(0)
    }

    /// The path with its query.
    pub(crate) fn path(&self) -> &str {
        self.head.word(1)
    }

    /// The first value of a header; `name` is lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// The body as JSON, `null` if it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

type Answer = Arc<dyn Fn(&Call) -> Reply + Send + Sync>;

/// What happened so far.
#[derive(Debug, Default)]
struct Log {
    connections: usize,
    open: usize,
    calls: Vec<Call>,
    /// Numbers of the calls whose caller left before the answer was out.
    disconnects: Vec<usize>,
}

struct Shared {
    log: Mutex<Log>,
    script: Mutex<VecDeque<Reply>>,
    otherwise: Mutex<Answer>,
    /// Counts changes of the log.
    changed: watch::Sender<u64>,
    /// Counts the orders to close what is idle.
    idle: watch::Sender<u64>,
}

impl Shared {
    fn record<T>(&self, change: impl FnOnce(&mut Log) -> T) -> T {
        let result = change(&mut self.log.lock());
        self.changed.send_modify(|count| *count += 1);
        result
    }
}

/// The running mock provider; it ends when dropped.
pub(crate) struct Provider {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Provider {
    /// A provider on a free port that answers like OpenAI until told otherwise.
    pub(crate) async fn start() -> Self {
        let shared = Arc::new(Shared {
            log: Mutex::default(),
            script: Mutex::default(),
            otherwise: Mutex::new(Arc::new(openai::answer)),
            changed: watch::Sender::new(0),
            idle: watch::Sender::new(0),
        });
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = oneshot::channel();
        let serving = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                assert_eq!(tell.send(listener.local_addr().unwrap()), Ok(()));
                tokio::select! {
                    () = accept(listener, serving) => {}
                    _ = stopped => {}
                }
            });
        });
        let address = within("the provider's port", told).await.unwrap();
        Self { address, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// The base URL, with `/v1`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers the next call that has no script yet with `reply`.
    pub(crate) fn next(&self, reply: Reply) {
        self.shared.script.lock().push_back(reply);
    }

    /// Answers every call that has no script with what `answer` says.
    pub(crate) fn answer(&self, answer: impl Fn(&Call) -> Reply + Send + Sync + 'static) {
        *self.shared.otherwise.lock() = Arc::new(answer);
    }

    /// Every call so far, in the order in which they were read.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.shared.log.lock().calls.clone()
    }

    /// The only call so far.
    #[track_caller]
    pub(crate) fn only_call(&self) -> Call {
        let mut calls = self.calls();
        assert_eq!(calls.len(), 1, "the provider should have been called once");
        calls.remove(0)
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.log.lock().connections
    }

    /// Connections open now.
    pub(crate) fn open_connections(&self) -> usize {
        self.shared.log.lock().open
    }

    /// Numbers of the calls whose caller left before the answer was out.
    pub(crate) fn disconnects(&self) -> Vec<usize> {
        self.shared.log.lock().disconnects.clone()
    }

    /// Waits until it has read `count` calls, and gives them.
    pub(crate) async fn wait_for_calls(&self, count: usize) -> Vec<Call> {
        self.wait(&format!("{count} calls"), |log| log.calls.len() >= count).await;
        self.calls()
    }

    /// Waits until a caller has left in the middle of an answer, and gives the
    /// number of its call.
    pub(crate) async fn wait_for_disconnect(&self) -> usize {
        self.wait("a caller that leaves", |log| !log.disconnects.is_empty()).await;
        self.disconnects()[0]
    }

    /// Closes every connection once it waits for a request, and waits until
    /// they are gone.
    pub(crate) async fn close_idle(&self) {
        self.shared.idle.send_modify(|count| *count += 1);
        self.wait("idle connections to be closed", |log| log.open == 0).await;
    }

    async fn wait(&self, what: &str, condition: impl Fn(&Log) -> bool) {
        let mut changed = self.shared.changed.subscribe();
        let reached = changed.wait_for(|_| condition(&self.shared.log.lock()));
        assert!(within(what, reached).await.is_ok(), "the provider is gone");
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the mock provider panicked");
        }
    }
}

/// A base URL where nobody listens.
pub(crate) async fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}/v1", listener.local_addr().unwrap())
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let number = shared.record(|log| {
                log.connections += 1;
                log.open += 1;
                log.connections - 1
            });
            Connection::serve(stream, number, &shared).await;
            shared.record(|log| log.open -= 1);
        });
    }
}

/// Why a connection is not used any more.
struct Over;

struct Connection<'a> {
    number: usize,
    wire: Wire<OwnedReadHalf>,
    out: OwnedWriteHalf,
    shared: &'a Shared,
    /// Orders to close what is idle; one that comes in the middle of an answer
    /// is carried out after it.
    idle: watch::Receiver<u64>,
}

impl Connection<'_> {
    async fn serve(stream: TcpStream, number: usize, shared: &Shared) {
        stream.set_nodelay(true).unwrap();
        let (reader, out) = stream.into_split();
        let idle = shared.idle.subscribe();
        let mut connection = Connection { number, wire: Wire::new(reader), out, shared, idle };
        while connection.exchange().await.is_ok() {}
    }

    /// Reads one request and plays its answer.
    async fn exchange(&mut self) -> Result<(), Over> {
        let head = tokio::select! {
            head = self.wire.head() => head.ok().flatten().ok_or(Over)?,
            _ = self.idle.changed() => return Err(Over),
        };
        let scripted = self.shared.script.lock().pop_front();
        let early = scripted.as_ref().is_some_and(|reply| reply.early);
        let mut body = Bytes::new();
        if !early {
            if head.header("expect").is_some_and(|value| value == "100-continue") {
                self.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            }
            self.wire.expect_body(head.framing(Framing::Length(0)));
            match self.wire.body().await {
                Ok(whole) => body = whole,
                Err(_) => {
                    self.record(head, body);
                    return Err(Over);
                }
            }
        }
        let (number, call) = self.record(head, body);
        let otherwise = Arc::clone(&self.shared.otherwise.lock());
        let reply = scripted.unwrap_or_else(|| otherwise(&call));
        for step in reply.steps() {
            self.play(step, number).await?;
        }
        if early { Err(Over) } else { Ok(()) }
    }

    fn record(&mut self, head: Head, body: Bytes) -> (usize, Call) {
        let wire = self.wire.take_consumed();
        let call = Call { connection: self.number, head, body, wire };
        let number = self.shared.record(|log| {
            log.calls.push(call.clone());
            log.calls.len() - 1
        });
        (number, call)
    }

    async fn play(&mut self, step: Step, call: usize) -> Result<(), Over> {
        let gone = async |wire: &mut Wire<OwnedReadHalf>| {
            while matches!(wire.fill().await, Ok(true)) {}
        };
        let left = match step {
            Step::Close => return Err(Over),
            Step::Reset => {
                let socket = socket2::SockRef::from(self.out.as_ref());
                socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
                return Err(Over);
            }
            Step::Hang => {
                gone(&mut self.wire).await;
                true
            }
            Step::Wait(gate) => tokio::select! {
                biased;
                () = gate.pass() => false,
                () = gone(&mut self.wire) => true,
            },
            Step::Write(bytes) => tokio::select! {
                biased;
                written = self.out.write_all(&bytes) => written.is_err(),
                () = gone(&mut self.wire) => true,
            },
        };
        if left {
            self.shared.record(|log| log.disconnects.push(call));
            return Err(Over);
        }
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Over> {
        self.out.write_all(bytes).await.map_err(|_| Over)
    }
}
