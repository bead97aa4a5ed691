//! The test client: exact bytes out, exact bytes in, and a convenient way for
//! the tests that care about neither.

use std::io;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::eventually::within;
use super::wire::{Framing, Head, Wire};

/// A request to be sent. Nothing is added except `host` and `content-length`.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl Request {
    /// A request without a body.
    pub(crate) fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// `GET path`.
    pub(crate) fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// `POST path` with a JSON body.
    pub(crate) fn post(path: &str, body: &Value) -> Self {
        Self::post_text(path, body.to_string())
    }

    /// `POST path` with a JSON body whose bytes are given.
    pub(crate) fn post_text(path: &str, body: impl Into<Bytes>) -> Self {
        Self::with_text("POST", path, body)
    }

    /// `method path` with a JSON body whose bytes are given.
    pub(crate) fn with_text(method: &str, path: &str, body: impl Into<Bytes>) -> Self {
        let mut request = Self::new(method, path).header("content-type", "application/json");
        request.body = body.into();
        request
    }

    /// A request with a body of any kind.
    pub(crate) fn with_body(method: &str, path: &str, kind: &str, body: impl Into<Bytes>) -> Self {
        let mut request = Self::new(method, path).header("content-type", kind);
        request.body = body.into();
        request
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds `authorization: Bearer key`.
    pub(crate) fn bearer(self, key: &str) -> Self {
        self.header("authorization", &format!("Bearer {key}"))
    }

    /// Head and body as they go on the wire.
    pub(crate) fn bytes(&self) -> Bytes {
        let mut bytes = BytesMut::from(self.head().as_bytes());
        bytes.extend_from_slice(&self.body);
        bytes.freeze()
    }

    /// The head alone, its `content-length` that of the body.
    pub(crate) fn head(&self) -> String {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: tollgate.test\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.method != "GET" {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        head
    }

    /// The body.
    pub(crate) fn body(&self) -> &Bytes {
        &self.body
    }

    /// The head alone in HTTP/2 form.
    pub(crate) fn head_for(&self, scheme: &str) -> http::Request<()> {
        let uri = format!("{scheme}://tollgate.test{}", self.path);
        let mut head = http::Request::builder().method(self.method.as_str()).uri(uri);
        for (name, value) in &self.headers {
            head = head.header(name, value);
        }
        if self.method != "GET" {
            head = head.header("content-length", self.body.len());
        }
        head.body(()).unwrap()
    }

    /// Sends it on a connection of its own and reads the whole answer.
    pub(crate) async fn send(&self, to: SocketAddr) -> Answer {
        self.open(to).await.answer().await
    }

    /// Sends it on a connection of its own; the answer is still to be read.
    pub(crate) async fn open(&self, to: SocketAddr) -> Connection {
        let mut connection = Connection::open(to).await;
        connection.send(&self.bytes()).await;
        connection
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// Its head.
    pub(crate) head: Head,
    /// Its body without framing.
    pub(crate) body: Bytes,
}

impl Answer {
    /// Its status.
    #[track_caller]
    pub(crate) fn status(&self) -> u16 {
        self.head.status()
    }

    /// The first value of a header; `name` is lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// The value of a header that must be there and a number.
    #[track_caller]
    pub(crate) fn number(&self, name: &str) -> u64 {
        let value = self.header(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.head));
        value.parse().unwrap_or_else(|_| panic!("{name}: {value} is no whole number"))
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }

    /// The data of the body's events.
    pub(crate) fn events(&self) -> Vec<String> {
        let text = self.text();
        let data = |event: &str| event.strip_prefix("data: ").unwrap_or(event).to_owned();
        text.split_terminator("\n\n").map(data).collect()
    }

    /// Itself, if its status is 200.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.status(), 200, "{:?} {}", self.head, self.text());
        self
    }

    /// The error object of a refusal with this status and code; checks the
    /// shape of the contract.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status(), status, "{:?} {}", self.head, self.text());
        assert_eq!(self.header("content-type"), Some("application/json"));
        let error = self.json()["error"].clone();
        assert_eq!(error["code"], code, "{error}");
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{error}");
        let kind = match (status, code) {
            (401, _) => "authentication_error",
            (403, _) => "permission_error",
            (429, _) => "rate_limit_error",
            (500.., _) => "server_error",
            _ => "invalid_request_error",
        };
        assert_eq!(error["type"], kind, "{error}");
        assert!(error.get("param").is_some(), "no param in {error}");
        let id = self.header("x-request-id");
        assert!(id.is_some_and(|id| !id.is_empty()), "no x-request-id in {:?}", self.head);
        assert_eq!(error["request_id"].as_str(), id, "{error}");
        error
    }
}

