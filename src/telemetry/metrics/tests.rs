use super::labels::ProviderCode;
use super::*;
use crate::base::money::Money;
use crate::ledger::record::Tokens;

fn metrics() -> Metrics {
    let models: [Arc<str>; 2] = [Arc::from("gpt-4o"), Arc::from("*")];
    Metrics::new(&models).unwrap()
}

fn labels() -> RequestLabels<'static> {
    RequestLabels {
        class: "default",
        model: "gpt-4o",
        provider: "openai",
        plan: "pro",
        code: 200,
        cache: "miss",
    }
}

fn sample() -> RequestSample {
    RequestSample {
        duration: Duration::from_millis(300),
        first_byte: Some(Duration::from_millis(120)),
        overhead: Duration::from_micros(80),
        tokens: Tokens { input: 10, cached_input: 4, output: 5, reasoning: 2, cache_write: 0 },
        cost: "0.0025".parse().unwrap(),
        revenue: "0.02".parse().unwrap(),
        unpriced: false,
    }
}

fn value(text: &str, series: &str) -> f64 {
    text.lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
        .unwrap_or_else(|| panic!("no {series} in\n{text}"))
}

/// Covers B1 and C1 (the metrics side).
#[test]
fn a_request_is_counted_in_every_series_it_belongs_to() {
    let metrics = metrics();
    for _ in 0..2 {
        metrics.series(labels()).observe(&sample());
    }
    let text = metrics.render().unwrap();
    for (series, expected) in [
        (
            "tollgate_requests_total{cache=\"miss\",class=\"default\",code=\"200\",model=\"gpt-4o\",plan=\"pro\",provider=\"openai\"}",
            2.0,
        ),
        (
            "tollgate_request_duration_seconds_bucket{cache=\"miss\",class=\"default\",le=\"0.5\"}",
            2.0,
        ),
        (
            "tollgate_request_duration_seconds_bucket{cache=\"miss\",class=\"default\",le=\"0.25\"}",
            0.0,
        ),
        ("tollgate_time_to_first_byte_seconds_count", 2.0),
        ("tollgate_overhead_seconds_bucket{le=\"0.0001\"}", 2.0),
        ("tollgate_overhead_seconds_bucket{le=\"0.00005\"}", 0.0),
        ("tollgate_tokens_total{direction=\"input\",model=\"gpt-4o\"}", 20.0),
        ("tollgate_tokens_total{direction=\"output\",model=\"gpt-4o\"}", 10.0),
        ("tollgate_provider_cost_dollars_total{model=\"gpt-4o\",provider=\"openai\"}", 0.005),
        ("tollgate_revenue_dollars_total{class=\"default\",plan=\"pro\"}", 0.04),
        ("tollgate_unpriced_total{model=\"gpt-4o\"}", 0.0),
    ] {
        assert_eq!(value(&text, series), expected, "{series}");
    }
}

#[test]
fn a_request_without_a_body_byte_has_no_time_to_it() {
    let metrics = metrics();
    metrics.series(labels()).observe(&RequestSample { first_byte: None, ..sample() });
    let text = metrics.render().unwrap();
    assert_eq!(value(&text, "tollgate_time_to_first_byte_seconds_count"), 0.0);
}

/// Covers I1: a text that a client chose becomes no label.
#[test]
fn a_model_outside_the_catalogue_is_other() {
    let metrics = metrics();
    for model in ["evil-1", "evil-2", "*", "other"] {
        let series = metrics.series(RequestLabels { model, provider: "", ..labels() });
        series.observe(&RequestSample { unpriced: true, ..sample() });
    }
    let text = metrics.render().unwrap();
    assert!(!text.contains("evil"), "{text}");
    assert_eq!(value(&text, "tollgate_unpriced_total{model=\"other\"}"), 4.0);
    assert!(text.contains("provider=\"none\""));
}

/// Covers I1: a field's name is a client's, and no label.
#[test]
fn a_field_that_nobody_knows_is_other() {
    let metrics = metrics();
    for path in [
        "n",
        "messages[3].content[0].input_audio",
        "tools[0].custom",
        "tool_choice",
        "truncation",
        "evil",
        "",
        "x.n",
    ] {
        metrics.dropped_field("default", path);
    }
    let text = metrics.render().unwrap();
    for (field, count) in [
        ("n", 1.0),
        ("messages", 1.0),
        ("tools", 1.0),
        ("tool_choice", 1.0),
        ("truncation", 1.0),
        ("other", 3.0),
    ] {
        let series =
            format!("tollgate_dropped_fields_total{{class=\"default\",field=\"{field}\"}}");
        assert_eq!(value(&text, &series), count, "{field}");
    }
    assert!(!text.contains("evil"));
}

