//! The tokens of a request: reserved on an estimate once it is known what is
//! ordered, settled by the bill on what the record says.

use crate::admission::Permit;
use crate::app::App;
use crate::auth::keyring::Identity;
use crate::exchange::{CacheResult, Exchange};
use crate::intake::request::Request;
use crate::meter::estimate;
use crate::pipeline::Ordered;
use crate::pipeline::bill::Bill;
use crate::refusal::Refusal;

/// Bodies up to this many bytes are estimated by their length alone. In a larger
/// one, what is no text, such as an image, would count as if it were.
const SMALL: usize = 16 * 1024;

/// Reserves the tokens of what is ordered, where the account has a limit: those
/// that a cached answer was made of, else the prompt's estimate and the longest
/// answer that the request allows.
///
/// # Errors
/// The refusal of the order, or 429 if the tokens do not fit.
pub(super) fn reserve<'a>(
    app: &App,
    exchange: &mut Exchange,
    caller: &Identity,
    permit: &mut Permit,
    ordered: Result<Ordered<'a>, Refusal>,
) -> Result<Ordered<'a>, Refusal> {
    let (request, bill, recalled) = ordered?;
    if let Some(limit) = caller.tokens_per_minute.filter(|_| !bill.is_free()) {
        let found = recalled.found.as_ref();
        let tokens =
            found.map_or_else(|| expected(&bill, &request), |found| found.tokens().total());
        let now = app.clock.monotonic();
        let reserved = permit.reserve_tokens(now, limit, tokens, &mut exchange.token_standing);
        if let Err(refusal) = reserved {
            // An answer that was found is not given.
            (exchange.cache, exchange.age) = (CacheResult::Bypass, None);
            return Err(refusal);
        }
        exchange.tokens_held = u32::try_from(tokens.max(1)).unwrap_or(u32::MAX);
    }
    Ok((request, bill, recalled))
}

/// What a call is expected to use.
fn expected(bill: &Bill<'_>, request: &Request) -> u64 {
    let mut tokens = bill.assumed();
    if request.body().len() > SMALL {
        tokens.input = estimate::prompt_tokens(bill.endpoint.path(), request.body());
    }
    tokens.total()
}
