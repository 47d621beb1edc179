//! A long outage in short: nothing can be delivered while logs are written and rotated as fast as
//! it goes, and the disk of the checkpoints is full. `make outage` is the long one, with numbers.

use std::time::Duration;

use crate::support::mounts::in_own_mounts;
use crate::support::small_disk::SmallDisk;
use crate::support::{Destination, Scene, Step, let_pass};

const MIB: u64 = 1024 * 1024;

/// As in `memory.rs`: 40 MiB are the budget.
const BOUND: u64 = 160 * MIB;
const ROTATIONS: usize = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outage {
    Refuse,
    Hang,
    Throttle,
}

fn begin(scene: &Scene, outage: Outage) {
    match outage {
        Outage::Refuse => scene.endpoint.go_down(),
        Outage::Hang => scene.endpoint.always(|_| Step::Hang),
        Outage::Throttle => scene.endpoint.always(|_| Step::Throttle),
    }
}

fn end(scene: &Scene, outage: Outage) {
    match outage {
        Outage::Refuse => scene.endpoint.come_up(),
        Outage::Hang | Outage::Throttle => scene.endpoint.heal(),
    }
}

/// 100 MB in ten files, the disk full, and a fresh line when it is over.
fn survives(outage: Outage) {
    // A request that hangs is given up after 10 s and the time for its body.
    let small = |flow: crate::support::Flow| flow.with("maxBufferSizeBytes", "256KiB");
    let mut scene = Scene::with_flow(Destination::Firehose, "*.log", small);
    let disk = SmallDisk::mount(&scene.world.root().join("state"), MIB);
    scene.start();
    scene.world.lines("app.log", 100);
    scene.wait_for_all();
    begin(&scene, outage);
    disk.fill();
    let mut most = 0;
    for rotation in 0..ROTATIONS {
        for _ in 0..10 {
            scene.world.long_lines("app.log", 1000, 1000);
            let_pass(Duration::from_millis(20));
            most = most.max(scene.agent().rss_bytes());
        }
        scene.world.rename("app.log", &format!("app-{rotation}.log"));
    }
    end(&scene, outage);
    let healed = scene.endpoint.call_count();
    let fresh = scene.world.lines("fresh.log", 1).start;
    scene.wait_for_all_within(Duration::from_secs(100));
    most = most.max(scene.agent().rss_bytes());
    println!("{outage:?}: {} MiB at most", most / MIB);
    assert!(most < BOUND, "{} MiB in an outage", most / MIB);
    is_not_starved(&scene, fresh, healed);
    disk.free();
    scene.delivers_everything_once();
}

/// The fresh line came long before the end of the backlog.
#[track_caller]
fn is_not_starved(scene: &Scene, fresh: usize, healed: usize) {
    let line = scene.world.journal().lines[fresh].bytes.clone();
    let calls = scene.endpoint.calls();
    let has = |data: &[u8]| memchr::memmem::find(data, &line).is_some();
    let found = calls.iter().position(|call| call.records.iter().any(|r| r.stored && has(&r.data)));
    let (found, all) = (found.expect("it was delivered") - healed, calls.len() - healed);
    println!("the fresh line came with call {found} of {all}");
    assert!(found < all / 2, "the fresh line came with call {found} of {all}");
}

#[test]
fn connections_are_refused_for_long() {
    in_own_mounts(|| survives(Outage::Refuse));
}

#[test]
fn requests_hang_for_long() {
    in_own_mounts(|| survives(Outage::Hang));
}

#[test]
fn everything_is_throttled_for_long() {
    in_own_mounts(|| survives(Outage::Throttle));
}
