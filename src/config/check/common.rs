//! What the checks of all sections share: names, references, ranges.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use crate::base::money::Money;
use crate::base::secret::Secret;
use crate::config::field::Field;
use crate::config::raw::{Count, Number, Price, Size, Time, Whole};
use crate::config::read::{shown, suggestion};
use crate::config::report::Report;
use crate::config::tree::Mark;

/// Longest name of anything.
const LONGEST_NAME: usize = 128;
/// Most that one process can hold of anything that costs it memory.
const MOST_AT_ONCE: u32 = 1_000_000;

/// The checked entries of a list, by name, in the order of the file.
#[derive(Debug)]
pub(super) struct Named<T> {
    entries: Vec<(Arc<str>, Mark, Arc<T>)>,
    /// Whether every entry could be read; if not, a name that is missing may
    /// belong to one that could not.
    complete: bool,
}

impl<T> Named<T> {
    /// Nothing yet, or ever if the list was bad.
    pub(super) const fn new(complete: bool) -> Self {
        Self { entries: Vec::new(), complete }
    }

    /// Adds an entry; a name that is already there is an error at `mark`.
    pub(super) fn add(
        &mut self,
        what: &str,
        (mark, name): (Mark, &str),
        value: T,
        report: &mut Report,
    ) {
        if let Some((_, first, _)) = self.entries.iter().find(|entry| &*entry.0 == name) {
            let place =
                if first.is_default() { String::new() } else { format!(" on line {}", first.line) };
            let name = named(mark, name);
            report.error(mark, format!("{what} {name} is already defined{place}"));
            return;
        }
        self.entries.push((name.into(), mark, Arc::new(value)));
    }

    /// Notes that an entry could not be read.
    pub(super) const fn skip(&mut self) {
        self.complete = false;
    }

    /// The entry of that name.
    pub(super) fn get(&self, name: &str) -> Option<&Arc<T>> {
        self.entries.iter().find(|entry| &*entry.0 == name).map(|entry| &entry.2)
    }

    /// The names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| &*entry.0)
    }

    /// The entries.
    pub(super) fn values(&self) -> impl Iterator<Item = &Arc<T>> {
        self.entries.iter().map(|entry| &entry.2)
    }

    /// Whether every entry could be read.
    pub(super) const fn is_complete(&self) -> bool {
        self.complete
    }

    /// The entries alone.
    pub(super) fn into_values(self) -> Vec<Arc<T>> {
        self.entries.into_iter().map(|entry| entry.2).collect()
    }

    /// The entry that a reference written at `mark` names, or an error there.
    pub(super) fn refer(
        &self,
        what: &str,
        (mark, name): (Mark, &str),
        report: &mut Report,
    ) -> Option<&Arc<T>> {
        let found = self.get(name);
        if found.is_none() && self.complete {
            report.error(mark, undefined(what, (mark, name), self.names()));
        }
        found
    }
}

/// The sentence about a name that nothing defines.
pub(super) fn undefined<'a>(
    what: &str,
    (mark, name): (Mark, &str),
    known: impl Iterator<Item = &'a str>,
) -> String {
    let known: Vec<_> = known.collect();
    let hint = if mark.outside { String::new() } else { suggestion(name, known.iter().copied()) };
    let defined = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    format!("no {what} {} is defined{hint}; defined: {defined}", named(mark, name))
}

/// A name for an error, unless it came from outside.
pub(super) fn named(mark: Mark, name: &str) -> String {
    if mark.outside { "of this name".to_owned() } else { shown(name) }
}

/// The good entries of a list with their positions, and whether all are good.
pub(super) fn entries<'a, T>(
    list: &'a Field<Vec<Field<T>>>,
    what: &str,
    report: &mut Report,
) -> (Vec<(Mark, &'a T)>, bool) {
    let mut complete = !list.is_bad();
    let mut good = Vec::new();
    for entry in list.value().into_iter().flatten() {
        match entry {
            Field::Set(mark, value) => good.push((*mark, value)),
            Field::Null(mark) => {
                report.error(*mark, format!("an empty entry; expected {what}"));
                complete = false;
            }
            Field::Absent | Field::Bad(_) => complete = false,
        }
    }
    (good, complete)
}

/// The value of a key that the entry at `entry` must have.
pub(super) fn required<'a, T>(
    field: &'a Field<T>,
    entry: Mark,
    key: &str,
    report: &mut Report,
) -> Option<(Mark, &'a T)> {
    if let Field::Absent | Field::Null(_) = field {
        let mark = field.mark().unwrap_or(entry);
        report.error(mark, format!("`{key}` is missing here"));
    }
    field.placed()
}

