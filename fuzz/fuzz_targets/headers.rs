//! libFuzzer's entry to `targets/headers.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::headers::run(data));
