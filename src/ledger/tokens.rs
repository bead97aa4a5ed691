//! Tokens, and what one of them costs.

use std::ops::AddAssign;

use crate::base::money::Money;
use crate::ledger::codec::count;

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
    /// Prompt tokens that the provider put into its cache; none of them is among
    /// the cached ones. Shown only where there are some.
    #[n(4)]
    #[cbor(with = "count", has_nil)]
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_write: u64,
}

impl Tokens {
    /// Prompt and answer together: what counts against a limit.
    pub const fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }

    /// Prompt tokens by what they cost: neither read from the provider's cache nor
    /// written to it, read, written. They come to `input`, whatever the parts say.
    pub fn prompt(&self) -> [u64; 3] {
        let read = self.cached_input.min(self.input);
        let written = self.cache_write.min(self.input - read);
        [self.input - read - written, read, written]
    }
}

impl AddAssign for Tokens {
    fn add_assign(&mut self, more: Self) {
        self.input = self.input.saturating_add(more.input);
        self.cached_input = self.cached_input.saturating_add(more.cached_input);
        self.output = self.output.saturating_add(more.output);
        self.reasoning = self.reasoning.saturating_add(more.reasoning);
        self.cache_write = self.cache_write.saturating_add(more.cache_write);
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
    /// Of a prompt token that the provider put into its cache; none where that is
    /// the price of `input`.
    #[n(3)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<Money>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}
