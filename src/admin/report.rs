//! `GET /admin/reports/cache`: what the cache and sharing spare, class by class.
//!
//! `from` is the first moment that counts, `to` the first that does not; with
//! neither, the current month in UTC is meant. Counts and savings come from the
//! ledger; `bytes` is what answers take now. The last row, whose class is `null`, is
//! all of them together.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;

use super::error::ApiError;
use super::usage::unavailable;
use super::{AdminState, List, blocking, period, query};
use crate::cache::Sizes;
use crate::ledger::savings::CacheSum;
use crate::ledger::{By, Filter};

/// One class, or all.
#[derive(Debug, Default, Serialize)]
pub(super) struct Row {
    class: Option<String>,
    #[serde(flatten)]
    sum: CacheSum,
    /// The share of look-ups that were hits; `null` without look-ups.
    hit_ratio: Option<f64>,
    /// The share that the configuration wants.
    hit_ratio_target: Option<f64>,
    /// By tier.
    bytes: Sizes,
}

pub(super) async fn cache(
    State(state): State<AdminState>,
    uri: Uri,
) -> Result<Json<List<Row>>, ApiError> {
    let [from, to] = query::read(&uri, ["from", "to"])?;
    let (from, to) = period::read(from.as_deref(), to.as_deref(), state.clock.wall())?;
    let (ledger, cache) = (Arc::clone(&state.ledger), Arc::clone(&state.cache));
    let config = state.control.config();
    blocking(move || {
        let filter = Filter { account: None, from, to };
        let sums = ledger.summary(&filter, By::Class).map_err(|error| unavailable(&error))?;
        let mut rows: BTreeMap<String, Row> = BTreeMap::new();
        for class in &config.classes {
            let row = rows.entry(class.name.to_string()).or_default();
            row.hit_ratio_target = class.cache.and_then(|cache| cache.hit_rate_target);
        }
        for sum in sums {
            rows.entry(sum.by).or_default().sum = sum.cache;
        }
        for (class, bytes) in cache.sizes() {
            rows.entry(class.to_string()).or_default().bytes = bytes;
        }
        Ok(Json(List::whole(with_total(rows))))
    })
    .await?
}

/// The rows with their names and ratios, and one of all together.
fn with_total(rows: BTreeMap<String, Row>) -> Vec<Row> {
    let mut total = Row::default();
    let mut list = Vec::with_capacity(rows.len() + 1);
    for (class, row) in rows {
        total.sum += row.sum;
        for (tier, bytes) in &row.bytes {
            *total.bytes.entry(tier).or_default() += bytes;
        }
        list.push(Row { class: Some(class), hit_ratio: ratio(&row.sum), ..row });
    }
    total.hit_ratio = ratio(&total.sum);
    list.push(total);
    list
}

#[expect(clippy::float_arithmetic, reason = "a ratio that is shown")]
#[expect(clippy::cast_precision_loss, reason = "a ratio needs no more than a float's 53 bits")]
fn ratio(sum: &CacheSum) -> Option<f64> {
    (sum.lookups > 0).then(|| sum.hits as f64 / sum.lookups as f64)
}
