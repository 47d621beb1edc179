//! One running flow: a thread that reads files, a task that makes records of what was read, a
//! task that sends them, the channels between them, and how they end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::{Common, StartError};
use crate::config::Flow;
use crate::file::FlowBudget;
use crate::file::handover::HeldFiles;
use crate::file::mailbox::Mailbox;
use crate::file::stage::{Ahead, CHANNEL_CAPACITY, Stage};
use crate::file::tailers::{Parts, Past, Tailers};
use crate::file::watch::Watch;
use crate::observe::{Board, FlowBoard, FlowCounters, Pulses};
use crate::record::copies::Copies;
use crate::record::stage::Outlets;
use crate::record::{Block, Recorder};
use crate::send::{Bodies, Client, Ending, Sender, Setup};
use crate::settle::Resumed;

/// Blocks on their way to the send stage: what waits here is held by the budget, and what comes
/// fresh to a file waits behind it.
const BLOCKS: usize = 4;

/// A thread that waits for a disk is not waited for longer than this once nobody listens to it.
const THREAD_ENDS_WITHIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct RunningFlow {
    pub flow: Flow,
    pub bodies: Bodies,
    pub copies: Arc<Copies>,
    on_board: Arc<FlowBoard>,
    board: Arc<Board>,
    watch: Arc<Watch>,
    mailbox: Arc<Mailbox>,
    thread_ended: oneshot::Receiver<HeldFiles>,
    /// The task that makes records, and the one that sends them and says how it ended.
    tasks: JoinSet<Option<Ending>>,
    records: AbortHandle,
    /// Everything that was read is settled, as far as the tasks that ended say.
    drained: bool,
    abandon: CancellationToken,
}

/// What can be prepared before anything of a flow runs.
#[derive(Debug)]
pub struct Prepared {
    pub flow: Flow,
    pub client: Client,
    pub on_board: Arc<FlowBoard>,
    budget: Arc<FlowBudget>,
}

impl Prepared {
    pub fn new(flow: Flow, client: Client, common: &Common) -> Self {
        let budget = common.budget.flow();
        let used = budget.clone();
        let on_board = Arc::new(FlowBoard {
            name: flow.name.clone(),
            key: flow.key.as_str().into(),
            destination: flow.send.destination.to_string(),
            counters: Arc::default(),
            health: Arc::default(),
            troubles: Arc::default(),
            credentials: common.clients.report(&flow.send.credentials),
            memory_used: Box::new(move || used.used() as u64),
            pulses: Pulses::default(),
            draining: false.into(),
        });
        Prepared { flow, client, on_board, budget }
    }
}

impl RunningFlow {
    /// Starts the three stages.
    pub fn start(prepared: Prepared, resumed: Resumed, common: &mut Common) -> Result<Self, StartError> {
        let Prepared { flow, client, on_board, budget } = prepared;
        let counters = &on_board.counters;
        let (events, events_end) = mpsc::channel(CHANNEL_CAPACITY);
        let (blocks, blocks_end) = mpsc::channel(BLOCKS);
        let mailbox = Arc::new(Mailbox::default());
        common.register(&mailbox);
        let stage = Stage {
            tailers: tailers(&flow, resumed, &on_board, common)?,
            mailbox: mailbox.clone(),
            watch: common.watch.clone(),
            budget: budget.clone(),
            outlet: events,
            notes: common.to_settle.notes.clone(),
            pulse: on_board.pulses.reading.clone(),
            ahead: Ahead::default(),
        };
        let thread_ended = start_thread(&flow, stage)?;

        let recorder = Recorder::new(flow.record.clone(), common.sizes.copies);
        let copies = recorder.copies().clone();
        let outlets = outlets(&flow, blocks, counters, common);
        let mut tasks = JoinSet::new();
        let recording = crate::record::stage::run(recorder, events_end, outlets);
        let recording = on_board.pulses.recording.clone().of_task(recording);
        let records = tasks.spawn(async {
            recording.await;
            None
        });

        common.board.put(on_board.clone());
        let bodies = Bodies::new(common.sizes.bodies, common.sizes.request);
        let sender = Sender::new(Setup {
            flow: flow.key.as_str().into(),
            name: flow.name.as_str().into(),
            options: flow.send.clone(),
            client,
            clients: common.clients.clone(),
            counters: counters.clone(),
            health: on_board.health.clone(),
            bodies: bodies.clone(),
            accepted: common.accepted.entry(flow.send.address()).or_default().clone(),
            lane: common.lanes.of(&flow.send),
            settled: common.to_settle.settled.clone(),
            dead: common.to_settle.dead.clone(),
        });
        let abandon = CancellationToken::new();
        let sending = sender.run(blocks_end, budget, abandon.clone());
        let sending = on_board.pulses.sending.clone().of_task(sending);
        tasks.spawn(async { Some(sending.await) });
        Ok(RunningFlow {
            flow,
            bodies,
            copies,
            on_board,
            board: common.board.clone(),
            watch: common.watch.clone(),
            mailbox,
            thread_ended,
            tasks,
            records,
            drained: true,
            abandon,
        })
    }

