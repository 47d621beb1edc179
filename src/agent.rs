//! The wiring: what the agent is made of, in the order of the data, and how it stops.
//!
//! For each flow there are a thread that reads files, a task that makes records of what was
//! read, and a task that sends them; one task for the whole agent stores what is safe.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{Flow, Settings, Shares};
use crate::file::mailbox::Mailbox;
use crate::file::pattern::{PatternError, Patterns};
use crate::file::stage::{CHANNEL_CAPACITY, Stage};
use crate::file::tailers::{Parts, Past, TailIds, Tailers};
use crate::file::watch::Watch;
use crate::file::{Budget, FlowBudget, TailNote};
use crate::observe::progress::{self, Progress};
use crate::observe::{Board, CredentialsReport, FlowBoard, FlowCounters, Health};
use crate::record::Recorder;
use crate::record::stage::Outlets;
use crate::send::{Accepted, Bodies, ClientError, Clients, Destination, Ending, Sender, Setup};
use crate::settle::{
    DeadLetters, FlowIdentity, Inlets, Resumed, Settler, SettlerFlow, Store, StoreError, Summary,
};

/// Blocks on their way to the send stage: what waits here is held by the budget.
const BLOCKS: usize = 16;
/// Messages on their way to the settle stage.
const SETTLED: usize = 1024;

/// Why the agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("flow `{flow}`: filePattern: {error}")]
    Pattern { flow: String, error: PatternError },
    #[error("the thread that reads the files of a flow cannot be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// How the agent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything that was read is settled and stored.
    Drained,
    /// Something was not settled in time; it is sent again after the next start.
    OutOfTime,
}

/// A running agent.
pub struct Agent {
    mailboxes: Vec<Arc<Mailbox>>,
    records: JoinSet<()>,
    senders: JoinSet<Ending>,
    settler: Option<tokio::task::JoinHandle<Summary>>,
    abandon_sending: CancellationToken,
    abandon_settling: CancellationToken,
    shutdown_timeout: Duration,
}

/// The ends of the channels to the settle stage.
#[derive(Clone)]
struct ToSettle {
    notes: mpsc::Sender<TailNote>,
    settled: mpsc::Sender<Vec<crate::file::Settled>>,
    dead: mpsc::Sender<crate::send::DeadLetter>,
    oversized: mpsc::Sender<(Arc<str>, crate::record::Dead)>,
}

/// What the flows share.
struct Common {
    board: Arc<Board>,
    budget: Arc<Budget>,
    bodies: usize,
    watch: Arc<Watch>,
    ids: Arc<TailIds>,
    clients: Arc<Clients>,
    accepted: HashMap<Destination, Accepted>,
    to_settle: ToSettle,
    abandon_sending: CancellationToken,
    max_open: usize,
    copies_limit: usize,
}

impl Agent {
    /// Opens the state and starts every flow, each with one of the clients.
    pub async fn start(
        settings: Settings,
        board: Arc<Board>,
        clients: Arc<Clients>,
    ) -> Result<Agent, StartError> {
        for warning in &settings.warnings {
            tracing::warn!("{warning}");
        }
        let flows = settings.flows.len();
        let (store, resumed) = open_state(&settings)?;
        let (to_settle, inlets) = channels();
        let shares = Shares::of(settings.memory_budget);
        let mut common = Common {
            board,
            budget: Budget::new(shares.read, flows),
            bodies: shares.bodies / flows.max(1),
            watch: Watch::new(),
            ids: Arc::new(TailIds::starting_at(store.first_tail().0)),
            clients,
            accepted: HashMap::new(),
            to_settle,
            abandon_sending: CancellationToken::new(),
            max_open: raise_open_files() / flows.max(1),
            copies_limit: shares.copies / 2 / flows_that_copy(&settings),
        };
        let mut agent = Agent {
            mailboxes: Vec::new(),
            records: JoinSet::new(),
            senders: JoinSet::new(),
            settler: None,
            abandon_sending: common.abandon_sending.clone(),
            abandon_settling: CancellationToken::new(),
            shutdown_timeout: settings.shutdown_timeout,
        };
        let mut settler_flows = Vec::new();
        let mut shown = Vec::new();
        for (flow, resumed) in settings.flows.iter().zip(resumed) {
            let counters = Arc::new(FlowCounters::default());
            settler_flows.push(SettlerFlow {
                key: flow.key.as_str().into(),
                name: flow.name.clone(),
                destination: flow.send.destination.to_string(),
                counters: counters.clone(),
                known: resumed.known.clone(),
            });
            shown.push((flow.name.clone(), counters.clone()));
            agent.start_flow(flow, resumed, counters, &mut common).await?;
        }
        agent.start_settling(&settings, store, settler_flows, inlets);
        tokio::spawn(show_progress(shown));
        tracing::info!(flows, version = env!("CARGO_PKG_VERSION"), checkpoints = %settings.checkpoint_file.display(), "the agent runs");
        Ok(agent)
    }

