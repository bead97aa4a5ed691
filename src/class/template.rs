//! The seller's system text in a prompt, put where each API has its own.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::base::json::{self, Edit, Member, Members};
use crate::config::{Position, Template};
use crate::refusal::{Code, Refusal};

/// Stands between the seller's text and the client's where they are one text.
const BETWEEN: &str = "\n\n";

/// `body` of a request to the API path `path` with the seller's text in it; `None`
/// if the path takes no prompt, or the body has none to put it in.
///
/// | path | where the text stands |
/// |---|---|
/// | `/v1/chat/completions` | a message of the role `system` before the others |
/// | `/v1/responses` | `instructions` |
/// | `/v1/messages`, `/v1/messages/count_tokens` | `system` |
/// | `/v1/completions` | before each prompt |
///
/// With [`Position::Replace`] what the client has there goes; of messages those of
/// the roles `system` and `developer`.
///
/// # Errors
/// 400 `invalid_value` if the client's prompt is of a kind that no text can be put
/// before.
pub fn filled(template: &Template, path: &str, body: &Bytes) -> Result<Option<Bytes>, Refusal> {
    let fill = Fill { template, body };
    let edits = match path {
        "/v1/chat/completions" => fill.messages()?,
        "/v1/responses" => fill.text_of("instructions")?,
        "/v1/messages" | "/v1/messages/count_tokens" => fill.text_of("system")?,
        "/v1/completions" => fill.prompts()?,
        _ => return Ok(None),
    };
    Ok(Some(json::joined(body, edits)))
}

struct Fill<'f> {
    template: &'f Template,
    body: &'f Bytes,
}

impl Fill<'_> {
    fn quoted(&self) -> Bytes {
        Bytes::from(Value::from(&*self.template.system).to_string())
    }

    fn replaces(&self) -> bool {
        self.template.position == Position::Replace
    }

    /// The member `name`. Which of two a provider reads nobody knows.
    fn member(&self, name: &str) -> Result<Option<Member>, Refusal> {
        let mut found = Members::of(self.body).filter(|member| member.name(self.body) == name);
        let first = found.next();
        match found.next() {
            None => Ok(first),
            Some(again) => {
                let at = again.name.start;
                let message = format!(
                    "The body could not be read as JSON: the key '{name}' is repeated (offset {at})."
                );
                Err(Refusal::new(Code::InvalidJson, message))
            }
        }
    }

    /// Puts the text into the field `name`: a text, or a list of parts.
    fn text_of(&self, name: &'static str) -> Result<Vec<Edit>, Refusal> {
        let Some(member) = self.member(name)? else {
            let open = json::token(self.body, 0).map_or(0, |(_, open)| open + 1);
            let comma = if Members::of(self.body).next().is_some() { "," } else { "" };
            let text = format!("\"{name}\":{}{comma}", Value::from(&*self.template.system));
            return Ok(vec![(open..open, text.into())]);
        };
        let edit = match member.value(self.body).first() {
            _ if self.replaces() => (member.value, self.quoted()),
            Some(b'n') => (member.value, self.quoted()),
            Some(b'"') => self.before_text(member.value.start),
            Some(b'[') => {
                let part = json!({ "type": "text", "text": &*self.template.system });
                self.before_first(member.value.start, &part)
            }
            _ => return Err(wrong(name)),
        };
        Ok(vec![edit])
    }

    /// Puts a message before the others.
    fn messages(&self) -> Result<Vec<Edit>, Refusal> {
        let Some(member) = self.member("messages")? else { return Ok(Vec::new()) };
        let start = member.value.start;
        if self.body.get(start) != Some(&b'[') {
            return Err(wrong("messages"));
        }
        let message = json!({ "role": "system", "content": &*self.template.system });
        if !self.replaces() {
            return Ok(vec![self.before_first(start, &message)]);
        }
        // The list is made anew of the messages that stay, as they are spelt.
        let mut list = format!("[{message}").into_bytes();
        let mut kept =
            Members::elements(self.body, start).filter(|element| !self.is_system(element));
        for element in &mut kept {
            list.push(b',');
            list.extend_from_slice(self.body.get(element).unwrap_or_default());
        }
        list.push(b']');
        Ok(vec![(member.value, list.into())])
    }

    /// Whether a message has the role `system` or `developer`.
    fn is_system(&self, element: &std::ops::Range<usize>) -> bool {
        let role = |member: &Member| member.name(self.body) == "role";
        let mut roles = Members::at(self.body, element.start).filter(role);
        roles.any(|member| {
            let role =
                serde_json::from_slice::<String>(member.value(self.body)).unwrap_or_default();
            role == "system" || role == "developer"
        })
    }

    /// Puts the text before each prompt; there is nothing to replace.
    fn prompts(&self) -> Result<Vec<Edit>, Refusal> {
        let Some(member) = self.member("prompt")? else { return Ok(Vec::new()) };
        let start = member.value.start;
        match self.body.get(start) {
            Some(b'"') => Ok(vec![self.before_text(start)]),
            Some(b'[') => Members::elements(self.body, start)
                .map(|element| match self.body.get(element.start) {
                    Some(b'"') => Ok(self.before_text(element.start)),
                    _ => Err(wrong("prompt")),
                })
                .collect(),
            _ => Err(wrong("prompt")),
        }
    }

    /// The edit that puts the text into the string whose quote is at `quote`.
    fn before_text(&self, quote: usize) -> Edit {
        let quoted = Value::from(format!("{}{BETWEEN}", self.template.system)).to_string();
        let inside = quoted.trim_start_matches('"').strip_suffix('"').unwrap_or_default();
        (quote + 1..quote + 1, Bytes::copy_from_slice(inside.as_bytes()))
    }

    /// The edit that puts `element` first into the list whose bracket is at `open`.
    fn before_first(&self, open: usize, element: &Value) -> Edit {
        let empty = json::token(self.body, open + 1).is_some_and(|(byte, _)| byte == b']');
        let comma = if empty { "" } else { "," };
        (open + 1..open + 1, Bytes::from(format!("{element}{comma}")))
    }
}

