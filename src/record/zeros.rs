//! Finds what a power cut left of a file's last pages: blocks of zeros where lines were, behind
//! which the file went on.
//!
//! A block is 512 bytes at a multiple of 512 in the file, the smallest that disks and file systems
//! know. Fewer zeros, or zeros that fill no block, are somebody's data.

use std::ops::Range;

use memchr::memrchr;

const BLOCK: usize = 512;

/// A part of a chunk; the ranges are relative to its first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// It may end in the middle of a line only where the chunk does.
    Text(Range<usize>),
    /// Zeros, and before them the beginning of the line that they destroyed.
    Zeros(Range<usize>),
}

/// The parts of `bytes` from `at` on, where a line begins; the first byte stands at `offset` in
/// the file.
pub fn parts(bytes: &[u8], mut at: usize, offset: u64) -> Vec<Part> {
    let mut parts = Vec::new();
    while let Some(zeros) = zeros(bytes, at, offset) {
        let line = memrchr(b'\n', &bytes[at..zeros.start]).map_or(at, |newline| at + newline + 1);
        if line > at {
            parts.push(Part::Text(at..line));
        }
        parts.push(Part::Zeros(line..zeros.end));
        at = zeros.end;
    }
    if at < bytes.len() || parts.is_empty() {
        parts.push(Part::Text(at..bytes.len()));
    }
    parts
}

/// The first zeros that fill a block, with those around it.
fn zeros(bytes: &[u8], from: usize, offset: u64) -> Option<Range<usize>> {
    let into_block = ((offset + from as u64) % BLOCK as u64) as usize;
    let first = from + (BLOCK - into_block) % BLOCK;
    let is_zero = |&byte: &u8| byte == 0;
    let blocks = (first..bytes.len()).step_by(BLOCK).take_while(|block| block + BLOCK <= bytes.len());
    let mut blocks = blocks.filter(|&block| bytes[block] == 0);
    let block = blocks.find(|&block| bytes[block..block + BLOCK].iter().all(is_zero))?;
    let before = bytes[from..block].iter().rev().take_while(|byte| is_zero(byte)).count();
    let after = bytes[block..].iter().take_while(|byte| is_zero(byte)).count();
    Some(block - before..block + after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_that_fill_a_block_are_found_with_the_line_that_they_destroyed() {
        let text = [&b"one\ntw"[..], &[0; 1100], b"three\n"].concat();
        assert_eq!(parts(&text, 0, 0), [Part::Text(0..4), Part::Zeros(4..1106), Part::Text(1106..1112)]);
        assert_eq!(parts(&text, 4, 512 * 3), [Part::Zeros(4..1106), Part::Text(1106..1112)]);
        let last = [&b"one\n"[..], &[0; 2000]].concat();
        assert_eq!(parts(&last, 0, 100), [Part::Text(0..4), Part::Zeros(4..2004)]);
        let two = [&[0; 512][..], b"a\n", &[0; 1200], b"b\n"].concat();
        let found =
            [Part::Zeros(0..512), Part::Text(512..514), Part::Zeros(514..1714), Part::Text(1714..1716)];
        assert_eq!(parts(&two, 0, 0), found);
    }

    #[test]
    fn other_zeros_are_somebodys_data() {
        for zeros in [1, 100, 511] {
            let text = [&b"a"[..], &vec![0; zeros], b"b\n"].concat();
            assert_eq!(parts(&text, 0, 511), [Part::Text(0..text.len())]);
        }
        let text = [&b"a"[..], &[0; 1000], b"b\n"].concat();
        assert_eq!(parts(&text, 0, 1), [Part::Text(0..1003)], "no block is filled");
        assert_eq!(parts(b"", 0, 7), [Part::Text(0..0)]);
    }
}
