//! Makes the index of a data directory anew, from the segments alone.

use std::path::Path;

use super::digest::Digest;
use super::error::OpenError;
use super::index::{self, Checkpoint, Index};
use super::journal::calls::Calls;
use super::journal::frame::Kind;
use super::journal::merge::Merge;
use super::journal::recover;
use super::recent::Recent;
use super::record::Attempt;
use super::report::Report;

/// Throws the index away and makes it anew; says what was found meanwhile.
///
/// # Errors
/// See [`OpenError`].
pub(super) fn rebuild(directory: &Path, index: &Index) -> Result<Report, OpenError> {
    let mut report = Report::default();
    let mut listed = recover::list(directory, &mut report)?;
    for segment in &mut listed.segments {
        // The one thing that the segments do not show.
        segment.harm = index.cut_off(segment);
    }
    index.clear().map_err(OpenError::io(index.directory()))?;
    for mut segment in listed.segments.clone() {
        let summary = index::index(index, &mut segment).map_err(OpenError::reading)?;
        if segment.index.is_none() {
            let source = std::io::Error::from(std::io::ErrorKind::WriteZero);
            return Err(OpenError::Io { path: index.path(segment.number), source });
        }
        report.take(summary);
    }
    report.torn_known = report.torn;
    let checkpoint = Checkpoint::of(&listed.segments, open_calls(&listed.segments)?);
    index.put_checkpoint(&checkpoint).map_err(OpenError::io(index.directory()))?;
    Ok(report)
}

/// Where the calls stand that nothing settled.
fn open_calls(segments: &[super::journal::segment::Segment]) -> Result<Vec<(u64, u64)>, OpenError> {
    let (calls, mut settled) = (Calls::new(), Recent::default());
    let mut merge = Merge::new(segments.to_vec());
    while let Some(item) = merge.next().map_err(OpenError::reading)? {
        match item.kind {
            Some(Kind::Attempt) => {
                let attempt = minicbor::decode::<Attempt>(item.payload).ok();
                if let Some(record) = attempt.map(|attempt| attempt.record)
                    && !settled.contains(record)
                {
                    calls.open(record, (item.segment, item.offset));
                }
            }
            Some(Kind::Settle) => {
                if let Some(digest) = Digest::read(item.payload) {
                    calls.close(digest.id);
                    settled.insert(digest.id);
                }
            }
            Some(Kind::Void) | None => {}
        }
    }
    Ok(calls.places())
}
