//! Counters whose label values are known at start.
//!
//! All of them exist from the start, at zero: Prometheus sees no increase in a series that begins
//! with its first event, so the first failure would raise no alert.
//!
//! Must stay true: a value that the catalog does not have stops a test, so that the number of
//! series is known.

use prometheus::{IntCounter, IntCounterVec, Registry};

use super::family::{Label, LabelValues, Metric, MetricFamily, MetricType};

/// A family of counters.
#[derive(Debug, Clone)]
pub struct CounterFamily {
    name: &'static str,
    vec: IntCounterVec,
    labels: &'static [Label],
}

impl Metric for CounterFamily {
    const TYPE: MetricType = MetricType::Counter;

    /// Counters whose labels all have closed lists are there at once; for others see
    /// [`CounterFamily::initialize`].
    fn register(family: &'static MetricFamily, registry: &Registry) -> Self {
        let counters = Self {
            name: family.name,
            vec: Metric::register(family, registry),
            labels: family.labels,
        };
        counters.initialize(&[]);
        counters
    }
}

impl CounterFamily {
    /// The counter with these values, in the order of the labels.
    pub fn with_label_values(&self, values: &[&str]) -> IntCounter {
        debug_assert_eq!(values.len(), self.labels.len(), "labels of {}", self.name);
        self.require_known(values);
        self.vec.with_label_values(values)
    }

    /// Creates all counters whose first labels have these values, if the values of the others are
    /// closed lists.
    pub fn initialize(&self, first: &[&str]) {
        self.require_known(first);
        self.create(first);
    }

    fn create(&self, first: &[&str]) {
        let Some(next) = self.labels.get(first.len()) else {
            self.vec.with_label_values(first);
            return;
        };
        for value in next.values.list().into_iter().flatten() {
            self.create(&[first, &[value]].concat());
        }
    }

    /// Stops a test where the catalog does not have one of these values, which are of the first labels.
    fn require_known(&self, values: &[&str]) {
        let is_known = |(label, value): (&Label, &&str)| match &label.values {
            LabelValues::FromConfig(_) => true,
            LabelValues::Closed(_) | LabelValues::ErrorCodesAnd(_) => label
                .values
                .list()
                .is_some_and(|known| known.contains(value)),
        };
        debug_assert!(
            self.labels.iter().zip(values).all(is_known),
            "{values:?} of {} is not in src/metrics/catalog.rs",
            self.name
        );
    }
}
