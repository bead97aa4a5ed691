//! What the mock provider answers: exact bytes, in exact steps.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::Value;

use super::gate::Gate;

/// One thing that the provider does with its connection.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Writes these bytes in one go.
    Write(Bytes),
    /// Waits to be let through.
    Wait(Gate),
    /// Closes with FIN.
    Close,
    /// Closes with RST.
    Reset,
    /// Says nothing more and keeps the connection until the other side leaves.
    Hang,
}

/// How the provider marks the end of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Length(Option<usize>),
    Chunked,
    Close,
    /// The parts are the whole answer, head included.
    Raw,
}

#[derive(Clone, Debug)]
enum Part {
    Bytes(Bytes),
    Gate(Gate),
}

/// A scripted answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    before: Vec<Step>,
    parts: Vec<Part>,
    end: End,
    cut: Option<(usize, Step)>,
    last: Option<Step>,
    /// Whether the answer goes out before the request's body is read.
    pub(crate) early: bool,
}

impl Reply {
    fn new(status: u16, end: End) -> Self {
        Self {
            status,
            headers: Vec::new(),
            before: Vec::new(),
            parts: Vec::new(),
            end,
            cut: None,
            last: None,
            early: false,
        }
    }

    /// An answer of `status` with these body bytes and their true length.
    pub(crate) fn bytes(status: u16, body: impl Into<Bytes>) -> Self {
        let mut reply = Self::new(status, End::Length(None));
        reply.parts.push(Part::Bytes(body.into()));
        reply
    }

