//! What `tollgate serve` says once it is ready: where it listens, who answers,
//! what to try first.

use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use crate::base::secret::Secret;
use crate::config::{Config, Durability, Model};

/// What became of a configuration at the start.
#[derive(Debug)]
pub struct Started<'a> {
    /// The configuration in force.
    pub config: &'a Config,
    /// Where clients are served.
    pub proxy: SocketAddr,
    /// Where operators are served.
    pub admin: SocketAddr,
    /// The address of `/metrics`, where it has one of its own.
    pub metrics: Option<SocketAddr>,
    /// Accounts whose key is empty in the file, with the key made for this run.
    pub generated: &'a [(Arc<str>, Secret)],
}

/// The banner, ending with the line `ready`.
///
/// The keys in `generated` are shown, as nobody could know them otherwise; a
/// key or token of the configuration never is. The lines `proxy   http://ADDR`
/// (`https` with TLS) and `admin   http://ADDR` are for programs to read as well.
pub fn banner(started: &Started<'_>) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _infallible = write(&mut text, started);
    text
}

fn write(text: &mut String, started: &Started<'_>) -> fmt::Result {
    let Started { config, proxy, admin, metrics, generated } = started;
    writeln!(text, "tollgate {}", env!("CARGO_PKG_VERSION"))?;
    writeln!(text, "config  {}", config.source.display())?;
    let scheme = if config.listen.tls.is_some() { "https" } else { "http" };
    writeln!(text, "proxy   {scheme}://{proxy}")?;
    writeln!(text, "admin   http://{admin}")?;
    writeln!(text, "metrics http://{}/metrics", metrics.unwrap_or(*admin))?;
    let store = config.store.path.display();
    match config.store.durability {
        Durability::Process => writeln!(
            text,
            "store   {store} (durability process: records survive the end of the process)"
        )?,
        Durability::Power => {
            writeln!(text, "store   {store} (durability power: records survive a power loss)")?;
        }
    }
    if config.admin_token.is_empty() {
        let file = crate::admin::token::path(&config.store.path);
        writeln!(text, "token   of the admin API: in {}", file.display())?;
    } else {
        writeln!(text, "token   of the admin API: from the configuration")?;
    }

    writeln!(text, "\nproviders")?;
    for provider in &config.providers {
        match &provider.off {
            None => writeln!(text, "  {:<14} on", provider.name)?,
            Some(reason) => writeln!(text, "  {:<14} off: {reason}", provider.name)?,
        }
    }
    if !generated.is_empty() {
        writeln!(text, "\nkeys made for this run (shown once, stored nowhere)")?;
        for (account, key) in *generated {
            writeln!(text, "  {account:<14} {}", key.expose())?;
        }
    }
    if !config.not_in_force.is_empty() {
        let keys = config.not_in_force.join(", ");
        writeln!(text, "\naccepted and checked, but not in force yet: {keys}")?;
    }
    if !config.warnings.is_empty() {
        writeln!(text)?;
        for warning in &config.warnings {
            writeln!(text, "warning: {warning}")?;
        }
    }

    let key = generated.first().map_or("$TOLLGATE_KEY", |(_, key)| key.expose());
    writeln!(text, "\ntry it")?;
    writeln!(text, "  curl {scheme}://{}/v1/chat/completions \\", reachable(*proxy))?;
    writeln!(text, "    -H \"Authorization: Bearer {key}\" \\")?;
    writeln!(text, "    -H \"Content-Type: application/json\" \\")?;
    writeln!(text, "    -d {}", example(config))?;
    writeln!(text, "\nready")
}

/// A body for a shell: in single quotes.
fn example(config: &Config) -> String {
    let named = |model: &&Arc<Model>| &*model.name != "*";
    let usable =
        |model: &&Arc<Model>| model.targets.iter().any(|target| target.provider.off.is_none());
    let model = config
        .models
        .iter()
        .filter(named)
        .find(usable)
        .or_else(|| config.models.iter().find(named))
        .map_or("gpt-4o-mini", |model| &*model.name);
    let body = serde_json::json!({
        "model": model,
        "messages": [{ "role": "user", "content": "Hello!" }],
    });
    format!("'{}'", body.to_string().replace('\'', r"'\''"))
}

/// Where a listener can be reached from this machine: an address that means
/// every interface is no destination.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::fixture;
    use crate::config::{Target, Tier};

    fn model(name: &str, off: Option<&str>) -> Arc<Model> {
        let provider = fixture::provider("p", off);
        let targets = vec![Target { provider, model: None, weight: None, thinking: None }];
        Arc::new(Model { name: name.into(), tier: Tier::Simple, targets, cost: None, prefer: None })
    }

    fn started<'a>(config: &'a Config, generated: &'a [(Arc<str>, Secret)]) -> Started<'a> {
        Started {
            config,
            proxy: "127.0.0.1:40001".parse().unwrap(),
            admin: "127.0.0.1:40002".parse().unwrap(),
            metrics: None,
            generated,
        }
    }

    #[test]
    fn programs_find_the_addresses_and_the_last_line() {
        let config = fixture::config("/data".as_ref());
        let text = banner(&started(&config, &[]));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.contains(&"proxy   http://127.0.0.1:40001"), "{text}");
        assert!(lines.contains(&"admin   http://127.0.0.1:40002"), "{text}");
        assert!(lines.contains(&"metrics http://127.0.0.1:40002/metrics"), "{text}");
        assert_eq!(lines.last(), Some(&"ready"));
        assert!(text.ends_with("ready\n"));
    }

    /// Covers J2: a newcomer sees what answers, and a command that works.
    #[test]
    fn a_generated_key_is_shown_and_used_in_the_example() {
        let mut config = fixture::config("/data".as_ref());
        config.models = vec![model("*", None), model("dead", Some("no")), model("it's", None)];
        let generated = [(Arc::from("demo"), Secret::new("tg_live_abc"))];
        let mut started = started(&config, &generated);
        started.proxy = "0.0.0.0:8080".parse().unwrap();
        let text = banner(&started);
        assert!(text.contains("  demo           tg_live_abc\n"), "{text}");
        assert!(text.contains("  curl http://127.0.0.1:8080/v1/chat/completions \\\n"), "{text}");
        assert!(text.contains("Bearer tg_live_abc\""), "{text}");
        assert!(text.contains(r#""model":"it'\''s""#), "{text}");
        assert!(text.contains("  openai         on\n"), "{text}");
        assert!(text.contains("  spare          off: no api_key\n"), "{text}");
    }

    /// Covers I1.
    #[test]
    fn nothing_secret_of_the_configuration_is_shown() {
        let mut config = fixture::config("/data".as_ref());
        config.admin_token = Secret::new("configured-token");
        config.warnings = vec!["limits.global.connections is high".to_owned()];
        config.not_in_force = vec!["batching".to_owned(), "slo".to_owned()];
        let text = banner(&started(&config, &[]));
        assert!(!text.contains("configured-token") && !text.contains("provider-secret"), "{text}");
        assert!(text.contains("Bearer $TOLLGATE_KEY\""), "{text}");
        assert!(text.contains("not in force yet: batching, slo\n"), "{text}");
        assert!(text.contains("warning: limits.global.connections is high\n"), "{text}");
    }

    #[test]
    fn the_file_of_a_token_that_was_made_is_named() {
        let mut config = fixture::config("/data".as_ref());
        config.admin_token = Secret::default();
        let text = banner(&started(&config, &[]));
        assert!(text.contains("in /data/admin.token\n"), "{text}");
    }
}
