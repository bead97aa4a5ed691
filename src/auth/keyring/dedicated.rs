//! Whether anybody has a key to dedicated capacity.

use parking_lot::Mutex;

use super::{Access, Identity};

type Told = Box<dyn Fn(bool) + Send + Sync>;

/// Counts the keys whose accounts are served under a dedicated plan. A key that
/// has ended counts until it is swept.
#[derive(Default)]
pub(super) struct Dedicated(Mutex<State>);

#[derive(Default)]
struct State {
    keys: usize,
    told: Option<Told>,
}

impl Dedicated {
    /// Tells `told` now, and at every change, whether there is any such key.
    pub(super) fn tell(&self, told: Told) {
        let mut state = self.0.lock();
        told(state.keys > 0);
        state.told = Some(told);
    }

    /// A key stands for `after` instead of `before`.
    pub(super) fn change(&self, before: Option<&Identity>, after: Option<&Identity>) {
        let (before, after) = (before.is_some_and(counts), after.is_some_and(counts));
        if before != after {
            let change = if after { 1 } else { -1 };
            self.update(|keys| keys.saturating_add_signed(change));
        }
    }

    /// The keys stand for `all`, and there are no others.
    pub(super) fn replace<'a>(&self, all: impl Iterator<Item = &'a Identity>) {
        let keys = all.filter(|identity| counts(identity)).count();
        self.update(|_| keys);
    }

    fn update(&self, change: impl FnOnce(usize) -> usize) {
        let mut state = self.0.lock();
        let before = state.keys;
        state.keys = change(before);
        let any = state.keys > 0;
        if let Some(told) = state.told.as_ref().filter(|_| any != (before > 0)) {
            told(any);
        }
    }
}

impl std::fmt::Debug for Dedicated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dedicated").field("keys", &self.0.lock().keys).finish_non_exhaustive()
    }
}

fn counts(identity: &Identity) -> bool {
    identity.access == Access::Open && identity.plan.is_dedicated()
}
