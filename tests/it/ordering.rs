//! `ordering: strict`: what a stream holds of each key is in the order of the files, whatever
//! fails, is throttled or gets lost on the way, over rotations and restarts. A line may be there
//! twice, but none is stored for the first time behind a later one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;

use crate::support::scene::SOON;
use crate::support::script::Body;
use crate::support::{
    AgentProcess, Destination, Endpoint, Flow, Oracle, Repeats, Rotator, Scene, Shape, Step, World,
    eventually, is_first_start_stored, kpl, let_pass,
};

const PATIENT: Duration = Duration::from_secs(90);

/// Each log with its way of rotation.
const LOGS: [(&str, Rotator); 6] = [
    ("a.log", Rotator::RenameShift),
    ("b.log", Rotator::CopyTruncateOutOfPattern),
    ("c.log", Rotator::RenameDated),
    ("d.log", Rotator::RenameThenCompress),
    ("e.log", Rotator::DeleteRecreate),
    ("f.log", Rotator::RenameOutOfPattern),
];

fn seed() -> u64 {
    let seed = std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("SEED={seed}");
    seed
}

/// Records are small, so that each file has many of them.
fn strict(flow: Flow) -> Flow {
    flow.with("aggregation", "kpl")
        .with("ordering", "strict")
        .with("aggregationMaxBytes", "2000")
        .with("maxBufferAgeMillis", "10ms")
}

fn scene(pattern: &str, more: impl Fn(Flow) -> Flow) -> Scene {
    let mut scene = Scene::with_flow(Destination::Kinesis, pattern, |flow| more(strict(flow)));
    scene.oracle = Oracle::new(Shape::Kpl);
    scene
}

/// Lines of a log, numbered through all its generations.
struct Log<'a> {
    world: &'a World,
    name: &'static str,
    rotator: Rotator,
    file: String,
    written: u64,
    /// The first line of this generation.
    first: u64,
}

impl<'a> Log<'a> {
    fn new(world: &'a World, (name, rotator): (&'static str, Rotator)) -> Self {
        Log { world, name, rotator, file: name.to_owned(), written: 0, first: 0 }
    }

    fn write(&mut self, lines: u64) {
        let line = |n: u64| format!("{} {n:07} {}\n", self.name, "x".repeat((n % 90) as usize));
        let text: String = (self.written..self.written + lines).map(line).collect();
        self.world.append(&self.file, text);
        self.written += lines;
    }

    fn rotate(&mut self) {
        self.file = self.rotator.rotate(self.world, &self.file);
        self.first = self.written;
    }

    /// Whether the agent has seen this generation, or can still find it when it is rotated.
    fn is_safe(&self, endpoint: &Endpoint) -> bool {
        let of_it =
            |line: &Bytes| of_log(line) >= (self.name.to_owned(), self.first) && of_log(line).0 == self.name;
        self.rotator.keeps_unseen() || endpoint.stored().iter().flat_map(kpl::unpack).any(|line| of_it(&line))
    }
}

/// What a line is told by: whose order it is in, and where.
fn of_log(line: &[u8]) -> (String, u64) {
    let text = String::from_utf8_lossy(line);
    let mut words = text.split_whitespace();
    let log = words.next().unwrap().to_owned();
    (log, words.next().unwrap().parse().unwrap())
}

/// Checks what the stream holds, in the order in which it was stored. How many lines.
#[track_caller]
fn check_order(endpoint: &Endpoint, place: impl Fn(&[u8]) -> (String, u64)) -> usize {
    let mut latest: HashMap<String, u64> = HashMap::new();
    let mut seen = HashSet::new();
    for line in endpoint.stored().iter().flat_map(kpl::unpack) {
        let (order, number) = place(&line);
        if !seen.insert((order.clone(), number)) {
            continue;
        }
        if let Some(later) = latest.insert(order.clone(), number) {
            assert!(later < number, "{order}: {number} is stored for the first time behind {later}");
        }
    }
    seen.len()
}

/// Every entry has the key of its file, and a request no two of one key.
#[track_caller]
fn check_keys(endpoint: &Endpoint) {
    for call in endpoint.calls() {
        let keys: HashSet<_> = call.records.iter().map(|record| record.key.clone()).collect();
        assert_eq!(keys.len(), call.records.len(), "a key has one entry in a request");
    }
}

