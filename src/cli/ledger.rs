//! `tollgate ledger`: offline, on the data directory of the configuration.

use clap::{Subcommand, ValueEnum};
use comfy_table::{Table, presets};
use serde::Serialize;

use super::ConfigFile;
use super::out::{Failure, Out};
use crate::ledger::{Ledger, OpenError, Report};

/// Options of `tollgate ledger`.
#[derive(Debug, clap::Args)]
pub(super) struct Offline {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Check every frame of every segment, and the index against them
    Verify(How),
    /// Make the index anew from the segments
    Rebuild(How),
}

#[derive(Debug, clap::Args)]
struct How {
    #[command(flatten)]
    file: ConfigFile,
    /// How to print what was found
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// How the findings are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// One object
    Json,
}

/// What was found, as JSON.
#[derive(Serialize)]
struct Findings<'r> {
    /// Whether nothing is damaged or missing.
    whole: bool,
    segments: usize,
    records: u64,
    repeated: u64,
    /// Records with provider calls that nothing settled; the next start closes
    /// them. Left out by `rebuild`, which does not look for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    open_calls: Option<usize>,
    torn: u64,
    damaged: u64,
    unknown: u64,
    missing_segments: u64,
    missing_frames: u64,
    damages: Vec<Place<'r>>,
    index: Vec<Part<'r>>,
}

/// A place of damage.
#[derive(Serialize)]
struct Place<'r> {
    segment: std::borrow::Cow<'r, str>,
    offset: u64,
    length: u64,
    fault: &'static str,
}

/// A part of the index with which something is wrong.
#[derive(Serialize)]
struct Part<'r> {
    file: std::borrow::Cow<'r, str>,
    flaw: &'static str,
}

impl Offline {
    /// Does it, and fails if something is damaged.
    pub(super) fn run(&self, out: &mut Out) -> Result<(), Failure> {
        let (how, verifies) = match &self.what {
            What::Verify(how) => (how, true),
            What::Rebuild(how) => (how, false),
        };
        let dir = how.file.load()?.store.path;
        let found =
            if verifies { Ledger::verify(&dir, &mut |_| {}) } else { Ledger::rebuild(&dir) };
        let report = found.map_err(|error| match error {
            OpenError::Locked { path } => Failure::Failed(format!(
                "{} is in use by a running instance: stop it first",
                path.display()
            )),
            other => Failure::Failed(other.to_string()),
        })?;
        let findings = Findings::of(&report, verifies);
        match how.format {
            Format::Json => {
                let text = serde_json::to_string_pretty(&findings)
                    .map_err(|error| Failure::Failed(error.to_string()))?;
                out.line(&text)?;
            }
            Format::Table => findings.print(out)?,
        }
        out.flush()?;
        if findings.whole {
            return Ok(());
        }
        Err(Failure::Failed("the ledger is not as it was written; what is intact counts".into()))
    }
}

impl<'r> Findings<'r> {
    fn of(report: &'r Report, verified: bool) -> Self {
        let damages = report.damages.iter().map(|damage| Place {
            segment: damage.path.to_string_lossy(),
            offset: damage.offset,
            length: damage.length,
            fault: damage.fault.into(),
        });
        let index = report
            .flaws
            .iter()
            .map(|flaw| Part { file: flaw.path.to_string_lossy(), flaw: flaw.flaw.into() });
        Self {
            whole: report.is_whole(),
            segments: report.segments,
            records: report.settled,
            repeated: report.repeated,
            open_calls: verified.then_some(report.lost),
            torn: report.torn,
            damaged: report.damaged,
            unknown: report.unknown,
            missing_segments: report.missing_segments,
            missing_frames: report.missing_frames,
            damages: damages.collect(),
            index: index.collect(),
        }
    }

    fn print(&self, out: &mut Out) -> Result<(), Failure> {
        out.line(&format!("{} segments, {} records", self.segments, self.records))?;
        let rare = [
            ("records settled twice; the first counts", self.repeated),
            (
                "records with open calls; the next start closes them",
                self.open_calls.unwrap_or(0) as u64,
            ),
            ("segments with a torn end", self.torn),
            ("places of damage", self.damaged),
            ("frames of a later version", self.unknown),
            ("segments missing", self.missing_segments),
            ("frames missing", self.missing_frames),
        ];
        for (what, count) in rare.into_iter().filter(|(_, count)| *count > 0) {
            out.line(&format!("{count} {what}"))?;
        }
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_header(["where", "offset", "length", "what"]);
        for place in &self.damages {
            let (offset, length) = (place.offset.to_string(), place.length.to_string());
            table.add_row([&*place.segment, &offset, &length, place.fault]);
        }
        for part in &self.index {
            table.add_row([&*part.file, "", "", part.flaw]);
        }
        if table.row_count() > 0 {
            out.line(&table.to_string())?;
        }
        out.line(if self.whole { "whole" } else { "damaged" })
    }
}
