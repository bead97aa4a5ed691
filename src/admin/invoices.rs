//! `/admin/invoices`: a month's drafts, and what becomes of them.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;

use super::body::{Members, Said};
use super::error::ApiError;
use super::query::Id;
use super::{AdminState, List, blocking, query};
use crate::base::money::Money;
use crate::billing::calendar::Month;
use crate::billing::export::{self, View};
use crate::billing::invoice::Invoice;
use crate::billing::{Biller, Refused};
use crate::config::Config;
use crate::store::billing::{Choice, Status};

/// What a month should be.
const A_MONTH: &str = "a month such as 2026-11";
/// The most lines of a credit note.
const MOST_LINES: usize = 100;

/// `POST /admin/invoices`: 201 with the account's draft, or with the list of the
/// month's drafts where no account is named.
pub(super) async fn generate(
    State(state): State<AdminState>,
    mut body: Members,
) -> Result<Response, ApiError> {
    let month = month(&mut body)?.ok_or_else(|| body.bad("month", A_MONTH))?;
    let account = body.id("account")?.value();
    let despite_damage = body.switch("despite_damage")?.value().unwrap_or(false);
    body.end()?;
    let config = state.control.config();
    let period = Some(month.to_string());
    blocking(move || match account {
        Some(account) => {
            let draft = state.biller.draft(&config, month, &account, despite_damage)?;
            one(StatusCode::CREATED, &draft)
        }
        None => {
            state.biller.draft_all(&config, month, despite_damage)?;
            let choice = Choice { account: None, period, status: Some(Status::Draft) };
            let drafts = page(&state.biller, &choice, None, query::PAGE)?;
            Ok((StatusCode::CREATED, Json(drafts)).into_response())
        }
    })
    .await?
}

/// `GET /admin/invoices?account&month&status&limit&after`.
pub(super) async fn list(
    State(state): State<AdminState>,
    uri: Uri,
) -> Result<Json<List<Value>>, ApiError> {
    let [account, month, status, limit, after] =
        query::read(&uri, ["account", "month", "status", "limit", "after"])?;
    let limit = query::limit(limit.as_deref())?;
    let period = month.map(|month| month.parse::<Month>()).transpose();
    let period = period.map_err(|_| ApiError::bad("month", A_MONTH))?;
    let status = status.map(|status| status.parse()).transpose();
    let status = status.map_err(|_| ApiError::bad("status", "draft, final, paid or void"))?;
    let choice = Choice { account, period: period.map(|month| month.to_string()), status };
    let listed = blocking(move || page(&state.biller, &choice, after.as_deref(), limit));
    Ok(Json(listed.await??))
}

fn page(
    biller: &Biller,
    choice: &Choice,
    after: Option<&str>,
    limit: usize,
) -> Result<List<Value>, ApiError> {
    let found = biller.invoices(choice, after, limit + 1)?;
    let next = found.get(limit.saturating_sub(1)).filter(|_| found.len() > limit);
    let next = next.map(|last| last.content.id.clone());
    let data = found.iter().take(limit).map(shown).collect::<Result<_, _>>()?;
    Ok(List { data, next })
}

/// `GET /admin/invoices/{id}`.
pub(super) async fn show(
    State(state): State<AdminState>,
    Id(id): Id,
) -> Result<Response, ApiError> {
    let invoice = blocking(move || state.biller.invoice(&id)).await??;
    one(StatusCode::OK, &invoice)
}

