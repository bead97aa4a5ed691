//! The loss guard: whether a request is expected to earn what it costs.

use crate::base::factor::Factor;
use crate::base::money::Money;
use crate::config::{Class, TokenPrices};
use crate::ledger::record::Tokens;
use crate::meter::price;
use crate::meter::quote::Quote;

/// What a request is expected to use, and what of that it is to earn.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Its prices.
    pub quote: &'a Quote,
    /// The tokens of its prompt and of all its answers.
    pub tokens: Tokens,
    /// Which of the account's charged requests of the class and month it would
    /// be, from 1.
    pub number: u64,
    /// The share of its price that it is to earn.
    pub floor: Factor,
}

impl<'a> Expected<'a> {
    /// A request of `class`.
    pub const fn new(class: &Class, quote: &'a Quote, tokens: Tokens, number: u64) -> Self {
        Self { quote, tokens, number, floor: class.margin_floor }
    }

    /// What it costs where the provider charges `cost`.
    pub fn cost(&self, cost: &TokenPrices) -> Money {
        price::cost(&self.tokens, cost)
    }

    /// Whether it earns its cost and the margin above it where the provider
    /// charges `cost`.
    pub fn pays(&self, cost: &TokenPrices) -> bool {
        self.pays_with(self.tokens, cost)
    }

    /// The most answer tokens with which it pays; `None` if it does with none.
    pub fn most_output(&self, cost: &TokenPrices) -> Option<u64> {
        let with = |output| self.pays_with(Tokens { output, ..self.tokens }, cost);
        if !with(0) {
            return None;
        }
        let (mut pays, mut loses) = (0, self.tokens.output);
        while loses - pays > 1 {
            let middle = pays + (loses - pays) / 2;
            if with(middle) {
                pays = middle;
            } else {
                loses = middle;
            }
        }
        Some(pays)
    }

    fn pays_with(&self, tokens: Tokens, cost: &TokenPrices) -> bool {
        let price = self.quote.expected(&tokens, Some(cost), self.number);
        self.floor.leaves(price::cost(&tokens, cost), price)
    }
}
