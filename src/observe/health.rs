//! Whether a flow's destination accepts what it is sent, for the log and the status: since when
//! it does not, and the last thing that went wrong.

use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

#[derive(Debug, Default)]
pub struct Health(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failing: Option<Failing>,
    errors: u64,
    last_error: Option<LastError>,
}

#[derive(Clone, Copy, Debug)]
struct Failing {
    since: SystemTime,
    started: Instant,
    failures: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    pub text: String,
    pub at: SystemTime,
}

/// How it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Nothing was accepted since.
    pub failing_since: Option<SystemTime>,
    /// The same on a clock that does not jump.
    pub failing_for: Option<Duration>,
    /// Failed requests, and answers that refused some entries, since the agent started.
    pub errors: u64,
    pub last_error: Option<LastError>,
}

/// The end of a time in which nothing was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    pub after: Duration,
    pub failures: u64,
}

impl Health {
    /// A request of which nothing was accepted.
    pub fn failed(&self, text: String) {
        let mut state = self.0.lock().unwrap();
        let now = (SystemTime::now(), Instant::now());
        let failing = state.failing.get_or_insert(Failing { since: now.0, started: now.1, failures: 0 });
        failing.failures += 1;
        state.note(text);
    }

    /// Some entries of a request were refused, others were accepted.
    pub fn failed_in_part(&self, text: String) {
        self.0.lock().unwrap().note(text);
    }

    /// Something was accepted; says so if it is the first after failures.
    pub fn succeeded(&self) -> Option<Recovery> {
        let failing = self.0.lock().unwrap().failing.take()?;
        Some(Recovery { after: failing.started.elapsed(), failures: failing.failures })
    }

    pub fn report(&self) -> Report {
        let state = self.0.lock().unwrap();
        Report {
            failing_since: state.failing.map(|failing| failing.since),
            failing_for: state.failing.map(|failing| failing.started.elapsed()),
            errors: state.errors,
            last_error: state.last_error.clone(),
        }
    }
}

impl State {
    fn note(&mut self, text: String) {
        self.errors += 1;
        self.last_error = Some(LastError { text, at: SystemTime::now() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_recovery_tells_how_long_and_how_often_it_failed() {
        let health = Health::default();
        assert_eq!(health.succeeded(), None);
        health.failed("first".into());
        tokio::time::advance(Duration::from_secs(90)).await;
        health.failed("second".into());
        assert!(health.report().failing_since.is_some());
        assert_eq!(health.report().failing_for, Some(Duration::from_secs(90)));
        assert_eq!(health.succeeded(), Some(Recovery { after: Duration::from_secs(90), failures: 2 }));
        health.failed_in_part("third".into());
        let report = health.report();
        assert_eq!((report.failing_since, report.errors), (None, 3));
        assert_eq!(report.last_error.unwrap().text, "third");
        assert_eq!(health.succeeded(), None);
    }
}