#[test]
fn a_status_code_makes_no_unbounded_label() {
    let metrics = metrics();
    for code in [0, 99, 600, 65_535] {
        metrics.series(RequestLabels { code, ..labels() }).observe(&sample());
        metrics.provider("openai").called(ProviderCode::Status(code));
    }
    let text = metrics.render().unwrap();
    let series = "tollgate_provider_requests_total{code=\"invalid\",provider=\"openai\"}";
    assert_eq!(value(&text, series), 4.0);
    assert!(!text.contains("65535"));
}

#[test]
fn a_negative_amount_is_left_out_of_a_counter() {
    let metrics = metrics();
    let refund = RequestSample { revenue: Money::from_picos(-1), ..sample() };
    metrics.series(labels()).observe(&refund);
    let text = metrics.render().unwrap();
    let series = "tollgate_revenue_dollars_total{class=\"default\",plan=\"pro\"}";
    assert_eq!(value(&text, series), 0.0);
}

#[test]
fn a_guard_counts_until_it_is_dropped() {
    let metrics = metrics();
    let requests = (metrics.enter(Scope::Requests), metrics.enter(Scope::Requests));
    let call = metrics.enter(Scope::Provider);
    let connection = metrics.connection();
    let text = metrics.render().unwrap();
    assert_eq!(value(&text, "tollgate_inflight{scope=\"requests\"}"), 2.0);
    assert_eq!(value(&text, "tollgate_inflight{scope=\"provider\"}"), 1.0);
    assert_eq!(value(&text, "tollgate_connections"), 1.0);
    drop((requests, call, connection));
    let text = metrics.render().unwrap();
    assert_eq!(value(&text, "tollgate_inflight{scope=\"requests\"}"), 0.0);
    assert_eq!(value(&text, "tollgate_connections"), 0.0);
}

/// Covers C1 (refusals by layer and window).
#[test]
fn refusals_are_counted_by_layer_and_window_from_the_start() {
    let metrics = metrics();
    metrics.refused("user", "minute");
    metrics.refused("user", "minute");
    metrics.refused("auth", "");
    let text = metrics.render().unwrap();
    for (layer, window, expected) in
        [("user", "minute", 2.0), ("auth", "", 1.0), ("ip", "hour", 0.0), ("quota", "month", 0.0)]
    {
        let series = format!("tollgate_refused_total{{layer=\"{layer}\",window=\"{window}\"}}");
        assert_eq!(value(&text, &series), expected, "{series}");
    }
}

#[test]
fn providers_stores_retries_and_the_build_are_shown() {
    let metrics = metrics();
    let provider = metrics.provider("openai");
    provider.set_up(true);
    provider.called(ProviderCode::Status(200));
    provider.called(ProviderCode::Status(200));
    provider.called(ProviderCode::Timeout);
    metrics.provider("anthropic").set_up(false);
    metrics.store_up(Store::Journal, true);
    metrics.retried();
    metrics.ledger_committed(Duration::from_micros(7));
    let text = metrics.render().unwrap();
    for (series, expected) in [
        ("tollgate_provider_up{provider=\"openai\"}", 1.0),
        ("tollgate_provider_up{provider=\"anthropic\"}", 0.0),
        ("tollgate_provider_requests_total{code=\"200\",provider=\"openai\"}", 2.0),
        ("tollgate_provider_requests_total{code=\"timeout\",provider=\"openai\"}", 1.0),
        ("tollgate_store_up{store=\"journal\"}", 1.0),
        ("tollgate_retries_total", 1.0),
        ("tollgate_ledger_commit_seconds_bucket{le=\"0.000005\"}", 0.0),
        ("tollgate_ledger_commit_seconds_bucket{le=\"0.00001\"}", 1.0),
        (concat!("tollgate_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1.0),
    ] {
        assert_eq!(value(&text, series), expected, "{series}");
    }
    assert!(value(&text, "process_resident_memory_bytes") > 0.0);
}
