//! The wiring: what the agent is made of, how it takes another configuration, and how it stops.
//!
//! For each flow there are a thread that reads files, a task that makes records of what was
//! read, and a task that sends them; one task for the whole agent stores what is safe. Flows
//! come and go while the agent runs; the others do not notice.

/// One running flow.
mod flow;
/// Which flows a new configuration ends and begins.
mod reload;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::config::{Flow, Needs, Settings, Shares};
use crate::file::budget::Wake;
use crate::file::handover::HeldFiles;
use crate::file::listing::is_of;
use crate::file::mailbox::Mailbox;
use crate::file::pattern::{PatternError, Patterns};
use crate::file::removed::Removed;
use crate::file::tailers::{Past, TailIds};
use crate::file::watch::Watch;
use crate::file::{Budget, TailNote, TailState};
use crate::observe::progress::{self, Progress};
use crate::observe::server::StatusOptions;
use crate::observe::survey::Question;
use crate::observe::{Board, DeadLetterFile, crash_point};
use crate::send::{Accepted, Address, Client, ClientError, Clients, Lanes, inquiry};
use crate::settle::{
    DeadLetters, FlowChange, FlowIdentity, Inlets, Resumed, Settler, SettlerFlow, Store, StoreError, Summary,
};
use flow::{Prepared, RunningFlow};

/// Messages on their way to the settle stage.
const SETTLED: usize = 1024;

/// Questions about files that wait for their answer.
const QUESTIONS: usize = 4;

/// How long the start of a flow may wait to hear how long its records may be.
const STREAM_ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// After a reload that the database refused it is tried again so much later.
const RETRY_RESUME: Duration = Duration::from_secs(2);

/// Why the agent, or a flow of it, cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Resume(Arc<StoreError>),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("flow `{flow}`: filePattern: {error}")]
    Pattern { flow: String, error: PatternError },
    #[error("the thread that reads the files of a flow cannot be started: {0}")]
    Thread(#[from] std::io::Error),
    #[error("the stage that stores the positions has ended")]
    Ended,
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
    /// For those who want to know of the files.
    pub questions: mpsc::Sender<Question>,
    common: Common,
    flows: Vec<RunningFlow>,
    settler: tokio::task::JoinHandle<Summary>,
    abandon_settling: CancellationToken,
    shutdown_timeout: Duration,
    fixed: Fixed,
}

/// What only a restart changes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fixed {
    checkpoint_file: PathBuf,
    dead_letter_file: PathBuf,
    dead_letter_max_bytes: u64,
    checkpoint_time_to_live: Duration,
    status: StatusOptions,
}

/// The ends of the channels to the settle stage.
#[derive(Clone)]
struct ToSettle {
    notes: mpsc::Sender<TailNote>,
    settled: mpsc::Sender<Vec<crate::file::Settled>>,
    dead: mpsc::Sender<crate::send::DeadLetter>,
    oversized: mpsc::Sender<(Arc<str>, crate::record::Dead)>,
    changes: mpsc::Sender<FlowChange>,
}

/// What the flows share.
struct Common {
    board: Arc<Board>,
    budget: Arc<Budget>,
    watch: Arc<Watch>,
    ids: Arc<TailIds>,
    clients: Arc<Clients>,
    accepted: HashMap<Address, Accepted>,
    lanes: Lanes,
    to_settle: ToSettle,
    mailboxes: Arc<Mutex<Vec<Weak<Mailbox>>>>,
    /// How many files each flow may keep open.
    max_open: Arc<AtomicUsize>,
    /// What the deleted files of all flows hold of the disks.
    removed: Arc<Removed>,
    sizes: Sizes,
    /// Open files of flows that have ended, for those that begin.
    held: HeldFiles,
}

/// What each flow may hold beside its share of the budget. Bytes.
#[derive(Clone, Copy)]
struct Sizes {
    bodies: usize,
    request: usize,
    copies: usize,
}

impl Common {
    /// The flow with this mailbox is woken when memory comes back or a position is stored.
    fn register(&self, mailbox: &Arc<Mailbox>) {
        self.budget.ring_on_release(Arc::downgrade(&(mailbox.clone() as _)));
        let mut mailboxes = self.mailboxes.lock().unwrap();
        mailboxes.retain(|mailbox| mailbox.strong_count() > 0);
        mailboxes.push(Arc::downgrade(mailbox));
    }

