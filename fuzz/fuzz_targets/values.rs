//! libFuzzer's entry to `targets/values.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::values::run(data));
