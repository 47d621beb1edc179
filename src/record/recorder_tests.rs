//! The recorder against naive models of lines and events: whatever the chunks' borders, the same
//! records come out, and their spans cover every byte once.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::file::Anchor;
use crate::record::{MultiLine, Oversized};

const TAIL: TailId = TailId(7);

fn options(max_record_bytes: usize) -> Options {
    Options {
        multi_line: None,
        skip_header_lines: 0,
        oversized: Oversized::Split,
        truncated_record_terminator: b"~\n".to_vec(),
        max_record_bytes,
        add_missing_newline: true,
    }
}

fn multi_line(start: &str, max_bytes: usize) -> Option<MultiLine> {
    let start = regex::bytes::Regex::new(start).unwrap();
    Some(MultiLine { start, flush_after: Duration::from_secs(1), max_bytes })
}

#[test]
fn what_a_power_cut_left_zeros_of_is_left_out() {
    let zeros = vec![0; 3000];
    let text = [&b"one\ntw"[..], &zeros, b"three\nfour\nfi", &zeros].concat();
    let out = record(&options(1000), chunks(&text, usize::MAX, &[0]));
    let block = |output: &Output| match output {
        Output::Block(block) => Some(block.payload.to_vec()),
        _ => None,
    };
    let records: Vec<_> = out.iter().filter_map(block).collect();
    assert_eq!(records.concat(), b"one\nthree\nfour\n");
    let settled: u64 = out
        .iter()
        .map(|output| match output {
            Output::Block(block) => block.span.len(),
            Output::Filtered { settled, .. } => settled.span.len(),
            Output::Dead(dead) => dead.span.len(),
        })
        .sum();
    assert_eq!(settled, text.len() as u64, "every byte is settled");
}

/// Cuts `text` as the file stage does. `borders` says where, in turn: behind a line, and for
/// lines longer than `long` how large their parts are (0: the line stays whole).
fn chunks(text: &[u8], long: usize, borders: &[usize]) -> Vec<TailEvent> {
    let mut cuts = Vec::new();
    let mut borders = borders.iter().copied().cycle();
    let mut at = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let end = at + line.len();
        let border = borders.next().unwrap_or(1);
        if line.len() > long && border > 0 {
            cuts.extend((at..end).step_by(border + 2).skip(1).map(|cut| (cut, ChunkEnd::MidLine)));
        }
        at = end;
        if border % 2 == 1 && line.ends_with(b"\n") {
            cuts.push((at, ChunkEnd::Line));
        }
    }
    let last = if text.ends_with(b"\n") { ChunkEnd::Line } else { ChunkEnd::Unterminated };
    cuts.retain(|(cut, _)| *cut < text.len());
    cuts.push((text.len(), last));
    let mut start = 0;
    let mut events =
        vec![TailEvent::Opened { tail: TAIL, path: Arc::from(Path::new("/var/log/app.log")), start: 0 }];
    for (cut, end) in cuts {
        let base = start - Anchor::length(start as u64);
        let buffer = Bytes::copy_from_slice(&text[base..cut]);
        let chunk = Chunk::new(TAIL, base as u64, buffer, start as u64);
        events.push(TailEvent::Chunk { chunk, end, caught_up: false });
        start = cut;
    }
    events
}

fn record(options: &Options, events: Vec<TailEvent>) -> Vec<Output> {
    let mut recorder = Recorder::new(options.clone(), 1 << 20);
    let mut out = Vec::new();
    for event in events {
        recorder.push(event, Duration::ZERO, &mut out);
    }
    recorder.push(TailEvent::Ended { tail: TAIL }, Duration::ZERO, &mut out);
    assert_eq!((recorder.tails.len(), recorder.pending, recorder.deadline()), (0, 0, None));
    out
}

/// The outputs tile `text`, their anchors are those of the file, and no record is too long.
fn check(text: &[u8], limit: usize, out: &[Output]) {
    let mut at = 0;
    for output in out {
        let settled = match output {
            Output::Block(block) => {
                let sizes: Vec<usize> = match block.shape {
                    Shape::Lines => block.payload.split_inclusive(|b| *b == b'\n').map(<[u8]>::len).collect(),
                    _ => vec![block.payload.len()],
                };
                assert!(sizes.iter().all(|size| (1..=limit).contains(size)), "{sizes:?}");
                assert!(block.payload.ends_with(b"\n") || block.shape == Shape::Piece);
                Settled::new(&block.chunk, block.span)
            }
            Output::Dead(dead) => {
                assert_eq!(dead.payload[..], text[dead.span.start as usize..dead.span.end as usize]);
                Settled::new(&dead.chunk, dead.span)
            }
            Output::Filtered { settled, .. } => *settled,
        };
        assert_eq!(settled.span.start, at);
        assert!(!settled.span.is_empty());
        at = settled.span.end;
        assert_eq!(settled.anchor, Anchor::of(at, &text[..at as usize]));
    }
    assert_eq!(at, text.len() as u64);
}

