//! Wherever the borders of the chunks fall, the same records come out, and the spans of what
//! comes out cover every byte once, in order.

use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use kinesis_agent::file::{Anchor, Chunk, ChunkEnd, Settled, TailEvent, TailId};
use kinesis_agent::record::block::{Output, Shape};
use kinesis_agent::record::{MultiLine, Options, Oversized, Recorder};
use regex::bytes::Regex;

const TAIL: TailId = TailId(7);

static STARTS: LazyLock<[Regex; 5]> = LazyLock::new(|| {
    let patterns = ["^\\S", "a", "^\\d{2}", "x|^$", "(?i)error"];
    patterns.map(|pattern| Regex::new(pattern).expect("it is a pattern"))
});

pub fn cut_the_same_whatever_the_borders(data: &[u8]) {
    let ([limit, oversized, header, border], text) = super::parameters(data);
    let options = options(8 + limit, oversized, header % 4, None);
    compare(&options, text, 8 + limit, border);
}

pub fn join_the_same_whatever_the_borders(data: &[u8]) {
    let ([start, oversized, longest, border], text) = super::parameters(data);
    let start = STARTS[start % STARTS.len()].clone();
    let max_bytes = 8 + longest;
    let events = MultiLine { start, flush_after: Duration::from_secs(1), max_bytes };
    // Lines are cut in their middle only where they are longer than any event may be.
    compare(&options(300, oversized, 0, Some(events)), text, 300, border);
}

fn options(
    max_record_bytes: usize,
    oversized: usize,
    header: usize,
    multi_line: Option<MultiLine>,
) -> Options {
    Options {
        multi_line,
        skip_header_lines: header as u64,
        oversized: [Oversized::Split, Oversized::Truncate, Oversized::DeadLetter][oversized % 3],
        truncated_record_terminator: b"~\n".to_vec(),
        max_record_bytes,
        add_missing_newline: true,
    }
}

fn compare(options: &Options, text: &[u8], long: usize, border: usize) {
    if text.is_empty() {
        return;
    }
    let whole = record(options, text, &[text.len()]);
    tiles(text, &whole);
    let cut = record(options, text, &borders(text, long, border));
    tiles(text, &cut);
    let ((records, rest), (others, other_rest)) = (delivered(&whole), delivered(&cut));
    assert_eq!(rest, other_rest, "as much is left out");
    let longest = records.iter().chain(&others).map(Vec::len).max().unwrap_or(0);
    assert!(longest <= options.max_record_bytes, "a record of {longest} bytes");
    // Where a line is cut in pieces, their borders may be others; and where the last piece is full,
    // it gets no newline.
    let all = |records: &[Vec<u8>]| match records.concat() {
        mut all if !text.ends_with(b"\n") && all.ends_with(b"\n") => {
            all.pop();
            all
        }
        all => all,
    };
    let in_pieces = options.oversized == Oversized::Split;
    assert!(records == others || in_pieces && all(&records) == all(&others), "{records:?}\n{others:?}");
}

/// Behind some lines, and in the middle of lines that are longer than `long`.
fn borders(text: &[u8], long: usize, border: usize) -> Vec<usize> {
    let mut cuts = Vec::new();
    let mut at = 0;
    for (number, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let end = at + line.len();
        if line.len() > long {
            cuts.extend((at + long..end).step_by(long.max(border)));
        }
        if (number + border).is_multiple_of(2) || border > 127 {
            cuts.push(end);
        }
        at = end;
    }
    cuts.push(text.len());
    cuts.dedup();
    cuts
}

fn record(options: &Options, text: &[u8], cuts: &[usize]) -> Vec<Output> {
    let mut recorder = Recorder::new(options.clone(), 1 << 20);
    let mut out = Vec::new();
    let path = Arc::from(Path::new("/var/log/app.log"));
    recorder.push(TailEvent::Opened { tail: TAIL, path, start: 0 }, Duration::ZERO, &mut out);
    let mut start = 0;
    for &cut in cuts {
        let end = match text[cut - 1] {
            b'\n' => ChunkEnd::Line,
            _ if cut == text.len() => ChunkEnd::Unterminated,
            _ => ChunkEnd::MidLine,
        };
        let base = start - Anchor::length(start as u64);
        let chunk = Chunk::new(TAIL, base as u64, Bytes::copy_from_slice(&text[base..cut]), start as u64);
        recorder.push(TailEvent::Chunk { chunk, end, caught_up: false }, Duration::ZERO, &mut out);
        start = cut;
    }
    recorder.push(TailEvent::Ended { tail: TAIL }, Duration::ZERO, &mut out);
    out
}

fn tiles(text: &[u8], out: &[Output]) {
    let mut at = 0;
    for output in out {
        let settled = match output {
            Output::Block(block) => Settled::new(&block.chunk, block.span),
            Output::Dead(dead) => Settled::new(&dead.chunk, dead.span),
            Output::Filtered { settled, .. } => *settled,
        };
        assert_eq!(settled.span.start, at, "without a gap");
        assert!(!settled.span.is_empty());
        at = settled.span.end;
        assert_eq!(settled.anchor, Anchor::of(at, &text[..at as usize]));
    }
    assert_eq!(at, text.len() as u64, "to the end");
}

/// Each record that is sent, and how many bytes are not.
fn delivered(out: &[Output]) -> (Vec<Vec<u8>>, u64) {
    let (mut records, mut rest) = (Vec::new(), 0);
    for output in out {
        match output {
            Output::Block(block) if block.shape == Shape::Lines => {
                records.extend(block.payload.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec));
            }
            Output::Block(block) => records.push(block.payload.to_vec()),
            Output::Dead(dead) => rest += dead.span.len(),
            Output::Filtered { settled, .. } => rest += settled.span.len(),
        }
    }
    (records, rest)
}
