//! Logs: where lines go, how they are formatted, and the access log.
//!
//! Each thread formats its lines and one thread writes them, so that a slow reader of standard
//! output never holds a request. When that reader falls too far behind, lines are dropped and
//! counted.

mod access;
#[cfg(test)]
mod log_capture;
mod recent;
mod sink;

pub(crate) use access::mask_phones;
pub use access::{AccessLine, AccessLog};
#[cfg(test)]
pub(crate) use log_capture::LogCapture;
pub use recent::{AuditLine, FailedRequest, RecentLines};
pub use sink::Sink;

use tracing_subscriber::{
    Registry,
    filter::{LevelFilter, Targets},
    fmt,
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

use crate::{
    config::{LogFormat, TelemetryConfig},
    metrics::Metrics,
};

/// Changes the log level while the process runs.
#[derive(Debug, Clone)]
pub struct LogLevel(reload::Handle<Targets, Registry>);

impl LogLevel {
    /// Sets the level of our own lines.
    pub fn set(&self, level: &str) {
        // It fails only after the subscriber is gone.
        drop(self.0.reload(filter(level)));
    }
}

/// Sends all log lines to `sink` from now on. The second call in one process changes nothing.
pub fn init(config: &TelemetryConfig, sink: &Sink) -> LogLevel {
    let (filter, handle) = reload::Layer::new(filter(&config.log_level));
    let registry = tracing_subscriber::registry().with(filter);
    let started = match config.log_format {
        LogFormat::Json => registry
            .with(
                fmt::layer()
                    .json()
                    .flatten_event(true)
                    .with_span_list(false)
                    .with_writer(sink.clone()),
            )
            .try_init(),
        LogFormat::Text => registry
            .with(fmt::layer().with_ansi(false).with_writer(sink.clone()))
            .try_init(),
    };
    // Tests start several apps in one process; the sink of the first one is used.
    drop(started);
    LogLevel(handle)
}

/// Counts every panic and logs its place, then runs the previous panic hook. A panic is a bug; it
/// ends one request, never the process.
pub fn count_panics(metrics: &Metrics) {
    let (panics, usual) = (metrics.panics.clone(), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        panics.inc();
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::error!(place, "panicked");
        usual(panic);
    }));
}

/// Our own lines at this level; libraries only from `warn` on, because their lines may quote what
/// clients sent. `sms` are the codes that development prints. pingora reports each broken client
/// connection as an error; we count and log those ourselves.
fn filter(level: &str) -> Targets {
    // The config takes no other than those that are levels.
    let level = level.parse().unwrap_or(LevelFilter::INFO);
    Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("menshen", level)
        .with_target("audit", LevelFilter::INFO)
        .with_target("sms", LevelFilter::INFO)
}