fn wrong(param: &'static str) -> Refusal {
    let message = format!("Invalid value for '{param}': it must be text here.");
    Refusal::new(Code::InvalidValue, message).param(param)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled_with(template: &str, position: Position, path: &str, body: &str) -> Option<Value> {
        let template = Template { system: template.into(), position };
        let body = Bytes::copy_from_slice(body.as_bytes());
        let sent = filled(&template, path, &body).unwrap()?;
        Some(serde_json::from_slice(&sent).unwrap())
    }

    /// Covers J5.
    #[test]
    fn the_text_stands_where_each_api_has_its_own() {
        let own = "Be \"brief\".\n";
        let joined = format!("{own}\n\nhi");
        for (path, body, expected) in [
            (
                "/v1/chat/completions",
                r#"{"messages":[{"role":"user","content":"hi"}]}"#,
                json!({"messages": [{"role": "system", "content": own}, {"role": "user", "content": "hi"}]}),
            ),
            (
                "/v1/chat/completions",
                r#"{"messages": [ ]}"#,
                json!({"messages": [{"role": "system", "content": own}]}),
            ),
            ("/v1/responses", r#"{"input":"x"}"#, json!({"instructions": own, "input": "x"})),
            ("/v1/responses", "{}", json!({"instructions": own})),
            ("/v1/responses", r#"{"instructions":null}"#, json!({"instructions": own})),
            ("/v1/responses", r#"{"instructions":"hi"}"#, json!({"instructions": joined})),
            ("/v1/messages", r#"{"system":"hi"}"#, json!({"system": joined})),
            (
                "/v1/messages",
                r#"{"system":[{"type":"text","text":"hi"}]}"#,
                json!({"system": [{"type": "text", "text": own}, {"type": "text", "text": "hi"}]}),
            ),
            ("/v1/completions", r#"{"prompt":"hi"}"#, json!({"prompt": joined})),
            ("/v1/completions", r#"{"prompt":["hi", "hi"]}"#, json!({"prompt": [joined, joined]})),
        ] {
            let sent = filled_with(own, Position::Before, path, body);
            assert_eq!(sent, Some(expected), "{path} {body}");
        }
        assert_eq!(filled_with(own, Position::Before, "/v1/embeddings", r#"{"input":"x"}"#), None);
    }

    #[test]
    fn a_text_in_the_place_of_the_clients_own() {
        let sent = filled_with(
            "S",
            Position::Replace,
            "/v1/chat/completions",
            r#"{"messages":[{"role":"system","content":"a"},{"role":"user","content":"h\u0069"},{"content":[],"r\u006fle":"developer"}],"n":1}"#,
        );
        let expected = json!({"messages": [
            {"role": "system", "content": "S"}, {"role": "user", "content": "hi"},
        ], "n": 1});
        assert_eq!(sent, Some(expected));
        for (path, body) in
            [("/v1/responses", r#"{"instructions":"a"}"#), ("/v1/messages", r#"{"system":[1]}"#)]
        {
            let sent = filled_with("S", Position::Replace, path, body).unwrap();
            assert_eq!(sent.as_object().unwrap().values().next(), Some(&json!("S")));
        }
    }

    #[test]
    fn a_prompt_that_no_text_goes_before_is_refused() {
        let template = Template { system: "S".into(), position: Position::Before };
        for (path, body) in [
            ("/v1/completions", r#"{"prompt":[1,2]}"#),
            ("/v1/completions", r#"{"prompt":["a",[1]]}"#),
            ("/v1/chat/completions", r#"{"messages":"a"}"#),
            ("/v1/responses", r#"{"instructions":1}"#),
        ] {
            let refused = filled(&template, path, &Bytes::from_static(body.as_bytes()));
            assert_eq!(refused.unwrap_err().code, Code::InvalidValue, "{body}");
        }
        let twice = Bytes::from_static(br#"{"messages":[],"mess\u0061ges":[]}"#);
        let refused = filled(&template, "/v1/chat/completions", &twice);
        assert_eq!(refused.unwrap_err().code, Code::InvalidJson);
    }
}
