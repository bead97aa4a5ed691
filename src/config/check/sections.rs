//! The sections that are no lists and are in force.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::common::{capacity, count, entries, required, time, whole};
use crate::base::network::Networks;
use crate::config::field::Field;
use crate::config::raw::{
    Network, RawDurability, RawGlobalLimits, RawIpLimits, RawLimits, RawListen, RawLog,
    RawLogFormat, RawRouting, RawStore, RawTls, RawUserLimits,
};
use crate::config::read::suggestion;
use crate::config::report::Report;
use crate::config::tree::Mark;
use crate::config::types::{
    Durability, GlobalLimits, IpLimits, Limits, Listen, Log, LogFormat, Routing, Store, TlsFiles,
    UserLimits,
};

/// Largest body limit.
const LARGEST_BODY: u64 = 1024 * 1024 * 1024;
/// What a time-out may be.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(86_400);
/// What a client may be waited for: no longer than its connection may idle
/// without cost to it.
const PATIENCE: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(300);
/// Most retries.
const MOST_RETRIES: u32 = 10;
/// The words of `log.level`.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Checks `listen`.
pub(super) fn listen(raw: &Field<RawListen>, report: &mut Report) -> Listen {
    let none = RawListen::default();
    let raw = raw.value().unwrap_or(&none);
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let addresses = [("proxy", &raw.proxy), ("admin", &raw.admin), ("metrics", &raw.metrics)];
    let mut taken: Vec<(&str, SocketAddr)> = Vec::new();
    for (key, field) in addresses {
        let Some((mark, address)) = field.placed() else { continue };
        let same = taken.iter().find(|(_, other)| *other == address.0 && other.port() != 0);
        if let Some((other, _)) = same {
            let mark = match mark.is_default() {
                // Not where the default stands, but where the file collides with it.
                true => addresses.iter().find(|(name, _)| name == other).and_then(|it| it.1.mark()),
                false => None,
            }
            .unwrap_or(mark);
            report.error(mark, format!("listen.{other} and listen.{key} are the same address"));
        }
        taken.push((key, address.0));
    }
    let size = |field: &Field<_>, low: u64, high: u64, report: &mut Report| {
        let Some((mark, size)): Option<(_, &crate::config::raw::Size)> = field.placed() else {
            return low;
        };
        if !(low..=high).contains(&size.0) {
            report.error(mark, format!("must be from {low}B to {}MB", high / (1024 * 1024)));
        }
        size.0
    };
    Listen {
        proxy: raw.proxy.value().map_or(nowhere, |address| address.0),
        admin: raw.admin.value().map_or(nowhere, |address| address.0),
        metrics: raw.metrics.value().map(|address| address.0),
        tls: raw.tls.placed().and_then(|(mark, raw)| tls(mark, raw, report)),
        trusted_proxies: networks(&raw.trusted_proxies, report),
        body_limit: usize::try_from(size(&raw.body_limit, 1024, LARGEST_BODY, report))
            .unwrap_or(usize::MAX),
        header_timeout: time(&raw.header_timeout, PATIENCE, report),
        min_body_rate: size(&raw.min_body_rate, 0, LARGEST_BODY, report),
        body_grace: time(&raw.body_grace, PATIENCE, report),
        stall_timeout: time(&raw.stall_timeout, PATIENCE, report),
    }
}

/// Checks `listen.tls`.
fn tls(mark: Mark, raw: &RawTls, report: &mut Report) -> Option<TlsFiles> {
    let mut path = |field, key| {
        let (mark, path) = required::<String>(field, mark, key, report)?;
        if path.is_empty() {
            report.error(mark, "the file has a path");
        }
        Some((PathBuf::from(path), (mark.line, mark.column)))
    };
    let (cert, key) = (path(&raw.cert, "cert"), path(&raw.key, "key"));
    let ((cert, cert_at), (key, key_at)) = cert.zip(key)?;
    Some(TlsFiles { cert, key, cert_at, key_at })
}

/// A list of networks, without the entries that are none.
fn networks(list: &Field<Vec<Field<Network>>>, report: &mut Report) -> Networks {
    let (good, _) = entries(list, "an address or a network such as 10.0.0.0/8", report);
    good.into_iter().map(|(_, network)| network.0).collect()
}

/// Checks `store`.
pub(super) fn store(raw: &Field<RawStore>, report: &mut Report) -> Store {
    let none = RawStore::default();
    let raw = raw.value().unwrap_or(&none);
    if let Some((mark, "")) = raw.path.placed().map(|(mark, path)| (mark, path.as_str())) {
        report.error(mark, "the data directory has a path");
    }
    Store {
        path: raw.path.value().map(PathBuf::from).unwrap_or_default(),
        durability: match raw.durability.or(RawDurability::Process) {
            RawDurability::Process => Durability::Process,
            RawDurability::Power => Durability::Power,
        },
    }
}

