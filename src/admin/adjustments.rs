//! `/admin/adjustments`: credits and debits outside of usage and fees, and what
//! is paid into and out of prepaid balances.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::body::Members;
use super::error::ApiError;
use super::invoices::{amount, month};
use super::{AdminState, List, blocking, query};
use crate::base::money::Money;
use crate::billing::NewAdjustment;
use crate::store::billing::{Adjustment, AdjustmentKind};

/// An adjustment as it is shown.
#[derive(Serialize)]
pub(super) struct View {
    id: String,
    account: String,
    month: String,
    kind: &'static str,
    amount: Money,
    description: String,
    created_at: String,
}

impl From<Adjustment> for View {
    fn from(adjustment: Adjustment) -> Self {
        let Adjustment { id, account, month, amount, description, created_at, kind } = adjustment;
        let (kind, created_at) = (kind.into(), created_at.to_string());
        Self { id, account, month, kind, amount, description, created_at }
    }
}

/// `POST /admin/adjustments {account, amount, description, month?, kind?}`: 201.
pub(super) async fn create(
    State(state): State<AdminState>,
    mut body: Members,
) -> Result<Response, ApiError> {
    let missing = "it is missing";
    let account = body.id("account")?.value().ok_or_else(|| body.bad("account", missing))?;
    let amount = amount(&mut body)?.ok_or_else(|| body.bad("amount", missing))?;
    let kinds = "invoice, deposit or withdrawal";
    let kind = body.read("kind", kinds, |value| value.as_str()?.parse().ok())?.value();
    let kind: AdjustmentKind = kind.unwrap_or_default();
    let of_balance = kind != AdjustmentKind::Invoice;
    if of_balance && amount <= Money::ZERO {
        return Err(body.bad("amount", "above zero: what is paid in, or what is paid back"));
    }
    if amount.is_zero() {
        return Err(body.bad("amount", "below zero for a credit, above zero for a debit"));
    }
    let description = body.text("description")?.value();
    let description = description.ok_or_else(|| body.bad("description", missing))?;
    let month = month(&mut body)?;
    if of_balance && month.is_some() {
        return Err(body.bad("month", "none: a balance has no months"));
    }
    body.end()?;
    let config = state.control.config();
    let wanted = NewAdjustment { account, kind, amount, description, month };
    let made = blocking(move || state.biller.adjust(&config, wanted)).await??;
    Ok((StatusCode::CREATED, Json(View::from(made))).into_response())
}

/// `GET /admin/adjustments?account&limit&after`.
pub(super) async fn list(
    State(state): State<AdminState>,
    uri: Uri,
) -> Result<Json<List<View>>, ApiError> {
    let [account, limit, after] = query::read(&uri, ["account", "limit", "after"])?;
    let limit = query::limit(limit.as_deref())?;
    let found = move || state.biller.adjustments(account.as_deref(), after.as_deref(), limit + 1);
    let found = blocking(found).await??;
    Ok(Json(List::page(found.into_iter().map(View::from).collect(), limit, |view| &view.id)))
}
