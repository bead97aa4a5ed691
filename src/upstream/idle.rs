//! HTTP/1.1 connections to providers that wait for their next request.
//!
//! Pingora's own pool has a task watch each connection, made anew after every
//! request; that costs more than the rest of a reuse. Here a connection is looked
//! at when it comes, when it is taken, and now and then meanwhile by one task for
//! all of them. So one that the provider has closed is never used, and stays for
//! at most [`LOOK`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use pingora_core::protocols::Stream;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_secs(60);
/// How often all of them are looked at.
const LOOK: Duration = Duration::from_secs(10);
/// Most connections that are kept to all providers together.
const MOST: usize = 1_024;

/// The connections to all providers that nobody uses.
#[derive(Default)]
pub(super) struct Idle {
    parked: Mutex<Parked>,
}

#[derive(Default)]
struct Parked {
    /// By the key of the address, the last that came at the end.
    streams: HashMap<u64, Vec<(Stream, Instant)>>,
    count: usize,
    /// Whether there is a task that looks at them.
    watched: bool,
}

impl Idle {
    /// The connection to the address with this key of Pingora's that was used last.
    pub(super) fn take(&self, key: u64) -> Option<Stream> {
        loop {
            // The lock is free again before the connection is looked at.
            let (mut stream, until) = self.parked.lock().pop(key)?;
            if Instant::now() < until && is_quiet(&mut stream) {
                return Some(stream);
            }
        }
    }

    /// Keeps a connection for the next request to the address with this key.
    pub(super) fn put(self: &Arc<Self>, key: u64, mut stream: Stream) {
        if !is_quiet(&mut stream) {
            return;
        }
        let mut parked = self.parked.lock();
        let gives_way = if parked.count == MOST { parked.oldest_of_most() } else { None };
        parked.count += 1;
        parked.streams.entry(key).or_default().push((stream, Instant::now() + IDLE));
        if !std::mem::replace(&mut parked.watched, true) {
            tokio::spawn(self.clone().watch());
        }
        // Closed without the lock.
        drop(parked);
        drop(gives_way);
    }

    /// Looks at all connections now and then until there are none.
    async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let over = self.parked.lock().clear_out(Instant::now());
            let Some(over) = over else { return };
            // Closed without the lock.
            drop(over);
        }
    }
}

impl Parked {
    fn pop(&mut self, key: u64) -> Option<(Stream, Instant)> {
        let taken = self.streams.get_mut(&key)?.pop()?;
        self.count -= 1;
        Some(taken)
    }

    /// Takes out the one that has waited longest for the address that has most: so a
    /// burst to one provider takes no place from the others.
    fn oldest_of_most(&mut self) -> Option<Stream> {
        let most = self.streams.values_mut().max_by_key(|streams| streams.len())?;
        let (oldest, _) = (!most.is_empty()).then(|| most.remove(0))?;
        self.count -= 1;
        Some(oldest)
    }

    /// Takes out what is closed, or has waited for too long at `now`; `None` if
    /// nothing is left to look at.
    fn clear_out(&mut self, now: Instant) -> Option<Vec<Stream>> {
        if self.count == 0 {
            self.streams.clear();
            self.watched = false;
            return None;
        }
        let mut over = Vec::new();
        for streams in self.streams.values_mut() {
            let all = streams.extract_if(.., |(stream, until)| *until <= now || !is_quiet(stream));
            over.extend(all.map(|(stream, _)| stream));
        }
        self.streams.retain(|_, streams| !streams.is_empty());
        self.count -= over.len();
        Some(over)
    }
}

/// Whether nothing has come on a connection, not even its end: what a provider
/// sends unasked is no answer to the next request.
fn is_quiet(stream: &mut Stream) -> bool {
    let mut byte = [0; 1];
    tokio::task::unconstrained(stream.read(&mut byte)).now_or_never().is_none()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    fn parked(idle: &Arc<Idle>, key: u64) -> DuplexStream {
        let (near, far) = duplex(64);
        idle.put(key, Box::new(near));
        far
    }

    #[tokio::test]
    async fn the_last_that_came_is_taken_first() {
        let idle = Arc::new(Idle::default());
        let (mut first, mut last) = (parked(&idle, 1), parked(&idle, 1));
        assert!(idle.take(2).is_none(), "another address");
        for far in [&mut last, &mut first] {
            let mut taken = idle.take(1).unwrap();
            taken.write_all(b"!").await.unwrap();
            assert_eq!(far.read_u8().await.unwrap(), b'!');
        }
        assert!(idle.take(1).is_none());
    }

    #[tokio::test]
    async fn what_is_closed_or_has_spoken_unasked_is_not_used() {
        let idle = Arc::new(Idle::default());
        let _good = parked(&idle, 1);
        drop(parked(&idle, 1));
        let mut talks = parked(&idle, 1);
        talks.write_all(b"HTTP/1.1 408").await.unwrap();
        assert!(idle.take(1).is_some());
        assert!(idle.take(1).is_none());
        let (near, far) = duplex(64);
        drop(far);
        idle.put(1, Box::new(near));
        assert!(idle.take(1).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_too_long_or_is_closed_meanwhile_is_let_go_of() {
        let idle = Arc::new(Idle::default());
        let mut waits = parked(&idle, 1);
        drop(parked(&idle, 2));
        tokio::time::sleep(LOOK + Duration::from_secs(1)).await;
        assert_eq!(idle.parked.lock().count, 1);
        assert_eq!(waits.read(&mut [0; 1]).await.unwrap(), 0, "closed at last");
        assert_eq!(idle.parked.lock().count, 0);
        tokio::time::sleep(LOOK + Duration::from_secs(1)).await;
        assert!(!idle.parked.lock().watched, "nobody looks at nothing");
        let _again = parked(&idle, 1);
        assert!(idle.take(1).is_some());
    }

    #[tokio::test]
    async fn a_burst_to_one_takes_no_place_from_the_others() {
        let idle = Arc::new(Idle::default());
        let _other = parked(&idle, 2);
        let mut burst: Vec<_> = (0..MOST).map(|_| parked(&idle, 1)).collect();
        let _late = parked(&idle, 3);
        assert_eq!(idle.parked.lock().count, MOST);
        assert!(idle.take(2).is_some() && idle.take(3).is_some());
        for given_way in &mut burst[..2] {
            assert_eq!(given_way.read(&mut [0; 1]).await.unwrap(), 0, "the oldest is closed");
        }
        assert_eq!(idle.parked.lock().count, MOST - 2);
    }
}
