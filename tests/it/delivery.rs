//! What the agent does when the destination fails in each way that it can.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use md5::{Digest as _, Md5};

use crate::content::{dead_data, dead_letters};
use crate::support::endpoint::Call;
use crate::support::request::{Request, Service};
use crate::support::script::Body;
use crate::support::{Destination, Flow, Repeats, Scene, Shape, Step, eventually, let_pass};

use Destination::{Firehose, Kinesis};

/// A wait that leaves room for errors after which the agent comes back slowly.
const PATIENT: Duration = Duration::from_secs(60);

/// A flow that sends a record for each line, also to Firehose, so that entries can fail.
fn line_per_record(destination: Destination) -> Scene {
    let mut scene = Scene::with_flow(destination, "app.log", |flow| flow.with("aggregation", "none"));
    scene.oracle = crate::support::Oracle::new(Shape::LinePerRecord);
    scene
}

/// 1,200 lines through an endpoint that takes the steps first, to both destinations.
fn survives(repeats: Repeats, steps: impl Fn(Service) -> Vec<Step>) {
    for destination in Destination::BOTH {
        let service = if destination == Kinesis { Service::Kinesis } else { Service::Firehose };
        let mut scene = line_per_record(destination);
        scene.endpoint.script(steps(service));
        scene.world.lines("app.log", 1200);
        scene.start();
        scene.wait_for_all_within(PATIENT);
        // Steps that the first lines did not need are for the ones that follow.
        while scene.endpoint.steps_left() > 0 {
            scene.world.lines("app.log", 10);
            scene.wait_for_all_within(PATIENT);
        }
        scene.delivers_everything(repeats);
    }
}

#[test]
fn entries_that_fail_are_sent_again() {
    survives(Repeats::None, |service| {
        vec![
            Step::fail_every(3, Step::throttle_code(service)),
            Step::fail_every(2, "InternalFailure"),
            Step::fail_where("InternalFailure", |index, _| index > 0),
            Step::fail_every(7, "SomeCodeThatIsNew"),
        ]
    });
}

#[test]
fn entries_that_all_fail_are_sent_again() {
    survives(Repeats::None, |service| vec![Step::fail_all(Step::throttle_code(service)); 4]);
}

#[test]
fn a_throttled_call_is_sent_again() {
    survives(Repeats::None, |_| vec![Step::Throttle; 5]);
}

#[test]
fn server_errors_are_survived() {
    survives(Repeats::None, |_| {
        let statuses = [500, 502, 503, 504];
        let bodies = [Body::Empty, Body::Html, Body::Json];
        statuses.iter().flat_map(|&status| bodies.map(|body| Step::ServerError(status, body))).collect()
    });
}

#[test]
fn connections_that_break_before_anything_was_stored_are_survived() {
    survives(Repeats::None, |_| vec![Step::ResetBeforeStore, Step::CloseConnection, Step::ResetBeforeStore]);
}

#[test]
fn answers_that_got_lost_lead_to_repeats_but_not_to_loss() {
    survives(Repeats::Allowed, |_| {
        vec![Step::ResetAfterStore, Step::CutBody, Step::BadJson, Step::ResetAfterStore]
    });
}

#[test]
fn a_wrong_number_of_results_leads_to_no_loss() {
    survives(Repeats::Allowed, |_| vec![Step::TooFewResults, Step::TooManyResults, Step::TooFewResults]);
}

#[test]
fn an_expired_token_that_heals_loses_nothing() {
    survives(Repeats::None, |_| {
        vec![
            Step::error("ExpiredTokenException"),
            Step::Error { status: 403, code: "ExpiredTokenException", prefixed: true },
            Step::error("UnrecognizedClientException"),
        ]
    });
}

#[test]
fn a_denied_action_that_heals_loses_nothing() {
    survives(Repeats::None, |_| {
        vec![Step::error("AccessDeniedException"), Step::error("KMSThrottlingException")]
    });
}

#[test]
fn a_stream_that_appears_later_gets_everything() {
    survives(Repeats::None, |_| {
        let prefixed = |prefixed| Step::Error { status: 400, code: "ResourceNotFoundException", prefixed };
        vec![prefixed(true), prefixed(false), prefixed(true)]
    });
}

