//! The JSON Schema of the configuration, made from the raw structs.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::defaults::DEFAULTS;
use super::raw::RawConfig;
use super::tree::{self, Entry, Kind, Node};

/// Types that stand in several places with different defaults: these are given
/// where the type is used.
const SHARED: [&str; 1] = ["Thresholds"];

/// The JSON Schema (draft 2020-12) of a configuration file, with descriptions
/// and the contract's defaults.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12();
    let mut schema = settings.into_generator().into_root_schema_for::<RawConfig>().to_value();
    if let (Some(Node { kind: Kind::Map(entries), .. }), _) = tree::parse(DEFAULTS) {
        add_defaults(&mut schema, "", &entries);
    }
    schema
}

/// Writes the defaults `entries` into the properties of the type at the JSON
/// pointer `of`, and into the types of those that are mappings.
fn add_defaults(schema: &mut Value, of: &str, entries: &[Entry]) {
    for Entry { key, value, .. } in entries {
        let Some(property) = schema.pointer_mut(&format!("{of}/properties/{key}")) else {
            continue;
        };
        let definition = definition(property).map(str::to_owned);
        match (&value.kind, definition) {
            (Kind::Map(below), Some(name)) if !SHARED.contains(&name.as_str()) => {
                add_defaults(schema, &format!("/$defs/{name}"), below);
            }
            _ => {
                if let Some(property) = property.as_object_mut() {
                    property.insert("default".to_owned(), value.json());
                }
            }
        }
    }
}

/// The name of the type that a property has, if it has one; whether it may be
/// null besides does not matter.
fn definition(property: &Value) -> Option<&str> {
    let reference = |schema: &'_ Value| schema.get("$ref").and_then(Value::as_str).is_some();
    let schema = match property.get("anyOf").and_then(Value::as_array) {
        Some(choices) => choices.iter().find(|choice| reference(choice))?,
        None => property,
    };
    schema.get("$ref")?.as_str()?.strip_prefix("#/$defs/")
}
