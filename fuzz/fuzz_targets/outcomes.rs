#![no_main]

#[path = "../../tests/it/properties/mod.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::outcomes::one_for_each_entry(data));
