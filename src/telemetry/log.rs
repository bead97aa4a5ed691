//! Logging: one subscriber, to standard error.
//!
//! What may be logged: what the process does (starts, stops, reloads), what
//! happened to a store or a provider, and, at `debug`, a request's id, class,
//! status and durations. What may not, at any level: an API key, a token, a
//! provider's key, a prompt, an answer, a header or query of a request, or
//! anything else that a user wrote. A request is never logged at `info`.
//!
//! Libraries log what passes through them once asked for `debug` (headers,
//! frames), so the configured level holds for Tollgate's own lines only; of a
//! library no more than warnings is ever written, whatever the directive says.

use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

use crate::config::{Log, LogFormat};

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `log.level` is not a filter directive.
    #[error("log.level: {0:?} is not a level or filter directive such as info or tollgate=debug")]
    Level(String),
    /// The process has a subscriber already.
    #[error("logging is set up already")]
    Twice,
}

/// Sends the process's log lines to standard error as `log` says. Colours are
/// used where standard error is a terminal and `colour` allows it.
///
/// # Errors
/// [`LogError`] if the level is not understood or logging is set up already.
pub fn init(log: &Log, colour: bool) -> Result<(), LogError> {
    let layer = layer(log, colour, std::io::stderr)?;
    tracing_subscriber::registry().with(layer).try_init().map_err(|_| LogError::Twice)?;
    // A panic's payload may hold anything, a prompt too: where it was is enough.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a handler panicked");
    }));
    Ok(())
}

/// The layer that formats, filters and writes to `writer`.
fn layer<W>(
    log: &Log,
    colour: bool,
    writer: W,
) -> Result<Box<dyn Layer<Registry> + Send + Sync>, LogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // A bare word that is no level would be taken for the name of a module.
    let mut words = log.level.split(',').map(str::trim).filter(|part| !part.contains(['=', '[']));
    if words.any(|word| word.is_empty() || word.parse::<LevelFilter>().is_err()) {
        return Err(LogError::Level(log.level.clone()));
    }
    // The hint says that the second filter asks for nothing more than the first:
    // without it every line of every library would be put together first.
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::OFF.into())
        .parse(&log.level)
        .map_err(|_| LogError::Level(log.level.clone()))?
        .and(filter_fn(may_be_written).with_max_level_hint(LevelFilter::TRACE));
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colour);
    Ok(match log.format {
        LogFormat::Pretty => lines.with_filter(filter).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
    })
}

/// Whether a line of this origin and level may be written at all.
fn may_be_written(line: &Metadata<'_>) -> bool {
    let own = line
        .target()
        .strip_prefix("tollgate")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    own || *line.level() <= tracing::Level::WARN
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::io::{self, Write};
    use std::sync::Arc;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(format: LogFormat, level: &str, emit: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let log = Log { format, level: level.to_owned() };
        let layer = layer(&log, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), emit);
        let bytes = lines.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    /// Covers I1.
    #[test]
    fn a_library_never_writes_what_passes_through_it() {
        for level in ["trace", "h2=trace,hyper=debug,tollgate=trace"] {
            let text = written(LogFormat::Pretty, level, || {
                tracing::trace!(target: "h2::codec", "authorization: secret");
                tracing::debug!(target: "hyper", "secret");
                tracing::info!(target: "tollgater", "secret");
                tracing::debug!(target: "tollgate::admin", "own line");
            });
            assert!(!text.contains("secret"), "{text}");
            assert!(text.contains("own line"), "{text}");
        }
        let text = written(LogFormat::Pretty, "info", || {
            tracing::warn!(target: "pingora_core", "a listener failed");
            tracing::debug!(target: "tollgate", "too fine");
        });
        assert!(text.contains("a listener failed") && !text.contains("too fine"), "{text}");
    }

    #[test]
    fn json_lines_are_objects_with_the_fields_on_top() {
        let text = written(LogFormat::Json, "info", || {
            tracing::info!(target: "tollgate", provider = "openai", "provider is back");
        });
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(line["provider"], "openai");
        assert_eq!(line["message"], "provider is back");
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn a_level_that_is_none_is_refused() {
        for level in ["tollgate=loud", "inof", "", "info,", "debug,tollgate"] {
            let log = Log { format: LogFormat::Pretty, level: level.to_owned() };
            assert!(matches!(layer(&log, false, io::sink), Err(LogError::Level(_))), "{level:?}");
        }
    }
}
