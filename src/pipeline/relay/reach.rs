//! How the target of an attempt is reached.

use std::sync::Arc;

use crate::app::Reach;
use crate::config::Target;
use crate::pipeline::relay::pilot::Flying;
use crate::upstream::Failure;

/// Who is called.
pub(super) enum Callee<'a> {
    /// A provider of the seller's.
    Seller(&'a Reach),
    /// A provider of the account's own.
    Own(Arc<Reach>),
    /// The built-in one.
    Sandbox,
}

impl<'a> Flying<'a> {
    /// Who is called at `target`.
    ///
    /// # Errors
    /// [`Failure::Unreachable`] if a provider of the account's own is not there any
    /// more.
    pub(super) fn callee(&self, target: &Target) -> Result<Callee<'a>, Failure> {
        let Some(id) = &self.route.own else {
            let reach = self.snapshot.providers.get(&target.provider.name);
            return Ok(reach.map_or(Callee::Sandbox, |reach| Callee::Seller(reach)));
        };
        let (own, account) = (&self.app.own, &self.calls.frame().account);
        let reach = own.reach(account, id, &self.snapshot.config.routing);
        reach.map(Callee::Own).ok_or(Failure::Unreachable)
    }
}
