//! Events are told to those who want to hear of them: signed, in order, and
//! whatever breaks in between. Covers H3.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::binary::{Process, finish, text};
use crate::harness::client::Request;
use crate::harness::door::Door;
use crate::harness::eventually::eventually;
use crate::harness::gate::Gate;
use crate::harness::provider::{Call, Provider};
use crate::harness::reply::Reply;
use crate::harness::setup::{DEFAULT_PLAN, Setup, Tollgate};
use crate::harness::tls::Authority;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// The bytes of [`SECRET`].
const KEY: &str = "31f290f6bf06298aab4f08d43c3f082cf648a362da2da4b0";
const PLAIN: &str = "a plain secret of 30 characters";
const OK: &str = "tollgate_webhook_deliveries_total{result=\"ok\"}";
const FAILED: &str = "tollgate_webhook_deliveries_total{result=\"failed\"}";
const GIVEN_UP: &str = "tollgate_webhook_deliveries_total{result=\"given_up\"}";
const PENDING: &str = "tollgate_outbox_pending";

/// A receiver that takes everything until told otherwise.
async fn receiver() -> Provider {
    let receiver = Provider::start().await;
    receiver.answer(|_| taken());
    receiver
}

fn taken() -> Reply {
    Reply::bytes(204, "")
}

/// Its address, with a password and a token that nobody may see.
fn url(receiver: &Provider) -> String {
    format!("http://user:hunter2@{}/hook?token=hunter2", receiver.address())
}

fn hook(receiver: &Provider) -> Value {
    json!({"url": url(receiver), "secret": SECRET})
}

fn telling(provider: &Provider, hooks: &[Value]) -> Setup {
    Tollgate::before(provider).set("billing.webhooks", hooks.to_vec())
}

/// Has a test told and gives its id.
async fn test(gate: &Door) -> String {
    let answer = gate.tell("POST", "/admin/webhooks/test", &Value::Null).await;
    assert_eq!(answer.status(), 202, "{}", answer.text());
    answer.json()["id"].as_str().unwrap().to_owned()
}

fn id(call: &Call) -> &str {
    call.header("webhook-id").unwrap()
}

fn ids(calls: &[Call]) -> Vec<&str> {
    calls.iter().map(id).collect()
}

/// What OpenSSL makes of the call with this key.
async fn signed_by(option: &str, call: &Call) -> String {
    let stamp = call.header("webhook-timestamp").unwrap();
    let body = std::str::from_utf8(&call.body).unwrap();
    openssl(option, &format!("{}.{stamp}.{body}", id(call))).await
}

/// The signature of `signed` with a secret that is no `whsec_…`.
pub(crate) async fn signature(secret: &str, signed: &str) -> String {
    openssl(&format!("key:{secret}"), signed).await
}

async fn openssl(option: &str, signed: &str) -> String {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("signed");
    std::fs::write(&file, signed).unwrap();
    let mut command = Command::new("sh");
    let script = "openssl dgst -sha256 -mac HMAC -macopt \"$1\" -binary \"$2\" | openssl base64 -A";
    command.args(["-c", script, "sh", option]).arg(&file);
    let output = finish(command).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    format!("v1,{}", text(&output.stdout))
}

#[tokio::test]
async fn an_event_is_signed_as_the_specification_says() {
    let (provider, first, second) = (Provider::start().await, receiver().await, receiver().await);
    let plain = json!({"url": url(&second), "secret": PLAIN});
    let gate = telling(&provider, &[hook(&first), plain]).start().await;
    let event = test(&gate).await;
    for (receiver, key) in [(&first, format!("hexkey:{KEY}")), (&second, format!("key:{PLAIN}"))] {
        let call = receiver.wait_for_calls(1).await.remove(0);
        assert_eq!((call.method(), call.path()), ("POST", "/hook?token=hunter2"));
        assert_eq!(call.header("content-type"), Some("application/json"));
        assert_eq!(id(&call), event);
        // The test clock's noon.
        assert_eq!(call.header("webhook-timestamp"), Some("1781524800"));
        let expected = signed_by(&key, &call).await;
        assert_eq!(call.header("webhook-signature"), Some(&*expected));
        assert_eq!(call.header("authorization"), Some("Basic dXNlcjpodW50ZXIy"));
        let body = call.json();
        assert_eq!(
            (&body["type"], &body["timestamp"]),
            (&json!("webhook.test"), &json!("2026-06-15T12:00:00.000000Z"))
        );
        assert!(body["data"].is_object(), "{body}");
    }
    gate.wait_for_metric(OK, 2).await;
    gate.wait_for_metric(PENDING, 0).await;
}