#[test]
fn a_call_that_is_too_large_for_somebody_in_between_is_sent_in_parts() {
    for destination in Destination::BOTH {
        let mut scene = line_per_record(destination);
        scene.endpoint.always(|request| match request.records.len() {
            101.. => Step::Error { status: 413, code: "RequestEntityTooLarge", prefixed: false },
            _ => Step::Ok,
        });
        scene.world.lines("app.log", 1200);
        scene.start();
        scene.wait_for_all_within(PATIENT);
        scene.delivers_everything_once();
    }
}

#[test]
fn an_endpoint_that_is_down_gets_everything_when_it_is_up_again() {
    for destination in Destination::BOTH {
        let mut scene = Scene::new(destination, "app.log");
        scene.start();
        scene.world.lines("app.log", 100);
        scene.wait_for_all();
        scene.endpoint.go_down();
        scene.world.lines("app.log", 1000);
        let_pass(Duration::from_secs(1));
        scene.endpoint.come_up();
        scene.delivers_everything_once();
    }
}

#[test]
fn a_call_that_is_never_answered_is_sent_again_after_the_time_out() {
    let mut scene = line_per_record(Kinesis);
    scene.endpoint.script([Step::Hang]);
    scene.world.lines("app.log", 100);
    scene.start();
    scene.wait_for_all_within(PATIENT);
    let calls = scene.endpoint.calls();
    let waited = calls[1].delay_since(calls[0].received);
    assert!(waited > Duration::from_secs(8), "sent again after {waited:?}");
    scene.delivers_everything_once();
}

#[test]
fn only_failed_entries_are_sent_again() {
    for destination in Destination::BOTH {
        let mut scene = line_per_record(destination);
        scene.endpoint.script([Step::fail_every(3, "InternalFailure")]);
        scene.world.lines("app.log", 450);
        scene.start();
        scene.delivers_everything_once();
        let mut attempts: HashMap<_, usize> = HashMap::new();
        let calls = scene.endpoint.calls();
        for record in calls.iter().flat_map(|call| &call.records) {
            *attempts.entry(record.data.clone()).or_default() += 1;
        }
        for (index, record) in calls[0].records.iter().enumerate() {
            let expected = if index % 3 == 0 { 2 } else { 1 };
            assert_eq!(attempts[&record.data], expected, "entry {index} of the first call");
        }
    }
}

fn is_poisoned(request: &Request) -> bool {
    request.records.iter().any(|record| memchr::memmem::find(&record.data, b"poison").is_some())
}

#[test]
fn a_line_that_alone_is_refused_goes_to_the_dead_letter_file() {
    for destination in Destination::BOTH {
        for code in ["ValidationException", "InvalidArgumentException"] {
            let mut scene = line_per_record(destination);
            scene.endpoint.always(move |request| match is_poisoned(request) {
                true => Step::error(code),
                false => Step::Ok,
            });
            scene.world.lines("app.log", 300);
            let poison = scene.world.append("app.log", "poison\n");
            scene.world.excuse(poison);
            scene.world.lines("app.log", 300);
            scene.start();
            scene.wait_for_all_within(PATIENT);
            eventually("the dead letter is written", PATIENT, || match dead_letters(&scene).len() {
                0 => Err("none".to_owned()),
                _ => Ok(()),
            });
            let letters = dead_letters(&scene);
            assert_eq!(letters.iter().map(dead_data).collect::<Vec<_>>(), [b"poison\n"]);
            assert_eq!(letters[0]["offset"], 300 * 60);
            scene.restart();
            scene.world.lines("app.log", 10);
            scene.delivers_everything_once();
            assert_eq!(dead_letters(&scene).len(), 1, "the line was settled");
        }
    }
}

#[test]
fn an_entry_that_is_refused_for_good_goes_to_the_dead_letter_file() {
    let mut scene = line_per_record(Kinesis);
    let poison = |_: usize, record: &crate::support::request::Record| record.data.starts_with(b"poison");
    scene.endpoint.always(move |_| Step::fail_where("InvalidArgumentException", poison));
    scene.world.lines("app.log", 20);
    let poisoned = scene.world.append("app.log", "poison\n");
    scene.world.excuse(poisoned);
    scene.world.lines("app.log", 20);
    scene.start();
    scene.wait_for_all_within(PATIENT);
    eventually("the dead letter is written", PATIENT, || match dead_letters(&scene).len() {
        1 => Ok(()),
        n => Err(format!("{n} letters")),
    });
    scene.delivers_everything_once();
}

