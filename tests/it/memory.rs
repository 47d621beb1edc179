//! An outage must not move the memory of the process.

use std::time::Duration;

use crate::support::script::Body;
use crate::support::{Destination, Scene, Step, let_pass};

const MIB: u64 = 1024 * 1024;

/// The budget is 40 MiB; the process itself, the runtime and the requests that are under way
/// take their part.
const BOUND: u64 = 160 * MIB;

fn stays_small(destination: Destination, step: Step) {
    let mut scene = Scene::new(destination, "*.log");
    scene.endpoint.always(move |_| step.clone());
    scene.start();
    let mut most = 0;
    for _ in 0..30 {
        scene.world.long_lines("a.log", 500, 10_000);
        scene.world.long_lines("b.log", 500, 10_000);
        let_pass(Duration::from_millis(50));
        most = most.max(scene.agent().rss_bytes());
    }
    scene.wait_for_calls(1);
    for _ in 0..20 {
        let_pass(Duration::from_millis(100));
        most = most.max(scene.agent().rss_bytes());
    }
    println!("{destination:?}: {} MiB at most", most / MIB);
    assert!(most < BOUND, "{} MiB while 300 MB were waiting", most / MIB);
    scene.endpoint.heal();
    scene.wait_for_all_within(Duration::from_secs(120));
    let after = scene.agent().rss_bytes();
    assert!(after < BOUND, "{} MiB after the backlog", after / MIB);
    scene.delivers_everything_once();
}

#[test]
fn an_outage_of_a_stream_does_not_move_the_memory() {
    stays_small(Destination::Kinesis, Step::Throttle);
}

#[test]
fn an_outage_of_a_delivery_stream_does_not_move_the_memory() {
    stays_small(Destination::Firehose, Step::ServerError(503, Body::Html));
}

#[test]
fn one_flow_in_an_outage_does_not_hold_up_another() {
    does_not_hold_up_others(Step::Throttle);
}

#[test]
fn a_destination_that_hangs_does_not_hold_up_another_flow() {
    does_not_hold_up_others(Step::Hang);
}

fn does_not_hold_up_others(outage: Step) {
    let mut scene = Scene::new(Destination::Kinesis, "dead/*.log");
    let healthy = crate::support::Flow::new(&scene.world, Destination::Firehose, "good/*.log");
    scene.add_flow(healthy);
    scene.set("memoryBudget", "8MiB");
    scene.oracle = crate::support::Oracle::new(crate::support::Shape::Packed);
    scene.endpoint.always(move |request| match request.service {
        crate::support::request::Service::Kinesis => outage.clone(),
        crate::support::request::Service::Firehose => Step::Ok,
    });
    let waiting = scene.world.long_lines("dead/a.log", 40_000, 1000);
    scene.start();
    scene.wait_for_calls(1);
    scene.world.excuse(waiting);
    scene.world.long_lines("good/a.log", 20_000, 1000);
    scene.wait_for_all();
}