#[tokio::test]
async fn what_fails_is_sent_again_later_under_the_same_id() {
    let (provider, receiver) = (Provider::start().await, receiver().await);
    let gate = telling(&provider, &[hook(&receiver)]).start().await;
    let failures = [
        Reply::bytes(500, "x".repeat(100_000)),
        Reply::bytes(302, "").header("location", &format!("{}/elsewhere", provider.url())),
        Reply::close(),
        Reply::bytes(503, ""),
    ];
    let count = failures.len();
    failures.into_iter().for_each(|reply| receiver.next(reply));
    let event = test(&gate).await;
    for failed in 1..=count {
        gate.wait_for_metric(FAILED, u64::try_from(failed).unwrap()).await;
        assert_eq!(receiver.calls().len(), failed, "it waits before it tries again");
        gate.clock().advance(Duration::from_secs(6 << (failed - 1)));
        receiver.wait_for_calls(failed + 1).await;
    }
    gate.wait_for_metric(OK, 1).await;
    gate.wait_for_metric(PENDING, 0).await;
    let calls = receiver.calls();
    assert_eq!(ids(&calls), vec![event.as_str(); count + 1]);
    let stamps: Vec<&str> =
        calls.iter().filter_map(|call| call.header("webhook-timestamp")).collect();
    assert!(stamps.is_sorted() && stamps[0] != stamps[count], "signed anew: {stamps:?}");
    assert_eq!(provider.calls().len(), 0, "no redirect is followed");
}

#[tokio::test]
async fn one_address_that_fails_holds_no_other_up_and_order_is_kept() {
    let (provider, hanging, well) = (Provider::start().await, receiver().await, receiver().await);
    let gate = telling(&provider, &[hook(&hanging), hook(&well)]).start().await;
    let held = Gate::closed();
    hanging.next(Reply::bytes(503, "").after(&held));
    let mut events = Vec::new();
    for _ in 0..5 {
        events.push(test(&gate).await);
    }
    assert_eq!(ids(&well.wait_for_calls(5).await), events);
    gate.wait_for_metric(OK, 5).await;
    held.reached_by(1).await;
    held.open();
    gate.wait_for_metric(FAILED, 1).await;
    assert_eq!(hanging.calls().len(), 1, "an address that is away is left alone");
    let shown = gate.admin("/admin/webhooks").await.ok();
    let list = shown.json();
    assert_eq!((&list["data"][0]["pending"], &list["data"][1]["pending"]), (&json!(5), &json!(0)));
    assert_eq!(
        (&list["data"][0]["failures"], &list["data"][0]["last"]["status"]),
        (&json!(1), &json!(503))
    );
    assert_eq!((&list["data"][1]["last"]["result"], &list["next"]), (&json!("ok"), &Value::Null));
    gate.clock().advance(Duration::from_secs(6));
    let mut expected = vec![events[0].as_str()];
    expected.extend(events.iter().map(String::as_str));
    assert_eq!(ids(&hanging.wait_for_calls(6).await), expected);
    gate.wait_for_metric(PENDING, 0).await;
}

#[tokio::test]
async fn an_event_that_is_refused_is_passed_by_and_given_up_after_three_days() {
    let (provider, receiver) = (Provider::start().await, receiver().await);
    let gate = telling(&provider, &[hook(&receiver)]).start().await;
    receiver.next(Reply::bytes(400, ""));
    let refused = test(&gate).await;
    gate.wait_for_metric(FAILED, 1).await;
    let other = test(&gate).await;
    assert_eq!(ids(&receiver.wait_for_calls(2).await), [refused.as_str(), other.as_str()]);
    gate.wait_for_metric(OK, 1).await;
    receiver.next(Reply::bytes(400, ""));
    gate.clock().advance(Duration::from_secs(3 * 86_400));
    gate.wait_for_metric(GIVEN_UP, 1).await;
    gate.wait_for_metric(PENDING, 0).await;
    assert_eq!(id(&receiver.calls()[2]), refused);
}

