//! `GET /v1/usage`, where the caller stands in its limits, and
//! `GET /v1/usage/{request_id}`, one of its records.
//!
//! The first takes nothing from the account's limits, so that it can be read when
//! they are used up; its address's hold. The second reads the ledger and counts
//! in the windows, as every other GET does. Neither says what a provider charges.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};

use crate::admission::quota::Allowance;
use crate::admission::spend::{MonthStanding, Spend};
use crate::admission::state::AccountState;
use crate::admission::tokens::TokenStanding;
use crate::admission::windows::{Standing, WindowLimits};
use crate::admission::{self, Asking, Permit};
use crate::app::{App, Snapshot};
use crate::auth::keyring::Identity;
use crate::base::money::Money;
use crate::config::Billing;
use crate::exchange::{AnswerHead, Client, Ending, Exchange, Gone};
use crate::ledger::record::UsageRecord;
use crate::pipeline::gates;
use crate::pipeline::{allowance, waiting};
use crate::refusal::{Code, Refusal};
use crate::respond;

/// Shows where the caller stands.
pub(super) async fn show<C: Client>(
    app: &App,
    snapshot: &Snapshot,
    client: &mut C,
    exchange: &mut Exchange,
    caller: &Identity,
) -> Result<Ending, Refusal> {
    let account = app.rates.account(&caller.account);
    let allowance = allowance(snapshot, exchange, caller, false);
    let asking = Asking {
        account: &account,
        user: &caller.limits,
        allowance: &allowance,
        address: client.address(),
        ip: &snapshot.config.limits.ip,
    };
    let gates = gates(app);
    let now = app.clock.monotonic();
    let visit = admission::visit(asking, gates, now, &mut exchange.standing)?;
    let month = account.month(&caller.key_id, &allowance);
    exchange.quota_left = account.quota_left(&allowance);
    exchange.warnings = month.levels.reached().collect();
    let body = standing(caller, &account, &allowance, &month, now);
    drop(visit);
    send(app, client, exchange, &body).await
}

/// Shows the caller's record of the request called `id`, the newest where several
/// were called so. Holds `permit` while the ledger is read, which counts whatever
/// is found.
pub(super) async fn record<C: Client>(
    app: &App,
    client: &mut C,
    exchange: &mut Exchange,
    caller: &Identity,
    permit: Permit,
    id: &str,
) -> Result<Ending, Refusal> {
    let (ledger, account) = (Arc::clone(&app.ledger), Arc::clone(&caller.account));
    let id = id.to_owned();
    let find = tokio::task::spawn_blocking(move || ledger.find_request(&account, &id));
    let read = waiting(app, &mut exchange.waited, find).await;
    // Free before the answer leaves: a client that has it can ask again.
    drop(permit);
    let found = match read {
        Ok(Ok(found)) => found,
        Ok(Err(_)) | Err(_) => {
            let message = "The usage records cannot be read at the moment.";
            return Err(
                Refusal::new(Code::StorageUnavailable, message).retry_after(Duration::from_secs(1))
            );
        }
    };
    let record = found.ok_or_else(|| {
        Refusal::new(Code::NotFound, "There is no usage record of yours with this request id.")
    })?;
    send(app, client, exchange, &shown(&record)).await
}

