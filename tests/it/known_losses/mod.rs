//! The cases in which other agents were seen to lose or to repeat lines, each by name and with
//! the agent that it is known from. docs/ROTATION.md lists all of them; those that an older test
//! covers are not repeated here.

/// Fluent Bit 5.1.
mod fluent_bit;
/// The Java agent that this one replaces, 2.0.
mod java_agent;
/// Vector 0.58.
mod vector;

use crate::support::{Flow, Scene};

fn end_of_file(flow: Flow) -> Flow {
    flow.with("initialPosition", "END_OF_FILE")
}

fn finished_soon(flow: Flow) -> Flow {
    flow.with("finishedAfterMillis", 300)
}

/// The endpoint may still have to take up the last request of the agent that has ended: it fails
/// until it has heard of the new one.
fn start_and_heal(scene: &mut Scene) {
    let calls = scene.endpoint.call_count();
    scene.start();
    scene.wait_for_calls_after(calls, 2);
    scene.endpoint.heal();
}
