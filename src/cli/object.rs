//! What commands about single things share: sending, printing, following lists.

use clap::ValueEnum;
use serde_json::value::RawValue;

use super::client::AdminClient;
use super::format::{Columns, Format, Printer, field, visible};
use super::out::{Failure, Out};

/// How one thing is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people
    Table,
    /// What the admin API gives
    Json,
}

/// How a command prints one thing.
#[derive(Debug, clap::Args)]
pub(super) struct Shape {
    /// How to print it
    #[arg(long, value_enum, default_value_t = Form::Table)]
    format: Form,
}

impl Shape {
    /// Whether it is for people.
    pub(super) fn is_table(&self) -> bool {
        self.format == Form::Table
    }
}

/// Runs `work` to its end.
pub(super) fn run<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start: {error}")))?
        .block_on(work)
}

/// An id as a segment of a path.
pub(super) fn segment(id: &str) -> Result<String, Failure> {
    if id.is_empty() || id == "." || id == ".." {
        return Err(Failure::Usage(format!("{id:?} is no id")));
    }
    let mut segment = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            segment.push(char::from(byte));
        } else {
            segment.push_str(&format!("%{byte:02X}"));
        }
    }
    Ok(segment)
}

/// Prints `object`: for people, those of its `fields` that have a value, one a
/// line.
pub(super) fn print_object(
    object: &RawValue,
    fields: &[&str],
    shape: &Shape,
    out: &mut Out,
) -> Result<(), Failure> {
    if shape.format == Form::Json {
        return out.line(object.get());
    }
    for name in fields {
        let value = field(object, name);
        if !value.is_empty() && value != "{}" {
            out.line(&format!("{name:<12} {}", visible(&value)))?;
        }
    }
    Ok(())
}

/// Prints the list at `path` to its end. Follows the pages one by one: memory
/// holds one page, however long the list is.
pub(super) async fn follow(
    client: &AdminClient,
    path: &str,
    query: &[(&str, &str)],
    format: Format,
    columns: Columns,
    out: &mut Out,
) -> Result<(), Failure> {
    let mut printer = Printer::new(format, columns, out);
    let mut after: Option<String> = None;
    loop {
        let mut query = query.to_vec();
        query.extend(after.as_deref().map(|after| ("after", after)));
        let page = client.page(path, &query).await?;
        printer.page(&page.data)?;
        match page.next {
            // A cursor that does not move would go on for ever.
            Some(next) if after.as_ref() != Some(&next) => after = Some(next),
            _ => return printer.end(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stays_one_segment() {
        assert_eq!(segment("acct_1-b.c~d").unwrap(), "acct_1-b.c~d");
        assert_eq!(segment("a/b?c#d%e f").unwrap(), "a%2Fb%3Fc%23d%25e%20f");
        for id in ["", ".", ".."] {
            assert!(matches!(segment(id), Err(Failure::Usage(_))), "{id:?}");
        }
    }
}