/// A required name: it goes into headers, records and metrics, so it is 1 to
/// 128 visible ASCII characters, without those that separate there.
pub(super) fn name<'a>(
    field: &'a Field<String>,
    entry: Mark,
    key: &str,
    report: &mut Report,
) -> Option<(Mark, &'a str)> {
    let (mark, name) = required(field, entry, key, report)?;
    let allowed = |byte: u8| byte.is_ascii_graphic() && !b"\"',;\\`".contains(&byte);
    if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(allowed) {
        let message = "a name is 1 to 128 visible ASCII characters, no quotes, commas, \
                       semicolons or backslashes";
        report.error(mark, message);
        return None;
    }
    Some((mark, name))
}

/// A key or token that may be empty; otherwise 8 to 256 visible ASCII
/// characters.
pub(super) fn visible_secret(field: &Field<String>, what: &str, report: &mut Report) -> Secret {
    field.placed().map_or_else(Secret::default, |(mark, text)| visible(mark, text, what, report))
}

/// The same of an entry of a list.
pub(super) fn visible(mark: Mark, text: &str, what: &str, report: &mut Report) -> Secret {
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    if !text.is_empty() && (!(8..=256).contains(&text.len()) || !visible) {
        report.error(mark, format!("{what} must be 8 to 256 visible ASCII characters"));
        return Secret::default();
    }
    Secret::new(text)
}

/// `value` if it is in `range`; an error at `mark` otherwise.
fn within<T: PartialOrd + Copy>(
    mark: Mark,
    value: T,
    range: &RangeInclusive<T>,
    show: impl Fn(T) -> String,
    report: &mut Report,
) -> Option<T> {
    if range.contains(&value) {
        return Some(value);
    }
    let (low, high) = (show(*range.start()), show(*range.end()));
    report.error(mark, format!("must be from {low} to {high}"));
    None
}

/// A whole number in `range`; its lower end where there is no good value.
pub(super) fn whole(field: &Field<Whole>, range: RangeInclusive<u32>, report: &mut Report) -> u32 {
    let given = field.placed().and_then(|(mark, value)| {
        let value = u32::try_from(value.0).unwrap_or(u32::MAX);
        within(mark, value, &range, as_text, report)
    });
    given.unwrap_or(*range.start())
}

/// A number of requests or connections, at least `least`. `unlimited` is
/// `u32::MAX`; `None` where there is no good value.
pub(super) fn count(field: &Field<Count>, least: u32, report: &mut Report) -> Option<u32> {
    number_of(field, least..=u32::MAX, report)
}

/// The same of what the process holds at once, at most [`MOST_AT_ONCE`].
pub(super) fn capacity(field: &Field<Count>, least: u32, report: &mut Report) -> Option<u32> {
    number_of(field, least..=MOST_AT_ONCE, report)
}

fn number_of(field: &Field<Count>, range: RangeInclusive<u32>, report: &mut Report) -> Option<u32> {
    let (mark, value) = field.placed()?;
    let Some(value) = value.0 else { return Some(u32::MAX) };
    let range = u64::from(*range.start())..=u64::from(*range.end());
    let value = within(mark, value, &range, as_text, report)?;
    u32::try_from(value).ok()
}

/// A duration in `range`; its lower end where there is no good value.
pub(super) fn time(
    field: &Field<Time>,
    range: RangeInclusive<Duration>,
    report: &mut Report,
) -> Duration {
    let show = |duration: Duration| match duration.as_micros() {
        0 => "0s".to_owned(),
        micros if micros < 1_000 => format!("{micros}us"),
        micros if micros < 1_000_000 => format!("{}ms", duration.as_millis()),
        _ => format!("{}s", duration.as_secs()),
    };
    let given = field.placed().and_then(|(mark, time)| within(mark, time.0, &range, show, report));
    given.unwrap_or(*range.start())
}

/// A size in `range`, in bytes; its lower end where there is no good value.
pub(super) fn size(field: &Field<Size>, range: RangeInclusive<u64>, report: &mut Report) -> u64 {
    let Some((mark, size)) = field.placed() else { return *range.start() };
    if !range.contains(&size.0) {
        let (low, high) = (range.start(), range.end() / (1024 * 1024));
        report.error(mark, format!("must be from {low}B to {high}MB"));
    }
    size.0
}

/// A number in `range`.
pub(super) fn number(
    field: &Field<Number>,
    range: RangeInclusive<f64>,
    report: &mut Report,
) -> Option<f64> {
    field.placed().and_then(|(mark, number)| within(mark, number.0, &range, as_text, report))
}

fn as_text<T: Display>(value: T) -> String {
    value.to_string()
}

/// An amount of dollars to spend; `None` where there is no good value. Nothing at
/// all is an error: it would refuse everything.
pub(super) fn budget(field: &Field<Price>, report: &mut Report) -> Option<Money> {
    let (mark, Price(amount)) = field.placed()?;
    if amount.is_zero() {
        report.error(mark, "a budget is more than 0; without one, nothing is refused");
        return None;
    }
    Some(*amount)
}
