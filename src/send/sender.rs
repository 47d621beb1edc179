//! The send stage of one flow: packs blocks into batches and hands each batch to a delivery
//! task as soon as one of the flow's request slots is free. Until then the batch grows; when it
//! is full no more blocks are taken, and so reading stops.
//!
//! It does not retry: that is the delivery's business.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::batch::Batcher;
use super::clients::{Client, Clients};
use super::delivery::Delivery;
use super::entry::{DeadLetter, Entry, FlushReason};
use super::lane::{Admission, GATHER, Lane, Member};
use super::limit::{Accepted, Bodies};
use super::limiter::Turn;
use super::link::{Closed, Link};
use super::options::{Flush, Options, PartitionKey};
use super::order::Busy;
use super::partition;
use super::spread::Place;
use crate::file::{FlowBudget, Settled};
use crate::observe::{FlowCounters, Health};
use crate::record::Block;

/// Where keys decide on the shards, no more entries wait for theirs. Small ones take more memory
/// than their bytes count.
const MOST_HELD: usize = 10_000;

/// What a sender is made of.
#[derive(Debug)]
pub struct Setup {
    /// The flow's key.
    pub flow: Arc<str>,
    /// For the logs.
    pub name: Arc<str>,
    pub options: Options,
    pub client: Client,
    /// Makes the client anew when its credentials are refused for long.
    pub clients: Arc<Clients>,
    pub counters: Arc<FlowCounters>,
    pub health: Arc<Health>,
    pub bodies: Bodies,
    /// Shared by all flows to the same destination.
    pub accepted: Accepted,
    /// Shared by all flows to the same destination.
    pub lane: Arc<Lane>,
    pub settled: mpsc::Sender<Vec<Settled>>,
    pub dead: mpsc::Sender<DeadLetter>,
}

/// How a sender ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All that it was given is settled.
    Drained,
    /// It was stopped, or nobody listens to it any more. What was not settled will be sent
    /// again after the next start.
    Abandoned,
}

#[derive(Debug)]
pub struct Sender {
    link: Arc<Link>,
    batcher: Batcher,
    leaving: Leaving,
    slots: Arc<Semaphore>,
    /// Counts this flow's requests as long as it sends.
    _member: Member,
}

/// Entries of batches that have left the batcher and wait until their shards take more.
#[derive(Debug, Default)]
struct Leaving {
    entries: VecDeque<Entry>,
    /// None of them goes before.
    not_before: Option<Instant>,
    /// All wait for the entries before them of their keys.
    stuck: bool,
}

impl Sender {
    pub fn new(setup: Setup) -> Self {
        let slots = Arc::new(Semaphore::new(setup.options.max_in_flight.max(1)));
        let batcher = Batcher::new(&setup.options);
        let _member = setup.lane.join(setup.options.max_in_flight.max(1));
        let link = Arc::new(Link::new(setup, slots.clone()));
        Sender { batcher, link, leaving: Leaving::default(), slots, _member }
    }

