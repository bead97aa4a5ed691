//! Fields of CSV (RFC 4180) that a spreadsheet may open.

use crate::base::money::Money;

/// `text` as one field. A text that a spreadsheet would take for a formula is
/// led by an apostrophe, as clients choose some of the texts.
pub fn field(text: &str) -> String {
    let number = text.parse::<Money>().is_ok();
    let text = if !number && text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    if text.contains([',', '"', '\n', '\r']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn a_field_is_quoted_where_it_must_be_and_never_a_formula() {
        for (text, written) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("a \"b\"\n", "\"a \"\"b\"\"\n\""),
            ("=1+1", "'=1+1"),
            ("-1.5", "-1.5"),
            ("-x", "'-x"),
            ("", ""),
        ] {
            assert_eq!(field(text), written, "{text:?}");
        }
    }
}
