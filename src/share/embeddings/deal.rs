//! What each caller gets of a call that was made for several.

use std::sync::Arc;

use bytes::Bytes;

use super::answer::{Answer, Frame, Vector};
use crate::base::money::Money;
use crate::ledger::record::Tokens;
use crate::refusal::Refusal;
use crate::share::apportion::apportion;
use crate::share::portion;
use crate::share::{Head, Landing};

/// What one caller gets of a call.
#[derive(Debug)]
pub enum Deal {
    /// Vectors.
    Vectors(Part),
    /// Nothing: the call was refused for an input that may be another's, so each
    /// asks for itself.
    Alone,
    /// An answer that is no list of vectors.
    Other(Arc<Head>, Bytes, Landing),
    /// No answer.
    Refused(Refusal, Landing),
    /// Nothing: every caller has left.
    Left(Landing),
}

/// A caller's vectors.
#[derive(Debug)]
pub struct Part {
    /// The head of the provider's answer.
    pub head: Arc<Head>,
    /// The rest of its body; `None` if it was no list of vectors.
    pub frame: Option<Arc<Frame>>,
    /// The body as it came, where the call was the caller's own request.
    pub whole: Option<Bytes>,
    /// For each of the caller's inputs its vector; `None` was not given.
    pub vectors: Vec<Option<Vector>>,
    /// For each of the caller's inputs what it used.
    pub used: Vec<Tokens>,
    /// What the call came to, with the caller's share of its tokens and cost.
    pub landing: Landing,
    /// Whether the call was made for others too.
    pub shared: bool,
    /// Whether the first target of the route answered.
    pub first_target: bool,
}

/// A caller's share of `landing`, and what each of its inputs used.
pub type Share = (Landing, Vec<Tokens>);

/// Divides what a call used among its inputs, by their `weights`, and what it cost
/// among its callers, by what their inputs used; `sizes` are the numbers of their
/// inputs, in order.
pub fn shares(landing: &Landing, weights: &[u64], sizes: &[usize]) -> Vec<Share> {
    let mut used = apportioned(&landing.tokens, weights).into_iter();
    let mut weights = weights.iter();
    let mut callers = Vec::with_capacity(sizes.len());
    let mut weighed = Vec::with_capacity(sizes.len());
    for size in sizes {
        let used: Vec<Tokens> = used.by_ref().take(*size).collect();
        let tokens = total(&used);
        let weight: u64 = weights.by_ref().take(*size).sum();
        weighed.push(if landing.tokens.input > 0 { tokens.input } else { weight });
        callers.push((tokens, used));
    }
    let costs = portion::by_weight(landing.cost, &weighed);
    let share = |((tokens, used), cost)| (Landing { tokens, cost, ..landing.clone() }, used);
    callers.into_iter().zip(costs).map(share).collect()
}

/// The parts of callers whose shares these are, of an answer that holds all their
/// vectors; `None` is no list of vectors.
pub fn parts(
    answer: Option<Answer>,
    shares: Vec<Share>,
    head: &Arc<Head>,
    first_target: bool,
) -> Vec<Part> {
    let shared = shares.len() > 1;
    let (frame, vectors) = match answer {
        Some(Answer { frame, vectors }) => (Some(Arc::new(frame)), vectors),
        None => (None, Vec::new()),
    };
    let mut vectors = vectors.into_iter().chain(std::iter::repeat(None));
    let part = |(landing, used): Share| Part {
        head: head.clone(),
        frame: frame.clone(),
        whole: None,
        vectors: vectors.by_ref().take(used.len()).collect(),
        used,
        landing,
        shared,
        first_target,
    };
    shares.into_iter().map(part).collect()
}

/// The sum of `all`.
pub fn total(all: &[Tokens]) -> Tokens {
    all.iter().fold(Tokens::default(), |sum, tokens| add(&sum, tokens))
}

/// The sum of two.
pub fn add(one: &Tokens, other: &Tokens) -> Tokens {
    let mut sum = *one;
    sum += *other;
    sum
}

/// `landing` with what was spent before it too.
pub fn after(landing: Landing, tokens: &Tokens, cost: Money) -> Landing {
    Landing { tokens: add(&landing.tokens, tokens), cost: landing.cost + cost, ..landing }
}

