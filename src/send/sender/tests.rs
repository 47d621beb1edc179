//! The sender against a scripted destination, on a paused clock: waits take no time and their
//! lengths are exact.

use super::*;
use crate::file::{Budget, Span, TailId};
use crate::send::outcome::FailureClass;
use crate::send::partition::{FixedKey, Key};
use crate::send::scripted::{Reply, Scripted};
use crate::send::shards::{OpenShard, ShardId};
use crate::send::testing::{block, options};
use crate::send::{Compression, ShardLimits};
use std::time::Duration;

mod ordering;

/// Memory for request bodies. Bytes.
const BODIES: usize = 96 * 1024;
/// How large requests are where several do as well. Bytes.
const REQUEST: usize = 512 * 1024;

const INVALID: Reply = Reply::Fail(FailureClass::Invalid);
const REFUSED: FailureClass = FailureClass::Waiting { authentication: true };

/// A running sender and all its ends.
struct World {
    destination: Scripted,
    blocks: Option<mpsc::Sender<Block>>,
    settled: mpsc::Receiver<Vec<Settled>>,
    dead: mpsc::Receiver<DeadLetter>,
    counters: Arc<FlowCounters>,
    health: Arc<Health>,
    accepted: Accepted,
    budget: Arc<FlowBudget>,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<Ending>,
    written: u64,
    started: Instant,
}

fn start(options: Options, destination: Scripted) -> World {
    start_with(options, destination, BODIES)
}

fn start_with(options: Options, destination: Scripted, bodies: usize) -> World {
    let (settled_tx, settled) = mpsc::channel(1000);
    let (dead_tx, dead) = mpsc::channel(1000);
    let (blocks_tx, blocks) = mpsc::channel(1);
    let lane = Lane::new(&options);
    let setup = Setup {
        flow: "access".into(),
        name: "access".into(),
        lane,
        options,
        client: Client::Scripted(destination.clone()),
        clients: Arc::default(),
        counters: Arc::default(),
        health: Arc::default(),
        bodies: Bodies::new(bodies, REQUEST),
        accepted: Accepted::default(),
        settled: settled_tx,
        dead: dead_tx,
    };
    let (counters, health) = (setup.counters.clone(), setup.health.clone());
    let accepted = setup.accepted.clone();
    let (budget, stop) = (Budget::new(10_000, 1).flow(), CancellationToken::new());
    let running = tokio::spawn(Sender::new(setup).run(blocks, budget.clone(), stop.clone()));
    World {
        destination,
        blocks: Some(blocks_tx),
        settled,
        dead,
        counters,
        health,
        accepted,
        budget,
        stop,
        running,
        written: 0,
        started: Instant::now(),
    }
}

impl World {
    /// Sends these lines, separated by spaces, as one block.
    async fn write(&mut self, words: &str) {
        let text: String = words.split(' ').map(|word| format!("{word}\n")).collect();
        let block = block(1, self.written, text.as_bytes());
        self.written += text.len() as u64;
        self.blocks.as_ref().unwrap().send(block).await.unwrap();
    }

    /// Closes the input and waits until all is settled; the settled bytes, merged.
    async fn drain(&mut self) -> Vec<(u64, u64)> {
        self.blocks = None;
        assert_eq!((&mut self.running).await.unwrap(), Ending::Drained);
        self.settled_spans()
    }

    fn settled_spans(&mut self) -> Vec<(u64, u64)> {
        let mut spans: Vec<Span> = Vec::new();
        while let Ok(settled) = self.settled.try_recv() {
            spans.extend(settled.iter().map(|settled| settled.span));
        }
        spans.sort_by_key(|span| span.start);
        let mut merged: Vec<(u64, u64)> = Vec::new();
        for span in spans {
            match merged.last_mut() {
                Some(last) if last.1 == span.start => last.1 = span.end,
                _ => merged.push((span.start, span.end)),
            }
        }
        merged
    }

    /// The lines of each request so far.
    fn requests(&self) -> Vec<String> {
        self.destination
            .requests()
            .iter()
            .map(|request| request.payloads.concat().replace('\n', ""))
            .collect()
    }

    /// The times of the requests.
    fn times(&self) -> Vec<Duration> {
        self.destination.requests().iter().map(|request| request.at - self.started).collect()
    }

    fn dead(&mut self) -> Vec<DeadLetter> {
        std::iter::from_fn(|| self.dead.try_recv().ok()).collect()
    }
}