/// `GET /admin/invoices/{id}/export?format=json|csv|html`: a file for the
/// customer.
pub(super) async fn export(
    State(state): State<AdminState>,
    Id(id): Id,
    uri: Uri,
) -> Result<Response, ApiError> {
    let [format] = query::read(&uri, ["format"])?;
    let invoice = blocking(move || state.biller.invoice(&id)).await??;
    Ok(match format.as_deref() {
        Some("csv") => {
            let csv = HeaderValue::from_static("text/csv; charset=utf-8; header=present");
            ([(header::CONTENT_TYPE, csv)], export::csv(&invoice)).into_response()
        }
        Some("html") => {
            let headers = [
                (header::CONTENT_TYPE, "text/html; charset=utf-8"),
                (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
            ];
            (headers, export::html(&invoice)).into_response()
        }
        Some("json") | None => Json(value(export::json(&invoice))?).into_response(),
        Some(_) => return Err(ApiError::bad("format", "json, csv or html")),
    })
}

/// `POST /admin/invoices/{id}/finalize {hash?}`: of the draft with this hash alone.
pub(super) async fn finalize(
    state: State<AdminState>,
    id: Id,
    mut body: Members,
) -> Result<Response, ApiError> {
    let seen = body.read("hash", "64 hexadecimal digits", |hash| {
        let hash = hash.as_str()?.to_ascii_lowercase();
        (hash.len() == 64 && hash.bytes().all(|digit| digit.is_ascii_hexdigit())).then_some(hash)
    });
    let seen = seen?.value();
    change(state, id, body, move |biller, config, id| biller.finalize(config, id, seen.as_deref()))
        .await
}

/// `POST /admin/invoices/{id}/pay`.
pub(super) async fn pay(
    state: State<AdminState>,
    id: Id,
    body: Members,
) -> Result<Response, ApiError> {
    change(state, id, body, |biller, _, id| biller.pay(id)).await
}

/// `POST /admin/invoices/{id}/void`.
pub(super) async fn void(
    state: State<AdminState>,
    id: Id,
    body: Members,
) -> Result<Response, ApiError> {
    change(state, id, body, |biller, _, id| biller.void(id)).await
}

/// `POST /admin/invoices/{id}/push`.
pub(super) async fn push(
    state: State<AdminState>,
    id: Id,
    body: Members,
) -> Result<Response, ApiError> {
    change(state, id, body, |biller, _, id| biller.push(id)).await
}

/// `POST /admin/invoices/{id}/credit-note {amount | lines, reason}`: 201.
pub(super) async fn credit_note(
    State(state): State<AdminState>,
    Id(id): Id,
    mut body: Members,
) -> Result<Response, ApiError> {
    let reason = body.text("reason")?.value().ok_or_else(|| body.bad("reason", "it is missing"))?;
    let whole = amount(&mut body)?;
    let message = "1 to 100 objects with a description and an amount above 0";
    let lines = body.read("lines", message, read_lines)?;
    let amounts = match (whole, lines) {
        (Some(amount), Said::Nothing | Said::Null) if amount > Money::ZERO => {
            vec![(reason.clone(), amount)]
        }
        (None, Said::Value(lines)) => lines,
        (Some(_), Said::Nothing | Said::Null) => return Err(body.bad("amount", "it is above 0")),
        _ => return Err(body.bad("amount", "either an amount or lines")),
    };
    body.end()?;
    let config = state.control.config();
    let made = move || state.biller.credit_note(&config, &id, &amounts, &reason);
    one(StatusCode::CREATED, &blocking(made).await??)
}

fn read_lines(value: &Value) -> Option<Vec<(String, Money)>> {
    let lines = value.as_array().filter(|lines| (1..=MOST_LINES).contains(&lines.len()))?;
    let line = |line: &Value| {
        let members = line.as_object().filter(|members| members.len() == 2)?;
        let description = members.get("description")?.as_str()?;
        let fits =
            (1..=256).contains(&description.len()) && !description.contains(char::is_control);
        let amount = money(members.get("amount")?).filter(|amount| *amount > Money::ZERO)?;
        fits.then(|| (description.to_owned(), amount))
    };
    lines.iter().map(line).collect()
}

/// Changes what an invoice is; an empty body will do.
async fn change(
    State(state): State<AdminState>,
    Id(id): Id,
    body: Members,
    change: impl FnOnce(&Biller, &Config, &str) -> Result<Invoice, Refused> + Send + 'static,
) -> Result<Response, ApiError> {
    body.end()?;
    let config = state.control.config();
    let invoice = blocking(move || change(&state.biller, &config, &id)).await??;
    one(StatusCode::OK, &invoice)
}

/// The member called `month`.
pub(super) fn month(body: &mut Members) -> Result<Option<Month>, ApiError> {
    Ok(body.read("month", A_MONTH, |month| month.as_str()?.parse().ok())?.value())
}

/// The member called `amount`.
pub(super) fn amount(body: &mut Members) -> Result<Option<Money>, ApiError> {
    Ok(body.read("amount", "a decimal amount such as \"12.50\"", money)?.value())
}

/// An amount, as a text or a number.
fn money(value: &Value) -> Option<Money> {
    let number = value.is_number().then(|| value.to_string());
    value.as_str().or(number.as_deref())?.parse().ok()
}

/// An invoice, with the hash of its content as `etag`.
fn one(status: StatusCode, invoice: &Invoice) -> Result<Response, ApiError> {
    let tag = HeaderValue::try_from(format!("\"{}\"", invoice.hash));
    let tag = [(header::ETAG, tag.map_err(|_| ApiError::Internal)?)];
    Ok((status, tag, Json(shown(invoice)?)).into_response())
}

fn shown(invoice: &Invoice) -> Result<Value, ApiError> {
    value(View::from(invoice))
}

fn value(view: impl Serialize) -> Result<Value, ApiError> {
    serde_json::to_value(view).map_err(|_| ApiError::Internal)
}
