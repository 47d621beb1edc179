//! What goes into an entry and when a batch leaves, also as a property: nothing is lost, doubled
//! or put before what came earlier, and no limit is passed.

use super::*;
use crate::file::TailId;
use crate::send::aggregate;
use crate::send::options::{Capture, Compression, PartitionKey};
use crate::send::testing::{block, chunk, lines, options};
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeMap;

const AT: Duration = Duration::from_secs(5);

fn small(aggregation: Aggregation, entries: usize, bytes: usize, aggregate: usize) -> Options {
    Options {
        aggregation,
        max_batch_entries: entries,
        max_batch_bytes: bytes,
        aggregation_max_bytes: aggregate,
        ..options()
    }
}

fn text(entry: &Entry) -> String {
    entry.parts.iter().map(|part| std::str::from_utf8(&part.payload).unwrap()).collect()
}

fn texts(batch: &Batch) -> Vec<String> {
    batch.entries.iter().map(text).collect()
}

#[test]
fn each_line_is_an_entry_and_the_rest_of_a_block_begins_the_next_batch() {
    let mut batcher = Batcher::new(&small(Aggregation::None, 2, 1000, 0));
    batcher.push(block(1, 0, b"a\n"), AT);
    assert_eq!(batcher.ready(AT), None);
    batcher.push(block(1, 2, b"b\nc\nd\ne\n"), AT);
    assert_eq!(batcher.ready(AT), Some(FlushReason::Records));
    assert!(!batcher.accepts());
    assert_eq!(texts(&batcher.take(FlushReason::Records).unwrap()), ["a\n", "b\n"]);
    assert_eq!(batcher.ready(AT), Some(FlushReason::Records));
    assert_eq!(texts(&batcher.take(FlushReason::Records).unwrap()), ["c\n", "d\n"]);
    assert!(batcher.accepts());
    assert_eq!(texts(&batcher.take(FlushReason::Shutdown).unwrap()), ["e\n"]);
    assert!(batcher.take(FlushReason::Shutdown).is_none());
}

#[test]
fn a_batch_is_due_when_its_oldest_record_has_waited_long_enough() {
    let mut batcher = Batcher::new(&small(Aggregation::None, 3, 1000, 0));
    assert_eq!(batcher.deadline(), None);
    batcher.push(block(1, 0, b"a\n"), AT);
    batcher.push(block(1, 2, b"b\nc\nd\n"), AT * 2);
    let due = AT + options().max_age;
    assert_eq!(batcher.deadline(), Some(due));
    batcher.take(FlushReason::Records);
    assert_eq!(batcher.deadline(), Some(AT * 2 + options().max_age));
    assert_eq!(batcher.ready(AT * 2), None);
    assert_eq!(batcher.ready(AT * 2 + options().max_age), Some(FlushReason::Age));
}

#[test]
fn lines_of_several_tails_share_an_entry_and_neighbours_become_one_slice() {
    let mut batcher = Batcher::new(&small(Aggregation::Lines, 10, 1000, 100));
    let chunk = chunk(1, 0, b"a\nb\nc\n");
    batcher.push(lines(&chunk, Span::new(0, 2)), AT);
    batcher.push(lines(&chunk, Span::new(2, 6)), AT);
    batcher.push(block(2, 0, b"x\n"), AT);
    let batch = batcher.take(FlushReason::Age).unwrap();
    assert_eq!(texts(&batch), ["a\nb\nc\nx\n"]);
    let entry = &batch.entries[0];
    assert_eq!((entry.parts.len(), entry.bytes, entry.records), (2, 8, 4));
    assert_eq!(entry.parts[0].span, Span::new(0, 6));
    assert_eq!(entry.parts[0].payload.as_ptr(), chunk.bytes().as_ptr());
    assert_eq!(batch.bytes, 8 + 6);
}

#[test]
fn a_record_that_is_larger_than_an_entry_goes_alone() {
    let mut batcher = Batcher::new(&small(Aggregation::Lines, 10, 1000, 6 + 4));
    batcher.push(block(1, 0, b"a\nb\nlong line\nc\n"), AT);
    assert_eq!(texts(&batcher.take(FlushReason::Age).unwrap()), ["a\nb\n", "long line\n", "c\n"]);
}

