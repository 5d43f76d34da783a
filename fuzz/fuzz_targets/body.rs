//! libFuzzer's entry to `targets/body.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::body::run(data));