fn standing(
    caller: &Identity,
    account: &AccountState,
    allowance: &Allowance,
    month: &MonthStanding,
    now: Duration,
) -> Value {
    let limits = &caller.limits;
    let [minute, hour, day] = account.windows(now, &WindowLimits::from(limits));
    let running = account.running();
    let beyond = caller.requests_per_month.map_or(0, |limit| month.charged.saturating_sub(limit));
    let warnings: Vec<_> = month
        .levels
        .reached()
        .map(|(kind, threshold)| json!({ "kind": kind.as_str(), "threshold": threshold }))
        .collect();
    json!({
        "object": "usage",
        "account": caller.account,
        "key_id": caller.key_id,
        "plan": caller.plan.name,
        "billing": match caller.plan.billing {
            Billing::Metered => "metered",
            Billing::Included => "included",
        },
        "period": {
            "month": allowance.month.to_string(),
            "start": allowance.month.begins.to_string(),
            "end": allowance.month.ends.to_string(),
        },
        "windows": { "minute": window(&minute), "hour": window(&hour), "day": window(&day) },
        "tokens": caller.tokens_per_minute.map(|limit| {
            tokens(&account.token_standing(now, limit))
        }),
        "concurrent": {
            "limit": limited(limits.concurrent),
            "running": running,
            "remaining": limited(limits.concurrent).map(|limit| limit.saturating_sub(running)),
        },
        "quota": {
            "limit": caller.requests_per_month,
            "used": month.charged,
            "running": month.running,
            "remaining": account.quota_left(allowance),
        },
        "overage": caller.overage().map(|price| json!({ "price": price, "requests": beyond })),
        "spend": {
            "account": spend(month.account, caller.budget),
            "key": spend(month.key, caller.key_budget),
        },
        "balance": account.balance().shown(caller.prepaid),
        "warnings": warnings,
    })
}

/// A window; one without a limit is `null`.
fn window(standing: &Standing) -> Value {
    limited(standing.limit)
        .map_or(Value::Null, |limit| figures(limit, standing.remaining, standing.reset))
}

/// The tokens of any 60 s, those that running requests have reserved included.
fn tokens(standing: &TokenStanding) -> Value {
    figures(standing.limit, standing.remaining, standing.reset)
}

fn figures(limit: u32, remaining: u32, reset: Duration) -> Value {
    json!({
        "limit": limit,
        "used": limit.saturating_sub(remaining),
        "remaining": remaining,
        "reset_ms": u64::try_from(reset.as_millis()).unwrap_or(u64::MAX),
    })
}

/// Dollars charged, reserved by running requests, and left of a budget.
fn spend(spend: Spend, budget: Option<Money>) -> Value {
    let left = |budget: Money| (budget - spend.charged - spend.reserved).max(Money::ZERO);
    json!({
        "charged": spend.charged,
        "reserved": spend.reserved,
        "budget": budget,
        "remaining": budget.map(left),
    })
}

const fn limited(limit: u32) -> Option<u32> {
    if limit == u32::MAX { None } else { Some(limit) }
}

/// The fields of a record that are its customer's business.
fn shown(record: &UsageRecord) -> Value {
    let metadata = record.metadata.as_deref().and_then(|text| serde_json::from_str(text).ok());
    json!({
        "object": "usage.record",
        "id": record.id,
        "time": record.time.to_string(),
        "request_id": record.request_id,
        "account": record.account,
        "key_id": record.key_id,
        "plan": record.plan,
        "service": record.service,
        "endpoint": record.endpoint,
        "path": record.path,
        "model_asked": record.model_asked,
        "model_used": record.model_used,
        "status": record.status,
        "outcome": record.outcome,
        "cache": record.cache,
        "stream": record.stream,
        "quantity": record.quantity,
        "unit_price": record.unit_price,
        "price": record.price,
        "tokens": record.tokens,
        "estimated": record.estimated,
        "bytes_in": record.bytes_in,
        "bytes_out": record.bytes_out,
        "duration_ms": record.duration_ms,
        "first_byte_ms": record.first_byte_ms,
        "metadata": metadata.unwrap_or(Value::Null),
    })
}

async fn send<C: Client>(
    app: &App,
    client: &mut C,
    exchange: &Exchange,
    body: &Value,
) -> Result<Ending, Refusal> {
    let mut headers = HeaderMap::with_capacity(16);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let own = respond::stamp(&mut headers, exchange, app.clock.monotonic());
    respond::count(app, exchange, StatusCode::OK);
    let body = Bytes::from(body.to_string());
    match client.send_whole(AnswerHead { status: StatusCode::OK, headers, own }, body).await {
        Ok(()) => Ok(Ending::Complete),
        Err(Gone) => Ok(Ending::Cut),
    }
}
