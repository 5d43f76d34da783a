//! libFuzzer's entry to `targets/forwarded.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::forwarded::run(data));
