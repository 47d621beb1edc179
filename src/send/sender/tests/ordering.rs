//! `in_order`: one entry of each key is under way at a time, whatever becomes of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;
use crate::send::options::{Aggregation, Capture};

/// The first letter of a word is its key, and the rest its number.
fn strict() -> Options {
    let pattern = regex::bytes::Regex::new("^([a-z])").unwrap();
    Options { in_order: true, partition_key: PartitionKey::Capture(Capture(pattern)), ..options() }
}

/// What a destination stored, in that order.
type Stored = Arc<Mutex<Vec<String>>>;

/// A destination with these faults at first; what hangs, or is answered wrongly, is stored.
fn faulty(faults: Vec<u8>, stored: Stored) -> Scripted {
    Scripted::new(move |number, payloads| {
        let refused: Vec<usize> = (0..payloads.len()).filter(|at| (at + number).is_multiple_of(2)).collect();
        let all = (0..payloads.len()).collect();
        let reply = match faults.get(number) {
            Some(0 | 1) => Reply::FailEntries(refused.clone(), "InternalFailure"),
            Some(2) => Reply::FailEntries(refused.clone(), "ProvisionedThroughputExceededException"),
            Some(3) => Reply::FailEntries(all, "ProvisionedThroughputExceededException"),
            Some(4) => Reply::Fail(FailureClass::Throttled),
            Some(5) => Reply::Fail(FailureClass::Transient),
            Some(6) => Reply::Hang,
            Some(7) => Reply::TooFew,
            Some(8) => Reply::Slow(Duration::from_secs(3)),
            _ => Reply::Accept,
        };
        let takes = |at: usize| match &reply {
            Reply::FailEntries(failed, _) => !failed.contains(&at),
            Reply::Fail(_) => false,
            _ => true,
        };
        let taken = payloads.iter().enumerate().filter(|(at, _)| takes(*at));
        stored.lock().unwrap().extend(taken.map(|(_, payload)| payload.clone()));
        reply
    })
}

async fn check_order(keys: Vec<u8>, faults: Vec<u8>, options: Options) {
    let stored = Stored::default();
    let mut world = start(options, faulty(faults, stored.clone()).with_shards(halves()));
    for (number, key) in keys.iter().enumerate() {
        world.write(&format!("{}{number:03}", char::from(b'a' + key))).await;
    }
    assert_eq!(world.drain().await, [(0, world.written)]);
    for request in world.destination.requests() {
        let mut keys: Vec<_> = request.keys.iter().map(|key| &key.partition).collect();
        keys.sort_unstable();
        assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "one of each key: {keys:?}");
    }
    let mut latest: HashMap<char, String> = HashMap::new();
    let mut seen = Vec::new();
    for line in stored.lock().unwrap().iter() {
        if seen.contains(line) {
            continue;
        }
        seen.push(line.clone());
        let key = line.chars().next().unwrap();
        if let Some(later) = latest.insert(key, line.clone()) {
            assert!(later < *line, "{line} was stored behind {later}");
        }
    }
    assert_eq!(seen.len(), keys.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn what_is_stored_is_in_order_whatever_fails(
        keys in prop::collection::vec(0u8..4, 1..40),
        faults in prop::collection::vec(0u8..14, 0..25),
        max_batch_entries in 1usize..9,
        max_in_flight in 1usize..5,
        eager in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let flush = if eager { Flush::Eager } else { Flush::Aged };
        let options = Options { max_batch_entries, max_in_flight, flush, ..strict() };
        runtime.unwrap().block_on(check_order(keys, faults, options));
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_of_a_key_leaves_as_soon_as_the_one_before_is_settled() {
    let refused = Reply::FailEntries(vec![0], "InternalFailure");
    let slow = Reply::Slow(Duration::from_secs(5));
    let options = Options { retry_initial_backoff: Duration::from_secs(60), max_in_flight: 3, ..strict() };
    let mut world = start(options, Scripted::replies([refused, slow]));
    world.write("a0 b1 a2 b3 b4").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    // The second of the first key waits for the retry, that of the other key went at once.
    assert_eq!(world.requests(), ["a0b1", "b3"]);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.requests()[..3], ["a0b1", "b3", "b4"]);
    assert_eq!(world.drain().await, [(0, 15)]);
    assert_eq!(world.requests()[3..], ["a0", "a2"]);
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_slow_answer_is_packed_together_and_holds_up_no_other_key() {
    let destination = Scripted::new(|_, payloads| match payloads.concat().starts_with('a') {
        true => Reply::Slow(Duration::from_secs(10)),
        false => Reply::Accept,
    });
    let packed = Options { aggregation: Aggregation::Lines, aggregation_max_bytes: 1000, ..strict() };
    let mut world = start(packed, destination);
    world.write("a0").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    for second in 1..5 {
        world.write(&format!("a{second} b{second}")).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    assert_eq!(world.drain().await, [(0, 27)]);
    assert_eq!(world.requests(), ["a0", "b1", "b2", "b3", "b4", "a1a2a3a4"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_given_up_lets_the_next_go() {
    let destination =
        Scripted::new(|_, payloads| if payloads.concat().contains('0') { INVALID } else { Reply::Accept });
    let mut world = start(strict(), destination);
    world.write("a0 b1 a2").await;
    world.drain().await;
    assert_eq!(world.dead().len(), 1);
    assert_eq!(world.requests().last().unwrap(), "a2");
}

#[tokio::test(start_paused = true)]
async fn large_entries_of_a_few_keys_leave_in_several_requests_that_overlap() {
    let slow = Scripted::new(|_, _| Reply::Slow(Duration::from_secs(5)));
    let options = Options { max_in_flight: 8, max_batch_entries: 8, max_batch_bytes: 1 << 20, ..strict() };
    let mut world = start_with(options, slow, 1 << 20);
    let words: Vec<String> = ('a'..='h').map(|key| format!("{key}{}", "x".repeat(40_000))).collect();
    world.write(&words.join(" ")).await;
    world.drain().await;
    let entries: Vec<usize> =
        world.destination.requests().iter().map(|request| request.payloads.len()).collect();
    assert_eq!(entries, [2, 2, 2, 2]);
    assert_eq!(world.destination.most_running(), 2, "a destination is given two requests at first");
}
