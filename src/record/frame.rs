//! Cuts the bytes of a chunk into runs of lines that are short enough to be records, and
//! lines that are not. A run is as long as it can be, so that a chunk of ordinary lines is
//! one run and is not even looked at when it is shorter than the limit.
//!
//! It also knows where a line may be cut: between two characters of UTF-8. It does not know
//! tails, spans or what becomes of a line that is too long.

use std::ops::Range;

use memchr::{memchr, memrchr};

use crate::file::ChunkEnd;

/// A part of a chunk; the ranges are relative to its first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Run {
    /// Complete lines, none longer than the limit, newlines included.
    Lines(Range<usize>),
    /// A line that is longer than the limit, or the part of it that is in this chunk.
    Long(Range<usize>, LineEnd),
    /// The last line of a finished file, without a newline, not longer than the limit.
    Last(Range<usize>),
}

/// How a part of a long line ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineEnd {
    /// With the line's newline.
    Newline,
    /// The file is over and has no newline there.
    Missing,
    /// The line goes on in the next chunk.
    More,
}

/// An iterator over the runs of a chunk that begins at the start of a line.
#[derive(Debug)]
pub struct Frame<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Behind the last newline.
    complete: usize,
    end: ChunkEnd,
    limit: usize,
}

impl<'a> Frame<'a> {
    /// The runs of `bytes` from `at` on. `limit` is the longest line that is not too long,
    /// with its newline.
    pub fn new(bytes: &'a [u8], at: usize, end: ChunkEnd, limit: usize) -> Self {
        let complete = match end {
            ChunkEnd::Line => bytes.len(),
            _ => memrchr(b'\n', &bytes[at..]).map_or(at, |newline| at + newline + 1),
        };
        debug_assert!(end != ChunkEnd::Line || bytes.last().is_none_or(|last| *last == b'\n'));
        Frame { bytes, at, complete, end, limit }
    }

    /// Where the run of short lines that begins at `self.at` ends.
    fn short_until(&self) -> usize {
        let mut until = self.at;
        while self.complete - until > self.limit {
            match memrchr(b'\n', &self.bytes[until..until + self.limit]) {
                Some(newline) => until += newline + 1,
                None => return until,
            }
        }
        self.complete
    }
}

impl Iterator for Frame<'_> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        let from = self.at;
        if from == self.bytes.len() {
            return None;
        }
        let short = self.short_until();
        if short > from {
            self.at = short;
            return Some(Run::Lines(from..short));
        }
        if from < self.complete {
            let newline = memchr(b'\n', &self.bytes[from + self.limit..self.complete]);
            self.at = newline.map_or(self.complete, |newline| from + self.limit + newline + 1);
            return Some(Run::Long(from..self.at, LineEnd::Newline));
        }
        self.at = self.bytes.len();
        let rest = from..self.at;
        Some(match self.end {
            ChunkEnd::Unterminated if rest.len() <= self.limit => Run::Last(rest),
            ChunkEnd::Unterminated => Run::Long(rest, LineEnd::Missing),
            _ => Run::Long(rest, LineEnd::More),
        })
    }
}

/// How many of the first `limit` bytes make whole characters: at most three are left out,
/// and none where the bytes are not UTF-8. Not 0 for a `limit` above 3.
pub fn cut_between_characters(bytes: &[u8], limit: usize) -> usize {
    if bytes.len() <= limit {
        return bytes.len();
    }
    let goes_on = |at: usize| bytes[at] & 0b1100_0000 == 0b1000_0000;
    (0..=3.min(limit)).map(|back| limit - back).find(|&at| !goes_on(at)).filter(|&at| at > 0).unwrap_or(limit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_lines_are_one_run_and_a_long_one_stands_alone() {
        let runs: Vec<Run> = Frame::new(b"a\nbb\n12345678\nc\ndd", 0, ChunkEnd::Unterminated, 4).collect();
        assert_eq!(
            runs,
            [Run::Lines(0..5), Run::Long(5..14, LineEnd::Newline), Run::Lines(14..16), Run::Last(16..18)]
        );
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_not_long() {
        assert_eq!(Frame::new(b"abc\n", 0, ChunkEnd::Line, 4).next(), Some(Run::Lines(0..4)));
        assert_eq!(
            Frame::new(b"abcd\n", 0, ChunkEnd::Line, 4).next(),
            Some(Run::Long(0..5, LineEnd::Newline))
        );
    }

    #[test]
    fn characters_stay_whole() {
        assert_eq!(cut_between_characters("aä".as_bytes(), 2), 1);
        assert_eq!(cut_between_characters("x😀y".as_bytes(), 4), 1);
        assert_eq!(cut_between_characters("x😀y".as_bytes(), 5), 5);
        assert_eq!(cut_between_characters(&[0x80; 9], 4), 4);
    }

    proptest! {
        #[test]
        fn runs_say_of_each_line_whether_it_is_too_long(
            lines in proptest::collection::vec("[a-c]{0,12}\n", 0..12), last in "[a-c]{0,9}", limit in 1usize..9,
        ) {
            let mut text = lines.concat();
            text.push_str(&last);
            let mut got = Vec::new();
            for run in Frame::new(text.as_bytes(), 0, ChunkEnd::Unterminated, limit) {
                match run {
                    Run::Lines(range) => {
                        prop_assert!(!range.is_empty() && text[range.clone()].ends_with('\n'));
                        got.extend(text[range].split_inclusive('\n').map(|line| (line, false)));
                    }
                    Run::Long(range, _) => got.push((&text[range], true)),
                    Run::Last(range) => got.push((&text[range], false)),
                }
            }
            let want: Vec<_> = text.split_inclusive('\n').map(|line| (line, line.len() > limit)).collect();
            prop_assert_eq!(got, want);
        }
    }
}
