//! What fuzzing has found stays found: every input that a corpus keeps is replayed through the
//! target that it is for.

use std::fs;

#[expect(
    clippy::pedantic,
    reason = "the library of another crate, which is shared with it"
)]
#[path = "../../fuzz/targets/lib.rs"]
pub mod targets;

/// Corpora of targets that drive what is private to the crate, whose own tests replay them
/// (`src/proxy/relay_script.rs`).
const REPLAYED_WITHIN: [&str; 1] = ["relay"];

#[test]
fn every_corpus_is_replayed() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus");
    let mut corpora: Vec<_> = fs::read_dir(root)
        .expect("corpora")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    corpora.sort();
    corpora.retain(|name| !REPLAYED_WITHIN.iter().any(|within| name == within));
    assert_eq!(
        corpora,
        targets::ALL.map(|(name, _)| name),
        "each target has a corpus, each corpus a target"
    );
    for (name, run) in targets::ALL {
        let mut seen = 0;
        for entry in fs::read_dir(format!("{root}/{name}")).expect("a corpus") {
            let path = entry.expect("an entry").path();
            let input = fs::read(&path).expect("an input");
            assert!(
                std::panic::catch_unwind(|| run(&input)).is_ok(),
                "{name}: {}",
                path.display()
            );
            seen += 1;
        }
        assert!(seen >= 10, "{name}: only {seen} inputs");
    }
}