fn one_at_a_time() -> Options {
    Options { max_in_flight: 1, ..options() }
}

#[tokio::test(start_paused = true)]
async fn delivered_spans_are_settled_merged_and_with_the_anchor_of_their_end() {
    let mut world = start(options(), Scripted::replies([]));
    world.write("a b c").await;
    world.blocks = None;
    assert_eq!((&mut world.running).await.unwrap(), Ending::Drained);
    let whole = block(1, 0, b"a\nb\nc\n");
    assert_eq!(world.settled.recv().await.unwrap(), [Settled::new(&whole.chunk, Span::new(0, 6))]);
    assert!(world.settled.recv().await.is_none());
    assert_eq!(world.requests(), ["abc"]);
    assert_eq!((world.counters.records_delivered.get(), world.counters.bytes_delivered.get()), (3, 6));
    assert_eq!(world.counters.batches_at_shutdown.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_batch_leaves_exactly_when_its_oldest_record_is_old_enough() {
    let mut world = start(options(), Scripted::replies([]));
    world.write("a").await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    world.write("b").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.requests(), ["ab"]);
    // Tokio's timers have a resolution of a millisecond.
    let late = world.times()[0] - options().max_age;
    assert!(late <= Duration::from_millis(1), "{late:?}");
    assert_eq!(world.counters.batches_aged.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_batch_grows_while_no_slot_is_free() {
    let mut world = start(one_at_a_time(), Scripted::replies([Reply::Slow(Duration::from_secs(8))]));
    for word in ["a", "b", "c", "d"] {
        world.write(word).await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
    assert_eq!(world.drain().await, [(0, 8)]);
    assert_eq!(world.requests(), ["a", "bcd"]);
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_takes_no_more_blocks_until_a_slot_is_free() {
    let options = Options { max_batch_entries: 2, ..one_at_a_time() };
    let mut world = start(options, Scripted::replies([Reply::Slow(Duration::from_secs(9))]));
    // Two are under way, two in the batch, one waits in the channel.
    world.write("a b c d").await;
    world.write("e").await;
    let more = tokio::time::timeout(Duration::from_secs(8), world.write("f")).await;
    assert!(more.is_err());
    assert_eq!(world.requests(), ["ab"]);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(world.requests(), ["ab", "cd", "e"]);
}

#[tokio::test(start_paused = true)]
async fn lines_are_first_attempted_in_order() {
    let options = Options { max_batch_entries: 3, ..one_at_a_time() };
    let mut world = start(options, Scripted::replies([]));
    world.write("0 1 2 3 4").await;
    world.write("5 6").await;
    world.write("7 8 9").await;
    assert_eq!(world.drain().await, [(0, 20)]);
    assert_eq!(world.requests(), ["012", "345", "678", "9"]);
}

#[tokio::test(start_paused = true)]
async fn only_failed_entries_are_sent_again_and_others_may_go_meanwhile() {
    let throttled = Reply::FailEntries(vec![1, 3], "ProvisionedThroughputExceededException");
    let options =
        Options { max_batch_entries: 4, retry_initial_backoff: Duration::from_secs(4), ..one_at_a_time() };
    let mut world = start(options, Scripted::replies([throttled]));
    world.write("a b c d").await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(world.settled_spans(), [(0, 2), (4, 6)]);
    world.write("e f g h").await;
    assert_eq!(world.drain().await, [(2, 4), (6, 16)]);
    // It was the first refusal: now the stream's limiter lets one go, and then more.
    assert_eq!(world.requests(), ["abcd", "e", "fgh", "bd"]);
    let counters = &world.counters;
    assert_eq!(counters.entries_retried.get(), 2);
    assert_eq!(counters.entries_throttled.words(), [("ProvisionedThroughputExceededException", 2)].into());
    assert_eq!((counters.records_read.get(), counters.records_delivered.get()), (8, 8));
    assert_eq!((counters.batch_entries.sum(), counters.request_micros.count()), (8, 4));
    assert_eq!(counters.batch_bytes.count(), 2);
    assert_eq!((counters.requests.get(), counters.requests_failed.get()), (4, 0));
    assert_eq!(world.health.report().failing_since, None);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_refuses_every_entry_keeps_the_slot() {
    let all = Reply::FailEntries(vec![0, 1], "ServiceUnavailableException");
    let options = Options { max_batch_entries: 2, ..one_at_a_time() };
    let mut world = start(options, Scripted::replies([all.clone(), all]));
    world.write("a b").await;
    world.write("c d").await;
    assert_eq!(world.drain().await, [(0, 8)]);
    assert_eq!(world.requests(), ["ab", "ab", "ab", "cd"]);
}

#[tokio::test(start_paused = true)]
async fn a_dead_destination_is_asked_seldom_and_everything_arrives_when_it_heals() {
    let outage = Duration::from_secs(3600);
    let started = Instant::now();
    let destination = Scripted::new(move |_, _| match started.elapsed() < outage {
        true => Reply::Fail(FailureClass::Transient),
        false => Reply::Accept,
    });
    let options = Options { max_batch_entries: 1, ..options() };
    let mut world = start(options, destination);
    world.write("a b c d e f").await;
    tokio::time::sleep(outage).await;
    assert!(world.health.report().failing_since.is_some());
    // Two slots, each waits 5 s on average.
    let requests = world.destination.requests();
    assert!((1000..2000).contains(&requests.len()), "{}", requests.len());
    assert!(requests.iter().all(|request| ["a\n", "b\n"].contains(&&*request.payloads[0])));
    assert_eq!(world.settled_spans(), []);

    assert_eq!(world.drain().await, [(0, 12)]);
    assert_eq!(world.counters.requests.get(), requests.len() as u64 + 6);
    assert_eq!(world.counters.requests_failed.get(), requests.len() as u64);
    assert!(world.destination.most_running() <= 2);
    assert_eq!(world.health.report().failing_since, None);
    assert!(world.dead().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_gets_no_answer_is_halved() {
    let destination = Scripted::new(|_, payloads| match payloads.len() {
        1 => Reply::Accept,
        _ => Reply::Hang,
    });
    let mut world = start(one_at_a_time(), destination);
    world.write("a b c d").await;
    assert_eq!(world.drain().await, [(0, 8)]);
    assert_eq!(world.requests(), ["abcd", "a", "b", "cd", "c", "d"]);
    let waited = world.times()[1] - world.times()[0];
    let (least, most) = (Duration::from_millis(10_050), Duration::from_millis(10_110));
    assert!((least..most).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn while_nothing_is_answered_one_entry_at_a_time_is_sent() {
    let destination = Scripted::new(|number, _| if number < 3 { Reply::Hang } else { Reply::Accept });
    let mut world = start(one_at_a_time(), destination);
    world.write("a b c d e f g h").await;
    assert_eq!(world.drain().await, [(0, 16)]);
    assert_eq!(world.requests(), ["abcdefgh", "a", "b", "c", "d", "efgh", "a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_large_request_is_given_up_soon_where_large_ones_were_answered_fast() {
    let replies = [Reply::Slow(Duration::from_millis(20)), Reply::Hang];
    let options = Options { max_batch_bytes: 3 << 19, ..one_at_a_time() };
    let mut world = start(options, Scripted::replies(replies));
    let large = "x".repeat(1 << 20);
    world.write(&large).await;
    world.write(&large).await;
    assert_eq!(world.drain().await, [(0, world.written)]);
    let waited = world.times()[2] - world.times()[1];
    assert!(waited < Duration::from_secs(11), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_is_refused_while_others_are_accepted_is_given_up() {
    let destination = Scripted::new(|_, payloads| match payloads.concat().contains("bad") {
        true => INVALID,
        false => Reply::Accept,
    });
    let mut world = start(one_at_a_time(), destination);
    world.write("a bad c d").await;
    assert_eq!(world.drain().await, [(0, 2), (6, 10)]);
    assert_eq!(world.requests(), ["abadcd", "abad", "a", "bad", "cd"]);
    let dead = world.dead();
    assert_eq!(dead.len(), 1);
    assert_eq!((&*dead[0].flow, dead[0].entry.parts[0].span), ("access", Span::new(2, 6)));
    assert_eq!(dead[0].reason, "Invalid: scripted");
    assert_eq!(dead[0].entry.parts[0].chunk.tail, TailId(1));
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_is_refused_first_is_tried_again_after_others_were_accepted() {
    let destination = Scripted::new(|_, payloads| match payloads.concat().contains("bad") {
        true => INVALID,
        false => Reply::Accept,
    });
    let mut world = start(one_at_a_time(), destination);
    world.write("bad a b c").await;
    assert_eq!(world.drain().await, [(4, 10)]);
    assert_eq!(world.requests(), ["badabc", "bada", "bad", "a", "bc", "bad"]);
    assert_eq!(world.dead().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_refuses_everything_gets_nothing_given_up_and_few_requests() {
    let refuses = Duration::from_secs(3600);
    let started = Instant::now();
    let destination = Scripted::new(move |_, _| match started.elapsed() < refuses {
        true => INVALID,
        false => Reply::Accept,
    });
    let options = Options { max_batch_entries: 8, ..one_at_a_time() };
    let mut world = start(options, destination);
    world.write("a b c d e f g h").await;
    world.write("i").await;
    tokio::time::sleep(refuses).await;
    let requests = world.requests();
    assert_eq!(requests[..5], ["abcdefgh", "abcd", "ab", "a", "b"]);
    // No other batch is risked before each entry of the first was refused by itself.
    let next_batch = requests.iter().position(|request| request == "i").unwrap();
    assert!(next_batch >= 15, "{next_batch}");
    assert!((400..2200).contains(&requests.len()), "{}", requests.len());
    assert_eq!(world.drain().await, [(0, 18)]);
    assert!(world.dead().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lonely_refused_entry_lets_others_show_that_it_is_at_fault() {
    let destination = Scripted::new(|_, payloads| match payloads.concat().contains("bad") {
        true => INVALID,
        false => Reply::Accept,
    });
    let mut world = start(one_at_a_time(), destination);
    world.write("bad").await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(world.dead().is_empty());
    world.write("good").await;
    assert_eq!(world.drain().await, [(4, 9)]);
    assert_eq!(world.dead().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn another_flow_to_the_same_destination_may_show_it_too() {
    let mut world = start(one_at_a_time(), Scripted::new(|_, _| INVALID));
    world.write("bad").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(world.dead().is_empty());
    world.accepted.add(1);
    assert_eq!(world.drain().await, []);
    assert_eq!(world.dead().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_its_own_answer_rejects_is_given_up_at_once_if_others_were_accepted() {
    let rejected = |entries| Reply::FailEntries(entries, "InvalidArgumentException");
    let mut world = start(one_at_a_time(), Scripted::replies([rejected(vec![1])]));
    world.write("a bad c").await;
    assert_eq!(world.drain().await, [(0, 2), (6, 8)]);
    assert_eq!(world.requests(), ["abadc"]);
    assert_eq!(world.dead().len(), 1);

    let mut world = start(one_at_a_time(), Scripted::replies([rejected(vec![0, 1])]));
    world.write("a b").await;
    assert_eq!(world.drain().await, [(0, 4)]);
    assert_eq!(world.requests(), ["ab", "a", "b"]);
    assert!(world.dead().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_wrong_number_of_answers_sends_everything_again() {
    let mut world = start(options(), Scripted::replies([Reply::TooFew]));
    world.write("a b").await;
    assert_eq!(world.drain().await, [(0, 4)]);
    assert_eq!(world.requests(), ["ab", "ab"]);
    assert!(world.health.report().last_error.unwrap().text.contains("1 answers for 2 entries"));
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_are_looked_for_afresh_after_a_minute() {
    let destination = Scripted::new(|_, _| Reply::Fail(REFUSED));
    let mut world = start(one_at_a_time(), destination);
    world.write("a").await;
    tokio::time::sleep(Duration::from_secs(58)).await;
    let early = world.times().len();
    assert_eq!(world.destination.renewals(), 0);
    assert!((4..=45).contains(&early), "{early}");
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!((6..=10).contains(&world.destination.renewals()), "{}", world.destination.renewals());
    for pair in world.times().windows(2) {
        let wait = pair[1] - pair[0];
        assert!((Duration::from_secs(1)..Duration::from_millis(30_002)).contains(&wait), "{wait:?}");
    }
    assert_eq!(world.settled_spans(), []);
    assert!(world.dead().is_empty());
}

#[tokio::test(start_paused = true)]
async fn credentials_that_were_accepted_meanwhile_have_not_been_refused_for_long() {
    let started = Instant::now();
    let destination = Scripted::new(move |_, _| match started.elapsed().as_secs() {
        40..80 => Reply::Accept,
        _ => Reply::Fail(REFUSED),
    });
    let mut world = start(one_at_a_time(), destination);
    world.write("a").await;
    tokio::time::sleep(Duration::from_secs(90)).await;
    world.write("b").await;
    tokio::time::sleep(Duration::from_secs(45)).await;
    assert_eq!(world.settled_spans(), [(0, 2)]);
    assert!(world.requests().iter().filter(|request| *request == "b").count() > 1);
    assert_eq!(world.destination.renewals(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_short_memory_budget_sends_what_is_held() {
    let mut world = start(Options { max_age: Duration::from_secs(60), ..options() }, Scripted::replies([]));
    world.write("a").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(world.requests().is_empty());
    assert!(world.budget.take(1_000_000).is_none());
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(world.requests(), ["a"]);
    assert_eq!(world.counters.batches_for_budget.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stop_abandons_everything_at_once_and_settles_nothing() {
    let mut world = start(one_at_a_time(), Scripted::new(|_, _| Reply::Hang));
    world.write("a b").await;
    world.write("c").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(world.requests(), ["abc"]);
    assert_eq!(world.counters.requests_in_flight.get(), 1);
    let before = Instant::now();
    world.stop.cancel();
    assert_eq!((&mut world.running).await.unwrap(), Ending::Abandoned);
    assert!(before.elapsed() < Duration::from_millis(2));
    assert_eq!(world.counters.requests_in_flight.get(), 0);
    assert_eq!(world.settled_spans(), []);
    assert!(world.settled.recv().await.is_none(), "no delivery is left that could settle anything");
}

#[tokio::test(start_paused = true)]
async fn a_sender_whose_settle_stage_is_gone_ends() {
    let mut world = start(options(), Scripted::replies([]));
    world.settled.close();
    world.write("a").await;
    assert_eq!((&mut world.running).await.unwrap(), Ending::Abandoned);
}

#[tokio::test(start_paused = true)]
async fn bodies_are_only_built_while_there_is_memory_for_them() {
    let options = Options { max_batch_entries: 1, max_in_flight: 8, ..options() };
    let mut world = start(options, Scripted::new(|_, _| Reply::Slow(Duration::from_secs(1))));
    let (large, count) = ("x".repeat(BODIES / 2 / 4 * 3 - 1000), 8);
    for _ in 0..count {
        world.write(&large).await;
    }
    assert_eq!(world.drain().await, [(0, (large.len() as u64 + 1) * count)]);
    assert_eq!(world.destination.most_running(), 2);
    assert_eq!(world.started.elapsed().as_secs(), count / 2);
}

/// A destination that never takes `bad` lines, and at first has these faults.
fn faulty(faults: Vec<u8>) -> Scripted {
    Scripted::new(move |number, payloads| {
        let some = (0..payloads.len()).filter(|index| (index + number).is_multiple_of(3)).collect();
        match faults.get(number) {
            Some(1) => Reply::FailEntries((0..payloads.len()).collect(), "ServiceUnavailableException"),
            Some(2) => Reply::Fail(FailureClass::Throttled),
            Some(3) => Reply::Fail(FailureClass::Transient),
            Some(4) => Reply::Fail(REFUSED),
            Some(5) => Reply::Hang,
            Some(6) => Reply::TooFew,
            _ if payloads.concat().contains("bad") => INVALID,
            Some(0) => Reply::FailEntries(some, "InternalFailure"),
            Some(7) => Reply::Slow(Duration::from_millis(1500)),
            _ => Reply::Accept,
        }
    })
}

async fn check_nothing_lost(lines: Vec<bool>, faults: Vec<u8>, options: Options) {
    let max_entries = options.max_batch_entries;
    let mut world = start(options, faulty(faults));
    let mut given_up = Vec::new();
    for (number, good) in lines.iter().enumerate() {
        let word = format!("{}{number:03}", if *good { "good" } else { "bad" });
        let from = world.written;
        world.write(&word).await;
        if !good {
            given_up.push((from, world.written));
        }
    }
    world.blocks = None;
    // Now and then another flow shows that the destination accepts something.
    for _ in 0..1000 {
        if tokio::time::timeout(Duration::from_secs(60), &mut world.running).await.is_ok() {
            break;
        }
        world.accepted.add(1);
    }
    assert!(world.running.is_finished());

    let mut spans = Vec::new();
    while let Some(settled) = world.settled.recv().await {
        spans.extend(settled.iter().map(|settled| (settled.span.start, settled.span.end)));
    }
    let mut dead: Vec<_> = world.dead().iter().map(|letter| letter.entry.parts[0].span).collect();
    dead.sort_by_key(|span| span.start);
    assert_eq!(dead.iter().map(|span| (span.start, span.end)).collect::<Vec<_>>(), given_up);
    spans.extend(given_up);
    spans.sort_unstable();
    let end = spans.into_iter().fold(0, |at, (start, end)| {
        assert_eq!(start, at, "settled exactly once");
        end
    });
    assert_eq!(end, world.written);

    let mut first_attempts: Vec<String> = Vec::new();
    for request in world.destination.requests() {
        assert!(request.payloads.len() <= max_entries);
        let new = request.payloads.into_iter().filter(|line| !first_attempts.contains(line));
        first_attempts.extend(new.collect::<Vec<_>>());
    }
    let numbers: Vec<_> = first_attempts.iter().map(|line| &line[line.len() - 4..]).collect();
    assert!(numbers.is_sorted(), "first attempts are in order: {numbers:?}");
}

fn megabyte(letter: &str) -> String {
    letter.repeat(1 << 20)
}

const QUICK: Reply = Reply::Slow(Duration::from_millis(100));

#[tokio::test(start_paused = true)]
async fn what_hangs_is_sent_again_as_soon_as_something_that_began_later_is_answered() {
    let destination = Scripted::replies([Reply::Hang, Reply::Hang]);
    let mut world = start_with(options(), destination, 16 << 20);
    world.write(&megabyte("a")).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    world.write(&megabyte("b")).await;
    world.drain().await;
    let times = world.times();
    assert_eq!(world.requests().len(), 4);
    let waited = (times[2] - times[0]).as_secs();
    assert_eq!(waited, 38, "nothing is known of the link yet");
    assert!((times[3] - times[2]).as_millis() < 500, "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn a_link_that_became_slow_gets_large_requests_through() {
    let destination = Scripted::new(move |number, payloads| match payloads[0].len() {
        0..1000 => Reply::Accept,
        _ if number == 0 => QUICK,
        _ => Reply::Slow(Duration::from_secs(30)),
    });
    let mut world = start_with(options(), destination, 16 << 20);
    world.write(&megabyte("a")).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.write(&megabyte("b")).await;
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        world.write("small").await;
    }
    world.drain().await;
    let large = world.requests().iter().filter(|request| request.starts_with('b')).count();
    assert_eq!(large, 3);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(150))]
    #[test]
    fn each_entry_is_settled_once_or_given_up_once_whatever_fails(
        lines in proptest::collection::vec(proptest::bool::weighted(0.85), 1..30),
        faults in proptest::collection::vec(0u8..12, 0..25),
        max_batch_entries in 1usize..9,
        max_in_flight in 1usize..4,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let options = Options { max_batch_entries, max_in_flight, ..options() };
        runtime.unwrap().block_on(check_nothing_lost(lines, faults, options));
    }
}

/// Two shards, each with half of the hash keys.
fn halves() -> Vec<OpenShard> {
    let middle = 1u128 << 127;
    let shard = |id, hashes| OpenShard { id: ShardId(id), hashes };
    vec![shard(0, 0..=middle - 1), shard(1, middle..=u128::MAX)]
}

/// The shard that a key goes to, of [`halves`].
fn half(key: &Key) -> usize {
    let hash = key.explicit_hash.unwrap_or_else(|| FixedKey::new(&key.partition).hash);
    usize::from(hash >> 127 == 1)
}

#[tokio::test(start_paused = true)]
async fn entries_leave_as_fast_as_the_shards_take_them_and_evenly() {
    let destination = Scripted::replies([]).with_shards(halves());
    let limits = ShardLimits { records_per_second: 100, ..ShardLimits::default() };
    let options = Options { shard_limits: limits, max_in_flight: 4, ..options() };
    let mut world = start(options, destination);
    let began = Instant::now();
    for first in (0..1000).step_by(50) {
        let words: Vec<_> = (first..first + 50).map(|number| number.to_string()).collect();
        world.write(&words.join(" ")).await;
    }
    world.drain().await;
    // 1,000 entries at 97 % of 200 a second.
    let seconds = began.elapsed().as_secs_f64();
    assert!((4.9..5.8).contains(&seconds), "{seconds}");
    let mut shards = [0, 0];
    for request in world.destination.requests() {
        request.keys.iter().for_each(|key| shards[half(key)] += 1);
    }
    assert!(shards.iter().all(|entries| (480..520).contains(entries)), "{shards:?}");
    // Nothing leaves one by one: 20 ms are gathered.
    assert!(world.requests().len() < 300, "{}", world.requests().len());
}

#[tokio::test(start_paused = true)]
async fn a_shard_is_charged_with_what_compression_leaves() {
    for (compression, least) in [(None, 3), (Some(Compression::Zstd), 0)] {
        let limits = ShardLimits { bytes_per_second: 10_000, ..ShardLimits::default() };
        let options = Options { shard_limits: limits, compression, max_in_flight: 4, ..options() };
        let mut world = start(options, Scripted::replies([]).with_shards(halves()));
        let began = Instant::now();
        for _ in 0..100 {
            world.write(&"x".repeat(999)).await;
        }
        world.drain().await;
        let seconds = began.elapsed().as_secs();
        assert!((least..least + 4).contains(&seconds), "{seconds} s with {compression:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_refuses_everything_does_not_hold_up_the_other() {
    let options = Options {
        partition_key: PartitionKey::Deterministic,
        max_batch_entries: 20,
        max_in_flight: 2,
        ..options()
    };
    let hot = |payload: &String| half(&Key { partition: md5_of(payload), explicit_hash: None }) == 0;
    let destination = Scripted::new(move |_, payloads| {
        let refused = (0..payloads.len()).filter(|&at| hot(&payloads[at])).collect();
        Reply::FailEntries(refused, "ProvisionedThroughputExceededException")
    });
    let mut world = start(options, destination.with_shards(halves()));
    for first in (0..400).step_by(20) {
        let words: Vec<_> = (first..first + 20).map(|number| number.to_string()).collect();
        world.write(&words.join(" ")).await;
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    let written: Vec<String> = (0..400).map(|number| format!("{number}\n")).collect();
    let cold = written.iter().filter(|payload| !hot(payload)).count();
    assert_eq!(world.counters.records_delivered.get(), cold as u64);
    // The slots are free, and the refused shard is asked ever more seldom.
    let requests = world.requests().len();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(world.requests().len() - requests < 600, "{}", world.requests().len() - requests);
}

#[tokio::test(start_paused = true)]
async fn no_more_entries_wait_for_their_shard_than_the_memory_can_bear() {
    let limits = ShardLimits { records_per_second: 10, ..ShardLimits::default() };
    let partition_key = PartitionKey::Value("one".into());
    let options =
        Options { partition_key, shard_limits: limits, max_age: Duration::from_millis(1), ..options() };
    let world = start(options, Scripted::replies([]).with_shards(halves()));
    let (blocks, mut written) = (world.blocks.as_ref().unwrap(), 0);
    let text = "x\n".repeat(1000);
    let writing = async {
        loop {
            blocks.send(block(1, written, text.as_bytes())).await.unwrap();
            written += text.len() as u64;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), writing).await.unwrap_err();
    let held = world.counters.entries_held.get();
    assert!((5_000..=11_000).contains(&held), "{held} entries are held");
}

fn md5_of(payload: &str) -> String {
    let mut entry = crate::send::testing::entry(&[payload.as_bytes()]);
    partition::fix(&PartitionKey::Deterministic, &mut entry);
    entry.key.unwrap().text.to_string()
}

#[tokio::test(start_paused = true)]
async fn without_shards_keys_are_drawn_anew_at_each_attempt() {
    let throttled = Reply::FailEntries(vec![0], "ProvisionedThroughputExceededException");
    let mut world = start(options(), Scripted::replies([throttled]));
    world.write("a").await;
    assert_eq!(world.drain().await, [(0, 2)]);
    let [first, second] = &world.destination.requests()[..] else { panic!("two attempts") };
    assert!(first.keys[0].explicit_hash.is_none() && first.keys[0] != second.keys[0]);
}

#[tokio::test(start_paused = true)]
async fn an_eager_flow_does_not_wait_for_more_while_a_slot_is_free() {
    let options = Options { flush: Flush::Eager, max_age: Duration::from_secs(60), ..one_at_a_time() };
    let mut world = start(options, Scripted::replies([Reply::Slow(Duration::from_secs(5))]));
    for word in ["a", "b", "c"] {
        world.write(word).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.requests(), ["a", "bc"]);
    assert_eq!(world.counters.batches_eager.get(), 2);
}