    /// Shares the memory and the descriptors out among these flows.
    fn share_out(&mut self, settings: &Settings) {
        let flows = settings.flows.len();
        let that_copy = settings.flows.iter().filter(|flow| flow.record.multi_line.is_some()).count();
        let compresses = settings.flows.iter().any(|flow| flow.send.compression.is_some());
        let needs = Needs { copies: that_copy > 0, compresses };
        let shares = Shares::with(settings.memory_budget, flows, needs);
        self.budget.resize(shares.read, flows);
        self.max_open.store(raise_open_files() / flows.max(1), Ordering::Relaxed);
        self.removed.set_limit(settings.max_open_removed_bytes);
        self.board.memory_budget.store(settings.memory_budget as u64, Ordering::Relaxed);
        self.sizes = Sizes {
            bodies: shares.bodies / flows.max(1),
            request: shares.request(flows),
            copies: shares.copies / 2 / that_copy.max(1),
        };
    }
}

impl Agent {
    /// Opens the state, and starts every flow, each with one of the clients.
    pub async fn start(
        settings: Settings,
        board: Arc<Board>,
        clients: Arc<Clients>,
    ) -> Result<Agent, StartError> {
        for warning in &settings.warnings {
            tracing::warn!("{warning}");
        }
        let (mut store, warnings) = Store::open(&settings.checkpoint_file, SystemTime::now())?;
        store.keep_unseen(settings.checkpoint_time_to_live);
        for warning in warnings {
            tracing::error!("{warning}");
        }
        let (to_settle, questions, inlets) = channels();
        let common = Common {
            board,
            budget: Budget::new(0, 0),
            watch: Watch::new(),
            ids: Arc::new(TailIds::starting_at(store.first_tail().0)),
            clients,
            accepted: HashMap::new(),
            lanes: Lanes::default(),
            to_settle,
            mailboxes: Arc::default(),
            max_open: Arc::default(),
            removed: Arc::default(),
            sizes: Sizes { bodies: 0, request: 0, copies: 0 },
            held: HeldFiles::new(),
        };
        let abandon_settling = CancellationToken::new();
        let settling = settler(&settings, store, &common).run(inlets, abandon_settling.clone());
        let settling = common.board.settling.clone().of_task(settling);
        let mut agent = Agent {
            questions,
            flows: Vec::new(),
            settler: tokio::spawn(settling),
            abandon_settling,
            shutdown_timeout: settings.shutdown_timeout,
            fixed: Fixed::of(&settings),
            common,
        };
        let flows = agent.prepare(settings.flows.clone()).await?;
        agent.common.share_out(&settings);
        let resumed = agent.resume(&settings, &[], &flows).await?;
        crash_point("start.after_resume");
        agent.start_flows(flows, resumed)?;
        tokio::spawn(show_progress(agent.common.board.clone()));
        tracing::info!(flows = settings.flows.len(), version = env!("CARGO_PKG_VERSION"), checkpoints = %settings.checkpoint_file.display(), "the agent runs");
        Ok(agent)
    }

    /// Takes another configuration: flows that are asked for as before go on untouched, the
    /// others drain and end, new ones begin. On an error that is known beforehand nothing is
    /// changed. One may stop waiting for it only to [stop](Self::stop).
    pub async fn reload(&mut self, settings: Settings) -> Result<(), StartError> {
        for warning in &settings.warnings {
            tracing::warn!("{warning}");
        }
        let running: Vec<&Flow> = self.flows.iter().map(|running| &running.flow).collect();
        let plan = reload::plan(&running, &settings.flows);
        let begin: Vec<Flow> = plan.begin.iter().map(|&at| settings.flows[at].clone()).collect();
        let begin = self.prepare(begin).await?;
        self.fixed.warn_of_changes(&Fixed::of(&settings));
        self.shutdown_timeout = settings.shutdown_timeout;
        let (ended, begun, kept) = (plan.end.len(), begin.len(), plan.kept);
        let removed = self.end_flows(&plan.end).await;
        crash_point("reload.after_drain");
        self.common.share_out(&settings);
        self.resize_flows();
        let resumed = self.resume_at_last(&settings, &removed, &begin).await?;
        crash_point("reload.after_resume");
        self.start_flows(begin, resumed)?;
        self.let_go_of_files();
        tracing::info!(ended, begun, kept, "the configuration was read again and is used now");
        Ok(())
    }

