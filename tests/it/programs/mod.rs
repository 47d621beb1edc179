//! Real programs that write, rewrite, copy and rotate logs beside the agent. Where a program
//! cannot be run here, its sequence of system calls is done by hand.

/// What copies logs: rsync and cp.
mod copiers;
/// What rewrites logs: shells, sed and vim.
mod editors;
/// Logging libraries of Python, run for real.
mod python;
/// Docker's and Log4j's ways of rotating, by hand.
mod rotating;

use crate::support::{Repeats, Scene};

/// Everything is delivered, and `repeated` lines twice: no more and no less.
#[track_caller]
fn delivers_with_repeats(scene: &mut Scene, repeated: usize) {
    let counts = scene.delivers_everything(Repeats::Allowed);
    assert_eq!(counts.repeated, repeated, "{counts}");
}

/// New lines, of which the world knows, for a program to write.
fn new_lines(scene: &Scene, n: usize) -> Vec<u8> {
    let text = scene.world.journal().new_lines(n);
    scene.world.written_by_a_program(&text);
    text
}