/// Faults of all kinds, half of the requests.
fn faults(endpoint: &Endpoint, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    endpoint.always(move |request| {
        let code = Step::throttle_code(request.service);
        match random.u8(..20) {
            0 => Step::Throttle,
            1 => Step::ServerError(500, Body::Json),
            2 => Step::ResetAfterStore,
            3 => Step::ResetBeforeStore,
            4 => Step::CutBody,
            5 => Step::TooFewResults,
            6 => Step::fail_every(random.usize(1..4), "InternalFailure"),
            7 => Step::fail_every(random.usize(2..4), code),
            8 | 9 => Step::Latency(Duration::from_millis(random.u64(..100))),
            _ => Step::Ok,
        }
    });
}

#[test]
fn faults_and_rotations_do_not_change_the_order() {
    let seed = seed();
    let mut scene = scene("*.log", |flow| flow);
    faults(&scene.endpoint, seed);
    scene.start();
    let mut random = fastrand::Rng::with_seed(seed);
    let Scene { world, .. } = &scene;
    let mut logs = LOGS.map(|log| Log::new(world, log));
    logs.iter_mut().for_each(|log| log.write(1));
    eventually("the files are known", SOON, || match check_order(&scene.endpoint, of_log) {
        known if known == LOGS.len() => Ok(()),
        known => Err(format!("{known} of them")),
    });
    for _ in 0..60 {
        for log in &mut logs {
            log.write(random.u64(1..60));
            if random.u8(..8) == 0 && log.is_safe(&scene.endpoint) {
                log.rotate();
            }
        }
        let_pass(Duration::from_millis(20));
    }
    scene.wait_for_all_within(PATIENT);
    check_keys(&scene.endpoint);
    println!("{} lines in {} calls", check_order(&scene.endpoint, of_log), scene.endpoint.call_count());
    scene.delivers_everything(Repeats::Allowed);
}

#[test]
fn deaths_under_rotation_do_not_change_the_order() {
    let seed = seed();
    let mut scene = scene("*.log", |flow| flow);
    let mut random = fastrand::Rng::with_seed(seed);
    let Scene { world, endpoint, config, .. } = &mut scene;
    let world = &*world;
    faults(endpoint, seed);
    let stop = AtomicBool::new(false);
    let mut logs = LOGS.map(|log| Log::new(world, log));
    logs.iter_mut().for_each(|log| log.write(1));
    let mut agent = AgentProcess::start(world, config);
    // Nobody knows of a file that is rotated before its name was ever seen.
    eventually("the files are known", SOON, || match is_first_start_stored(world) {
        true if check_order(endpoint, of_log) == LOGS.len() => Ok(()),
        _ => Err("not yet".into()),
    });
    let agent = std::thread::scope(|scope| {
        for mut log in logs {
            let (stop, mut random) = (&stop, fastrand::Rng::with_seed(random.u64(..)));
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    log.write(random.u64(1..8));
                    let_pass(Duration::from_millis(10));
                    // What a killed agent had open is gone with a deleted file.
                    if log.rotator.keeps_unread() && random.u8(..30) == 0 {
                        log.rotate();
                    }
                }
            });
        }
        for life in 0..8 {
            let_pass(Duration::from_millis(random.u64(200..1500)));
            match life % 4 {
                3 => {
                    agent.terminate();
                    agent.wait_exit(SOON);
                }
                _ => agent.kill9(),
            }
            agent = AgentProcess::start(world, config);
        }
        stop.store(true, Ordering::Relaxed);
        agent
    });
    agent.kill9();
    scene.start();
    scene.wait_for_all_within(PATIENT);
    println!("{} lines", check_order(&scene.endpoint, of_log));
    scene.delivers_everything(Repeats::Allowed);
}

#[test]
fn a_successor_waits_for_the_last_line_of_the_file_before() {
    let mut scene = scene("app.log", |flow| flow.with("finishedAfterMillis", "500ms"));
    scene.start();
    scene.world.append("app.log", "app 1\napp 2");
    eventually("the first line is there", SOON, || match scene.endpoint.stored().len() {
        0 => Err("not yet".into()),
        _ => Ok(()),
    });
    scene.world.rename("app.log", "app.log.1");
    scene.world.append("app.log", "app 3\n");
    scene.wait_for_all();
    assert_eq!(check_order(&scene.endpoint, of_log), 3);
}

