#![no_main]

#[path = "../../tests/it/properties/mod.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::names::lead_to_shorter_ones(data));