#[test]
fn a_record_in_one_piece_is_never_cut() {
    let one = |payload: &'static [u8]| Block {
        payload: Bytes::from_static(payload),
        shape: Shape::One,
        ..block(1, 0, b"whatever it was\n")
    };
    let mut batcher = Batcher::new(&small(Aggregation::Lines, 10, 1000, 6 + 6));
    for payload in [b"{\n}\n" as &[u8], b"{}", b"{\n\n\n}\n", b"", b"x\n"] {
        batcher.push(one(payload), AT);
    }
    let batch = batcher.take(FlushReason::Age).unwrap();
    assert_eq!(texts(&batch), ["{\n}\n{}", "{\n\n\n}\n", "x\n"]);
    assert_eq!(batch.entries[1].records, 2);
}

#[test]
fn an_aggregate_keeps_pieces_and_events_apart_and_gives_a_lonely_record_no_frame() {
    let framed = Options { aggregation_max_records: Some(3), ..small(Aggregation::Kpl, 10, 1000, 100) };
    let mut batcher = Batcher::new(&framed);
    let piece = |start, payload: &'static [u8], shape| Block { shape, ..block(1, start, payload) };
    batcher.push(piece(0, b"a\nb\n", Shape::One), AT);
    batcher.push(piece(4, b"piece", Shape::Piece), AT);
    batcher.push(block(2, 0, b"x\ny\n"), AT);
    let batch = batcher.take(FlushReason::Age).unwrap();
    assert_eq!(texts(&batch), ["a\nb\npiecex\n", "y\n"]);
    let records: Vec<_> = batch.entries[0].parts.iter().flat_map(|part| part.records()).collect();
    assert_eq!(records, [b"a\nb\n" as &[u8], b"piece", b"x\n"]);
    let key = partition::key(&framed.partition_key, &batch.entries[1]);
    assert_eq!(Envelope::of(&framed).data(batch.entries[1].clone()).to_vec(&key), b"y\n");
}

#[test]
fn a_lonely_record_that_looks_like_an_aggregate_is_framed() {
    let framed = small(Aggregation::Kpl, 10, 1000, 200);
    let mut batcher = Batcher::new(&framed);
    batcher.push(block(1, 0, b"\xf3\x89\x9a\xc2 or not\n"), AT);
    let batch = batcher.take(FlushReason::Age).unwrap();
    let key = partition::key(&framed.partition_key, &batch.entries[0]);
    let sealed = Envelope::of(&framed).data(batch.entries[0].clone()).to_vec(&key);
    let mut aggregate = Vec::new();
    aggregate::Writer::new(None).next(&batch.entries[0], &key, usize::MAX, &mut aggregate);
    assert_eq!(sealed, aggregate);
    assert_eq!(sealed.len(), batch.entries[0].size);
}

#[test]
fn a_record_that_no_batch_can_hold_leaves_in_a_batch_of_its_own() {
    for aggregation in [Aggregation::None, Aggregation::Lines, Aggregation::Kpl] {
        let mut batcher = Batcher::new(&small(aggregation, 10, 12, 100));
        batcher.push(block(1, 0, b"a\nmuch too long\nb\n"), AT);
        for expected in ["a\n", "much too long\n", "b\n"] {
            assert_eq!(texts(&batcher.take(FlushReason::Bytes).unwrap()), [expected]);
        }
    }
}

/// Blocks of up to three tails: cut off their tails' bytes at random lines.
fn blocks() -> impl Strategy<Value = Vec<Block>> {
    let line = (0usize..40).prop_map(|length| {
        let mut line = vec![b'x'; length];
        line.push(b'\n');
        line
    });
    let piece =
        (0u64..3, prop::collection::vec(line, 1..12), prop::collection::vec(0usize..12, 0..3), any::<bool>());
    prop::collection::vec(piece, 1..12).prop_map(|pieces| {
        let mut ends = [0u64; 3];
        let mut blocks = Vec::new();
        for (tail, lines_of, cuts, one) in pieces {
            let end = &mut ends[tail as usize];
            let chunk = chunk(tail, *end, &lines_of.concat());
            let mut start = *end;
            for (index, line) in lines_of.iter().enumerate() {
                *end += line.len() as u64;
                if cuts.contains(&index) || index + 1 == lines_of.len() {
                    let block = lines(&chunk, Span::new(start, *end));
                    blocks.push(if one { in_one_piece(block) } else { block });
                    start = *end;
                }
            }
        }
        blocks
    })
}

