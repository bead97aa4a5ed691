//! What a request is made into before it is looked up or sent: its class's rules
//! and template, and end users without their names.

use std::sync::Arc;

use bytes::Bytes;

use crate::app::App;
use crate::base::json::{self, Members};
use crate::base::pseudonym::Subject;
use crate::class::{rewrite, template};
use crate::config::{Class, FieldChange, Rewrite};
use crate::intake::endpoint::Endpoint;
use crate::intake::personal::{Echo, Personal};
use crate::intake::request::Request;
use crate::refusal::{Code, Refusal};

/// The fields of `/v1/messages/count_tokens`. Source: Anthropic API reference, "Count
/// tokens in a Message".
const OF_COUNT: [&str; 11] = [
    "cache_control",
    "context_management",
    "mcp_servers",
    "messages",
    "model",
    "output_config",
    "output_format",
    "system",
    "thinking",
    "tool_choice",
    "tools",
];

/// What a response repeats of its prompt.
const INSTRUCTIONS: &str = "instructions";

/// Makes `request` what its class says: first its fields, then the seller's text.
/// Whether its body is another one now.
///
/// # Errors
/// 400 where the rules cannot be kept with what the client sends.
pub(super) fn by_class(
    class: &Class,
    endpoint: Endpoint,
    request: &mut Request,
) -> Result<bool, Refusal> {
    let mut is_remade = false;
    let counted;
    let rules = match endpoint {
        Endpoint::CountTokens => {
            counted = of_count(&class.rewrite);
            &counted
        }
        _ => &class.rewrite,
    };
    // A response repeats its instructions, and the seller's are no customer's to see.
    let instructions = match endpoint {
        Endpoint::Responses if !rules.fields.is_empty() || class.template.is_some() => {
            Some(value(request.body(), INSTRUCTIONS))
        }
        _ => None,
    };
    if let Some(body) = rewrite::rewritten(rules, request.body())? {
        *request = request.remade(&body)?;
        is_remade = true;
    }
    if let Some(template) = &class.template
        && let Some(body) = template::filled(template, endpoint.path(), request.body())?
    {
        *request = request.remade(&body)?;
        is_remade = true;
    }
    if let Some(own) = instructions
        && own != value(request.body(), INSTRUCTIONS)
    {
        let value = own.unwrap_or(Bytes::from_static(b"null"));
        request.note_echo(Echo { name: INSTRUCTIONS, value });
    }
    Ok(is_remade)
}

/// What of `rules` is about the prompt: a count of its tokens takes no other fields.
fn of_count(rules: &Rewrite) -> Rewrite {
    let counted = |rule: &&(Arc<str>, FieldChange)| OF_COUNT.contains(&&*rule.0);
    Rewrite { fields: rules.fields.iter().filter(counted).cloned().collect() }
}

fn value(body: &Bytes, name: &str) -> Option<Bytes> {
    let member = Members::of(body).find(|member| member.name(body) == name)?;
    Some(body.slice(member.value))
}

/// Puts pseudonyms where `request` names end users of `account`'s.
///
/// # Errors
/// 400 `invalid_value` if such a name is no text.
pub(super) fn conceal(
    app: &App,
    account: &str,
    endpoint: Endpoint,
    request: &mut Request,
) -> Result<(), Refusal> {
    let mut concealed = false;
    for (what, at) in request.personal() {
        let subject = match what {
            Personal::User | Personal::SafetyIdentifier => Subject::EndUser,
            Personal::PromptCacheKey => Subject::PromptCache,
            // Elsewhere `metadata` is labels.
            Personal::MetadataUserId if endpoint.path().starts_with("/v1/messages") => {
                Subject::EndUser
            }
            Personal::MetadataUserId => continue,
        };
        let raw = request.body().get(at.clone()).unwrap_or_default();
        if raw == b"null" {
            continue;
        }
        let Some(name) = json::decoded(raw) else {
            let path = what.path();
            let message = format!("Invalid value for '{path}': it must be a text.");
            return Err(Refusal::new(Code::InvalidValue, message).param(path));
        };
        let pseudonym = app.pseudonyms.of(account, subject, &name);
        // Only a response repeats it.
        if endpoint == Endpoint::Responses {
            request.note_echo(Echo { name: what.path(), value: request.body().slice(at.clone()) });
        }
        request.put(at, pseudonym.quoted());
        concealed = true;
    }
    if concealed && endpoint == Endpoint::Embeddings {
        // Its inputs may go in another's call: what goes along must be whole.
        *request = request.remade(&request.outgoing(None, false).joined())?;
    }
    Ok(())
}
