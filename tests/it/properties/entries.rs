//! Whatever the records, entries and requests stay within their limits, and hold every byte once,
//! in the order in which they came.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use kinesis_agent::config::parse;
use kinesis_agent::file::{Anchor, Chunk, Span, TailId};
use kinesis_agent::record::Block;
use kinesis_agent::record::block::Shape;
use kinesis_agent::send::batch::Batcher;
use kinesis_agent::send::envelope::Envelope;
use kinesis_agent::send::{Aggregation, Batch, Entry, FlushReason, Options, partition};

pub fn pack_within_the_limits(data: &[u8]) {
    let ([packed, entry_limit, entries, requests, turns], text) = super::parameters(data);
    let mut options = options();
    options.aggregation = [Aggregation::None, Aggregation::Lines, Aggregation::Kpl][packed % 3];
    options.aggregation_max_records = (packed as u32).checked_sub(127).filter(|most| *most > 0);
    options.aggregation_max_bytes = 300 + entry_limit * 3;
    options.max_batch_entries = 1 + entries % 20;
    options.max_batch_bytes = 1200 + requests * 11;
    let blocks = blocks(text);
    let mut batcher = Batcher::new(&options);
    let mut batches = Vec::new();
    for (number, block) in blocks.iter().enumerate() {
        while !batcher.accepts() {
            batches.extend(batcher.take(FlushReason::Bytes));
        }
        batcher.push(block.clone(), Duration::ZERO);
        if turns > 0 && number % turns == 0 {
            batches.extend(batcher.take(FlushReason::Age));
        }
    }
    while let Some(batch) = batcher.take(FlushReason::Shutdown) {
        batches.push(batch);
    }
    check(&options, &blocks, &batches);
}

fn options() -> Options {
    let text = "flows:\n- {filePattern: /a, kinesisStream: s}\n";
    let mut settings = parse(text, Path::new("c.yaml"), &|_| None).expect("it is good");
    settings.flows.remove(0).send
}

/// A block for each stretch of lines; records are at most 255 bytes long, two tails take turns.
fn blocks(text: &[u8]) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut at = [0_u64; 2];
    for (number, stretch) in text.split(|byte| *byte == 0).filter(|stretch| !stretch.is_empty()).enumerate() {
        let tail = number % 2;
        let mut payload = Vec::new();
        for line in stretch.split(|byte| *byte == b'\n') {
            payload.extend_from_slice(&line[..line.len().min(254)]);
            payload.push(b'\n');
        }
        let shape = match (stretch[0] % 4, payload.len()) {
            (0, ..=255) => Shape::One,
            (1, ..=255) => Shape::Piece,
            _ => Shape::Lines,
        };
        let lead = Anchor::length(at[tail]);
        let buffer = Bytes::from([vec![b'x'; lead], payload.clone()].concat());
        let span = Span::new(at[tail], at[tail] + payload.len() as u64);
        let chunk = Chunk::new(TailId(tail as u64), at[tail] - lead as u64, buffer, at[tail]);
        at[tail] = span.end;
        blocks.push(Block { chunk, span, payload: payload.into(), shape });
    }
    blocks
}

fn check(options: &Options, blocks: &[Block], batches: &[Batch]) {
    let mut sent = Vec::new();
    let mut at = [0_u64; 2];
    for batch in batches {
        assert!((1..=options.max_batch_entries).contains(&batch.entries.len()));
        assert!(batch.bytes <= options.max_batch_bytes, "{} bytes", batch.bytes);
        for entry in &batch.entries {
            let bytes = entry.to_vec();
            assert!(bytes.len() == entry.bytes && entry.records > 0 && !bytes.is_empty());
            assert!(entry.size <= options.aggregation_max_bytes.max(255), "{} bytes", entry.size);
            assert!(entry.records <= options.aggregation_max_records.unwrap_or(u32::MAX));
            check_sealed(options, entry);
            for part in &entry.parts {
                let tail = part.chunk.tail.0 as usize;
                assert_eq!(part.span.start, at[tail], "without a gap");
                at[tail] = part.span.end;
            }
            sent.extend(bytes);
        }
    }
    let pushed: Vec<u8> = blocks.iter().flat_map(|block| block.payload.to_vec()).collect();
    assert!(sent == pushed, "{} of {} bytes", sent.len(), pushed.len());
}

/// What is sent is as large as was said, and holds the records in their order.
fn check_sealed(options: &Options, entry: &Entry) {
    let key = partition::key(&options.partition_key, entry);
    let sealed = Envelope::of(options).data(entry.clone()).to_vec(&key);
    assert!(sealed.len() == entry.size || entry.records == 1 && sealed.len() <= entry.size);
    let mut rest = &sealed[..];
    for record in entry.parts.iter().flat_map(|part| part.records()) {
        let at = rest.windows(record.len()).position(|window| window == record);
        let at = at.expect("each record is in it");
        rest = &rest[at + record.len()..];
    }
}
