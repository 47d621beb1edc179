//! Whatever a file is called, the names that it may have been rotated from are shorter, so that
//! following them ends.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use kinesis_agent::file::rotation::origins;

pub fn lead_to_shorter_ones(data: &[u8]) {
    let name = OsStr::from_bytes(data);
    let found = origins(name);
    for (number, origin) in found.iter().enumerate() {
        assert!(!origin.is_empty() && origin.len() < name.len());
        assert!(!found[..number].contains(origin), "each once");
    }
}
