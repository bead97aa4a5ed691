use std::sync::Arc;

use super::super::out::tests::Written;
use super::*;
use crate::admin::{AdminState, fixture, router};
use crate::base::clock::{Clock, TestClock, Timestamp};
use crate::base::secret::Secret;
use crate::config::Durability;
use crate::ledger::{Ledger, Replay, Settled};
use crate::telemetry::metrics::Metrics;

/// 2026-11-24T05:00:00Z.
const NOW: Timestamp = Timestamp(1_795_496_400_000_000);

/// A running admin API with `records` records, and its address.
async fn admin(records: u64) -> (String, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(TestClock::at(NOW));
    let ledger =
        Ledger::open(dir.path(), Durability::Process, Arc::clone(&clock), Replay::none()).unwrap();
    for number in 0..records {
        let time = Timestamp(NOW.0 - 10_000_000 + number * 1000);
        let _settled: Settled = ledger.settle(&fixture::record(time, "demo", "default")).unwrap();
    }
    let config = Arc::new(fixture::config(dir.path()));
    let metrics = Arc::new(Metrics::new([]).unwrap());
    let ledger = Arc::new(ledger);
    let webhooks = fixture::webhooks(&config, &clock, &metrics);
    let (registry, biller) =
        fixture::registry(dir.path(), &ledger, &config, clock.clone(), &metrics, &webhooks);
    let router = router(AdminState {
        ledger,
        cache: fixture::cache(),
        registry,
        biller,
        webhooks,
        control: Arc::new(fixture::Still(config)),
        metrics,
        clock,
        token: Secret::new(fixture::TOKEN),
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, dir)
}

fn usage(by: By, format: format::Format) -> Usage {
    let file = ConfigFile { config: None };
    Usage { file, account: None, from: None, to: None, by, format }
}

async fn printed(usage: &Usage, url: &str, token: &str) -> Result<String, Failure> {
    let written = Written::default();
    let mut out = written.out();
    let client = AdminClient::new(url, Secret::new(token))?;
    usage.print(&client, &mut out).await?;
    out.flush()?;
    Ok(written.text())
}

/// Covers H1 (reading): a list longer than a page is followed to its end.
#[tokio::test]
async fn json_is_one_array_of_every_record() {
    let (url, _dir) = admin(2_345).await;
    let usage = usage(By::Request, format::Format::Json);
    let text = printed(&usage, &url, fixture::TOKEN).await.unwrap();
    let records: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(records.len(), 2_345);
    assert!(records.is_sorted_by(|a, b| a["id"].as_str() < b["id"].as_str()));
    assert_eq!(records[0]["price"], "0.02");
    let none = Usage { account: Some("nobody & co".to_owned()), ..usage };
    assert_eq!(printed(&none, &url, fixture::TOKEN).await.unwrap(), "[]\n");
}

#[tokio::test]
async fn sums_are_a_table_for_people() {
    let (url, _dir) = admin(3).await;
    let usage = usage(By::Class, format::Format::Table);
    let text = printed(&usage, &url, fixture::TOKEN).await.unwrap();
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..2], ["by", "requests"]);
    assert_eq!(rows[1], ["default", "3", "21", "0", "9", "0", "0.06", "0.015", "0.045"]);
}

#[tokio::test]
async fn a_wrong_token_or_value_says_what_to_do() {
    let (url, _dir) = admin(0).await;
    let mut usage = usage(By::Day, format::Format::Table);
    let Failure::Failed(text) = printed(&usage, &url, "wrong-token").await.unwrap_err() else {
        panic!("a wrong token is no usage error");
    };
    assert!(text.contains("TOLLGATE_ADMIN_TOKEN") && !text.contains("wrong-token"), "{text}");
    usage.from = Some("yesterday".to_owned());
    let Failure::Usage(text) = printed(&usage, &url, fixture::TOKEN).await.unwrap_err() else {
        panic!("a wrong date is a usage error");
    };
    assert!(text.starts_with("from:"), "{text}");
}

#[tokio::test]
async fn nobody_there_names_the_address_and_the_way_out() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let usage = usage(By::Class, format::Format::Table);
    let Failure::Failed(text) = printed(&usage, &url, "a-token").await.unwrap_err() else {
        panic!("a failure");
    };
    assert!(text.contains(&url) && text.contains("refused"), "{text}");
    assert!(text.contains("tollgate serve") && text.contains("TOLLGATE_ADMIN_URL"), "{text}");
}

#[test]
fn an_address_that_is_none_is_a_usage_error() {
    for url in ["127.0.0.1:8081", "https://127.0.0.1", "ftp://x", "http://"] {
        assert!(
            matches!(AdminClient::new(url, Secret::default()), Err(Failure::Usage(_))),
            "{url}"
        );
    }
}
