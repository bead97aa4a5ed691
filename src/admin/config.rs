//! `GET /admin/config`: the configuration in force, in the shape of the file,
//! with every secret as `***`.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::error::ApiError;
use super::{AdminState, rules};
use crate::base::clock::Timestamp;
use crate::base::money::Money;
use crate::base::network::Networks;
use crate::base::secret::Secret;
use crate::config::{
    BaseUrl, Basis, Billing, CacheScope, CacheWhen, Class, Config, Durability, Limits, LogFormat,
    Model, Plan, Pool, Pricing, Provider, Rates, Samples, Tax, TokenPrices, VolumeTier, Webhook,
};

pub(super) async fn show(State(state): State<AdminState>) -> Json<Value> {
    Json(view(&state.control.config()))
}

/// `POST /admin/config/reload`: 200, or 422 with every error of the file.
pub(super) async fn reload(State(state): State<AdminState>) -> Result<Response, ApiError> {
    match super::blocking(move || state.control.reload()).await? {
        Ok(()) => Ok(Json(json!({ "status": "reloaded" })).into_response()),
        Err(errors) => {
            let body = Json(json!({ "errors": errors }));
            Ok((StatusCode::UNPROCESSABLE_ENTITY, body).into_response())
        }
    }
}

/// A base address as it is written.
pub(super) fn base_url(base: &BaseUrl) -> String {
    let scheme = if base.tls { "https" } else { "http" };
    let host = &base.host;
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_string() };
    let usual = if base.tls { 443 } else { 80 };
    let port = if base.port == usual { String::new() } else { format!(":{}", base.port) };
    format!("{scheme}://{host}{port}{}", base.path)
}

fn view(config: &Config) -> Value {
    let listen = &config.listen;
    let routing = &config.routing;
    json!({
        "source": config.source,
        "listen": {
            "proxy": listen.proxy,
            "admin": listen.admin,
            "metrics": listen.metrics,
            "tls": listen.tls.as_ref().map(|tls| json!({ "cert": tls.cert, "key": tls.key })),
            "trusted_proxies": networks(&listen.trusted_proxies),
            "body_limit": listen.body_limit,
            "header_timeout": span(listen.header_timeout),
            "min_body_rate": listen.min_body_rate,
            "body_grace": span(listen.body_grace),
            "stall_timeout": span(listen.stall_timeout),
        },
        // Where the file gives no token, one is in force all the same.
        "admin": { "token": config.admin_token },
        "store": {
            "path": config.store.path,
            "durability": durability(config.store.durability),
        },
        "providers": config.providers.iter().map(|one| provider(one)).collect::<Vec<_>>(),
        "models": config.models.iter().map(|one| model(one)).collect::<Vec<_>>(),
        "classes": config.classes.iter().map(|one| class(one)).collect::<Vec<_>>(),
        "plans": config.plans.iter().map(|one| plan(one)).collect::<Vec<_>>(),
        "limits": limits(&config.limits),
        "routing": {
            "prefer": <&'static str>::from(routing.prefer),
            "retries": routing.retries,
            "retry_budget": routing.retry_budget.to_string(),
            "breaker": {
                "calls": routing.breaker.calls,
                "minimum": routing.breaker.minimum,
                "failures": routing.breaker.failures.to_string(),
                "open": span(routing.breaker.open),
                "forget": span(routing.breaker.forget),
            },
            "connect_timeout": span(routing.connect_timeout),
            "timeout": span(routing.timeout),
            "first_byte_timeout": span(routing.first_byte_timeout),
            "chunk_timeout": span(routing.chunk_timeout),
            "on_unsupported": if routing.drop_unsupported { "drop" } else { "refuse" },
            "public_model_name": routing.public_model_name,
        },
        "custom_models": {
            "allow": config.custom_models.allow.iter().map(base_url).collect::<Vec<_>>(),
        },
        "keys": config.keys.iter().map(|key| json!({
            "account": key.account,
            "plan": key.plan.name,
            // Empty in the file is generated: there is a key either way.
            "key": key.key,
            "budget": key.budget,
        })).collect::<Vec<_>>(),
        "billing": {
            "timezone": config.timezone.iana_name(),
            "webhooks": config.webhooks.iter().map(|one| webhook(one)).collect::<Vec<_>>(),
            "currency": config.invoicing.currency.code(),
            "tax": config.invoicing.tax.as_ref().map(tax),
            "seller": config.invoicing.seller,
        },
        "privacy": {
            "master_key": config.master_keys.current.as_ref().map(|_| Secret::default()),
            "retired_keys": vec![Secret::default(); config.master_keys.retired.len()],
            "hash_end_users": config.hash_end_users,
            "log_text_hash": config.log_text_hash,
        },
        "shutdown": { "grace": span(config.shutdown_grace) },
        "log": {
            "format": match config.log.format {
                LogFormat::Pretty => "pretty",
                LogFormat::Json => "json",
            },
            "level": config.log.level,
        },
        "not_in_force": config.not_in_force,
        "warnings": config.warnings,
    })
}

