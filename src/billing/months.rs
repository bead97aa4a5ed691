//! When the months of one account begin and end.
//!
//! A month is one of the billing time zone's calendar, but what an invoice that
//! counts was made for stays its own: a month beside it begins where it ends, and
//! ends where it begins. So the months of an account adjoin and do not overlap,
//! whatever becomes of the time zone. Two zones are hours apart and a month is
//! weeks, so none of them is empty.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use super::calendar::{Month, Span};

/// The months that have an invoice that counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Months(BTreeMap<Month, Closed>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Closed {
    number: String,
    /// None where the invoice does not say: it was made before invoices did.
    span: Option<Span>,
}

impl Months {
    /// Notes the invoice with this number, which was made for `span`.
    pub(super) fn close(&mut self, month: Month, number: String, span: Option<Span>) {
        self.0.insert(month, Closed { number, span });
    }

    /// The number of the month's invoice, if it has one that counts.
    pub(super) fn number(&self, month: Month) -> Option<&String> {
        self.0.get(&month).map(|closed| &closed.number)
    }

    /// When `month` begins and ends, where `zone` is in force. `None` where the
    /// calendar has no such month.
    pub(super) fn span(&self, month: Month, zone: &TimeZone) -> Option<Span> {
        let own = self.kept(month, zone);
        if own.is_some() {
            return own;
        }
        let Span { from, to } = month.span(zone)?;
        let before = self.kept(month.previous(), zone).map(|before| before.to);
        let after = self.kept(month.next(), zone).map(|after| after.from);
        Some(Span { from: before.unwrap_or(from), to: after.unwrap_or(to) })
    }

    /// What the invoice of `month` was made for, if it has one that counts.
    fn kept(&self, month: Month, zone: &TimeZone) -> Option<Span> {
        let closed = self.0.get(&month)?;
        closed.span.or_else(|| month.span(zone))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ZONES: [&str; 5] =
        ["UTC", "America/Los_Angeles", "Pacific/Kiritimati", "Asia/Kolkata", "Pacific/Auckland"];

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    fn month(text: &str) -> Month {
        text.parse().unwrap()
    }

    #[test]
    fn a_month_begins_where_the_invoice_before_it_ended() {
        let (utc, auckland) = (zone("UTC"), zone("Pacific/Auckland"));
        let (october, november, december) = (month("2026-10"), month("2026-11"), month("2026-12"));
        let mut months = Months::default();
        let was = november.span(&utc).unwrap();
        months.close(november, "2026-000001".to_owned(), Some(was));
        assert_eq!(months.span(november, &auckland), Some(was));
        let around = |month| (months.span(month, &auckland), month.span(&auckland).unwrap());
        let (after, calendar) = around(december);
        assert_eq!(after, Some(Span { from: was.to, to: calendar.to }));
        let (before, calendar) = around(october);
        assert_eq!(before, Some(Span { from: calendar.from, to: was.from }));
        // One that does not say is as long as the calendar has it.
        months.close(october, "2026-000002".to_owned(), None);
        assert_eq!(months.span(october, &utc), october.span(&utc));
    }

    proptest! {
        /// Whatever the zone is whenever months are closed and opened again: of any
        /// two that follow each other the second begins where the first ends.
        #[test]
        fn months_adjoin(
            steps in prop::collection::vec((0..6_usize, 0..ZONES.len(), any::<bool>()), 0..24),
        ) {
            let all = month("2026-09").before(6);
            let mut months = Months::default();
            for (at, name, close) in steps {
                let zone = zone(ZONES[name]);
                if !close {
                    months.0.remove(&all[at]);
                } else if months.number(all[at]).is_none() {
                    let span = months.span(all[at], &zone).unwrap();
                    months.close(all[at], String::new(), Some(span));
                }
                for (one, next) in all.iter().zip(all.iter().skip(1)) {
                    let (one, next) = (months.span(*one, &zone), months.span(*next, &zone));
                    prop_assert_eq!(one.unwrap().to, next.unwrap().from);
                    prop_assert!(one.unwrap().micros() > 26 * 86_400_000_000);
                }
            }
        }
    }
}