/// A record of as many bytes as the lines of `block`; it consists of `o`, lines never do.
fn in_one_piece(block: Block) -> Block {
    Block { shape: Shape::One, payload: vec![b'o'; block.payload.len()].into(), ..block }
}

/// Pushes all blocks, taking batches where the batcher is full.
fn run(batcher: &mut Batcher, blocks: &[Block]) -> Vec<Batch> {
    let mut batches = Vec::new();
    for block in blocks {
        while !batcher.accepts() {
            let reason = batcher.ready(Duration::ZERO).expect("it is full");
            batches.push(batcher.take(reason).expect("full of something"));
        }
        batcher.push(block.clone(), Duration::ZERO);
    }
    batches.extend(std::iter::from_fn(|| {
        let reason = batcher.ready(Duration::ZERO).unwrap_or(FlushReason::Shutdown);
        batcher.take(reason)
    }));
    batches
}

/// Each tail's payloads in the order of the batches, with spans that follow each other.
fn reassemble<'a>(parts: impl Iterator<Item = (TailId, Span, &'a Bytes)>) -> BTreeMap<TailId, Vec<u8>> {
    let mut tails: BTreeMap<TailId, Vec<u8>> = BTreeMap::new();
    for (tail, span, payload) in parts {
        let seen = tails.entry(tail).or_default();
        assert_eq!((span.start, span.len()), (seen.len() as u64, payload.len() as u64));
        seen.extend_from_slice(payload);
    }
    tails
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn every_byte_is_packed_once_in_order_and_within_the_limits(
        blocks in blocks(),
        how in 0usize..4,
        max_entries in 1usize..8,
        max_bytes in 190usize..400,
        aggregate in 80usize..180,
        max_records in prop::option::of(1u32..9),
    ) {
        let (aggregation, compression) = [
            (Aggregation::None, None),
            (Aggregation::Lines, None),
            (Aggregation::Kpl, None),
            (Aggregation::Lines, Some(Compression::Gzip)),
        ][how];
        let packed = aggregation != Aggregation::None;
        let options = Options {
            compression,
            aggregation_max_records: max_records,
            ..small(aggregation, max_entries, max_bytes, aggregate)
        };
        let key = partition::key_room(&options).partition;
        let mut batcher = Batcher::new(&options);
        let batches = run(&mut batcher, &blocks);

        let input = reassemble(blocks.iter().map(|b| (b.chunk.tail, b.span, &b.payload)));
        let parts = || batches.iter().flat_map(|b| &b.entries).flat_map(|e| &e.parts);
        prop_assert_eq!(input, reassemble(parts().map(|p| (p.chunk.tail, p.span, &p.payload))));

        let sent: Vec<&[u8]> = parts().flat_map(|part| part.records()).collect();
        prop_assert_eq!(sent, records_of(&blocks));

        for batch in &batches {
            for entry in &batch.entries {
                prop_assert_eq!(entry.bytes, entry.parts.iter().map(|p| p.payload.len()).sum::<usize>());
                let records = entry.parts.iter().flat_map(|part| part.records()).count();
                prop_assert_eq!(entry.records as usize, records);
                prop_assert!(records <= max_records.unwrap_or(u32::MAX) as usize);
                let held = if compression.is_some() { entry.bytes } else { entry.size + key };
                prop_assert!(records == 1 || packed && held <= aggregate);
                check_sealed(&options, entry)?;
            }
            let bytes = batch.entries.iter().map(|e| e.size + key).sum::<usize>();
            prop_assert_eq!(batch.bytes, bytes);
            prop_assert!(batch.entries.len() <= max_entries);
            prop_assert!(bytes <= max_bytes || batch.entries.len() == 1 && batch.entries[0].records == 1);
        }
        for pair in batches.windows(2) {
            let (batch, next) = (&pair[0], first_of(&pair[1].entries[0]));
            match batch.reason {
                FlushReason::Records => prop_assert_eq!(batch.entries.len(), max_entries),
                FlushReason::Bytes => prop_assert!(batch.bytes + key + most(&options, next) > max_bytes),
                reason => prop_assert!(false, "a batch left for {reason:?}"),
            }
        }
        if packed {
            for pair in batches.iter().flat_map(|batch| batch.entries.windows(2)) {
                let (entry, next) = (&pair[0], first_of(&pair[1]));
                let joined = entry.size + key + most(&options, next);
                let alone = pair.iter().any(|e| e.records == 1 && e.bytes + 40 > aggregate);
                let full = max_records == Some(entry.records);
                prop_assert!(joined > aggregate || alone || full, "{:?}", pair);
            }
        }
    }
}