fn tax(tax: &Tax) -> Value {
    // A rate has six decimals, an amount twelve.
    let rate = Money::from_picos(i128::from(tax.rate) * 1_000_000);
    json!({ "rate": rate, "name": tax.name, "inclusive": tax.inclusive })
}

/// The name of a durability in the configuration.
const fn durability(durability: Durability) -> &'static str {
    match durability {
        Durability::Process => "process",
        Durability::Power => "power",
    }
}

fn provider(provider: &Provider) -> Value {
    let wording = &provider.manner.wording;
    json!({
        "name": provider.name,
        "dialect": provider.dialect.as_str(),
        "base_url": provider.base_url.as_ref().map(base_url),
        "api_key": where_given(&provider.api_key),
        "api_keys": provider.further_keys,
        "probe": provider.probe.as_ref().map(|probe| json!({
            "interval": span(probe.interval),
            "path": probe.path,
            "timeout": span(probe.timeout),
        })),
        "off": provider.off,
        "n_max": provider.n_max,
        "stream_usage": provider.stream_usage,
        "latency": span(provider.latency),
        "pool": match provider.pool {
            Pool::Shared => "shared",
            Pool::Dedicated => "dedicated",
        },
        "auth": provider.manner.auth.as_str(),
        "query": provider.manner.query,
        "model_path": provider.manner.model_path,
        "responses": !provider.manner.lacks_responses,
        "thinking": wording.thinking.map(<&'static str>::from),
        "token_limit": wording.token_limit.map(<&'static str>::from),
        "developer_role": wording.developer_role,
        "thinking_field": <&'static str>::from(wording.thinking_field),
        "image_limit": wording.image_limit,
    })
}

/// A secret that is not there is shown as absent, or nobody could see why a
/// provider is off.
fn where_given(secret: &Secret) -> Option<&Secret> {
    if secret.is_empty() { None } else { Some(secret) }
}

fn model(model: &Model) -> Value {
    json!({
        "name": model.name,
        "tier": model.tier.as_str(),
        "targets": model.targets.iter().map(|target| json!({
            "provider": target.provider.name,
            "model": target.model,
            "weight": target.weight,
            "thinking": target.thinking.map(<&'static str>::from),
        })).collect::<Vec<_>>(),
        "cost": model.cost.as_ref().map(cost),
        "prefer": model.prefer.map(<&'static str>::from),
    })
}

fn class(class: &Class) -> Value {
    json!({
        "name": class.name,
        "prefix": class.prefix,
        "prices": class.tariff.steps().iter().map(prices).collect::<Vec<_>>(),
        "max_input_tokens": class.max_input_tokens,
        "max_output_tokens": class.max_output_tokens,
        "loss_guard": <&'static str>::from(class.loss_guard),
        "margin_floor": class.margin_floor.to_string(),
        "feature": class.feature,
        "samples": match class.samples {
            Samples::Shared => "shared",
            Samples::Distinct => "distinct",
        },
        "cache": class.cache.map(|cache| json!({
            "ttl": span(cache.ttl),
            "hit_rate_target": cache.hit_rate_target,
            "scope": match cache.scope {
                CacheScope::Account => "account",
                CacheScope::Shared => "shared",
            },
            "when": match cache.when {
                CacheWhen::Always => "always",
                CacheWhen::Deterministic => "deterministic",
            },
            "stale_if_error": span(cache.stale.if_error),
            "stale_while_revalidate": span(cache.stale.while_revalidate),
            "finish": cache.finish,
        })),
        "models": class.models,
        "rewrite": rules::rewrite(&class.rewrite),
        "template": class.template.as_ref().map(rules::template),
        "headers": rules::headers(&class.headers),
    })
}

/// The prices of a class from a moment on; the first ones have always held.
fn prices((from, pricing): &(Timestamp, Pricing)) -> Value {
    let Pricing { basis, cached } = pricing;
    let (price, tiers, tokens) = match basis {
        Basis::Request(price) => (Some(price), None, None),
        Basis::Tiers(tiers) => (None, Some(tiers), None),
        Basis::Tokens(tokens) => (None, None, Some(tokens)),
    };
    json!({
        "from": (from.0 > 0).then(|| from.to_string()),
        "price": price,
        "price_cached": cached,
        "tiers": tiers.map(|tiers| {
            let tier = |tier: &VolumeTier| json!({ "from": tier.from, "price": tier.price });
            tiers.iter().map(tier).collect::<Vec<_>>()
        }),
        "tokens_price": tokens.map(|tokens| match &tokens.rates {
            Rates::Markup(factor) => {
                json!({ "markup": factor.to_string(), "minimum": tokens.minimum })
            }
            Rates::Own(own) => json!({ "own": cost(own), "minimum": tokens.minimum }),
        }),
    })
}

/// Prices of a million tokens.
fn cost(cost: &TokenPrices) -> Value {
    json!({
        "input": cost.input.times(1_000_000),
        "cached_input": cost.cached_input.times(1_000_000),
        "cache_write": cost.cache_write.times(1_000_000),
        "output": cost.output.times(1_000_000),
    })
}

fn plan(plan: &Plan) -> Value {
    json!({
        "name": plan.name,
        "billing": match plan.billing {
            Billing::Metered => "metered",
            Billing::Included => "included",
        },
        "monthly_price": plan.monthly_price,
        "requests_per_month": plan.requests_per_month.map_or_else(|| "unlimited".into(), Value::from),
        "overage": plan.overage,
        "prepaid": plan.prepaid,
        "budget": plan.budget,
        "requests_per_minute": plan.requests_per_minute,
        "requests_per_hour": plan.requests_per_hour,
        "requests_per_day": plan.requests_per_day,
        "tokens_per_minute": plan.tokens_per_minute,
        "concurrent": plan.concurrent,
        "features": plan.features,
        "classes": plan.classes,
    })
}

fn limits(limits: &Limits) -> Value {
    let Limits { user, ip, global } = limits;
    json!({
        "user": {
            "per_minute": user.per_minute,
            "per_hour": user.per_hour,
            "per_day": user.per_day,
            "concurrent": user.concurrent,
        },
        "ip": {
            "per_minute": ip.per_minute,
            "per_hour": ip.per_hour,
            "concurrent": ip.concurrent,
            "connections": ip.connections,
            "failed_keys_per_minute": ip.failed_keys_per_minute,
            "exempt": networks(&ip.exempt),
        },
        "global": {
            "connections": global.connections,
            "requests": global.requests,
            "concurrent": global.concurrent,
            "reserved": global.reserved,
            "queue": global.queue,
            "queue_timeout": span(global.queue_timeout),
        },
    })
}

fn webhook(webhook: &Webhook) -> Value {
    json!({
        "url": webhook.shown,
        "secret": webhook.secret,
        "events": webhook.events,
    })
}

fn networks(networks: &Networks) -> Vec<String> {
    networks.iter().map(ToString::to_string).collect()
}

/// A duration as the configuration writes it, in the largest unit that is exact.
fn span(duration: Duration) -> String {
    let micros = duration.as_micros();
    for (unit, name) in [(1_000_000, "s"), (1_000, "ms")] {
        if micros.is_multiple_of(unit) {
            return format!("{}{name}", micros / unit);
        }
    }
    format!("{micros}us")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_in_their_largest_exact_unit() {
        for (micros, text) in
            [(0, "0s"), (90_000_000, "90s"), (1_500_000, "1500ms"), (250, "250us")]
        {
            assert_eq!(span(Duration::from_micros(micros)), text);
        }
    }

    #[test]
    fn a_base_address_is_written_as_it_was() {
        let base = |tls, host: &str, port, path: &str| {
            base_url(&BaseUrl { tls, host: host.into(), port, path: path.into() })
        };
        assert_eq!(base(true, "api.openai.com", 443, "/v1"), "https://api.openai.com/v1");
        assert_eq!(base(false, "::1", 8000, ""), "http://[::1]:8000");
        assert_eq!(base(true, "a", 80, ""), "https://a:80");
    }
}
