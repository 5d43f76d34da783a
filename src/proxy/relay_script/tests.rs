//! Scripts that fuzzing has kept, and random ones, the same each time.

use std::{fs, panic::catch_unwind};

use proptest::{collection::vec, prelude::*, test_runner::RngSeed};

use super::*;

#[test]
fn what_fuzzing_keeps_of_the_relay_is_replayed() {
    let (mut seen, mut broken) = (0, Vec::new());
    for entry in
        fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/relay")).expect("a corpus")
    {
        let path = entry.expect("an entry").path();
        let input = fs::read(&path).expect("an input");
        seen += 1;
        if catch_unwind(|| run(&input)).is_err() {
            broken.push((path, Script::decode(&input)));
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(seen >= 12, "only {seen} inputs");
}

proptest! {
    // The same scripts each time: fuzzing searches for others.
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_relay_keeps_its_promises_whatever_both_ends_do(bytes in vec(any::<u8>(), 0..64)) {
        run(&bytes);
    }
}
