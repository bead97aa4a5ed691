//! A client that speaks HTTP/2: many requests on one connection.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::client::Request;
use super::eventually::{eventually, within};

/// A connection; it ends when dropped.
pub(crate) struct H2Client {
    send: SendRequest<Bytes>,
    scheme: &'static str,
    driver: JoinHandle<Result<(), h2::Error>>,
}

impl H2Client {
    /// Connects to a plain address, knowing that it speaks HTTP/2.
    pub(crate) async fn open(to: SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(to)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream, "http", &h2::client::Builder::new()).await
    }

    /// The same with settings of the test's own.
    pub(crate) async fn open_with(to: SocketAddr, builder: &h2::client::Builder) -> Self {
        let stream = within("a connection", TcpStream::connect(to)).await.unwrap();
        Self::over(stream, "http", builder).await
    }

    /// Over a stream that is connected already.
    pub(crate) async fn over(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        scheme: &'static str,
        builder: &h2::client::Builder,
    ) -> Self {
        let begun = builder.handshake(stream);
        let (send, connection) = within("a beginning", begun).await.unwrap();
        Self { send, scheme, driver: tokio::spawn(connection) }
    }

    /// Sends a request; its answer is still to be read.
    pub(crate) async fn open_stream(&mut self, request: &Request) -> H2Stream {
        let body = request.body().clone();
        let (mut stream, mut out) = self.begin(request).await;
        if body.is_empty() {
            out.send_data(body, true).unwrap();
        } else {
            // In the window's measure, as any client must.
            let mut rest = body;
            while !rest.is_empty() {
                out.reserve_capacity(rest.len());
                let room = std::future::poll_fn(|cx| out.poll_capacity(cx));
                let Some(Ok(room)) = within("room for a body", room).await else { break };
                let piece = rest.split_to(room.min(rest.len()));
                if out.send_data(piece, rest.is_empty()).is_err() {
                    break;
                }
            }
        }
        stream.out = Some(out);
        stream
    }

    /// Sends a request's head; its body is the test's to send.
    pub(crate) async fn begin(&mut self, request: &Request) -> (H2Stream, SendStream<Bytes>) {
        let head = request.head_for(self.scheme);
        let ready = self.send.clone().ready();
        self.send = within("room for a stream", ready).await.unwrap();
        let (answer, out) = self.send.send_request(head, false).unwrap();
        (H2Stream { answer: Some(answer), out: None, body: None, event: BytesMut::new() }, out)
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&mut self, request: &Request) -> H2Answer {
        self.open_stream(request).await.answer().await
    }

    /// Waits for the connection's end, and gives how it ended.
    pub(crate) async fn ended(self) -> Result<(), h2::Error> {
        drop(self.send);
        within("the connection's end", self.driver).await.unwrap()
    }

    /// Waits until the gateway takes no more requests on the connection.
    pub(crate) async fn closed_to_requests(&mut self) {
        eventually("a GOAWAY", async || match self.send.clone().ready().await {
            Ok(ready) => {
                self.send = ready;
                None
            }
            Err(_) => Some(()),
        })
        .await;
    }

    /// The most requests at once that the gateway allows, once it has said so.
    pub(crate) fn streams(&self) -> usize {
        self.send.current_max_send_streams()
    }
}

/// One request and its answer.
pub(crate) struct H2Stream {
    answer: Option<ResponseFuture>,
    out: Option<SendStream<Bytes>>,
    body: Option<RecvStream>,
    event: BytesMut,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct H2Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl H2Answer {
    /// The first value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The code of a refusal with this status.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"));
        let error = &self.json()["error"];
        assert_eq!(error["request_id"].as_str(), self.header("x-request-id"));
        error["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl H2Stream {
    /// The head of the answer.
    pub(crate) async fn head(&mut self) -> Result<(u16, HeaderMap), h2::Error> {
        let answer = self.answer.take().expect("a head that has not been read");
        let (head, body) = within("an answer's head", answer).await?.into_parts();
        self.body = Some(body);
        Ok((head.status.as_u16(), head.headers))
    }

    /// Body bytes that came together; `None` once the body is whole.
    pub(crate) async fn data(&mut self) -> Result<Option<Bytes>, h2::Error> {
        let body = self.body.as_mut().expect("a head that has been read");
        let Some(data) = within("body bytes", body.data()).await.transpose()? else {
            return Ok(None);
        };
        body.flow_control().release_capacity(data.len())?;
        Ok(Some(data))
    }

    /// The next event with its empty line; `None` once the body is whole.
    pub(crate) async fn event(&mut self) -> Result<Option<String>, h2::Error> {
        loop {
            if let Some(at) = memchr::memmem::find(&self.event, b"\n\n") {
                let event = self.event.split_to(at + 2);
                return Ok(Some(String::from_utf8(event.to_vec()).unwrap()));
            }
            match self.data().await? {
                Some(data) => self.event.extend_from_slice(&data),
                None => {
                    assert!(self.event.is_empty(), "half an event: {:?}", self.event);
                    return Ok(None);
                }
            }
        }
    }

    /// The data of every event up to the body's end.
    pub(crate) async fn events(&mut self) -> Result<Vec<String>, h2::Error> {
        let mut events = Vec::new();
        while let Some(event) = self.event().await? {
            let data = event.strip_prefix("data: ").unwrap_or(&event);
            events.push(data.trim_end().to_owned());
        }
        Ok(events)
    }

    /// The whole answer.
    pub(crate) async fn answer(&mut self) -> H2Answer {
        self.try_answer().await.unwrap()
    }

    /// The whole answer, or why it is none.
    pub(crate) async fn try_answer(&mut self) -> Result<H2Answer, h2::Error> {
        let (status, headers) = self.head().await?;
        let mut body = BytesMut::new();
        while let Some(data) = self.data().await? {
            body.extend_from_slice(&data);
        }
        Ok(H2Answer { status, headers, body: body.freeze() })
    }

    /// Cancels the request, as an SDK does that closes a stream.
    pub(crate) fn cancel(mut self) {
        self.out.take().expect("a request that was sent").send_reset(Reason::CANCEL);
    }
}
