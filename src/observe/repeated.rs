//! Keeps a log readable while something fails for hours: of each cause one line a minute is
//! let through, with the number of those that were held back. A pure core: it is given the
//! time, and it says whether to log, not what.

use std::collections::HashMap;
use std::time::Duration;

const EVERY: Duration = Duration::from_secs(60);

/// More causes than this at a time are not told apart: the oldest is forgotten.
const MAX_CAUSES: usize = 64;

#[derive(Debug, Default)]
pub struct Repeated {
    causes: HashMap<String, Seen>,
}

#[derive(Debug)]
struct Seen {
    logged: Duration,
    suppressed: u64,
}

impl Repeated {
    /// Whether a line for `cause` should be logged at `now`; if so, how many were held back
    /// since its last one.
    pub fn ask(&mut self, cause: &str, now: Duration) -> Option<u64> {
        if let Some(seen) = self.causes.get_mut(cause) {
            if now < seen.logged + EVERY {
                seen.suppressed += 1;
                return None;
            }
            seen.logged = now;
            return Some(std::mem::take(&mut seen.suppressed));
        }
        if self.causes.len() >= MAX_CAUSES {
            self.forget_oldest();
        }
        self.causes.insert(cause.to_owned(), Seen { logged: now, suppressed: 0 });
        Some(0)
    }

    fn forget_oldest(&mut self) {
        let oldest = self.causes.iter().min_by_key(|(_, seen)| seen.logged).map(|(cause, _)| cause.clone());
        if let Some(cause) = oldest {
            self.causes.remove(&cause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn each_cause_gets_a_line_a_minute_that_counts_the_others() {
        let mut repeated = Repeated::default();
        assert_eq!(repeated.ask("a", secs(5)), Some(0));
        assert_eq!(repeated.ask("a", secs(6)), None);
        assert_eq!(repeated.ask("b", secs(7)), Some(0));
        assert_eq!(repeated.ask("a", secs(64)), None);
        assert_eq!(repeated.ask("a", secs(65)), Some(2));
        assert_eq!(repeated.ask("a", secs(125)), Some(0));
    }

    #[test]
    fn memory_is_bounded_however_many_causes_there_are() {
        let mut repeated = Repeated::default();
        for n in 0..1000 {
            assert_eq!(repeated.ask(&n.to_string(), secs(n)), Some(0));
        }
        assert_eq!(repeated.causes.len(), MAX_CAUSES);
        assert_eq!(repeated.ask("999", secs(1000)), None);
    }
}