    /// Lets flows, by their places, drain and end; what they were.
    async fn end_flows(&mut self, places: &[usize]) -> Vec<Flow> {
        for &at in places {
            tracing::info!(
                flow = self.flows[at].flow.name,
                "the flow is removed or changed: what was read is delivered first"
            );
            self.flows[at].begin_to_leave();
        }
        let until = tokio::time::Instant::now() + self.shutdown_timeout;
        for &at in places {
            let flow = &mut self.flows[at];
            if !tokio::time::timeout_at(until, flow.drain()).await.unwrap_or(false) {
                tracing::warn!(
                    flow = flow.flow.name,
                    "not everything that was read could be delivered before the flow ends; the rest is delivered when its files are read again"
                );
                flow.abandon().await;
            }
            self.common.held.extend(flow.leave().await);
        }
        let mut removed = Vec::new();
        for &at in places.iter().rev() {
            removed.push(self.flows.remove(at).flow);
        }
        removed
    }

    /// Closes the files of removed flows that no flow goes on with.
    fn let_go_of_files(&mut self) {
        for (_, file) in self.common.held.drain().filter(|(_, file)| file.nameless_bytes > 0) {
            tracing::error!(
                file = %file.path.display(), bytes = file.nameless_bytes,
                "the flow of a file that was deleted or moved away has ended before all of it could be read: these bytes are lost"
            );
        }
    }

    /// What needs no running flow: what fails here fails before anything is changed.
    async fn prepare(&self, flows: Vec<Flow>) -> Result<Vec<Prepared>, StartError> {
        let mut prepared = Vec::new();
        for flow in flows {
            patterns(&flow)?;
            let client = self.common.clients.client(&flow.name, &flow.send).await?;
            prepared.push((flow, client));
        }
        allow_long_records(&mut prepared).await;
        Ok(prepared.into_iter().map(|(flow, client)| Prepared::new(flow, client, &self.common)).collect())
    }

    /// Asks the settle stage what these flows go on from, by their keys. Those that were removed
    /// are forgotten there.
    async fn resume(
        &self,
        settings: &Settings,
        removed: &[Flow],
        begin: &[Prepared],
    ) -> Result<HashMap<String, Resumed>, StartError> {
        let begins = |flow: &Flow| begin.iter().any(|prepared| prepared.flow.key == flow.key);
        let mut flows = Vec::new();
        for flow in &settings.flows {
            let before = removed.iter().find(|removed| removed.key == flow.key);
            flows.push(identity(flow, begins(flow), before)?);
        }
        let added = begin.iter().map(|prepared| SettlerFlow {
            key: prepared.flow.key.as_str().into(),
            name: prepared.flow.name.clone(),
            destination: prepared.flow.send.destination.to_string(),
            counters: prepared.on_board.counters.clone(),
            known: Vec::new(),
        });
        let (reply, answer) = oneshot::channel();
        let removed = removed.iter().map(|flow| flow.key.as_str().into()).collect();
        let change = FlowChange { removed, flows, added: added.collect(), reply };
        let keys = settings.flows.iter().map(|flow| flow.key.clone());
        self.common.to_settle.changes.send(change).await.map_err(|_| StartError::Ended)?;
        let resumed = answer.await.map_err(|_| StartError::Ended)?.map_err(StartError::Resume)?;
        Ok(keys.zip(resumed).collect())
    }

