//! The body, read once for all stages that want to know something of it.

use std::sync::Arc;

use bytes::Bytes;

use crate::app::{App, Snapshot};
use crate::auth::keyring::Identity;
use crate::cache::key::{BodyHash, Fields, Form};
use crate::config::Ownership;
use crate::intake::endpoint::Endpoint;
use crate::intake::request::Request;
use crate::opaque::Tenant;
use crate::opaque::mention::Mentions;
use crate::refusal::Refusal;

/// What `body` says, and its hash where that will be asked for and it has one. Only
/// things that the caller may name are named in it.
///
/// # Errors
/// As [`Request::parse`]; 404 `not_found` and 503 `storage_unavailable` for what it
/// names.
pub(super) fn read(
    app: &App,
    snapshot: &Snapshot,
    caller: &Identity,
    endpoint: Endpoint,
    body: &Bytes,
) -> Result<(Request, Option<BodyHash>), Refusal> {
    let config = &snapshot.config;
    let is_hashed = config.log_text_hash || config.coalesce;
    let form = is_hashed.then(|| Form::new(body.len(), counting(endpoint)));
    let is_checked = endpoint.names_things() && config.opaque.ownership == Ownership::Enforce;
    let mentions = is_checked.then(Mentions::default);
    let (request, (form, mentions)) = Request::read(body, (form, mentions))?;
    if let Some(mentions) = mentions {
        let tenant = Tenant::new(&*app.owners, &caller.owner);
        match mentions.few() {
            Some(mentions) => tenant.check_mentions(mentions)?,
            None => tenant.check_body(body)?,
        }
        if let Some(id) = &request.previous_response {
            tenant.check_own(id)?;
        }
    }
    Ok((request, form.and_then(Form::finish)))
}

/// The fields of a body that count for `endpoint`: a response repeats those that
/// change nothing else, and has only one form.
pub(super) fn counting(endpoint: Endpoint) -> Fields {
    match endpoint {
        Endpoint::Responses => Fields::All,
        _ => Fields::WithEffect,
    }
}

/// What records say of the text that `body` is, `hash` being its hash where that is
/// known.
pub(super) fn text_hash(
    app: &App,
    endpoint: Endpoint,
    body: &Bytes,
    hash: Option<BodyHash>,
) -> Arc<str> {
    match hash.or_else(|| BodyHash::of(body, counting(endpoint))) {
        Some(hash) => app.text_hash(hash.as_bytes()),
        None => app.text_hash(body),
    }
}