#[tokio::test]
async fn what_waits_is_sent_after_a_restart() {
    let (provider, receiver) = (Provider::start().await, receiver().await);
    let gate = telling(&provider, &[hook(&receiver)]).start().await;
    receiver.next(Reply::bytes(503, ""));
    let events = [test(&gate).await, test(&gate).await];
    gate.wait_for_metric(FAILED, 1).await;
    let gate = gate.restart().await;
    let calls = receiver.wait_for_calls(3).await;
    assert_eq!(ids(&calls), [&events[0], &events[0], &events[1]]);
    gate.wait_for_metric(PENDING, 0).await;
}

#[tokio::test]
async fn what_was_accepted_survives_a_kill_at_once() {
    let (provider, receiver) = (Provider::start().await, receiver().await);
    let gate = telling(&provider, &[hook(&receiver)]).spawn().await;
    let held = Gate::closed();
    receiver.next(taken().after(&held));
    let events = [test(&gate).await, test(&gate).await];
    held.reached_by(1).await;
    let gate = gate.kill_and_restart().await;
    let calls = receiver.wait_for_calls(3).await;
    assert_eq!(ids(&calls), [&events[0], &events[0], &events[1]]);
    gate.wait_for_metric(PENDING, 0).await;
}

async fn use_up(gate: &Door, requests: usize) {
    for _ in 0..requests {
        gate.send(&gate.chat()).await.ok();
    }
}

/// The quota warnings that came, as `(threshold, id)`, each once.
fn warnings(receiver: &Provider) -> Vec<(u64, String)> {
    let calls = receiver.calls();
    let warning = |call: &Call| {
        let body = call.json();
        let threshold = body["data"]["threshold"].as_u64()?;
        (body["type"] == "quota.warning").then(|| (threshold, id(call).to_owned()))
    };
    let mut warnings: Vec<_> = calls.iter().filter_map(warning).collect();
    warnings.sort();
    warnings.dedup();
    warnings
}

fn limited(provider: &Provider, hooks: &[Value]) -> Setup {
    telling(provider, hooks).plan(DEFAULT_PLAN, |plan| plan.set("requests_per_month", 10))
}

#[tokio::test]
async fn a_quota_that_runs_out_is_told_once_however_often_the_process_is_killed() {
    let (provider, receiver) = (Provider::start().await, receiver().await);
    let mut gate = limited(&provider, &[hook(&receiver)]).spawn().await;
    use_up(&gate, 8).await;
    gate = gate.kill_and_restart().await;
    eventually("the warning at 80 %", async || (warnings(&receiver).len() == 1).then_some(()))
        .await;
    use_up(&gate, 2).await;
    for _ in 0..3 {
        gate = gate.kill_and_restart().await;
    }
    let both = eventually("both warnings", async || {
        let warnings = warnings(&receiver);
        (warnings.len() >= 2).then_some(warnings)
    })
    .await;
    // Another start and another event: nothing new comes before it.
    gate = gate.kill_and_restart().await;
    let last = test(&gate).await;
    eventually("the last event", async || {
        receiver.calls().iter().any(|call| id(call) == last).then_some(())
    })
    .await;
    assert_eq!(warnings(&receiver), both);
    assert_eq!(both.iter().map(|warning| warning.0).collect::<Vec<_>>(), [80, 100]);
    let first = receiver.calls().into_iter().find(|call| id(call) == both[0].1).unwrap().json();
    assert_eq!(first["data"]["account"], DEFAULT_PLAN);
    assert_eq!((&first["data"]["kind"], &first["data"]["limit"]), (&json!("quota"), &json!("10")));
    assert_eq!((&first["data"]["used"], &first["data"]["key_id"]), (&json!("8"), &Value::Null));
}

fn rewrite(gate: &Process, hooks: &[Value]) {
    let text = std::fs::read(gate.file()).unwrap();
    let mut config: Value = serde_json::from_slice(&text).unwrap();
    config["billing"]["webhooks"] = hooks.into();
    std::fs::write(gate.file(), serde_json::to_string_pretty(&config).unwrap()).unwrap();
}