#[test]
fn nothing_is_given_up_while_everything_is_refused() {
    for destination in Destination::BOTH {
        let mut scene = line_per_record(destination);
        scene.endpoint.always(|_| Step::error("ValidationException"));
        scene.world.lines("app.log", 20);
        scene.start();
        scene.wait_for_calls(12);
        assert_eq!(dead_letters(&scene), Vec::<serde_json::Value>::new());
        scene.endpoint.heal();
        scene.wait_for_all_within(PATIENT);
        scene.delivers_everything_once();
        assert_eq!(dead_letters(&scene), Vec::<serde_json::Value>::new());
    }
}

#[test]
fn several_calls_are_under_way_at_a_time_but_not_any_number() {
    let mut scene = line_per_record(Kinesis);
    scene.endpoint.always(|_| Step::Latency(Duration::from_millis(300)));
    scene.world.lines("app.log", 20_000);
    scene.start();
    scene.wait_for_all_within(PATIENT);
    let calls = scene.endpoint.calls();
    let during = |call: &Call| {
        let open = |other: &&Call| {
            other.received <= call.received && other.answered.is_none_or(|end| end > call.received)
        };
        calls.iter().filter(open).count()
    };
    let most = calls.iter().map(during).max();
    assert!(most.is_some_and(|most| (2..=64).contains(&most)), "{most:?} calls at a time");
    scene.delivers_everything_once();
}

#[test]
fn lines_for_firehose_are_packed_into_few_records() {
    let mut scene = Scene::new(Firehose, "app.log");
    scene.world.lines("app.log", 20_000);
    scene.start();
    scene.delivers_everything_once();
    let stored = scene.endpoint.stored();
    assert!(stored.len() <= 20, "{} records for 1.2 MB", stored.len());
    assert!(stored.iter().all(|data| data.ends_with(b"\n")));
}

#[test]
fn lines_of_many_slow_files_share_a_record() {
    let mut scene = Scene::with_flow(Firehose, "*.log", |flow| flow.with("maxBufferAgeMillis", 2000));
    for file in 0..50 {
        scene.world.lines(&format!("{file}.log"), 2);
    }
    scene.start();
    scene.delivers_everything_once();
    let records = scene.endpoint.stored().len();
    assert!(records <= 5, "{records} records");
}

#[test]
fn lines_for_a_stream_are_packed_if_the_flow_says_so() {
    let mut scene = Scene::with_flow(Kinesis, "app.log", |flow| flow.with("aggregation", "lines"));
    scene.oracle = crate::support::Oracle::new(Shape::Packed);
    scene.world.lines("app.log", 20_000);
    scene.start();
    scene.delivers_everything_once();
    let stored = scene.endpoint.stored();
    assert!(stored.len() <= 50, "{} records for 1.2 MB", stored.len());
    assert!(stored.iter().all(|data| data.len() <= 250 * 1024), "an entry is over the default");
}

#[test]
fn a_batch_holds_no_more_than_the_flow_allows() {
    for (key, limit) in [("maxBufferSizeRecords", 7), ("maxBufferSizeBytes", 2000)] {
        let mut scene = Scene::with_flow(Kinesis, "app.log", |flow| flow.with(key, limit));
        scene.world.lines("app.log", 300);
        scene.start();
        scene.delivers_everything_once();
        for call in scene.endpoint.calls() {
            let bytes: usize = call.records.iter().map(|record| record.size()).sum();
            let size = if key == "maxBufferSizeRecords" { call.records.len() } else { bytes };
            assert!(size <= limit, "{key} is {limit}, but a call has {size}");
        }
    }
}

#[test]
fn random_keys_are_drawn_anew_for_each_attempt() {
    let mut scene = line_per_record(Kinesis);
    scene.endpoint.script([Step::fail_all("InternalFailure")]);
    scene.world.lines("app.log", 400);
    scene.start();
    scene.delivers_everything_once();
    let calls = scene.endpoint.calls();
    let keys: Vec<_> = calls.iter().flat_map(|call| &call.records).map(|record| &record.key).collect();
    let distinct: HashSet<_> = keys.iter().collect();
    assert!(distinct.len() * 100 >= keys.len() * 95, "{} of {}", distinct.len(), keys.len());
}

