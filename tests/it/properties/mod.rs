//! What must hold for any bytes whatever: each property is a function of bytes alone, which
//! panics where it does not hold.
//!
//! The fuzz targets (`fuzz/`) look for bytes that break one; the smoke test runs those that were
//! found interesting before (`fuzz/corpus/`). Only the public interface of the crate is used.

/// Any text as a configuration.
pub mod config;
/// Packing records into entries and requests.
pub mod entries;
/// The records of any lines and events.
pub mod lines;
/// The names that rotation gives.
pub mod names;
/// What an answer says of each entry.
pub mod outcomes;
/// Any file as the database.
pub mod store;
/// Any file as a compressed one.
pub mod unpack;

pub type Property = fn(&[u8]);

/// By the names of the fuzz targets.
pub const ALL: [(&str, Property); 8] = [
    ("aggregate", entries::pack_within_the_limits),
    ("config", config::every_mistake_has_a_line),
    ("frame", lines::cut_the_same_whatever_the_borders),
    ("multiline", lines::join_the_same_whatever_the_borders),
    ("names", names::lead_to_shorter_ones),
    ("outcomes", outcomes::one_for_each_entry),
    ("store", store::opens_or_refuses_and_destroys_nothing),
    ("unpack", unpack::gives_the_same_bytes_in_any_steps),
];

/// The first bytes as numbers that steer a property, the others as its text. Missing ones are 0.
fn parameters<const N: usize>(data: &[u8]) -> ([usize; N], &[u8]) {
    let split = data.len().min(N);
    let mut numbers = [0; N];
    for (number, byte) in numbers.iter_mut().zip(data) {
        *number = usize::from(*byte);
    }
    (numbers, &data[split..])
}
