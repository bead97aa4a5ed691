//! Invoices as operators and their customers meet them. Covers A4, H2 and H3.

mod damage;
mod page;
mod tokens;
mod told;

use serde_json::{Value, json};

use crate::harness::binary::{Process, text};
use crate::harness::client::{Answer, Request};
use crate::harness::door::{Door, chat_body};
use crate::harness::provider::Provider;
use crate::harness::setup::{Setup, Tollgate, key_of};

/// Plans `pro` at 30 a month and `free`, whose accounts begin at noon of 15 June:
/// 15.5 of 30 days. A cheap class beside the default one.
fn sold(provider: &Provider) -> Setup {
    Tollgate::before(provider)
        .class("cheap", "0.0025", &json!({}))
        .plan("pro", |plan| plan.set("monthly_price", 30))
        .plan("free", crate::harness::plan::Plan::included)
}

async fn ask(gate: &Door, plan: &str, path: &str) {
    gate.send(&Request::post(path, &chat_body()).bearer(&key_of(plan))).await.ok();
}

async fn post(gate: &Door, path: &str, body: &Value) -> Answer {
    gate.tell("POST", path, body).await
}

#[track_caller]
fn made(answer: &Answer) -> Value {
    assert_eq!(answer.status(), 201, "{}", answer.text());
    answer.json()
}

async fn draft(gate: &Door, account: &str, month: &str) -> Value {
    made(&post(gate, "/admin/invoices", &json!({"month": month, "account": account})).await)
}

async fn finalize(gate: &Door, draft: &Value) -> Value {
    let path = format!("/admin/invoices/{}/finalize", draft["id"].as_str().unwrap());
    post(gate, &path, &Value::Null).await.ok().json()
}

/// The month in which an account was made, in UTC.
fn month_of(account: &Value) -> String {
    let made = account["created_at"].as_str().unwrap();
    made.split('-').take(2).collect::<Vec<_>>().join("-")
}

fn lines(invoice: &Value) -> Vec<(String, String, i64, String, String)> {
    let text = |line: &Value, name: &str| line[name].as_str().unwrap().to_owned();
    let line = |line: &Value| {
        let quantity = line["quantity"].as_i64().unwrap();
        let (price, total) = (text(line, "unit_price"), text(line, "total"));
        (text(line, "service"), text(line, "endpoint"), quantity, price, total)
    };
    invoice["lines"].as_array().unwrap().iter().map(line).collect()
}

fn row(
    what: &str,
    name: &str,
    n: i64,
    price: &str,
    total: &str,
) -> (String, String, i64, String, String) {
    (what.to_owned(), name.to_owned(), n, price.to_owned(), total.to_owned())
}

#[tokio::test]
async fn an_invoice_reconciles_with_the_ledger() {
    let provider = Provider::start().await;
    let gate = sold(&provider).start().await;
    for path in ["/v1", "/v1", "/cheap/v1", "/v1", "/cheap/v1"] {
        ask(&gate, "pro", &format!("{path}/chat/completions")).await;
    }
    let invoice = draft(&gate, "pro", "2026-06").await;
    let fields: Vec<&String> = invoice.as_object().unwrap().keys().collect();
    assert_eq!(
        fields,
        ["account", "currency", "id", "lines", "number", "period", "status", "total"]
    );
    assert_eq!(
        lines(&invoice),
        [
            row("plan", "pro", 1, "15.5", "15.5"),
            // 2 × 0.0025 is half a cent: to the even one.
            row("ai_api", "cheap", 2, "0.0025", "0"),
            row("ai_api", "default", 3, "0.02", "0.06"),
        ]
    );
    assert_eq!((&invoice["total"], &invoice["number"]), (&json!("15.56"), &Value::Null));
    let sums = gate.admin("/admin/usage?by=account&account=pro").await.ok().json();
    assert_eq!(sums["data"][0]["revenue"], "0.065", "as the lines before they are rounded");

    let last = finalize(&gate, &invoice).await;
    assert_eq!((&last["status"], &last["number"]), (&json!("final"), &json!("2026-000001")));
    assert_eq!(last["lines"], invoice["lines"]);

    // A request that came too late is on the next invoice, and on no other.
    ask(&gate, "pro", "/v1/chat/completions").await;
    gate.clock().advance(std::time::Duration::from_secs(16 * 86_400));
    let next = draft(&gate, "pro", "2026-07").await;
    assert_eq!(
        lines(&next),
        [row("plan", "pro", 1, "30", "30"), row("ai_api", "default", 1, "0.02", "0.02")]
    );
    let late = next["lines"][1]["description"].as_str().unwrap().to_owned();
    assert!(late.contains("2026-06"), "{late}");

    let gate = gate.restart().await;
    let path = format!("/admin/invoices/{}", last["id"].as_str().unwrap());
    assert_eq!(gate.admin(&path).await.ok().json(), last);
    let all = gate.admin("/admin/invoices?account=pro").await.ok().json();
    assert_eq!(all["data"], json!([last, next]));
    let chosen = gate.admin("/admin/invoices?month=2026-06&status=final&limit=1").await.ok().json();
    assert_eq!((&chosen["data"], &chosen["next"]), (&json!([last]), &Value::Null));
}

