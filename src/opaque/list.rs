//! Lists that a provider gave, without the items of others.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::base::json::reader;

/// Whether `json` is JSON, and so UTF-8.
pub fn is_json(json: &[u8]) -> bool {
    reader::read(json, &mut ()).is_ok()
}

#[derive(serde::Deserialize)]
struct Thing {
    id: String,
}

/// The identifier of the thing that `json` is about.
pub fn id_of(json: &str) -> Option<String> {
    serde_json::from_str::<Thing>(json).ok().map(|thing| thing.id)
}

/// A page of a list, as a provider gave it.
#[derive(Debug)]
pub struct List<'j> {
    members: Vec<(Cow<'j, str>, &'j RawValue)>,
    items: Vec<&'j RawValue>,
}

impl<'j> List<'j> {
    /// Reads `json`; `None` if it is no object with a list `data`.
    pub fn read(json: &'j [u8]) -> Option<Self> {
        let mut parser = serde_json::Deserializer::from_slice(json);
        let members = parser.deserialize_map(Members).ok()?;
        parser.end().ok()?;
        let mut items = None;
        for (_, raw) in members.iter().filter(|(name, _)| name == "data") {
            items
                .get_or_insert_with(Vec::new)
                .extend(serde_json::from_str::<Vec<&RawValue>>(raw.get()).ok()?);
        }
        Some(Self { members, items: items? })
    }

    /// The identifiers of its items; `None` for an item without one.
    pub fn ids(&self) -> impl Iterator<Item = Option<String>> {
        self.items.iter().map(|item| id_of(item.get()))
    }

    /// The items as they stand.
    pub fn items(&self) -> &[&'j RawValue] {
        &self.items
    }

    /// Whether there are further pages.
    pub fn has_more(&self) -> bool {
        self.members.iter().any(|(name, raw)| name == "has_more" && raw.get() == "true")
    }

    /// The list with these items instead of its own, and whether more follow.
    /// Its other members stay.
    pub fn with(&self, items: &[Box<RawValue>], more: bool) -> String {
        let mut out = String::from("{");
        let end = |item: Option<&Box<RawValue>>| {
            let id = item.and_then(|item| id_of(item.get()));
            serde_json::Value::from(id).to_string()
        };
        let mut data_written = false;
        for (name, raw) in &self.members {
            let replaced = match &**name {
                "data" if data_written => continue,
                "data" => {
                    data_written = true;
                    let texts: Vec<&str> = items.iter().map(|item| item.get()).collect();
                    format!("[{}]", texts.join(","))
                }
                "first_id" => end(items.first()),
                "last_id" => end(items.last()),
                "has_more" => more.to_string(),
                _ => raw.get().to_owned(),
            };
            if out.len() > 1 {
                out.push(',');
            }
            out.push_str(&serde_json::Value::from(&**name).to_string());
            out.push(':');
            out.push_str(&replaced);
        }
        out.push('}');
        out
    }
}

/// The members of an object, in order.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_its_other_members() {
        let json = br#"{"object":"list","data":[{"id":"a","x":1.0},{"id":"b"}],"first_id":"a","last_id":"b","has_more":true}"#;
        let list = List::read(json).unwrap();
        assert!(list.has_more());
        assert_eq!(list.ids().map(Option::unwrap).collect::<Vec<_>>(), ["a", "b"]);
        let kept = [list.items()[0].to_owned()];
        assert_eq!(
            list.with(&kept, false),
            r#"{"object":"list","data":[{"id":"a","x":1.0}],"first_id":"a","last_id":"a","has_more":false}"#
        );
        assert_eq!(
            list.with(&[], false),
            r#"{"object":"list","data":[],"first_id":null,"last_id":null,"has_more":false}"#
        );
        assert!(List::read(br#"{"id":"x"}"#).is_none());
        assert!(List::read(br#"{"data":{}}"#).is_none());
    }

    #[test]
    fn a_repeated_member_hides_no_item() {
        let list = List::read(br#"{"data":[{"id":"a"}],"data":[{"id":"b"}]}"#).unwrap();
        assert_eq!(list.items().len(), 2);
        assert_eq!(list.with(&[], false), r#"{"data":[]}"#);
    }
}
