//! The contract's defaults, laid under what a file says.
//!
//! They are YAML too, so that there is one reader and one place for figures.
//! What comes from them has no position, see [`Mark::is_default`].

use std::path::Path;

use super::substitute::{Environment, substitute};
use super::tree::{self, Fault, Kind, Mark, Node};

/// The defaults as text.
pub(super) const DEFAULTS: &str = include_str!("defaults.yaml");

/// Mappings that are switched off by null rather than left at their default.
const OFF_BY_NULL: [&str; 1] = ["auto"];

/// The defaults as a tree, variables filled in.
pub(super) fn tree(environment: &dyn Environment, faults: &mut Vec<Fault>) -> Node {
    let (root, mut own) = tree::parse(DEFAULTS);
    let mut root = root.unwrap_or(Node::empty_map(Mark::default()));
    substitute(&mut root, Path::new("."), environment, &mut own);
    unplace(&mut root);
    faults.extend(own.into_iter().map(|(_, message)| (Mark::default(), message)));
    root
}

/// Takes all positions away.
fn unplace(node: &mut Node) {
    node.mark = Mark { outside: node.mark.outside, ..Mark::default() };
    match &mut node.kind {
        Kind::Scalar(_) | Kind::Bad => {}
        Kind::List(items) => items.iter_mut().for_each(unplace),
        Kind::Map(entries) => {
            for entry in entries {
                entry.mark = Mark::default();
                unplace(&mut entry.value);
            }
        }
    }
}

/// Adds to `file` what it leaves out. A list is taken whole from one or the
/// other, except that a class `default` is always there.
pub(super) fn lay_under(file: &mut Node, defaults: &Node) {
    fill(file, defaults);
    add_default_class(file, defaults);
}

fn fill(file: &mut Node, defaults: &Node) {
    let (Kind::Map(entries), Kind::Map(known)) = (&mut file.kind, &defaults.kind) else { return };
    for default in known {
        match entries.iter_mut().find(|entry| entry.key == default.key) {
            None => entries.push(default.clone()),
            Some(entry) if entry.value.is_null() => {
                if !OFF_BY_NULL.contains(&entry.key.as_str()) {
                    entry.value = default.value.clone();
                }
            }
            Some(entry) => fill(&mut entry.value, &default.value),
        }
    }
}

fn add_default_class(file: &mut Node, defaults: &Node) {
    let named_default = |class: &&Node| class.get("name").and_then(Node::text) == Some("default");
    let Some(Kind::List(known)) = defaults.get("classes").map(|classes| &classes.kind) else {
        return;
    };
    let Kind::Map(entries) = &mut file.kind else { return };
    let classes = entries.iter_mut().find(|entry| entry.key == "classes");
    if let Some(Kind::List(classes)) = classes.map(|entry| &mut entry.value.kind)
        && !classes.iter().any(|class| named_default(&class))
        && let Some(default) = known.iter().find(named_default)
    {
        classes.push(default.clone());
    }
}
