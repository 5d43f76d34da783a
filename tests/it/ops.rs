//! What operators are given, run as they would run it: the files of `deploy/`, and what the
//! documents say.

use std::path::Path;

mod documents;
mod nginx;
mod systemd;

/// A file of this repository.
fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()))
}

/// Replaces what an example says of its own machine by what is so on this one. Each has to be
/// there.
fn adapted(text: &str, changes: &[(&str, &str)]) -> String {
    changes
        .iter()
        .fold(text.to_owned(), |text, (written, meant)| {
            assert!(text.contains(written), "{written:?} is not in\n{text}");
            text.replace(written, meant)
        })
}