#[test]
fn an_event_that_is_held_back_goes_before_the_next_file() {
    let events = |flow: Flow| flow.with("multiLineStartPattern", "app").with("multiLineFlushMillis", "30s");
    let mut scene = scene("app.log", events);
    scene.start();
    scene.world.append("app.log", "app 1\napp 2\n");
    eventually("the first event is there", SOON, || match scene.endpoint.stored().len() {
        0 => Err("not yet".into()),
        _ => Ok(()),
    });
    scene.world.rename("app.log", "app.log.1");
    scene.world.append("app.log", "app 3\napp 4\n");
    eventually("the third event is there", SOON, || match check_order(&scene.endpoint, of_log) {
        3 => Ok(()),
        events => Err(format!("{events} events")),
    });
}

#[test]
fn each_key_of_a_file_has_an_order_of_its_own() {
    let seed = seed();
    let mut scene = scene("*.log", |flow| flow.with("partitionKeyOption", json!({ "field": "user" })));
    faults(&scene.endpoint, seed);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut numbers: BTreeMap<(&str, u8), u64> = BTreeMap::new();
    for round in 0..40 {
        for file in ["a.log", "b.log"] {
            let user = random.u8(..5);
            let number = numbers.entry((file, user)).or_default();
            let line = match user {
                // It has the key of its file.
                0 => format!("{{\"file\":\"{file}\",\"n\":{number}}}\n"),
                _ => format!("{{\"user\":\"{user}\",\"file\":\"{file}\",\"n\":{number}}}\n"),
            };
            *number += 1;
            scene.world.append(file, line);
        }
        if round == 5 {
            scene.start();
        }
    }
    scene.wait_for_all_within(PATIENT);
    let place = |line: &[u8]| {
        let line: serde_json::Value = serde_json::from_slice(line).unwrap();
        (format!("{} {}", line["file"], line["user"]), line["n"].as_u64().unwrap())
    };
    assert_eq!(check_order(&scene.endpoint, place), 80);
    check_keys(&scene.endpoint);
}

#[test]
fn an_old_file_that_cannot_be_read_does_not_hold_up_the_next() {
    let mut scene = scene("app.log", |flow| flow);
    scene.start();
    scene.world.append("app.log", "app 1\n");
    scene.wait_for_all();
    scene.stop();
    scene.world.append("app.log", "app 2\n");
    scene.world.rename("app.log", "app.log.1");
    let path = scene.world.path("app.log.1");
    let rights = |mode: u32| {
        let rights = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(&path, rights).unwrap();
    };
    rights(0o000);
    scene.world.append("app.log", "app 3\n");
    scene.start_without_rights();
    let is_there = |number: u64| {
        let stored = scene.endpoint.stored();
        stored.iter().flat_map(kpl::unpack).any(|line: Bytes| of_log(&line).1 == number)
    };
    let wait_for = |number: u64| {
        eventually("the line is there", SOON, || if is_there(number) { Ok(()) } else { Err("no".into()) });
    };
    wait_for(3);
    assert!(!is_there(2));
    rights(0o644);
    wait_for(2);
}

#[test]
fn what_hangs_is_repeated_and_nothing_overtakes_it() {
    let mut scene = scene("*.log", |flow| flow);
    let began = Instant::now();
    let mut requests = 0;
    scene.endpoint.always(move |_| {
        requests += 1;
        match requests {
            // The answer comes after the agent has given it up.
            2 => Step::Latency(Duration::from_secs(14)),
            _ => Step::Ok,
        }
    });
    scene.start();
    let Scene { world, .. } = &scene;
    let mut log = Log::new(world, ("a.log", Rotator::RenameShift));
    for _ in 0..100 {
        log.write(10);
        let_pass(Duration::from_millis(10));
    }
    scene.wait_for_all_within(PATIENT);
    assert_eq!(check_order(&scene.endpoint, of_log), 1000);
    println!("after {:.1} s", began.elapsed().as_secs_f64());
}
