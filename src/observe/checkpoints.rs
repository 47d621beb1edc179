//! How well the positions of the files are stored, for the status and the metrics: how old the
//! oldest change is that is not stored yet, how many commits succeeded and failed, and why.
//!
//! The settle stage writes it. It holds no positions.

use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::health::LastError;

#[derive(Debug, Default)]
pub struct Checkpoints(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Since when something is not stored.
    waiting_since: Option<Instant>,
    /// When the commit that runs was begun.
    began: Option<Instant>,
    commits: u64,
    failures: u64,
    last_error: Option<LastError>,
}

/// How it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointReport {
    /// The age of the oldest change that is not stored; zero if there is none.
    pub age: Duration,
    /// Since the agent started.
    pub commits: u64,
    pub failures: u64,
    pub last_error: Option<LastError>,
}

impl Checkpoints {
    /// There is something to store.
    pub fn wait(&self) {
        self.0.lock().unwrap().waiting_since.get_or_insert_with(Instant::now);
    }

    /// A commit takes all that is to be stored by now.
    pub fn begin(&self) {
        self.0.lock().unwrap().began = Some(Instant::now());
    }

    /// The commit succeeded. `more` came while it ran.
    pub fn stored(&self, more: bool) {
        let mut state = self.0.lock().unwrap();
        state.commits += 1;
        state.waiting_since = state.began.take().filter(|_| more);
    }

    /// The commit failed: all that it took is still to be stored.
    pub fn failed(&self, text: String) {
        let mut state = self.0.lock().unwrap();
        let began = state.began.take();
        state.failures += 1;
        state.last_error = Some(LastError { text, at: SystemTime::now() });
        state.waiting_since = state.waiting_since.or(began);
    }

    pub fn report(&self) -> CheckpointReport {
        let state = self.0.lock().unwrap();
        CheckpointReport {
            age: state.waiting_since.map(|since| since.elapsed()).unwrap_or_default(),
            commits: state.commits,
            failures: state.failures,
            last_error: state.last_error.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pass(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_age_is_that_of_the_oldest_change_that_is_not_stored() {
        let checkpoints = Checkpoints::default();
        let age = || checkpoints.report().age.as_secs();
        pass(100).await;
        assert_eq!(age(), 0, "nothing waits");
        checkpoints.wait();
        pass(2).await;
        checkpoints.wait();
        checkpoints.begin();
        pass(3).await;
        assert_eq!(age(), 5);
        checkpoints.failed("disk full".into());
        assert_eq!(age(), 5);
        checkpoints.begin();
        pass(1).await;
        checkpoints.wait();
        checkpoints.stored(true);
        assert_eq!(age(), 1, "what came since the commit began");
        checkpoints.begin();
        checkpoints.stored(false);
        pass(50).await;
        let report = checkpoints.report();
        assert_eq!((report.age, report.commits, report.failures), (Duration::ZERO, 2, 1));
        assert_eq!(report.last_error.unwrap().text, "disk full");
    }
}
