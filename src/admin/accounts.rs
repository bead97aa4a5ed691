//! `/admin/accounts`: who may send requests, under which plan.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::body::{Members, Said, dollars};
use super::error::ApiError;
use super::query::Id;
use super::{AdminState, List, blocking, query};
use crate::accounts::{Change, NewAccount};
use crate::admission::balance::Balance;
use crate::base::clock::Timestamp;
use crate::base::money::Money;
use crate::cache::Filter;
use crate::config::LossGuard;
use crate::store::accounts::{Account, Overrides};

/// An account as it is shown.
#[derive(Serialize)]
pub(super) struct View {
    id: String,
    name: String,
    plan: String,
    status: &'static str,
    external_id: Option<String>,
    overrides: Map<String, Value>,
    created_at: String,
    /// Of one account that is asked for, if it has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    balance: Option<Balance>,
}

impl From<Account> for View {
    fn from(account: Account) -> Self {
        Self {
            overrides: shown(&account.overrides),
            id: account.id,
            name: account.name,
            plan: account.plan,
            status: account.status.into(),
            external_id: account.external_id,
            created_at: moment(account.created_at),
            balance: None,
        }
    }
}

/// A moment as the API writes it.
pub(super) fn moment(at: Timestamp) -> String {
    at.to_string()
}

/// `POST /admin/accounts`: 201.
pub(super) async fn create(
    State(state): State<AdminState>,
    mut body: Members,
) -> Result<Response, ApiError> {
    let missing = "it is missing";
    let id = body.id("id")?.value();
    let name = body.text("name")?.value().ok_or_else(|| body.bad("name", missing))?;
    let plan = body.id("plan")?.value().ok_or_else(|| body.bad("plan", missing))?;
    let external_id = body.text("external_id")?.value();
    let overrides = body.object("overrides")?.value().map(OwnFigures::read).transpose()?;
    body.end()?;
    let overrides = overrides.map_or_else(Overrides::default, |own| own.over(Overrides::default()));
    let wanted = NewAccount { id, name, plan, external_id, overrides };
    let account = blocking(move || state.registry.create(wanted)).await??;
    Ok((StatusCode::CREATED, Json(View::from(account))).into_response())
}

/// `GET /admin/accounts?limit&after`.
pub(super) async fn list(
    State(state): State<AdminState>,
    uri: Uri,
) -> Result<Json<List<View>>, ApiError> {
    let [limit, after] = query::read(&uri, ["limit", "after"])?;
    let limit = query::limit(limit.as_deref())?;
    let found = blocking(move || state.registry.list(after.as_deref(), limit + 1)).await??;
    Ok(Json(List::page(found.into_iter().map(View::from).collect(), limit, |view| &view.id)))
}

/// `GET /admin/accounts/{id}`.
pub(super) async fn show(
    State(state): State<AdminState>,
    Id(id): Id,
) -> Result<Json<View>, ApiError> {
    let registry = state.registry.clone();
    let account = blocking(move || registry.account(&id)).await??;
    let config = state.control.config();
    let plan = config.plans.iter().find(|plan| *plan.name == *account.plan);
    let prepaid = account.overrides.prepaid.or(plan.map(|plan| plan.prepaid)).unwrap_or(false);
    let balance = state.biller.balance(&account.id).shown(prepaid);
    Ok(Json(View { balance, ..account.into() }))
}

/// `PATCH /admin/accounts/{id}`: what is given changes, in `overrides` too;
/// `null` takes a figure back.
pub(super) async fn change(
    State(state): State<AdminState>,
    Id(id): Id,
    mut body: Members,
) -> Result<Json<View>, ApiError> {
    let mut change = Change {
        name: body.text("name")?.value(),
        plan: body.id("plan")?.value(),
        status: body
            .read("status", "active or suspended", |status| status.as_str()?.parse().ok())?
            .value(),
        ..Change::default()
    };
    change.external_id = match body.text("external_id")? {
        Said::Nothing => None,
        Said::Null => Some(None),
        Said::Value(text) => Some(Some(text)),
    };
    change.overrides = match body.object("overrides")? {
        Said::Nothing => None,
        Said::Null => Some(Box::new(|_| Overrides::default())),
        Said::Value(members) => {
            let own = OwnFigures::read(members)?;
            Some(Box::new(|before| own.over(before)))
        }
    };
    body.end()?;
    let account = blocking(move || state.registry.change(&id, change)).await??;
    Ok(Json(account.into()))
}

