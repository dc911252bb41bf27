//! What operators see: log lines and the metrics registry.

use std::fmt;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tracing_subscriber::EnvFilter;

use crate::config::{Configure, Reader};

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Which log lines are written, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A filter such as `info` or `info,edge=debug`.
    pub filter: String,
    /// Text or JSON.
    pub format: LogFormat,
}

impl Configure for LogConfig {
    fn read(reader: &mut Reader) -> Self {
        let filter = reader.value(
            "log",
            "info".to_owned(),
            "Which log lines are written: a level, or levels by module such as info,edge=debug.",
        );
        if let Err(error) = EnvFilter::builder().parse(&filter) {
            reader.fault("log", format!("is not a log filter: {error}"));
        }
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        let format =
            reader.one_of("log_format", LogFormat::Text, &formats, "How log lines are written.");
        Self { filter, format }
    }
}

/// Starts writing log lines to standard error. Only the first call of a process has an effect, so
/// that several services can run in one.
pub fn start_log(config: &LogConfig) {
    let filter = EnvFilter::builder().parse_lossy(&config.filter);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        // Where standard error is gone there is nobody to tell.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    let started = match config.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    if started.is_err() {
        tracing::debug!("the log has been started before");
    }
}

/// The metrics of one service. Clones are the same registry.
///
/// Hot counters are plain cells of their owner, summed by a
/// [`Collector`](prometheus_client::collector::Collector) when somebody asks; nothing is ever
/// labelled by room or user.
#[derive(Clone)]
pub struct Telemetry {
    registry: Arc<Mutex<Registry>>,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Telemetry").finish_non_exhaustive()
    }
}

impl Telemetry {
    /// An empty registry whose metrics start with `linecast_` and the service's name.
    pub fn new(service: &str) -> Self {
        let registry = Registry::with_prefix(format!("linecast_{service}"));
        Self { registry: Arc::new(Mutex::new(registry)) }
    }

    /// Gives access to register metrics. Not to be called by a collector.
    pub fn register<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Everything in the OpenMetrics text format.
    pub fn text(&self) -> String {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &registry) {
            tracing::error!(%error, "metrics could not be written");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;
    use crate::config::{Layers, resolve};

    fn log_config(text: &str) -> Result<LogConfig, crate::config::Faults> {
        resolve(Layers::new("LINECAST_TEST").with_file("test.toml", text), |path| {
            std::fs::read_to_string(path)
        })
    }

    #[test]
    fn metrics_carry_the_service_in_their_name() {
        let telemetry = Telemetry::new("edge");
        let counter: Counter = Counter::default();
        telemetry.register(|registry| registry.register("frames", "Frames", counter.clone()));
        counter.inc();
        let text = telemetry.text();
        assert!(text.contains("linecast_edge_frames_total 1\n"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn a_bad_filter_is_a_fault() {
        let expected = LogConfig { filter: "info".to_owned(), format: LogFormat::Text };
        assert_eq!(log_config(""), Ok(expected));
        let faults = log_config("log = \"edge=loud\"\nlog_format = \"xml\"").unwrap_err();
        let keys: Vec<&str> = faults.list().iter().map(|fault| fault.key.as_str()).collect();
        assert_eq!(keys, ["log", "log_format"]);
    }
}
