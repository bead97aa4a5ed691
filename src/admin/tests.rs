mod accounts;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::Value;
use tower_service::Service;

use super::fixture::{TOKEN, config, provider, record};
use super::*;
use crate::base::clock::{TestClock, Timestamp};
use crate::config::Durability;
use crate::ledger::record::UsageRecord;
use crate::ledger::{Replay, Settled};

/// 2026-11-24T05:00:00Z.
const NOW: Timestamp = Timestamp(1_795_496_400_000_000);
const DAY: u64 = 86_400_000_000;

struct Admin {
    router: Router,
    state: AdminState,
    dir: tempfile::TempDir,
}

impl Admin {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        change(&mut config);
        let clock: Arc<dyn Clock> = Arc::new(TestClock::at(NOW));
        let ledger =
            Ledger::open(dir.path(), Durability::Process, Arc::clone(&clock), Replay::none())
                .unwrap();
        let (config, metrics) = (Arc::new(config), Arc::new(Metrics::new([]).unwrap()));
        let ledger = Arc::new(ledger);
        let webhooks = fixture::webhooks(&config, &clock, &metrics);
        let (registry, biller) =
            fixture::registry(dir.path(), &ledger, &config, clock.clone(), &metrics, &webhooks);
        let state = AdminState {
            ledger,
            cache: fixture::cache(),
            registry,
            biller,
            webhooks,
            control: Arc::new(fixture::Still(config)),
            metrics,
            clock,
            token: Secret::new(TOKEN),
        };
        Self { router: router(state.clone()), state, dir }
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, HeaderMap, String) {
        let response = self.router.clone().call(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        (head.status, head.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        let request = Request::get(path)
            .header("authorization", format!("Bearer {TOKEN}"))
            .body(Body::empty())
            .unwrap();
        let (status, headers, body) = self.send(request).await;
        assert!(headers.contains_key("x-request-id"), "{path}");
        assert_eq!(headers["content-type"], "application/json", "{path}: {body}");
        (status, serde_json::from_str(&body).unwrap())
    }

    fn settle(&self, record: &UsageRecord) {
        let _settled: Settled = self.state.ledger.settle(record).unwrap();
    }
}

fn plain(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn health_says_that_the_process_is_alive() {
    let (status, headers, body) = Admin::new().send(plain("/healthz")).await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, r#"{"status":"ok"}"#));
    assert!(!headers["x-request-id"].is_empty());
}

#[tokio::test]
async fn readiness_names_what_is_missing() {
    let admin = Admin::new();
    let (status, body) = admin.get("/readyz").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["checks"], serde_json::json!({ "ledger": "ok", "providers": "ok" }));

    let admin = Admin::with(|config| config.providers = vec![provider("openai", Some("no key"))]);
    let (status, body) = admin.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body["status"], "not_ready");
    assert_eq!(body["checks"]["providers"], "no provider is on");
    assert_eq!(body["checks"]["ledger"], "ok");

    let admin = Admin::new();
    std::fs::remove_dir_all(admin.dir.path()).unwrap();
    let (status, body) = admin.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body["checks"]["ledger"].as_str().unwrap().contains("cannot be written"), "{body}");
}

