//! Providers: which are on, and why others are not.

use std::sync::Arc;
use std::time::Duration;

use super::common::{Named, entries, name, named, time, whole};
use super::manner;
use super::routing::probe;
use crate::base::secret::Secret;
use crate::config::field::Field;
use crate::config::raw::{RawDialect, RawPool, RawProvider};
use crate::config::report::Report;
use crate::config::tree::Mark;
use crate::config::types::{BaseUrl, Dialect, Pool, Provider};

/// Longest wait of a sandbox.
const LONGEST_LATENCY: Duration = Duration::from_secs(600);

/// Checks the list of providers.
pub(super) fn check(raw: &Field<Vec<Field<RawProvider>>>, report: &mut Report) -> Named<Provider> {
    let (entries, complete) = entries(raw, "a provider", report);
    let mut checked: Vec<((Mark, &str), Provider)> = Vec::new();
    let mut providers = Named::new(complete);
    for (mark, entry) in entries {
        let provider_name = name(&entry.name, mark, "name", report);
        let provider = provider(entry, provider_name.map_or("", |(_, name)| name), report);
        if provider.dialect == Dialect::Sandbox
            && checked.iter().any(|(_, other)| other.dialect == Dialect::Sandbox)
        {
            report.error(entry.dialect.mark().unwrap_or(mark), "one sandbox is enough");
        }
        match provider_name {
            Some(name) => checked.push((name, provider)),
            None => providers.skip(),
        }
    }
    let answers =
        |provider: &Provider| provider.dialect != Dialect::Sandbox && provider.off.is_none();
    let another = checked.iter().any(|(_, provider)| answers(provider));
    for (name, mut provider) in checked {
        if provider.dialect == Dialect::Sandbox && another {
            provider.off = Some("another provider is on".to_owned());
        }
        providers.add("a provider", name, provider, report);
    }
    if providers.values().all(|provider| provider.off.is_some()) {
        report.warn("No provider is on, so no request can be answered.");
    }
    providers
}

fn provider(entry: &RawProvider, name: &str, report: &mut Report) -> Provider {
    let dialect = match entry.dialect.or(RawDialect::Openai) {
        RawDialect::Openai => Dialect::OpenAi,
        RawDialect::Anthropic => Dialect::Anthropic,
        RawDialect::Gemini => Dialect::Gemini,
        RawDialect::Sandbox => Dialect::Sandbox,
    };
    let sandbox = dialect == Dialect::Sandbox;
    if sandbox {
        for (key, mark) in [
            ("base_url", entry.base_url.mark()),
            ("api_key", entry.api_key.mark()),
            ("api_keys", entry.api_keys.mark()),
            ("probe", entry.probe.mark()),
            ("pool", entry.pool.mark()),
        ] {
            if let Some(mark) = mark {
                report.error(mark, format!("a sandbox has no `{key}`"));
            }
        }
    } else if let Some(mark) = entry.latency.mark() {
        report.error(mark, "only a sandbox has a `latency`");
    }
    let mut keys = api_keys(entry, report).into_iter();
    let api_key = keys.next().unwrap_or_default();
    let base_url = if sandbox { None } else { base_url(&entry.base_url, dialect, report) };
    let keyless = entry.api_key == Field::Absent
        && entry.api_keys == Field::Absent
        && entry.base_url.value().is_some();
    let off = match dialect {
        Dialect::Sandbox => None,
        _ if api_key.is_empty() && !keyless => Some("no api_key"),
        Dialect::OpenAi | Dialect::Anthropic | Dialect::Gemini => None,
    };
    if let Some(base_url) = &base_url
        && off.is_none()
        && !api_key.is_empty()
        && !base_url.tls
        && !is_local(&base_url.host)
    {
        report
            .warn(format!("The key of provider {name} travels unencrypted: its base_url is http."));
    }
    Provider {
        name: Arc::from(name),
        dialect,
        base_url,
        api_key,
        further_keys: keys.collect(),
        off: off.map(str::to_owned),
        n_max: whole(&entry.n_max, 1..=u32::MAX, report),
        stream_usage: entry.stream_usage.or(true),
        latency: time(&entry.latency, Duration::ZERO..=LONGEST_LATENCY, report),
        manner: manner::check(entry, dialect, report),
        pool: match entry.pool.or(RawPool::Shared) {
            RawPool::Shared => Pool::Shared,
            RawPool::Dedicated => Pool::Dedicated,
        },
        probe: probe(&entry.probe, report),
    }
}

/// The seller's keys, those that are empty left out. A key that is there twice
/// would be counted as two.
fn api_keys(entry: &RawProvider, report: &mut Report) -> Vec<Secret> {
    let mut keys: Vec<Secret> = Vec::new();
    let more = entry.api_keys.value().into_iter().flatten();
    for field in std::iter::once(&entry.api_key).chain(more) {
        let key = api_key(field, report);
        if key.is_empty() {
            continue;
        }
        match field.mark() {
            Some(mark) if keys.contains(&key) => {
                report.error(mark, "the same key stands here twice")
            }
            _ => keys.push(key),
        }
    }
    keys
}

/// The seller's key: it goes into a header, so it is visible ASCII.
fn api_key(field: &Field<String>, report: &mut Report) -> Secret {
    let Some((mark, key)) = field.placed() else { return Secret::default() };
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        report.error(mark, "an api_key is visible ASCII characters, without blanks or line breaks");
        return Secret::default();
    }
    Secret::new(key.as_str())
}

fn base_url(field: &Field<String>, dialect: Dialect, report: &mut Report) -> Option<BaseUrl> {
    let public = match dialect {
        Dialect::OpenAi => "https://api.openai.com/v1",
        Dialect::Anthropic => "https://api.anthropic.com/v1",
        Dialect::Gemini => "https://generativelanguage.googleapis.com/v1beta",
        Dialect::Sandbox => return None,
    };
    match field {
        Field::Bad(_) => None,
        Field::Absent | Field::Null(_) => parse_url(public).ok(),
        Field::Set(mark, url) => parse_url(url)
            .map_err(|reason| {
                let example = named(Mark::default(), "https://api.example.com/v1");
                report.error(*mark, format!("expected a URL such as {example}: {reason}"));
            })
            .ok(),
    }
}

/// The parts of a base URL. The error does not show it: it may hold a password.
pub(in crate::config) fn parse_url(text: &str) -> Result<BaseUrl, &'static str> {
    let url: http::Uri = text.parse().map_err(|_| "it cannot be parsed")?;
    let tls = match url.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err("it begins with https:// or http://"),
    };
    let authority = url.authority().ok_or("it has a host")?;
    if authority.as_str().contains('@') {
        return Err("it has no user and password");
    }
    if url.query().is_some() || text.contains('#') {
        return Err("it has no query and no fragment");
    }
    let host = authority.host();
    let given = authority.as_str().strip_prefix(host).unwrap_or_default();
    let port = match given.strip_prefix(':') {
        None => {
            if tls {
                443
            } else {
                80
            }
        }
        Some(port) => port.parse().map_err(|_| "its port is from 1 to 65535")?,
    };
    if port == 0 {
        return Err("its port is from 1 to 65535");
    }
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err("it has a host");
    }
    let path = url.path().trim_end_matches('/');
    Ok(BaseUrl { tls, host: host.into(), port, path: path.into() })
}

pub(super) fn is_local(host: &str) -> bool {
    let loopback = |address: std::net::IpAddr| address.is_loopback();
    host == "localhost" || host.parse().is_ok_and(loopback)
}
