//! libFuzzer's entry to `targets/encrypted_phone.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::encrypted_phone::run(data));
