//! libFuzzer's entry to `targets/encoded.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::encoded::run(data));
