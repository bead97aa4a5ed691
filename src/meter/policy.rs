//! The charging policy: one row for each way a request can end.
//!
//! | outcome           | customer is charged | tokens, and so the provider's cost |
//! |-------------------|---------------------|------------------------------------|
//! | `ok`              | yes                 | settled                            |
//! | `provider_error`  | no                  | none                               |
//! | `client_gone_early` | no                | settled                            |
//! | `client_gone_late`  | yes               | settled                            |
//! | `cut`             | no                  | settled                            |
//! | `lost`            | no                  | assumed                            |
//! | `internal_error`  | no                  | settled                            |

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

/// The row of the table for `outcome`.
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
    };
    Terms { charged, tokens }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(outcome: Outcome) -> (bool, TokenSource) {
        let Terms { charged, tokens } = terms(outcome);
        (charged, tokens)
    }

    #[test]
    fn a_whole_answer_is_charged() {
        assert_eq!(row(Outcome::Ok), (true, TokenSource::Settled));
    }

    #[test]
    fn a_provider_error_is_free_and_costs_nothing() {
        assert_eq!(row(Outcome::ProviderError), (false, TokenSource::None));
    }

    #[test]
    fn a_client_gone_before_the_first_byte_is_not_charged_but_costs() {
        assert_eq!(row(Outcome::ClientGoneEarly), (false, TokenSource::Settled));
    }

    #[test]
    fn a_client_gone_after_the_first_byte_is_charged() {
        assert_eq!(row(Outcome::ClientGoneLate), (true, TokenSource::Settled));
    }

    #[test]
    fn a_cut_answer_is_not_charged_but_costs() {
        assert_eq!(row(Outcome::Cut), (false, TokenSource::Settled));
    }

    #[test]
    fn a_lost_call_is_not_charged_and_its_cost_is_assumed() {
        assert_eq!(row(Outcome::Lost), (false, TokenSource::Assumed));
    }

    #[test]
    fn a_failure_of_the_proxy_is_not_charged_but_costs() {
        assert_eq!(row(Outcome::InternalError), (false, TokenSource::Settled));
    }
}
