//! The loss guard on a request: what it is expected to cost and to earn, and
//! what happens where it does not pay.

use std::time::Duration;

use crate::app::{App, Snapshot};
use crate::auth::keyring::Identity;
use crate::class;
use crate::config::{Class, LossGuard, TokenPrices};
use crate::exchange::Exchange;
use crate::intake::endpoint::Endpoint;
use crate::intake::request::Request;
use crate::meter::guard::Expected;
use crate::meter::quote::Quote;
use crate::pipeline::bounds;
use crate::refusal::{Code, Refusal};
use crate::route::catalog::Route;
use crate::telemetry::metrics::labels::GuardAction;

/// How often the log speaks of one class.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// What is ordered.
pub(super) struct Question<'q> {
    pub(super) caller: &'q Identity,
    pub(super) class: &'q Class,
    pub(super) endpoint: Endpoint,
    pub(super) request: &'q Request,
    pub(super) quote: &'q Quote,
}

/// Where the request runs in the end, and what the guard did.
pub(super) struct Verdict {
    pub(super) route: Route,
    /// `None` where it pays.
    pub(super) action: Option<GuardAction>,
}

/// Asks whether the request pays on `route`. A model without a price is not
/// known to lose: it runs.
///
/// # Errors
/// 400 `invalid_value` if it does not pay and is to be refused; 403
/// `model_not_in_plan` if there is no price at all for it.
pub(super) fn judge(
    app: &App,
    snapshot: &Snapshot,
    exchange: &Exchange,
    question: &Question<'_>,
    route: Route,
) -> Result<Verdict, Refusal> {
    let Question { caller, class, endpoint, request, quote } = *question;
    let cost = route.target(0).and_then(|target| route.cost(target));
    let follows_cost = !quote.is_priced(None);
    if follows_cost && !route.costs().all(|cost| quote.is_priced(cost.as_ref())) {
        let message = format!(
            "The model has no price in the class '{}', which is sold by tokens.",
            class.name
        );
        return Err(Refusal::new(Code::ModelNotInPlan, message).param("model"));
    }
    let Some(cost) = cost else {
        return Ok(Verdict { route, action: Some(GuardAction::Unpriced) });
    };
    let month = snapshot.calendar.month(exchange.received).number;
    // Only volume tiers ask for the number.
    let number = if quote.depends_on_volume() {
        app.rates.account(&caller.account).volume().next(&class.name, month)
    } else {
        1
    };
    let expected = Expected::new(class, quote, bounds::assumed(endpoint, request), number);
    if expected.pays(&cost) {
        return Ok(Verdict { route, action: None });
    }
    match caller.loss_guard(class) {
        LossGuard::Warn => Ok(Verdict { route, action: Some(GuardAction::Warn) }),
        LossGuard::RouteDown => Ok(lower(snapshot, question, &expected, route)),
        LossGuard::Refuse => {
            count(app, class, GuardAction::Refuse);
            Err(refusal(class, request.answers(endpoint), &expected, &cost))
        }
    }
}

/// The dearest model of a lower tier on which the request pays; that which was
/// asked for if there is none. Only chats, messages and responses move: another model
/// makes embeddings that fit no others, and not every model completes.
fn lower(
    snapshot: &Snapshot,
    question: &Question<'_>,
    expected: &Expected<'_>,
    route: Route,
) -> Verdict {
    let Question { caller, class, endpoint, .. } = *question;
    let moves =
        matches!(endpoint, Endpoint::ChatCompletions | Endpoint::Responses | Endpoint::Messages);
    let fits = |lower: Route| {
        class::check_model(class, &caller.plan, &lower.model, lower.tier).ok()?;
        let cost = lower.target(0).and_then(|target| lower.cost(target))?;
        expected.pays(&cost).then(|| (expected.cost(&cost), lower))
    };
    let found = moves.then(|| snapshot.catalog.below(route.tier, &caller.plan).filter_map(fits));
    match found.into_iter().flatten().max_by_key(|(cost, _)| *cost) {
        Some((_, route)) => Verdict { route, action: Some(GuardAction::RouteDown) },
        None => Verdict { route, action: Some(GuardAction::Warn) },
    }
}

/// Counts what the guard did, and says it in the log now and then.
pub(super) fn count(app: &App, class: &Class, action: GuardAction) {
    app.metrics.loss_guard(&class.name, action);
    let name = <&'static str>::from(action);
    if action != GuardAction::Unpriced
        && app.guard_log.allows(&class.name, app.clock.monotonic(), LOG_EVERY)
    {
        tracing::warn!(class = %class.name, action = name, "a request is expected to cost more than it earns");
    }
}

/// The refusal, which says what would fit.
fn refusal(class: &Class, answers: u64, expected: &Expected<'_>, cost: &TokenPrices) -> Refusal {
    let each = expected.most_output(cost).and_then(|all| all.checked_div(answers));
    let name = &class.name;
    match each.filter(|each| *each > 0) {
        Some(each) => {
            let message = format!(
                "The class '{name}' does not allow an answer of this length on this model: ask \
                 for at most {each} tokens, or for a smaller model."
            );
            Refusal::new(Code::InvalidValue, message).param("max_tokens")
        }
        None => {
            let message = format!(
                "The class '{name}' does not allow a prompt of this length on this model: send a \
                 shorter one, or ask for a smaller model."
            );
            Refusal::new(Code::InvalidValue, message).param("model")
        }
    }
}
