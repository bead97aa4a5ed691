//! The usual process metrics, read from `/proc/self` at each scrape.
//!
//! Names and meanings are those of Prometheus' client library guidelines
//! ("Standard and runtime metrics"). A figure that cannot be read is left out.

use std::fmt::Write;
use std::fs;

/// Clock ticks in one second, as `/proc` counts them (`USER_HZ`): 100 on every
/// Linux architecture that Rust supports.
const TICKS: u32 = 100;

/// Appends the process metrics to `text` in the Prometheus text format.
pub(super) fn render(text: &mut String) {
    let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).ok();
    if let Some(stat) = read("stat").as_deref().and_then(Stat::parse) {
        gauge(
            text,
            ("process_cpu_seconds_total", "counter"),
            "User and system CPU time in seconds.",
            &ticks_as_seconds(stat.cpu_ticks),
        );
        if let Some(boot) = fs::read_to_string("/proc/stat").ok().as_deref().and_then(boot_time) {
            gauge(
                text,
                ("process_start_time_seconds", "gauge"),
                "Start of the process, in seconds since the Unix epoch.",
                &started(boot, stat.start_ticks),
            );
        }
    }
    if let Some(status) = read("status") {
        let memory = [
            ("VmRSS", "process_resident_memory_bytes", "Resident memory in bytes."),
            ("VmSize", "process_virtual_memory_bytes", "Virtual memory in bytes."),
        ];
        for (field, name, help) in memory {
            if let Some(bytes) = kilobytes(&status, field) {
                gauge(text, (name, "gauge"), help, &bytes.to_string());
            }
        }
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // The directory being read is itself one of the descriptors.
        let count = open.count().saturating_sub(1);
        gauge(text, ("process_open_fds", "gauge"), "Open descriptors.", &count.to_string());
    }
    if let Some(limit) = read("limits").as_deref().and_then(descriptor_limit) {
        gauge(text, ("process_max_fds", "gauge"), "Most descriptors allowed.", &limit.to_string());
    }
}

fn gauge(text: &mut String, (name, kind): (&str, &str), help: &str, value: &str) {
    // Writing to a String cannot fail.
    let _infallible = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
}

/// What is wanted of `/proc/self/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    start_ticks: u64,
}

impl Stat {
    /// Fields are counted after the command name, which is in parentheses and
    /// may hold spaces and parentheses itself (`man 5 proc`: 14 and 15 are user
    /// and system time, 22 is the start).
    fn parse(stat: &str) -> Option<Self> {
        let (_, after_name) = stat.rsplit_once(')')?;
        let field = |number: usize| -> Option<u64> {
            after_name.split_ascii_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
        };
        Some(Self { cpu_ticks: field(14)?.checked_add(field(15)?)?, start_ticks: field(22)? })
    }
}

fn ticks_as_seconds(ticks: u64) -> String {
    let ticks_per_second = u64::from(TICKS);
    format!("{}.{:02}", ticks / ticks_per_second, ticks % ticks_per_second)
}

fn started(boot: u64, start_ticks: u64) -> String {
    ticks_as_seconds(boot.saturating_mul(u64::from(TICKS)).saturating_add(start_ticks))
}

/// `btime` of `/proc/stat`: the machine's start, in seconds since the epoch.
fn boot_time(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

/// A field of `/proc/self/status` that is given in kB, in bytes.
fn kilobytes(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The soft limit of open descriptors; `None` if there is none.
fn descriptor_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 1 0 0 0 150 25 0 0 20 0 9 0 1234 5 6 7";
        assert_eq!(Stat::parse(stat), Some(Stat { cpu_ticks: 175, start_ticks: 1234 }));
        assert_eq!(Stat::parse("7 (a) S 1"), None);
    }

    #[test]
    fn figures_are_converted_to_base_units() {
        assert_eq!(ticks_as_seconds(175), "1.75");
        assert_eq!(started(1_700_000_000, 1205), "1700000012.05");
        assert_eq!(boot_time("cpu 1 2\nbtime 1700000000\nprocesses 4\n"), Some(1_700_000_000));
        assert_eq!(kilobytes("VmPeak:\t 9 kB\nVmRSS:\t  12 kB\n", "VmRSS"), Some(12_288));
        assert_eq!(descriptor_limit("Max open files  1024  4096  files\n"), Some(1024));
        assert_eq!(descriptor_limit("Max open files  unlimited  unlimited  files\n"), None);
    }

    #[test]
    fn every_metric_of_this_process_is_found() {
        let mut text = String::new();
        render(&mut text);
        for name in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_virtual_memory_bytes",
            "process_open_fds",
            "process_start_time_seconds",
        ] {
            let value: f64 = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
                .unwrap_or_else(|| panic!("{name} is missing from {text}"));
            assert!(value >= 0.0);
        }
    }
}
