//! What AWS bills for lines of one length in each way of packing, on the pure cores: numbers
//! that never change. `make bench` measures the same on what the whole agent sends.
//!
//! The rules stand in docs/AGGREGATION.md. Partition keys are counted as payload, which AWS
//! does not say.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use kinesis_agent::config::parse;
use kinesis_agent::file::{Chunk, TailId};
use kinesis_agent::record::{Block, Shape};
use kinesis_agent::send::batch::Batcher;
use kinesis_agent::send::envelope::Envelope;
use kinesis_agent::send::{FlushReason, partition};

const KB: usize = 1024;
const PUT_UNIT: usize = 25 * KB;
const FIREHOSE_STEP: usize = 5 * KB;
const CHUNK: usize = 256 * KB;
const TOTAL: usize = 20_000_000;

/// The sizes of what is sent for lines of this length, keys included.
fn sizes(flow: &str, line: usize) -> Vec<usize> {
    let text = format!("flows:\n- {{filePattern: /a, {flow}}}\n");
    let options = parse(&text, Path::new("c.yaml"), &|_| None).unwrap().flows.remove(0).send;
    let (mut batcher, mut sizes) = (Batcher::new(&options), Vec::new());
    let mut take = |batcher: &mut Batcher| {
        for entry in batcher.take(FlushReason::Bytes).expect("it holds something").entries {
            let key = partition::key(&options.partition_key, &entry);
            let sealed = Envelope::of(&options).data(entry.clone()).to_vec(&key).len();
            assert!(sealed <= entry.size);
            sizes.push(sealed + partition::key_room(&options).partition);
        }
    };
    let mut text = vec![b'x'; line - 1];
    text.push(b'\n');
    let chunk = Bytes::from(text.repeat(CHUNK / line));
    for number in 0..TOTAL / chunk.len() {
        let chunk = Chunk::new(TailId(number as u64), 0, chunk.clone(), 0);
        let block = Block { span: chunk.span, payload: chunk.bytes(), chunk, shape: Shape::Lines };
        while !batcher.accepts() {
            take(&mut batcher);
        }
        batcher.push(block, Duration::ZERO);
    }
    while !batcher.is_empty() {
        take(&mut batcher);
    }
    sizes
}

/// What is billed, in steps, over the steps that so many bytes take at least.
fn over_the_least(sizes: &[usize], step: usize, bytes: usize) -> f64 {
    let billed: usize = sizes.iter().map(|size| size.div_ceil(step)).sum();
    billed as f64 * step as f64 / bytes as f64
}

fn payload(line: usize) -> usize {
    TOTAL / (CHUNK / line * line) * (CHUNK / line * line)
}

const LINES: [usize; 4] = [100, 200, 1000, 5000];

#[test]
fn packed_lines_cost_the_least_possible() {
    for line in LINES {
        let stream = sizes("kinesisStream: s, aggregation: lines", line);
        let firehose = sizes("deliveryStream: d", line);
        for (billed, what) in [
            (over_the_least(&stream, PUT_UNIT, payload(line)), "units"),
            (over_the_least(&stream, KB, payload(line)), "on demand"),
            (over_the_least(&firehose, FIREHOSE_STEP, payload(line)), "Firehose"),
        ] {
            assert!((1.0..1.02).contains(&billed), "{what} of lines of {line} bytes: {billed:.4}");
        }
    }
}

/// The format itself takes 6 bytes a record and more, which nobody can save.
#[test]
fn aggregates_cost_the_least_that_their_format_allows() {
    for (line, framing) in LINES.into_iter().zip([6, 8, 8, 8]) {
        let aggregates = sizes("kinesisStream: s, aggregation: kpl", line);
        let least = payload(line) / line * (line + framing);
        for step in [PUT_UNIT, KB] {
            let billed = over_the_least(&aggregates, step, least);
            assert!((1.0..1.02).contains(&billed), "{step}-byte steps of lines of {line} bytes: {billed:.4}");
        }
    }
}

#[test]
fn a_line_a_record_costs_a_unit_each() {
    for line in LINES {
        let records = sizes("kinesisStream: s", line);
        let billed = over_the_least(&records, PUT_UNIT, payload(line));
        let expected = PUT_UNIT as f64 / line as f64;
        assert!((billed / expected - 1.0).abs() < 1e-9, "lines of {line} bytes: {billed:.2}");
    }
}
