//! What counting a request costs: `cargo bench --bench metrics`.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::float_arithmetic,
    reason = "a benchmark measures real time and reports to a person"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tollgate::ledger::record::Tokens;
use tollgate::telemetry::metrics::{Metrics, RequestLabels, RequestSample};

const REQUESTS: usize = 2_000_000;
const CLASSES: [&str; 3] = ["default", "code_suggestions", "documentation"];
const PLANS: [&str; 3] = ["free", "pro", "enterprise"];

fn main() {
    let models: Vec<Arc<str>> =
        (0..20).map(|number| Arc::from(format!("model-{number}"))).collect();
    let metrics = Metrics::new(&models).unwrap();
    count(&metrics, &models, 1000);
    for threads in [1, 2] {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| count(&metrics, &models, REQUESTS));
            }
        });
        let each =
            start.elapsed().as_secs_f64() * 1e9 / f64::from(u32::try_from(REQUESTS).unwrap());
        println!("series + observe, {threads} threads: {each:.0} ns a request and thread");
    }
}

fn count(metrics: &Metrics, models: &[Arc<str>], requests: usize) {
    let sample = RequestSample {
        duration: Duration::from_millis(300),
        first_byte: Some(Duration::from_millis(120)),
        overhead: Duration::from_micros(80),
        tokens: Tokens { input: 10, cached_input: 4, output: 5, reasoning: 2, cache_write: 0 },
        cost: "0.0025".parse().unwrap(),
        revenue: "0.02".parse().unwrap(),
        unpriced: false,
    };
    for number in 0..requests {
        let labels = RequestLabels {
            class: CLASSES[number % 3],
            model: &models[number % 20],
            provider: "openai",
            plan: PLANS[(number / 3) % 3],
            code: 200,
            cache: "miss",
        };
        metrics.series(black_box(labels)).observe(black_box(&sample));
    }
}
