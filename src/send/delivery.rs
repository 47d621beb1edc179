//! One batch on its way: sent, retried, halved, until each of its entries is settled. The only
//! place where requests are repeated.
//!
//! The batch falls into pieces as entries fail or are halved; they take turns, so that a piece
//! that never gets through does not keep the others from being tried. All pieces share one
//! back-off. While nothing is accepted the delivery keeps its request slot as it waits, so that
//! a dead destination is asked no more often than there are slots; when only some entries were
//! refused it gives the slot back, since others may go ahead.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::entry::Entry;
use super::limit::attempt_timeout;
use super::link::{Closed, Link};
use super::outcome::{Failure, FailureClass, NO_ANSWER_IN_TIME, Outcome};
use super::receipt::Receipt;
use super::retry::Backoff;
use crate::observe::crash_point;

pub(super) struct Delivery {
    link: Arc<Link>,
    pieces: VecDeque<Piece>,
    slot: Option<OwnedSemaphorePermit>,
    backoff: Backoff,
}

/// Entries that are sent in one request.
struct Piece {
    entries: Vec<Entry>,
    /// What the destination had accepted when it first refused these entries as invalid.
    refused_at: Option<u64>,
    /// One entry, which was refused by itself.
    stuck: bool,
}

/// What to do before the next attempt.
#[derive(Clone, Copy)]
enum Wait {
    None,
    /// `keep_slot`: nothing else of the flow should go in our place.
    Backoff {
        keep_slot: bool,
    },
    /// Somebody has to mend something first.
    ForHelp,
}

impl Delivery {
    /// `slot` is the right to send one request at a time.
    pub fn new(link: Arc<Link>, entries: Vec<Entry>, slot: OwnedSemaphorePermit) -> Self {
        let options = &link.setup.options;
        let backoff = Backoff::new(options.retry_initial_backoff, options.retry_max_backoff);
        let pieces = VecDeque::from([Piece { entries, refused_at: None, stuck: false }]);
        Delivery { link, pieces, slot: Some(slot), backoff }
    }

    pub async fn run(mut self) -> Result<(), Closed> {
        while let Some(piece) = self.pieces.pop_front() {
            if self.slot.is_none() {
                let slot = self.link.slots.clone().acquire_owned().await;
                self.slot = Some(slot.expect("the slots are never closed"));
            }
            let wait = match self.attempt(&piece.entries).await {
                Ok(outcomes) => self.answered(piece, outcomes).await?,
                Err(failure) => self.failed(piece, failure).await?,
            };
            self.pause(wait).await;
        }
        Ok(())
    }

    async fn attempt(&self, entries: &[Entry]) -> Result<Vec<Outcome>, Failure> {
        let setup = &self.link.setup;
        let _body = setup.bodies.take(entries.iter().map(|entry| entry.bytes).sum()).await;
        setup.counters.requests.add(1);
        let client = self.link.client();
        let _in_flight = setup.counters.requests_in_flight.hold();
        let limit = attempt_timeout(entries);
        crash_point("send.before_request");
        let began = Instant::now();
        let answer = tokio::time::timeout(limit, client.put(entries, &setup.counters.shards)).await;
        crash_point("send.after_response");
        setup.counters.request_micros.add(began.elapsed().as_micros() as u64);
        let answer = answer.unwrap_or_else(|_| {
            Err(Failure {
                class: FailureClass::TimedOut,
                code: NO_ANSWER_IN_TIME.into(),
                message: format!("no answer within {} s", limit.as_secs()),
            })
        });
        answer.map_err(|failure| failure.of_endpoint(setup.options.endpoint.as_deref()))
    }

