//! The printable page, in a real browser. Covers H3.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::{draft, finalize, post, sold};
use crate::harness::binary::{finish, text};
use crate::harness::provider::Provider;

/// Runs headless Chromium with these arguments; gives its output.
async fn chromium(home: &Path, arguments: &[String]) -> String {
    let mut command = Command::new("chromium");
    // It needs neither its sandbox nor the network for a page without scripts.
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"])
        .args(["--disable-dev-shm-usage", "--no-pdf-header-footer"])
        .arg(format!("--user-data-dir={}", home.join("profile").display()))
        .args(arguments)
        .env("HOME", home);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).any(|folder| folder.join("chromium").exists());
    assert!(installed, "chromium is missing: run `make setup`");
    let output = finish(command).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[tokio::test]
async fn the_page_is_an_invoice_that_prints_on_a4() {
    let provider = Provider::start().await;
    let seller = json!({
        "name": "Acme <AI> Ltd", "address": ["1 Example Way", "VAT ID GB 123"],
        "footer": ["Payable within 14 days."],
    });
    let gate = sold(&provider)
        .set("billing.seller", seller)
        .set("billing.tax", json!({"rate": "19", "name": "VAT"}))
        .start()
        .await;
    let debit = json!({
        "account": "pro", "amount": "1234.50", "description": "Set-up <b>&amp; \"training\"</b>",
    });
    assert_eq!(post(&gate, "/admin/adjustments", &debit).await.status(), 201);
    let invoice = finalize(&gate, &draft(&gate, "pro", "2026-06").await).await;
    let path = format!("/admin/invoices/{}/export?format=html", invoice["id"].as_str().unwrap());
    let answer = gate.admin(&path).await.ok();
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));

    let home = tempfile::TempDir::new().unwrap();
    let url = |name: &str| format!("file://{}", home.path().join(name).display());
    // What is seen, and not what the markup has: the page is replaced by its text.
    let reader = "<script>document.body.replaceWith(document.createTextNode(\
                  document.body.innerText))</script></body>";
    std::fs::write(home.path().join("read.html"), answer.text().replace("</body>", reader))
        .unwrap();
    let seen = chromium(home.path(), &["--dump-dom".to_owned(), url("read.html")]).await;
    let (_, seen) = seen.split_once("</head>").unwrap();
    for shown in [
        "Acme &lt;AI&gt; Ltd",
        "VAT ID GB 123",
        "2026-000001",
        "2026-06-01 – 2026-06-30",
        "Account pro",
        "Plan pro, USD 30.00 a month: 2026-06-15 12:00 to 2026-07-01, 15 d 12 h of 30 d",
        "Set-up &lt;b&gt;&amp;amp; \"training\"&lt;/b&gt;",
        "1,250.00",
        "VAT 19% on USD 1250.00",
        "237.50",
        "USD 1,487.50",
        "Payable within 14 days.",
    ] {
        assert!(seen.contains(shown), "{shown} is not seen in {seen}");
    }

    std::fs::write(home.path().join("page.html"), answer.text()).unwrap();
    let pdf = home.path().join("page.pdf");
    let print = format!("--print-to-pdf={}", pdf.display());
    chromium(home.path(), &[print, url("page.html")]).await;
    let pdf = String::from_utf8_lossy(&std::fs::read(pdf).unwrap()).into_owned();
    // A4 is 595 by 842 points, give or take the rounding.
    let boxes: Vec<&str> = pdf.split("/MediaBox [").skip(1).collect();
    let boxes: Vec<&str> = boxes.iter().filter_map(|rest| rest.split(']').next()).collect();
    assert_eq!(boxes.len(), 1, "one page: {boxes:?}");
    assert!(boxes[0].starts_with("0 0 59") && boxes[0].contains(" 84"), "{boxes:?}");
}
