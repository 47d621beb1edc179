//! An entry as one gzip member (RFC 1952) or one Zstandard frame (RFC 8878), and how large it
//! becomes at most, so that what cannot be compressed stays within the limits, too.
//!
//! Takes milliseconds for a large entry, so it is not called where sockets wait. The only file
//! that names `zstd`; what is read from compressed logs is another matter (`file/unpacked.rs`).

use std::io::Write;

use flate2::write::GzEncoder;

use super::entry::Entry;
use super::options::Compression;

/// Zstandard's own default.
const ZSTD_LEVEL: i32 = 3;

/// What the tables of a compressor take, about. Bytes.
pub const WORKSPACE: usize = 1 << 20;

/// The most that `bytes` become. Both formats store what they cannot make smaller; gzip needs 18
/// bytes and 5 for each 16 KiB, Zstandard what its `ZSTD_compressBound` says.
pub fn bound(bytes: usize) -> usize {
    bytes + bytes / 256 + 128
}

/// How many bytes certainly become no more than `size`.
pub fn certain(size: usize) -> usize {
    let room = size.saturating_sub(128);
    room - (room + 1) / 257
}

/// The payloads of `entry`, in one piece.
pub fn compress(entry: &Entry, compression: Compression) -> Vec<u8> {
    let mut made = match compression {
        Compression::Gzip => {
            let made = gzip(entry, flate2::Compression::default());
            if made.len() <= entry.size { made } else { gzip(entry, flate2::Compression::none()) }
        }
        Compression::Zstd => zstd(entry),
    };
    made.shrink_to_fit();
    made
}

fn gzip(entry: &Entry, level: flate2::Compression) -> Vec<u8> {
    const INFALLIBLE: &str = "a Vec takes every write";
    let mut encoder = GzEncoder::new(Vec::new(), level);
    for part in &entry.parts {
        encoder.write_all(&part.payload).expect(INFALLIBLE);
    }
    encoder.finish().expect(INFALLIBLE)
}

fn zstd(entry: &Entry) -> Vec<u8> {
    const NO_MEMORY: &str = "compressing in memory fails only when there is none";
    let compressed = match &entry.parts[..] {
        [part] => zstd::bulk::compress(&part.payload, ZSTD_LEVEL),
        _ => zstd::bulk::compress(&entry.to_vec(), ZSTD_LEVEL),
    };
    compressed.expect(NO_MEMORY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::send::testing::entry;
    use proptest::prelude::*;
    use std::io::Read;

    fn undo(compression: Compression, data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        match compression {
            Compression::Gzip => flate2::read::GzDecoder::new(data).read_to_end(&mut bytes),
            // Another implementation than the one that compresses.
            Compression::Zstd => {
                ruzstd::decoding::StreamingDecoder::new(data).unwrap().read_to_end(&mut bytes)
            }
        }
        .unwrap();
        bytes
    }

    #[test]
    fn what_cannot_be_compressed_stays_within_its_bound() {
        let mut random = fastrand::Rng::with_seed(7);
        for length in [0, 1, 100, 16_383, 131_072, 250_000, 1_044_000] {
            let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
            let (half, rest) = bytes.split_at(length / 3);
            let entry = Entry { size: bound(length), ..entry(&[half, rest]) };
            for compression in [Compression::Gzip, Compression::Zstd] {
                let made = compress(&entry, compression);
                assert!(made.len() <= bound(length), "{compression:?} of {length}: {}", made.len());
                assert_eq!(undo(compression, &made), bytes);
            }
            let stored = gzip(&entry, flate2::Compression::none());
            assert!(stored.len() <= bound(length), "{length} stored: {}", stored.len());
        }
    }

    proptest! {
        #[test]
        fn what_is_certain_to_fit_fits_and_little_more_would(size in 0usize..2_000_000) {
            let bytes = certain(size);
            prop_assert!(bytes == 0 || bound(bytes) <= size);
            prop_assert!(bound(bytes + 1) > size);
        }

        #[test]
        fn any_payload_comes_back(parts in prop::collection::vec(prop::collection::vec(0u8..4, 0..3000), 1..5)) {
            let parts: Vec<&[u8]> = parts.iter().map(|part| &part[..]).collect();
            let mut entry = entry(&parts);
            entry.size = bound(entry.bytes);
            for compression in [Compression::Gzip, Compression::Zstd] {
                let made = compress(&entry, compression);
                prop_assert!(made.len() <= entry.size);
                prop_assert_eq!(undo(compression, &made), parts.concat());
            }
        }
    }
}
