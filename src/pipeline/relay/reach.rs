//! How the target of an attempt is reached.

use std::ops::Deref;
use std::sync::Arc;

use crate::app::Reach;
use crate::pipeline::relay::pilot::Flying;
use crate::share::window::Past;

/// Who is called.
#[derive(Clone)]
pub(super) enum Callee<'a> {
    /// A provider of the seller's.
    Seller(&'a Reach),
    /// A provider of the account's own.
    Own(Arc<Reach>),
}

impl Deref for Callee<'_> {
    type Target = Reach;

    fn deref(&self) -> &Reach {
        match self {
            Self::Seller(reach) => reach,
            Self::Own(reach) => reach,
        }
    }
}

impl<'a> Callee<'a> {
    /// The seller's; whose state outlives the request.
    pub(super) fn seller(&self) -> Option<&'a Reach> {
        match self {
            Self::Seller(reach) => Some(reach),
            Self::Own(_) => None,
        }
    }
}

impl Flying<'_> {
    /// Chooses the first target after the attempts of `past`.
    pub(super) fn begin(&mut self, past: &Past) {
        if let Some(id) = &self.route.own {
            let (own, account) = (&self.app.own, &self.calls.frame().account);
            self.course.own = own.reach(account, id, &self.snapshot.config.routing);
        }
        let assumed = self.calls.assumed();
        self.course.begin(self.app, &self.route, &assumed, past);
    }
}
