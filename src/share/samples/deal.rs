//! What each caller bears of a call that was made for several.

use crate::base::money::Money;
use crate::ledger::record::Tokens;
use crate::share::Landing;
use crate::share::apportion::apportion;
use crate::share::portion;

/// What the call that came to `landing` is to each of its callers, whose choices
/// weigh `weights`; the prompt alone cost `prompt`.
///
/// Each has the whole prompt's tokens and its own choice's: the provider's figure
/// is divided by largest remainder. It bears an equal share of what the prompt
/// cost and what its own tokens cost. The costs add up to `landing`'s, and so do
/// the answer tokens.
pub fn shares(landing: &Landing, prompt: Money, weights: &[u64]) -> Vec<Landing> {
    let outputs = apportion(landing.tokens.output, weights);
    let reasoning = apportion(landing.tokens.reasoning, &outputs);
    let costs = portion::by_weight(landing.cost - prompt, &outputs);
    let among = u32::try_from(weights.len()).unwrap_or(u32::MAX);
    let all = (0..among).zip(outputs).zip(reasoning).zip(costs);
    all.map(|(((index, output), reasoning), cost)| {
        let share = portion::share(prompt, index, among);
        Landing {
            tokens: Tokens { output, reasoning, ..landing.tokens },
            cost: cost + share,
            spared: prompt - share,
            ..landing.clone()
        }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::record::Outcome;

    fn landing(tokens: Tokens, cost: Money) -> Landing {
        Landing {
            outcome: Outcome::Ok,
            provider: "p".into(),
            prices: None,
            called: true,
            broken: false,
            tokens,
            estimated: false,
            cost,
            spared: Money::ZERO,
            waited: std::time::Duration::ZERO,
        }
    }

    proptest! {
        /// Covers B3 and invariant 2.
        #[test]
        fn shares_add_up_to_the_call_and_each_pays_for_its_own_tokens(
            weights in prop::collection::vec(0_u64..5_000, 1..40),
            input in 0_u64..1_000_000,
            output in 0_u64..1_000_000,
            reasoning in 0_u64..1_000_000,
            prices in (0_i128..1 << 40, 0_i128..1 << 40),
        ) {
            let tokens = Tokens { input, cached_input: input / 3, output, reasoning: reasoning.min(output), ..Tokens::default() };
            let prompt = Money::from_picos(i128::from(input) * prices.0);
            let landing = landing(tokens, prompt + Money::from_picos(i128::from(output) * prices.1));
            let shares = shares(&landing, prompt, &weights);
            prop_assert_eq!(shares.len(), weights.len());
            prop_assert_eq!(shares.iter().map(|share| share.cost).sum::<Money>(), landing.cost);
            prop_assert_eq!(shares.iter().map(|share| share.tokens.output).sum::<u64>(), output);
            prop_assert_eq!(shares.iter().map(|share| share.tokens.reasoning).sum::<u64>(), tokens.reasoning);
            for share in &shares {
                prop_assert_eq!((share.tokens.input, share.tokens.cached_input), (input, input / 3));
                prop_assert!(share.tokens.reasoning <= share.tokens.output);
                let own = Money::from_picos(i128::from(share.tokens.output) * prices.1);
                prop_assert_eq!(share.cost + share.spared, prompt + own);
            }
        }
    }
}