    /// Sends all blocks until their channel is closed and everything is settled, or until
    /// `stop` is cancelled: then everything is abandoned at once, requests under way included.
    pub async fn run(
        mut self,
        mut blocks: mpsc::Receiver<Block>,
        budget: Arc<FlowBudget>,
        stop: CancellationToken,
    ) -> Ending {
        let mut deliveries = JoinSet::new();
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => Err(Closed),
            ended = self.send_all(&mut blocks, &budget, &mut deliveries) => ended,
        };
        if ended.is_ok() {
            return Ending::Drained;
        }
        if !stop.is_cancelled() {
            tracing::error!(flow = %self.link.setup.name,
                "sending ends because what is delivered can no longer be recorded; restart the agent");
        }
        deliveries.shutdown().await;
        Ending::Abandoned
    }

    async fn send_all(
        &mut self,
        blocks: &mut mpsc::Receiver<Block>,
        budget: &FlowBudget,
        deliveries: &mut JoinSet<Result<(), Closed>>,
    ) -> Result<(), Closed> {
        let mut open = true;
        // Stays until a batch has left: what is still on its way here should leave, too.
        let mut short_of_memory = false;
        let mut short = std::pin::pin!(budget.short());
        let mut slot = std::pin::pin!(self.slots.clone().acquire_owned());
        self.link.setup.lane.ask_if_due(&self.link.client());
        self.link.setup.lane.first_told().await;
        while open || !self.batcher.is_empty() || !self.leaving.entries.is_empty() {
            let due = self.due(open, short_of_memory, blocks.is_empty());
            let deadline = self.deadline(due);
            tokio::select! {
                block = blocks.recv(), if open && self.batcher.accepts() => match block {
                    Some(block) => self.batcher.push(block, self.link.now()),
                    None => open = false,
                },
                permit = &mut slot, if due.is_some() || self.leaving.may_go() => {
                    slot.set(self.slots.clone().acquire_owned());
                    let permit = permit.expect("the slots are never closed");
                    if let Some(reason) = due {
                        self.take(reason);
                        short_of_memory = false;
                    }
                    self.dispatch(permit, deliveries);
                }
                () = self.link.freed.notified() => self.leaving.stuck = false,
                () = tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {}
                () = &mut short => {
                    short.set(budget.short());
                    short_of_memory = true;
                }
                Some(done) = deliveries.join_next() => finished(done)?,
            }
        }
        while let Some(done) = deliveries.join_next().await {
            finished(done)?;
        }
        Ok(())
    }

    /// When something is to be done without anything happening.
    fn deadline(&self, due: Option<FlushReason>) -> Option<Instant> {
        let age = self.batcher.deadline().filter(|_| due.is_none() && self.takes_more());
        // What is old enough and waits for its key hears when that is free.
        let age = age.map(|at| self.link.instant(at)).filter(|at| !self.is_strict() || *at > Instant::now());
        let leaving = self.leaving.not_before.filter(|_| !self.leaving.may_go());
        age.into_iter().chain(leaving).min()
    }

    /// Whether another batch may join those that wait for their shards. Where any shard will do
    /// it would wait for the same; with keys it may be for another shard.
    fn takes_more(&self) -> bool {
        let held = self.leaving.entries.len();
        held == 0 || (held < MOST_HELD && self.link.setup.options.partition_key != PartitionKey::Random)
    }

    /// Why the batch should leave, if it should.
    fn due(&self, open: bool, short_of_memory: bool, nothing_comes: bool) -> Option<FlushReason> {
        if self.batcher.is_empty() || !self.takes_more() {
            return None;
        }
        let eager = self.link.setup.options.flush == Flush::Eager && nothing_comes;
        let reason = self
            .batcher
            .ready(self.link.now())
            .or_else(|| (!open).then_some(FlushReason::Shutdown))
            .or_else(|| short_of_memory.then_some(FlushReason::Budget))
            .or_else(|| eager.then_some(FlushReason::Eager));
        reason.filter(|_| !self.may_grow() || self.has_free_keys())
    }

    fn is_strict(&self) -> bool {
        self.link.setup.options.in_order
    }

    /// Whether entries that have to wait for their keys stay in the batch, to leave as one then.
    fn may_grow(&self) -> bool {
        self.is_strict() && self.batcher.accepts()
    }

    fn busy(&self) -> Busy {
        self.link.order.lock().unwrap().busy(&self.leaving.entries)
    }

    fn has_free_keys(&self) -> bool {
        let busy = self.busy();
        self.batcher.entries().iter().any(|entry| !busy.holds(entry))
    }

    /// The batch leaves the batcher.
    fn take(&mut self, reason: FlushReason) {
        let batch = match self.may_grow() {
            true => {
                let busy = self.busy();
                self.batcher.take_some(reason, |entry| !busy.holds(entry))
            }
            false => self.batcher.take(reason),
        };
        let Some(mut batch) = batch else { return };
        let setup = &self.link.setup;
        let counters = &setup.counters;
        let left = match batch.reason {
            FlushReason::Records => &counters.batches_full_of_entries,
            FlushReason::Bytes => &counters.batches_full_of_bytes,
            FlushReason::Age => &counters.batches_aged,
            FlushReason::Eager => &counters.batches_eager,
            FlushReason::Budget => &counters.batches_for_budget,
            FlushReason::Shutdown => &counters.batches_at_shutdown,
        };
        left.add(1);
        let records = batch.entries.iter().map(|entry| u64::from(entry.records)).sum();
        counters.records_read.add(records);
        counters.batch_entries.add(batch.entries.len() as u64);
        counters.batch_bytes.add(batch.bytes as u64);
        batch.entries.iter_mut().for_each(|entry| partition::fix(&setup.options.partition_key, entry));
        self.leaving.entries.extend(batch.entries);
        self.leaving.not_before = None;
        self.leaving.stuck = false;
    }

    /// Which of those that are leaving go now.
    fn admit(&self) -> Admission {
        let Link { setup, order, .. } = &*self.link;
        let entries = &self.leaving.entries;
        if !setup.options.in_order {
            return setup.lane.admit(entries, self.link.room(), Turn::Fresh);
        }
        let mut order = order.lock().unwrap();
        let free = order.free(entries);
        let bytes = free.iter().map(|at| entries[*at].size).sum();
        let room = self.link.room().within(order.part(free.len(), bytes, setup.options.max_in_flight));
        let admission = setup.lane.admit(free.iter().map(|at| &entries[*at]), room, Turn::Fresh);
        let mut places = vec![None; entries.len()];
        for (at, place) in free.into_iter().zip(admission.places) {
            if place.is_some() {
                order.begin(&entries[at]);
            }
            places[at] = place;
        }
        Admission { places, wait: admission.wait }
    }

    /// Sends what may go now.
    fn dispatch(&mut self, slot: OwnedSemaphorePermit, deliveries: &mut JoinSet<Result<(), Closed>>) {
        let admission = self.admit();
        self.leaving.not_before =
            admission.wait.map(|wait| Instant::now() + if wait.is_zero() { wait } else { wait.max(GATHER) });
        let (entries, places) = self.leaving.take(&admission.places);
        self.leaving.stuck = entries.is_empty() && admission.wait.is_none();
        if !entries.is_empty() {
            deliveries.spawn(Delivery::new(self.link.clone(), entries, places, slot).run());
        }
        self.link.setup.counters.entries_held.set(self.leaving.entries.len() as u64);
    }
}

impl Leaving {
    fn may_go(&self) -> bool {
        !self.entries.is_empty() && !self.stuck && self.not_before.is_none_or(|at| at <= Instant::now())
    }

    /// Takes the entries out that have a place.
    fn take(&mut self, places: &[Option<Place>]) -> (Vec<Entry>, Vec<Place>) {
        let (mut go, mut to) = (Vec::new(), Vec::new());
        let mut places = places.iter();
        self.entries.retain_mut(|entry| match places.next().copied().flatten() {
            Some(place) => {
                go.push(std::mem::take(entry));
                to.push(place);
                false
            }
            None => true,
        });
        (go, to)
    }
}

fn finished(done: Result<Result<(), Closed>, JoinError>) -> Result<(), Closed> {
    match done {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Closed),
    }
}

#[cfg(test)]
mod tests;
