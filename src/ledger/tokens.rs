//! Tokens, and what one of them costs.

use std::ops::AddAssign;

use crate::base::money::Money;

/// Tokens of one request, as the provider counts them.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, minicbor::Encode, minicbor::Decode, serde::Serialize,
)]
#[cbor(map)]
pub struct Tokens {
    /// Prompt tokens, cached ones included.
    #[n(0)]
    pub input: u64,
    /// Prompt tokens that the provider had cached.
    #[n(1)]
    pub cached_input: u64,
    /// Answer tokens, reasoning included.
    #[n(2)]
    pub output: u64,
    /// Answer tokens spent on reasoning.
    #[n(3)]
    pub reasoning: u64,
}

impl Tokens {
    /// Prompt and answer together: what counts against a limit.
    pub const fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

impl AddAssign for Tokens {
    fn add_assign(&mut self, more: Self) {
        self.input = self.input.saturating_add(more.input);
        self.cached_input = self.cached_input.saturating_add(more.cached_input);
        self.output = self.output.saturating_add(more.output);
        self.reasoning = self.reasoning.saturating_add(more.reasoning);
    }
}

/// Prices of one token to a customer.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, minicbor::Encode, minicbor::Decode, serde::Serialize,
)]
#[cbor(map)]
pub struct TokenRates {
    /// Of a prompt token.
    #[n(0)]
    pub input: Money,
    /// Of a prompt token that the provider had cached.
    #[n(1)]
    pub cached_input: Money,
    /// Of an answer token, reasoning included.
    #[n(2)]
    pub output: Money,
}
