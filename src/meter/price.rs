//! Tokens and outcomes in money, exactly.

use crate::base::money::Money;
use crate::config::{Billing, TokenPrices};
use crate::ledger::record::{Outcome, Tokens};
use crate::meter::policy;

/// What the provider charges for `tokens`:
/// (input − cached) × input price + cached × cached price + output × output
/// price. Reasoning tokens are output tokens already. More cached tokens than
/// input tokens count as all input cached; a sum beyond the largest amount is
/// the largest amount.
pub fn cost(tokens: &Tokens, prices: &TokenPrices) -> Money {
    let cached = tokens.cached_input.min(tokens.input);
    prices.input.times(tokens.input - cached)
        + prices.cached_input.times(cached)
        + prices.output.times(tokens.output)
}

/// What a customer owes for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// 1, or 0 where the policy does not charge.
    pub quantity: u32,
    /// Price of one request to this account.
    pub unit_price: Money,
    /// Price of one request by its class, whatever the plan's billing.
    pub list_price: Money,
    /// Quantity × unit price.
    pub price: Money,
}

/// The charge for a request of a class that costs `class_price`, under a plan
/// billed by `billing`, that ended with `outcome` (see [`policy::terms`]).
pub const fn charge(class_price: Money, billing: Billing, outcome: Outcome) -> Charge {
    let unit_price = match billing {
        Billing::Metered => class_price,
        Billing::Included => Money::ZERO,
    };
    let quantity = if policy::terms(outcome).charged { 1 } else { 0 };
    let price = unit_price.times(quantity as u64);
    Charge { quantity, unit_price, list_price: class_price, price }
}

/// The most that a request of a class that costs `class_price` may come to, under
/// a plan billed by `billing`; `overage` is the price of one beyond the quota,
/// where such requests are served. Which one it is shows when it settles.
pub fn most(class_price: Money, billing: Billing, overage: Option<Money>) -> Money {
    let within = charge(class_price, billing, Outcome::Ok).price;
    overage.map_or(within, |overage| overage.max(within))
}

impl Charge {
    /// The charge for a repeat of what was charged already: nothing.
    #[must_use]
    pub const fn waived(self) -> Self {
        Self { quantity: 0, price: Money::ZERO, ..self }
    }

    /// The charge for the same request beyond the quota, where it costs `overage`
    /// whatever its class and the plan's billing.
    #[must_use]
    pub const fn beyond_quota(self, overage: Money) -> Self {
        Self { unit_price: overage, price: overage.times(self.quantity as u64), ..self }
    }
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
            output: money("0.0000006"),
        }
    }

    fn tokens(input: u64, cached_input: u64, output: u64) -> Tokens {
        Tokens { input, cached_input, output, reasoning: 0 }
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
    fn absurd_input_saturates() {
        let dear = TokenPrices { input: Money::from_picos(i128::MAX / 2), ..prices() };
        let all = tokens(u64::MAX, 0, u64::MAX);
        assert_eq!(cost(&all, &dear), Money::from_picos(i128::MAX));
    }

    /// Covers A5.
    #[test]
    fn a_metered_request_is_charged_at_the_class_price() {
        let price = money("0.03");
        assert_eq!(
            charge(price, Billing::Metered, Outcome::Ok),
            Charge { quantity: 1, unit_price: price, list_price: price, price }
        );
    }

    /// Covers A5.
    #[test]
    fn an_included_request_is_free_and_its_list_price_recorded() {
        let list_price = money("0.03");
        assert_eq!(
            charge(list_price, Billing::Included, Outcome::Ok),
            Charge { quantity: 1, unit_price: Money::ZERO, list_price, price: Money::ZERO }
        );
    }

    /// Covers A4: the overage price replaces the class's, under either billing.
    #[test]
    fn a_request_beyond_the_quota_costs_the_overage() {
        let (list_price, overage) = (money("0.03"), money("0.05"));
        for billing in [Billing::Metered, Billing::Included] {
            assert_eq!(
                charge(list_price, billing, Outcome::Ok).beyond_quota(overage),
                Charge { quantity: 1, unit_price: overage, list_price, price: overage }
            );
            let cut = charge(list_price, billing, Outcome::Cut).beyond_quota(overage);
            assert_eq!((cut.quantity, cut.price), (0, Money::ZERO));
        }
        let most = |overage| most(list_price, Billing::Metered, overage);
        assert_eq!(most(None), list_price);
        assert_eq!(most(Some(overage)), overage);
        assert_eq!(most(Some(money("0.01"))), list_price);
        assert_eq!(super::most(list_price, Billing::Included, None), Money::ZERO);
    }

    #[test]
    fn what_the_policy_does_not_charge_has_quantity_zero() {
        let unit_price = money("0.03");
        for outcome in [
            Outcome::ProviderError,
            Outcome::ClientGoneEarly,
            Outcome::Cut,
            Outcome::Lost,
            Outcome::InternalError,
        ] {
            let free =
                Charge { quantity: 0, unit_price, list_price: unit_price, price: Money::ZERO };
            assert_eq!(charge(unit_price, Billing::Metered, outcome), free, "{outcome:?}");
        }
        assert_eq!(charge(unit_price, Billing::Metered, Outcome::ClientGoneLate).price, unit_price);
    }
}
