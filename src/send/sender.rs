//! The send stage of one flow: packs blocks into batches and hands each batch to a delivery
//! task as soon as one of the flow's request slots is free. Until then the batch grows; when it
//! is full no more blocks are taken, and so reading stops.
//!
//! It does not retry: that is the delivery's business.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::batch::Batcher;
use super::clients::{Client, Clients};
use super::delivery::Delivery;
use super::entry::{Batch, DeadLetter, FlushReason};
use super::limit::{Accepted, Bodies};
use super::link::{Closed, Link};
use super::options::Options;
use crate::file::{FlowBudget, Settled};
use crate::observe::{FlowCounters, Health};
use crate::record::Block;

/// What a sender is made of.
#[derive(Debug)]
pub struct Setup {
    pub flow: Arc<str>,
    pub options: Options,
    pub client: Client,
    /// Makes the client anew when its credentials are refused for long.
    pub clients: Arc<Clients>,
    pub counters: Arc<FlowCounters>,
    pub health: Arc<Health>,
    pub bodies: Bodies,
    /// Shared by all flows to the same destination.
    pub accepted: Accepted,
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
    slots: Arc<Semaphore>,
}

impl Sender {
    pub fn new(setup: Setup) -> Self {
        let slots = Arc::new(Semaphore::new(setup.options.max_in_flight.max(1)));
        let batcher = Batcher::new(&setup.options);
        Sender { batcher, link: Arc::new(Link::new(setup, slots.clone())), slots }
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
            tracing::error!(flow = %self.link.setup.flow,
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
        while open || !self.batcher.is_empty() {
            let due = self.due(open, short_of_memory);
            let deadline = self.batcher.deadline().filter(|_| due.is_none());
            let deadline = deadline.map(|at| self.link.instant(at));
            tokio::select! {
                block = blocks.recv(), if open && self.batcher.accepts() => match block {
                    Some(block) => self.batcher.push(block, self.link.now()),
                    None => open = false,
                },
                permit = &mut slot, if due.is_some() => {
                    slot.set(self.slots.clone().acquire_owned());
                    let reason = due.expect("the branch is off without a reason");
                    let permit = permit.expect("the slots are never closed");
                    if let Some(batch) = self.batcher.take(reason) {
                        self.deliver(batch, permit, deliveries);
                    }
                    short_of_memory = false;
                }
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

    /// Why the batch should leave, if it should.
    fn due(&self, open: bool, short_of_memory: bool) -> Option<FlushReason> {
        if self.batcher.is_empty() {
            return None;
        }
        self.batcher
            .ready(self.link.now())
            .or_else(|| (!open).then_some(FlushReason::Shutdown))
            .or_else(|| short_of_memory.then_some(FlushReason::Budget))
    }

    fn deliver(
        &self,
        batch: Batch,
        slot: OwnedSemaphorePermit,
        deliveries: &mut JoinSet<Result<(), Closed>>,
    ) {
        let counters = &self.link.setup.counters;
        let left = match batch.reason {
            FlushReason::Records => &counters.batches_full_of_entries,
            FlushReason::Bytes => &counters.batches_full_of_bytes,
            FlushReason::Age => &counters.batches_aged,
            FlushReason::Budget => &counters.batches_for_budget,
            FlushReason::Shutdown => &counters.batches_at_shutdown,
        };
        left.add(1);
        let records = batch.entries.iter().map(|entry| u64::from(entry.records)).sum();
        counters.records_read.add(records);
        counters.batch_entries.add(batch.entries.len() as u64);
        counters.batch_bytes.add(batch.bytes as u64);
        deliveries.spawn(Delivery::new(self.link.clone(), batch.entries, slot).run());
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
