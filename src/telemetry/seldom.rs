//! Saying something at most once in a while.

use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;
use parking_lot::Mutex;

/// When each thing was last said. Memory follows the names, which must be
/// bounded.
#[derive(Debug, Default)]
pub struct Seldom {
    last: Mutex<AHashMap<Arc<str>, Duration>>,
}

impl Seldom {
    /// Whether `name` may be said at `now`, of the monotonic clock: not within
    /// `every` of the last time.
    pub fn allows(&self, name: &Arc<str>, now: Duration, every: Duration) -> bool {
        let mut last = self.last.lock();
        match last.get(name) {
            Some(before) if now.saturating_sub(*before) < every => false,
            _ => {
                last.insert(name.clone(), now);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_said_once_in_a_while() {
        let (seldom, every) = (Seldom::default(), Duration::from_secs(60));
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let said = |name, at| seldom.allows(name, Duration::from_secs(at), every);
        assert!(said(&a, 0) && said(&b, 1));
        assert!(!said(&a, 59) && said(&a, 60) && !said(&b, 60));
    }
}
