//! The values of the metrics at one moment, for readers inside the process.

use std::collections::BTreeMap;

use prometheus::proto::{Metric, MetricFamily, MetricType};

/// All metrics of one moment.
pub struct Readings(pub(super) Vec<MetricFamily>);

/// The number that is read of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Of a counter or gauge.
    Value,
    /// How many observations a histogram has.
    Count,
    /// The sum of the observations of a histogram.
    Sum,
}

impl Readings {
    /// The values of a family (its name is without `menshen_`), added up over every label but
    /// `labels`, whose values are the keys, in this order.
    pub fn sums(&self, name: &str, labels: &[&str], part: Part) -> BTreeMap<Vec<String>, f64> {
        let mut sums = BTreeMap::new();
        let is_it = |family: &&MetricFamily| {
            let full = family.name();
            full.strip_prefix("menshen_").unwrap_or(full) == name
        };
        for family in self.0.iter().filter(is_it) {
            for metric in family.get_metric() {
                let key = labels.iter().map(|label| label_value(metric, label));
                *sums.entry(key.collect()).or_default() +=
                    read(metric, family.get_field_type(), part);
            }
        }
        sums
    }
}

fn label_value(metric: &Metric, label: &str) -> String {
    let mut pairs = metric.get_label().iter();
    let found = pairs.find(|pair| pair.name() == label);
    found.map_or_else(String::new, |pair| pair.value().to_owned())
}

fn read(metric: &Metric, metric_type: MetricType, part: Part) -> f64 {
    match (metric_type, part) {
        (MetricType::COUNTER, _) => metric.get_counter().get_value(),
        (MetricType::GAUGE, _) => metric.get_gauge().get_value(),
        // Observations are counted far below 2^52.
        #[expect(clippy::cast_precision_loss)]
        (MetricType::HISTOGRAM, Part::Count) => metric.get_histogram().get_sample_count() as f64,
        (MetricType::HISTOGRAM, _) => metric.get_histogram().get_sample_sum(),
        (MetricType::SUMMARY | MetricType::UNTYPED, _) => 0.0,
    }
}
