//! `docs/metrics.md` as data, to hold against the page that Prometheus reads and the expressions
//! that people ask.

use std::collections::{BTreeMap, BTreeSet};

use super::query;
use crate::menshen::command;

/// Labels that Prometheus adds, those of Kubernetes included.
const OF_THE_TARGET: &[&str] = &["job", "instance", "namespace"];

/// All metrics by their whole names.
pub struct Manual(BTreeMap<String, Metric>);

#[derive(Debug, Default)]
struct Metric {
    kind: String,
    /// With their values, where those are a closed list.
    labels: BTreeMap<String, Option<BTreeSet<String>>>,
}

impl Manual {
    /// As the program prints it; that `docs/metrics.md` is the same is another test's.
    pub fn printed() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let text = String::from_utf8(command(dir.path(), &["metrics"], &[]).stdout).expect("text");
        let codes = String::from_utf8(command(dir.path(), &["errors"], &[]).stdout).expect("text");
        let codes: Vec<String> = codes
            .lines()
            .filter_map(|line| quoted(line.strip_prefix("| ")?).into_iter().next())
            .collect();
        assert!(codes.len() > 30, "{codes:?}");
        let mut metrics = BTreeMap::new();
        for part in text.split("\n### `").skip(1) {
            let (name, rest) = part.split_once("`\n").expect("a name");
            let kind = rest
                .trim_start()
                .strip_prefix('*')
                .and_then(|rest| rest.split_once('.'))
                .expect("a type")
                .0;
            let labels = rest
                .lines()
                .filter_map(|line| line.strip_prefix("- `")?.split_once("`: "))
                .map(|(label, values)| {
                    let is_one = |value: &str| {
                        let inside = value
                            .strip_prefix('`')
                            .and_then(|value| value.strip_suffix('`'));
                        inside.is_some_and(|inside| !inside.contains('`'))
                    };
                    let all_quoted = values.split(", ").all(is_one);
                    let mut closed = quoted(values);
                    let known = if values.contains("any [error code]") {
                        closed.extend(codes.iter().cloned());
                        Some(closed)
                    } else {
                        all_quoted.then_some(closed)
                    };
                    (
                        label.to_owned(),
                        known.map(|values| values.into_iter().collect()),
                    )
                });
            metrics.insert(
                name.to_owned(),
                Metric {
                    kind: kind.to_owned(),
                    labels: labels.collect(),
                },
            );
        }
        for line in text
            .lines()
            .filter_map(|line| line.strip_prefix("| `process_"))
        {
            let (name, rest) = line.split_once("` | ").expect("a name");
            let kind = rest.split_once(" |").expect("a type").0.to_owned();
            metrics.insert(
                format!("process_{name}"),
                Metric {
                    kind,
                    ..Metric::default()
                },
            );
        }
        assert!(metrics.len() >= 65, "only {} metrics", metrics.len());
        Self(metrics)
    }

    /// The metric that a series belongs to: a histogram has three.
    fn find(&self, series: &str) -> Option<(&Metric, bool)> {
        if let Some(metric) = self.0.get(series) {
            return Some((metric, false));
        }
        let base = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| series.strip_suffix(end))?;
        self.0
            .get(base)
            .filter(|metric| metric.kind == "histogram")
            .map(|metric| (metric, true))
    }

    /// What the program serves is what the manual says, and the other way round. Gives the number
    /// of series.
    pub fn assert_agrees_with(&self, page: &str) -> usize {
        let mut types = BTreeMap::new();
        for line in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let (name, kind) = line.split_once(' ').expect("a type");
            types.insert(name.to_owned(), kind.to_owned());
        }
        let said: BTreeMap<String, String> = self
            .0
            .iter()
            .map(|(name, metric)| (name.clone(), metric.kind.clone()))
            .collect();
        assert_eq!(types, said, "the manual and the program differ");
        let series: Vec<&str> = page.lines().filter(|line| !line.starts_with('#')).collect();
        for line in &series {
            let selector = query::selectors(line)
                .into_iter()
                .next()
                .unwrap_or_else(|| panic!("no metric: {line}"));
            let (metric, is_histogram) = self
                .find(&selector.metric)
                .unwrap_or_else(|| panic!("not in the manual: {line}"));
            let named: BTreeSet<&str> = selector
                .matchers
                .iter()
                .map(|m| m.label.as_str())
                .filter(|l| !(is_histogram && *l == "le"))
                .collect();
            assert_eq!(
                named,
                metric.labels.keys().map(String::as_str).collect(),
                "{line}"
            );
            for matcher in &selector.matchers {
                if let Some(Some(known)) = metric.labels.get(&matcher.label) {
                    assert!(
                        known.contains(&matcher.value),
                        "a value that the manual does not have: {line}"
                    );
                }
            }
        }
        series.len()
    }

    /// An expression names only metrics, labels and values that there are.
    pub fn assert_knows(&self, expression: &str, whose: &str) {
        let mut labels: BTreeSet<&str> = OF_THE_TARGET.iter().copied().collect();
        for selector in query::selectors(expression) {
            // What a rule has recorded has the labels of its own expression; those are looked at
            // there.
            if selector.metric.contains(':') {
                labels.extend([
                    "method", "decision", "code", "rule", "api", "provider", "engine",
                ]);
                continue;
            }
            if selector.metric == "up" {
                continue;
            }
            let (metric, is_histogram) = self
                .find(&selector.metric)
                .unwrap_or_else(|| panic!("{whose}: there is no {}", selector.metric));
            labels.extend(
                metric
                    .labels
                    .keys()
                    .map(String::as_str)
                    .chain(is_histogram.then_some("le")),
            );
            for matcher in &selector.matchers {
                let label = matcher.label.as_str();
                if OF_THE_TARGET.contains(&label) || (is_histogram && label == "le") {
                    continue;
                }
                let known = metric
                    .labels
                    .get(label)
                    .unwrap_or_else(|| panic!("{whose}: {} has no {label}", selector.metric));
                for value in matcher.values() {
                    let is_known = known.as_ref().is_none_or(|known| known.contains(value));
                    assert!(
                        is_known,
                        "{whose}: {label} of {} is never {value}",
                        selector.metric
                    );
                }
            }
        }
        for label in query::groups(expression) {
            assert!(
                labels.contains(label),
                "{whose}: nothing has a label {label}: {expression}"
            );
        }
    }
}

/// Everything in backquotes.
fn quoted(text: &str) -> Vec<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}
