//! What each fuzz target promises, as one function over bytes that panics where the promise is
//! broken.
//!
//! libFuzzer calls them (`fuzz_targets/`), and an ordinary test replays every corpus through the
//! same functions (`tests/it/fuzz_corpus.rs`), so that what fuzzing has found stays found. Only
//! menshen's public items are used, and the readings that menshen's are compared with are written
//! here anew: an oracle that shared code would share its mistakes.

pub mod body;
pub mod config;
pub mod dialect;
pub mod encoded;
pub mod encrypted_phone;
pub mod forwarded;
pub mod headers;
pub mod path;
pub mod phone;
pub mod readers;
pub mod request;
pub mod token;
pub mod values;
pub mod world;

/// Panics where a promise is broken.
pub type Target = fn(&[u8]);

/// Every target by the name of its corpus.
pub const ALL: [(&str, Target); 12] = [
    ("body", body::run),
    ("config", config::run),
    ("dialect", dialect::run),
    ("encoded", encoded::run),
    ("encrypted_phone", encrypted_phone::run),
    ("forwarded", forwarded::run),
    ("headers", headers::run),
    ("path", path::run),
    ("phone", phone::run),
    ("request", request::run),
    ("token", token::run),
    ("values", values::run),
];
