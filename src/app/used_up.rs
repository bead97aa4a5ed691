//! Which limits of the present month have come to a threshold, whether or not
//! anybody was told: what a crash, or the lack of a webhook, may have kept back.

use std::collections::HashSet;
use std::sync::Arc;

use crate::admission::quota::Allowance;
use crate::app::App;
use crate::auth::keyring::Identity;
use crate::notice::{Kind, Notice};

/// The shares of a limit that are announced, in percent.
const THRESHOLDS: [u8; 2] = [80, 100];

/// Every notice that is true now, of accounts that have a key in force.
pub(super) fn notices(app: &App) -> Vec<Notice> {
    let mut seen = HashSet::new();
    let mut notices = Vec::new();
    let month = app.snapshot.load().calendar.month(app.clock.wall());
    app.keyring.each(|identity| {
        if seen.insert(identity.account.clone()) {
            let allowance = Allowance { month, limit: identity.requests_per_month, counts: true };
            notices.extend(quota(app, identity, &allowance));
        }
    });
    notices
}

fn quota(app: &App, identity: &Arc<Identity>, allowance: &Allowance) -> Vec<Notice> {
    let Some(limit) = allowance.limit else { return Vec::new() };
    let Some(account) = app.rates.find(&identity.account) else { return Vec::new() };
    let used = limit.saturating_sub(account.quota_left(allowance).unwrap_or(limit));
    let notice = |threshold| Notice {
        account: identity.account.clone(),
        key_id: None,
        kind: Kind::Quota,
        threshold,
        used: used.to_string(),
        limit: limit.to_string(),
        month: allowance.month.name(),
    };
    let reached =
        |threshold: &u8| u128::from(used) * 100 >= u128::from(limit) * u128::from(*threshold);
    THRESHOLDS.into_iter().filter(reached).map(notice).collect()
}
