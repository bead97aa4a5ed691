//! A panic anywhere in a handler is answered, settled, and survived. Covers
//! invariants 1 and 7.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use tollgate::base::clock::{Clock, TestClock, Timestamp};

use crate::harness::door::Door;
use crate::harness::gateway::NOON;
use crate::harness::provider::Provider;
use crate::harness::setup::Tollgate;

/// The name of the threads that serve clients.
const SERVING: &str = "proxy";

/// A clock that panics once, at the given one of the questions that follow where
/// clients are served: what is done beside that now and then must not meet it.
struct Mine {
    clock: TestClock,
    left: AtomicU64,
}

impl Mine {
    fn lay(&self, questions: u64) {
        self.left.store(questions, Ordering::SeqCst);
    }

    fn step(&self) {
        if std::thread::current().name() != Some(SERVING) {
            return;
        }
        let before =
            self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        assert_ne!(before, Ok(1), "the mine goes off");
    }
}

impl Clock for Mine {
    fn wall(&self) -> Timestamp {
        self.step();
        self.clock.wall()
    }

    fn monotonic(&self) -> Duration {
        self.step();
        self.clock.monotonic()
    }
}

#[tokio::test]
async fn a_panic_at_any_point_is_answered_settled_and_survived() {
    let provider = Provider::start().await;
    let home = TempDir::new().unwrap();
    let file = Tollgate::before(&provider).write(home.path());
    let config = tollgate::config::load(&file).unwrap();
    let mine = Arc::new(Mine { clock: TestClock::at(NOON), left: AtomicU64::new(0) });
    let clock: Arc<dyn Clock> = mine.clone();
    let started = tokio::task::spawn_blocking(move || tollgate::app::start(config, clock));
    let running = started.await.unwrap().unwrap();
    let door = Door { proxy: running.proxy, admin: running.admin };

    let (mut answered, mut broken) = (0, 0);
    // The first two questions are asked before there is an exchange to answer.
    for questions in 3.. {
        mine.lay(questions);
        let answer = door.send(&door.chat()).await;
        let went_off = mine.left.swap(0, Ordering::SeqCst) == 0;
        match answer.status() {
            500 => {
                answer.refused(500, "internal_error");
                broken += 1;
            }
            200 => answered += 1,
            other => panic!("{other} after {questions} questions"),
        }
        if !went_off {
            break;
        }
    }
    assert!(broken > 5, "only {broken} requests met the mine");
    door.send(&door.chat()).await.ok();

    let records = door.records().await;
    assert_eq!(records.len(), provider.calls().len(), "one record for each call");
    let ok = records.iter().filter(|record| record["outcome"] == "ok").count();
    assert!(ok > answered, "what was answered whole is recorded so");
    let failed = records.iter().filter(|record| record["outcome"] == "internal_error");
    let failed: Vec<_> = failed.collect();
    assert!(!failed.is_empty(), "no call was under way when the mine went off");
    for record in failed {
        assert_eq!((&record["quantity"], &record["price"]), (&json!(0), &json!("0")), "{record}");
    }
    let busy = door.admin("/metrics").await.ok().text();
    for line in busy.lines().filter(|line| line.starts_with("tollgate_inflight")) {
        assert!(line.ends_with(" 0"), "{line}");
    }
    std::thread::spawn(move || running.stop()).join().unwrap();
}
