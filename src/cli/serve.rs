//! `tollgate serve`.

use std::io::IsTerminal;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::out::{Failure, Out};
use super::{ConfigFile, variable};
use crate::app::{self, Running};
use crate::banner::{Started, banner};
use crate::base::clock::SystemClock;
use crate::ledger::Report;
use crate::telemetry::log;

/// Options of `tollgate serve`.
#[derive(Debug, clap::Args)]
pub(super) struct Serve {
    #[command(flatten)]
    file: ConfigFile,
    /// Take over from a running instance (not in force yet)
    #[arg(long)]
    upgrade: bool,
}

impl Serve {
    /// Serves until SIGTERM or SIGINT, then ends when idle; a second signal
    /// ends at once.
    pub(super) fn run(&self, out: &mut Out) -> Result<(), Failure> {
        if self.upgrade {
            let text = "--upgrade is not in force yet: stop the running instance first";
            return Err(Failure::Usage(text.to_owned()));
        }
        let config = self.file.load()?;
        let colour = std::io::stderr().is_terminal() && variable("NO_COLOR").is_none();
        log::init(&config.log, colour).map_err(|error| Failure::Usage(error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .map_err(|error| Failure::Failed(format!("cannot start: {error}")))?;
        // Before anything listens: a signal during the start is not lost.
        let mut signals = {
            let _context = runtime.enter();
            Signals::new()?
        };
        let running = app::start(config, Arc::new(SystemClock::new()))
            .map_err(|error| Failure::Failed(error.to_string()))?;
        say_recovered(&running);
        match say_ready(&running, out) {
            // A reader that went away is no reason to stop serving.
            Ok(()) | Err(Failure::Closed) => {}
            Err(failure) => return Err(failure),
        }
        runtime.block_on(async {
            let signal = loop {
                match signals.next().await {
                    Heeded::End(signal) => break signal,
                    Heeded::Reload => {
                        let control = running.control();
                        // Reading files blocks; the outcome is in the log.
                        std::thread::spawn(move || control.reload());
                    }
                }
            };
            tracing::info!(signal, "ending when idle");
            let (done, stopped) = tokio::sync::oneshot::channel();
            std::thread::spawn(move || {
                running.stop();
                // Nobody waits if a second signal was faster.
                let _unheard = done.send(());
            });
            tokio::select! {
                stopped = stopped => stopped
                    .map_err(|_| Failure::Failed("the shutdown broke off".to_owned())),
                signal = signals.end() => {
                    tracing::warn!(signal, "ending at once");
                    Err(Failure::Interrupted)
                }
            }
        })
    }
}

/// Says what the opening of the ledger found, where it was not all well.
fn say_recovered(running: &Running) {
    let Report { lost, torn, damaged, unknown, .. } = running.report;
    if lost > 0 {
        tracing::warn!(lost, "requests in flight at the last end are closed as lost");
    }
    if torn + damaged + unknown > 0 {
        tracing::warn!(torn, damaged, unknown, "the journal is not whole; the rest was read");
    }
}

fn say_ready(running: &Running, out: &mut Out) -> Result<(), Failure> {
    let made = running.keys.iter().filter(|key| key.generated);
    let generated: Vec<_> = made.map(|key| (key.account.clone(), key.key.clone())).collect();
    out.text(&banner(&Started {
        config: &running.config,
        proxy: running.proxy,
        admin: running.admin,
        metrics: running.metrics,
        generated: &generated,
    }))?;
    out.flush()
}

/// The signals that the process heeds.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// What a signal asks for.
enum Heeded {
    /// The end, by the signal of this name.
    End(&'static str),
    /// The configuration's file to be read again.
    Reload,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failure::Failed(format!("cannot take signals: {error}")))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one.
    async fn next(&mut self) -> Heeded {
        tokio::select! {
            _ = self.terminate.recv() => Heeded::End("SIGTERM"),
            _ = self.interrupt.recv() => Heeded::End("SIGINT"),
            _ = self.hangup.recv() => Heeded::Reload,
        }
    }

    /// Waits for the next one that ends the process; its name.
    async fn end(&mut self) -> &'static str {
        loop {
            if let Heeded::End(signal) = self.next().await {
                return signal;
            }
        }
    }
}
