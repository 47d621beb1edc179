//! How long to wait before the next attempt: exponential, with full jitter, so that many
//! agents do not come back in step. Never gives up, that is not its business.

use std::time::Duration;

/// No wait is shorter, whatever was configured: a failing destination must not become a
/// busy loop.
const SHORTEST: Duration = Duration::from_millis(1);

/// Where the operator has to act the first wait is at least this long,
const WAITING_INITIAL: Duration = Duration::from_secs(1);
/// and the waits grow to this, even if `retryMaxBackoffMillis` is less.
const WAITING_MAX: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    pub fn new(initial: Duration, max: Duration) -> Self {
        let initial = initial.max(SHORTEST);
        Backoff { initial, max: max.max(initial), failures: 0 }
    }

    /// The wait after a failure that passes by itself. `random` is drawn from `0.0..1.0`.
    pub fn next(&mut self, random: f64) -> Duration {
        self.draw(self.initial / 2, self.initial, self.max, random)
    }

    /// The wait after a failure that somebody has to mend.
    pub fn next_waiting(&mut self, random: f64) -> Duration {
        let first = self.initial.max(WAITING_INITIAL);
        self.draw(first, first * 2, self.max.max(WAITING_MAX), random)
    }

    /// Something succeeded: the next failure is a first one.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    fn draw(&mut self, floor: Duration, initial: Duration, max: Duration, random: f64) -> Duration {
        let factor = 1u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        let ceiling = initial.saturating_mul(factor).min(max);
        let floor = floor.max(SHORTEST).min(ceiling);
        floor + (ceiling - floor).mul_f64(random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn waits_stay_in_bounds_and_their_ceiling_doubles(
            initial in 0u64..20_000,
            max in 0u64..600_000,
            randoms in prop::collection::vec(0.0f64..1.0, 1..80),
        ) {
            let initial = Duration::from_millis(initial);
            let max = Duration::from_millis(max);
            let mut backoff = Backoff::new(initial, max);
            let mut ceiling = initial.max(SHORTEST);
            for random in randoms {
                let wait = backoff.next(random);
                prop_assert!(wait >= (initial / 2).max(SHORTEST));
                prop_assert!(wait <= ceiling.min(max.max(initial).max(SHORTEST)));
                ceiling = ceiling.saturating_mul(2);
            }
        }

        #[test]
        fn waiting_for_the_operator_is_slow_from_the_start(
            initial in 0u64..20_000,
            max in 0u64..600_000,
            randoms in prop::collection::vec(0.0f64..1.0, 1..80),
        ) {
            let max = Duration::from_millis(max);
            let mut backoff = Backoff::new(Duration::from_millis(initial), max);
            for random in randoms {
                let wait = backoff.next_waiting(random);
                prop_assert!(wait >= WAITING_INITIAL);
                prop_assert!(wait <= WAITING_MAX.max(max).max(Duration::from_millis(initial)));
            }
        }
    }

    #[test]
    fn jitter_is_full_and_a_success_starts_over() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        for _ in 0..3 {
            backoff.next(0.5);
        }
        assert_eq!(backoff.clone().next(0.0), Duration::from_millis(50));
        assert_eq!(backoff.clone().next(0.5), Duration::from_millis(425));
        backoff.reset();
        assert_eq!(backoff.next(0.5), Duration::from_millis(75));
    }
}
