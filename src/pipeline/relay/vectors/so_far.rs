//! What a request for embeddings has of its answer so far.

use std::sync::Arc;

use bytes::Bytes;

use crate::base::money::Money;
use crate::ledger::record::Tokens;
use crate::pipeline::recall::Inputs;
use crate::share::embeddings::{Frame, Part, Vector, deal};
use crate::share::{Head, Landing};

/// What a request has of its answer so far.
pub(super) struct SoFar {
    pub(super) vectors: Vec<Option<Vector>>,
    /// What each vector used, as far as that is known.
    pub(super) used: Vec<Tokens>,
    /// What calls have used and cost.
    pub(super) spent: Tokens,
    pub(super) cost: Money,
    /// Whether a part of it was counted here.
    pub(super) estimated: bool,
    /// Whether a call was made.
    pub(super) called: bool,
    /// Whether one was shared with others.
    pub(super) shared: bool,
    /// For each input, whether its vector may be kept.
    pub(super) fresh: Vec<bool>,
    /// The answer that came last.
    pub(super) last: Option<Last>,
}

/// An answer with vectors.
pub(super) struct Last {
    pub(super) head: Arc<Head>,
    pub(super) frame: Arc<Frame>,
    pub(super) landing: Landing,
    /// Its body, where it is the answer to the caller's request as it came.
    pub(super) whole: Option<Bytes>,
}

impl SoFar {
    pub(super) fn new(inputs: &Inputs) -> Self {
        let count = inputs.split.parts.len();
        let known = |place| inputs.known(place);
        Self {
            vectors: (0..count)
                .map(|place| known(place).map(|known| known.vector.clone()))
                .collect(),
            used: (0..count)
                .map(|place| known(place).map_or_else(Tokens::default, |known| known.entry.tokens))
                .collect(),
            spent: Tokens::default(),
            cost: Money::ZERO,
            estimated: (0..count).filter_map(known).any(|known| known.entry.estimated),
            called: false,
            shared: false,
            fresh: vec![false; count],
            last: None,
        }
    }

    /// The places of the inputs without a vector.
    pub(super) fn missing(&self) -> impl Iterator<Item = usize> {
        self.vectors
            .iter()
            .enumerate()
            .filter(|(_, vector)| vector.is_none())
            .map(|(place, _)| place)
    }

    /// The inputs that are to be asked for.
    pub(super) fn asked(&self, inputs: &Inputs) -> Vec<Bytes> {
        self.missing().filter_map(|place| inputs.split.parts.get(place).cloned()).collect()
    }

    /// Takes what a call has brought of what was missing.
    pub(super) fn take(&mut self, part: Part) {
        let Part { head, frame, whole, vectors, used, landing, shared, first_target } = part;
        let missing: Vec<usize> = self.missing().collect();
        for ((place, vector), used) in missing.into_iter().zip(vectors).zip(used) {
            if let (Some(slot), Some(tokens), Some(fresh)) =
                (self.vectors.get_mut(place), self.used.get_mut(place), self.fresh.get_mut(place))
                && vector.is_some()
            {
                (*slot, *tokens, *fresh) = (vector, used, first_target);
            }
        }
        self.spent = deal::add(&self.spent, &landing.tokens);
        self.cost += landing.cost;
        self.estimated |= landing.estimated;
        self.called = true;
        self.shared |= shared;
        if let Some(frame) = frame {
            self.last = Some(Last { head, frame, landing, whole });
        }
    }
}
