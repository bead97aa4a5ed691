//! The load: connections that are kept, each with one request after another, a
//! fixed number of them, every answer checked.
//!
//! Prints `ready` once every connection has been served once, waits for a line,
//! does the work, prints what it measured, and keeps its connections until
//! standard input ends: so the CPU of the work alone can be read.

use std::io::{BufRead as _, Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Barrier;

use crate::Failure;
use crate::work::{ANSWER, DIGITS, Work};

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Paced streams begin this far apart, so that their events do not coincide.
const STAGGER: Duration = Duration::from_micros(1_300);

/// The field by which Tollgate alone says whence an answer comes.
const CACHE: &[u8] = b"\r\nx-tollgate-cache: ";
const HIT: &[u8] = b"\r\nx-tollgate-cache: hit\r\n";

/// What to do.
pub(crate) struct Plan {
    pub(crate) work: Work,
    pub(crate) address: SocketAddr,
    pub(crate) connections: usize,
    /// On each connection.
    pub(crate) requests: usize,
}

/// Runs `plan`; see the module.
pub(crate) fn run(plan: &Plan) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let work = plan.work;
    // What the provider takes its time for; a plain request warms as well.
    let slow = work == Work::Paced || work.equal().is_some();
    let warming = if slow { Work::Chat } else { work };
    let mut clients = Vec::new();
    for number in 0..plan.connections {
        let mut client = runtime.block_on(Client::connect(plan.address, number))?;
        client.prepare(warming, number);
        runtime.block_on(client.request(warming))?;
        client.prepare(work, number);
        if work == Work::Disk {
            runtime.block_on(client.fill(plan.requests.try_into()?))?;
        }
        client.warm = true;
        clients.push(client);
    }
    println!("ready");
    std::io::stdin().lock().read_line(&mut String::new())?;

    let requests = plan.requests;
    let together = Arc::new(Barrier::new(plan.connections));
    let tasks: Vec<_> = clients
        .into_iter()
        .enumerate()
        .map(|(number, mut client)| {
            let together = together.clone();
            runtime.spawn(async move {
                if work == Work::Paced {
                    tokio::time::sleep(STAGGER.saturating_mul(number.try_into()?)).await;
                }
                let mut times = Vec::with_capacity(requests);
                for _ in 0..requests {
                    if work.equal().is_some() {
                        together.wait().await;
                    }
                    let from = Instant::now();
                    client.request(work).await?;
                    times.push(u64::try_from(from.elapsed().as_nanos())?);
                }
                Ok::<_, Failure>((client, times))
            })
        })
        .collect();
    let mut kept = Vec::new();
    let mut times = Vec::new();
    for task in tasks {
        let (client, each) = runtime.block_on(task)??;
        kept.push(client);
        times.extend(each);
    }
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or(0);
    println!("{} {}", at(50), at(99));
    std::io::stdout().flush()?;
    std::io::stdin().lock().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// One connection with its request.
struct Client {
    stream: TcpStream,
    request: Vec<u8>,
    /// Where the unique digits are in `request`.
    digits: usize,
    made: u64,
    /// Of those that ask for the same, the first one's place.
    number: u64,
    /// Whether what it asks for must be kept by now.
    warm: bool,
    answer: Vec<u8>,
    /// Where its body begins.
    body: usize,
    payload: Vec<u8>,
}

impl Client {
    async fn connect(address: SocketAddr, number: usize) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            request: Vec::new(),
            digits: 0,
            // Of two connections no two requests are the same, nor of two runs.
            made: (u64::from(std::process::id()) << 32) | (u64::try_from(number)? << 20),
            number: u64::try_from(number)?,
            warm: false,
            answer: Vec::with_capacity(32 * 1024),
            body: 0,
            payload: Vec::new(),
        })
    }

    fn prepare(&mut self, work: Work, number: usize) {
        (self.request, self.digits) = work.request(number);
    }

    /// Asks for all that the work will ask for, unless the last of it is kept
    /// already or nobody keeps anything.
    async fn fill(&mut self, requests: u64) -> Result<(), Failure> {
        self.made = requests.saturating_sub(1);
        self.request(Work::Disk).await?;
        let head = self.answer.get(..self.body).unwrap_or_default();
        if memmem::find(head, CACHE).is_some() && memmem::find(head, HIT).is_none() {
            self.made = 0;
            for _ in 0..requests {
                self.request(Work::Disk).await?;
            }
        }
        self.made = 0;
        Ok(())
    }

    /// Sends one request, reads its answer to the end and checks it.
    async fn request(&mut self, work: Work) -> Result<(), Failure> {
        self.made += 1;
        let number = match work.equal() {
            _ if work == Work::Cached => 0,
            _ if work == Work::Disk => (self.number << 20) | self.made,
            None => self.made,
            // As many ask for the same as have the number of the first of them.
            Some(equal) => {
                let first = self.number - self.number % u64::try_from(equal)?;
                self.made - ((self.number - first) << 20)
            }
        };
        let digits = format!("{number:0DIGITS$x}");
        self.request
            .get_mut(self.digits..self.digits + DIGITS)
            .ok_or("no room for digits")?
            .copy_from_slice(digits.as_bytes());
        let answered = tokio::time::timeout(PATIENCE, self.exchange(work)).await;
        answered.map_err(|_| "an answer did not come")?
    }

    async fn exchange(&mut self, work: Work) -> Result<(), Failure> {
        self.stream.write_all(&self.request).await?;
        self.answer.clear();
        let body = loop {
            self.read().await?;
            if let Some(end) = memmem::find(&self.answer, b"\r\n\r\n") {
                break end + 4;
            }
        };
        self.body = body;
        if !self.answer.starts_with(b"HTTP/1.1 200") {
            let line = self.answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
            return Err(format!("answered {:?}", String::from_utf8_lossy(line)).into());
        }
        let head = self.answer.get(..body).unwrap_or_default();
        if work.hits() && self.warm {
            let other = memmem::find(head, CACHE).is_some() && memmem::find(head, HIT).is_none();
            if other {
                return Err("what was kept is not there".into());
            }
        }
        match work.events() {
            None => self.whole(body).await,
            Some(events) => self.stream(body, events).await,
        }
    }

    async fn whole(&mut self, body: usize) -> Result<(), Failure> {
        while self.answer.len() < body + ANSWER {
            self.read().await?;
        }
        let complete = self.answer.len() == body + ANSWER && self.answer.ends_with(b"}}");
        if complete { Ok(()) } else { Err("an answer is not as it was made".into()) }
    }

    async fn stream(&mut self, body: usize, events: usize) -> Result<(), Failure> {
        let mut at = body;
        self.payload.clear();
        loop {
            match next_chunk(self.answer.get(at..).unwrap_or_default())? {
                Some((&[], _)) => break,
                Some((data, taken)) => {
                    self.payload.extend_from_slice(data);
                    at += taken;
                }
                None => self.read().await?,
            }
        }
        let seen = memmem::find_iter(&self.payload, b"\n\n").count();
        if seen != events {
            return Err(format!("{seen} events instead of {events}").into());
        }
        if !self.payload.ends_with(b"\n\ndata: [DONE]\n\n") {
            return Err("a stream without [DONE]".into());
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<(), Failure> {
        self.answer.reserve(8 * 1024);
        match self.stream.read_buf(&mut self.answer).await? {
            0 => Err("the connection was closed within an answer".into()),
            _ => Ok(()),
        }
    }
}

/// The data of the chunk at the start of `bytes`, and how many bytes it takes;
/// empty for the last chunk, `None` if it has not come whole.
fn next_chunk(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, Failure> {
    let Some(line) = memmem::find(bytes, b"\r\n") else { return Ok(None) };
    let size = std::str::from_utf8(bytes.get(..line).unwrap_or_default())?;
    let size = usize::from_str_radix(size.trim(), 16)?;
    let (start, end) = (line + 2, line + 2 + size);
    if bytes.len() < end + 2 {
        return Ok(None);
    }
    Ok(bytes.get(start..end).map(|data| (data, end + 2)))
}