fn apportioned(tokens: &Tokens, weights: &[u64]) -> Vec<Tokens> {
    let input = apportion(tokens.input, weights);
    // Of its input tokens each can have no more cached than there are.
    let cached = apportion(tokens.cached_input, &input);
    let fresh: Vec<u64> = input.iter().zip(&cached).map(|(input, cached)| input - cached).collect();
    let written = apportion(tokens.cache_write, &fresh);
    let output = apportion(tokens.output, weights);
    let reasoning = apportion(tokens.reasoning, &output);
    let prompts = input.into_iter().zip(cached).zip(written);
    let all = prompts.zip(output.into_iter().zip(reasoning));
    all.map(|(((input, cached_input), cache_write), (output, reasoning))| Tokens {
        input,
        cached_input,
        output,
        reasoning,
        cache_write,
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::record::Outcome;

    fn landing(input: u64, cached_input: u64, picos: i128) -> Landing {
        Landing {
            outcome: Outcome::Ok,
            provider: "p".into(),
            prices: None,
            called: true,
            broken: false,
            tokens: Tokens { input, cached_input, ..Tokens::default() },
            estimated: false,
            cost: Money::from_picos(picos),
            spared: Money::ZERO,
            waited: std::time::Duration::ZERO,
        }
    }

    proptest! {
        /// Covers B3 and invariant 2.
        #[test]
        fn shares_add_up_to_the_call(
            callers in prop::collection::vec(prop::collection::vec(0_u64..5_000, 1..12), 1..30),
            input in 0_u64..1_000_000,
            cached in 0_u64..1_000_000,
            picos in 0_i128..1 << 62,
        ) {
            let landing = landing(input, cached.min(input), picos);
            let weights: Vec<u64> = callers.iter().flatten().copied().collect();
            let sizes: Vec<usize> = callers.iter().map(Vec::len).collect();
            let shares = shares(&landing, &weights, &sizes);
            prop_assert_eq!(shares.len(), callers.len());
            let tokens: Vec<Tokens> = shares.iter().map(|(share, _)| share.tokens).collect();
            prop_assert_eq!(total(&tokens), landing.tokens);
            prop_assert_eq!(shares.iter().map(|(share, _)| share.cost).sum::<Money>(), landing.cost);
            for ((share, used), size) in shares.iter().zip(sizes) {
                prop_assert_eq!(used.len(), size);
                prop_assert_eq!(total(used), share.tokens);
                prop_assert!(used.iter().all(|tokens| tokens.cached_input <= tokens.input));
            }
        }

        /// A price by the token makes shares that are what each would have paid.
        #[test]
        fn a_price_by_the_token_is_divided_exactly(
            weights in prop::collection::vec(0_u64..5_000, 1..40), input in 1_u64..1_000_000, price in 0_i128..1_000_000,
        ) {
            let sizes = vec![1; weights.len()];
            for (share, _) in shares(&landing(input, 0, i128::from(input) * price), &weights, &sizes) {
                prop_assert_eq!(share.cost.picos(), i128::from(share.tokens.input) * price);
            }
        }
    }

    #[test]
    fn each_gets_the_vectors_of_its_own_inputs() {
        let text = br#"{"data":[{"index":0,"embedding":[0]},{"index":2,"embedding":[2]}]}"#;
        let answer = Answer::read(&Bytes::from_static(text), 3).unwrap();
        let all = answer.vectors.clone();
        let head = Arc::new(Head {
            status: http::StatusCode::OK,
            headers: http::HeaderMap::new(),
            provider: "p".into(),
            prices: None,
            choice: "",
            streamed: false,
            batched: false,
            waited: std::time::Duration::ZERO,
        });
        let shares = || shares(&landing(3, 0, 3), &[1, 1, 1], &[1, 2]);
        let parts_of = |answer| parts(answer, shares(), &head, true);
        let dealt = parts_of(Some(answer));
        assert_eq!(dealt[0].vectors, all[..1]);
        assert_eq!(dealt[1].vectors, all[1..]);
        assert!(dealt.iter().all(|part| part.shared));
        let nothing = parts_of(None);
        assert_eq!(nothing[1].vectors, [None, None]);
    }
}
