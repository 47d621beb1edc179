//! One batch on its way: sent, retried, halved, until each of its entries is settled. The only
//! place where requests are repeated.
//!
//! What an answer means stands in [`Pieces`]; here it is sent and waited. All pieces of a batch
//! share one back-off. While nothing is accepted the delivery keeps its request slot as it waits,
//! so that a dead destination is asked no more often than there are slots; when only some entries
//! were refused it gives the slot back, since others may go ahead.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::body;
use super::controller::Sign;
use super::entry::Entry;
use super::envelope::Envelope;
use super::lane::GATHER;
use super::limiter::Turn;
use super::link::{Closed, Link};
use super::options::Aggregation;
use super::outcome::{Answers, Failure, FailureClass, Outcome};
use super::pace::body_bytes;
use super::pieces::{After, Piece, Pieces, Wait};
use super::retry::Backoff;
use super::spread::Place;
use crate::observe::crash_point;

pub(super) struct Delivery {
    link: Arc<Link>,
    pieces: Pieces,
    /// Where the entries go that were admitted and not yet sent.
    admitted: Option<Vec<Place>>,
    slot: Option<OwnedSemaphorePermit>,
    backoff: Backoff,
}

impl Delivery {
    /// Of entries that may go to these places now. `slot` is the right to send one request at a
    /// time.
    pub fn new(link: Arc<Link>, entries: Vec<Entry>, places: Vec<Place>, slot: OwnedSemaphorePermit) -> Self {
        let options = &link.setup.options;
        let backoff = Backoff::new(options.retry_initial_backoff, options.retry_max_backoff);
        Delivery { link, pieces: Pieces::new(entries), admitted: Some(places), slot: Some(slot), backoff }
    }

    pub async fn run(mut self) -> Result<(), Closed> {
        while let Some(piece) = self.pieces.pop() {
            let (piece, places) = match self.admitted.take() {
                Some(places) => (piece, places),
                None => self.admit(piece).await,
            };
            if self.slot.is_none() {
                let slot = self.link.slots.clone().acquire_owned().await;
                self.slot = Some(slot.expect("the slots are never closed"));
            }
            let answer = self.attempt(&piece.entries, &places).await;
            self.link.learn(&piece.entries, &places, answer.as_ref());
            let wait = match answer {
                Ok(answers) => self.answered(piece, &places, answers.outcomes).await?,
                Err(failure) => self.failed(piece, failure).await?,
            };
            self.pause(wait).await;
        }
        Ok(())
    }

    /// Waits until something of the piece may go again; that, and where it goes. Others may use
    /// the slot meanwhile.
    async fn admit(&mut self, mut piece: Piece) -> (Piece, Vec<Place>) {
        loop {
            let link = &self.link;
            let admission = link.setup.lane.admit(&piece.entries, link.room(), Turn::Again);
            let places: Vec<Place> = admission.places.iter().flatten().copied().collect();
            if !places.is_empty() {
                if let Some(rest) = piece.without(&admission.places) {
                    self.pieces.put_back(rest);
                }
                return (piece, places);
            }
            self.slot = None;
            tokio::time::sleep(admission.wait.unwrap_or_default().max(GATHER)).await;
        }
    }

    async fn attempt(&self, entries: &[Entry], places: &[Place]) -> Result<Answers, Failure> {
        let setup = &self.link.setup;
        let memory = setup.bodies.take(body::memory(Envelope::of(&setup.options), entries)).await;
        let request = setup.lane.begin_request().await;
        setup.counters.requests.add(1);
        let client = self.link.client();
        let keys = setup.lane.keys(entries, places, setup.options.aggregation == Aggregation::Kpl);
        let _in_flight = setup.counters.requests_in_flight.hold();
        crash_point("send.before_request");
        let began = Instant::now();
        let put = client.put(entries, &keys, &setup.counters.shards, memory);
        let answer = self.in_time(put, body_bytes(entries)).await;
        crash_point("send.after_response");
        setup.counters.request_micros.add(began.elapsed().as_micros() as u64);
        request.end(sign(&answer));
        answer.map_err(|failure| failure.of_endpoint(setup.options.endpoint.as_deref()))
    }

    /// Waits for the answer to a request whose body has so many bytes. If others are answered
    /// faster meanwhile, it need not wait for as long as it seemed at first.
    async fn in_time<T>(
        &self,
        request: impl Future<Output = Result<T, Failure>>,
        body: u64,
    ) -> Result<T, Failure> {
        let mut pace = self.link.pace.subscribe();
        let when_it_began = *pace.borrow_and_update();
        let began = Instant::now();
        let mut request = std::pin::pin!(request);
        loop {
            let limit = pace.borrow_and_update().time_for(body);
            tokio::select! {
                biased;
                answer = &mut request => {
                    if answer.is_ok() {
                        self.link.learn_pace(|pace| pace.answered(body, began.elapsed()));
                    }
                    return answer;
                }
                () = tokio::time::sleep_until(began + limit) => {
                    self.link.learn_pace(|pace| pace.timed_out(when_it_began));
                    return Err(Failure::no_answer_within(began.elapsed()));
                }
                Ok(()) = pace.changed() => {}
            }
        }
    }

    /// The request was answered entry by entry.
    async fn answered(
        &mut self,
        piece: Piece,
        places: &[Place],
        outcomes: Vec<Outcome>,
    ) -> Result<Wait, Closed> {
        // Each shard has its own limiter, and what goes to others may go on.
        let is_paced = outcomes.iter().zip(places).all(|(outcome, place)| match outcome {
            Outcome::Retry(cause) => cause.throttled && *place != Place::Anywhere,
            Outcome::Delivered | Outcome::Rejected(_) => true,
        });
        let refused_at = self.link.setup.accepted.get();
        let receipt = piece.receipt(&outcomes);
        let delivered = receipt.entries as usize;
        self.link.answered(&outcomes, delivered);
        if delivered > 0 {
            self.backoff.reset();
            self.link.delivered(&receipt).await?;
            crash_point("send.after_settled");
        }
        drop(receipt);
        let delivered =
            piece.entries.iter().zip(&outcomes).filter(|(_, outcome)| **outcome == Outcome::Delivered);
        self.link.settled(delivered.map(|(entry, _)| entry));
        let accepted = self.link.setup.accepted.get();
        let after = self.pieces.answered(piece, outcomes, refused_at, accepted);
        Ok(match self.follow(after).await? {
            Wait::Backoff { .. } if is_paced => Wait::Backoff { keep_slot: false },
            wait => wait,
        })
    }

    /// The request failed as a whole.
    async fn failed(&mut self, piece: Piece, failure: Failure) -> Result<Wait, Closed> {
        self.link.failed(&failure, piece.entries.len()).await;
        let after = self.pieces.failed(piece, &failure, self.link.setup.accepted.get());
        self.follow(after).await
    }

    async fn follow(&self, after: After) -> Result<Wait, Closed> {
        self.link.setup.counters.entries_retried.add(after.again);
        after.kept.iter().for_each(|reason| self.link.kept(reason));
        for (entry, reason) in after.given_up {
            self.link.given_up(entry, &reason).await?;
        }
        Ok(after.wait)
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

/// What an answer says of the number of requests that the destination can take.
fn sign(answer: &Result<Answers, Failure>) -> Sign {
    match answer {
        Ok(answers) if answers.outcomes.contains(&Outcome::Delivered) => Sign::Answered,
        Ok(_) => Sign::None,
        Err(failure) => match failure.class {
            FailureClass::Throttled | FailureClass::TimedOut => Sign::Overloaded,
            _ => Sign::None,
        },
    }
}
