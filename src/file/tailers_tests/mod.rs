//! Leads the tails of a flow by hand through each row of the table of rotations.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::file::budget::{Budget, FlowBudget};
use crate::file::listing::Listing;
use crate::file::note::{Identity, Lost};
use crate::file::options::InitialPosition;
use crate::file::turns::Turn;
use crate::observe::LossReason;

mod compressed;
mod copies;
mod generations;
mod order_of_copies;
mod reading;
mod removed;
mod restarts;
mod succession;
mod unseen;

const KEY: &str = "kinesis:stream#flow";

/// A flow over one folder, its clock, and the lines that it gave out.
struct Flow {
    folder: tempfile::TempDir,
    tailers: Tailers,
    now: Duration,
    budget: Arc<FlowBudget>,
    lines: Vec<String>,
    lost: u64,
    /// Why.
    reasons: Vec<LossReason>,
    rows: BTreeMap<TailId, KnownTail>,
    offsets: BTreeMap<TailId, u64>,
    pattern: String,
    initial_position: InitialPosition,
    in_order: bool,
}

fn options(folder: &Path, pattern: &str, initial_position: InitialPosition) -> Options {
    Options {
        patterns: vec![format!("{}/{pattern}", folder.display())],
        excludes: Vec::new(),
        initial_position,
        max_line_bytes: 1 << 20,
        scan_interval: Duration::from_secs(10),
        use_events: false,
        finished_after: Duration::from_secs(30),
        in_order: false,
        shares_memory: false,
    }
}

fn tailers(options: Options, known: Vec<KnownTail>, is_first_start: bool, next: u64) -> Tailers {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let first_start_millis = if is_first_start { since_epoch.as_millis() as i64 } else { 0 };
    let past = Past { known, first_start_millis, is_first_start };
    let parts = Parts {
        key: KEY.into(),
        flow: "flow".into(),
        ids: Arc::new(TailIds::starting_at(next)),
        past,
        counters: Arc::default(),
        troubles: Arc::default(),
        max_open: Arc::new(100.into()),
        removed: Arc::default(),
    };
    Tailers::try_new(options, parts).unwrap()
}

impl Flow {
    /// From the start of all files, as a flow that was started before they were made.
    fn new(pattern: &str) -> Self {
        Self::with(tempfile::tempdir().unwrap(), pattern, InitialPosition::EndOfFile, false)
    }

    fn with(folder: tempfile::TempDir, pattern: &str, initial: InitialPosition, is_first: bool) -> Self {
        let tailers = tailers(options(folder.path(), pattern, initial), Vec::new(), is_first, 1);
        Flow {
            folder,
            tailers,
            now: Duration::from_secs(1),
            budget: Budget::new(16 << 20, 1).flow(),
            lines: Vec::new(),
            lost: 0,
            reasons: Vec::new(),
            rows: BTreeMap::new(),
            offsets: BTreeMap::new(),
            pattern: pattern.to_owned(),
            initial_position: initial,
            in_order: false,
        }
    }

