//! `docs/security-rules.md` names the tests that hold each rule; they have to be there.

use std::{fs, path::Path};

fn sources(directory: &Path, text: &mut String) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            text.push_str(&fs::read_to_string(&path).expect("a source"));
        }
    }
}

#[test]
fn every_rule_is_held_by_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = String::new();
    sources(&root.join("src"), &mut code);
    sources(&root.join("tests"), &mut code);
    let page = fs::read_to_string(root.join("docs/security-rules.md")).expect("the page");
    let rows: Vec<Vec<&str>> = page
        .lines()
        .skip_while(|line| !line.starts_with("| ---"))
        .skip(1)
        .map(|row| row.split('|').collect())
        .collect();
    assert!(rows.len() > 30, "{}", rows.len());
    for row in rows {
        let [_, rule, places, tests, _] = row[..] else {
            panic!("not a row: {row:?}")
        };
        let quoted = |cell: &str| {
            cell.split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        for place in quoted(places) {
            assert!(
                root.join("src").join(&place).exists()
                    || root.join(format!("src/{place}.rs")).exists(),
                "{place}"
            );
        }
        let tests = quoted(tests);
        assert!(!tests.is_empty(), "{rule}");
        for test in tests {
            let heads = ["fn {}(", "fn {}<", "case!({},"];
            let found = heads
                .iter()
                .any(|head| code.contains(&head.replace("{}", &test)));
            assert!(found, "{rule}: there is no test {test}");
        }
    }
}
