//! The response cache's room.

use std::ops::RangeInclusive;

use crate::config::field::Field;
use crate::config::raw::{RawCache, Size};
use crate::config::report::Report;
use crate::config::types::CacheRoom;

/// A megabyte.
const MEGABYTE: u64 = 1024 * 1024;
/// What the memory tier may take: room for one answer of any size at least.
const MEMORY: RangeInclusive<u64> = 16 * MEGABYTE..=64 * 1024 * MEGABYTE;
/// What the disk tier may take, where there is one.
const DISK: RangeInclusive<u64> = 16 * MEGABYTE..=64 * 1024 * MEGABYTE;

/// Checks `cache`.
pub(super) fn check(raw: &Field<RawCache>, report: &mut Report) -> CacheRoom {
    let none = RawCache::default();
    let raw = raw.value().unwrap_or(&none);
    let mut room = |field: &Field<Size>, range: RangeInclusive<u64>, off: bool| {
        let Some((mark, size)) = field.placed() else { return *range.start() };
        if !(range.contains(&size.0) || off && size.0 == 0) {
            let or = if off { "0B or " } else { "" };
            let (low, high) = (range.start() / MEGABYTE, range.end() / MEGABYTE / 1024);
            report.error(mark, format!("must be {or}from {low}MB to {high}GB"));
        }
        size.0
    };
    CacheRoom { memory: room(&raw.memory, MEMORY, false), disk: room(&raw.disk, DISK, true) }
}
