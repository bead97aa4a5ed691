//! What Tollgate costs per request beside nginx and bare Pingora:
//! `cargo bench --bench overhead`, or `benches/run.sh`, which builds what it
//! needs.
//!
//! One binary plays every part by running itself again with the name of a role,
//! so that each part is a process of its own whose CPU time can be read:
//!
//! ```text
//! load ──► nginx | bare | tollgate ──► provider        (all on 127.0.0.1)
//! ```
//!
//! The same work goes through each proxy in turn, round after round, because
//! figures of different minutes cannot be compared. CPU is user and system time
//! of all the proxy's threads, from `/proc/PID/task/*/schedstat`, over requests
//! or events.
//!
//! Options: `--rounds N` (7), `--only WORK[,WORK]`, `--write` (puts the table
//! into `benches/RESULTS.md`).

#![expect(clippy::disallowed_methods, reason = "a benchmark asks the machine for the time")]
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::print_stderr, reason = "a benchmark says how far it is")]
#![expect(clippy::float_arithmetic, reason = "figures for people, not amounts")]

mod bare;
mod load;
mod process;
mod provider;
mod proxies;
mod rounds;
mod table;
mod work;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Any failure: the benchmark then ends, with all that it started.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match play(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("overhead: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn play(arguments: &[String]) -> Result<(), Failure> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["watch"] => process::watch(),
        ["provider"] => provider::run(),
        ["bare", listen, upstream] => bare::run(listen.parse()?, upstream.parse()?),
        ["load", work, address, connections, requests] => load::run(&load::Plan {
            work: work.parse()?,
            address: address.parse()?,
            connections: connections.parse()?,
            requests: requests.parse()?,
        }),
        options if options.contains(&"--bench") => rounds::run(&rounds::Options::parse(options)?),
        // `cargo test --all-targets` runs it so: nothing is to be measured then.
        [] => {
            eprintln!("run it with `cargo bench --bench overhead`");
            Ok(())
        }
        _ => Err("unknown role".into()),
    }
}
