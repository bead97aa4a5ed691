//! What an answer says of what Tollgate changed in the request: the public name of
//! the model, and the client's own values of fields that a response repeats.
//!
//! The values are replaced where they stand; all other bytes stay. What is not
//! found is not changed.

use bytes::Bytes;
use memchr::memmem;

use crate::base::json::{self, Edit, Members};
use crate::base::sse;
use crate::intake::endpoint::Endpoint;
use crate::intake::personal::Echo;
use crate::pipeline::relay::pilot::Flying;

/// Where events have the object that a whole answer is: `response.created` and the
/// like of Responses, `message_start` of Messages.
const WITHIN: [&str; 2] = ["response", "message"];

/// What is to be replaced in one answer.
pub(in crate::pipeline) struct Restore {
    /// The public name in JSON, where the provider has another.
    model: Option<Bytes>,
    echoes: Vec<Echo>,
}

impl Restore {
    /// Puts null where a response has instructions.
    pub(in crate::pipeline) fn without_instructions() -> Self {
        let value = Bytes::from_static(b"null");
        Self { model: None, echoes: vec![Echo { name: "instructions", value }] }
    }

    /// What is to be replaced in the answer to the present attempt; `None` if nothing.
    pub(super) fn of(flying: &Flying<'_>) -> Option<Self> {
        // Of an account's alias, the name of the model behind it.
        let public = &flying.route.model;
        // Under its own name a model may answer with a date, which is not hidden.
        let named = flying.course.leg()?.target.model.as_ref();
        let other = named.is_some_and(|named| named != public) && !public.is_empty();
        let model = (other && flying.snapshot.config.routing.public_model_name)
            .then(|| Bytes::from(serde_json::Value::from(&**public).to_string()));
        // Only a response repeats what was asked.
        let echoes = match flying.endpoint {
            Endpoint::Responses => flying.request.echoes().to_vec(),
            _ => Vec::new(),
        };
        (model.is_some() || !echoes.is_empty()).then_some(Self { model, echoes })
    }

    /// `answer`, a whole one, with the client's own.
    pub(in crate::pipeline) fn whole(&self, answer: Bytes) -> Bytes {
        if !self.is_named_in(&answer) {
            return answer;
        }
        json::joined(&answer, self.edits(&answer, 0))
    }

    /// `event` with the client's own; as it is if it lies on several lines.
    pub(in crate::pipeline) fn event(&self, event: &Bytes) -> Bytes {
        if !self.is_named_in(event) {
            return event.clone();
        }
        let mut values = sse::fields(event).filter(|(name, _)| *name == b"data");
        let (Some((_, data)), None) = (values.next(), values.next()) else { return event.clone() };
        // `data` is a slice of `event`.
        let start = (data.as_ptr() as usize).saturating_sub(event.as_ptr() as usize);
        let edits = self.edits(data, start);
        json::joined(event, edits)
    }

    /// Whether anything may be there to replace.
    fn is_named_in(&self, text: &[u8]) -> bool {
        let has = |name: &str| memmem::find(text, format!("\"{name}\"").as_bytes()).is_some();
        (self.model.is_some() && memmem::find(text, b"\"model\"").is_some())
            || self.echoes.iter().any(|echo| has(echo.name))
    }

    /// The edits of `object`, which begins at `start` of what is edited.
    fn edits(&self, object: &[u8], start: usize) -> Vec<Edit> {
        let mut edits = Vec::new();
        let open = json::token(object, 0).map_or(0, |(_, open)| open);
        self.collect(object, open, true, &mut edits);
        for (at, _) in &mut edits {
            *at = at.start + start..at.end + start;
        }
        edits
    }

