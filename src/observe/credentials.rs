//! Where the credentials that are used came from, and when they expire: written whenever some
//! are got, read for the status. The credentials themselves are not in here.

use std::sync::Mutex;
use std::time::SystemTime;

#[derive(Debug, Default)]
pub struct SeenCredentials(Mutex<Option<Seen>>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The name of the provider that gave them, as the SDK calls it.
    pub source: String,
    /// None if they never do.
    pub expires_at: Option<SystemTime>,
}

impl SeenCredentials {
    pub fn saw(&self, seen: Seen) {
        *self.0.lock().unwrap() = Some(seen);
    }

    /// None before the first were got.
    pub fn last(&self) -> Option<Seen> {
        self.0.lock().unwrap().clone()
    }
}
