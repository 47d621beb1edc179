//! All of the running agent that can be seen from outside: the wiring puts each flow on the
//! board when it starts and takes it off when it ends; the status and the metrics read it.
//!
//! It holds no file: those are asked of the settle stage, which knows them.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant, SystemTime};

use super::checkpoints::Checkpoints;
use super::counters::FlowCounters;
use super::credentials_report::CredentialsReport;
use super::health::{Health, LastError};
use super::pulse::{Beat, Pulse, Pulses};
use super::troubles::Troubles;

/// The whole agent.
#[derive(Debug)]
pub struct Board {
    pub started_at: SystemTime,
    pub started: Instant,
    pub config_file: PathBuf,
    pub checkpoint_file: PathBuf,
    /// Bytes.
    pub memory_budget: AtomicU64,
    /// The settle stage writes it.
    pub checkpoints: Arc<Checkpoints>,
    /// The settle stage's.
    pub settling: Arc<Pulse>,
    dead_letters: Mutex<Option<DeadLetterFile>>,
    configuration: Mutex<Configuration>,
    waiting: Mutex<Option<String>>,
    flows: RwLock<Vec<Arc<FlowBoard>>>,
}

/// The configuration that is used, and what became of the last attempt to change it.
#[derive(Clone, Debug)]
pub struct Configuration {
    pub loaded_at: SystemTime,
    pub reloads: u64,
    pub failed_reloads: u64,
    pub last_error: Option<LastError>,
}

/// Where the records that were given up are: this file, those that it was rotated to
/// (`.1`, `.2` and so on, the oldest first), and what was refused again of each (`.refused`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterFile {
    pub path: PathBuf,
    /// How large they may become together.
    pub max_bytes: u64,
}

impl DeadLetterFile {
    /// Now, since somebody may have moved one away. Bytes; 0 if there is none.
    pub fn size(&self) -> u64 {
        self.files().iter().map(|(_, bytes)| bytes).sum()
    }

    /// The number of the next file that it is rotated to.
    pub fn next_number(&self) -> u64 {
        self.files().into_iter().filter_map(|(number, _)| number).max().unwrap_or(0) + 1
    }

    /// Their numbers, where they have one, and their sizes.
    fn files(&self) -> Vec<(Option<u64>, u64)> {
        let (Some(folder), Some(name)) = (self.path.parent(), self.path.file_name()) else {
            return Vec::new();
        };
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        let files = entries.filter_map(Result::ok).filter_map(|entry| {
            let rest = entry.file_name().to_str()?.strip_prefix(name.to_str()?)?.to_owned();
            let number = rest.strip_suffix(".refused").unwrap_or(&rest);
            let number = match number.strip_prefix('.') {
                Some(digits) => Some(digits.parse().ok()?),
                None if number.is_empty() => None,
                None => return None,
            };
            Some((number, entry.metadata().ok()?.len()))
        });
        files.collect()
    }
}

/// A stage that makes no progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    pub flow: Option<String>,
    /// What it does.
    pub stage: &'static str,
    pub time: Duration,
    /// It waits for a disk or a file server.
    pub in_kernel: bool,
}

/// One flow.
pub struct FlowBoard {
    pub name: String,
    /// What the flow's rows are stored under.
    pub key: Arc<str>,
    pub destination: String,
    pub counters: Arc<FlowCounters>,
    pub health: Arc<Health>,
    /// The files that cannot be read.
    pub troubles: Arc<Troubles>,
    pub credentials: Arc<CredentialsReport>,
    pub pulses: Pulses,
    /// How many bytes of the memory budget it holds now.
    pub memory_used: Box<dyn Fn() -> u64 + Send + Sync>,
    pub draining: AtomicBool,
}

impl Board {
    pub fn new(config_file: PathBuf, checkpoint_file: PathBuf, memory_budget: u64) -> Self {
        let started_at = SystemTime::now();
        let loaded = Configuration { loaded_at: started_at, reloads: 0, failed_reloads: 0, last_error: None };
        Board {
            started_at,
            started: Instant::now(),
            config_file,
            checkpoint_file,
            memory_budget: AtomicU64::new(memory_budget),
            checkpoints: Arc::default(),
            settling: Arc::default(),
            dead_letters: Mutex::default(),
            configuration: Mutex::new(loaded),
            waiting: Mutex::default(),
            flows: RwLock::default(),
        }
    }

    /// In the order in which they were put there.
    pub fn flows(&self) -> Vec<Arc<FlowBoard>> {
        self.flows.read().unwrap().clone()
    }

    pub fn put(&self, flow: Arc<FlowBoard>) {
        self.flows.write().unwrap().push(flow);
    }

    pub fn take_off(&self, flow: &Arc<FlowBoard>) {
        self.flows.write().unwrap().retain(|other| !Arc::ptr_eq(other, flow));
    }

    /// The stages that have worked on one thing for longer than `limit`, and those that the kernel
    /// has kept waiting for so long.
    pub fn stuck(&self, limit: Duration) -> Vec<Stuck> {
        let mut stuck = Vec::new();
        let mut look = |flow: Option<&FlowBoard>, stage, pulse: &Pulse| {
            let (time, in_kernel) = match pulse.beat() {
                Beat::Working(time) => (time, false),
                Beat::InKernel(time) => (time, true),
                Beat::Resting => return,
            };
            if time > limit {
                stuck.push(Stuck { flow: flow.map(|flow| flow.name.clone()), stage, time, in_kernel });
            }
        };
        look(None, "stores the positions", &self.settling);
        for flow in self.flows() {
            flow.pulses.all().iter().for_each(|(stage, pulse)| look(Some(&flow), stage, pulse));
        }
        stuck
    }

    /// None until the settle stage was started.
    pub fn dead_letters(&self) -> Option<DeadLetterFile> {
        self.dead_letters.lock().unwrap().clone()
    }

    pub fn dead_letters_at(&self, file: DeadLetterFile) {
        *self.dead_letters.lock().unwrap() = Some(file);
    }

    pub fn configuration(&self) -> Configuration {
        self.configuration.lock().unwrap().clone()
    }

    /// Why the flows of a new configuration cannot begin yet; none once they have.
    pub fn flows_wait(&self, error: Option<String>) {
        *self.waiting.lock().unwrap() = error;
    }

    pub fn waiting(&self) -> Option<String> {
        self.waiting.lock().unwrap().clone()
    }

    /// The configuration was read anew and is used now.
    pub fn reloaded(&self) {
        let mut configuration = self.configuration.lock().unwrap();
        configuration.loaded_at = SystemTime::now();
        configuration.reloads += 1;
        configuration.last_error = None;
    }

    /// The configuration could not be changed; the one before is still used.
    pub fn reload_failed(&self, text: String) {
        let mut configuration = self.configuration.lock().unwrap();
        configuration.failed_reloads += 1;
        configuration.last_error = Some(LastError { text, at: SystemTime::now() });
    }
}

impl FlowBoard {
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for FlowBoard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlowBoard").field("name", &self.name).finish_non_exhaustive()
    }
}