    fn collect(&self, object: &[u8], open: usize, outermost: bool, edits: &mut Vec<Edit>) {
        for member in Members::at(object, open) {
            let name = member.name(object);
            let value = member.value(object);
            match value.first() {
                Some(b'{') if outermost && WITHIN.contains(&&*name) => {
                    self.collect(object, member.value.start, false, edits);
                }
                Some(b'"') if name == "model" => {
                    edits.extend(self.model.clone().map(|model| (member.value, model)));
                }
                Some(b'"' | b'[') => {
                    let own = self.echoes.iter().find(|echo| echo.name == name);
                    edits.extend(own.map(|echo| (member.value, echo.value.clone())));
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    fn restore(model: &str) -> Restore {
        let model = Some(Bytes::from(Value::from(model).to_string()));
        let user = Echo { name: "user", value: Bytes::from_static(br#""jo""#) };
        Restore { model, echoes: vec![user] }
    }

    fn event(model: &str, text: &str) -> String {
        let event = Bytes::copy_from_slice(text.as_bytes());
        String::from_utf8(restore(model).event(&event).to_vec()).unwrap()
    }

    /// Covers J5.
    #[test]
    fn the_public_name_stands_where_the_providers_stood() {
        for (was, is) in [
            (
                r#"{"id":"a", "model" : "gpt-x-2024" ,"choices":[{"model":"m"}]}"#,
                r#"{"id":"a", "model" : "fa\"st" ,"choices":[{"model":"m"}]}"#,
            ),
            (
                r#"{"type":"response.created","response":{"model":"x","user":"3f"}}"#,
                r#"{"type":"response.created","response":{"model":"fa\"st","user":"jo"}}"#,
            ),
            (
                r#"{"type":"message_start","message":{"model":"x"}}"#,
                r#"{"type":"message_start","message":{"model":"fa\"st"}}"#,
            ),
            (
                r#"{"choices":[{"delta":{"content":"\"model\":\"x\""}}]}"#,
                r#"{"choices":[{"delta":{"content":"\"model\":\"x\""}}]}"#,
            ),
            (r#"{"model":null,"user":null}"#, r#"{"model":null,"user":null}"#),
            ("[DONE]", "[DONE]"),
            (r#"{"model":"x""#, r#"{"model":"x""#),
        ] {
            assert_eq!(event("fa\"st", &format!("data: {was}\n\n")), format!("data: {is}\n\n"));
            let whole = restore("fa\"st").whole(Bytes::copy_from_slice(was.as_bytes()));
            assert_eq!(whole, is.as_bytes());
        }
        let lines = "data: {\"model\":\ndata: \"x\"}\n\n";
        assert_eq!(event("fast", lines), lines);
    }

    proptest! {
        #[test]
        fn nothing_else_changes(
            others in prop::collection::btree_map("[a-z\"\\\\]{1,5}", "[ -~]{0,9}", 0..5),
            was in "[ -~]{0,12}",
            public in "[ -~]{1,12}",
            pretty in any::<bool>(),
        ) {
            let mut object: Map<String, Value> = others
                .into_iter()
                .map(|(name, text)| (format!("x{name}"), json!([{ "model": text }, text])))
                .collect();
            object.insert("model".to_owned(), json!(was));
            let text = match pretty {
                true => serde_json::to_string_pretty(&object).unwrap().replace('\n', " "),
                false => serde_json::to_string(&object).unwrap(),
            };
            let answer = restore(&public).whole(Bytes::from(text.clone()));
            let mut expected = object;
            expected["model"] = json!(public);
            let read: Map<String, Value> = serde_json::from_slice(&answer).unwrap();
            prop_assert_eq!(read, expected);
            let sent = event(&public, &format!("data: {text}\n\n"));
            prop_assert_eq!(sent.as_bytes(), [b"data: ", &*answer, b"\n\n"].concat());
        }

        #[test]
        fn no_bytes_make_it_fail(bytes in prop::collection::vec(
            prop::sample::select(b"{}[]\",:\\n 1\n".to_vec()), 0..30)) {
            let answer = Bytes::from([b"{\"model\":".as_slice(), &bytes].concat());
            let _restored = restore("m").whole(answer);
        }
    }
}