    /// As [`resume`](Self::resume), and goes on trying while the database cannot be written:
    /// without stored positions nothing may be read.
    async fn resume_at_last(
        &self,
        settings: &Settings,
        removed: &[Flow],
        begin: &[Prepared],
    ) -> Result<HashMap<String, Resumed>, StartError> {
        loop {
            match self.resume(settings, removed, begin).await {
                Err(StartError::Resume(error)) => {
                    tracing::error!(
                        %error,
                        "the new flows cannot begin until their positions can be read and stored; it is tried \
                         again every 2 seconds; check the disk and the permissions"
                    );
                    self.common.board.flows_wait(Some(error.to_string()));
                    tokio::time::sleep(RETRY_RESUME).await;
                }
                done => {
                    self.common.board.flows_wait(None);
                    return done;
                }
            }
        }
    }

    fn start_flows(
        &mut self,
        flows: Vec<Prepared>,
        mut resumed: HashMap<String, Resumed>,
    ) -> Result<(), StartError> {
        for prepared in flows {
            let resumed = resumed.remove(&prepared.flow.key).expect("each flow was resumed");
            self.flows.push(RunningFlow::start(prepared, resumed, &mut self.common)?);
        }
        Ok(())
    }

    /// Gives each running flow its share of the memory anew.
    fn resize_flows(&self) {
        for flow in &self.flows {
            flow.bodies.resize(self.common.sizes.bodies, self.common.sizes.request);
            flow.copies.set_limit(self.common.sizes.copies);
        }
    }

    /// Stops reading, waits until everything is settled or the time is over, and stores how far
    /// it came.
    pub async fn stop(mut self) -> Ended {
        tracing::info!(
            timeout_millis = self.shutdown_timeout.as_millis() as u64,
            "stopping: what was read is delivered first"
        );
        self.flows.iter().for_each(RunningFlow::begin_to_end);
        let flows = &mut self.flows;
        let drained = tokio::time::timeout(self.shutdown_timeout, async {
            let mut drained = true;
            for flow in flows {
                drained &= flow.drain().await;
            }
            drained
        });
        let drained = drained.await.unwrap_or(false);
        crash_point("shutdown.after_drain");
        if !drained {
            tracing::warn!(
                "not everything was delivered in time; the rest is delivered after the next start"
            );
            for flow in &mut self.flows {
                flow.abandon().await;
            }
            self.abandon_settling.cancel();
        }
        // The settle stage ends when nobody is left who could tell it something.
        drop((self.flows, self.common));
        let stored = self.settler.await.is_ok_and(|summary| summary.stored);
        if !stored {
            tracing::error!(
                "the last checkpoints could not be stored: some lines are sent again after the next start"
            );
        }
        if drained && stored { Ended::Drained } else { Ended::OutOfTime }
    }
}

impl Fixed {
    fn of(settings: &Settings) -> Self {
        Fixed {
            checkpoint_file: settings.checkpoint_file.clone(),
            dead_letter_file: settings.dead_letter_file.clone(),
            dead_letter_max_bytes: settings.dead_letter_max_bytes,
            checkpoint_time_to_live: settings.checkpoint_time_to_live,
            status: settings.status.clone(),
        }
    }

    fn warn_of_changes(&self, new: &Fixed) {
        let changed = [
            ("checkpointFile", self.checkpoint_file != new.checkpoint_file),
            ("deadLetterFile", self.dead_letter_file != new.dead_letter_file),
            ("deadLetterMaxBytes", self.dead_letter_max_bytes != new.dead_letter_max_bytes),
            ("checkpointTimeToLiveDays", self.checkpoint_time_to_live != new.checkpoint_time_to_live),
            ("status.socket", self.status.socket != new.status.socket),
            ("status.listen", self.status.listen != new.status.listen),
            ("status.unreadyAfterMillis", self.status.unready_after != new.status.unready_after),
        ];
        for (key, _) in changed.iter().filter(|(_, changed)| *changed) {
            tracing::warn!(
                key,
                "a reload does not change this key: the old value is used until the agent is restarted"
            );
        }
    }
}

