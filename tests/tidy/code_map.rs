//! The table "Code map" of ARCHITECTURE.md: which module may know which.

use std::collections::{BTreeMap, BTreeSet};

/// What each module may know, by its name; `None`: everything.
pub(crate) type CodeMap = BTreeMap<String, Option<BTreeSet<String>>>;

const HEADING: &str = "## Code map";

/// Reads the table. The first column names modules, the last those that they know, each between
/// backticks.
pub(crate) fn read(architecture: &str) -> CodeMap {
    let section = architecture
        .split(HEADING)
        .nth(1)
        .expect("ARCHITECTURE.md has a code map");
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut map = CodeMap::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = row.trim_matches('|').split(" |").collect();
        let knows = cells.last().copied().unwrap_or_default();
        let allowed = (knows.trim() != "everything").then(|| names(knows));
        for module in names(cells[0]) {
            map.insert(module, allowed.clone());
        }
    }
    map
}

fn names(cell: &str) -> BTreeSet<String> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .map(|name| name.trim_end_matches(".rs").to_owned())
        .collect()
}
