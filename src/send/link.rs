//! What the deliveries of one flow share: the client, the request slots, the channels to the
//! settle stage, and all that is counted and logged on the way.
//!
//! It decides nothing about retries.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;

use super::clients::Client;
use super::entry::{DeadLetter, Entry};
use super::lane::Room;
use super::order::Order;
use super::outcome::{self, Answers, Cause, Failure, FailureClass, Outcome};
use super::pace::Pace;
use super::partition;
use super::receipt::Receipt;
use super::renewal::Renewal;
use super::sender::Setup;
use super::sources::Sources;
use super::spread::Place;
use super::squeeze::Squeeze;
use crate::observe::Repeated;

/// The settle stage is gone.
#[derive(Clone, Copy, Debug)]
pub struct Closed;

/// What the deliveries of a flow share.
#[derive(Debug)]
pub struct Link {
    pub setup: Setup,
    current: Mutex<Current>,
    pub slots: Arc<Semaphore>,
    logged: Mutex<Repeated>,
    /// How long attempts may take.
    pub pace: watch::Sender<Pace>,
    renewal: Mutex<Renewal>,
    pub order: Mutex<Order>,
    squeeze: Mutex<Squeeze>,
    /// An entry is settled, and the next of its key may leave.
    pub freed: Notify,
    started: Instant,
}

/// The client that requests use now.
#[derive(Clone, Debug)]
struct Current {
    client: Client,
    made: Instant,
    /// What it was made from.
    sources: Sources,
}

impl Current {
    fn new(client: Client, sources: Sources) -> Self {
        Current { client, made: Instant::now(), sources }
    }
}

impl Link {
    pub fn new(setup: Setup, slots: Arc<Semaphore>) -> Self {
        Link {
            current: Mutex::new(Current::new(setup.client.clone(), Sources::of(&setup.options))),
            slots,
            logged: Mutex::default(),
            pace: watch::Sender::default(),
            renewal: Mutex::default(),
            order: Mutex::default(),
            squeeze: Mutex::new(Squeeze::NONE),
            freed: Notify::new(),
            started: Instant::now(),
            setup,
        }
    }

    /// The time since the sender was made, for the pure cores.
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub fn client(&self) -> Client {
        self.current.lock().unwrap().client.clone()
    }

    /// What one request holds.
    pub fn room(&self) -> Room {
        let options = &self.setup.options;
        Room {
            entries: options.max_batch_entries.max(1),
            bytes: options.max_batch_bytes.min(self.setup.bodies.request_bytes()),
            key_bytes: partition::key_room(options).partition,
            squeeze: *self.squeeze.lock().unwrap(),
        }
    }

    /// Tells the lane what became of entries that went to these places.
    pub fn learn(&self, entries: &[Entry], places: &[Place], answer: Result<&Answers, &Failure>) {
        let Setup { lane, counters, .. } = &self.setup;
        if let (Some(_), Ok(Answers { compressed: Some(compressed), .. })) =
            (self.setup.options.compression, answer)
        {
            let most = entries.iter().map(|entry| entry.size).sum();
            self.squeeze.lock().unwrap().learn(most, *compressed);
        }
        let room = self.room();
        let sizes: Vec<usize> = entries.iter().map(|entry| room.charge(entry)).collect();
        lane.answered(&sizes, places, answer);
        lane.ask_if_due(&self.client());
        counters.request_limit.set(lane.request_limit() as u64);
        counters.shards_open.set(lane.shards().unwrap_or(0) as u64);
    }

    /// The moment that [`now`](Self::now) would call `at`.
    pub fn instant(&self, at: Duration) -> Instant {
        self.started + at
    }

    /// Those that wait for an answer hear of what changes how long they wait.
    pub fn learn_pace(&self, learn: impl FnOnce(&mut Pace)) {
        self.pace.send_if_modified(|pace| {
            let before = *pace;
            learn(pace);
            *pace != before
        });
    }

    /// Tells the settle stage.
    pub async fn delivered(&self, receipt: &Receipt<'_>) -> Result<(), Closed> {
        let setup = &self.setup;
        setup.accepted.add(receipt.entries);
        setup.counters.records_delivered.add(receipt.records);
        setup.counters.bytes_delivered.add(receipt.bytes);
        self.renewal.lock().unwrap().accepted();
        if let Some(recovery) = setup.health.succeeded()
            && let Some(suppressed) = self.may_log("delivering again")
        {
            tracing::info!(flow = %setup.name, destination = %setup.options.destination,
                failures = recovery.failures, suppressed,
                "delivering again after {:.1} s", recovery.after.as_secs_f64());
        }
        setup.settled.send(receipt.settled()).await.map_err(|_| Closed)
    }

