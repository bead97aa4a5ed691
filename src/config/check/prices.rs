//! The price file: what models cost whose entry does not say.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use super::models::token_prices;
use crate::config::field::Field;
use crate::config::raw::RawPriceFile;
use crate::config::read;
use crate::config::report::Report;
use crate::config::tree::{self, Mark};
use crate::config::types::PriceTable;

/// The price file that is looked for beside the configuration.
const USUAL: &str = "prices.yaml";
/// Largest price file, in bytes.
const LARGEST: u64 = 4 * 1024 * 1024;

/// Reads and checks the price file that the configuration at `source` names,
/// or that stands beside it.
pub(super) fn check(given: &Field<String>, source: &Path, report: &mut Report) -> PriceTable {
    if given.is_bad() {
        return PriceTable::default();
    }
    let (mark, name) = given.placed().map_or((Mark::at(1, 1), USUAL), |(mark, name)| (mark, name));
    let path = source.parent().unwrap_or(Path::new("")).join(name);
    let text = match read_text(&path) {
        Ok(text) => text,
        Err(error)
            if error.kind() == io::ErrorKind::NotFound && !matches!(given, Field::Set(..)) =>
        {
            return PriceTable::default();
        }
        Err(error) => {
            report.error(mark, format!("cannot read the price file `{name}`: {error}"));
            return PriceTable::default();
        }
    };
    let mut own = Report::default();
    let table = parse(&text, &mut own);
    for error in own.errors(&path).iter().flatten() {
        report.error(mark, format!("the price file: {error}"));
    }
    table
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::other(format!("it is larger than {} MB", LARGEST >> 20)));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8 text"))
}

/// The prices in `text`.
fn parse(text: &str, report: &mut Report) -> PriceTable {
    let (root, faults) = tree::parse(text);
    report.faults = faults;
    let raw = root.and_then(|root| read::read::<RawPriceFile>(&root, &mut report.faults));
    let entries = raw.into_iter().flat_map(|raw| raw.models);
    let prices = entries.filter_map(|(name, price)| {
        let (mark, price) = match &price {
            Field::Set(mark, price) => (*mark, price),
            Field::Null(mark) => {
                report.error(*mark, "prices are missing here");
                return None;
            }
            Field::Absent | Field::Bad(_) => return None,
        };
        Some((Arc::from(name), token_prices(mark, price, report)?))
    });
    PriceTable::new(prices.collect::<Vec<_>>())
}