async fn reload(gate: &Process) {
    gate.tell("POST", "/admin/config/reload", &Value::Null).await.ok();
}

#[tokio::test]
async fn a_reload_takes_effect_at_once_and_shows_no_secret() {
    let (provider, before, after) = (Provider::start().await, receiver().await, receiver().await);
    before.answer(|_| Reply::bytes(503, ""));
    let gate = limited(&provider, &[]).set("log.level", "debug").spawn().await;
    let nobody = gate.tell("POST", "/admin/webhooks/test", &Value::Null).await;
    nobody.refused(409, "conflict");
    use_up(&gate, 9).await;

    let warnings_only = json!({"url": url(&before), "secret": SECRET, "events": ["quota.warning"]});
    rewrite(&gate, &[warnings_only]);
    reload(&gate).await;
    // What nobody could be told of before.
    let warned = before.wait_for_calls(1).await.remove(0).json();
    assert_eq!((&warned["type"], &warned["data"]["used"]), (&json!("quota.warning"), &json!("9")));
    gate.wait_for_metric(PENDING, 1).await;

    let other = json!({"url": url(&after), "secret": PLAIN});
    rewrite(&gate, &[other]);
    reload(&gate).await;
    // What waits for an address that is gone is forgotten with it.
    gate.wait_for_metric(PENDING, 0).await;
    let event = test(&gate).await;
    let call = after.wait_for_calls(1).await.remove(0);
    assert_eq!(id(&call), event);
    let expected = signed_by(&format!("key:{PLAIN}"), &call).await;
    assert_eq!(call.header("webhook-signature"), Some(&*expected));
    gate.wait_for_metric(OK, 1).await;

    let config = gate.admin("/admin/config").await.ok();
    let mark = blake3::hash(url(&after).as_bytes()).to_hex();
    let shown = format!("http://{}/…{mark:.6}", after.address());
    let hooks = &config.json()["billing"]["webhooks"];
    assert_eq!(*hooks, json!([{"url": shown, "secret": "***", "events": null}]));
    let list = gate.admin("/admin/webhooks").await.ok();
    assert_eq!(list.json()["data"][0]["url"], shown);
    let metrics = gate.admin("/metrics").await.ok().text();
    for said in [config.text(), list.text(), metrics, gate.log(), gate.banner().to_owned()] {
        for secret in ["hunter2", SECRET, PLAIN, "MfKQ9r8"] {
            assert!(!said.contains(secret), "{secret} in {said}");
        }
    }
    assert!(gate.log().contains("an event was not taken"), "{}", gate.log());
}

#[tokio::test]
async fn over_https_the_certificate_is_checked() {
    let (provider, receiver) = (Provider::start().await, receiver().await);
    let (trusted, strange) = (Authority::new(), Authority::new());
    let good = trusted.issue().before(receiver.address()).await;
    let bad = strange.issue().before(receiver.address()).await;
    let hooks: Vec<Value> = [good, bad]
        .iter()
        .map(|address| json!({"url": format!("https://localhost:{}/", address.port()), "secret": SECRET}))
        .collect();
    let gate = telling(&provider, &hooks).spawn_trusting(&trusted).await;
    test(&gate).await;
    gate.wait_for_metric(OK, 1).await;
    gate.wait_for_metric(FAILED, 1).await;
    assert_eq!(receiver.calls().len(), 1);
    let list = gate.admin("/admin/webhooks").await.ok().json();
    assert_eq!(list["data"][0]["last"]["result"], "ok");
    assert_eq!(list["data"][1]["last"]["error"], "it cannot be reached");
}

#[tokio::test]
async fn the_endpoints_are_behind_the_admin_token() {
    let provider = Provider::start().await;
    let gate = telling(&provider, &[]).start().await;
    for request in
        [Request::get("/admin/webhooks"), Request::post("/admin/webhooks/test", &Value::Null)]
    {
        request.send(gate.admin).await.refused(401, "invalid_api_key");
    }
    assert_eq!(gate.admin("/admin/webhooks").await.ok().json(), json!({"data": [], "next": null}));
    let said = gate.tell("POST", "/admin/webhooks/test", &json!({"url": "x"})).await;
    said.refused(400, "invalid_value");
}
