//! How many requests of each class an account was charged for in a month, for
//! prices that depend on it.
//!
//! A request takes its number when it is settled, so the numbers of a month are
//! 1, 2, 3, … without a gap in the order of settlement, and the ledger's replay
//! rebuilds the counts.

use std::sync::Arc;

use parking_lot::Mutex;

/// The counts of one account. A month is named by its number, see
/// [`Month`](super::quota::Month).
#[derive(Debug, Default)]
pub struct Volume {
    counts: Mutex<Vec<Count>>,
}

#[derive(Debug)]
struct Count {
    class: Arc<str>,
    month: u32,
    charged: u64,
}

impl Volume {
    /// Counts a charged request of `class` in `month` and gives its number,
    /// from 1.
    pub fn take(&self, class: &Arc<str>, month: u32) -> u64 {
        self.add(class, month, 1)
    }

    /// The number that the next request would have.
    pub fn next(&self, class: &str, month: u32) -> u64 {
        let counts = self.counts.lock();
        let of = counts.iter().find(|count| count.month == month && *count.class == *class);
        of.map_or(1, |count| count.charged.saturating_add(1))
    }

    /// Undoes one `take` whose request could not be recorded.
    pub fn give_back(&self, class: &str, month: u32) {
        let mut counts = self.counts.lock();
        let mut of = counts.iter_mut();
        if let Some(count) = of.find(|count| count.month == month && *count.class == *class) {
            count.charged = count.charged.saturating_sub(1);
        }
    }

    /// Counts `quantity` charged requests of the past, for rebuilding from the
    /// journal. Any order will do.
    pub fn restore(&self, class: &Arc<str>, month: u32, quantity: u64) {
        self.add(class, month, quantity);
    }

    /// Whether nothing is counted in `month`.
    pub fn is_empty(&self, month: u32) -> bool {
        !self.counts.lock().iter().any(|count| count.month == month && count.charged > 0)
    }

    fn add(&self, class: &Arc<str>, month: u32, quantity: u64) -> u64 {
        let mut counts = self.counts.lock();
        let at = |counts: &[Count]| {
            counts.iter().position(|count| count.month == month && count.class == *class)
        };
        let place = at(&counts).unwrap_or_else(|| {
            // Requests that began before the edge of a month still count in it.
            counts.retain(|count| count.month.saturating_add(1) >= month);
            counts.push(Count { class: Arc::clone(class), month, charged: 0 });
            counts.len() - 1
        });
        counts.get_mut(place).map_or(0, |count| {
            count.charged = count.charged.saturating_add(quantity);
            count.charged
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_no_gap_whatever_the_order_of_months() {
        let volume = Volume::default();
        let (docs, chat): (Arc<str>, Arc<str>) = ("docs".into(), "chat".into());
        assert_eq!((volume.take(&docs, 5), volume.take(&docs, 5)), (1, 2));
        assert_eq!(volume.take(&chat, 5), 1);
        assert_eq!(volume.take(&docs, 6), 1);
        assert_eq!(volume.take(&docs, 5), 3, "it began before the edge");
        assert_eq!(volume.next("docs", 6), 2);
        volume.give_back("docs", 6);
        assert_eq!(volume.next("docs", 6), 1);
        assert!(volume.is_empty(6) && !volume.is_empty(5));
    }

    #[test]
    fn months_long_past_are_forgotten() {
        let volume = Volume::default();
        let docs: Arc<str> = "docs".into();
        for month in 1..100 {
            volume.take(&docs, month);
        }
        assert_eq!(volume.counts.lock().len(), 2);
    }

    #[test]
    fn of_simultaneous_requests_each_has_its_own_number() {
        let volume = Volume::default();
        let docs: Arc<str> = "docs".into();
        let mut numbers: Vec<u64> = std::thread::scope(|scope| {
            let takers = [(); 4].map(|()| {
                scope.spawn(|| (0..250).map(|_| volume.take(&docs, 1)).collect::<Vec<_>>())
            });
            takers.into_iter().flat_map(|taker| taker.join().unwrap()).collect()
        });
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=1000).collect::<Vec<_>>());
    }
}
