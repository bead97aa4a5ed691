//! What an HTTP/2 client sends, watched frame by frame: unfinished frames and
//! floods of frames end the connection.
//!
//! The HTTP/2 library sees a frame once it is whole, and a request once its
//! header block is, so it has no clock for a client that stops in the middle of
//! one (RFC 9113 §4.1, §6.10). And frames that cost the server an answer, or a
//! request that was begun for nothing, cost the client next to nothing.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Length of the connection preface.
const PREFACE: usize = 24;
/// Length of a frame's header.
const HEADER: usize = 9;
/// Types of frames (RFC 9113 §6).
const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const WINDOW_UPDATE: u8 = 0x8;
const CONTINUATION: u8 = 0x9;
/// The flag of a header block's last frame.
const END_HEADERS: u8 = 0x4;

/// Cancelled requests: a client may cancel all that it asked for, for as long as
/// it does not ask merely to cancel.
const RESETS: Rate = Rate { burst: 1_000, each: Duration::from_millis(5) };
/// PING, SETTINGS, and what else wants an answer or has no use.
const CONTROLS: Rate = Rate { burst: 1_000, each: Duration::from_millis(10) };

/// A number of frames at once, and then one in each `each`.
struct Rate {
    burst: u32,
    each: Duration,
}

/// Watches one connection.
#[derive(Debug)]
pub(super) struct FrameWatch {
    /// Longest that a frame or a header block may take.
    header_timeout: Duration,
    /// Longest that a frame of a body may take, and that nothing that is sent
    /// is read.
    stall_timeout: Duration,
    /// What is to be passed over: the preface, then payloads.
    skip: usize,
    header: [u8; HEADER],
    have: usize,
    /// The type of the frame that is under way.
    kind: u8,
    /// Whether a header block is under way.
    in_block: bool,
    /// Since when something is under way.
    since: Option<Instant>,
    unfinished: Option<Pin<Box<Sleep>>>,
    /// Ends the connection if nothing is read of what is sent.
    unread: Option<Pin<Box<Sleep>>>,
    resets: Option<Instant>,
    controls: Option<Instant>,
}

impl FrameWatch {
    /// Watches a connection from its preface on.
    pub(super) fn new(header_timeout: Duration, stall_timeout: Duration) -> Self {
        Self {
            header_timeout,
            stall_timeout,
            skip: PREFACE,
            header: [0; HEADER],
            have: 0,
            kind: HEADERS,
            in_block: false,
            since: None,
            unfinished: None,
            unread: None,
            resets: None,
            controls: None,
        }
    }

    /// Takes note of bytes that have come.
    ///
    /// # Errors
    /// If they are part of a flood.
    pub(super) fn came(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.unfinished = None;
        let now = Instant::now();
        let mut begun_now = self.since.is_none();
        while !bytes.is_empty() {
            let step = if self.skip > 0 {
                let step = self.skip.min(bytes.len());
                self.skip -= step;
                step
            } else {
                let step = (HEADER - self.have).min(bytes.len());
                let from = bytes.get(..step).unwrap_or_default();
                if let Some(to) = self.header.get_mut(self.have..self.have + step) {
                    to.copy_from_slice(from);
                }
                self.have += step;
                if self.have == HEADER {
                    self.have = 0;
                    self.frame(now)?;
                }
                step
            };
            bytes = bytes.get(step..).unwrap_or_default();
            // What is under way next begins with these bytes.
            begun_now |= self.skip == 0 && self.have == 0 && !self.in_block;
        }
        let under_way = self.skip > 0 || self.have > 0 || self.in_block;
        self.since = match self.since {
            Some(since) if under_way && !begun_now => Some(since),
            _ => under_way.then_some(now),
        };
        Ok(())
    }

    /// Judges the frame whose header is whole.
    fn frame(&mut self, now: Instant) -> io::Result<()> {
        let [a, b, c, kind, flags, ..] = self.header;
        self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.kind = kind;
        let calm = match kind {
            HEADERS | CONTINUATION => {
                self.in_block = flags & END_HEADERS == 0;
                true
            }
            DATA | WINDOW_UPDATE => true,
            RST_STREAM => RESETS.allows(&mut self.resets, now),
            _ => CONTROLS.allows(&mut self.controls, now),
        };
        if calm { Ok(()) } else { Err(io::Error::other("too many frames of a kind")) }
    }

    /// Errs once what is under way has been so for too long.
    pub(super) fn poll_unfinished(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(since) = self.since else { return Ok(()) };
        let body = self.kind == DATA && !self.in_block && self.skip > 0;
        let patience = if body { self.stall_timeout } else { self.header_timeout };
        overdue(&mut self.unfinished, since + patience, cx)
    }

    /// Errs once nothing has been taken for too long of what is to be sent;
    /// `stuck` says whether nothing is taken now.
    pub(super) fn poll_unread(&mut self, stuck: bool, cx: &mut Context<'_>) -> io::Result<()> {
        if !stuck {
            self.unread = None;
            return Ok(());
        }
        let end = match &self.unread {
            Some(sleep) => sleep.deadline(),
            None => Instant::now() + self.stall_timeout,
        };
        overdue(&mut self.unread, end, cx)
    }
}

