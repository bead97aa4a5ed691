//! The changes that a class makes to the fields of its requests' bodies, where
//! they stand: bytes that no rule names stay.

use bytes::Bytes;

use crate::base::json::{self, Edit, Member, Members};
use crate::config::{Cap, FieldChange, Rewrite};
use crate::refusal::{Code, Refusal};

/// `body`, a JSON object, as the rules of its class make it; `None` if they change
/// nothing.
///
/// # Errors
/// 400 `invalid_json` if a field that a rule names is there twice, 400
/// `invalid_value` if it is of a kind that the rule cannot be kept with.
pub fn rewritten(rules: &Rewrite, body: &Bytes) -> Result<Option<Bytes>, Refusal> {
    if rules.fields.is_empty() {
        return Ok(None);
    }
    let Some((_, open)) = json::token(body, 0) else { return Ok(None) };
    let mut walk = Walk { body, edits: Vec::new() };
    walk.object(rules, open, "")?;
    Ok((!walk.edits.is_empty()).then(|| json::joined(body, walk.edits)))
}

struct Walk<'b> {
    body: &'b Bytes,
    edits: Vec<Edit>,
}

impl Walk<'_> {
    /// Changes the object that begins at `open`; `above` is the path to it.
    fn object(&mut self, rules: &Rewrite, open: usize, above: &str) -> Result<(), Refusal> {
        let body = self.body;
        let mut seen = vec![false; rules.fields.len()];
        // Whether anything is left of what has come so far.
        let mut kept = false;
        for member in Members::at(body, open) {
            let name = member.name(body);
            let place = rules.fields.iter().position(|(field, _)| **field == *name);
            let rule =
                place.and_then(|place| Some((rules.fields.get(place)?, seen.get_mut(place)?)));
            let Some(((field, change), seen)) = rule else {
                kept = true;
                continue;
            };
            if std::mem::replace(seen, true) {
                let message = format!(
                    "The body could not be read as JSON: the key '{above}{field}' is repeated \
                     (offset {}).",
                    member.name.start
                );
                return Err(Refusal::new(Code::InvalidJson, message));
            }
            if let FieldChange::Remove = change {
                self.cut(&member, kept);
                continue;
            }
            kept = true;
            self.change(change, &member, &format!("{above}{field}"))?;
        }
        let missing = rules.fields.iter().zip(seen).filter(|(_, seen)| !seen);
        let put: Vec<String> = missing.filter_map(|(rule, _)| made(rule)).collect();
        if !put.is_empty() {
            let comma = if kept { "," } else { "" };
            let text = Bytes::from(put.join(",") + comma);
            self.edits.push((open + 1..open + 1, text));
        }
        Ok(())
    }

    /// Takes a member out with one comma; `kept` says whether one before it stays.
    fn cut(&mut self, member: &Member, kept: bool) {
        let end = member.value.end;
        let at = match (member.comma, member.next) {
            (Some(comma), _) if kept => comma..end,
            (_, Some(next)) => {
                let following = json::token(self.body, next + 1).map_or(end, |(_, at)| at);
                member.name.start..following
            }
            _ => member.name.start..end,
        };
        self.edits.push((at, Bytes::new()));
    }

    /// Changes the value of a member that stays.
    fn change(&mut self, change: &FieldChange, member: &Member, path: &str) -> Result<(), Refusal> {
        let value = member.value(self.body);
        let new = match change {
            FieldChange::Set(new) => Some(new.clone()),
            FieldChange::Default { value: new, .. } if value == b"null" => Some(new.clone()),
            FieldChange::Default { cap: Some(cap), .. } | FieldChange::Cap(cap) => {
                capped(value, cap, path)?
            }
            FieldChange::Default { cap: None, .. } | FieldChange::Remove => None,
            FieldChange::Within(inner) => match value.first() {
                Some(b'{') => {
                    return self.object(inner, member.value.start, &format!("{path}."));
                }
                Some(b'n') => object_of(inner).map(Bytes::from),
                _ if object_of(inner).is_none() => None,
                _ => return Err(wrong(path, "an object")),
            },
        };
        if let Some(new) = new.filter(|new| *new != value) {
            self.edits.push((member.value.clone(), new));
        }
        Ok(())
    }
}

/// The number that stands in the place of `value`, if that is above `cap`.
fn capped(value: &[u8], cap: &Cap, path: &str) -> Result<Option<Bytes>, Refusal> {
    match value.first() {
        Some(b'n') => Ok(None),
        Some(b'-' | b'0'..=b'9') => {
            let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<f64>().ok());
            // What is too large for a number here is infinite.
            let above = number.is_none_or(|number| number > cap.most);
            Ok(above.then(|| cap.text.clone()))
        }
        // A provider might take a text for a number.
        _ => Err(wrong(path, "a number")),
    }
}

/// The member that a rule makes where the field is not there.
fn made((name, change): &(std::sync::Arc<str>, FieldChange)) -> Option<String> {
    let value = match change {
        FieldChange::Set(value) | FieldChange::Default { value, .. } => {
            String::from_utf8_lossy(value).into_owned()
        }
        FieldChange::Within(inner) => object_of(inner)?,
        FieldChange::Remove | FieldChange::Cap(_) => return None,
    };
    Some(format!("{}:{value}", serde_json::Value::from(&**name)))
}

/// The object that the rules make of nothing; `None` if they make nothing.
fn object_of(rules: &Rewrite) -> Option<String> {
    let put: Vec<String> = rules.fields.iter().filter_map(made).collect();
    (!put.is_empty()).then(|| format!("{{{}}}", put.join(",")))
}

fn wrong(path: &str, wanted: &str) -> Refusal {
    let message = format!("Invalid value for '{path}': it must be {wanted}.");
    Refusal::new(Code::InvalidValue, message).param(path.to_owned())
}

#[cfg(test)]
mod tests;