#[tokio::test]
async fn drafts_are_made_for_all_who_owe_or_used_something() {
    let provider = Provider::start().await;
    let gate = sold(&provider).start().await;
    let all = post(&gate, "/admin/invoices", &json!({"month": "2026-06"})).await;
    let accounts = |list: &Value| -> Vec<String> {
        let data = list["data"].as_array().unwrap().iter();
        data.map(|invoice| invoice["account"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(accounts(&made(&all)), ["pro"], "free owes nothing and did nothing");
    ask(&gate, "free", "/v1/chat/completions").await;
    let all = made(&post(&gate, "/admin/invoices", &json!({"month": "2026-06"})).await);
    assert_eq!(accounts(&all), ["pro", "free"]);
    assert_eq!(lines(&all["data"][1]), [row("ai_api", "default", 1, "0", "0")]);
    let listed = gate.admin("/admin/invoices?month=2026-06&status=draft").await.ok().json();
    assert_eq!(all, listed, "and the pages after the first follow in the list");
}

#[tokio::test]
async fn an_account_pays_for_its_plans_until_it_is_deleted() {
    let provider = Provider::start().await;
    let gate = sold(&provider).start().await;
    let day = std::time::Duration::from_secs(86_400);
    made(&post(&gate, "/admin/accounts", &json!({"id": "shop", "name": "S", "plan": "pro"})).await);
    gate.clock().advance(day * 3);
    gate.change("/admin/accounts/shop", &json!({"status": "suspended"})).await.ok();
    gate.clock().advance(day * 3);
    gate.change("/admin/accounts/shop", &json!({"plan": "free"})).await.ok();
    gate.clock().advance(day * 2);
    gate.change("/admin/accounts/shop", &json!({"plan": "pro"})).await.ok();
    gate.clock().advance(day * 3);
    gate.tell("DELETE", "/admin/accounts/shop", &Value::Null).await.ok();
    let invoice = draft(&gate, "shop", "2026-06").await;
    assert_eq!(lines(&invoice), [row("plan", "pro", 1, "9", "9")]);
}

/// Every bad input is a clear refusal, and nothing has changed after it.
#[tokio::test]
async fn bad_input_is_refused_and_changes_nothing() {
    let provider = Provider::start().await;
    let gate = sold(&provider).start().await;
    let invoice = draft(&gate, "pro", "2026-06").await;
    let last = finalize(&gate, &invoice).await;
    let open = draft(&gate, "free", "2026-06").await;
    let of = |invoice: &Value, what: &str| {
        format!("/admin/invoices/{}{what}", invoice["id"].as_str().unwrap())
    };
    let state = async || {
        let invoices = gate.admin("/admin/invoices").await.ok().json();
        (invoices, gate.admin("/admin/adjustments").await.ok().json())
    };
    let before = state().await;
    let new = "/admin/invoices".to_owned();
    let adjust = "/admin/adjustments".to_owned();
    let credit = |amount: &str, account: &str| json!({"account": account, "amount": amount, "description": "because"});
    for (path, body, status, code, param) in [
        (&new, json!({}), 400, "invalid_value", "month"),
        (&new, json!({"month": "2026-13"}), 400, "invalid_value", "month"),
        (&new, json!({"month": "june"}), 400, "invalid_value", "month"),
        (&new, json!({"month": 202606}), 400, "invalid_value", "month"),
        (&new, json!({"month": "2026-07"}), 400, "invalid_value", "month"),
        (&new, json!({"month": "2026-05", "account": "pro"}), 400, "invalid_value", "month"),
        (&new, json!({"month": "2026-06", "account": "nobody"}), 404, "not_found", ""),
        (&new, json!({"month": "2026-06", "account": "pro"}), 409, "conflict", ""),
        (&new, json!({"month": "2026-06", "acount": "pro"}), 400, "invalid_value", "acount"),
        (&of(&last, "/push"), Value::Null, 409, "conflict", ""),
        (&of(&open, "/pay"), Value::Null, 409, "conflict", ""),
        (&of(&open, "/finalize"), json!({"number": "7"}), 400, "invalid_value", "number"),
        (&"/admin/invoices/..%2fx/finalize".to_owned(), Value::Null, 404, "not_found", ""),
        (&"/admin/invoices/inv_0/void".to_owned(), Value::Null, 404, "not_found", ""),
        (&of(&last, "/credit-note"), json!({"reason": "x"}), 400, "invalid_value", "amount"),
        (&of(&last, "/credit-note"), json!({"amount": 1}), 400, "invalid_value", "reason"),
        (
            &of(&last, "/credit-note"),
            json!({"amount": "-1", "reason": "x"}),
            400,
            "invalid_value",
            "amount",
        ),
        (
            &of(&last, "/credit-note"),
            json!({"amount": "15.51", "reason": "x"}),
            409,
            "conflict",
            "",
        ),
        (
            &of(&last, "/credit-note"),
            json!({"lines": [], "reason": "x"}),
            400,
            "invalid_value",
            "lines",
        ),
        (&of(&open, "/credit-note"), json!({"amount": "1", "reason": "x"}), 409, "conflict", ""),
        (&adjust, credit("-0.01", "free"), 409, "conflict", ""),
        (&adjust, credit("1", "pro"), 409, "conflict", ""),
        (&adjust, credit("0.001", "free"), 400, "invalid_value", "amount"),
        (&adjust, credit("0.0000000000001", "free"), 400, "invalid_value", "amount"),
        (&adjust, credit("0", "free"), 400, "invalid_value", "amount"),
        (&adjust, credit("1000000000000001", "free"), 400, "invalid_value", "amount"),
        (&adjust, credit("1", "nobody"), 404, "not_found", ""),
    ] {
        let answer = post(&gate, path, &body).await;
        let error = answer.refused(status, code);
        let named = error["param"].as_str().unwrap_or_default();
        assert_eq!(named, param, "{path} {body}: {}", answer.text());
    }
    for (path, status) in [
        (of(&last, "/export?format=pdf"), 400),
        ("/admin/invoices/inv_0".to_owned(), 404),
        ("/admin/invoices?status=late".to_owned(), 400),
        ("/admin/invoices?month=2026".to_owned(), 400),
        ("/admin/invoices?acount=a".to_owned(), 400),
    ] {
        assert_eq!(gate.admin(&path).await.status(), status, "{path}");
    }
    assert_eq!(state().await, before);
}

#[tokio::test]
async fn adjustments_credit_notes_and_payment_are_each_their_own() {
    let provider = Provider::start().await;
    let tax = json!({"rate": "20", "name": "VAT"});
    let gate = sold(&provider).set("billing.tax", tax).set("billing.currency", "EUR").start().await;
    let credit = json!({"account": "pro", "amount": "-5.50", "description": "Sorry"});
    let adjustment = made(&post(&gate, "/admin/adjustments", &credit).await);
    assert_eq!((&adjustment["amount"], &adjustment["month"]), (&json!("-5.5"), &json!("2026-06")));
    let listed = gate.admin("/admin/adjustments?account=pro").await.ok().json();
    assert_eq!(listed["data"], json!([adjustment]));
    let last = finalize(&gate, &draft(&gate, "pro", "2026-06").await).await;
    assert_eq!(
        lines(&last),
        [
            row("plan", "pro", 1, "15.5", "15.5"),
            row("adjustment", "credit", 1, "-5.5", "-5.5"),
            row("tax", "VAT", 1, "2", "2"),
        ]
    );
    assert_eq!((&last["total"], &last["currency"]), (&json!("12"), &json!("EUR")));
    let path = format!("/admin/invoices/{}", last["id"].as_str().unwrap());
    let note = json!({"lines": [{"description": "Outage", "amount": "6"}], "reason": "Outage"});
    let note = made(&post(&gate, &format!("{path}/credit-note"), &note).await);
    assert_eq!((&note["total"], &note["number"]), (&json!("-6"), &json!("2026-000002")));
    let export = format!("/admin/invoices/{}/export", note["id"].as_str().unwrap());
    let whole = gate.admin(&export).await.ok().json();
    assert_eq!(whole["corrects"]["number"], "2026-000001");
    let paid = post(&gate, &format!("{path}/pay"), &Value::Null).await.ok().json();
    assert_eq!(paid["status"], "paid");
    let hash = gate.admin(&format!("{path}/export")).await.ok().json()["hash"].clone();
    assert_eq!(hash.as_str().unwrap().len(), 64);
}

/// Kills the process while it gives out numbers: none is lost or given twice.
#[tokio::test]
async fn numbers_have_no_gaps_after_a_kill() {
    const ACCOUNTS: usize = 12;
    let provider = Provider::start().await;
    let mut gate = sold(&provider).spawn().await;
    for kill_after in [1, 4, 7] {
        let mut month = String::new();
        for _ in 0..ACCOUNTS {
            let account = json!({"name": "A", "plan": "pro"});
            let account = made(&post(&gate, "/admin/accounts", &account).await);
            month = month_of(&account);
        }
        made(&post(&gate, "/admin/invoices", &json!({"month": month})).await);
        let drafts = gate.admin("/admin/invoices?status=draft").await.ok().json();
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        for draft in drafts["data"].as_array().unwrap().clone() {
            let (door, tell) = ((*gate).clone(), tell.clone());
            tokio::spawn(async move {
                let path = format!("/admin/invoices/{}/finalize", draft["id"].as_str().unwrap());
                let connection = tokio::net::TcpStream::connect(door.admin).await;
                // The process may be gone, which is what this is about.
                if connection.is_ok() {
                    drop(tell.send(post(&door, &path, &Value::Null).await.ok().json()));
                }
            });
        }
        let mut answered = Vec::new();
        while answered.len() < kill_after {
            answered.push(told.recv().await.unwrap());
        }
        gate = gate.kill_and_restart().await;
        for invoice in answered {
            let path = format!("/admin/invoices/{}", invoice["id"].as_str().unwrap());
            assert_eq!(gate.admin(&path).await.ok().json(), invoice, "what was answered stays");
        }
        let all = gate.admin("/admin/invoices?status=final").await.ok().json();
        let numbers = all["data"].as_array().unwrap().iter();
        let mut numbers: Vec<_> = numbers
            .map(|invoice| {
                invoice["number"].as_str().unwrap().split_once('-').unwrap().1.to_owned()
            })
            .collect();
        numbers.sort();
        let wanted: Vec<_> = (1..=numbers.len()).map(|n| format!("{n:06}")).collect();
        assert_eq!(numbers, wanted);
    }
}

#[tokio::test]
async fn a_reload_that_changes_a_fee_is_billed_from_its_moment_on() {
    let provider = Provider::start().await;
    let gate = sold(&provider).spawn().await;
    let account = json!({"id": "shop", "name": "S", "plan": "pro"});
    let account = made(&post(&gate, "/admin/accounts", &account).await);
    let month = &*month_of(&account);
    let mut config: Value = serde_json::from_slice(&std::fs::read(gate.file()).unwrap()).unwrap();
    for plan in config["plans"].as_array_mut().unwrap() {
        plan["monthly_price"] = 60.into();
    }
    std::fs::write(gate.file(), config.to_string()).unwrap();
    post(&gate, "/admin/config/reload", &Value::Null).await.ok();
    let invoice = draft(&gate, "shop", month).await;
    let texts: Vec<_> = invoice["lines"].as_array().unwrap().iter().collect();
    assert_eq!(texts.len(), 2, "{invoice}");
    for (line, fee) in texts.iter().zip(["30.00", "60.00"]) {
        let text = line["description"].as_str().unwrap();
        assert!(text.starts_with(&format!("Plan pro, USD {fee} a month")), "{text}");
    }
}

async fn run(gate: &Process, arguments: &[&str]) -> String {
    let output = gate.command(&[&["invoices"], arguments].concat()).await;
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[tokio::test]
async fn the_commands_do_what_the_api_does() {
    let provider = Provider::start().await;
    let gate = sold(&provider).spawn().await;
    let account = json!({"id": "shop", "name": "S", "plan": "pro"});
    let account = made(&post(&gate, "/admin/accounts", &account).await);
    let month = &*month_of(&account);
    let table = run(&gate, &["generate", "--month", month]).await;
    assert!(table.contains("shop") && table.contains("draft"), "{table}");
    let list = run(&gate, &["list", "--account", "shop", "--format", "json"]).await;
    let list: Value = serde_json::from_str(&list).unwrap();
    let id = list[0]["id"].as_str().unwrap();
    let shown = run(&gate, &["show", id]).await;
    assert!(shown.contains("Plan pro, USD 30.00 a month"), "{shown}");
    let last = run(&gate, &["finalize", id, "--format", "json"]).await;
    let last: Value = serde_json::from_str(&last).unwrap();
    assert!(last["number"].as_str().unwrap().ends_with("-000001"), "{last}");
    let csv = run(&gate, &["export", id, "--format", "csv"]).await;
    assert!(csv.ends_with("\r\n") && csv.contains(",total,"), "{csv}");
    let html = run(&gate, &["export", id]).await;
    assert!(html.starts_with("<!doctype html>") && html.contains("-000001"), "{html}");
    for (arguments, code) in [
        (&["push", id][..], 1),
        (&["generate", "--month", month, "--account", "shop"], 1),
        (&["generate", "--month", "2026-13"], 2),
        (&["show", "inv_0"], 1),
    ] {
        let output = gate.command(&[&["invoices"], arguments].concat()).await;
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?} says nothing");
    }
    let void = run(&gate, &["void", id]).await;
    assert!(void.contains("void"), "{void}");
}
