//! Which keys of the contract this build accepts and checks but does not act on.

use super::tree::{Kind, Node};

/// The keys, dotted; `[]` is every entry of a list.
const NOT_IN_FORCE: [&str; 11] = [
    "store.redis",
    "store.postgres",
    "store.on_store_loss",
    "plans[].retention",
    "routing.auto",
    "economics",
    "billing.stripe",
    "privacy.retention",
    "autoscale",
    "slo",
    "page",
];

/// Those of them that `file` sets to something.
pub(super) fn not_in_force(file: &Node) -> Vec<String> {
    NOT_IN_FORCE.iter().filter(|key| is_set(file, key)).map(|key| (*key).to_owned()).collect()
}

fn is_set(node: &Node, key: &str) -> bool {
    let (step, rest) = match key.split_once('.') {
        Some((step, rest)) => (step, Some(rest)),
        None => (key, None),
    };
    let (step, every) = match step.strip_suffix("[]") {
        Some(step) => (step, true),
        None => (step, false),
    };
    let Some(value) = node.get(step) else { return false };
    match (rest, &value.kind) {
        (None, _) => !value.is_null(),
        (Some(rest), Kind::List(items)) if every => items.iter().any(|item| is_set(item, rest)),
        (Some(rest), _) => is_set(value, rest),
    }
}
