//! What a class changes of requests and answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::common::named;
use crate::config::field::Field;
use crate::config::raw::{Json, RawPosition, RawRewrite, RawTemplate};
use crate::config::report::Report;
use crate::config::tree::Mark;
use crate::config::types::{Cap, FieldChange, Position, Rewrite, Template};

/// Deepest field, in names.
const DEEPEST: usize = 8;
/// What decides where a request runs and how it is answered, and the prompt
/// itself: other keys are for these.
const OWN: [&str; 6] = ["model", "stream", "stream_options", "messages", "prompt", "input"];
/// What may be taken out alone: its values name what an account has at a provider.
const REMOVED_ALONE: [&str; 4] =
    ["previous_response_id", "conversation", "background", "container"];
/// What Tollgate reads as a whole number.
const WHOLE: [&str; 5] =
    ["n", "best_of", "max_tokens", "max_completion_tokens", "max_output_tokens"];

/// What the rules say of one field.
#[derive(Default)]
struct Said {
    remove: Option<Mark>,
    default: Option<(Mark, Value)>,
    set: Option<(Mark, Value)>,
    cap: Option<(Mark, f64)>,
}

/// Checks `rewrite`.
pub(super) fn fields(raw: &Field<RawRewrite>, report: &mut Report) -> Rewrite {
    let Some(raw) = raw.value() else { return Rewrite::default() };
    let mut said = BTreeMap::<&str, Said>::new();
    for (mark, path) in raw.remove.value().into_iter().flatten().filter_map(Field::placed) {
        if is_path(path, mark, true, report) {
            said.entry(path).or_default().remove = Some(mark);
        }
    }
    for (path, mark, value) in values(&raw.default) {
        if value.is_null() {
            report.error(mark, "a default of null is none: leave it out");
        } else if is_path(path, mark, false, report) && fits(path, mark, &value, report) {
            said.entry(path).or_default().default = Some((mark, value));
        }
    }
    for (path, mark, value) in values(&raw.set) {
        if is_path(path, mark, false, report) && fits(path, mark, &value, report) {
            said.entry(path).or_default().set = Some((mark, value));
        }
    }
    for (path, number) in raw.cap.value().into_iter().flatten() {
        let Some((mark, number)) = number.placed() else { continue };
        if is_path(path, mark, false, report) && fits(path, mark, &number.0.into(), report) {
            said.entry(path).or_default().cap = Some((mark, number.0));
        }
    }
    overlaps(&said, report);
    let mut all = Rewrite::default();
    for (path, said) in said {
        if let Some(change) = said.change(report) {
            put(&mut all, path, change);
        }
    }
    all
}

fn values(raw: &Field<BTreeMap<String, Field<Json>>>) -> impl Iterator<Item = (&str, Mark, Value)> {
    raw.value().into_iter().flatten().filter_map(|(path, value)| match value {
        Field::Set(mark, Json(value)) => Some((path.as_str(), *mark, value.clone())),
        Field::Null(mark) => Some((path.as_str(), *mark, Value::Null)),
        Field::Absent | Field::Bad(_) => None,
    })
}

/// Whether `path` names a field that a rule may change.
fn is_path(path: &str, mark: Mark, removes: bool, report: &mut Report) -> bool {
    let parts: Vec<&str> = path.split('.').collect();
    let shown = named(mark, path);
    if parts.len() > DEEPEST || parts.iter().any(|part| part.is_empty() || part.len() > 128) {
        let message = format!(
            "{shown} is no field: names with dots between them, at most {DEEPEST}, such as \
             reasoning.effort"
        );
        report.error(mark, message);
        return false;
    }
    let first = parts.first().copied().unwrap_or_default();
    if OWN.contains(&first) {
        let message = format!(
            "{shown} cannot be rewritten: a request's model, delivery and prompt are its own \
             (see `models` and `template`)"
        );
        report.error(mark, message);
        return false;
    }
    if REMOVED_ALONE.contains(&first) && !removes {
        report.error(mark, format!("{shown} can only be removed"));
        return false;
    }
    true
}

/// Whether `value` may stand at `path`.
fn fits(path: &str, mark: Mark, value: &Value, report: &mut Report) -> bool {
    let whole = || value.as_f64().is_some_and(|it| it >= 1.0 && it.fract() == 0.0 && it < 1e15);
    let wanted = match path {
        _ if WHOLE.contains(&path) && !whole() => "a whole number from 1",
        "store" if !value.is_boolean() => "true or false",
        "metadata" if !value.is_object() => "a mapping",
        "user" | "safety_identifier" | "prompt_cache_key" if !value.is_string() => "a text",
        _ => return true,
    };
    report.error(mark, format!("{} is {wanted}", named(mark, path)));
    false
}

