//! Places in a JSON text.

use std::ops::Range;

use serde_json::value::RawValue;

/// Where in `text` the value `raw` stands, which was parsed out of it.
pub fn span(text: &str, raw: &RawValue) -> Range<usize> {
    let start = (raw.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    start..start + raw.get().len()
}