    fn in_order(pattern: &str) -> Self {
        let mut flow = Flow::new(pattern);
        flow.in_order = true;
        flow.start();
        flow
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn append(&self, name: &str, text: &str) {
        File::options()
            .append(true)
            .create(true)
            .open(self.path(name))
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn copy(&self, from: &str, to: &str) {
        fs::copy(self.path(from), self.path(to)).unwrap();
    }

    fn truncate(&self, name: &str) {
        File::options().write(true).truncate(true).open(self.path(name)).unwrap();
    }

    fn rotate_by_name(&self) {
        self.rename("app.log", "app.log.1");
    }

    fn rotate_by_copy(&self) {
        self.copy("app.log", "app.log.1");
        self.truncate("app.log");
    }

    fn gzip(&self, from: &str, to: &str) {
        let mut encoder =
            flate2::write::GzEncoder::new(File::create(self.path(to)).unwrap(), flate2::Compression::fast());
        encoder.write_all(&fs::read(self.path(from)).unwrap()).unwrap();
        encoder.finish().unwrap();
        fs::remove_file(self.path(from)).unwrap();
    }

    /// Scans and reads until nothing more comes.
    fn look(&mut self) {
        for _ in 0..5 {
            self.tailers.scan(self.now, 0);
            self.read();
            self.tailers.tend(self.now, &self.budget);
            self.tailers.take_changes();
            self.collect();
        }
    }

    /// Reads what is known until nothing more comes.
    fn read(&mut self) {
        while self.tailers.turn(self.now, &self.budget) == Turn::Progress {
            self.collect();
        }
    }

    fn read_what_is_written(&mut self, name: &str) {
        let path = self.path(name);
        self.tailers.written(&path);
        self.read();
    }

    fn collect(&mut self) {
        for note in std::mem::take(&mut self.tailers.notes) {
            match note {
                TailNote::Started { flow, known, stored } => {
                    assert_eq!(&*flow, KEY, "its row is stored under the flow's key");
                    self.offsets.insert(known.tail, known.offset);
                    self.rows.insert(known.tail, known);
                    if let Some(stored) = stored {
                        stored.set();
                    }
                }
                TailNote::Changed { known } => {
                    self.rows.insert(known.tail, known);
                }
                TailNote::Gone { tail: _, lost } => self.lose(lost),
                TailNote::Ended { tail, lost } => {
                    self.lose(lost);
                    self.rows.remove(&tail);
                }
            }
        }
        self.tailers.release_stored();
        for event in std::mem::take(&mut self.tailers.events) {
            if let TailEvent::Chunk { chunk, .. } = event {
                let read_to = self.offsets.entry(chunk.tail).or_insert(chunk.span.start);
                assert_eq!(*read_to, chunk.span.start, "the chunks of a tail follow each other");
                *read_to = chunk.span.end;
                let text = String::from_utf8(chunk.bytes().to_vec()).unwrap();
                self.lines.extend(text.lines().map(str::to_owned));
            }
        }
    }

    fn lose(&mut self, lost: Option<Lost>) {
        self.lost += lost.map_or(0, |lost| lost.bytes);
        self.reasons.extend(lost.map(|lost| lost.reason));
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.look();
    }

    /// Stops and starts, with everything that was read also settled.
    fn restart(&mut self, meanwhile: impl FnOnce(&Flow)) {
        self.stop_after(0);
        meanwhile(self);
        self.start();
        self.look();
    }

    /// Stops after so many chunks more; what was read is settled.
    fn stop_after(&mut self, turns: usize) {
        if turns > 0 {
            self.tailers.scan(self.now, 0);
        }
        for _ in 0..turns {
            self.tailers.turn(self.now, &self.budget);
        }
        self.tailers.take_changes();
        self.collect();
        self.settle();
    }

    /// The rows say how far was read.
    fn settle(&mut self) {
        for row in self.rows.values_mut() {
            row.offset = self.offsets[&row.tail];
            if let Some(tail) = self.tailers.tails().find(|tail| tail.id == row.tail) {
                row.anchors = tail.ladder().anchors().to_vec();
            }
        }
    }

    fn start(&mut self) {
        let mut options = options(self.folder.path(), &self.pattern, self.initial_position);
        options.in_order = self.in_order;
        let known = self.rows.values().cloned().collect();
        self.tailers = tailers(options, known, false, self.tailers.ids.next().0);
        self.now = Duration::from_secs(1);
    }

    #[track_caller]
    fn expect(&mut self, lines: &[&str]) {
        assert_eq!(self.lines, lines);
        self.lines.clear();
    }
}

/// A look, and a crash when all that it told is stored but nothing more.
fn look_and_crash(flow: &mut Flow) {
    flow.tailers.scan(flow.now, 0);
    flow.collect();
    flow.settle();
    flow.start();
    flow.look();
}

/// Takes turns until a chunk of the file at `name` is given out; how many it took.
fn turns_until(flow: &mut Flow, name: &str) -> usize {
    let path = flow.path(name);
    let id = flow.tailers.tails().find(|tail| *tail.path == *path).expect("it is known").id;
    for turns in 1..1000 {
        assert_eq!(flow.tailers.turn(flow.now, &flow.budget), Turn::Progress);
        let events = flow.tailers.events.iter();
        let mut tails = events.filter_map(|event| match event {
            TailEvent::Chunk { chunk, .. } => Some(chunk.tail),
            _ => None,
        });
        let found = tails.any(|tail| tail == id);
        flow.collect();
        if found {
            return turns;
        }
    }
    panic!("it has no turn");
}

/// Its modification time is so many seconds ahead: a copy's and a generation's time must differ.
fn set_ahead(flow: &Flow, name: &str, seconds: u64) {
    let time = std::time::SystemTime::now() + Duration::from_secs(seconds);
    File::options().write(true).open(flow.path(name)).unwrap().set_modified(time).unwrap();
}

/// A look at what was listed, and a crash when all that it told is stored but nothing more.
fn act_and_crash(flow: &mut Flow, listing: Listing) {
    flow.tailers.act_on(listing, flow.now, 0);
    flow.collect();
    flow.settle();
    flow.start();
    flow.look();
}

/// A flow that was started a minute ago and killed before any row was stored.
fn started_before(pattern: &str) -> Flow {
    let mut flow = Flow::new(pattern);
    flow.forget_rows();
    flow
}

impl Flow {
    /// Starts anew without any row, a minute after the first start.
    fn forget_rows(&mut self) {
        self.rows.clear();
        self.start_since(millis_ago(60));
    }

    fn start_since(&mut self, first_start_millis: i64) {
        self.start();
        let known = self.rows.values().cloned().collect();
        self.tailers.past.first_start_millis = first_start_millis;
        self.tailers.away_since = Past { known, ..self.tailers.past.clone() }.away_since();
    }

    fn modified_ago(&self, name: &str, seconds: u64) {
        let time = std::time::SystemTime::now() - Duration::from_secs(seconds);
        File::options().append(true).open(self.path(name)).unwrap().set_modified(time).unwrap();
    }
}

fn millis_ago(seconds: u64) -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    (now - Duration::from_secs(seconds)).as_millis() as i64
}
