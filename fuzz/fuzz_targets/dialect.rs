//! libFuzzer's entry to `targets/dialect.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::dialect::run(data));
