//! Tokens in money, exactly.

use crate::base::money::Money;
use crate::config::TokenPrices;
use crate::ledger::record::Tokens;

/// What the provider charges for `tokens`:
/// (input − cached − written) × input price + cached × cached price + written ×
/// cache write price + output × output price. Reasoning tokens are output tokens
/// already. More cached tokens than input tokens count as all input cached; a sum
/// beyond the largest amount is the largest amount.
pub fn cost(tokens: &Tokens, prices: &TokenPrices) -> Money {
    let [fresh, cached, written] = tokens.prompt();
    prices.input.times(fresh)
        + prices.cached_input.times(cached)
        + prices.cache_write.times(written)
        + prices.output.times(tokens.output)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(text: &str) -> Money {
        text.parse().unwrap()
    }

    /// gpt-4o-mini as shipped: $0.15, $0.075 and $0.60 per million tokens.
    fn prices() -> TokenPrices {
        TokenPrices {
            input: money("0.00000015"),
            cached_input: money("0.000000075"),
            cache_write: money("0.0000001875"),
            output: money("0.0000006"),
        }
    }

    fn tokens(input: u64, cached_input: u64, output: u64) -> Tokens {
        Tokens { input, cached_input, output, ..Tokens::default() }
    }

    /// Covers B1.
    #[test]
    fn cost_is_exact() {
        // 700 × 0.15 + 300 × 0.075 + 200 × 0.60 = 105 + 22.5 + 120, per million.
        assert_eq!(cost(&tokens(1_000, 300, 200), &prices()), money("0.0002475"));
        assert_eq!(cost(&tokens(1, 0, 0), &prices()), money("0.00000015"));
        assert_eq!(cost(&tokens(0, 0, 0), &prices()), Money::ZERO);
    }

    #[test]
    fn reasoning_is_not_charged_twice() {
        let thinking = Tokens { reasoning: 150, ..tokens(10, 0, 200) };
        assert_eq!(cost(&thinking, &prices()), cost(&tokens(10, 0, 200), &prices()));
    }

    #[test]
    fn more_cached_than_input_counts_as_all_cached() {
        assert_eq!(cost(&tokens(10, 1_000, 0), &prices()), money("0.00000075"));
    }

    #[test]
    fn what_is_written_to_the_providers_cache_has_a_price_of_its_own() {
        let written = |cache_write| Tokens { cache_write, ..tokens(1_000, 300, 200) };
        // 600 × 0.15 + 300 × 0.075 + 100 × 0.1875 + 200 × 0.60 = 90 + 22.5 + 18.75 + 120.
        assert_eq!(cost(&written(100), &prices()), money("0.00025125"));
        // More than there can be are all that there can be.
        assert_eq!(cost(&written(u64::MAX), &prices()), cost(&written(700), &prices()));
    }

    #[test]
    fn absurd_input_saturates() {
        let dear = TokenPrices { input: Money::from_picos(i128::MAX / 2), ..prices() };
        let all = tokens(u64::MAX, 0, u64::MAX);
        assert_eq!(cost(&all, &dear), Money::from_picos(i128::MAX));
    }
}