/// Streams that take longer records than usual are asked, all at once, and not for long: one that
/// does not answer gets records of the usual size.
async fn allow_long_records(flows: &mut [(Flow, Client)]) {
    let mut asked = HashMap::new();
    for (flow, client) in flows.iter().filter(|(flow, _)| flow.follows_stream()) {
        asked.entry(flow.send.address()).or_insert_with(|| {
            let client = client.clone();
            tokio::spawn(async move { inquiry::max_record_bytes(&client, STREAM_ANSWERS_WITHIN).await })
        });
    }
    let mut allowed = HashMap::new();
    for (place, answer) in asked {
        allowed.insert(place, answer.await.expect("a question does not panic"));
    }
    for (flow, _) in flows.iter_mut().filter(|(flow, _)| flow.follows_stream()) {
        let Some(Some(bytes)) = allowed.get(&flow.send.address()) else { continue };
        let before = flow.record.max_record_bytes;
        let longest = flow.allow_records(*bytes);
        if longest != before {
            tracing::info!(
                flow = flow.name,
                stream_allows = bytes,
                longest,
                "the stream says how long a record may be; what memoryBudget allows is the other bound"
            );
        }
    }
}

/// A task that only stores what it hears, and a bell that wakes every flow.
fn settler(settings: &Settings, store: Store, common: &Common) -> Settler {
    let mailboxes = common.mailboxes.clone();
    let bell = move || {
        mailboxes.lock().unwrap().iter().filter_map(Weak::upgrade).for_each(|mailbox| mailbox.wake());
    };
    common.board.dead_letters_at(DeadLetterFile {
        path: settings.dead_letter_file.clone(),
        max_bytes: settings.dead_letter_max_bytes,
    });
    let letters = DeadLetters::new(settings.dead_letter_file.clone(), settings.dead_letter_max_bytes);
    Settler::new(store, letters, Vec::new(), Box::new(bell), common.board.checkpoints.clone())
}

fn patterns(flow: &Flow) -> Result<Patterns, StartError> {
    Patterns::try_new(&flow.file.patterns, &flow.file.excludes)
        .map_err(|error| StartError::Pattern { flow: flow.name.clone(), error })
}

/// `before` is the flow that ran under the same key until now.
fn identity(flow: &Flow, begins: bool, before: Option<&Flow>) -> Result<FlowIdentity, StartError> {
    let (patterns, before) = (patterns(flow)?, before.map(patterns).transpose()?);
    Ok(FlowIdentity {
        key: flow.key.clone(),
        destination_prefix: format!("{}#", flow.send.destination),
        begins,
        matches: Box::new(move |tail| is_of(tail, &patterns)),
        lets_go: Box::new(move |tail| {
            tail.state == TailState::Live && before.as_ref().is_some_and(|before| before.matches(&tail.path))
        }),
    })
}

/// What an agent that starts with this store would go on from, flow by flow.
pub fn resume(settings: &Settings, store: &mut Store, now: SystemTime) -> Result<Vec<Past>, StartError> {
    let identities: Vec<FlowIdentity> =
        settings.flows.iter().map(|flow| identity(flow, true, None)).collect::<Result<_, _>>()?;
    Ok(store.resume(&identities, now)?.into_iter().map(flow::past).collect())
}

fn channels() -> (ToSettle, mpsc::Sender<Question>, Inlets) {
    let (notes, notes_end) = mpsc::channel(SETTLED);
    let (settled, settled_end) = mpsc::channel(SETTLED);
    let (dead, dead_end) = mpsc::channel(16);
    let (oversized, oversized_end) = mpsc::channel(16);
    let (changes, changes_end) = mpsc::channel(1);
    let (questions, questions_end) = mpsc::channel(QUESTIONS);
    let inlets = Inlets {
        notes: notes_end,
        settled: settled_end,
        dead: dead_end,
        oversized: oversized_end,
        changes: changes_end,
        questions: questions_end,
    };
    (ToSettle { notes, settled, dead, oversized, changes }, questions, inlets)
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

async fn show_progress(board: Arc<Board>) {
    let mut tick = tokio::time::interval(progress::EVERY);
    tick.tick().await;
    let mut shown: HashMap<Arc<str>, Progress> = HashMap::new();
    loop {
        tick.tick().await;
        let flows = board.flows();
        shown.retain(|key, _| flows.iter().any(|flow| flow.key == *key));
        for flow in flows {
            shown.entry(flow.key.clone()).or_default().report(&flow.counters).log(&flow.name);
        }
    }
}
