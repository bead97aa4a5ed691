//! What a class changes, as `GET /admin/config` shows it: in the shape of the file.

use serde_json::{Map, Value, json};

use crate::config::{FieldChange, HeaderChanges, HeaderRules, Position, Rewrite, Template};

/// The changes of fields; `null` if there are none.
pub(super) fn rewrite(rewrite: &Rewrite) -> Value {
    let mut kinds = Kinds::default();
    collect(rewrite, "", &mut kinds);
    let Kinds { set, default, cap, remove } = kinds;
    match rewrite.fields.is_empty() {
        true => Value::Null,
        false => json!({ "set": set, "default": default, "cap": cap, "remove": remove }),
    }
}

#[derive(Default)]
struct Kinds {
    set: Map<String, Value>,
    default: Map<String, Value>,
    cap: Map<String, Value>,
    remove: Vec<String>,
}

fn collect(rewrite: &Rewrite, above: &str, kinds: &mut Kinds) {
    let read = |text: &[u8]| serde_json::from_slice(text).unwrap_or(Value::Null);
    for (name, change) in &rewrite.fields {
        let path = format!("{above}{name}");
        match change {
            FieldChange::Remove => kinds.remove.push(path),
            FieldChange::Set(value) => drop(kinds.set.insert(path, read(value))),
            FieldChange::Default { value, cap } => {
                if let Some(cap) = cap {
                    kinds.cap.insert(path.clone(), read(&cap.text));
                }
                kinds.default.insert(path, read(value));
            }
            FieldChange::Cap(cap) => drop(kinds.cap.insert(path, read(&cap.text))),
            FieldChange::Within(inner) => collect(inner, &format!("{path}."), kinds),
        }
    }
}

/// The system text.
pub(super) fn template(template: &Template) -> Value {
    let position = match template.position {
        Position::Before => "before",
        Position::Replace => "replace",
    };
    json!({ "system": template.system, "position": position })
}

/// The changes of headers; `null` if there are none. A header is no place for a
/// secret: one that may carry any is refused at the start.
pub(super) fn headers(rules: &HeaderRules) -> Value {
    let changes = |changes: &HeaderChanges| {
        let value = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into();
        let set = changes.set.iter().map(|(name, it)| (name.to_string(), value(it)));
        let remove: Vec<_> = changes.remove.iter().map(http::HeaderName::as_str).collect();
        json!({ "set": Value::Object(set.collect()), "remove": remove })
    };
    let none = |changes: &HeaderChanges| changes.set.is_empty() && changes.remove.is_empty();
    match none(&rules.request) && none(&rules.response) {
        true => Value::Null,
        false => {
            json!({ "request": changes(&rules.request), "response": changes(&rules.response) })
        }
    }
}
