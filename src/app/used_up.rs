//! Which limits of the present month have come to a threshold, whether or not
//! anybody was told: what a crash, or the lack of a webhook, may have kept back.

use std::collections::HashSet;
use std::sync::Arc;

use crate::admission::quota::{Allowance, Month};
use crate::admission::spend::MonthStanding;
use crate::admission::warnings::Level;
use crate::app::App;
use crate::auth::keyring::Identity;
use crate::notice::{Kind, Notice};

/// Every notice that is true now, of accounts that have a key in force.
pub(super) fn notices(app: &App) -> Vec<Notice> {
    let mut told = HashSet::new();
    let mut notices = Vec::new();
    let month = app.snapshot.load().calendar.month(app.clock.wall());
    app.keyring.each(|identity| {
        let first = told.insert(identity.account.clone());
        let due = due(app, identity, month).into_iter();
        // The account's own limits are the same for each of its keys.
        notices.extend(due.filter(|notice| first || notice.kind == Kind::KeyBudget));
    });
    notices
}

fn due(app: &App, identity: &Arc<Identity>, month: Month) -> Vec<Notice> {
    let allowance = Allowance {
        month,
        limit: identity.requests_per_month,
        overage: identity.overage().is_some(),
        budget: identity.budget,
        key_budget: identity.key_budget,
        prepaid: identity.prepaid,
        counts: false,
    };
    let Some(account) = app.rates.find(&identity.account) else { return Vec::new() };
    let standing = account.month(&identity.key_id, &allowance);
    let mut notices = Vec::new();
    for (kind, highest) in standing.levels.reached() {
        let (used, limit) = figures(kind, &standing, &allowance);
        let reached = Level::TOLD.into_iter().filter_map(Level::percent);
        notices.extend(reached.filter(|threshold| *threshold <= highest).map(|threshold| Notice {
            account: identity.account.clone(),
            key_id: (kind == Kind::KeyBudget).then(|| identity.key_id.clone()),
            kind,
            threshold,
            used: used.clone(),
            limit: limit.clone(),
            month: month.to_string(),
        }));
    }
    notices
}

/// What was used of a limit, and the limit.
fn figures(kind: Kind, standing: &MonthStanding, allowance: &Allowance) -> (String, String) {
    let dollars =
        |amount: Option<crate::base::money::Money>| amount.unwrap_or_default().to_string();
    match kind {
        Kind::Quota => {
            (standing.charged.to_string(), allowance.limit.unwrap_or_default().to_string())
        }
        Kind::Budget => (standing.account.charged.to_string(), dollars(allowance.budget)),
        Kind::KeyBudget => (standing.key.charged.to_string(), dollars(allowance.key_budget)),
    }
}
