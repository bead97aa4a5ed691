//! Chats for a server that says what it calls things: the client's own body, with those
//! names changed where they stand.

use bytes::Bytes;

use crate::base::json::{Edit, Members, joined};
use crate::config::{TokenLimit, Wording};

/// `body`, a chat, as a server of this `wording`, which changes chats, takes it.
pub(super) fn adapted(body: Bytes, wording: &Wording) -> Bytes {
    let mut edits = Vec::new();
    if let Some(limit) = wording.token_limit {
        edits.extend(limited(&body, limit));
    }
    if wording.developer_role == Some(false) {
        let messages = Members::of(&body).find(|member| member.name(&body) == "messages");
        let open = messages.map_or(body.len(), |messages| messages.value.start);
        for message in Members::elements(&body, open) {
            let role = Members::at(&body, message.start)
                .find(|member| member.name(&body) == "role" && member.value(&body) == DEVELOPER);
            edits.extend(role.map(|role| (role.value, Bytes::from_static(b"\"system\""))));
        }
    }
    joined(&body, edits)
}

/// How the role is spelt that some servers do not know.
const DEVELOPER: &[u8] = b"\"developer\"";

/// Gives the limit of the answer its declared name, unless it has that too.
fn limited(body: &[u8], limit: TokenLimit) -> Option<Edit> {
    let (wanted, other): (&'static str, _) = match limit {
        TokenLimit::MaxTokens => ("max_tokens", "max_completion_tokens"),
        TokenLimit::MaxCompletionTokens => ("max_completion_tokens", "max_tokens"),
    };
    let named = |name: &str| Members::of(body).find(|member| member.name(body) == name);
    if named(wanted).is_some() {
        return None;
    }
    Some((named(other)?.name, Bytes::from(format!("\"{wanted}\""))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapt(body: &str, wording: &Wording) -> String {
        let adapted = adapted(Bytes::copy_from_slice(body.as_bytes()), wording);
        String::from_utf8(adapted.to_vec()).unwrap()
    }

    const BODY: &str = r#"{ "messages":[ {"content":"\"role\":\"developer\"", "role" : "developer"},{"role":"user","content":"max_tokens"}], "max_completion_tokens" : 9 }"#;

    #[test]
    fn what_is_declared_is_changed_and_nothing_else() {
        assert_eq!(adapt(BODY, &Wording::default()), BODY);
        let wording = Wording {
            token_limit: Some(TokenLimit::MaxTokens),
            developer_role: Some(false),
            ..Wording::default()
        };
        let expected = BODY.replace("\"max_completion_tokens\"", "\"max_tokens\"");
        let expected = expected.replace("\"role\" : \"developer\"", "\"role\" : \"system\"");
        assert_eq!(adapt(BODY, &wording), expected);
        assert_eq!(adapt(&expected, &wording), expected);
        let newer = Wording {
            token_limit: Some(TokenLimit::MaxCompletionTokens),
            developer_role: Some(true),
            ..Wording::default()
        };
        assert_eq!(adapt(BODY, &newer), BODY);
        let both = r#"{"max_tokens":1,"max_completion_tokens":2}"#;
        assert_eq!(adapt(both, &newer), both);
    }

    #[test]
    fn what_is_no_chat_stays() {
        let wording = Wording { developer_role: Some(false), ..Wording::default() };
        for body in ["", "[]", "{}", r#"{"messages":7}"#, r#"{"messages":["x",{"role":1}]}"#] {
            assert_eq!(adapt(body, &wording), body);
        }
    }
}
