//! What the READMEs of the examples show of a file is in that file.

use std::path::Path;

use super::servers::{Application, RECIPES, SHOP};

/// The pieces of code in a README, by the language that they say they are in.
fn quoted<'a>(readme: &'a str, language: &str) -> Vec<&'a str> {
    let opening = format!("```{language}\n");
    readme
        .split(&opening)
        .skip(1)
        .map(|rest| rest.split("```").next().expect("a piece"))
        .collect()
}

fn quotes(application: &Application, language: &str, files: &[&str], pieces: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(application.folder);
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("a file");
    let readme = read("README.md");
    let quoted = quoted(&readme, language);
    assert_eq!(quoted.len(), pieces);
    let sources: Vec<_> = files.iter().map(|file| read(file)).collect();
    for piece in quoted {
        assert!(
            sources.iter().any(|source| source.contains(piece)),
            "in no file: {piece}"
        );
    }
}

#[test]
fn the_readmes_show_what_is_there() {
    quotes(
        &RECIPES,
        "ts",
        &["src/app.module.ts", "src/recipes/recipes.controller.ts"],
        2,
    );
    quotes(&SHOP, "python", &["shop/settings.py"], 2);
}