    /// The request was answered entry by entry.
    async fn answered(&mut self, piece: Piece, outcomes: Vec<Outcome>) -> Result<Wait, Closed> {
        let refused_at = piece.refused_at.unwrap_or_else(|| self.link.setup.accepted.get());
        let sent = piece.entries.len();
        let mut receipt = Receipt::default();
        for (entry, outcome) in piece.entries.iter().zip(&outcomes) {
            if *outcome == Outcome::Delivered {
                receipt.add(entry);
            }
        }
        let delivered = receipt.entries as usize;
        self.link.answered(&outcomes, delivered);
        if delivered > 0 {
            self.backoff.reset();
            self.link.delivered(&receipt).await?;
            crash_point("send.after_settled");
        }
        drop(receipt);
        if delivered == sent {
            return Ok(Wait::None);
        }
        let mut again = Vec::new();
        let mut refused = Vec::new();
        for (entry, outcome) in piece.entries.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Delivered => {}
                Outcome::Retry(_) => again.push(entry),
                Outcome::Rejected(cause) => refused.push((entry, cause)),
            }
        }
        let mut wait = Wait::None;
        if !again.is_empty() {
            self.link.setup.counters.entries_retried.add(again.len() as u64);
            self.pieces.push_back(Piece { entries: again, refused_at: piece.refused_at, stuck: false });
            wait = Wait::Backoff { keep_slot: delivered == 0 };
        }
        for (entry, cause) in refused {
            if !self.give_up(entry, refused_at, &cause.to_string()).await? && matches!(wait, Wait::None) {
                wait = Wait::Backoff { keep_slot: self.has_untried() };
            }
        }
        Ok(wait)
    }

    /// The request failed as a whole.
    async fn failed(&mut self, mut piece: Piece, failure: Failure) -> Result<Wait, Closed> {
        self.link.failed(&failure, piece.entries.len()).await;
        let keep = Wait::Backoff { keep_slot: true };
        if failure.class == FailureClass::Invalid {
            let refused_at = piece.refused_at.unwrap_or_else(|| self.link.setup.accepted.get());
            piece.refused_at = Some(refused_at);
            if piece.entries.len() > 1 {
                let [first, second] = piece.halves();
                self.pieces.push_front(second);
                self.pieces.push_front(first);
                return Ok(Wait::None);
            }
            let entry = piece.entries.pop().expect("a piece is never empty");
            let given_up = self.give_up(entry, refused_at, &failure.to_string()).await?;
            return Ok(if given_up { Wait::None } else { Wait::Backoff { keep_slot: self.has_untried() } });
        }
        self.link.setup.counters.entries_retried.add(piece.entries.len() as u64);
        if failure.class == FailureClass::TimedOut && piece.entries.len() > 1 {
            self.pieces.extend(piece.halves());
        } else {
            self.pieces.push_back(piece);
        }
        Ok(if matches!(failure.class, FailureClass::Waiting { .. }) { Wait::ForHelp } else { keep })
    }

    /// An entry was refused by itself. If the destination accepted others since it first
    /// refused this one, the entry is at fault and given up; else it is kept and tried again.
    async fn give_up(&mut self, entry: Entry, refused_at: u64, reason: &str) -> Result<bool, Closed> {
        if self.link.setup.accepted.get() == refused_at {
            self.link.kept(reason);
            self.link.setup.counters.entries_retried.add(1);
            self.pieces.push_back(Piece { entries: vec![entry], refused_at: Some(refused_at), stuck: true });
            return Ok(false);
        }
        self.link.given_up(entry, reason).await?;
        Ok(true)
    }

    /// While there are entries that were not yet refused by themselves the slot is kept: if
    /// everything is refused, the fault is not in the entries, and asking more helps nobody.
    /// Once all are, other batches have to show whether the destination accepts anything.
    fn has_untried(&self) -> bool {
        self.pieces.iter().any(|piece| !piece.stuck)
    }

    async fn pause(&mut self, wait: Wait) {
        let (delay, keep_slot) = match wait {
            Wait::None => return,
            Wait::Backoff { keep_slot } => (self.backoff.next(fastrand::f64()), keep_slot),
            Wait::ForHelp => (self.backoff.next_waiting(fastrand::f64()), true),
        };
        if !keep_slot {
            self.slot = None;
        }
        tokio::time::sleep(delay).await;
    }
}

impl Piece {
    fn halves(mut self) -> [Piece; 2] {
        let second = self.entries.split_off(self.entries.len() / 2);
        let refused_at = self.refused_at;
        [self.entries, second].map(|entries| Piece { entries, refused_at, stuck: false })
    }
}
