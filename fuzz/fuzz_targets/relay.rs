//! libFuzzer's entry to the relay under a script (`src/proxy/relay_script`).
#![no_main]

// In the crate itself, as it drives what is private there; a test of the crate replays the corpus.
libfuzzer_sys::fuzz_target!(|data: &[u8]| menshen::proxy::run_relay_script(data));
