//! What the documents say: in both languages the same, of files that are there, and of each alert.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::text;

/// What a reader in a hurry looks at, in its order, without the words around it.
#[derive(Debug, PartialEq, Eq)]
struct Skeleton {
    /// The level of each heading, and how many rows each table has.
    shape: Vec<String>,
    /// Blocks of code, without their comments.
    code: Vec<String>,
    links: Vec<String>,
}

fn skeleton(document: &str) -> Skeleton {
    let mut skeleton = Skeleton {
        shape: Vec::new(),
        code: Vec::new(),
        links: links(document),
    };
    let (mut block, mut rows): (Option<String>, usize) = (None, 0);
    for line in document.lines() {
        if line.trim_start().starts_with("```") {
            match block.take() {
                Some(block) => skeleton.code.push(block),
                None => block = Some(format!("{line}\n")),
            }
        } else if let Some(block) = &mut block {
            let said = line.split_once(" # ").map_or(line, |(said, _)| said);
            *block += &format!("{}\n", said.trim_end());
        } else if line.starts_with('|') {
            rows += 1;
        } else {
            if rows > 0 {
                skeleton.shape.push(format!("table of {rows}"));
                rows = 0;
            }
            if line.starts_with('#') {
                skeleton
                    .shape
                    .push(line.split(' ').next().expect("a heading").to_owned());
            }
        }
    }
    skeleton
}

/// Where the links outside of code lead.
fn links(document: &str) -> Vec<String> {
    let prose: String = document.split("```").step_by(2).collect();
    let targets = prose
        .split("](")
        .skip(1)
        .map(|rest| rest.split(')').next().expect("a link").to_owned());
    targets.collect()
}

#[test]
fn both_languages_say_the_same() {
    for page in ["README", "docs/running", "docs/migrating"] {
        let english = skeleton(&text(&format!("{page}.md")));
        let chinese = skeleton(&text(&format!("{page}.zh-CN.md")));
        assert_eq!(english.shape, chinese.shape, "{page}");
        assert_eq!(english.code, chinese.code, "{page}");
        // A page or picture that is there in Chinese is led to in Chinese; the heading's own words
        // are its anchor. Each page begins by leading to the other.
        let page_of = |link: &String| {
            let path = link.split('#').next().unwrap_or_default();
            path.replace(".zh-CN.md", ".md")
                .replace(".zh-CN.png", ".en.png")
        };
        let led_to = |links: &[String]| links.iter().map(page_of).collect::<Vec<_>>();
        assert_eq!(led_to(&english.links), led_to(&chinese.links), "{page}");
        let name = page.rsplit('/').next().unwrap_or_default();
        assert_eq!(
            (&english.links[0], &chinese.links[0]),
            (&format!("{name}.zh-CN.md"), &format!("{name}.md"))
        );
        assert!(
            english.code.len() > 2 && english.links.len() > 5 && english.shape.len() > 5,
            "{english:?}"
        );
    }
}

#[test]
fn a_skeleton_is_told_from_another() {
    let document = "# a\n\n| b |\n| - |\n\n```sh\nc # d\n```\n[e](f)\n";
    for other in [
        "## a\n\n| b |\n| - |\n\n```sh\nc # d\n```\n[e](f)\n",
        "# a\n\n| b |\n| - |\n| - |\n\n```sh\nc # d\n```\n[e](f)\n",
        "# a\n\n| b |\n| - |\n\n```sh\nx # d\n```\n[e](f)\n",
        "# a\n\n| b |\n| - |\n\n```sh\nc # d\n```\n[e](g)\n",
    ] {
        assert_ne!(skeleton(document), skeleton(other), "{other}");
    }
    assert_eq!(
        skeleton(document),
        skeleton("# z\n\n| z |\n| - |\n\n```sh\nc # z\n```\n[z](f)\n")
    );
}

/// The anchor that a heading gets: lower case, blanks become `-`, other signs go.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase().replace(' ', "-");
    kept.chars()
        .filter(|&c| c.is_alphanumeric() || c == '-' || c == '_')
        .collect()
}

fn anchors(document: &str) -> BTreeSet<String> {
    let prose: String = document.split("```").step_by(2).collect();
    prose
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| anchor(line.trim_start_matches('#')))
        .collect()
}

/// Every page that people read, below a directory.
fn pages(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name");
        if path.is_dir() {
            // What is not of this repository, and what is made.
            if !name.starts_with('.') && !["target", "node_modules"].contains(&name) {
                pages(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

#[test]
fn every_link_within_the_repository_leads_somewhere() {
    let mut found = Vec::new();
    pages(Path::new(env!("CARGO_MANIFEST_DIR")), &mut found);
    let (mut seen, mut broken) = (0, Vec::new());
    for page in &found {
        let document = std::fs::read_to_string(page).expect("a page");
        for link in links(&document) {
            let (path, fragment) = link.split_once('#').unwrap_or((&link, ""));
            if path.contains("://") || path.starts_with("mailto:") {
                continue;
            }
            seen += 1;
            let target = if path.is_empty() {
                page.clone()
            } else {
                page.parent().expect("a directory").join(path)
            };
            let there = match std::fs::read_to_string(&target) {
                Ok(document) => fragment.is_empty() || anchors(&document).contains(fragment),
                Err(_) => fragment.is_empty() && target.exists(),
            };
            if !there {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(
        broken.is_empty(),
        "links that lead nowhere:\n{}",
        broken.join("\n")
    );
    assert!(
        found.len() > 25 && seen > 150,
        "{} pages, {seen} links",
        found.len()
    );
}

#[test]
fn each_alert_has_its_section_and_says_what_to_do() {
    let rules = text("deploy/prometheus/rules.yaml");
    let alerts: Vec<_> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    let page = text("docs/operations.md");
    let (_, page) = page.split_once("\n## Alerts\n").expect("the alerts");
    let (page, _) = page.split_once("\n## ").expect("what follows them");
    let sections: Vec<_> = page.split("\n### ").skip(1).collect();
    let named: Vec<_> = sections
        .iter()
        .map(|section| section.lines().next().expect("a name"))
        .collect();
    assert_eq!(
        alerts.iter().collect::<BTreeSet<_>>(),
        named.iter().collect::<BTreeSet<_>>()
    );
    assert!(
        alerts.len() > 15 && alerts.len() == named.len(),
        "{} alerts, {} sections",
        alerts.len(),
        named.len()
    );
    for section in sections {
        for part in ["**Means**: ", "**Users see**: ", "**Look at**", "**Do**: "] {
            assert!(section.contains(part), "{part} is not in\n{section}");
        }
    }
}