/// What a record of so many bytes adds to an entry at most.
fn most(options: &Options, bytes: usize) -> usize {
    match Envelope::of(options) {
        Envelope::Plain => bytes,
        Envelope::Compressed(_) => bytes + 128,
        Envelope::Kpl(keys) => aggregate::record_size(keys, bytes) + aggregate::empty_size(keys),
    }
}

fn records_of(blocks: &[Block]) -> Vec<&[u8]> {
    fn lines(block: &Block) -> Vec<&[u8]> {
        match block.shape {
            Shape::Lines => block.payload.split_inclusive(|byte| *byte == b'\n').collect(),
            Shape::One | Shape::Piece => vec![&block.payload],
        }
    }
    blocks.iter().flat_map(lines).collect()
}

/// What is sent is as large as was said: exactly, where records share the entry as they are or
/// framed.
fn check_sealed(options: &Options, entry: &Entry) -> Result<(), TestCaseError> {
    let key = partition::key(&options.partition_key, entry);
    let sealed = Envelope::of(options).data(entry.clone()).to_vec(&key);
    prop_assert!(sealed.len() <= entry.size);
    if options.compression.is_none() && entry.records > 1 {
        prop_assert_eq!(sealed.len(), entry.size);
    }
    if entry.records == 1 && options.compression.is_none() {
        prop_assert_eq!(sealed, entry.to_vec());
    }
    Ok(())
}

/// The length of the first record of an entry. Bytes.
fn first_of(entry: &Entry) -> usize {
    entry.parts[0].records().next().expect("an entry has a record").len()
}

#[test]
fn records_of_one_key_share_entries_of_their_own() {
    let by_key = Options {
        partition_key: PartitionKey::Capture(Capture(regex::bytes::Regex::new("^([a-y])").unwrap())),
        ..small(Aggregation::Lines, 5, 2000, 256 + 7)
    };
    let mut batcher = Batcher::new(&by_key);
    batcher.push(block(1, 0, b"a1\nb1\na2\nz1\nb2\na3\nz2\n"), AT);
    batcher.push(block(2, 0, b"z3\nb3\n"), AT);
    let batch = batcher.take(FlushReason::Age).unwrap();
    assert_eq!(texts(&batch), ["a1\na2\n", "b1\nb2\n", "z1\nz2\n", "a3\n", "z3\n"]);
    let keys: Vec<_> = batch.entries.iter().map(|entry| entry.key.as_ref().map(|key| &*key.text)).collect();
    assert_eq!(keys, [Some("a"), Some("b"), None, Some("a"), None]);
    assert_eq!(texts(&batcher.take(FlushReason::Age).unwrap()), ["b3\n"]);
}

#[test]
fn what_stays_in_the_batch_goes_on_growing_where_it_may() {
    let pattern = regex::bytes::Regex::new("^([a-z])").unwrap();
    let options = Options {
        partition_key: PartitionKey::Capture(Capture(pattern)),
        ..small(Aggregation::Lines, 500, 10_000, 1000)
    };
    let mut batcher = Batcher::new(&options);
    batcher.push(block(1, 0, b"a1\nb1\nc1\n"), AT);
    batcher.push(Block { shape: Shape::Piece, ..block(2, 0, b"c-piece") }, AT);
    let of_b = |entry: &Entry| text(entry).starts_with('b');
    assert!(batcher.take_some(FlushReason::Age, |_| false).is_none());
    let taken = batcher.take_some(FlushReason::Age, of_b).unwrap();
    assert_eq!(texts(&taken), ["b1\n"]);
    batcher.push(block(1, 9, b"a2\nb2\nc2\n"), AT * 2);
    let rest = batcher.take(FlushReason::Shutdown).unwrap();
    assert_eq!(texts(&rest), ["a1\na2\n", "c1\n", "c-piece", "b2\n", "c2\n"]);
    let bytes = |batch: &Batch| {
        batch
            .entries
            .iter()
            .map(|entry| entry.size + partition::longest_key(&options.partition_key))
            .sum::<usize>()
    };
    assert_eq!((taken.bytes, rest.bytes), (bytes(&taken), bytes(&rest)));
}
