//! Who is told of events.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use url::Url;

use super::common::{entries, named, required};
use super::providers::is_local;
use crate::base::secret::Secret;
use crate::config::field::Field;
use crate::config::raw::{RawInvoices, RawWebhook};
use crate::config::read::{listed, suggestion};
use crate::config::report::Report;
use crate::config::tree::Mark;
use crate::config::types::{EVENTS, Webhook};

/// Shortest and longest secret, in characters, and shortest key within one, in
/// bytes.
const SHORTEST: usize = 16;
const LONGEST: usize = 1024;
/// What a secret begins with whose rest is a key in base64.
const ENCODED: &str = "whsec_";

/// Checks `billing.webhooks`.
pub(super) fn check(raw: &Field<RawInvoices>, report: &mut Report) -> Vec<Arc<Webhook>> {
    let Some(billing) = raw.value() else { return Vec::new() };
    let (entries, _) = entries(&billing.webhooks, "a url and its secret", report);
    let mut checked: Vec<Arc<Webhook>> = Vec::with_capacity(entries.len());
    for (mark, entry) in entries {
        let url = address(mark, entry, report);
        let secret = secret(mark, entry, report);
        let events = events(&entry.events, report);
        let (Some((mark, url)), Some(secret)) = (url, secret) else { continue };
        let shown = shown(&url);
        let webhook = Webhook { url: Secret::new(url.as_str()), shown, secret, events };
        if checked.iter().any(|other| other.url == webhook.url) {
            report.error(mark, "this url is already given");
        }
        let local = url.host_str().is_some_and(is_local);
        if url.scheme() == "http" && !local {
            let shown = if mark.outside { "a webhook" } else { &webhook.shown };
            report.warn(format!("Events for {shown} travel unencrypted: its url is http."));
        }
        checked.push(Arc::new(webhook));
    }
    checked
}

fn address(mark: Mark, entry: &RawWebhook, report: &mut Report) -> Option<(Mark, Url)> {
    let (mark, text) = required(&entry.url, mark, "url", report)?;
    let parsed = Url::parse(text).map_err(|_| "it cannot be parsed").and_then(|url| {
        if !matches!(url.scheme(), "http" | "https") {
            return Err("it begins with https:// or http://");
        }
        if url.fragment().is_some() {
            return Err("it has no fragment");
        }
        if url.port() == Some(0) {
            return Err("its port is from 1 to 65535");
        }
        Ok(url)
    });
    match parsed {
        Ok(url) => Some((mark, url)),
        Err(reason) => {
            let example = named(Mark::default(), "https://example.com/hook");
            report.error(mark, format!("expected a URL such as {example}: {reason}"));
            None
        }
    }
}

/// An address without what may be secret: user, password, path and query. A mark
/// made of them tells two of one host apart.
fn shown(url: &Url) -> Arc<str> {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let rest = match url.path() {
        "/" if url.query().is_none() => String::new(),
        _ => format!("/…{:.6}", blake3::hash(url.as_str().as_bytes()).to_hex()),
    };
    format!("{}://{host}{port}{rest}", url.scheme()).into()
}

fn secret(mark: Mark, entry: &RawWebhook, report: &mut Report) -> Option<Secret> {
    let (mark, text) = required(&entry.secret, mark, "secret", report)?;
    if !(SHORTEST..=LONGEST).contains(&text.chars().count()) {
        report.error(mark, "a secret has 16 to 1024 characters");
        return None;
    }
    if let Some(encoded) = text.strip_prefix(ENCODED)
        && !STANDARD.decode(encoded).is_ok_and(|key| key.len() >= SHORTEST)
    {
        report.error(
            mark,
            "a secret that begins with whsec_ goes on with 16 bytes or more in base64",
        );
        return None;
    }
    Some(Secret::new(text.as_str()))
}

fn events(list: &Field<Vec<Field<String>>>, report: &mut Report) -> Option<Vec<&'static str>> {
    let (mark, given) = list.placed()?;
    if given.is_empty() {
        report.error(mark, "no event at all; leave it out for all of them");
    }
    let (names, _) = entries(list, "the name of an event", report);
    let mut events = Vec::with_capacity(names.len());
    for (mark, name) in names {
        match EVENTS.iter().find(|known| *known == name) {
            Some(known) => events.push(*known),
            None => {
                let hint = if mark.outside { String::new() } else { suggestion(name, EVENTS) };
                report.error(mark, format!("no such event{hint}; known: {}", listed(&EVENTS)));
            }
        }
    }
    Some(events)
}