/// `DELETE /admin/accounts/{id}`: the account and its keys go, its records stay.
pub(super) async fn delete(
    State(state): State<AdminState>,
    Id(id): Id,
) -> Result<Json<Value>, ApiError> {
    let gone = id.clone();
    // Nobody can ask for its cached answers any more: they need not wait for
    // their time.
    let cached = Filter { account: Some(id.clone()), ..Filter::default() };
    blocking(move || state.registry.delete(&id).map(|_| state.cache.purge(&cached))).await??;
    Ok(Json(json!({ "id": gone, "deleted": true })))
}

/// The figures of an account that a body gives.
struct OwnFigures {
    minute: Said<u32>,
    hour: Said<u32>,
    day: Said<u32>,
    tokens: Said<u32>,
    concurrent: Said<u32>,
    month: Said<u64>,
    budget: Said<Money>,
    prepaid: Said<bool>,
    prices: Said<BTreeMap<String, Said<Money>>>,
    loss_guard: Said<LossGuard>,
}

impl OwnFigures {
    fn read(mut members: Members) -> Result<Self, ApiError> {
        let own = Self {
            minute: members.small_limit("requests_per_minute")?,
            hour: members.small_limit("requests_per_hour")?,
            day: members.small_limit("requests_per_day")?,
            tokens: members.small_limit("tokens_per_minute")?,
            concurrent: members.small_limit("concurrent")?,
            month: members.limit("requests_per_month")?,
            budget: members.budget("budget")?,
            prepaid: members.switch("prepaid")?,
            prices: match members.object("prices")? {
                Said::Nothing => Said::Nothing,
                Said::Null => Said::Null,
                Said::Value(prices) => Said::Value(read_prices(prices)?),
            },
            loss_guard: members.read("loss_guard", "warn, route_down or refuse", |value| {
                value.as_str()?.parse().ok()
            })?,
        };
        members.end()?;
        Ok(own)
    }

    /// What `before` becomes.
    fn over(self, before: Overrides) -> Overrides {
        let prices = match self.prices {
            Said::Nothing => before.prices,
            Said::Null => BTreeMap::new(),
            Said::Value(prices) => {
                let mut all = before.prices;
                for (class, price) in prices {
                    match price {
                        Said::Nothing => {}
                        Said::Null => drop(all.remove(&class)),
                        Said::Value(price) => drop(all.insert(class, price)),
                    }
                }
                all
            }
        };
        Overrides {
            requests_per_minute: self.minute.or(before.requests_per_minute),
            requests_per_hour: self.hour.or(before.requests_per_hour),
            requests_per_day: self.day.or(before.requests_per_day),
            tokens_per_minute: self.tokens.or(before.tokens_per_minute),
            concurrent: self.concurrent.or(before.concurrent),
            requests_per_month: self.month.or(before.requests_per_month),
            budget: self.budget.or(before.budget),
            prepaid: self.prepaid.or(before.prepaid),
            prices,
            loss_guard: self.loss_guard.or(before.loss_guard),
        }
    }
}

fn read_prices(mut members: Members) -> Result<BTreeMap<String, Said<Money>>, ApiError> {
    let mut prices = BTreeMap::new();
    for class in members.names() {
        let message = "dollars, from 0, with at most 12 decimals, such as \"0.01\"";
        let price = members.read(&class, message, dollars)?;
        prices.insert(class, price);
    }
    Ok(prices)
}

/// The figures that are given.
fn shown(own: &Overrides) -> Map<String, Value> {
    let small = |limit: u32| if limit == u32::MAX { "unlimited".into() } else { limit.into() };
    let large = |limit: u64| if limit == u64::MAX { "unlimited".into() } else { limit.into() };
    let dollars = |budget: Money| {
        if budget == Money::MAX { "unlimited".into() } else { json!(budget) }
    };
    let figures: [(&str, Option<Value>); 8] = [
        ("requests_per_minute", own.requests_per_minute.map(small)),
        ("requests_per_hour", own.requests_per_hour.map(small)),
        ("requests_per_day", own.requests_per_day.map(small)),
        ("requests_per_month", own.requests_per_month.map(large)),
        ("tokens_per_minute", own.tokens_per_minute.map(small)),
        ("concurrent", own.concurrent.map(small)),
        ("budget", own.budget.map(dollars)),
        ("prepaid", own.prepaid.map(Value::from)),
    ];
    let given = figures.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let mut shown: Map<String, Value> = given.collect();
    if !own.prices.is_empty() {
        shown.insert("prices".to_owned(), json!(own.prices));
    }
    if let Some(guard) = own.loss_guard {
        shown.insert("loss_guard".to_owned(), <&'static str>::from(guard).into());
    }
    shown
}
