//! Sends entries that were given up once more: as a delivery does, but one request at a time, and
//! what the destination refuses by itself comes back at once, since it is kept in a file anyway.
//!
//! What fails for another reason is tried again for ever.

use tokio::time::Instant;

use super::clients::Client;
use super::entry::Entry;
use super::limit::Allowance;
use super::options::Options;
use super::outcome::{Failure, Outcome};
use super::pace::{Pace, body_bytes};
use super::partition;
use super::pieces::{Pieces, Wait};
use super::retry::Backoff;
use crate::observe::{Repeated, Shards};

#[derive(Debug)]
pub struct Redelivery {
    client: Client,
    options: Options,
    shards: Shards,
    logged: Repeated,
    began: Instant,
}

impl Redelivery {
    pub fn new(client: Client, options: Options) -> Self {
        let (shards, logged) = (Shards::default(), Repeated::default());
        Redelivery { client, options, shards, logged, began: Instant::now() }
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Returns when each entry is delivered or refused: those that were refused, and why.
    pub async fn send(&mut self, entries: Vec<Entry>) -> Vec<(Entry, String)> {
        let mut pieces = Pieces::new(entries);
        let mut backoff = Backoff::new(self.options.retry_initial_backoff, self.options.retry_max_backoff);
        let mut refused = Vec::new();
        // Stands for what the destination accepts: an entry that is refused by itself need not
        // wait until others were accepted.
        let mut attempts = 0;
        while let Some(piece) = pieces.pop() {
            attempts += 1;
            let after = match self.attempt(&piece.entries).await {
                Ok(outcomes) => {
                    if outcomes.contains(&Outcome::Delivered) {
                        backoff.reset();
                    }
                    outcomes.iter().for_each(|outcome| self.tell_entry(outcome));
                    pieces.answered(piece, outcomes, attempts, attempts + 1)
                }
                Err(failure) => {
                    self.tell(&failure.code, &failure.to_string());
                    pieces.failed(piece, &failure, attempts)
                }
            };
            refused.extend(after.given_up);
            let wait = match after.wait {
                Wait::None => continue,
                Wait::Backoff { .. } => backoff.next(fastrand::f64()),
                Wait::ForHelp => backoff.next_waiting(fastrand::f64()),
            };
            tokio::time::sleep(wait).await;
        }
        refused
    }

    async fn attempt(&self, entries: &[Entry]) -> Result<Vec<Outcome>, Failure> {
        let keys: Vec<_> =
            entries.iter().map(|entry| partition::key(&self.options.partition_key, entry)).collect();
        // As on a link of which nothing is known.
        let limit = Pace::default().time_for(body_bytes(entries));
        let answer =
            tokio::time::timeout(limit, self.client.put(entries, &keys, &self.shards, Allowance::default()))
                .await;
        let answer = answer.unwrap_or_else(|_| Err(Failure::no_answer_within(limit)));
        let answer = answer.map(|answers| answers.outcomes);
        answer.map_err(|failure| failure.of_endpoint(self.options.endpoint.as_deref()))
    }

    fn tell_entry(&mut self, outcome: &Outcome) {
        if let Outcome::Retry(cause) | Outcome::Rejected(cause) = outcome {
            self.tell(&cause.code, &cause.to_string());
        }
    }

    fn tell(&mut self, code: &str, error: &str) {
        if let Some(suppressed) = self.logged.ask(code, self.began.elapsed()) {
            tracing::warn!(destination = %self.options.destination, error, suppressed,
                "what is sent again was not taken; a record that is refused by itself is kept, all else is \
                 tried again until it is taken or the command is interrupted");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::send::Clients;
    use crate::send::options::Destination;
    use crate::send::testing::{Canned, entry};

    #[tokio::test]
    async fn what_is_refused_by_itself_comes_back_and_all_else_is_tried_again() {
        let body = r#"{"__type":"ValidationException","message":"too long"}"#;
        let server = Canned::start(400, "", body).await;
        let mut options = server.options(Destination::Kinesis("s".into()));
        options.retry_initial_backoff = std::time::Duration::from_millis(1);
        let client = Clients::default().client("test", &options).await.unwrap();
        let entries = [&b"a"[..], b"b", b"c"].map(|text| entry(&[text])).to_vec();
        let refused = Redelivery::new(client, options).send(entries).await;
        let mut texts: Vec<_> = refused.iter().map(|(entry, reason)| (entry.to_vec(), &**reason)).collect();
        texts.sort();
        let reason = "ValidationException: too long";
        assert_eq!(texts, [(b"a".to_vec(), reason), (b"b".to_vec(), reason), (b"c".to_vec(), reason)]);
    }
}