/// Refuses rules for a field and for what is within it.
fn overlaps(said: &BTreeMap<&str, Said>, report: &mut Report) {
    for (path, rule) in said {
        let within = |above: &str| path.strip_prefix(above).is_some_and(|it| it.starts_with('.'));
        if let Some(above) = said.keys().find(|above| within(above)) {
            let message = format!(
                "{} is within {}, which has rules of its own",
                named(rule.mark(), path),
                named(rule.mark(), above)
            );
            report.error(rule.mark(), message);
        }
    }
}

impl Said {
    fn mark(&self) -> Mark {
        let marks = [
            self.set.as_ref().map(|(mark, _)| *mark),
            self.default.as_ref().map(|(mark, _)| *mark),
            self.cap.as_ref().map(|(mark, _)| *mark),
            self.remove,
        ];
        marks.into_iter().flatten().next().unwrap_or_default()
    }

    /// All of them in one, in the order remove, default, set, cap.
    fn change(self, report: &mut Report) -> Option<FieldChange> {
        let json = |value: &Value| Bytes::from(value.to_string());
        let limit = |most: f64| Cap { most, text: json(&number(most)) };
        match self {
            Self { set: Some(_), cap: Some((mark, _)), .. } => {
                report.error(mark, "the field is always set: it needs no cap");
                None
            }
            Self { set: Some(_), default: Some((mark, _)), .. } => {
                report.error(mark, "the field is always set: it needs no default");
                None
            }
            Self { set: Some((_, value)), .. } => Some(FieldChange::Set(json(&value))),
            Self { default: Some((mark, value)), cap: Some((_, most)), .. }
                if value.as_f64().is_none_or(|value| value > most) =>
            {
                report.error(mark, format!("the default is a number up to the cap, {most}"));
                None
            }
            Self { default: Some((_, value)), remove: Some(_), .. } => {
                Some(FieldChange::Set(json(&value)))
            }
            Self { default: Some((_, value)), cap, .. } => Some(FieldChange::Default {
                value: json(&value),
                cap: cap.map(|(_, most)| limit(most)),
            }),
            Self { cap: Some((mark, _)), remove: Some(_), .. } => {
                report.error(mark, "the field is always removed: it needs no cap");
                None
            }
            Self { cap: Some((_, most)), .. } => Some(FieldChange::Cap(limit(most))),
            Self { remove: Some(_), .. } => Some(FieldChange::Remove),
            Self { .. } => None,
        }
    }
}

/// A whole number without a point.
fn number(value: f64) -> Value {
    let text = value.to_string();
    text.parse::<i64>().map_or_else(|_| value.into(), Value::from)
}

/// Adds `change` at `path`.
fn put(all: &mut Rewrite, path: &str, change: FieldChange) {
    let Some((first, rest)) = path.split_once('.') else {
        all.fields.push((Arc::from(path), change));
        return;
    };
    let held = all.fields.iter_mut().find(|(name, _)| **name == *first);
    match held {
        Some((_, FieldChange::Within(inner))) => put(inner, rest, change),
        Some(_) => {}
        None => {
            let mut inner = Rewrite::default();
            put(&mut inner, rest, change);
            all.fields.push((Arc::from(first), FieldChange::Within(inner)));
        }
    }
}

/// Checks `template`.
pub(super) fn template(raw: &Field<RawTemplate>, report: &mut Report) -> Option<Template> {
    let (mark, raw) = raw.placed()?;
    let (mark, system, position) = match raw {
        RawTemplate::Text(text) => (mark, text, RawPosition::Before),
        RawTemplate::Parts(parts) => match parts.system.placed() {
            Some((mark, text)) => (mark, text, parts.position.or(RawPosition::Before)),
            None => {
                if !parts.system.is_bad() {
                    report.error(mark, "`system` is missing here");
                }
                return None;
            }
        },
    };
    if system.trim().is_empty() {
        report.error(mark, "a template is a text: leave it out for none");
        return None;
    }
    let position = match position {
        RawPosition::Before => Position::Before,
        RawPosition::Replace => Position::Replace,
    };
    Some(Template { system: Arc::from(&**system), position })
}
