//! When a client is made anew: its credentials are refused, and what it was made from, or what
//! would be found now, may be other than what it holds.
//!
//! Pure: it is told of failures and deliveries, and the time. Making a client costs a look at
//! the files of the profiles and perhaps a call to STS or the metadata service, so it is not
//! done for each refusal.

use std::time::Duration;

use super::outcome::{Failure, FailureClass};
use super::trouble::Trouble;

/// After so long of refused credentials, whatever they are.
const REFUSED_FOR: Duration = Duration::from_secs(60);
/// Credentials that expired before their time are fetched anew at once, but no more often.
const EXPIRED_AGAIN: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub struct Renewal {
    /// Since when credentials are refused.
    refused: Option<Duration>,
    /// When the client was made anew because they had expired.
    expired: Option<Duration>,
}

impl Renewal {
    /// The credentials are good.
    pub fn accepted(&mut self) {
        self.refused = None;
    }

    /// Whether the client should be made anew after `failure`. `changed` tells whether the files
    /// that it was made from have changed.
    pub fn is_due(&mut self, failure: &Failure, now: Duration, changed: impl FnOnce() -> bool) -> bool {
        let trouble = Trouble::of(failure);
        let refused = failure.class == (FailureClass::Waiting { authentication: true });
        if !refused && trouble != Trouble::Tls {
            return false;
        }
        let since = *self.refused.get_or_insert(now);
        let expired = trouble == Trouble::Expired
            && self.expired.is_none_or(|last| now.saturating_sub(last) >= EXPIRED_AGAIN);
        let long = refused && now.saturating_sub(since) >= REFUSED_FOR;
        if !long && !expired && !changed() {
            return false;
        }
        self.refused = Some(now);
        if expired {
            self.expired = Some(now);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: &str, class: FailureClass) -> Failure {
        Failure { class, code: code.into(), message: "invalid peer certificate".into() }
    }

    const REFUSED: FailureClass = FailureClass::Waiting { authentication: true };

    fn at(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    #[test]
    fn refused_credentials_are_looked_for_each_minute() {
        let denied = failure("AccessDenied", REFUSED);
        let mut renewal = Renewal::default();
        let due = |renewal: &mut Renewal, second| renewal.is_due(&denied, at(second), || false);
        assert!(!due(&mut renewal, 10));
        assert!(!due(&mut renewal, 69));
        assert!(due(&mut renewal, 70));
        assert!(!due(&mut renewal, 129));
        assert!(due(&mut renewal, 130));
        renewal.accepted();
        assert!(!due(&mut renewal, 300));
        assert!(!due(&mut renewal, 359));
    }

    #[test]
    fn expired_ones_at_once_but_not_again_and_again() {
        let expired = failure("ExpiredTokenException", REFUSED);
        let mut renewal = Renewal::default();
        let due: Vec<u64> =
            (0..100).filter(|second| renewal.is_due(&expired, at(*second), || false)).collect();
        assert_eq!(due, [0, 30, 60, 90]);
    }

    #[test]
    fn changed_files_count_where_they_may_be_the_cure() {
        let mut renewal = Renewal::default();
        let network = failure("network", FailureClass::Transient);
        for (failure, due) in [
            (failure("no credentials", REFUSED), true),
            (network, true),
            (failure("HTTP 503", FailureClass::Transient), false),
            (failure("ResourceNotFoundException", FailureClass::Waiting { authentication: false }), false),
        ] {
            assert_eq!(renewal.is_due(&failure, at(0), || true), due, "{failure}");
            assert!(!renewal.is_due(&failure, at(0), || false), "{failure}");
        }
        let mut renewal = Renewal::default();
        let tls = failure("network", FailureClass::Transient);
        assert!(![0, 100].iter().any(|second| renewal.is_due(&tls, at(*second), || false)));
    }
}
