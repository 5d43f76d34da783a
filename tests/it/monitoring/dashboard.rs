//! The dashboard of `deploy/grafana`: what it asks, and that Grafana can show it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{prometheus::file, query};

fn dashboard() -> Value {
    serde_json::from_str(&file("deploy/grafana/menshen.json")).expect("JSON")
}

fn panels(dashboard: &Value) -> Vec<&Value> {
    dashboard["panels"]
        .as_array()
        .expect("panels")
        .iter()
        .collect()
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key]
        .as_str()
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| panic!("no {key} in {value}"))
}

/// Every query, with the title of its panel.
pub fn queries() -> Vec<(String, String)> {
    let dashboard = dashboard();
    let mut found = Vec::new();
    for panel in panels(&dashboard) {
        for target in panel["targets"].as_array().into_iter().flatten() {
            found.push((
                text(panel, "title").to_owned(),
                text(target, "expr").to_owned(),
            ));
        }
    }
    for annotation in dashboard["annotations"]["list"]
        .as_array()
        .expect("annotations")
    {
        found.push((
            text(annotation, "name").to_owned(),
            text(annotation, "expr").to_owned(),
        ));
    }
    found
}

/// A query as Grafana would send it: everything chosen, a quarter of an hour shown.
pub fn filled_in(query: &str) -> String {
    let query = query
        .replace("$__rate_interval", "1m")
        .replace("$__range", "15m")
        .replace("$job", ".*")
        .replace("$instance", ".*");
    assert!(!query.contains('$'), "another variable: {query}");
    query
}

/// The queries behind the variables.
pub fn variables() -> Vec<String> {
    let dashboard = dashboard();
    let list = dashboard["templating"]["list"]
        .as_array()
        .expect("variables");
    let names: Vec<&str> = list.iter().map(|variable| text(variable, "name")).collect();
    assert_eq!(names, ["datasource", "job", "instance"]);
    assert_eq!(
        (text(&list[0], "type"), text(&list[0], "query")),
        ("datasource", "prometheus")
    );
    let asked = |variable: &Value| {
        let inside = text(variable, "definition")
            .strip_prefix("label_values(")
            .and_then(|rest| rest.strip_suffix(')'));
        let (selector, label) = inside
            .and_then(|inside| inside.rsplit_once(", "))
            .expect("label_values(SELECTOR, LABEL)");
        assert_eq!(
            (label, variable["query"]["query"].as_str()),
            (text(variable, "name"), variable["definition"].as_str())
        );
        filled_in(selector)
    };
    list[1..].iter().map(asked).collect()
}

/// Each query asks the chosen source for what was chosen, and keeps what its legend names.
fn assert_queries_can_be_shown(panel: &Value, title: &str) {
    let targets = panel["targets"]
        .as_array()
        .filter(|targets| !targets.is_empty())
        .expect("a query");
    let letters: BTreeSet<&str> = targets.iter().map(|target| text(target, "refId")).collect();
    assert_eq!(
        letters.len(),
        targets.len(),
        "{title}: a letter is there twice"
    );
    for holder in targets.iter().chain([panel]) {
        assert_eq!(
            holder["datasource"]["uid"], "${datasource}",
            "{title}: from a source that only one Grafana has"
        );
    }
    for target in targets {
        let (expression, legend) = (text(target, "expr"), text(target, "legendFormat"));
        for selector in query::selectors(expression) {
            let labels: Vec<&str> = selector
                .matchers
                .iter()
                .map(|matcher| matcher.label.as_str())
                .collect();
            assert_eq!(
                labels.get(..2),
                Some(&["job", "instance"][..]),
                "{title}: asks for what was not chosen"
            );
        }
        let groups = query::groups(expression);
        for label in legend
            .split("{{")
            .skip(1)
            .map(|rest| rest.split_once("}}").expect("a closing brace").0)
        {
            let is_there = groups.contains(&label) || (groups.is_empty() && label == "instance");
            assert!(
                is_there,
                "{title}: the legend names {label}, the query loses it"
            );
        }
    }
}

#[test]
fn grafana_can_show_every_panel() {
    let dashboard = dashboard();
    assert_eq!(
        (text(&dashboard, "title"), text(&dashboard, "uid")),
        ("menshen", "menshen")
    );
    assert!(
        dashboard["id"].is_null() && dashboard["schemaVersion"].as_u64() >= Some(36),
        "an export for sharing"
    );
    let (mut ids, mut titles, mut cells, mut rows, mut shown) = (
        BTreeSet::new(),
        BTreeSet::new(),
        BTreeSet::new(),
        Vec::new(),
        0,
    );
    for panel in panels(&dashboard) {
        let title = text(panel, "title");
        assert!(
            ids.insert(panel["id"].as_u64().expect("an id")),
            "{title}: an id is there twice"
        );
        let side = |key: &str| panel["gridPos"][key].as_u64().expect("a number");
        let (x, y, w, h) = (side("x"), side("y"), side("w"), side("h"));
        assert!(
            x + w <= 24 && w > 0 && h > 0,
            "{title} is outside of the grid"
        );
        for cell in (y..y + h).flat_map(|y| (x..x + w).map(move |x| (x, y))) {
            assert!(cells.insert(cell), "{title} lies on another panel");
        }
        if panel["type"] == "row" {
            rows.push(title);
            continue;
        }
        shown += 1;
        assert!(
            titles.insert((rows.last().copied(), title)),
            "{title} is there twice"
        );
        assert!(
            ["timeseries", "stat"].contains(&text(panel, "type")),
            "{title}"
        );
        text(panel, "description");
        text(&panel["fieldConfig"]["defaults"], "unit");
        assert_queries_can_be_shown(panel, title);
    }
    assert_eq!(
        rows,
        [
            "At a glance",
            "Are people signing in?",
            "Who is refused, and why?",
            "WeChat",
            "SMS",
            "What does the gate add?",
            "The backend",
            "The store",
            "Replicas",
            "Connections and streams",
            "The process",
        ]
    );
    assert!(shown >= 60, "{shown} panels");
}
