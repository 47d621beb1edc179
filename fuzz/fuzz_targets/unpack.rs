#![no_main]

#[path = "../../tests/it/properties/mod.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::unpack::gives_the_same_bytes_in_any_steps(data));
