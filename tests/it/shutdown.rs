//! How the agent ends when it is asked to.

use std::time::{Duration, Instant};

use crate::support::scene::SOON;
use crate::support::{Destination, Scene, Step, happens_within};

use Destination::Kinesis;

/// An agent whose first request is under way, with the step as its answer.
fn busy_scene(destination: Destination, step: Step, shutdown_timeout_millis: u64) -> Scene {
    let mut scene = Scene::new(destination, "app.log");
    scene.config = scene.config.clone().with("shutdownTimeoutMillis", shutdown_timeout_millis);
    scene.endpoint.always(move |_| step.clone());
    scene.world.lines("app.log", 100);
    scene.start();
    scene.wait_for_calls(1);
    scene
}

/// What remains is delivered by the next life, and nothing twice. The agent has ended.
fn the_next_life_finishes(mut scene: Scene) {
    scene.forget_agent();
    scene.endpoint.heal();
    scene.world.lines("app.log", 100);
    scene.start();
    scene.delivers_everything_once();
}

#[test]
fn sigterm_waits_for_the_requests_that_are_under_way() {
    for destination in Destination::BOTH {
        let mut scene = busy_scene(destination, Step::Latency(Duration::from_secs(1)), 10_000);
        scene.agent().terminate();
        let status = scene.agent().wait_exit(SOON);
        assert_eq!(status.code(), Some(0), "{status}");
        let answered = scene.endpoint.calls()[0].answered;
        assert!(answered.is_some(), "the agent did not wait for the answer");
        the_next_life_finishes(scene);
    }
}

#[test]
fn sigint_ends_the_agent_as_sigterm_does() {
    let mut scene = busy_scene(Kinesis, Step::Ok, 10_000);
    scene.agent().interrupt();
    let status = scene.agent().wait_exit(SOON);
    assert_eq!(status.code(), Some(0), "{status}");
    the_next_life_finishes(scene);
}

#[test]
fn a_batch_that_waits_for_more_leaves_at_sigterm() {
    let mut scene = Scene::with_flow(Kinesis, "app.log", |flow| flow.with("maxBufferAgeMillis", 60_000));
    scene.world.lines("app.log", 600);
    scene.start();
    // The first 500 lines fill a batch; the others were read with them and wait.
    scene.wait_for_calls(1);
    scene.stop();
    assert_eq!(scene.oracle.missing(&scene.world, &scene.endpoint), 0);
    scene.delivers_everything_once();
}

#[test]
fn an_endpoint_that_hangs_does_not_keep_the_agent_beyond_its_deadline() {
    for destination in Destination::BOTH {
        let mut scene = busy_scene(destination, Step::Hang, 2000);
        let begin = Instant::now();
        scene.agent().terminate();
        let status = scene.agent().wait_exit(SOON);
        let took = begin.elapsed();
        assert_eq!(status.code(), Some(0), "{status}");
        assert!(took > Duration::from_millis(1000), "given up after {took:?}");
        assert!(took < Duration::from_secs(8), "the deadline is 2 s, it took {took:?}");
        the_next_life_finishes(scene);
    }
}

#[test]
fn a_second_signal_ends_the_agent_at_once() {
    let mut scene = busy_scene(Kinesis, Step::Hang, 60_000);
    scene.agent().terminate();
    let ended = happens_within(Duration::from_millis(700), || !scene.agent().is_alive());
    assert!(!ended, "the agent does not wait for the request that is under way");
    scene.agent().terminate();
    scene.agent().wait_exit(Duration::from_secs(3));
    the_next_life_finishes(scene);
}

#[test]
fn an_idle_agent_ends_within_a_moment() {
    let mut scene = Scene::new(Kinesis, "app.log");
    scene.world.lines("app.log", 10);
    scene.start();
    scene.wait_for_all();
    let begin = Instant::now();
    scene.stop();
    assert!(begin.elapsed() < Duration::from_secs(3), "it took {:?}", begin.elapsed());
}

#[test]
fn an_idle_agent_uses_next_to_no_cpu() {
    let mut scene = Scene::new(Kinesis, "*.log");
    for file in 0..20 {
        scene.world.lines(&format!("{file}.log"), 1);
    }
    scene.start();
    scene.wait_for_all();
    let before = scene.agent().cpu_seconds();
    crate::support::let_pass(Duration::from_secs(5));
    let used = scene.agent().cpu_seconds() - before;
    // Ten scans a second, in a build without optimisation.
    assert!(used < 0.5, "{used} s of CPU in 5 s");
    scene.delivers_everything_once();
}
