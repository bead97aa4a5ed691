//! The charging policy: what is charged, and what it costs, for each way in
//! which a request can end. [`TABLE`] says it in words, [`terms`] and [`FREE`]
//! decide.

use crate::ledger::record::Outcome;

/// Where the tokens of a settled request come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// The provider's own figures, or else a count of what went over the wire.
    Settled,
    /// What the request was expected to use when it was sent.
    Assumed,
    /// There are none: the provider does not charge.
    None,
}

/// What the policy says about one outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Whether the customer pays for the request.
    pub charged: bool,
    /// Where its tokens come from.
    pub tokens: TokenSource,
}

/// What the policy says about a request that is free however it ends: one that
/// repeats another under its `idempotency-key`, whose first has all of it, and one
/// that only has tokens counted.
pub const FREE: Terms = Terms { charged: false, tokens: TokenSource::None };

/// One row of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// What happens.
    pub case: &'static str,
    /// The outcome in its record; `None` has no record.
    pub outcome: Option<Outcome>,
    /// Whether such a request is free however it ends (see [`FREE`]).
    pub free: bool,
    /// What the customer is charged for.
    pub charged: &'static str,
    /// Which tokens and cost its record has.
    pub cost: &'static str,
}

/// The policy, row by row, as the manual prints it.
pub const TABLE: [Row; 22] = [
    row("the whole answer is handed over", Outcome::Ok, "one request", "as the provider reports"),
    row(
        "the provider answers with an error, or not at all",
        Outcome::ProviderError,
        NOTHING,
        "none",
    ),
    row(
        "the client leaves before the first byte",
        Outcome::ClientGoneEarly,
        NOTHING,
        "the prompt, counted",
    ),
    row(
        "the client leaves after the first byte",
        Outcome::ClientGoneLate,
        "one request",
        "what was produced until then",
    ),
    row(
        "the client leaves after the record, before the last byte",
        Outcome::Ok,
        "one request",
        "as the provider reports",
    ),
    row("the provider's answer breaks off", Outcome::Cut, NOTHING, "what was produced until then"),
    row("the provider reports no usage", Outcome::Ok, "one request", "counted, `estimated`"),
    row(
        "the answer comes from the cache",
        Outcome::Ok,
        "one request, at `price_cached`",
        "the tokens of the answer, no cost",
    ),
    row(
        "an answer past its time is given",
        Outcome::Ok,
        "one request, at `price_cached`",
        "the tokens of the answer, the cost of calls that failed",
    ),
    row(
        "an answer of the cache is renewed",
        Outcome::Revalidation,
        NOTHING,
        "as the provider reports, or a share of it",
    ),
    row(
        "an equal request's running call is joined",
        Outcome::Ok,
        "one request",
        "the tokens of the answer, a share of the cost",
    ),
    row(
        "embeddings are made in one call with those of others",
        Outcome::Ok,
        "one request",
        "its own inputs' share",
    ),
    row(
        "samples of one prompt are made in one call",
        Outcome::Ok,
        "one request",
        "the prompt's tokens and its own choice's; a share of the prompt's cost",
    ),
    Row {
        case: "an idempotent repeat: the same request under the same `idempotency-key`",
        outcome: Some(Outcome::Ok),
        free: true,
        charged: NOTHING,
        cost: "none, the first has them",
    },
    Row {
        case: "tokens are counted: `/v1/messages/count_tokens`",
        outcome: Some(Outcome::Ok),
        free: true,
        charged: NOTHING,
        cost: "none, providers count for nothing",
    },
    row(
        "the request lies beyond the quota",
        Outcome::Ok,
        "one request, at `overage`",
        "as the provider reports",
    ),
    Row {
        case: "the request is refused",
        outcome: None,
        free: false,
        charged: "nothing, and no record",
        cost: "none",
    },
    row("a call fails and is retried", Outcome::Ok, "one request", "of the call that answers"),
    row(
        "another target answers",
        Outcome::Ok,
        "one request",
        "of the target that answers, at its prices",
    ),
    row(
        "the endpoint is not understood",
        Outcome::Ok,
        "one request, at `opaque.price`",
        "not known, none",
    ),
    row(
        "the process ends during the call",
        Outcome::Lost,
        NOTHING,
        "as expected beforehand, `estimated`",
    ),
    row("Tollgate itself fails", Outcome::InternalError, NOTHING, "what is known of it"),
];