    /// The next entries of their keys may leave.
    pub fn settled<'a>(&self, entries: impl Iterator<Item = &'a Entry>) {
        if self.setup.options.in_order {
            let mut order = self.order.lock().unwrap();
            entries.for_each(|entry| order.end(entry));
            self.freed.notify_one();
        }
    }

    /// Counts and logs what was refused in an answer.
    pub fn answered(&self, outcomes: &[Outcome], delivered: usize) {
        let mut causes: Vec<(&Cause, usize)> = Vec::new();
        for outcome in outcomes {
            let (Outcome::Retry(cause) | Outcome::Rejected(cause)) = outcome else { continue };
            match causes.iter_mut().find(|(seen, _)| seen.code == cause.code) {
                Some((_, count)) => *count += 1,
                None => causes.push((cause, 1)),
            }
        }
        let setup = &self.setup;
        for (cause, count) in causes {
            if cause.throttled {
                setup.counters.entries_throttled.add(outcome::word(&cause.code), count as u64);
            }
            if delivered > 0 {
                setup.health.failed_in_part(cause.to_string());
            } else {
                setup.health.failed(cause.to_string());
            }
            if let Some(suppressed) = self.may_log(&cause.code) {
                tracing::warn!(flow = %setup.name, destination = %setup.options.destination, error = %cause,
                    suppressed, "{count} of {} records of a request were refused; they are sent again",
                    outcomes.len());
            }
        }
    }

    /// Counts and logs a request that failed as a whole, and makes the client anew if that may
    /// help.
    pub async fn failed(&self, failure: &Failure, entries: usize) {
        let setup = &self.setup;
        let word = outcome::word(&failure.code);
        setup.counters.requests_failed.add(word, 1);
        if failure.class == FailureClass::Throttled {
            setup.counters.entries_throttled.add(word, entries as u64);
        }
        setup.health.failed(failure.to_string());
        if let Some(suppressed) = self.may_log(&failure.code) {
            self.log_failure(failure, suppressed);
        }
        let changed = || self.current.lock().unwrap().sources.have_changed();
        let is_due = self.renewal.lock().unwrap().is_due(failure, self.now(), changed);
        if is_due {
            self.renew().await;
        }
    }

    fn log_failure(&self, failure: &Failure, suppressed: u64) {
        let (flow, destination) = (&*self.setup.name, &self.setup.options.destination);
        match failure.class {
            FailureClass::Throttled | FailureClass::Transient | FailureClass::TimedOut => {
                tracing::warn!(flow, %destination, error = %failure, suppressed,
                    "a request failed; it is sent again, nothing is lost");
            }
            FailureClass::Waiting { authentication: true } => {
                tracing::error!(flow, %destination, error = %failure, suppressed,
                    "the destination does not let us in; nothing is lost and it is tried again for ever, \
                     but somebody has to check the agent's credentials, its permissions and the host's clock");
            }
            FailureClass::Waiting { authentication: false } => {
                tracing::error!(flow, %destination, error = %failure, suppressed,
                    "the destination cannot be used; nothing is lost and it is tried again for ever, but \
                     somebody has to check that it exists in this region and account, its state and its key");
            }
            FailureClass::Invalid => {
                tracing::error!(flow, %destination, error = %failure, suppressed,
                    "a request was refused as invalid; it is halved until the record at fault stands alone");
            }
            FailureClass::WrongAnswer => {
                tracing::error!(flow, %destination, error = %failure, suppressed,
                    "an answer does not fit its request; all of it is sent again, records may be repeated; \
                     is something between the agent and AWS that answers in its place?");
            }
        }
    }

    pub async fn given_up(&self, entry: Entry, reason: &str) -> Result<(), Closed> {
        let setup = &self.setup;
        let records = entry.records;
        if let Some(suppressed) = self.may_log("given up") {
            let place = entry.parts.first().map(|part| (part.chunk.tail, part.span.start));
            let (tail, offset) = place.unzip();
            tracing::error!(flow = %setup.name, destination = %setup.options.destination, reason, suppressed,
                records, tail = tail.map(|tail| tail.0), offset,
                "the destination refuses a record that it will never accept, while it accepts others; \
                 the record goes to the dead-letter file");
        }
        let letter = DeadLetter { flow: setup.flow.clone(), entry: entry.clone(), reason: reason.to_owned() };
        setup.dead.send(letter).await.map_err(|_| Closed)?;
        self.settled(std::iter::once(&entry));
        Ok(())
    }

    fn may_log(&self, cause: &str) -> Option<u64> {
        self.logged.lock().unwrap().ask(cause, self.now())
    }

    /// An entry is refused by itself, and nothing else was accepted since.
    pub fn kept(&self, reason: &str) {
        let setup = &self.setup;
        if let Some(suppressed) = self.may_log("everything refused") {
            tracing::error!(flow = %setup.name, destination = %setup.options.destination, reason, suppressed,
                "the destination refuses a record and accepts no other meanwhile, so the record may not be \
                 at fault; nothing is lost and it is tried again for ever, but somebody has to check the \
                 destination and the flow's configuration");
        }
    }

    /// From now on requests use a client that looks for credentials afresh.
    async fn renew(&self) {
        let Setup { name: flow, options, clients, .. } = &self.setup;
        let Current { client, made, .. } = self.current.lock().unwrap().clone();
        let sources = Sources::of(options);
        match clients.renewed(flow, options, &client, made).await {
            Ok(client) => *self.current.lock().unwrap() = Current::new(client, sources),
            Err(error) => {
                tracing::error!(flow = %flow, %error, "the credentials cannot be looked for afresh; those before are used on, and it is \
                     tried again in a minute; mend what the error names");
            }
        }
    }
}