/// What is sent, a record each, and how much else there is.
fn records(out: &[Output]) -> (Vec<Vec<u8>>, u64, u64) {
    let (mut records, mut filtered, mut dead) = (Vec::new(), 0, 0);
    for output in out {
        match output {
            Output::Block(Block { shape: Shape::Lines, payload, .. }) => {
                records.extend(payload.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec));
            }
            Output::Block(block) => records.push(block.payload.to_vec()),
            Output::Filtered { settled, .. } => filtered += settled.span.len(),
            Output::Dead(given_up) => dead += given_up.span.len(),
        }
    }
    (records, filtered, dead)
}

/// Every event by itself, from the text as a whole. No line is longer than a record may be.
fn naive_events(text: &[u8], limit: usize) -> Vec<Vec<u8>> {
    let mut events: Vec<Vec<u8>> = Vec::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        match events.last_mut() {
            Some(event) if !line.starts_with(b"a") && event.len() + line.len() <= limit => {
                event.extend_from_slice(line);
            }
            _ => events.push(line.to_vec()),
        }
    }
    if let Some(last) = events.last_mut()
        && !last.ends_with(b"\n")
    {
        last.push(b'\n');
    }
    events
}

fn text(longest: usize) -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        6 => Just(b"a".to_vec()),
        6 => Just(b"b".to_vec()),
        2 => Just("ä".as_bytes().to_vec()),
        2 => Just("😀".as_bytes().to_vec()),
        1 => Just(vec![0xff]),
        1 => Just(vec![0x80]),
    ];
    let line = vec(part, 0..longest).prop_map(|parts| [parts.concat(), b"\n".to_vec()].concat());
    (vec(line, 0..14), "[abä😀]{0,20}").prop_map(|(lines, last)| [lines.concat(), last.into_bytes()].concat())
}