fn overdue(
    sleep: &mut Option<Pin<Box<Sleep>>>,
    end: Instant,
    cx: &mut Context<'_>,
) -> io::Result<()> {
    let sleep = sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
    match sleep.as_mut().poll(cx) {
        Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
        Poll::Pending => Ok(()),
    }
}

impl Rate {
    /// Whether one more is within the rate; `paid` is until when those before
    /// are paid for.
    fn allows(&self, paid: &mut Option<Instant>, now: Instant) -> bool {
        let until = paid.map_or(now, |paid| paid.max(now)) + self.each;
        *paid = Some(until);
        until.duration_since(now) <= self.each * self.burst
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn watch() -> FrameWatch {
        let mut watch = FrameWatch::new(Duration::from_secs(10), Duration::from_secs(15));
        watch.came(&[0; PREFACE]).unwrap();
        watch
    }

    fn frame(kind: u8, flags: u8, payload: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, payload, kind, flags, 0, 0, 0, 1];
        frame.resize(HEADER + usize::from(payload), 7);
        frame
    }

    /// After how many seconds from now the watch errs; `None` within a minute.
    async fn ends(watch: &mut FrameWatch) -> Option<u64> {
        let begun = Instant::now();
        let end = poll_fn(|cx| match watch.poll_unfinished(cx) {
            Ok(()) => Poll::Pending,
            Err(_) => Poll::Ready(()),
        });
        let ended = tokio::time::timeout(Duration::from_secs(60), end).await;
        ended.ok().map(|()| begun.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_whole_may_be_followed_by_silence() {
        let mut watch = watch();
        assert_eq!(ends(&mut watch).await, None);
        for byte in [frame(HEADERS, END_HEADERS, 3), frame(DATA, 0, 5), frame(6, 0, 8)].concat() {
            watch.came(&[byte]).unwrap();
        }
        assert_eq!(ends(&mut watch).await, None);
        let many = [frame(HEADERS, 0, 3), frame(CONTINUATION, END_HEADERS, 3)].concat();
        watch.came(&many).unwrap();
        assert_eq!(ends(&mut watch).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_whole_has_a_time() {
        for (kind, seconds) in [(HEADERS, 10), (DATA, 15), (6, 10)] {
            let mut watch = watch();
            watch.came(&frame(kind, END_HEADERS, 8)[..12]).unwrap();
            assert_eq!(ends(&mut watch).await, Some(seconds), "{kind}");
        }
        let mut watch = watch();
        watch.came(&[0, 0]).unwrap();
        assert_eq!(ends(&mut watch).await, Some(10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_block_has_one_time_however_many_frames_it_has() {
        let mut watch = watch();
        watch.came(&frame(HEADERS, 0, 3)).unwrap();
        for _ in 0..9 {
            tokio::time::advance(Duration::from_secs(1)).await;
            watch.came(&frame(CONTINUATION, 0, 1)).unwrap();
        }
        assert_eq!(ends(&mut watch).await, Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn each_frame_has_its_own_time() {
        let mut watch = watch();
        let data = frame(DATA, 0, 100);
        watch.came(&data[..50]).unwrap();
        tokio::time::advance(Duration::from_secs(14)).await;
        watch.came(&[&data[50..], &data[..50]].concat()).unwrap();
        assert_eq!(ends(&mut watch).await, Some(15));
    }

    #[tokio::test(start_paused = true)]
    async fn floods_end_and_steady_streams_do_not() {
        for (kind, each) in [(RST_STREAM, 5), (6, 10), (4, 10), (2, 10), (0xbe, 10)] {
            let mut watch = watch();
            let passed = (0..10_000).take_while(|_| watch.came(&frame(kind, 0, 4)).is_ok()).count();
            assert_eq!(passed, 1_000, "{kind}");
            let mut watch = self::watch();
            for _ in 0..5_000 {
                watch.came(&frame(kind, 0, 4)).unwrap();
                tokio::time::advance(Duration::from_millis(each)).await;
            }
        }
        let mut watch = watch();
        for _ in 0..10_000 {
            watch.came(&frame(WINDOW_UPDATE, 0, 4)).unwrap();
            watch.came(&frame(DATA, 0, 4)).unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_has_a_time() {
        let mut watch = watch();
        let stuck = |watch: &mut FrameWatch, stuck| {
            watch.poll_unread(stuck, &mut Context::from_waker(std::task::Waker::noop()))
        };
        for _ in 0..3 {
            stuck(&mut watch, true).unwrap();
            tokio::time::advance(Duration::from_secs(14)).await;
            stuck(&mut watch, true).unwrap();
            stuck(&mut watch, false).unwrap();
        }
        stuck(&mut watch, true).unwrap();
        tokio::time::advance(Duration::from_secs(16)).await;
        stuck(&mut watch, true).unwrap_err();
    }
}
