//! Logs: where lines go, how they look, and the one line that each request leaves.
//!
//! Lines are made where things happen and written by one thread, so that a slow reader of standard
//! output never holds a request. When that reader falls too far behind, lines are given up and
//! counted.

mod access;
#[cfg(test)]
mod log_capture;
mod sink;

pub use access::{AccessLine, AccessLog};
#[cfg(test)]
pub(crate) use log_capture::LogCapture;
pub use sink::Sink;

use tracing_subscriber::{
    EnvFilter, Registry, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

use crate::{
    config::{LogFormat, TelemetryConfig},
    metrics::Metrics,
};

/// The way to another level while the process runs.
#[derive(Debug, Clone)]
pub struct LogLevel(reload::Handle<EnvFilter, Registry>);

impl LogLevel {
    /// From now on our own lines at this level.
    pub fn set(&self, level: &str) {
        // It fails only where nothing logs any more.
        drop(self.0.reload(filter(level)));
    }
}

/// Sends everything that is logged from now on to `sink`. The second call in one process changes
/// nothing.
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
    // Tests start several apps in one process; the first one's sink serves.
    drop(started);
    LogLevel(handle)
}

/// Counts every panic and logs where it was, on top of what happens anyway. A panic is a bug; it
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

/// Our own lines at the level asked for. Libraries speak only when something is wrong: their lines
/// may quote what clients sent. `sms` are the codes that development prints. pingora reports each
/// broken client connection as an error; we count and log those ourselves.
fn filter(level: &str) -> EnvFilter {
    EnvFilter::new(format!("warn,menshen={level},audit=info,sms=info"))
}