/// Covers C4 (the endpoint).
#[tokio::test]
async fn metrics_are_prometheus_text_without_a_token() {
    let admin = Admin::new();
    let (status, headers, body) = admin.send(plain("/metrics")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert!(body.contains("tollgate_build_info{") && body.contains("process_open_fds "));

    let alone = metrics_router(admin.state.clone());
    let alone = Admin { router: alone, ..Admin::new() };
    assert_eq!(alone.send(plain("/metrics")).await.0, StatusCode::OK);
    assert_eq!(alone.send(plain("/admin/usage")).await.0, StatusCode::NOT_FOUND);
}

/// Covers I4: the admin API is behind its own token, whatever the path.
#[tokio::test]
async fn without_the_token_nothing_below_admin_is_shown() {
    let admin = Admin::new();
    for path in ["/admin/usage", "/admin/config", "/admin/providers", "/admin/nothing", "/admin"] {
        for token in [None, Some("Bearer wrong"), Some("Bearer "), Some(TOKEN)] {
            let mut request = plain(path);
            if let Some(token) = token {
                request.headers_mut().insert("authorization", token.parse().unwrap());
            }
            request.headers_mut().insert("x-request-id", "mine-1".parse().unwrap());
            let (status, headers, body) = admin.send(request).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{path} {token:?}");
            assert_eq!(headers["www-authenticate"], "Bearer");
            assert_eq!(headers["x-request-id"], "mine-1");
            let body: Value = serde_json::from_str(&body).unwrap();
            let error = &body["error"];
            assert_eq!(error["type"], "authentication_error");
            assert_eq!(error["code"], "invalid_api_key");
            assert_eq!(error["param"], Value::Null);
            assert_eq!(error["request_id"], "mine-1");
            assert!(error["message"].as_str().unwrap().contains("admin.token"));
            assert!(!body.to_string().contains(TOKEN));
        }
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_json_errors() {
    let admin = Admin::new();
    for path in ["/", "/nothing", "/admin/nothing", "/admin"] {
        let (status, body) = admin.get(path).await;
        assert_eq!((status, &body["error"]["code"]), (StatusCode::NOT_FOUND, &"not_found".into()));
    }
    for path in ["/healthz", "/admin/usage"] {
        let request = Request::post(path)
            .header("authorization", format!("Bearer {TOKEN}"))
            .body(Body::empty())
            .unwrap();
        let (status, headers, body) = admin.send(request).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(headers["allow"], "GET,HEAD");
        assert!(body.contains("method_not_allowed"), "{body}");
    }
}

#[tokio::test]
async fn a_request_id_that_is_no_token_is_replaced() {
    let admin = Admin::new();
    for id in ["", "two words", &"x".repeat(129)] {
        let mut request = plain("/healthz");
        request.headers_mut().insert("x-request-id", id.parse().unwrap());
        let (_, headers, _) = admin.send(request).await;
        assert_eq!(headers["x-request-id"].len(), 36, "{id:?}");
    }
}

/// Covers H1 (reading) and B1.
#[tokio::test]
async fn records_are_listed_page_by_page_to_the_end() {
    let admin = Admin::new();
    for step in 0..5 {
        admin.settle(&record(Timestamp(NOW.0 - 1_000_000 + step * 1000), "a", "default"));
    }
    admin.settle(&record(NOW, "b", "default"));
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("/admin/usage?by=request&account=a&limit=2{after}");
        let (status, body) = admin.get(&path).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let data = body["data"].as_array().unwrap();
        assert!(data.len() <= 2);
        seen.extend(data.iter().cloned());
        match body["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 5);
    assert!(seen.is_sorted_by_key(|record| record["id"].as_str().unwrap().to_owned()));
    let first = &seen[0];
    assert_eq!(first["price"], "0.02");
    assert_eq!(first["cost"], "0.005");
    assert_eq!(first["tokens"]["input"], 7);
    assert_eq!(first["time"], "2026-11-24T04:59:59.000000Z");
    assert_eq!(first["outcome"], "ok");
}

/// Covers B2 (sums by class, account and day).
#[tokio::test]
async fn sums_cover_the_period_asked_for() {
    let admin = Admin::new();
    admin.settle(&record(NOW, "a", "default"));
    admin.settle(&record(Timestamp(NOW.0 - DAY), "a", "documentation"));
    admin.settle(&record(Timestamp(NOW.0 - 60 * DAY), "b", "documentation"));
    let rows = async |query: &str| {
        let (status, body) = admin.get(&format!("/admin/usage?{query}")).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert_eq!(body["next"], Value::Null);
        body["data"].as_array().unwrap().clone()
    };
    let by_class = rows("by=class").await;
    assert_eq!(by_class.len(), 2, "{by_class:?}");
    assert_eq!(by_class[0]["requests"], 1);
    assert_eq!(by_class[0]["revenue"], "0.02");
    assert_eq!(by_class[0]["margin"], "0.015");
    let by_account = rows("by=account&from=2026-01-01").await;
    assert_eq!(by_account.len(), 2);
    let by_day = rows("by=day&from=2026-11-23&to=2026-11-24").await;
    assert_eq!(by_day.len(), 1);
    assert_eq!(by_day[0]["by"], "2026-11-23");
}

#[tokio::test]
async fn a_bad_query_is_a_400_that_names_its_parameter() {
    let admin = Admin::new();
    for (query, param) in [("by=hour", "by"), ("from=x", "from"), ("acount=a", "acount")] {
        let (status, body) = admin.get(&format!("/admin/usage?{query}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(body["error"]["param"], param);
        assert_eq!(body["error"]["code"], "invalid_value");
        assert_eq!(body["error"]["type"], "invalid_request_error");
    }
}

#[tokio::test]
async fn providers_say_whether_and_why_not() {
    let (_, body) = Admin::new().get("/admin/providers").await;
    assert_eq!(body["data"][0]["usable"], true);
    assert_eq!(body["data"][1]["name"], "spare");
    assert_eq!(body["data"][1]["reason"], "no api_key");
    assert!(!body.to_string().contains("provider-secret"));
}

/// Covers I1 and I4.
#[tokio::test]
async fn the_configuration_is_shown_without_its_secrets() {
    let (status, body) = Admin::new().get("/admin/config").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["admin"]["token"], "***");
    assert_eq!(body["providers"][0]["api_key"], "***");
    assert_eq!(body["limits"]["global"]["queue_timeout"], "10s");
    let text = body.to_string();
    assert!(!text.contains("provider-secret") && !text.contains(TOKEN), "{text}");
}

#[test]
fn every_error_has_a_code_that_is_described() {
    use crate::accounts::Refused as R;
    use crate::billing::Refused as B;
    let document: Value = serde_json::from_str(openapi::DOCUMENT).unwrap();
    let of_error = "/components/schemas/Error/properties/error/properties/code/enum";
    let described = document.pointer(of_error).unwrap().as_array().unwrap();
    let accounts = [
        R::NoAccount,
        R::Taken,
        R::NoPlan(String::new()),
        R::ConfiguredKey,
        R::NoFeature("x"),
        R::ProviderInUse,
        R::PrivateAddress,
        R::Sealing(String::new()),
    ];
    let invoices =
        [B::NoInvoice, B::FutureMonth, B::OutOfDate, B::Damaged("x".to_owned()), B::Ledger];
    let own = [
        ApiError::Unauthorized,
        ApiError::NotFound,
        ApiError::MethodNotAllowed,
        ApiError::bad("x", "y"),
        ApiError::BadJson(String::new()),
        ApiError::TooLarge,
        ApiError::NoWebhook,
        ApiError::Storage,
        ApiError::Internal,
    ];
    let all = own.into_iter().chain(accounts.map(ApiError::from)).chain(invoices.map(Into::into));
    let codes: Vec<Value> = all.map(|error| error.kind_and_code().1.into()).collect();
    for code in &codes {
        assert!(described.contains(code), "{code} is not described");
    }
    for code in described {
        assert!(codes.contains(code), "{code} is described, and nobody sends it");
    }
}