    /// The three stages of one flow, and the channels between them.
    async fn start_flow(
        &mut self,
        flow: &Flow,
        resumed: Resumed,
        counters: Arc<FlowCounters>,
        common: &mut Common,
    ) -> Result<(), StartError> {
        let key: Arc<str> = flow.key.as_str().into();
        let (events, events_end) = mpsc::channel(CHANNEL_CAPACITY);
        let (blocks, blocks_end) = mpsc::channel(BLOCKS);
        let client = common.clients.client(&flow.name, &flow.send).await?;

        let mailbox = Arc::new(Mailbox::default());
        common.budget.ring_on_release(Arc::downgrade(&(mailbox.clone() as _)));
        let budget = common.budget.flow();
        let stage = Stage {
            tailers: tailers(flow, resumed, &counters, common)?,
            mailbox: mailbox.clone(),
            watch: common.watch.clone(),
            budget: budget.clone(),
            outlet: events,
            notes: common.to_settle.notes.clone(),
        };
        std::thread::Builder::new().name(thread_name(&flow.name)).spawn(move || stage.run())?;
        self.mailboxes.push(mailbox);

        let recorder = Recorder::new(flow.record.clone(), common.copies_limit);
        let outlets = Outlets {
            flow: key.clone(),
            name: flow.name.clone(),
            blocks,
            settled: common.to_settle.settled.clone(),
            dead: common.to_settle.oversized.clone(),
            counters: counters.clone(),
        };
        self.records.spawn(crate::record::stage::run(recorder, events_end, outlets, common.copies_limit));

        let health = Arc::new(Health::default());
        let credentials = common.clients.report(&flow.send.credentials);
        common.board.put(on_board(flow, &counters, &health, credentials, &budget));
        let sender = Sender::new(Setup {
            flow: key,
            options: flow.send.clone(),
            client,
            clients: common.clients.clone(),
            counters,
            health,
            bodies: Bodies::new(common.bodies),
            accepted: common.accepted.entry(flow.send.destination.clone()).or_default().clone(),
            settled: common.to_settle.settled.clone(),
            dead: common.to_settle.dead.clone(),
        });
        self.senders.spawn(sender.run(blocks_end, budget, common.abandon_sending.clone()));
        Ok(())
    }

    fn start_settling(&mut self, settings: &Settings, store: Store, flows: Vec<SettlerFlow>, inlets: Inlets) {
        let mailboxes = self.mailboxes.clone();
        let bell = move || mailboxes.iter().for_each(|mailbox| crate::file::budget::Wake::wake(&**mailbox));
        let letters = DeadLetters::new(settings.dead_letter_file.clone(), settings.dead_letter_max_bytes);
        let settler = Settler::new(store, letters, flows, Box::new(bell));
        self.settler = Some(tokio::spawn(settler.run(inlets, self.abandon_settling.clone())));
    }

    /// Stops reading, waits until everything is settled or the time is over, and stores how far
    /// it came.
    pub async fn stop(mut self) -> Ended {
        tracing::info!(
            timeout_millis = self.shutdown_timeout.as_millis() as u64,
            "stopping: what was read is delivered first"
        );
        self.mailboxes.iter().for_each(|mailbox| mailbox.stop());
        // The end of a stage closes the channel to the next, so that each drains in its turn.
        let drained = tokio::time::timeout(self.shutdown_timeout, async {
            while self.records.join_next().await.is_some() {}
            let mut drained = true;
            while let Some(ending) = self.senders.join_next().await {
                drained &= matches!(ending, Ok(Ending::Drained));
            }
            drained
        });
        let drained = drained.await.unwrap_or(false);
        if !drained {
            tracing::warn!(
                "not everything was delivered in time; the rest is delivered after the next start"
            );
            self.abandon_sending.cancel();
            self.mailboxes.iter().for_each(|mailbox| mailbox.abandon());
            self.records.shutdown().await;
            while self.senders.join_next().await.is_some() {}
            self.abandon_settling.cancel();
        }
        let settler = self.settler.take().expect("a started agent settles");
        let stored = settler.await.is_ok_and(|summary| summary.stored);
        if !stored {
            tracing::error!(
                "the last checkpoints could not be stored: some lines are sent again after the next start"
            );
        }
        if drained && stored { Ended::Drained } else { Ended::OutOfTime }
    }
}