fn any_options() -> impl Strategy<Value = Options> {
    let oversized =
        prop_oneof![Just(Oversized::Split), Just(Oversized::Truncate), Just(Oversized::DeadLetter)];
    (oversized, 0u64..4, any::<bool>(), prop_oneof![Just(None), Just(multi_line("^a", 20))]).prop_map(
        |(oversized, skip_header_lines, add_missing_newline, multi_line)| Options {
            oversized,
            skip_header_lines,
            add_missing_newline,
            multi_line,
            ..options(12)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn outputs_tile_the_input_wherever_it_is_cut(
        text in text(24), options in any_options(), borders in vec(0usize..9, 1..9),
    ) {
        prop_assume!(!text.is_empty());
        check(&text, 12, &record(&options, chunks(&text, 12, &borders)));
    }

    #[test]
    fn records_do_not_depend_on_the_borders_between_lines(
        text in text(24), options in any_options(), borders in vec(0usize..9, 1..9),
    ) {
        prop_assume!(!text.is_empty());
        let whole = records(&record(&options, chunks(&text, usize::MAX, &[0])));
        let cut = records(&record(&options, chunks(&text, usize::MAX, &borders)));
        prop_assert_eq!(whole, cut);
    }

    #[test]
    fn split_lines_are_sent_byte_for_byte_and_characters_stay_whole(
        text in text(40), borders in vec(0usize..9, 1..9), add_missing_newline: bool,
    ) {
        prop_assume!(!text.is_empty());
        let options = Options { add_missing_newline, ..options(12) };
        let (records, ..) = records(&record(&options, chunks(&text, 12, &borders)));
        let sent = records.concat();
        let added = !text.ends_with(b"\n") && add_missing_newline && sent.ends_with(b"\n");
        prop_assert_eq!(&sent[..sent.len() - usize::from(added)], &text[..]);
        let full = records.last().is_some_and(|last| last.len() == 12);
        prop_assert!(full || !add_missing_newline || sent.ends_with(b"\n"));
        if let Ok(text) = std::str::from_utf8(&text) {
            prop_assert!(records.iter().all(|record| std::str::from_utf8(record).is_ok()), "{text:?}");
        }
    }

    #[test]
    fn events_are_those_of_the_whole_text(
        text in "([ab]{0,6}\n){0,20}[ab]{0,6}", borders in vec(0usize..9, 1..9), longest in 4usize..30,
    ) {
        prop_assume!(!text.is_empty());
        let options = Options { multi_line: multi_line("a", longest), ..options(100) };
        let out = record(&options, chunks(text.as_bytes(), usize::MAX, &borders));
        check(text.as_bytes(), 100, &out);
        prop_assert_eq!(records(&out).0, naive_events(text.as_bytes(), longest));
    }
}

#[test]
fn a_chunk_of_short_lines_is_one_block_that_shares_its_buffer() {
    let events = chunks(b"a\nb\nc\n", 100, &[0]);
    let TailEvent::Chunk { chunk, .. } = events[1].clone() else { panic!() };
    let out = record(&options(100), events);
    let [Output::Block(block)] = &out[..] else { panic!("{out:?}") };
    assert_eq!(block.shape, Shape::Lines);
    assert_eq!(block.payload.as_ptr(), chunk.bytes().as_ptr());
}

#[test]
fn a_header_is_withheld_until_all_its_lines_were_seen() {
    let options = Options { skip_header_lines: 2, ..options(100) };
    let mut recorder = Recorder::new(options.clone(), 100);
    let mut out = Vec::new();
    for event in chunks(b"h1\nh2\nx\n", 100, &[1]).into_iter().take(2) {
        recorder.push(event, Duration::ZERO, &mut out);
    }
    assert!(out.is_empty(), "a restart here must begin at 0 again: {out:?}");
    let out = record(&options, chunks(b"h1\nh2\nx\n", 100, &[1]));
    assert!(matches!(&out[0], Output::Filtered { settled, reason: FilterReason::Header }
        if settled.span == Span::new(0, 6)));
    assert_eq!(records(&out), (vec![b"x\n".to_vec()], 6, 0));
}

#[test]
fn a_finished_file_that_is_only_a_header_is_left_out_at_once() {
    let mut recorder = Recorder::new(Options { skip_header_lines: 5, ..options(100) }, 100);
    let mut out = Vec::new();
    for event in chunks(b"h1\nh2", 100, &[1]) {
        recorder.push(event, Duration::ZERO, &mut out);
    }
    assert_eq!(records(&out), (vec![], 5, 0));
}

#[test]
fn a_header_is_not_looked_for_in_the_middle_of_a_file() {
    let mut recorder = Recorder::new(Options { skip_header_lines: 2, ..options(100) }, 100);
    let mut out = Vec::new();
    let path = Arc::from(Path::new("/x"));
    recorder.push(TailEvent::Opened { tail: TAIL, path, start: 3 }, Duration::ZERO, &mut out);
    let chunk = Chunk::new(TAIL, 0, Bytes::from_static(b"h1\nx\n"), 3);
    let event = TailEvent::Chunk { chunk, end: ChunkEnd::Line, caught_up: true };
    recorder.push(event, Duration::ZERO, &mut out);
    assert_eq!(records(&out).0, [b"x\n"]);
}

#[test]
fn a_truncated_line_ends_with_the_terminator_and_its_rest_is_left_out() {
    let options = Options { oversized: Oversized::Truncate, ..options(8) };
    let out = record(&options, chunks("short\nabcdeä-and-more\nnext\n".as_bytes(), 8, &[7, 5, 1]));
    let (records, filtered, _) = records(&out);
    assert_eq!(records, ["short\n", "abcde~\n", "next\n"].map(|record| record.as_bytes().to_vec()));
    assert_eq!(filtered, "ä-and-more\n".len() as u64);
}

#[test]
fn only_events_of_quiet_files_are_sent_when_they_are_due() {
    let options = Options { multi_line: multi_line("^a", 100), ..options(100) };
    let mut recorder = Recorder::new(options, 1000);
    let mut out = Vec::new();
    let event = |bytes, start, caught_up| TailEvent::Chunk {
        chunk: Chunk::new(TAIL, 0, Bytes::from_static(bytes), start),
        end: ChunkEnd::Line,
        caught_up,
    };
    recorder.push(event(b"a1\n", 0, false), Duration::from_secs(1), &mut out);
    assert_eq!(recorder.deadline(), None, "more bytes are on their way");
    recorder.push(event(b"a1\na2\n", 3, true), Duration::from_secs(2), &mut out);
    assert_eq!(recorder.deadline(), Some(Duration::from_secs(3)));
    out.clear();
    recorder.tick(Duration::from_millis(2999), &mut out);
    assert!(out.is_empty());
    recorder.tick(Duration::from_secs(3), &mut out);
    assert_eq!(records(&out).0, [b"a2\n"]);
    assert_eq!((recorder.deadline(), recorder.pending()), (None, 0));
}

#[test]
fn pending_events_of_many_tails_stay_within_their_bound() {
    let options = Options { multi_line: multi_line("^a", 1000), ..options(1000) };
    let mut recorder = Recorder::new(options, 4000);
    let mut out = Vec::new();
    for tail in 0..100 {
        let line = Bytes::from(format!("a{}\n", "x".repeat(tail * 3)));
        let chunk = Chunk::new(TailId(tail as u64), 0, line, 0);
        let event = TailEvent::Chunk { chunk, end: ChunkEnd::Line, caught_up: true };
        recorder.push(event, Duration::ZERO, &mut out);
        assert!(recorder.pending() <= 4000);
    }
    assert!(!out.is_empty() && out.len() < 100);
    assert!(recorder.copies().held() >= recorder.pending());
}

#[test]
fn nothing_is_held_back_of_a_line_without_end() {
    let mut recorder = Recorder::new(options(1000), 4000);
    let mut out = Vec::new();
    let mut sent = 0;
    for part in 0..50u64 {
        let base = (part * 1000).saturating_sub(256);
        let buffer = Bytes::from(vec![b'x'; (part * 1000 + 1000 - base) as usize]);
        let chunk = Chunk::new(TAIL, base, buffer, part * 1000);
        let event = TailEvent::Chunk { chunk, end: ChunkEnd::MidLine, caught_up: false };
        recorder.push(event, Duration::ZERO, &mut out);
        sent += records(&out).0.concat().len();
        out.clear();
        assert_eq!((sent, recorder.copies().held()), ((part as usize + 1) * 1000, 0));
    }
    assert_eq!(recorder.take_tally().oversized, 1);
}
