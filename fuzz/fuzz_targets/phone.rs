//! libFuzzer's entry to `targets/phone.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::phone::run(data));
