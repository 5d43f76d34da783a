//! Keeps the code tidy: arrows, lengths, documentation and words. Each finding says where it is and
//! what to do.
//!
//! `./run lint --figures [CHECKOUT]` prints how much of everything there is.

mod arrows;
mod circles;
mod code_map;
mod figures;
mod rules;
mod source;

use std::{env, path::Path};

use source::Checkout;

#[test]
fn the_code_is_tidy() {
    let checkout = Checkout::read(Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(
        checkout.files.len() > 300 && checkout.modules.len() > 200,
        "this is not all of the code"
    );
    let findings = rules::findings(&checkout);
    assert!(
        findings.is_empty(),
        "{} findings:\n{}",
        findings.len(),
        findings.join("\n")
    );
}

#[test]
#[ignore = "prints figures instead of testing: ./run lint --figures"]
fn figures() {
    let root =
        env::var("MENSHEN_CHECKOUT").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    print!("{}", figures::print(&Checkout::read(Path::new(&root))));
}

/// A checkout with one offence against each rule, so that no rule can be one that finds nothing.
#[test]
fn every_rule_finds_what_it_forbids() {
    let long_file = format!("//! Long.\n{}", "// A line.\n".repeat(500));
    let long_function = format!(
        "//! Long.\npub fn long() {{\n{}}}\n",
        "    let _ = 1;\n".repeat(99)
    );
    let (_folder, checkout) = rules::fixture(&[
        (
            "ARCHITECTURE.md",
            "## Code map, in reading order\n\n| module | what it is | knows |\n| --- | --- | --- |\n\
             | `cli` | all | everything |\n| `low` | below | |\n| `high` | above | |\n| `long` | beside | |\n\n",
        ),
        (
            "docs/glossary.md",
            "## Retired words\n\n| retired | word |\n| --- | --- |\n| `Errand` | `RequestContext` |\n\n",
        ),
        (
            "src/lib.rs",
            "//! The crate.\nmod cli;\nmod high;\nmod long;\nmod low;\nmod new;\n",
        ),
        (
            "src/cli.rs",
            "//! Knows everything.\nuse crate::high::Up;\npub fn run(_: Up) {}\n",
        ),
        (
            "src/low.rs",
            "//! Knows too much.\nuse crate::high::Up;\npub mod a;\npub mod b;\npub fn f(_: Up) {}\n",
        ),
        (
            "src/low/a.rs",
            "//! In a circle.\nuse super::b::B;\npub struct A(B);\n",
        ),
        (
            "src/low/b.rs",
            "//! In a circle.\npub struct B(Option<Box<super::a::A>>);\n",
        ),
        (
            "src/high.rs",
            "//! Above.\nuse pingora::Server;\npub struct Up(Server);\n",
        ),
        (
            "src/new.rs",
            "pub fn many(_: u8, _: u8, _: u8, _: u8, _: u8, _: u8, _: u8) {}\npub struct Errand;\n",
        ),
        ("src/high/unused.rs", "//! Nobody declares it.\n"),
        ("tests/long.rs", &long_function),
        ("src/long.rs", &long_file),
    ]);
    let found = rules::findings(&checkout);
    for expected in [
        "src/low.rs:2: `low` may not know `high`",
        "src/new.rs: `new` is not in the code map",
        "src/low/a.rs and src/low/b.rs know each other",
        "src/high.rs:2: only src/proxy may use `pingora`",
        "src/new.rs:1: begin with `//!`",
        "src/new.rs:1: `many` takes 7 arguments",
        "src/new.rs:2: `Errand` is retired",
        "src/high/unused.rs: no `mod` declares it",
        "tests/long.rs:2: `long` has 101 lines",
        "src/long.rs: 501 lines",
    ] {
        assert!(
            found.iter().any(|finding| finding.starts_with(expected)),
            "not found: {expected}\nfound: {found:#?}"
        );
    }
    assert_eq!(found.len(), 10, "{found:#?}");
}
