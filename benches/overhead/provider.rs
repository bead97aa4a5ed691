//! The provider: answers chat completions as cheaply as can be, so that the
//! proxy is what is measured.

use std::sync::Arc;
use std::time::Duration;

use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::work::{Answers, BURST, PACED, STREAM_HEAD};
use crate::{Failure, process};

/// Time between two events of a paced stream.
const PACE: Duration = Duration::from_millis(10);
/// What callers in lockstep wait for their answer.
const PAUSE: Duration = Duration::from_millis(30);
/// The fields that decide are among the first bytes of the body.
const DECISIVE: usize = 256;

/// Serves until standard input ends. Prints its address.
pub(crate) fn run() -> Result<(), Failure> {
    process::end_with_parent();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        let answers = Arc::new(Answers::new());
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let answers = answers.clone();
            // A connection that breaks ends its own task only; the load notices.
            tokio::spawn(async move { serve(stream, &answers).await });
        }
    })
}

/// Serves the requests of one connection until it ends.
async fn serve(mut stream: TcpStream, answers: &Answers) -> Result<(), Failure> {
    let mut request = Vec::with_capacity(64 * 1024);
    loop {
        request.clear();
        let body = loop {
            if stream.read_buf(&mut request).await? == 0 {
                return Ok(());
            }
            if let Some(end) = memmem::find(&request, b"\r\n\r\n") {
                break end + 4;
            }
        };
        let length = content_length(request.get(..body).unwrap_or_default());
        request.reserve((body + length).saturating_sub(request.len()));
        while request.len() < body + length {
            if stream.read_buf(&mut request).await? == 0 {
                return Ok(());
            }
        }
        let body = request.get(body..).unwrap_or_default();
        let start = body.get(..DECISIVE).unwrap_or(body);
        let says = |text: &[u8]| memmem::find(start, text).is_some();
        // Long enough for all that ask in lockstep to have come.
        if says(br#""content":"shared-"#) || says(br#""content":"fan-"#) {
            tokio::time::sleep(PAUSE).await;
        }
        if !says(br#""stream":true"#) {
            stream.write_all(&answers.whole).await?;
            continue;
        }
        // A proxy may ask for usage anywhere in the body.
        let usage = memmem::find(body, br#""include_usage":true"#).is_some();
        let [without, with] = &answers.streams;
        let answer = if usage { with } else { without };
        if says(br#""content":"block "#) {
            stream.write_all(&answer.block).await?;
            continue;
        }
        let pace = says(br#""content":"paced "#);
        let mut ticks = pace.then(|| tokio::time::interval(PACE));
        stream.write_all(STREAM_HEAD.as_bytes()).await?;
        for _ in 0..if pace { PACED } else { BURST } {
            if let Some(ticks) = &mut ticks {
                ticks.tick().await;
            }
            stream.write_all(&answer.event).await?;
        }
        stream.write_all(&answer.end).await?;
    }
}

/// The length that the head announces; 0 if it does not.
fn content_length(head: &[u8]) -> usize {
    const NAME: &[u8] = b"content-length:";
    let line = head.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(NAME.len())?;
        name.eq_ignore_ascii_case(NAME).then_some(value)
    });
    line.and_then(|value| std::str::from_utf8(value).ok())
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(0)
}
