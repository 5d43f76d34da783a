//! What a metric family is: its name, type, help text and labels, and how each type of the
//! `prometheus` crate is registered from that.

use prometheus::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter,
    IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, core::Collector,
};

use crate::error::ErrorCode;

/// One metric family. Its name is without the prefix `menshen_`.
#[derive(Debug)]
pub(super) struct MetricFamily {
    pub(super) name: &'static str,
    pub(super) metric_type: MetricType,
    pub(super) help: &'static str,
    pub(super) labels: &'static [Label],
    /// What an operator does about it.
    pub(super) advice: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MetricType {
    Counter,
    Gauge,
    Histogram,
}

#[derive(Debug)]
pub(super) struct Label {
    pub(super) name: &'static str,
    pub(super) values: LabelValues,
}

#[derive(Debug)]
pub(super) enum LabelValues {
    /// These and no other, with spaces between them.
    Closed(&'static str),
    /// These, and the wire name of each error code.
    ErrorCodesAnd(&'static str),
    /// Few, known when the config is read.
    FromConfig(&'static str),
}

impl LabelValues {
    /// All of them, where the list is closed.
    pub(super) fn list(&self) -> Option<Vec<&'static str>> {
        match self {
            Self::Closed(values) => Some(values.split_whitespace().collect()),
            Self::ErrorCodesAnd(more) => Some(
                more.split_whitespace()
                    .chain(ErrorCode::ALL.map(ErrorCode::as_str))
                    .collect(),
            ),
            Self::FromConfig(_) => None,
        }
    }
}

impl MetricType {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A type that holds the metrics of one family.
pub(super) trait Metric: Sized {
    const TYPE: MetricType;

    /// Creates the metrics of a family and adds them to the registry.
    ///
    /// # Panics
    /// When the name or a label is invalid, or the name is registered already.
    fn register(family: &'static MetricFamily, registry: &Registry) -> Self;
}

/// Seconds, for what the gate itself adds: 0.5 microseconds to 10 ms.
const GATE_BUCKETS: &[f64] = &[
    5e-7, 1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 1e-2,
];
/// Seconds, for whole requests and calls: 0.5 ms to 30 s.
const CALL_BUCKETS: &[f64] = &[
    5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

macro_rules! metric {
    ($($metric:ident is a $metric_type:ident: |$opts:ident, $labels:pat_param| $new:expr;)*) => {$(
        impl Metric for $metric {
            const TYPE: MetricType = MetricType::$metric_type;

            fn register(family: &'static MetricFamily, registry: &Registry) -> Self {
                let $opts = Opts::new(family.name, family.help);
                let names: Vec<_> = family.labels.iter().map(|label| label.name).collect();
                let $labels = names.as_slice();
                let metric = $new.expect("a valid metric");
                let collector: Box<dyn Collector> = Box::new(metric.clone());
                registry.register(collector).expect("a name of its own");
                metric
            }
        }
    )*};
}

metric! {
    IntCounter is a Counter: |opts, _| Self::with_opts(opts);
    IntCounterVec is a Counter: |opts, labels| Self::new(opts, labels);
    Counter is a Counter: |opts, _| Self::with_opts(opts);
    CounterVec is a Counter: |opts, labels| Self::new(opts, labels);
    IntGauge is a Gauge: |opts, _| Self::with_opts(opts);
    IntGaugeVec is a Gauge: |opts, labels| Self::new(opts, labels);
    Gauge is a Gauge: |opts, _| Self::with_opts(opts);
    GaugeVec is a Gauge: |opts, labels| Self::new(opts, labels);
    Histogram is a Histogram: |opts, _| {
        Self::with_opts(HistogramOpts::from(opts).buckets(GATE_BUCKETS.to_vec()))
    };
    HistogramVec is a Histogram: |opts, labels| {
        Self::new(HistogramOpts::from(opts).buckets(CALL_BUCKETS.to_vec()), labels)
    };
}
