//! The tokens of a request: reserved on an estimate once it is known what is
//! ordered, settled by the bill on what the record says.

use crate::admission::Permit;
use crate::app::App;
use crate::auth::keyring::Identity;
use crate::exchange::{CacheResult, Exchange};
use crate::intake::request::Request;
use crate::ledger::record::Tokens;
use crate::meter::estimate;
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
/// 429 if the tokens do not fit.
pub(super) fn reserve(
    app: &App,
    exchange: &mut Exchange,
    caller: &Identity,
    permit: &mut Permit,
    (request, bill, found): (&Request, &Bill<'_>, Option<Tokens>),
) -> Result<(), Refusal> {
    let Some(limit) = caller.tokens_per_minute.filter(|_| !bill.is_free()) else { return Ok(()) };
    let tokens = found.map_or_else(|| expected(bill, request), |found| found.total());
    let now = app.clock.monotonic();
    if let Err(refusal) = permit.reserve_tokens(now, limit, tokens, &mut exchange.token_standing) {
        // An answer that was found is not given.
        (exchange.cache, exchange.age) = (CacheResult::Bypass, None);
        return Err(refusal);
    }
    exchange.tokens_held = u32::try_from(tokens.max(1)).unwrap_or(u32::MAX);
    Ok(())
}

/// What a call is expected to use.
fn expected(bill: &Bill<'_>, request: &Request) -> u64 {
    let mut tokens = bill.assumed();
    if request.body().len() > SMALL {
        tokens.input = estimate::prompt_tokens(bill.endpoint.path(), request.body());
    }
    tokens.total()
}