    /// Nothing new is read from now on.
    pub fn begin_to_end(&self) {
        self.on_board.draining.store(true, Ordering::Relaxed);
        self.mailbox.stop();
    }

    /// The same, for another flow that may go on with its files.
    pub fn begin_to_leave(&self) {
        self.on_board.draining.store(true, Ordering::Relaxed);
        self.mailbox.stop_and_keep();
    }

    /// Waits until everything that was read is settled, as far as the stages before the settle
    /// stage are concerned; whether it is. One may stop waiting, and ask again.
    pub async fn drain(&mut self) -> bool {
        // The end of a stage closes the channel to the next, so that each drains in its turn.
        while let Some(ended) = self.tasks.join_next().await {
            self.drained &= matches!(ended, Ok(None | Some(Ending::Drained)));
        }
        self.drained
    }

    /// Ends at once what did not end in time: it is sent again when its files are read again.
    pub async fn abandon(&mut self) {
        self.abandon.cancel();
        self.mailbox.abandon();
        // It may wait for a thread that hangs on a dead disk.
        self.records.abort();
        while self.tasks.join_next().await.is_some() {}
        self.drained = false;
    }

    /// Takes it off the board once its tasks have ended. After this nothing more is heard of it.
    /// Gives back its open files.
    pub async fn leave(&mut self) -> HeldFiles {
        // A thread that hangs on a dead disk finds its channels closed when it comes back.
        let held = tokio::time::timeout(THREAD_ENDS_WITHIN, &mut self.thread_ended).await;
        // Until it ends a look at its folders may ask for their events again.
        self.watch.leave(&self.mailbox);
        self.board.take_off(&self.on_board);
        held.ok().and_then(Result::ok).unwrap_or_default()
    }
}

/// Resolves what waits for it when the thread has ended.
fn start_thread(flow: &Flow, stage: Stage) -> Result<oneshot::Receiver<HeldFiles>, StartError> {
    let (ends, ended) = oneshot::channel();
    std::thread::Builder::new().name(thread_name(&flow.name)).spawn(move || {
        // Whoever started the flow may be gone.
        let _ = ends.send(stage.run());
    })?;
    Ok(ended)
}

/// The system shows at most 15 bytes of it.
fn thread_name(flow: &str) -> String {
    flow.chars().filter(|character| *character != '\0').collect()
}

fn outlets(
    flow: &Flow,
    blocks: mpsc::Sender<Block>,
    counters: &Arc<FlowCounters>,
    common: &Common,
) -> Outlets {
    Outlets {
        flow: flow.key.as_str().into(),
        name: flow.name.clone(),
        blocks,
        settled: common.to_settle.settled.clone(),
        dead: common.to_settle.oversized.clone(),
        counters: counters.clone(),
    }
}

/// What was resumed, in the words of the file stage.
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

fn tailers(
    flow: &Flow,
    resumed: Resumed,
    on_board: &FlowBoard,
    common: &mut Common,
) -> Result<Tailers, StartError> {
    let parts = Parts {
        key: flow.key.as_str().into(),
        flow: flow.name.as_str().into(),
        ids: common.ids.clone(),
        past: past(resumed),
        counters: on_board.counters.clone(),
        troubles: on_board.troubles.clone(),
        max_open: common.max_open.clone(),
        removed: common.removed.clone(),
    };
    let mut tailers = Tailers::try_new(flow.file.clone(), parts)
        .map_err(|error| StartError::Pattern { flow: flow.name.clone(), error })?;
    tailers.go_on_with(&mut common.held);
    Ok(tailers)
}
