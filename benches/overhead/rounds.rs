//! The rounds: the same work through each proxy in turn.

use std::net::SocketAddr;

use crate::Failure;
use crate::process::{DONE, ENDED, Process};
use crate::proxies::{self, Proxy};
use crate::table::{self, Cell, Memory, Row};
use crate::work::Work;

/// Connections that only idle, for the memory of one.
const IDLE: usize = 2_000;

/// What is asked on the command line.
pub(crate) struct Options {
    rounds: usize,
    only: Vec<Work>,
    write: bool,
}

impl Options {
    /// Reads the words of the command line.
    pub(crate) fn parse(words: &[&str]) -> Result<Self, Failure> {
        let mut options = Self { rounds: 7, only: Work::ALL.to_vec(), write: false };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--bench" => {}
                "--write" => options.write = true,
                "--rounds" => {
                    options.rounds = words.next().ok_or("--rounds needs a number")?.parse()?;
                }
                "--only" => {
                    let names = words.next().ok_or("--only needs a kind of work")?;
                    options.only = names.split(',').map(str::parse).collect::<Result<_, _>>()?;
                }
                other => return Err(format!("unknown option {other}").into()),
            }
        }
        if options.rounds == 0 {
            return Err("--rounds must be at least 1".into());
        }
        Ok(options)
    }
}

/// Measures everything and prints the tables.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let directory = tempfile::tempdir()?;
    let mut watch = Process::role(&["watch"])?;
    let mut provider = Process::role(&["provider"])?;
    let upstream: SocketAddr = provider.line()?.parse()?;
    let mut proxies = proxies::start(upstream, directory.path())?;
    for proxy in &proxies {
        watch.say(&proxy.process.id())?;
    }

    let mut memory = Vec::new();
    for proxy in &proxies {
        eprintln!("idle connections: {}", proxy.name);
        memory.push(Memory { name: proxy.name, connection: idle(proxy)?, end: 0 });
    }
    let mut rows = Vec::new();
    for work in &options.only {
        eprintln!("{}", work.name());
        rows.push(row(*work, &mut proxies, upstream, options.rounds, &mut watch)?);
    }
    for (memory, proxy) in memory.iter_mut().zip(&proxies) {
        memory.end = proxy.process.resident()?;
    }

    drop(proxies);
    watch.say(DONE)?;

    let text = table::markdown(&rows, &memory, options.rounds);
    println!("{text}");
    if options.write { table::write(&text) } else { Ok(()) }
}

/// Memory of one idle connection that has been used, in kB.
fn idle(proxy: &Proxy) -> Result<f64, Failure> {
    // What is made once must not be counted.
    drop(loaded(Work::Chat, proxy.address, 32, 0)?);
    let before = proxy.process.resident()?;
    let load = loaded(Work::Chat, proxy.address, IDLE, 0)?;
    let after = proxy.process.resident()?;
    drop(load);
    Ok(table::ratio(after.saturating_sub(before), u64::try_from(IDLE)?))
}

/// All rounds of one kind of work.
fn row(
    work: Work,
    proxies: &mut [Proxy],
    provider: SocketAddr,
    rounds: usize,
    watch: &mut Process,
) -> Result<Row, Failure> {
    let mut row = Row::new(work, proxies.len());
    for _ in 0..rounds {
        let direct = match work {
            Work::Latency => Some(measure(work, provider, None)?),
            _ => None,
        };
        row.direct.extend(direct);
        for (proxy, cells) in proxies.iter_mut().zip(&mut row.proxies) {
            if work == Work::Disk {
                let (connections, requests) = work.amount();
                drop(loaded(work, proxy.address, connections, requests)?);
                watch.say(&format!("{ENDED}{}", proxy.process.id()))?;
                proxy.forget_memory()?;
                watch.say(&proxy.process.id())?;
            }
            let measured = measure(work, proxy.address, Some(&proxy.process))
                .map_err(|error| format!("{}, {}: {error}", proxy.name, work.name()))?;
            cells.push(measured);
        }
    }
    Ok(row)
}

/// One round of one proxy, or of none.
fn measure(work: Work, address: SocketAddr, proxy: Option<&Process>) -> Result<Cell, Failure> {
    let (connections, requests) = work.amount();
    let cpu = || proxy.map_or(Ok(0), Process::cpu);
    let mut load = loaded(work, address, connections, requests)?;
    let before = cpu()?;
    load.say("")?;
    let line = load.line()?;
    let after = cpu()?;
    let (p50, p99) = line.split_once(' ').ok_or("the load says nothing")?;
    let units = u64::try_from(connections * requests * work.events().unwrap_or(1))?;
    Ok(Cell {
        cpu: table::ratio(after.saturating_sub(before), units) / 1e3,
        p50: table::ratio(p50.parse()?, 1_000),
        p99: table::ratio(p99.parse()?, 1_000),
    })
}

/// A load that is ready.
fn loaded(
    work: Work,
    address: SocketAddr,
    connections: usize,
    requests: usize,
) -> Result<Process, Failure> {
    let mut load = Process::role(&[
        "load",
        work.name(),
        &address.to_string(),
        &connections.to_string(),
        &requests.to_string(),
    ])?;
    load.line()?;
    Ok(load)
}
