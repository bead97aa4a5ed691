//! Accounts and keys over the API.

use axum::http::Method;
use serde_json::json;

use super::*;

impl Admin {
    async fn ask(&self, method: Method, path: &str, body: &str) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {TOKEN}"))
            .body(Body::from(body.to_owned()))
            .unwrap();
        let (status, _, body) = self.send(request).await;
        (status, serde_json::from_str(&body).unwrap())
    }

    async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        self.ask(Method::POST, path, &body.to_string()).await
    }

    async fn patch(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        self.ask(Method::PATCH, path, &body.to_string()).await
    }

    async fn shop(&self) -> Value {
        let (status, shop) = self
            .post("/admin/accounts", &json!({"id": "shop", "name": "Shop", "plan": "free"}))
            .await;
        assert_eq!(status, StatusCode::CREATED, "{shop}");
        shop
    }
}

/// Covers A3 and A6.
#[tokio::test]
async fn an_account_is_made_shown_changed_and_removed() {
    let admin = Admin::with(|config| config.classes = vec![fixture::class("chat")]);
    let wanted = json!({
        "name": "Shop", "plan": "free", "external_id": "crm-7",
        "overrides": {
            "requests_per_minute": 7, "requests_per_month": "unlimited",
            "prices": {"chat": "0.010"},
        },
    });
    let (status, made) = admin.post("/admin/accounts", &wanted).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let id = made["id"].as_str().unwrap().to_owned();
    let mut whole = json!({
        "id": id, "name": "Shop", "plan": "free", "status": "active", "external_id": "crm-7",
        "overrides": {
            "requests_per_minute": 7, "requests_per_month": "unlimited",
            "prices": {"chat": "0.01"},
        },
        "created_at": "2026-11-24T05:00:00.000000Z",
    });
    assert_eq!(made, whole);
    let path = format!("/admin/accounts/{id}");
    assert_eq!(admin.get(&path).await, (StatusCode::OK, whole.clone()));

    let change = json!({
        "plan": "pro", "status": "suspended", "external_id": null,
        "overrides": {"requests_per_minute": null, "concurrent": 3, "prices": {"chat": null}},
    });
    let (status, changed) = admin.patch(&path, &change).await;
    assert_eq!(status, StatusCode::OK, "{changed}");
    whole["plan"] = "pro".into();
    whole["status"] = "suspended".into();
    whole["external_id"] = Value::Null;
    whole["overrides"] = json!({"requests_per_month": "unlimited", "concurrent": 3});
    assert_eq!(changed, whole);
    let (_, changed) = admin.patch(&path, &json!({"overrides": null})).await;
    assert_eq!(changed["overrides"], json!({}));

    let gone = json!({"id": id, "deleted": true});
    assert_eq!(admin.ask(Method::DELETE, &path, "").await, (StatusCode::OK, gone));
    assert_eq!(admin.get(&path).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_key_is_shown_once_and_listed_without_its_text() {
    let admin = Admin::new();
    admin.shop().await;
    let (status, made) = admin.post("/admin/keys", &json!({"account": "shop", "name": "ci"})).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let key = made["key"].as_str().unwrap().to_owned();
    assert!(key.starts_with("tg_live_"), "{made}");
    let members: Vec<&String> = made.as_object().unwrap().keys().collect();
    assert_eq!(members, ["account", "created_at", "id", "key", "name", "prefix"]);

    let rotate = format!("/admin/keys/{}/rotate", made["id"].as_str().unwrap());
    for grace in [json!({"grace": "1h"}), json!({"grace": 3600})] {
        let (status, new) = admin.post(&rotate, &grace).await;
        assert_eq!((status, &new["name"]), (StatusCode::CREATED, &json!("ci")), "{new}");
        assert_ne!(new["key"], made["key"]);
    }
    let (_, list) = admin.get("/admin/keys?account=shop").await;
    assert_eq!(list["data"].as_array().unwrap().len(), 3, "{list}");
    let old = list["data"].as_array().unwrap().iter().find(|it| it["id"] == made["id"]).unwrap();
    assert_eq!(old["expires_at"], "2026-11-24T06:00:00.000000Z");
    assert!(!list.to_string().contains(&key), "a list shows a key");
    assert_eq!(old["budget"], Value::Null);

    let path = format!("/admin/keys/{}", made["id"].as_str().unwrap());
    let (status, revoked) = admin.ask(Method::DELETE, &path, "").await;
    assert_eq!((status, &revoked["revoked_at"]), (StatusCode::OK, &made["created_at"]));
    let (status, refused) = admin.ask(Method::POST, &rotate, "").await;
    assert_eq!((status, &refused["error"]["code"]), (StatusCode::CONFLICT, &json!("conflict")));
}

#[tokio::test]
async fn a_budget_is_kept_with_its_account_or_key() {
    let admin = Admin::new();
    admin.shop().await;
    let own = |budget: Value| json!({"overrides": {"budget": budget}});
    for (given, shown) in [(json!(25), json!("25")), (json!("0.5"), json!("0.5"))] {
        let (status, changed) = admin.patch("/admin/accounts/shop", &own(given)).await;
        assert_eq!(
            (status, &changed["overrides"]["budget"]),
            (StatusCode::OK, &shown),
            "{changed}"
        );
    }
    let (_, changed) = admin.patch("/admin/accounts/shop", &own(json!("unlimited"))).await;
    assert_eq!(changed["overrides"]["budget"], "unlimited");
    let (_, changed) = admin.patch("/admin/accounts/shop", &own(Value::Null)).await;
    assert_eq!(changed["overrides"]["budget"], Value::Null);
    for bad in [json!(0), json!(-1), json!("much"), json!("0.0000000000001"), json!([])] {
        let (status, refused) = admin.patch("/admin/accounts/shop", &own(bad.clone())).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}");
        assert_eq!(refused["error"]["param"], "overrides.budget", "{refused}");
        let key = json!({"account": "shop", "budget": bad});
        let (status, refused) = admin.post("/admin/keys", &key).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{refused}");
        assert_eq!(refused["error"]["param"], "budget", "{refused}");
    }
    let key = json!({"account": "shop", "budget": "2.50"});
    let (_, made) = admin.post("/admin/keys", &key).await;
    assert_eq!(made["budget"], "2.5");
    // The key in its place has the same budget.
    let rotate = format!("/admin/keys/{}/rotate", made["id"].as_str().unwrap());
    let (_, new) = admin.post(&rotate, &json!({})).await;
    assert_eq!(new["budget"], "2.5", "{new}");
    let (_, list) = admin.get("/admin/keys?account=shop").await;
    let budgets: Vec<_> = list["data"].as_array().unwrap().iter().map(|it| &it["budget"]).collect();
    assert_eq!(budgets, ["2.5", "2.5"]);
}

#[tokio::test]
async fn lists_are_followed_page_by_page() {
    let admin = Admin::new();
    for number in 0..5 {
        let account = json!({"id": format!("a{number}"), "name": "A", "plan": "free"});
        admin.post("/admin/accounts", &account).await;
        admin.post("/admin/keys", &json!({"account": "a0"})).await;
    }
    for path in ["/admin/accounts?limit=2", "/admin/keys?account=a0&limit=2"] {
        let (mut after, mut seen) = (String::new(), Vec::new());
        loop {
            let (status, page) = admin.get(&format!("{path}{after}")).await;
            assert_eq!(status, StatusCode::OK, "{page}");
            let data = page["data"].as_array().unwrap();
            assert!(data.len() <= 2 && !data.is_empty(), "{page}");
            seen.extend(data.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={next}");
        }
        assert!(seen.len() == 5 && seen.is_sorted(), "{path}: {seen:?}");
    }
}

#[tokio::test]
async fn a_bad_body_names_what_is_wrong_and_changes_nothing() {
    let admin = Admin::new();
    admin.shop().await;
    let post = |body: &'static str| (Method::POST, "/admin/accounts", body);
    let patch = |body: &'static str| (Method::PATCH, "/admin/accounts/shop", body);
    let key = |body: &'static str| (Method::POST, "/admin/keys", body);
    let cases = [
        (post("{"), "invalid_json", None),
        (post("[]"), "invalid_json", None),
        (post(""), "invalid_value", Some("name")),
        (post(r#"{"name": "a"}"#), "invalid_value", Some("plan")),
        (post(r#"{"name": "", "plan": "pro"}"#), "invalid_value", Some("name")),
        (post(r#"{"name": 7, "plan": "pro"}"#), "invalid_value", Some("name")),
        (post(r#"{"name": "a\u0007", "plan": "pro"}"#), "invalid_value", Some("name")),
        (post(r#"{"name": "a", "plan": "gold"}"#), "invalid_value", Some("plan")),
        (post(r#"{"name": "a", "plan": "pro", "id": "a b"}"#), "invalid_value", Some("id")),
        (post(r#"{"name": "a", "plan": "pro", "colour": 1}"#), "invalid_value", Some("colour")),
        (patch(r#"{"id": "another"}"#), "invalid_value", Some("id")),
        (patch(r#"{"status": "gone"}"#), "invalid_value", Some("status")),
        (patch(r#"{"overrides": 7}"#), "invalid_value", Some("overrides")),
        (
            patch(r#"{"plan": "pro", "overrides": {"requests_per_minute": 0}}"#),
            "invalid_value",
            Some("overrides.requests_per_minute"),
        ),
        (
            patch(r#"{"overrides": {"concurrent": 4294967295}}"#),
            "invalid_value",
            Some("overrides.concurrent"),
        ),
        (patch(r#"{"overrides": {"burst": 1}}"#), "invalid_value", Some("overrides.burst")),
        (
            patch(r#"{"overrides": {"prices": {"chat": "0.01"}}}"#),
            "invalid_value",
            Some("overrides.prices.chat"),
        ),
        (
            patch(r#"{"overrides": {"prices": {"chat": "-1"}}}"#),
            "invalid_value",
            Some("overrides.prices.chat"),
        ),
        (key("{}"), "invalid_value", Some("account")),
        (key(r#"{"account": "shop", "grace": 1}"#), "invalid_value", Some("grace")),
    ];
    for ((method, path, body), code, param) in cases {
        let (status, answer) = admin.ask(method, path, body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {answer}");
        assert_eq!(answer["error"]["code"], code, "{body}: {answer}");
        assert_eq!(answer["error"]["param"].as_str(), param, "{body}: {answer}");
    }
    let (_, list) = admin.get("/admin/accounts").await;
    assert_eq!(list["data"].as_array().unwrap().len(), 1, "{list}");
    assert_eq!(list["data"][0]["plan"], "free");
    assert_eq!(admin.get("/admin/keys").await.1["data"], json!([]));
}

#[tokio::test]
async fn wrong_ids_tokens_and_sizes_are_told_apart() {
    let admin = Admin::new();
    admin.shop().await;
    let same = json!({"id": "shop", "name": "Another", "plan": "pro"});
    let (status, answer) = admin.post("/admin/accounts", &same).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(answer["error"]["code"], "already_exists");
    for (method, path, body) in [
        (Method::GET, "/admin/accounts/nobody", ""),
        (Method::GET, "/admin/accounts/%FF", ""),
        (Method::PATCH, "/admin/accounts/nobody", "{}"),
        (Method::DELETE, "/admin/accounts/nobody", ""),
        (Method::POST, "/admin/keys", r#"{"account": "nobody"}"#),
        (Method::GET, "/admin/keys?account=nobody", ""),
        (Method::POST, "/admin/keys/key_0/rotate", "{}"),
        (Method::DELETE, "/admin/keys/key_0", ""),
    ] {
        let (status, answer) = admin.ask(method.clone(), path, body).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{method} {path}: {answer}");
        assert_eq!(answer["error"]["code"], "not_found");
    }
    for path in ["/admin/accounts?limit=0", "/admin/keys?limit=1001", "/admin/accounts?colour=1"] {
        assert_eq!(admin.get(path).await.0, StatusCode::BAD_REQUEST, "{path}");
    }
    let large = format!(r#"{{"name": "{}"}}"#, "a".repeat(70_000));
    let (status, answer) = admin.ask(Method::POST, "/admin/accounts", &large).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer["error"]["code"], "request_too_large");
    let stranger = Request::post("/admin/accounts").body(Body::from(same.to_string())).unwrap();
    assert_eq!(admin.send(stranger).await.0, StatusCode::UNAUTHORIZED);
}

/// Every route that the document has is there, and every route that the router
/// has is in the document.
#[tokio::test]
async fn the_document_describes_every_route() {
    let admin = Admin::new();
    let (status, document) = admin.get("/admin/openapi.json").await;
    assert_eq!((status, &document["openapi"]), (StatusCode::OK, &json!("3.1.0")));
    let paths = document["paths"].as_object().unwrap();
    for (path, methods) in paths {
        let path = path.replace("{id}", "any");
        // What the document has is answered, if only with a 404 of its own; the
        // 405 names just the methods that it has.
        let (status, headers, _) = {
            let request = Request::builder()
                .method("TRACE")
                .uri(&path)
                .header("authorization", format!("Bearer {TOKEN}"))
                .body(Body::empty())
                .unwrap();
            admin.send(request).await
        };
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{path} is no route");
        let allowed = headers["allow"].to_str().unwrap().to_ascii_lowercase();
        let mut allowed: Vec<&str> = allowed.split(',').map(str::trim).collect();
        allowed.retain(|method| *method != "head");
        allowed.sort_unstable();
        let mut described: Vec<&String> = methods.as_object().unwrap().keys().collect();
        described.sort_unstable();
        assert_eq!(allowed, described, "{path}");
    }
    let source = include_str!("../mod.rs").split("pub fn metrics_router").next().unwrap();
    let (private, public) =
        source.split_once("Router::new()\n        .route(\"/healthz\"").unwrap();
    let routes = |text: &str, prefix: &str| -> Vec<String> {
        let starts = text.split("\"/").skip(1);
        let names = starts.filter_map(|rest| rest.split('"').next());
        names.filter(|name| *name != "admin").map(|name| format!("{prefix}/{name}")).collect()
    };
    let mut all = routes(private, "/admin");
    all.extend(routes(public, ""));
    all.push("/healthz".to_owned());
    assert_eq!(all.len(), paths.len(), "{all:?}");
    for route in all {
        assert!(paths.contains_key(&route), "{route} is not described");
    }
}