#[test]
fn a_deterministic_key_is_the_md5_of_the_record() {
    let deterministic = |flow: Flow| flow.with("partitionKeyOption", "DETERMINISTIC");
    let mut scene = Scene::with_flow(Kinesis, "app.log", deterministic);
    scene.world.append("app.log", "same\nsame\nother\n");
    scene.start();
    scene.delivers_everything_once();
    for record in scene.endpoint.calls().iter().flat_map(|call| &call.records) {
        let hash = Md5::digest(&record.data);
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(record.key.as_deref(), Some(hex.as_str()));
    }
}

#[test]
fn a_stream_may_be_given_by_its_arn() {
    let arn = "arn:aws:kinesis:us-east-1:123456789012:stream/by-arn";
    let mut scene = Scene::with_flow(Kinesis, "app.log", |flow| flow.with("kinesisStream", arn));
    scene.world.lines("app.log", 10);
    scene.start();
    scene.delivers_everything_once();
    assert!(scene.endpoint.calls().iter().all(|call| call.stream == "by-arn"));
}

#[test]
fn three_hundred_thousand_lines_stay_within_the_limits() {
    for destination in Destination::BOTH {
        let mut scene = Scene::new(destination, "*.log");
        for file in ["a.log", "b.log", "c.log"] {
            scene.world.lines(file, 50_000);
        }
        scene.world.long_lines("long.log", 40, 900_000);
        scene.start();
        scene.wait_for_all_within(Duration::from_secs(120));
        scene.delivers_everything_once();
    }
}

#[test]
fn faults_of_all_kinds_at_random_lose_nothing() {
    for destination in Destination::BOTH {
        let mut scene = line_per_record(destination);
        let seed = std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
        println!("SEED={seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let faults = Arc::new(AtomicUsize::new(0));
        let counted = faults.clone();
        scene.endpoint.always(move |request| {
            let code = Step::throttle_code(request.service);
            counted.fetch_add(1, Ordering::Relaxed);
            match random.u8(..20) {
                0 => Step::Throttle,
                1 => Step::ServerError(500, Body::Json),
                2 => Step::ResetAfterStore,
                3 => Step::ResetBeforeStore,
                4 => Step::CutBody,
                5 => Step::fail_all(code),
                6..10 => Step::fail_every(random.usize(1..5), code),
                10 => Step::Latency(Duration::from_millis(random.u64(..200))),
                _ => Step::Ok,
            }
        });
        scene.start();
        // Two in five entries are refused as too many, so that a few hundred go in a second.
        for _ in 0..40 {
            scene.world.lines("app.log", 250);
        }
        scene.wait_for_all_within(PATIENT);
        let counts = scene.delivers_everything(Repeats::Allowed);
        println!("{counts} in {} calls", faults.load(Ordering::Relaxed));
    }
}

#[test]
fn a_link_of_300_kilobytes_a_second_gets_everything_through_once() {
    let mut scene = Scene::new(Firehose, "app.log");
    // All bodies share the link: one that comes while others are on it waits for them.
    let mut free = std::time::Instant::now();
    scene.endpoint.always(move |request| {
        let bytes: usize = request.records.iter().map(|record| record.data.len().div_ceil(3) * 4).sum();
        let now = std::time::Instant::now();
        free = free.max(now) + Duration::from_micros(bytes as u64 * 1_000_000 / 300_000);
        Step::Latency(free - now)
    });
    scene.world.long_lines("app.log", 6000, 1000);
    scene.start();
    scene.wait_for_all_within(Duration::from_secs(90));
    // A request that is given up too soon is stored all the same, and repeated.
    scene.delivers_everything_once();
}

#[test]
fn the_dead_letter_file_is_not_made_before_it_is_needed() {
    let mut scene = Scene::new(Kinesis, "app.log");
    scene.world.lines("app.log", 10);
    scene.start();
    scene.delivers_everything_once();
    assert!(!fs::exists(scene.world.dead_letter_file()).unwrap());
}
