//! A value that fits a JSON Schema, roughly: types, required properties,
//! constants, enumerations, alternatives, local references and simple bounds.
//! Patterns and conditions are not looked at.
//!
//! Source: JSON Schema 2020-12, as far as OpenAI's structured outputs use it.

use serde_json::{Map, Number, Value};

/// Levels of nesting beyond which every value is null, so that a schema that
/// refers to itself comes to an end.
const DEEPEST: usize = 12;
/// Values beyond which every further value is null.
const MOST_VALUES: usize = 1_000;
/// Most elements of an array, and most characters of a text, that bounds can ask for.
const LONGEST: u64 = 64;

/// A value that fits `schema`.
pub(super) fn example(schema: &Value) -> Value {
    Example { root: schema, left: MOST_VALUES }.of(schema, 0)
}

struct Example<'a> {
    root: &'a Value,
    left: usize,
}

impl<'a> Example<'a> {
    fn of(&mut self, schema: &'a Value, depth: usize) -> Value {
        if depth > DEEPEST || self.left == 0 {
            return Value::Null;
        }
        self.left -= 1;
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let target = reference.strip_prefix('#').and_then(|path| self.root.pointer(path));
            return target.map_or(Value::Null, |target| self.of(target, depth + 1));
        }
        if let Some(constant) = schema.get("const") {
            return constant.clone();
        }
        let alternatives = ["enum", "anyOf", "oneOf", "allOf"].map(|key| schema.get(key));
        if let [Some(Value::Array(values)), ..] = alternatives {
            return values.first().cloned().unwrap_or_default();
        }
        let first = alternatives.into_iter().flatten().find_map(|schemas| schemas.get(0));
        if let Some(first) = first
            && schema.get("properties").is_none()
        {
            return self.of(first, depth + 1);
        }
        match kind(schema) {
            "object" => self.object(schema, depth),
            "array" => self.array(schema, depth),
            "string" => text(schema).into(),
            "integer" => integer(schema).into(),
            "number" => number(schema),
            "boolean" => true.into(),
            _ => Value::Null,
        }
    }

    /// The required properties.
    fn object(&mut self, schema: &'a Value, depth: usize) -> Value {
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        let mut object = Map::new();
        for name in required.filter_map(Value::as_str) {
            let property = schema.get("properties").and_then(|all| all.get(name));
            let value = property.map_or(Value::Null, |property| self.of(property, depth + 1));
            object.insert(name.to_owned(), value);
        }
        object.into()
    }

    /// The fewest elements allowed, or one if none is fine too.
    fn array(&mut self, schema: &'a Value, depth: usize) -> Value {
        let most = bound(schema, "maxItems").unwrap_or(LONGEST);
        let fewest = bound(schema, "minItems").unwrap_or(1).min(most).min(LONGEST);
        let Some(items) = schema.get("items") else { return Value::Array(Vec::new()) };
        (0..fewest).map(|_| self.of(items, depth + 1)).collect()
    }
}

/// The type; of several, the first that is not null. Left out, it follows from
/// the other keywords.
fn kind(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(kind)) => kind,
        Some(Value::Array(kinds)) => {
            kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or("null")
        }
        _ if schema.get("properties").is_some() => "object",
        _ if schema.get("items").is_some() => "array",
        _ => "string",
    }
}

fn bound(schema: &Value, name: &str) -> Option<u64> {
    schema.get(name).and_then(Value::as_u64)
}

fn text(schema: &Value) -> String {
    let text = match schema.get("format").and_then(Value::as_str) {
        Some("date-time") => "2026-01-01T00:00:00Z",
        Some("date") => "2026-01-01",
        Some("time") => "00:00:00Z",
        Some("duration") => "PT1S",
        Some("email") => "sandbox@example.com",
        Some("hostname") => "example.com",
        Some("uri") => "https://example.com/",
        Some("ipv4") => "192.0.2.1",
        Some("ipv6") => "2001:db8::1",
        Some("uuid") => "00000000-0000-4000-8000-000000000000",
        _ => "sandbox",
    };
    let most = bound(schema, "maxLength").unwrap_or(LONGEST);
    let fewest = bound(schema, "minLength").unwrap_or(0).min(most).min(LONGEST);
    let length = (text.len() as u64).clamp(fewest, most.max(fewest));
    text.chars().chain(std::iter::repeat('x')).zip(0..length).map(|(char, _)| char).collect()
}

