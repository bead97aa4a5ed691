//! What leaves in a file is what the invoice says, and nothing that acts.

use super::super::invoice::{Basis, Content};
use super::*;

fn line(description: &str, quantity: i64, unit_price: &str, total: &str, basis: Basis) -> Line {
    Line {
        service: "ai_api".to_owned(),
        endpoint: "chat, \"fast\"".to_owned(),
        description: description.to_owned(),
        quantity,
        unit_price: unit_price.parse().unwrap(),
        total: total.parse().unwrap(),
        basis,
    }
}

fn invoice(status: Status) -> Invoice {
    let credit = || Basis::Adjustment("adj_1".to_owned());
    Invoice {
        status,
        hash: "00ff".to_owned(),
        content: Content {
            id: "inv_1".to_owned(),
            number: (status != Status::Draft).then(|| "2026-000007".to_owned()),
            account: "shop".to_owned(),
            customer: "<script>alert(1)</script> & 'Söhne'".to_owned(),
            period: "2026-11".to_owned(),
            days: ["2026-11-01".to_owned(), "2026-11-30".to_owned()],
            span: None,
            currency: "USD".to_owned(),
            corrects: None,
            seller: Some(Seller {
                name: "Acme <AI>".to_owned(),
                address: vec!["1 Way".to_owned()],
                footer: vec!["Thank you".to_owned()],
            }),
            tax: None,
            created_at: String::new(),
            issued_at: None,
            issued_on: None,
            base: String::new(),
            lines: vec![
                line("=HYPERLINK(\"x\")", 1_234_567, "0.0025", "3086.42", credit()),
                line("Thanks", 1, "-5", "-5", credit()),
                line("VAT 19% on USD 3081.42", 1, "585.47", "585.47", Basis::Tax),
            ],
            total: "3666.89".parse().unwrap(),
        },
    }
}

#[test]
fn the_view_has_the_contracts_fields_and_no_other() {
    let view = serde_json::to_value(View::from(&invoice(Status::Final))).unwrap();
    let keys = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    let mut wanted = ["id", "number", "account", "period", "status", "currency", "lines", "total"];
    wanted.sort_unstable();
    assert_eq!(keys(&view), wanted);
    let mut wanted = ["service", "endpoint", "description", "quantity", "unit_price", "total"];
    wanted.sort_unstable();
    assert_eq!(keys(&view["lines"][0]), wanted);
    assert_eq!(view["total"], "3666.89");
    let whole = serde_json::to_value(json(&invoice(Status::Final))).unwrap();
    assert_eq!((&whole["hash"], &whole["number"]), (&"00ff".into(), &"2026-000007".into()));
}

#[test]
fn csv_has_a_row_for_each_line_and_one_for_the_total() {
    let text = csv(&invoice(Status::Final));
    let lines: Vec<&str> = text.split("\r\n").collect();
    assert_eq!(lines.len(), 6, "{text}");
    assert_eq!(lines[0], COLUMNS.join(","));
    let head = "inv_1,2026-000007,shop,2026-11,final,USD";
    let first = "ai_api,\"chat, \"\"fast\"\"\",\"'=HYPERLINK(\"\"x\"\")\",1234567,0.0025,3086.42";
    assert_eq!(lines[1], format!("{head},{first},,"));
    assert_eq!(lines[4], format!("{head},total,,,,,3666.89,,"));
    assert_eq!(lines[5], "");
}

#[test]
fn a_page_shows_every_figure_and_obeys_no_text() {
    let page = html(&invoice(Status::Final));
    for shown in ["1,234,567", "0.0025", "3,086.42", "−5.00", "585.47", "USD 3,666.89"] {
        assert!(page.contains(shown), "{shown} is missing in {page}");
    }
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;"), "{page}");
    assert!(page.contains("Acme &lt;AI&gt;") && page.contains("&#39;Söhne&#39;"), "{page}");
    assert!(!page.contains("stamp final"), "{page}");
    for (status, stamp) in
        [(Status::Draft, "draft"), (Status::Paid, "paid"), (Status::Void, "void")]
    {
        let stamp = format!("<p class=\"stamp {stamp}\">{stamp}</p>");
        assert!(html(&invoice(status)).contains(&stamp), "{stamp}");
    }
    for outside in ["http:", "https:", "url(", "@import"] {
        assert!(!page.contains(outside), "{outside}");
    }
}