const NOTHING: &str = "nothing";

const fn row(
    case: &'static str,
    outcome: Outcome,
    charged: &'static str,
    cost: &'static str,
) -> Row {
    Row { case, outcome: Some(outcome), free: false, charged, cost }
}

/// What the policy says about `outcome`.
pub const fn terms(outcome: Outcome) -> Terms {
    let (charged, tokens) = match outcome {
        // The customer has the whole answer.
        Outcome::Ok => (true, TokenSource::Settled),
        // Providers do not charge for an answer that is an error.
        Outcome::ProviderError => (false, TokenSource::None),
        // Nothing was delivered, but the provider had the prompt.
        Outcome::ClientGoneEarly => (false, TokenSource::Settled),
        // The answer was being delivered as ordered.
        Outcome::ClientGoneLate => (true, TokenSource::Settled),
        // The customer did not get what was ordered; the provider may charge.
        Outcome::Cut => (false, TokenSource::Settled),
        // Nobody saw how the call ended.
        Outcome::Lost => (false, TokenSource::Assumed),
        // The fault is Tollgate's, and so is the cost.
        Outcome::InternalError => (false, TokenSource::Settled),
        // Nobody asked for it.
        Outcome::Revalidation => (false, TokenSource::Settled),
    };
    Terms { charged, tokens }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(outcome: Outcome) -> (bool, TokenSource) {
        let Terms { charged, tokens } = terms(outcome);
        (charged, tokens)
    }

    #[test]
    fn a_whole_answer_is_charged() {
        assert_eq!(said(Outcome::Ok), (true, TokenSource::Settled));
    }

    #[test]
    fn a_provider_error_is_free_and_costs_nothing() {
        assert_eq!(said(Outcome::ProviderError), (false, TokenSource::None));
    }

    #[test]
    fn a_client_gone_before_the_first_byte_is_not_charged_but_costs() {
        assert_eq!(said(Outcome::ClientGoneEarly), (false, TokenSource::Settled));
    }

    #[test]
    fn a_client_gone_after_the_first_byte_is_charged() {
        assert_eq!(said(Outcome::ClientGoneLate), (true, TokenSource::Settled));
    }

    #[test]
    fn a_cut_answer_is_not_charged_but_costs() {
        assert_eq!(said(Outcome::Cut), (false, TokenSource::Settled));
    }

    #[test]
    fn a_lost_call_is_not_charged_and_its_cost_is_assumed() {
        assert_eq!(said(Outcome::Lost), (false, TokenSource::Assumed));
    }

    #[test]
    fn a_failure_of_the_proxy_is_not_charged_but_costs() {
        assert_eq!(said(Outcome::InternalError), (false, TokenSource::Settled));
    }

    #[test]
    fn a_renewal_is_not_charged_but_costs() {
        assert_eq!(said(Outcome::Revalidation), (false, TokenSource::Settled));
    }

    #[test]
    fn every_row_says_what_is_decided_and_every_outcome_has_one() {
        for row in TABLE {
            let decided = row.outcome.map(|it| if row.free { FREE } else { terms(it) });
            let charged = decided.is_some_and(|terms| terms.charged);
            assert_eq!(charged, row.charged.starts_with("one request"), "{}", row.case);
            if decided.is_some_and(|terms| terms.tokens == TokenSource::None) {
                assert!(row.cost.starts_with("none"), "{}", row.case);
            }
        }
        assert!(TABLE.iter().any(|row| row.free));
        for outcome in [
            Outcome::Ok,
            Outcome::ProviderError,
            Outcome::ClientGoneEarly,
            Outcome::ClientGoneLate,
            Outcome::Cut,
            Outcome::Lost,
            Outcome::InternalError,
            Outcome::Revalidation,
        ] {
            assert!(TABLE.iter().any(|row| row.outcome == Some(outcome)), "{outcome:?}");
        }
    }
}