/// The least integer allowed, or else the greatest, or 1.
fn integer(schema: &Value) -> i64 {
    let whole = |name| schema.get(name).and_then(Value::as_i64);
    let least = whole("minimum").or(whole("exclusiveMinimum").map(|below| below.saturating_add(1)));
    let most = whole("maximum").or(whole("exclusiveMaximum").map(|above| above.saturating_sub(1)));
    let value = match (least, most) {
        (Some(least), _) => least,
        (None, Some(most)) => most.min(1),
        (None, None) => 1,
    };
    let step = whole("multipleOf").unwrap_or(1).max(1);
    // The next multiple, towards the allowed side.
    let over = value.rem_euclid(step);
    match over {
        0 => value,
        over if least.is_some() => value.saturating_add(step - over),
        over => value.saturating_sub(over),
    }
}

/// An integer if the bounds are integers, or else a bound itself.
fn number(schema: &Value) -> Value {
    let float = |name| schema.get(name).filter(|bound| bound.is_f64()).and_then(Value::as_f64);
    match float("minimum").or(float("maximum")).and_then(Number::from_f64) {
        Some(bound) => bound.into(),
        None => integer(schema).into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn required_properties_have_their_types() {
        let schema = json!({
            "type": "object",
            "properties": {
                "city": { "type": "string" },
                "days": { "type": "integer", "minimum": 3 },
                "unit": { "enum": ["celsius", "fahrenheit"] },
                "exact": { "type": "boolean" },
                "places": { "type": "array", "minItems": 2, "items": { "type": "number" } },
                "note": { "type": ["null", "string"], "maxLength": 3 },
                "left_out": { "type": "string" },
                "when": { "type": "string", "format": "date" },
                "kind": { "const": 7 },
                "step": { "$ref": "#/$defs/step" },
                "either": { "anyOf": [{ "type": "null" }, { "type": "string" }] },
            },
            "required": [
                "city", "days", "unit", "exact", "places", "note", "when", "kind", "step", "either",
            ],
            "$defs": { "step": {
                "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"],
            }},
        });
        assert_eq!(
            example(&schema),
            json!({
                "city": "sandbox", "days": 3, "unit": "celsius", "exact": true, "places": [1, 1],
                "note": "san", "when": "2026-01-01", "kind": 7, "step": { "n": 1 }, "either": null,
            })
        );
    }

    #[test]
    fn numbers_keep_their_bounds() {
        for (schema, value) in [
            (json!({ "type": "integer", "maximum": -5 }), json!(-5)),
            (json!({ "type": "integer", "exclusiveMinimum": 7 }), json!(8)),
            (json!({ "type": "integer", "minimum": 7, "multipleOf": 5 }), json!(10)),
            (json!({ "type": "number", "minimum": 0.5 }), json!(0.5)),
            (json!({ "type": "string", "minLength": 10 }), json!("sandboxxxx")),
        ] {
            assert_eq!(example(&schema), value, "{schema}");
        }
    }

    #[test]
    fn a_schema_that_refers_to_itself_comes_to_an_end() {
        let node = json!({
            "type": "object",
            "properties": {
                "left": { "$ref": "#" }, "right": { "$ref": "#" },
                "all": { "type": "array", "minItems": 1000000000, "items": { "$ref": "#" } },
            },
            "required": ["left", "right", "all"],
        });
        assert!(example(&node).is_object());
        let chain = json!({
            "type": "object", "properties": { "next": { "$ref": "#" } }, "required": ["next"],
        });
        let text = example(&chain).to_string();
        assert!(text.matches('{').count() <= DEEPEST, "{text}");
        assert_eq!(example(&json!({ "$ref": "#" })), Value::Null);
        assert_eq!(example(&json!({ "$ref": "https://example.com/a.json" })), Value::Null);
    }
}