/// A client's connection.
pub(crate) struct Connection {
    wire: Wire<OwnedReadHalf>,
    out: OwnedWriteHalf,
    event: BytesMut,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(to: SocketAddr) -> Self {
        Self::over(within("a connection", TcpStream::connect(to)).await.unwrap())
    }

    /// Over a stream that is connected already.
    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        let (reader, out) = stream.into_split();
        Self { wire: Wire::new(reader), out, event: BytesMut::new() }
    }

    /// Writes exactly these bytes.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        within("bytes to be taken", self.out.write_all(bytes)).await.unwrap();
    }

    /// Writes these bytes for as long as the other side takes them.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        within("bytes to be taken", self.out.write_all(bytes)).await
    }

    /// Ends the sending direction with FIN.
    pub(crate) async fn half_close(&mut self) {
        self.out.shutdown().await.unwrap();
    }

    /// Drops the connection with RST.
    pub(crate) fn reset(self) {
        let socket = socket2::SockRef::from(self.out.as_ref());
        socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }

    /// The next answer's head, interim answers included.
    pub(crate) async fn any_head(&mut self) -> Head {
        let head = within("an answer's head", self.wire.head()).await;
        let head = head.unwrap().expect("an answer, not the end of the connection");
        let bodiless = matches!(head.word(1), "100" | "103" | "204" | "304");
        let framing = head.framing(Framing::Close);
        self.wire.expect_body(if bodiless { Framing::Length(0) } else { framing });
        head
    }

    /// The next final answer's head; the body is still to be read.
    pub(crate) async fn head(&mut self) -> Head {
        loop {
            let head = self.any_head().await;
            if head.status() >= 200 {
                return head;
            }
        }
    }

    /// The next whole answer.
    pub(crate) async fn answer(&mut self) -> Answer {
        let head = self.head().await;
        let body = self.body().await;
        Answer { head, body }
    }

    /// The next whole answer, or why it is none.
    pub(crate) async fn try_answer(&mut self) -> io::Result<Answer> {
        let head = within("an answer's head", self.wire.head()).await?;
        let head = head.ok_or(io::ErrorKind::UnexpectedEof)?;
        self.wire.expect_body(head.framing(Framing::Close));
        let body = within("an answer's body", self.wire.body()).await?;
        Ok(Answer { head, body })
    }

    /// The rest of the body, which must be whole.
    pub(crate) async fn body(&mut self) -> Bytes {
        let mut body = std::mem::take(&mut self.event);
        body.extend_from_slice(&within("an answer's body", self.wire.body()).await.unwrap());
        body.freeze()
    }

    /// Body bytes that came together; `None` once the body is whole, an error
    /// if it was cut.
    pub(crate) async fn data(&mut self) -> io::Result<Option<Bytes>> {
        within("body bytes", self.wire.data()).await
    }

    /// The next event with its empty line; `None` once the body is whole.
    pub(crate) async fn event(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(at) = memchr::memmem::find(&self.event, b"\n\n") {
                return Ok(Some(self.event.split_to(at + 2).freeze()));
            }
            match self.data().await? {
                Some(data) => self.event.extend_from_slice(&data),
                None if self.event.is_empty() => return Ok(None),
                None => return Ok(Some(self.event.split().freeze())),
            }
        }
    }

    /// The data of the next event, which must come.
    pub(crate) async fn event_data(&mut self) -> String {
        let event = self.event().await.unwrap().expect("an event, not the end of the body");
        let text = String::from_utf8(event.to_vec()).unwrap();
        text.trim_end_matches("\n\n").trim_start_matches("data: ").to_owned()
    }

    /// Says that what follows is no HTTP any more.
    pub(crate) fn rest_is_raw(&mut self) {
        self.wire.expect_body(Framing::Close);
    }

    /// Bytes of the answers consumed since the last call, as on the wire.
    pub(crate) fn take_wire(&mut self) -> Bytes {
        self.wire.take_consumed()
    }

    /// Waits for the other side to close; gives what it still said.
    pub(crate) async fn closed(&mut self) -> Bytes {
        within("the connection to be closed", async {
            while matches!(self.wire.fill().await, Ok(true)) {}
        })
        .await;
        Bytes::copy_from_slice(self.wire.unread())
    }
}
