//! Sends the log lines to stderr, as text or as JSON, with priorities where that is the journal. The level is `RUST_LOG` where that is
//! set, else what the command line says.
//!
//! The libraries below the SDK are kept at warnings, since their lines are of no use to an
//! operator; and the SDK's own are cut at debug, since at trace it logs request bodies, which
//! are the user's data.

use std::io::{IsTerminal, stderr};

use super::journal::{self, Journal};
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{EnvFilter, FilterExt, ParseError, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// Targets whose debug lines tell nothing about the agent.
const NOISY: [&str; 10] =
    ["aws", "hyper", "hyper_util", "h2", "rustls", "tower", "reqwest", "mio", "notify", "tokio_util"];

#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    #[error("RUST_LOG is {value:?}, which cannot be used: {problem}")]
    Environment { value: String, problem: ParseError },
    #[error("logging was set up before: {0}")]
    Again(#[from] tracing_subscriber::util::TryInitError),
}

/// Call once, before anything is logged. `level` counts unless `RUST_LOG` is set.
pub fn init(level: Level, format: LogFormat) -> Result<(), LoggingError> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(value) if !value.is_empty() => EnvFilter::builder()
            .with_default_directive(LevelFilter::from_level(level).into())
            .parse(&value)
            .map_err(|problem| LoggingError::Environment { value, problem })?,
        _ => default_filter(level),
    };
    Registry::default().with(layer(filter, format)).try_init()?;
    Ok(())
}

fn layer(filter: EnvFilter, format: LogFormat) -> Box<dyn Layer<Registry> + Send + Sync> {
    let filter = filter.and(filter_fn(shows_no_bodies));
    match format {
        // The journal has its own time and knows no colours.
        LogFormat::Text if journal::is_stderr() => {
            fmt::layer().without_time().with_ansi(false).with_writer(Journal).with_filter(filter).boxed()
        }
        LogFormat::Json if journal::is_stderr() => {
            fmt::layer().json().flatten_event(true).with_writer(Journal).with_filter(filter).boxed()
        }
        LogFormat::Text => {
            fmt::layer().with_writer(stderr).with_ansi(stderr().is_terminal()).with_filter(filter).boxed()
        }
        LogFormat::Json => {
            fmt::layer().json().flatten_event(true).with_writer(stderr).with_filter(filter).boxed()
        }
    }
}

fn default_filter(level: Level) -> EnvFilter {
    let quiet = level.min(Level::WARN);
    let directives: Vec<String> = std::iter::once(level.to_string())
        .chain(NOISY.iter().map(|target| format!("{target}={quiet}")))
        .collect();
    EnvFilter::new(directives.join(","))
}

fn shows_no_bodies(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::DEBUG || !metadata.target().starts_with("aws_")
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use tracing::Subscriber;

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn lines_at(filter: EnvFilter) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let layer = fmt::layer()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .with_filter(filter.and(filter_fn(shows_no_bodies)));
        tracing::subscriber::with_default(Registry::default().with(layer), || {
            tracing::debug!(target: "kinesis_agent::file", "ours at debug");
            tracing::info!(target: "hyper_util::client", "hyper at info");
            tracing::warn!(target: "aws_runtime", "SDK at warn");
            tracing::debug!(target: "aws_smithy_runtime::client", "SDK at debug");
            tracing::trace!(target: "aws_smithy_runtime::client", "SDK at trace");
        });
        let bytes = captured.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn libraries_are_quiet_by_default() {
        let lines = lines_at(default_filter(Level::DEBUG));
        assert!(lines.contains("ours at debug") && lines.contains("SDK at warn"), "{lines}");
        assert!(!lines.contains("hyper") && !lines.contains("SDK at debug"), "{lines}");
        assert_eq!(lines_at(default_filter(Level::ERROR)), "");
    }

    #[test]
    fn bodies_are_never_shown() {
        let lines = lines_at(EnvFilter::new("trace"));
        assert!(lines.contains("hyper at info") && lines.contains("SDK at debug"), "{lines}");
        assert!(!lines.contains("SDK at trace"), "{lines}");
    }

    #[test]
    fn a_subscriber_can_be_built_in_both_formats() {
        fn is_subscriber<S: Subscriber>(_: &S) {}
        for format in [LogFormat::Text, LogFormat::Json] {
            is_subscriber(&Registry::default().with(layer(default_filter(Level::INFO), format)));
        }
    }
}
