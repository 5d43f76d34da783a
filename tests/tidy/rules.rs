//! The rules, and what breaks them.

use std::{fs, path::Path};

use tempfile::TempDir;

use super::{
    arrows::{Arrow, CrateUse, arrows},
    circles::circles,
    code_map::{self, CodeMap},
    figures::functions,
    source::Checkout,
};

/// Longest file, in lines.
const MAX_LINES: usize = 500;
/// The same of tests: those of `tests/`, and those that stand beside the code.
const MAX_TEST_LINES: usize = 700;
const MAX_FUNCTION_LINES: usize = 100;
/// Without `self`.
const MAX_ARGUMENTS: usize = 6;

/// Modules that every other one may use, as ARCHITECTURE.md says below the table. Among themselves
/// the table counts.
const COMMON: [&str; 8] = [
    "audit", "clock", "config", "crypto", "entropy", "error", "metrics", "types",
];

/// Libraries that stay behind one door: the crate, and the beginnings of the paths of the files
/// that may use it.
const DOORS: [(&str, &[&str]); 6] = [
    ("pingora", &["src/proxy"]),
    ("h2", &["src/proxy"]),
    ("sled", &["src/store/engines/sled"]),
    ("jsonwebtoken", &["src/token"]),
    ("clap", &["src/cli"]),
    ("anyhow", &["src/main.rs", "src/app", "src/cli"]),
];

/// All that breaks a rule, in the order of the files: where it is, what it is, what to do.
pub(crate) fn findings(checkout: &Checkout) -> Vec<String> {
    let (arrows, crates) = arrows(checkout);
    let mut found = Vec::new();
    undeclared(checkout, &mut found);
    lengths(checkout, &mut found);
    documentation(checkout, &mut found);
    retired_words(checkout, &mut found);
    doors(&crates, &mut found);
    let map = code_map::read(&text(checkout, "ARCHITECTURE.md"));
    for arrow in &arrows {
        may_know(&map, arrow, &mut found);
    }
    for module in checkout
        .modules
        .iter()
        .filter(|module| module.path.len() == 1 && !module.is_test)
    {
        if !map.contains_key(&module.path[0]) {
            found.push(format!(
                "{}: `{}` is not in the code map. Give it a row in ARCHITECTURE.md.",
                module.file, module.path[0]
            ));
        }
    }
    for circle in circles(&arrows) {
        let files: Vec<_> = circle.iter().copied().collect();
        let inside: Vec<_> = arrows
            .iter()
            .filter(|arrow| circle.contains(&*arrow.from) && circle.contains(&*arrow.to))
            .map(|Arrow { from, line, to }| format!("    {from}:{line} -> {to}"))
            .collect();
        found.push(format!(
            "{} know each other. Move what both need into a file that knows neither.\n{}",
            files.join(" and "),
            inside.join("\n")
        ));
    }
    found.sort();
    found.dedup();
    found
}

fn text(checkout: &Checkout, path: &str) -> String {
    fs::read_to_string(checkout.root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn undeclared(checkout: &Checkout, found: &mut Vec<String>) {
    for path in checkout
        .files
        .keys()
        .filter(|path| path.starts_with("src/") && *path != "src/main.rs")
    {
        if !checkout.modules.iter().any(|module| module.file == *path) {
            found.push(format!(
                "{path}: no `mod` declares it, so nothing compiles it. Declare it, or delete it."
            ));
        }
    }
}

fn lengths(checkout: &Checkout, found: &mut Vec<String>) {
    for (path, file) in &checkout.files {
        let (lines, most) = (
            file.text.lines().count(),
            if file.is_test {
                MAX_TEST_LINES
            } else {
                MAX_LINES
            },
        );
        if lines > most {
            found.push(format!(
                "{path}: {lines} lines, and {most} are allowed. Find the second idea in it."
            ));
        }
        for function in functions(file) {
            if function.lines > MAX_FUNCTION_LINES {
                found.push(format!(
                    "{path}:{}: `{}` has {} lines, and {MAX_FUNCTION_LINES} are allowed. Give its steps names.",
                    function.line, function.name, function.lines
                ));
            }
            if function.arguments > MAX_ARGUMENTS {
                found.push(format!(
                    "{path}:{}: `{}` takes {} arguments, and {MAX_ARGUMENTS} are allowed. Group those that go together.",
                    function.line, function.name, function.arguments
                ));
            }
        }
    }
}

fn documentation(checkout: &Checkout, found: &mut Vec<String>) {
    for (path, file) in &checkout.files {
        if !file.text.starts_with("//! ") {
            found.push(format!(
                "{path}:1: begin with `//!`: what this is, why it exists, what must stay true."
            ));
        }
    }
}

/// The table "Retired words" of the glossary.
fn retired_words(checkout: &Checkout, found: &mut Vec<String>) {
    let glossary = text(checkout, "docs/glossary.md");
    let section = glossary
        .split("## Retired words")
        .nth(1)
        .expect("the glossary lists the retired words");
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let mut words = row.split('`').skip(1).step_by(2);
        let (Some(retired), Some(word)) = (words.next(), words.next()) else {
            continue;
        };
        for (path, file) in checkout
            .files
            .iter()
            .filter(|(path, _)| path.starts_with("src/"))
        {
            for (line, text) in (1..).zip(file.text.lines()) {
                if has_word(text, retired) {
                    found.push(format!("{path}:{line}: `{retired}` is retired: docs/glossary.md has `{word}` for it."));
                }
            }
        }
    }
}

fn has_word(text: &str, word: &str) -> bool {
    let is_part =
        |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    text.match_indices(word).any(|(at, _)| {
        let before = at.checked_sub(1).and_then(|at| text.as_bytes().get(at));
        !is_part(before) && !is_part(text.as_bytes().get(at + word.len()))
    })
}

fn doors(crates: &[CrateUse], found: &mut Vec<String>) {
    for CrateUse { file, line, name } in crates {
        let door = DOORS
            .iter()
            .find(|(library, _)| name == library || name.starts_with(&format!("{library}_")));
        let Some((library, files)) = door else {
            continue;
        };
        if !files.iter().any(|start| file.starts_with(start)) {
            found.push(format!(
                "{file}:{line}: only {} may use `{library}`. Ask there.",
                files.join(", ")
            ));
        }
    }
}

fn may_know(map: &CodeMap, Arrow { from, line, to }: &Arrow, found: &mut Vec<String>) {
    let (knower, known) = (top(from), top(to));
    let is_common = COMMON.contains(&known) && !COMMON.contains(&knower);
    if knower == known || is_common || [knower, known].contains(&"lib") {
        return;
    }
    // A module without a row is a finding of its own.
    let Some(Some(allowed)) = map.get(knower) else {
        return;
    };
    if !allowed.contains(known) {
        found.push(format!(
            "{from}:{line}: `{knower}` may not know `{known}` ({to}). Turn the arrow, or write it into the code map of \
             ARCHITECTURE.md with a decision record."
        ));
    }
}

/// `proxy` of `src/proxy/serve.rs` and of `src/proxy.rs`.
fn top(file: &str) -> &str {
    let inside = file.trim_start_matches("src/");
    inside
        .split('/')
        .next()
        .unwrap_or_default()
        .trim_end_matches(".rs")
}

/// A checkout made of these files, and its folder.
pub(crate) fn fixture(files: &[(&str, &str)]) -> (TempDir, Checkout) {
    let root = tempfile::tempdir().expect("a folder");
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    let checkout = Checkout::read(root.path());
    (root, checkout)
}
