//! Conditions that come true sooner or later.
//!
//! The only place in the tests that sleeps to wait for the agent: a script names a condition
//! and a deadline, and a failure shows how far things had come.

use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(5);

/// Polls `condition` until it returns `Ok`. Its `Err` describes the present state, which is
/// shown when the deadline passes.
#[track_caller]
pub fn eventually<T>(what: &str, deadline: Duration, mut condition: impl FnMut() -> Result<T, String>) -> T {
    let begin = Instant::now();
    loop {
        match condition() {
            Ok(value) => return value,
            Err(state) if begin.elapsed() >= deadline => {
                panic!("not within {deadline:?}: {what}\nstate: {state}")
            }
            Err(_) => std::thread::sleep(POLL),
        }
    }
}

/// Whether `condition` comes true before the time is over: for what must not happen, and for
/// what may.
pub fn happens_within(time: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < time {
        if condition() {
            return true;
        }
        std::thread::sleep(POLL);
    }
    condition()
}

/// For scripts in which time itself matters, such as two flushes of one event. Never to wait
/// for the agent.
pub fn let_pass(time: Duration) {
    std::thread::sleep(time);
}

#[test]
fn a_condition_that_comes_true_is_waited_for() {
    let mut looks = 0;
    let value = eventually("three looks", Duration::from_secs(5), || {
        looks += 1;
        if looks == 3 { Ok(looks) } else { Err(format!("{looks} looks")) }
    });
    assert_eq!(value, 3);
}

#[test]
#[should_panic(expected = "state: 7 of 9")]
fn a_condition_that_stays_false_shows_the_state() {
    eventually::<()>("nine", Duration::from_millis(20), || Err("7 of 9".into()));
}