/// What can be seen of a flow.
fn on_board(
    flow: &Flow,
    counters: &Arc<FlowCounters>,
    health: &Arc<Health>,
    credentials: Arc<CredentialsReport>,
    budget: &Arc<FlowBudget>,
) -> Arc<FlowBoard> {
    let budget = budget.clone();
    Arc::new(FlowBoard {
        name: flow.name.clone(),
        key: flow.key.as_str().into(),
        destination: flow.send.destination.to_string(),
        counters: counters.clone(),
        health: health.clone(),
        credentials,
        memory_used: Box::new(move || budget.used() as u64),
        draining: false.into(),
    })
}

fn open_state(settings: &Settings) -> Result<(Store, Vec<Resumed>), StartError> {
    let now = SystemTime::now();
    let (mut store, warnings) = Store::open(&settings.checkpoint_file, now)?;
    for warning in warnings {
        tracing::error!("{warning}");
    }
    let resumed = resume(settings, &mut store, now)?;
    Ok((store, resumed))
}

/// What each flow goes on from, in the order of the flows.
pub fn resume(settings: &Settings, store: &mut Store, now: SystemTime) -> Result<Vec<Resumed>, StartError> {
    let mut patterns = Vec::new();
    for flow in &settings.flows {
        let built = Patterns::try_new(&flow.file.patterns, &flow.file.excludes);
        patterns.push(built.map_err(|error| StartError::Pattern { flow: flow.name.clone(), error })?);
    }
    let matches: Vec<_> =
        patterns.iter().map(|patterns| move |path: &std::path::Path| patterns.matches(path)).collect();
    let prefixes: Vec<String> =
        settings.flows.iter().map(|flow| format!("{}#", flow.send.destination)).collect();
    let identities: Vec<FlowIdentity<'_>> = settings
        .flows
        .iter()
        .enumerate()
        .map(|(n, flow)| FlowIdentity {
            key: &flow.key,
            destination_prefix: &prefixes[n],
            matches: &matches[n],
        })
        .collect();
    Ok(store.resume(&identities, now)?)
}

/// The same in the words of the file stage.
pub fn past(resumed: Resumed) -> Past {
    // A clock that was ahead at the first start must not make every file an old one.
    let first_start = resumed.first_start.min(SystemTime::now());
    let first_start = first_start.duration_since(UNIX_EPOCH).unwrap_or_default();
    Past {
        known: resumed.known,
        first_start_millis: i64::try_from(first_start.as_millis()).unwrap_or(i64::MAX),
        is_first_start: resumed.is_first,
    }
}

fn channels() -> (ToSettle, Inlets) {
    let (notes, notes_end) = mpsc::channel(SETTLED);
    let (settled, settled_end) = mpsc::channel(SETTLED);
    let (dead, dead_end) = mpsc::channel(16);
    let (oversized, oversized_end) = mpsc::channel(16);
    let inlets = Inlets { notes: notes_end, settled: settled_end, dead: dead_end, oversized: oversized_end };
    (ToSettle { notes, settled, dead, oversized }, inlets)
}

fn tailers(
    flow: &Flow,
    resumed: Resumed,
    counters: &Arc<FlowCounters>,
    common: &Common,
) -> Result<Tailers, StartError> {
    let parts = Parts {
        key: flow.key.as_str().into(),
        flow: flow.name.as_str().into(),
        ids: common.ids.clone(),
        past: past(resumed),
        counters: counters.clone(),
        max_open: common.max_open,
    };
    Tailers::try_new(flow.file.clone(), parts)
        .map_err(|error| StartError::Pattern { flow: flow.name.clone(), error })
}

/// Between how many flows the memory for copies is shared: those that put events together.
fn flows_that_copy(settings: &Settings) -> usize {
    settings.flows.iter().filter(|flow| flow.record.multi_line.is_some()).count().max(1)
}

/// The system shows at most 15 bytes of it.
fn thread_name(flow: &str) -> String {
    flow.chars().filter(|character| *character != '\0').collect()
}

/// Takes as many descriptors as the system gives; how many of them the tails may keep open.
fn raise_open_files() -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files cannot be raised");
    }
    let current = getrlimit(Resource::Nofile).current.unwrap_or(1 << 20);
    usize::try_from(current).unwrap_or(usize::MAX).min(1 << 20) * 3 / 4
}

async fn show_progress(flows: Vec<(String, Arc<FlowCounters>)>) {
    let mut shown: Vec<(Progress, _)> = flows.into_iter().map(|flow| (Progress::default(), flow)).collect();
    let mut tick = tokio::time::interval(progress::EVERY);
    tick.tick().await;
    loop {
        tick.tick().await;
        for (progress, (name, counters)) in &mut shown {
            progress.report(counters).log(name);
        }
    }
}
