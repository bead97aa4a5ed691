//! What a bill costs: the price before it is settled and after, the most that it
//! can come to, and the cost of its tokens.

use crate::app::App;
use crate::base::money::Money;
use crate::config::TokenPrices;
use crate::exchange::Exchange;
use crate::ledger::record::{Outcome, TokenRates, Tokens};
use crate::meter::{policy, price};
use crate::pipeline::bill::Bill;

impl Bill<'_> {
    /// What the request costs the customer if it is charged; `None` while that
    /// is not known.
    pub(in crate::pipeline) fn price(&self) -> Option<Money> {
        if self.settled { Some(self.record.price) } else { self.quote.known() }
    }

    /// The most that the request can cost the customer, however it ends.
    #[expect(dead_code, reason = "for whoever reserves what a request may cost")]
    pub(in crate::pipeline) fn most(&self) -> Money {
        self.quote.most(&self.bound, self.route.costs())
    }

    /// Which of the account's charged requests of the class and month this is,
    /// or would be, and whether it has taken that number.
    pub(super) fn number(&self, outcome: Outcome) -> (u64, bool) {
        let Some((permit, _)) = &self.occupied else { return (1, false) };
        let (volume, class) = (permit.volume(), &self.record.endpoint);
        if policy::terms(outcome).charged {
            (volume.take(class, self.month), true)
        } else {
            (volume.next(class, self.month), false)
        }
    }

    /// What the provider charges for `tokens`; nothing where that is not known.
    pub(super) fn cost(&self, tokens: &Tokens) -> Money {
        self.prices.as_ref().map_or(Money::ZERO, |prices| price::cost(tokens, prices))
    }
}

/// The month that a request counts in.
pub(super) fn month(app: &App, exchange: &Exchange) -> u32 {
    app.snapshot.load().calendar.month(exchange.received).number
}

/// The prices of a token, as a record keeps them.
pub(super) fn rates(prices: TokenPrices) -> TokenRates {
    let TokenPrices { input, cached_input, output } = prices;
    TokenRates { input, cached_input, output }
}
