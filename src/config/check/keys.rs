//! Accounts and keys that the file gives.

use std::sync::Arc;

use super::common::{Named, budget, entries, name, visible_secret};
use crate::config::field::Field;
use crate::config::raw::RawAccountKey;
use crate::config::report::Report;
use crate::config::types::{Plan, StaticKey};

/// Checks the list of keys. An account may have several, all with one plan. A
/// default that names a plan which is not there is off.
pub(super) fn check(
    raw: &Field<Vec<Field<RawAccountKey>>>,
    plans: &Named<Plan>,
    report: &mut Report,
) -> Vec<StaticKey> {
    let (entries, _) = entries(raw, "an account and its key", report);
    let mut keys: Vec<StaticKey> = Vec::with_capacity(entries.len());
    for (mark, entry) in entries {
        let account = name(&entry.account, mark, "account", report);
        let plan = name(&entry.plan, mark, "plan", report);
        let of = match account {
            Some((mark, account)) if !mark.outside => format!("the key of account `{account}`"),
            _ => "the key of an account".to_owned(),
        };
        let key = visible_secret(&entry.key, &of, report);
        let budget = budget(&entry.budget, report);
        let (Some((account_mark, account)), Some((plan_mark, plan_name))) = (account, plan) else {
            continue;
        };
        let plan = if mark.is_default() {
            if plans.get(plan_name).is_none() && plans.is_complete() {
                report.warn(format!(
                    "The default account {account} is off: there is no plan {plan_name}."
                ));
            }
            plans.get(plan_name)
        } else {
            plans.refer("plan", (plan_mark, plan_name), report)
        };
        let Some(plan) = plan else { continue };
        if keys.iter().any(|other| *other.account == *account && other.plan.name != plan.name) {
            report.error(plan_mark, "this account already has another plan");
        }
        if !key.is_empty() && keys.iter().any(|other| other.key == key) {
            report.error(entry.key.mark().unwrap_or(account_mark), "this key is already given");
        }
        keys.push(StaticKey { account: account.into(), plan: Arc::clone(plan), key, budget });
    }
    keys
}
