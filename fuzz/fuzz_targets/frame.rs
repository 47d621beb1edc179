#![no_main]

#[path = "../../tests/it/properties/mod.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::lines::cut_the_same_whatever_the_borders(data));
