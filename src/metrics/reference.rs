//! `docs/metrics.md`, printed from the catalog.

use std::fmt::Write;

use super::{
    catalog::SECTIONS,
    family::{Label, LabelValues, MetricFamily},
};

/// The metrics of the process collector, where there is `/proc`, by Prometheus' usual names.
pub(super) const PROCESS_METRICS: &[(&str, &str, &str)] = &[
    (
        "process_cpu_seconds_total",
        "counter",
        "Processor time, of the program and the kernel for it.",
    ),
    (
        "process_resident_memory_bytes",
        "gauge",
        "Memory in use; compare it with the container's limit.",
    ),
    (
        "process_virtual_memory_bytes",
        "gauge",
        "Address space; of little use.",
    ),
    (
        "process_open_fds",
        "gauge",
        "Open file descriptors; a connection has one, and another one to the backend.",
    ),
    (
        "process_max_fds",
        "gauge",
        "How many there can be (`LimitNOFILE`, `ulimit -n`).",
    ),
    ("process_threads", "gauge", "Threads."),
    (
        "process_start_time_seconds",
        "gauge",
        "When the process began, in Unix time; changes are restarts.",
    ),
];

const INTRODUCTION: &str = "\
# Metrics

Printed by `menshen metrics`, from the list that the program makes its metrics from. The admin listener serves them at `/metrics` in
Prometheus' text format. Rules and alerts on them are in [deploy/prometheus](../deploy/prometheus/README.md), a dashboard is in
[deploy/grafana](../deploy/grafana/README.md).

No label holds a path, a user, an address or a phone number: each has a closed list of values, or its values come from the config, so
the number of series is known. Counters with closed lists are there from the start at zero, so that `rate()` sees their first event.
A histogram `x` is read as `x_bucket`, `x_sum` and `x_count`.
";

/// The page.
pub fn markdown() -> String {
    let mut page = INTRODUCTION.to_owned();
    for (title, entries) in SECTIONS {
        let _ = write!(page, "\n## {title}\n");
        for entry in *entries {
            describe(&mut page, entry);
        }
    }
    page.push_str(
        "\n## The operating system\n\nOn Linux, under the names that every Prometheus client library gives them.\n\n",
    );
    page.push_str("| metric | type | meaning |\n| --- | --- | --- |\n");
    for (name, kind, help) in PROCESS_METRICS {
        let _ = writeln!(page, "| `{name}` | {kind} | {help} |");
    }
    page
}

fn describe(page: &mut String, entry: &MetricFamily) {
    let MetricFamily {
        name,
        metric_type,
        help,
        labels,
        advice,
    } = entry;
    let _ = write!(
        page,
        "\n### `menshen_{name}`\n\n*{}.* {help}\n",
        metric_type.as_str()
    );
    if !labels.is_empty() {
        page.push('\n');
    }
    for Label { name, values } in *labels {
        let values = match values {
            LabelValues::Closed(values) => quoted(values),
            LabelValues::ErrorCodesAnd("") => "any [error code](errors.md)".to_owned(),
            LabelValues::ErrorCodesAnd(more) => {
                format!("{}, or any [error code](errors.md)", quoted(more))
            }
            LabelValues::FromConfig(from) => (*from).to_owned(),
        };
        let _ = writeln!(page, "- `{name}`: {values}");
    }
    let _ = write!(page, "\n{advice}\n");
}

fn quoted(values: &str) -> String {
    values
        .split_whitespace()
        .map(|value| format!("`{value}`"))
        .collect::<Vec<_>>()
        .join(", ")
}
