//! Which credentials a flow uses, for the status: where they came from, until when they count,
//! and why the last attempt to get some failed.
//!
//! It holds no secret. Flows that share their credentials share their report.

use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use super::health::LastError;
use super::status::{CredentialsStatus, ErrorStatus};

#[derive(Debug, Default)]
pub struct CredentialsReport(Mutex<CredentialsState>);

/// How it is now. Nothing is set before the first request asks for credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CredentialsState {
    pub found: Option<FoundCredentials>,
    /// Why the last attempt failed; none if it succeeded.
    pub last_error: Option<LastError>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundCredentials {
    /// In the operator's words, such as `instance role (IMDSv2)`.
    pub source: String,
    /// Where the source tells it.
    pub account: Option<String>,
    /// None for those that do not expire.
    pub expires_at: Option<SystemTime>,
}

impl CredentialsReport {
    pub fn found(&self, credentials: FoundCredentials) {
        *self.0.lock().unwrap() = CredentialsState { found: Some(credentials), last_error: None };
    }

    /// What was found before may still count, so it stays.
    pub fn failed(&self, text: String) {
        self.0.lock().unwrap().last_error = Some(LastError { text, at: SystemTime::now() });
    }

    pub fn state(&self) -> CredentialsState {
        self.0.lock().unwrap().clone()
    }

    /// None before anything was asked for.
    pub fn status(&self) -> Option<CredentialsStatus> {
        let CredentialsState { found, last_error } = self.state();
        if found.is_none() && last_error.is_none() {
            return None;
        }
        Some(CredentialsStatus {
            source: found.as_ref().map(|found| found.source.clone()),
            expires_at: found.and_then(|found| found.expires_at).map(epoch_millis),
            last_error: last_error.map(|error| ErrorStatus { text: error.text, at: epoch_millis(error.at) }),
        })
    }
}

fn epoch_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_error_keeps_what_was_found_and_a_success_ends_the_error() {
        let report = CredentialsReport::default();
        assert_eq!(report.status(), None);
        report.failed("no answer".into());
        let status = report.status().unwrap();
        assert_eq!((status.source, status.expires_at), (None, None));
        assert_eq!(status.last_error.unwrap().text, "no answer");

        let expires_at = Some(UNIX_EPOCH + Duration::from_millis(1500));
        report.found(FoundCredentials { source: "here".into(), account: None, expires_at });
        let status = report.status().unwrap();
        assert_eq!((status.source.as_deref(), status.expires_at), (Some("here"), Some(1500)));
        assert_eq!(status.last_error, None);
        report.failed("refused".into());
        let status = report.status().unwrap();
        assert_eq!((status.source.as_deref(), status.expires_at), (Some("here"), Some(1500)));
        assert_eq!(status.last_error.unwrap().text, "refused");
    }
}
