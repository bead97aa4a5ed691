//! The metrics of the loss guard.

use prometheus::IntCounterVec;

use super::labels::GuardAction;
use super::register::Register;

/// The families of the loss guard.
pub(super) struct GuardFamilies {
    /// Requests that the loss guard had something to say about, by class and by
    /// what it did: `warn`, `route_down`, `refuse`, or `unpriced` where the model
    /// has no price to judge by.
    actions: IntCounterVec,
}

impl GuardFamilies {
    pub(super) fn register(register: &Register<'_>) -> Result<Self, prometheus::Error> {
        let actions = register.counters(
            "loss_guard_total",
            "Requests expected to cost more than they earn, by what was done.",
            &["class", "action"],
        )?;
        Ok(Self { actions })
    }

    pub(super) fn acted(&self, class: &str, action: GuardAction) {
        self.actions.with_label_values(&[class, action.into()]).inc();
    }
}