/// Checks `limits`.
pub(super) fn limits(raw: &Field<RawLimits>, report: &mut Report) -> Limits {
    let none = RawLimits::default();
    let raw = raw.value().unwrap_or(&none);
    let exempt = raw.ip.value().map(|ip| networks(&ip.exempt, report)).unwrap_or_default();
    let mut least = |field, least| count(field, least, report).unwrap_or(least);
    let none = RawUserLimits::default();
    let user = raw.user.value().unwrap_or(&none);
    let user = UserLimits {
        per_minute: least(&user.per_minute, 1),
        per_hour: least(&user.per_hour, 1),
        per_day: least(&user.per_day, 1),
        concurrent: least(&user.concurrent, 1),
    };
    let none = RawIpLimits::default();
    let ip = raw.ip.value().unwrap_or(&none);
    let ip = IpLimits {
        per_minute: least(&ip.per_minute, 1),
        per_hour: least(&ip.per_hour, 1),
        concurrent: least(&ip.concurrent, 1),
        connections: least(&ip.connections, 1),
        failed_keys_per_minute: least(&ip.failed_keys_per_minute, 1),
        exempt,
    };
    let none = RawGlobalLimits::default();
    let global = raw.global.value().unwrap_or(&none);
    let mut most = |field, least| capacity(field, least, report).unwrap_or(least);
    let global = GlobalLimits {
        connections: most(&global.connections, 1),
        requests: most(&global.requests, 1),
        concurrent: most(&global.concurrent, 1),
        queue: most(&global.queue, 0),
        reserved: reserved(global, report),
        queue_timeout: time(&global.queue_timeout, TIMEOUT, report),
    };
    Limits { user, ip, global }
}

/// How many of `concurrent` are reserved: a tenth where the file does not say.
fn reserved(global: &RawGlobalLimits, report: &mut Report) -> u32 {
    let of = global.concurrent.value().and_then(|count| count.0);
    let Some((mark, given)) = global.reserved.placed() else {
        return of.map_or(0, |of| u32::try_from(of / 10).unwrap_or(0));
    };
    match (given.0, of) {
        (None, _) => report.error(mark, "expected a whole number: some slots are for others"),
        (Some(given), Some(of)) if given > 0 && given >= of && of > 0 => {
            report.error(mark, format!("must be below limits.global.concurrent, which is {of}"));
        }
        _ => {}
    }
    count(&global.reserved, 0, report).unwrap_or(0)
}

/// Checks `routing`, but for `auto`.
pub(super) fn routing(raw: &Field<RawRouting>, report: &mut Report) -> Routing {
    let none = RawRouting::default();
    let raw = raw.value().unwrap_or(&none);
    Routing {
        retries: whole(&raw.retries, 0..=MOST_RETRIES, report),
        connect_timeout: time(&raw.connect_timeout, TIMEOUT, report),
        timeout: time(&raw.timeout, TIMEOUT, report),
        first_byte_timeout: time(&raw.first_byte_timeout, TIMEOUT, report),
        chunk_timeout: time(&raw.chunk_timeout, TIMEOUT, report),
        public_model_name: raw.public_model_name.or(true),
    }
}

/// Checks `log`.
pub(super) fn log(raw: &Field<RawLog>, report: &mut Report) -> Log {
    let none = RawLog::default();
    let raw = raw.value().unwrap_or(&none);
    let format = match raw.format.or(RawLogFormat::Pretty) {
        RawLogFormat::Pretty => LogFormat::Pretty,
        RawLogFormat::Json => LogFormat::Json,
    };
    let level = raw.level.value().map_or("info", String::as_str);
    if let Some(mark) = raw.level.mark()
        && let Some(word) = bad_directive(level)
    {
        let hint = if mark.outside { String::new() } else { suggestion(word, LEVELS) };
        report.error(
            mark,
            format!("expected {}, or target=level with commas between{hint}", LEVELS.join(", ")),
        );
    }
    Log { format, level: level.to_owned() }
}

/// The first part of a filter that is none. The filter itself would take a
/// misspelt level for the name of a module.
fn bad_directive(level: &str) -> Option<&str> {
    level.split(',').map(str::trim).find(|part| {
        let known = LEVELS.iter().any(|level| level.eq_ignore_ascii_case(part));
        let directive =
            part.contains('=') && part.parse::<tracing_subscriber::filter::Directive>().is_ok();
        !known && !directive
    })
}