    /// A JSON answer, written compactly.
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::bytes(status, body.to_string()).header("content-type", "application/json")
    }

    /// A JSON answer whose text is given, so that its spacing and order are too.
    pub(crate) fn json_text(status: u16, body: impl Into<Bytes>) -> Self {
        Self::bytes(status, body).header("content-type", "application/json")
    }

    /// OpenAI's error object.
    pub(crate) fn error(status: u16, code: &str) -> Self {
        Self::json(
            status,
            &serde_json::json!({"error": {
                "message": format!("the provider says {code}"),
                "type": "invalid_request_error", "param": null, "code": code,
            }}),
        )
    }

    /// An event stream without events yet.
    pub(crate) fn stream() -> Self {
        Self::new(200, End::Chunked).header("content-type", "text/event-stream")
    }

    /// A stream of these events, each with its `data: ` and empty line.
    pub(crate) fn events<T: AsRef<str>>(data: impl IntoIterator<Item = T>) -> Self {
        data.into_iter().fold(Self::stream(), |reply, data| reply.event(data.as_ref()))
    }

    /// A stream of these events; each waits at `gate` before it goes.
    pub(crate) fn gated_events<T: AsRef<str>>(
        gate: &Gate,
        data: impl IntoIterator<Item = T>,
    ) -> Self {
        data.into_iter().fold(Self::stream(), |reply, data| reply.wait(gate).event(data.as_ref()))
    }

    /// Bytes that replace the whole answer, status line included.
    pub(crate) fn raw(bytes: impl Into<Bytes>) -> Self {
        Self::new(0, End::Raw).chunk(bytes)
    }

    /// No answer: the connection is closed.
    pub(crate) fn close() -> Self {
        Self::new(0, End::Raw).then(Step::Close)
    }

    /// No answer: the connection is reset.
    pub(crate) fn reset() -> Self {
        Self::new(0, End::Raw).then(Step::Reset)
    }

    /// No answer, for as long as the other side waits.
    pub(crate) fn hang() -> Self {
        Self::new(0, End::Raw).then(Step::Hang)
    }

    /// Adds a header as given.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds one event with its `data: ` and empty line.
    pub(crate) fn event(self, data: &str) -> Self {
        self.chunk(format!("data: {data}\n\n"))
    }

    /// Adds body bytes that go out in one write; in a chunked body, one chunk.
    pub(crate) fn chunk(mut self, bytes: impl Into<Bytes>) -> Self {
        self.parts.push(Part::Bytes(bytes.into()));
        self
    }

    /// Waits here until the test releases `gate`.
    pub(crate) fn wait(mut self, gate: &Gate) -> Self {
        self.parts.push(Part::Gate(gate.clone()));
        self
    }

    /// Waits before the head until the test releases `gate`.
    pub(crate) fn after(mut self, gate: &Gate) -> Self {
        self.before.push(Step::Wait(gate.clone()));
        self
    }

    /// Writes these bytes before the head, an interim answer for example.
    pub(crate) fn preceded_by(mut self, bytes: &'static [u8]) -> Self {
        self.before.push(Step::Write(Bytes::from_static(bytes)));
        self
    }

    /// Frames the body with chunks.
    pub(crate) fn chunked(mut self) -> Self {
        self.end = End::Chunked;
        self
    }

    /// Ends the body with the connection.
    pub(crate) fn close_delimited(mut self) -> Self {
        self.end = End::Close;
        self
    }

    /// Claims this content-length, true or not.
    pub(crate) fn claiming(mut self, length: usize) -> Self {
        self.end = End::Length(Some(length));
        self
    }

    /// Closes with FIN after this many body bytes.
    pub(crate) fn cut_after(mut self, bytes: usize) -> Self {
        self.cut = Some((bytes, Step::Close));
        self
    }

    /// Closes with RST after this many body bytes.
    pub(crate) fn reset_after(mut self, bytes: usize) -> Self {
        self.cut = Some((bytes, Step::Reset));
        self
    }

    /// Says nothing more after this many body bytes.
    pub(crate) fn hang_after(mut self, bytes: usize) -> Self {
        self.cut = Some((bytes, Step::Hang));
        self
    }

    /// Does `last` once the answer is out, where it would keep the connection.
    pub(crate) fn then(mut self, last: Step) -> Self {
        self.last = Some(last);
        self
    }

    /// Answers before the request's body is read.
    pub(crate) fn early(mut self) -> Self {
        self.early = true;
        self
    }

    /// The steps, in order. Without a last step the connection is kept.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let mut steps = self.before.clone();
        if self.end != End::Raw {
            steps.push(Step::Write(self.head()));
        }
        let mut sent = 0;
        for part in &self.parts {
            let bytes = match part {
                Part::Gate(gate) => {
                    steps.push(Step::Wait(gate.clone()));
                    continue;
                }
                Part::Bytes(bytes) => bytes,
            };
            if let Some((most, end)) = &self.cut
                && sent + bytes.len() >= *most
            {
                steps.push(Step::Write(self.framed(bytes, Some(most - sent))));
                steps.push(end.clone());
                return steps;
            }
            sent += bytes.len();
            steps.push(Step::Write(self.framed(bytes, None)));
        }
        if let Some((_, end)) = &self.cut {
            steps.push(end.clone());
            return steps;
        }
        if self.end == End::Chunked {
            let end = b"0\r\n\r\n";
            // In one write with what is before it, as most servers do: nobody waits for
            // an end that is late then.
            match steps.last_mut() {
                Some(Step::Write(last)) => *last = [&last[..], end].concat().into(),
                _ => steps.push(Step::Write(Bytes::from_static(end))),
            }
        }
        match (&self.last, self.end) {
            (Some(last), _) => steps.push(last.clone()),
            (None, End::Close) => steps.push(Step::Close),
            (None, _) => {}
        }
        steps
    }

    fn head(&self) -> Bytes {
        let mut head = format!("HTTP/1.1 {} Scripted\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match self.end {
            End::Length(claimed) => {
                let length = |part: &Part| match part {
                    Part::Bytes(bytes) => bytes.len(),
                    Part::Gate(_) => 0,
                };
                let length = claimed.unwrap_or_else(|| self.parts.iter().map(length).sum());
                head.push_str(&format!("content-length: {length}\r\n"));
            }
            End::Chunked => head.push_str("transfer-encoding: chunked\r\n"),
            End::Close | End::Raw => {}
        }
        head.push_str("\r\n");
        head.into()
    }

    /// `bytes` as they go on the wire; with `most`, broken off after so many.
    fn framed(&self, bytes: &Bytes, most: Option<usize>) -> Bytes {
        let sent = bytes.slice(..most.unwrap_or(bytes.len()));
        if self.end != End::Chunked || bytes.is_empty() {
            return sent;
        }
        let mut framed = BytesMut::from(format!("{:x}\r\n", bytes.len()).as_bytes());
        framed.put(sent);
        if most.is_none_or(|most| most == bytes.len()) {
            framed.put_slice(b"\r\n");
        }
        framed.freeze()
    }
}
