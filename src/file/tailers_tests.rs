//! Leads the tails of a flow by hand through each row of the table of rotations.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::file::budget::Budget;
use crate::file::listing::Listing;
use crate::file::note::Identity;
use crate::file::options::InitialPosition;

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
        }
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
            while self.tailers.turn(self.now, &self.budget) == Turn::Progress {
                self.collect();
            }
            self.tailers.tend(self.now, &self.budget);
            self.tailers.take_changes();
            self.collect();
        }
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
        let options = options(self.folder.path(), &self.pattern, self.initial_position);
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

#[test]
fn a_file_that_is_there_at_the_first_start_is_read_from_its_end() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.log"), "old\npart").unwrap();
    let mut flow = Flow::with(folder, "*.log", InitialPosition::EndOfFile, true);
    flow.look();
    flow.expect(&[]);
    flow.append("a.log", "ial\nnew\n");
    flow.append("b.log", "b\n");
    flow.look();
    flow.lines.sort();
    flow.expect(&["b", "new", "partial"]);
}

/// A look, and a crash when all that it told is stored but nothing more.
fn look_and_crash(flow: &mut Flow) {
    flow.tailers.scan(flow.now, 0);
    flow.collect();
    flow.settle();
    flow.start();
    flow.look();
}

#[test]
fn a_copys_unread_rest_is_known_as_soon_as_the_new_life_is() {
    for pattern in ["app.log", "app.log*"] {
        let mut flow = Flow::new(pattern);
        flow.append("app.log", "1\n");
        flow.look();
        flow.append("app.log", "2\n");
        flow.copy("app.log", "app.log.1");
        flow.truncate("app.log");
        flow.append("app.log", "3\n");
        look_and_crash(&mut flow);
        flow.expect(&["1", "2", "3"]);
    }
}

#[test]
fn a_file_that_was_empty_when_it_was_last_seen_is_no_other_files_rest() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.rename("app.log", "app.log.1");
    flow.append("app.log", "");
    flow.look();
    flow.stop_after(0);
    flow.append("app.log.1", "2\n");
    flow.append("app.log", "3\n");
    flow.gzip("app.log.1", "app.log.1.gz");
    flow.rename("app.log", "app.log.2");
    flow.gzip("app.log.2", "app.log.2.gz");
    flow.append("app.log", "4\n");
    // The file system gives the inode of the first to the last.
    let inode = fs::metadata(flow.path("app.log")).unwrap().ino();
    flow.rows.values_mut().next().unwrap().identity.inode = inode;
    flow.start();
    flow.look();
    flow.lines.sort();
    flow.expect(&["1", "2", "3", "4"]);
}

#[test]
fn start_of_file_reads_all_files() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.log"), "a\n").unwrap();
    fs::write(folder.path().join("b.log"), "b\n").unwrap();
    let mut flow = Flow::with(folder, "*.log", InitialPosition::StartOfFile, true);
    flow.look();
    flow.expect(&["a", "b"]);
}

#[test]
fn a_renamed_file_is_read_to_its_end_inside_and_outside_the_pattern() {
    for pattern in ["app.log", "app.log*"] {
        let mut flow = Flow::new(pattern);
        flow.append("app.log", "1\n");
        flow.look();
        flow.append("app.log", "2\n");
        flow.rename("app.log", "app.log.1");
        flow.append("app.log.1", "3\n");
        flow.append("app.log", "4\n");
        flow.look();
        flow.append("app.log.1", "late\n");
        flow.look();
        flow.expect(&["1", "2", "3", "4", "late"]);
    }
}

#[test]
fn the_unterminated_last_line_of_a_renamed_file_comes_when_it_was_quiet() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\nlast");
    flow.look();
    flow.rename("app.log", "app.log.1");
    flow.pass(20);
    flow.expect(&["1"]);
    flow.pass(31);
    flow.expect(&["last"]);
    flow.append("app.log.1", "more\n");
    flow.pass(1);
    flow.expect(&["more"]);
}

#[test]
fn what_was_compressed_while_it_was_read_is_not_read_again_when_it_is_let_go() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.append("app.log", "2\n");
    flow.rename("app.log", "app.log.1");
    flow.gzip("app.log.1", "app.log.1.gz");
    let later = std::time::SystemTime::now() + Duration::from_secs(10);
    File::open(flow.path("app.log.1.gz")).unwrap().set_modified(later).unwrap();
    flow.look();
    flow.tailers.finish_deleted(flow.now, &flow.budget);
    flow.pass(31);
    flow.pass(1);
    flow.expect(&["1", "2"]);
    flow.restart(|flow| flow.rename("app.log.1.gz", "app.log.2.gz"));
    flow.pass(31);
    flow.expect(&[]);
}

#[test]
fn what_was_written_to_an_empty_file_and_copied_away_between_two_looks_is_read() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "");
    flow.look();
    flow.append("app.log", "1\n");
    flow.copy("app.log", "app.log.1");
    flow.truncate("app.log");
    let later = std::time::SystemTime::now() + Duration::from_secs(1);
    for name in ["app.log.1", "app.log"] {
        File::open(flow.path(name)).unwrap().set_modified(later).unwrap();
    }
    flow.tailers.written(&flow.path("app.log"));
    flow.tailers.turn(flow.now, &flow.budget);
    flow.look();
    flow.expect(&["1"]);
}

#[test]
fn a_file_that_was_emptied_and_renamed_between_two_looks_is_followed() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.copy("app.log", "app.log.2");
    flow.truncate("app.log");
    flow.rename("app.log", "app.log.1");
    flow.look();
    flow.restart(|flow| flow.append("app.log.1", "2\n"));
    flow.expect(&["1", "2"]);
}

#[test]
fn an_empty_file_that_was_moved_while_stopped_is_not_taken_for_another_beside_it() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "");
    flow.look();
    flow.restart(|flow| {
        fs::create_dir(flow.path("old")).unwrap();
        flow.append("app.log.1", "");
        flow.append("app.log", "1\n");
        flow.rename("app.log", "old/app.log.1");
    });
    flow.expect(&["1"]);
}

#[test]
fn a_copy_shorter_than_what_was_read_gives_it_again_after_a_crash() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n2\n");
    flow.look();
    flow.copy("app.log", "app.log.1");
    flow.append("app.log", "3\n");
    flow.look();
    flow.truncate("app.log");
    flow.look();
    flow.expect(&["1", "2", "3"]);
    // Nothing of it was settled.
    for row in flow.rows.values_mut() {
        (row.offset, row.anchors) = (0, Vec::new());
    }
    flow.offsets.clear();
    flow.start();
    flow.look();
    flow.expect(&["1", "2"]);
}

#[test]
fn a_file_that_is_cut_within_its_first_bytes_gives_again_what_may_not_be_settled() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.append("app.log", "2\n");
    flow.look();
    File::options().write(true).open(flow.path("app.log")).unwrap().set_len(2).unwrap();
    flow.tailers.scan(flow.now, 4);
    flow.look();
    flow.expect(&["1", "2", "1"]);
}

#[test]
fn a_rest_that_is_moved_or_compressed_during_a_look_is_found_at_the_next() {
    for stopped in [false, true] {
        for packed in [false, true] {
            let mut flow = Flow::new("app.log");
            flow.append("app.log", "1\n");
            flow.look();
            flow.append("app.log", "2\n");
            let rotate = |flow: &Flow| {
                flow.copy("app.log", "app.log.1");
                fs::remove_file(flow.path("app.log")).unwrap();
            };
            if stopped {
                flow.stop_after(0);
                rotate(&flow);
                flow.start();
            } else {
                flow.copy("app.log", "app.log.1");
                flow.truncate("app.log");
            }
            let listing = flow.tailers.list();
            match packed {
                true => flow.gzip("app.log.1", "app.log.1.gz"),
                false => flow.rename("app.log.1", "app.log.2"),
            }
            flow.tailers.act_on(listing, flow.now, 0);
            flow.append("app.log", "3\n");
            flow.look();
            flow.expect(&["1", "2", "3"]);
            assert_eq!(flow.lost, 0);
        }
    }
}

#[test]
fn a_file_that_was_copied_cut_and_removed_between_two_looks_is_not_read_again() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.append("app.log", "2\n");
    flow.copy("app.log", "app.log.1");
    flow.truncate("app.log");
    flow.tailers.written(&flow.path("app.log"));
    flow.tailers.turn(flow.now, &flow.budget);
    fs::remove_file(flow.path("app.log")).unwrap();
    let later = std::time::SystemTime::now() + Duration::from_secs(10);
    File::open(flow.path("app.log.1")).unwrap().set_modified(later).unwrap();
    flow.append("app.log", "3\n");
    flow.look();
    flow.lines.sort();
    flow.expect(&["1", "2", "3"]);
}

#[test]
fn a_deleted_file_is_let_go_only_after_a_look_for_its_compression() {
    let mut flow = Flow::new("app.log*");
    flow.append("app.log.1", "1\n");
    flow.append("app.log", "2\n");
    flow.look();
    flow.gzip("app.log.1", "app.log.1.gz");
    let later = std::time::SystemTime::now() + Duration::from_secs(10);
    File::open(flow.path("app.log.1.gz")).unwrap().set_modified(later).unwrap();
    flow.now += Duration::from_secs(31);
    flow.tailers.tend(flow.now, &flow.budget);
    flow.append("app.log", "3\n");
    flow.look();
    flow.pass(31);
    flow.lines.sort();
    flow.expect(&["1", "2", "3"]);
}

#[test]
fn a_compressed_rest_that_was_read_and_not_settled_is_read_again() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.restart(|flow| {
        flow.append("app.log", "2\n");
        flow.gzip("app.log", "app.log.1.gz");
    });
    flow.pass(31);
    flow.expect(&["1", "2"]);
    let row = flow.rows.values_mut().next().unwrap();
    assert_eq!((row.state, row.size), (TailState::Finished, 4));
    (row.offset, row.anchors) = (0, Vec::new());
    flow.offsets.clear();
    flow.start();
    flow.look();
    flow.expect(&["1", "2"]);
}

#[test]
fn a_rotated_file_that_a_link_led_to_is_found_compressed_after_a_restart() {
    let mut flow = Flow::new("now.log");
    flow.append("app.txt", "1\n");
    std::os::unix::fs::symlink("app.txt", flow.path("now.log")).unwrap();
    flow.look();
    flow.append("app.txt", "2\n");
    flow.rename("app.txt", "app.txt.1");
    flow.append("app.txt", "3\n");
    flow.tailers.scan(flow.now, 0);
    flow.stop_after(0);
    flow.gzip("app.txt.1", "app.txt.2.gz");
    flow.rename("app.txt", "app.txt.1");
    flow.append("app.txt", "4\n");
    flow.start();
    flow.look();
    flow.lines.sort();
    flow.expect(&["1", "2", "3", "4"]);
    assert_eq!(flow.lost, 0);
}

#[test]
fn what_was_written_to_a_replaced_file_before_it_was_compressed_is_read() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    fs::copy(flow.path("app.log"), flow.path("new")).unwrap();
    flow.rename("new", "app.log");
    flow.append("app.log", "2\n");
    flow.gzip("app.log", "app.log.1.gz");
    let later = std::time::SystemTime::now() + Duration::from_secs(10);
    File::open(flow.path("app.log.1.gz")).unwrap().set_modified(later).unwrap();
    flow.look();
    flow.pass(31);
    flow.pass(31);
    flow.expect(&["1", "2"]);
}

#[test]
fn backlogs_of_an_earlier_run_are_held_although_nothing_can_be_read_yet() {
    let mut flow = Flow::new("*.log");
    for name in ["a.log", "b.log", "c.log"] {
        flow.append(name, &format!("{name}\n"));
    }
    flow.tailers.scan(flow.now, 0);
    flow.collect();
    flow.offsets.clear();
    flow.start();
    let full = std::mem::replace(&mut flow.budget, Budget::new(0, 1).flow());
    flow.look();
    for name in ["a.log", "b.log", "c.log"] {
        fs::remove_file(flow.path(name)).unwrap();
    }
    flow.look();
    flow.budget = full;
    flow.look();
    flow.lines.sort();
    flow.expect(&["a.log", "b.log", "c.log"]);
    assert_eq!(flow.lost, 0);
}

#[test]
fn a_file_that_was_first_seen_under_a_rotated_name_is_found_compressed_under_another() {
    let mut flow = Flow::new("app.log*");
    flow.append("app.log.1", "1\n");
    flow.append("app.log", "2\n");
    flow.look();
    flow.restart(|flow| {
        flow.append("app.log.1", "3\n");
        flow.gzip("app.log.1", "app.log.2.gz");
        flow.rename("app.log", "app.log.1");
        flow.append("app.log", "4\n");
    });
    flow.lines.sort();
    flow.expect(&["1", "2", "3", "4"]);
    assert_eq!(flow.lost, 0);
}

#[test]
fn a_copy_in_the_making_is_held_back_also_at_the_first_look() {
    let mut flow = Flow::new("app.log*");
    flow.append("app.log", "1\n2\n");
    flow.append("app.log.1", "1\n");
    let earlier = std::time::SystemTime::now() - Duration::from_secs(10);
    File::open(flow.path("app.log.1")).unwrap().set_modified(earlier).unwrap();
    flow.look();
    flow.expect(&["1", "2"]);
}

#[test]
fn a_copy_that_was_still_empty_at_the_last_look_is_no_older_file() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "");
    flow.append("app.log.1", "");
    flow.look();
    flow.append("app.log.1", "1\n");
    let later = std::time::SystemTime::now() + Duration::from_secs(1);
    for name in ["app.log.1", "app.log"] {
        File::open(flow.path(name)).unwrap().set_modified(later).unwrap();
    }
    flow.look();
    flow.expect(&["1"]);
}

#[test]
fn a_deleted_file_that_was_read_is_handed_on_since_it_may_not_be_settled() {
    let mut flow = Flow::new("a.log");
    flow.append("a.log", "1\nlast");
    flow.look();
    fs::remove_file(flow.path("a.log")).unwrap();
    flow.look();
    flow.tailers.finish_deleted(flow.now, &flow.budget);
    flow.collect();
    flow.expect(&["1", "last"]);
    assert_eq!(flow.rows.len(), 1, "its row stays");
    let held = flow.tailers.into_held();
    assert_eq!(held.values().map(|file| file.nameless_bytes).collect::<Vec<_>>(), [0]);
}

#[test]
fn what_was_read_of_a_deleted_file_and_not_settled_before_a_kill_is_reported() {
    let mut flow = Flow::new("*.log");
    flow.append("b.log", "b\n");
    flow.append("a.log", "1\n");
    flow.look();
    fs::remove_file(flow.path("a.log")).unwrap();
    flow.look();
    flow.pass(31);
    flow.lines.sort();
    flow.expect(&["1", "b"]);
    for row in flow.rows.values_mut() {
        (row.offset, row.anchors) = (0, Vec::new());
    }
    flow.offsets.clear();
    flow.start();
    flow.look();
    assert_eq!(flow.lost, 2);
}

#[test]
fn a_file_that_is_compressed_just_before_a_stop_is_not_read_again() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.rename("app.log", "app.log.1");
    flow.gzip("app.log.1", "app.log.1.gz");
    let later = std::time::SystemTime::now() + Duration::from_secs(10);
    File::open(flow.path("app.log.1.gz")).unwrap().set_modified(later).unwrap();
    flow.tailers.look_at_the_nameless(flow.now);
    flow.tailers.finish_deleted(flow.now, &flow.budget);
    flow.restart(|flow| flow.append("app.log", "2\n"));
    flow.pass(31);
    flow.expect(&["1", "2"]);
}

#[test]
fn copytruncate_takes_the_unread_rest_from_the_copy() {
    for pattern in ["app.log", "app.log*"] {
        let mut flow = Flow::new(pattern);
        flow.append("app.log", "1\n");
        flow.look();
        flow.append("app.log", "2\n");
        flow.copy("app.log", "app.log.1");
        flow.truncate("app.log");
        flow.append("app.log", "3 and more\n");
        flow.look();
        flow.look();
        flow.expect(&["1", "2", "3 and more"]);
        assert_eq!(flow.lost, 0);
    }
}

#[test]
fn copytruncate_of_a_file_that_was_read_repeats_nothing() {
    for pattern in ["app.log", "app.log*"] {
        let mut flow = Flow::new(pattern);
        flow.append("app.log", "1\n2\n");
        flow.look();
        flow.copy("app.log", "app.log.1");
        flow.look();
        flow.truncate("app.log");
        flow.append("app.log", "3\n4\n5\n");
        flow.look();
        flow.restart(|_| {});
        flow.expect(&["1", "2", "3", "4", "5"]);
    }
}

#[test]
fn a_copy_shorter_than_what_was_read_is_not_read() {
    let mut flow = Flow::new("app.log*");
    flow.append("app.log", "1\n2\n");
    flow.look();
    flow.copy("app.log", "app.log.1");
    flow.append("app.log", "3\n");
    flow.look();
    flow.truncate("app.log");
    flow.append("app.log", "4\n");
    flow.look();
    flow.restart(|_| {});
    flow.expect(&["1", "2", "3", "4"]);
}

#[test]
fn a_copy_in_the_making_is_held_back_and_delivered_when_it_differs() {
    let mut flow = Flow::new("app.log*");
    flow.append("app.log", "1\n2\n");
    flow.look();
    flow.append("app.log.1", "1\n");
    flow.look();
    flow.append("app.log.1", "2\n");
    flow.look();
    flow.expect(&["1", "2"]);
    flow.append("app.log.1", "its own\n");
    flow.look();
    flow.expect(&["1", "2", "its own"]);
}

#[test]
fn copytruncate_with_compression_between_two_looks() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.append("app.log", "2\n");
    flow.copy("app.log", "app.log.1");
    flow.truncate("app.log");
    flow.gzip("app.log.1", "app.log.1.gz");
    flow.append("app.log", "3 and more\n");
    flow.look();
    flow.pass(60);
    flow.restart(|_| {});
    flow.lines.sort();
    flow.expect(&["1", "2", "3 and more"]);
}

#[test]
fn a_file_truncated_without_a_copy_is_reported() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.truncate("app.log");
    flow.append("app.log", "a line that is longer than what was read\n");
    flow.look();
    flow.expect(&["1", "a line that is longer than what was read"]);
    assert_eq!(flow.lost, 0);
}

#[test]
fn a_deleted_file_is_read_to_its_end() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.append("app.log", "2\nlast");
    fs::remove_file(flow.path("app.log")).unwrap();
    flow.append("app.log", "new\n");
    flow.look();
    flow.pass(31);
    flow.lines.sort();
    flow.expect(&["1", "2", "last", "new"]);
    assert_eq!((flow.lost, flow.tailers.tails().count()), (0, 1));
}

#[test]
fn deleted_files_hold_at_most_so_much_of_the_disk_and_the_oldest_are_let_go() {
    let mut flow = Flow::new("*.log");
    let line = "x".repeat(99_999) + "\n";
    for name in ["a.log", "b.log", "c.log"] {
        flow.append(name, &line);
    }
    let full = Budget::new(0, 1).flow();
    let budget = std::mem::replace(&mut flow.budget, full);
    flow.look();
    for name in ["b.log", "a.log", "c.log"] {
        fs::remove_file(flow.path(name)).unwrap();
        flow.look();
    }
    assert_eq!(flow.lost, 0, "a tenth of the disk is enough");
    flow.tailers.removed.set_limit(Some(250_000));
    flow.look();
    assert_eq!((flow.lost, &flow.reasons[..]), (100_000, &[LossReason::Space][..]));
    flow.budget = budget;
    flow.look();
    assert_eq!(flow.lines.len(), 2, "the others are read");
    assert_eq!(flow.tailers.counters.removed_bytes.get(), 0, "what is read holds nothing");
}

#[test]
fn a_generation_between_two_looks_is_read_also_outside_the_pattern_and_compressed() {
    for compress in [false, true] {
        let mut flow = Flow::new("app.log");
        flow.append("app.log", "1\n");
        flow.look();
        flow.append("app.log", "2\n");
        flow.rename("app.log", "app.log.2");
        let later = std::time::SystemTime::now() + Duration::from_secs(2);
        flow.append("app.log", "3\n");
        File::options().write(true).open(flow.path("app.log")).unwrap().set_modified(later).unwrap();
        flow.rename("app.log", "app.log.1");
        if compress {
            flow.gzip("app.log.1", "app.log.1.gz");
            File::options().write(true).open(flow.path("app.log.1.gz")).unwrap().set_modified(later).unwrap();
        }
        flow.append("app.log", "4\n");
        flow.look();
        flow.pass(60);
        flow.restart(|_| {});
        flow.lines.sort();
        flow.expect(&["1", "2", "3", "4"]);
    }
}

#[test]
fn a_generation_with_the_inode_of_a_file_that_was_left_alone_is_read() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log.3", "ancient\n");
    let old = std::time::SystemTime::now() - Duration::from_secs(1);
    File::options().append(true).open(flow.path("app.log.3")).unwrap().set_modified(old).unwrap();
    flow.append("app.log", "1\n");
    flow.look();
    flow.rename("app.log", "app.log.2");
    // The file that has its inode now was born and rotated away since.
    fs::write(flow.path("app.log.3"), "2\n").unwrap();
    let later = std::time::SystemTime::now() + Duration::from_secs(2);
    File::options().write(true).open(flow.path("app.log.3")).unwrap().set_modified(later).unwrap();
    flow.rename("app.log.3", "app.log.1");
    flow.look();
    flow.expect(&["1", "2"]);
}

#[test]
fn a_file_that_was_copied_cut_and_moved_away_is_read_from_its_copy_also_by_the_next_run() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.append("app.log", "2\n");
    flow.copy("app.log", "app.log.1");
    flow.truncate("app.log");
    flow.rename("app.log", "saved.dat");
    flow.append("app.log", "3\n");
    flow.tailers.scan(flow.now, 0);
    flow.tailers.take_changes();
    flow.collect();
    flow.restart(|_| {});
    flow.lines.sort();
    flow.expect(&["1", "2", "3"]);
}

#[test]
fn the_copy_of_a_file_that_was_cut_and_deleted_is_gone_on_with_at_the_first_look() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.tailers.scan(flow.now, 0);
    flow.copy("app.log", "app.log.1");
    flow.truncate("app.log");
    fs::remove_file(flow.path("app.log")).unwrap();
    flow.tailers.scan(flow.now, 0);
    fs::remove_file(flow.path("app.log.1")).unwrap();
    flow.look();
    flow.expect(&["1"]);
}

#[test]
fn older_siblings_outside_the_pattern_are_left_alone_and_so_is_their_compression() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log.1", "ancient\n");
    let old = std::time::SystemTime::now() - Duration::from_secs(1);
    File::options().append(true).open(flow.path("app.log.1")).unwrap().set_modified(old).unwrap();
    flow.append("app.log", "1\n");
    flow.look();
    flow.gzip("app.log.1", "app.log.2.gz");
    File::options().write(true).open(flow.path("app.log.2.gz")).unwrap().set_modified(old).unwrap();
    flow.rename("app.log", "app.log.1");
    flow.append("app.log", "2\n");
    flow.look();
    flow.expect(&["1", "2"]);
}

#[test]
fn rotations_while_stopped_are_caught_up_with() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.restart(|flow| {
        flow.append("app.log", "2\n");
        flow.rename("app.log", "app.log.1");
        flow.append("app.log", "3\n");
    });
    flow.lines.sort();
    flow.expect(&["1", "2", "3"]);
}

#[test]
fn a_file_compressed_or_moved_while_stopped_is_found_by_its_content() {
    for (name, folder) in [("app.log.1.gz", None), ("app.log.1", Some("old"))] {
        let mut flow = Flow::new("app.log");
        flow.append("app.log", "1\n");
        flow.look();
        flow.restart(|flow| {
            flow.append("app.log", "2\n");
            flow.rename("app.log", "app.log.1");
            match folder {
                None => flow.gzip("app.log.1", name),
                Some(folder) => {
                    fs::create_dir(flow.path(folder)).unwrap();
                    flow.copy("app.log.1", &format!("{folder}/{name}"));
                    fs::remove_file(flow.path("app.log.1")).unwrap();
                }
            }
            flow.append("app.log", "3\n");
        });
        flow.lines.sort();
        flow.expect(&["1", "2", "3"]);
        assert_eq!(flow.lost, 0);
    }
}

#[test]
fn a_file_that_got_any_name_while_stopped_is_found_by_its_inode_or_its_content() {
    for (target, copied) in
        [("kept.txt", false), ("old/kept.txt", false), ("kept.txt", true), ("old/kept", true)]
    {
        let mut flow = Flow::new("app.log");
        let long: Vec<String> = (0..500).map(|n| format!("line {n}")).collect();
        flow.append("app.log", &(long.join("\n") + "\n"));
        flow.look();
        flow.lines.clear();
        flow.restart(|flow| {
            flow.append("app.log", "2\n");
            fs::create_dir_all(flow.path("old")).unwrap();
            match copied {
                false => flow.rename("app.log", target),
                true => {
                    flow.copy("app.log", target);
                    fs::remove_file(flow.path("app.log")).unwrap();
                }
            }
            flow.append("app.log", "3\n");
        });
        flow.lines.sort();
        flow.expect(&["2", "3"]);
        assert_eq!(flow.lost, 0);
    }
}

#[test]
fn a_file_of_which_little_is_known_is_not_taken_from_any_name() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.restart(|flow| {
        flow.append("app.log", "2\n");
        flow.copy("app.log", "kept.txt");
        fs::remove_file(flow.path("app.log")).unwrap();
    });
    flow.expect(&["1"]);
}

#[test]
fn a_file_that_is_renamed_to_any_name_while_running_stays_known() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.rename("app.log", "kept.txt");
    flow.append("kept.txt", "2\n");
    flow.look();
    flow.pass(3600);
    flow.append("kept.txt", "3\n");
    flow.look();
    flow.restart(|flow| flow.append("kept.txt", "4\n"));
    flow.expect(&["1", "2", "3", "4"]);
}

#[test]
fn several_compressed_generations_while_stopped_are_read_one_at_a_time_and_oldest_first() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "first\n");
    flow.look();
    let lines: Vec<String> = (0..300_000).map(|n| format!("{n:07}")).collect();
    let mut generations = lines.chunks(100_000);
    flow.stop_after(0);
    for number in [3, 2, 1] {
        flow.append("app.log", &(generations.next().unwrap().join("\n") + "\n"));
        let name = format!("app.log.{number}");
        flow.rename("app.log", &name);
        flow.gzip(&name, &format!("{name}.gz"));
        // Generations have times of their own.
        let time = std::time::SystemTime::now() + Duration::from_secs(4 - number);
        File::options()
            .write(true)
            .open(flow.path(&format!("{name}.gz")))
            .unwrap()
            .set_modified(time)
            .unwrap();
    }
    flow.start();
    flow.tailers.scan(flow.now, 0);
    let mut at_once = 0;
    while flow.tailers.turn(flow.now, &flow.budget) == Turn::Progress {
        at_once = at_once.max(flow.tailers.tails().filter(|tail| tail.is_open()).count());
        flow.collect();
    }
    flow.look();
    assert_eq!(at_once, 1, "each decoder costs memory");
    assert_eq!(flow.lines[0], "first");
    assert!(flow.lines[1..] == lines, "{} lines, in another order", flow.lines.len());
}

#[test]
fn what_comes_into_an_empty_file_is_known_where_no_more_files_may_stay_open() {
    let mut flow = Flow::new("app.log");
    flow.tailers.max_open.store(0, Ordering::Relaxed);
    flow.append("app.log", "");
    flow.look();
    flow.append("app.log", "1\n");
    flow.tailers.scan(flow.now, 0);
    flow.rename("app.log", "app.log.1");
    flow.gzip("app.log.1", "app.log.1.gz");
    flow.look();
    flow.pass(60);
    flow.expect(&["1"]);
}

#[test]
fn compressed_generations_are_read_also_where_no_more_files_may_stay_open() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "first\n");
    flow.look();
    flow.stop_after(0);
    for number in [3, 2] {
        let name = format!("app.log.{number}");
        flow.append(&name, &format!("{number}\n"));
        flow.gzip(&name, &format!("{name}.gz"));
    }
    flow.rename("app.log", "app.log.4");
    flow.gzip("app.log.4", "app.log.4.gz");
    flow.start();
    flow.tailers.max_open.store(0, Ordering::Relaxed);
    flow.look();
    flow.look();
    flow.lines.sort();
    flow.expect(&["2", "3", "first"]);
}

#[test]
fn what_a_stale_copy_lacks_is_read_from_the_compression() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.tailers.scan(flow.now, 0);
    flow.tailers.tend(flow.now + Duration::from_secs(61), &flow.budget);
    flow.copy("app.log", "app.log.102");
    flow.append("app.log", "2\n");
    flow.copy("app.log", "app.log.1");
    flow.truncate("app.log");
    flow.gzip("app.log.1", "app.log.1.gz");
    flow.look();
    flow.pass(60);
    flow.expect(&["1", "2"]);
}

#[test]
fn a_compressed_rest_that_cannot_be_read_yet_is_waited_for() {
    for mended in [true, false] {
        let mut flow = Flow::new("app.log");
        flow.append("app.log", "1\n");
        flow.look();
        flow.append("app.log", "2\n");
        flow.tailers.scan(flow.now, 0);
        flow.stop_after(0);
        flow.gzip("app.log", "whole");
        let whole = fs::read(flow.path("whole")).unwrap();
        fs::write(flow.path("app.log.1.gz"), &whole[..5]).unwrap();
        flow.start();
        flow.pass(300);
        flow.expect(&["1"]);
        assert_eq!(flow.lost, 0, "it may still be being compressed");
        if mended {
            flow.rename("whole", "app.log.1.gz");
        }
        flow.pass(600);
        match mended {
            true => flow.expect(&["2"]),
            false => assert_eq!((flow.lost, &flow.reasons[..]), (2, &[LossReason::Removed][..])),
        }
    }
}

#[test]
fn copytruncate_while_stopped_goes_on_in_the_copy() {
    for pattern in ["app.log", "app.log*"] {
        let mut flow = Flow::new(pattern);
        flow.append("app.log", "1\n");
        flow.look();
        flow.restart(|flow| {
            flow.append("app.log", "2\n");
            flow.copy("app.log", "app.log.1");
            flow.truncate("app.log");
            flow.append("app.log", "3 and more\n");
        });
        flow.lines.sort();
        flow.expect(&["1", "2", "3 and more"]);
    }
}

#[test]
fn what_cannot_be_found_is_reported_in_bytes() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.append("other.txt", "x");
    flow.look();
    let mut row = flow.rows.values().next().unwrap().clone();
    row.size = 10;
    flow.rows.insert(row.tail, row);
    flow.restart(|flow| fs::remove_file(flow.path("app.log")).unwrap());
    assert_eq!((flow.lost, &*flow.reasons), (8, &[LossReason::NotFoundAtStart][..]));
}

#[test]
fn a_folder_that_is_mounted_late_forgets_no_position() {
    let mut flow = Flow::new("mnt/app.log");
    fs::create_dir(flow.path("mnt")).unwrap();
    flow.append("mnt/app.log", "1\n");
    flow.look();
    flow.restart(|flow| {
        flow.append("mnt/app.log", "2\n");
        fs::create_dir_all(flow.path("x/y")).unwrap();
        flow.rename("mnt", "x/y/away");
    });
    flow.expect(&["1"]);
    flow.rename("x/y/away", "mnt");
    flow.look();
    flow.expect(&["2"]);
    assert_eq!(flow.lost, 0);
}

#[test]
fn an_inode_that_is_used_again_while_stopped_is_a_new_file() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.restart(|flow| fs::write(flow.path("app.log"), "another\n").unwrap());
    flow.expect(&["1", "another"]);
}

#[test]
fn two_files_with_the_same_banner_are_two_files() {
    let mut flow = Flow::new("*.log");
    flow.append("a.log", "banner\n");
    flow.append("b.log", "banner\n");
    flow.look();
    flow.expect(&["banner", "banner"]);
}

#[test]
fn a_reboot_that_changes_device_numbers_repeats_nothing() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    for row in flow.rows.values_mut() {
        row.identity.device += 1;
    }
    flow.restart(|flow| flow.append("app.log", "2\n"));
    flow.expect(&["1", "2"]);
}

#[test]
fn a_file_that_lost_its_end_goes_on_from_the_anchor_that_agrees() {
    let mut flow = Flow::new("app.log");
    let lines: Vec<String> = (0..3000).map(|n| format!("{n:07}")).collect();
    for part in lines.chunks(500) {
        flow.append("app.log", &(part.join("\n") + "\n"));
        flow.look();
    }
    flow.lines.clear();
    flow.restart(|flow| {
        let file = File::options().write(true).open(flow.path("app.log")).unwrap();
        file.set_len(20_000).unwrap();
        flow.append("app.log", "after\n");
    });
    assert_eq!(flow.tailers.counters.rotations.words(), [("cut", 1)].into());
    assert_eq!(flow.lines.last().unwrap(), "after");
    assert!(flow.lines.len() < 1001, "{}", flow.lines.len());
}

#[test]
fn each_kind_of_rotation_is_counted_by_its_name() {
    let mut flow = Flow::new("*.log");
    let names = ["renamed", "copytruncated", "truncated", "replaced", "removed", "compressed"];
    for name in names {
        flow.append(&format!("{name}.log"), &format!("{name} 1\n{name} 2\n"));
    }
    flow.look();
    assert_eq!(flow.tailers.counters.rotations.get(), 0);
    flow.rename("renamed.log", "renamed.log.1");
    flow.copy("copytruncated.log", "copytruncated.log.1");
    flow.truncate("copytruncated.log");
    flow.append("copytruncated.log", "3\n");
    flow.truncate("truncated.log");
    flow.append("replaced.tmp", "another\n");
    flow.rename("replaced.tmp", "replaced.log");
    fs::remove_file(flow.path("removed.log")).unwrap();
    flow.gzip("compressed.log", "compressed.log.gz");
    flow.look();
    let counted = flow.tailers.counters.rotations.words();
    // The file that was compressed was also removed.
    let expected = names.map(|name| (name, if name == "removed" { 2 } else { 1 }));
    assert_eq!(counted, BTreeMap::from(expected));
    assert_eq!(flow.lost, 0);
    flow.look();
    assert_eq!(flow.tailers.counters.rotations.words(), counted, "each is counted once");
}

#[test]
fn what_is_truncated_away_is_lost_for_that_reason() {
    let mut flow = Flow::new("*.log");
    flow.append("a.log", "1\n");
    flow.look();
    flow.append("a.log", "unread\n");
    flow.tailers.scan(flow.now, 0);
    flow.truncate("a.log");
    flow.append("a.log", "x\n");
    flow.look();
    assert_eq!((flow.lost, &*flow.reasons), (7, &[LossReason::Truncated][..]));
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

#[test]
fn a_fresh_line_waits_for_one_chunk_of_each_backlog_and_no_more() {
    let mut flow = Flow::new("*.log");
    for name in ["a.log", "b.log", "fresh.log"] {
        flow.append(name, "first\n");
    }
    flow.look();
    let backlog = "a line of a backlog\n".repeat(200_000);
    for name in ["a.log", "b.log"] {
        flow.append(name, &backlog);
        flow.tailers.written(&flow.path(name));
    }
    for _ in 0..5 {
        assert_eq!(flow.tailers.turn(flow.now, &flow.budget), Turn::Progress);
    }
    for _ in 0..3 {
        flow.append("fresh.log", "fresh\n");
        flow.tailers.written(&flow.path("fresh.log"));
        assert!(turns_until(&mut flow, "fresh.log") <= 3);
    }
    assert!(turns_until(&mut flow, "a.log") <= 2 && turns_until(&mut flow, "b.log") <= 2);
}

#[test]
fn when_the_memory_comes_back_a_fresh_line_still_waits_for_one_chunk_only() {
    let mut flow = Flow::new("*.log");
    for name in ["a.log", "fresh.log"] {
        flow.append(name, "first\n");
    }
    flow.look();
    flow.append("a.log", &"a line of a backlog\n".repeat(200_000));
    flow.tailers.written(&flow.path("a.log"));
    let none = Budget::new(0, 1).flow();
    assert_eq!(flow.tailers.turn(flow.now, &none), Turn::Blocked);
    flow.append("fresh.log", "fresh\n");
    flow.tailers.written(&flow.path("fresh.log"));
    assert_eq!(flow.tailers.turn(flow.now, &none), Turn::Blocked);
    assert!(turns_until(&mut flow, "fresh.log") <= 2);
}

#[test]
fn while_backlogs_are_held_only_fresh_lines_are_read() {
    let mut flow = Flow::new("*.log");
    for name in ["a.log", "fresh.log"] {
        flow.append(name, "first\n");
    }
    flow.look();
    flow.append("a.log", &"a line of a backlog\n".repeat(200_000));
    flow.tailers.written(&flow.path("a.log"));
    assert_eq!(turns_until(&mut flow, "a.log"), 1, "nobody knows yet that it is one");
    flow.tailers.hold_backlogs = true;
    assert_eq!(flow.tailers.turn(flow.now, &flow.budget), Turn::Blocked);
    flow.append("fresh.log", "fresh\n");
    flow.tailers.written(&flow.path("fresh.log"));
    assert_eq!(turns_until(&mut flow, "fresh.log"), 1);
    // A look at the folders, and an event, find what waits already.
    flow.tailers.written(&flow.path("a.log"));
    flow.tailers.scan(flow.now, 0);
    assert_eq!(flow.tailers.turn(flow.now, &flow.budget), Turn::Blocked);
    assert!(flow.tailers.has_turns());
    flow.tailers.hold_backlogs = false;
    flow.look();
    assert_eq!(flow.lines.len(), 2 + 200_000 + 1);
}

#[test]
fn what_is_done_each_second_leaves_idle_tails_alone() {
    let mut flow = Flow::new("*.log");
    for n in 0..300 {
        flow.append(&format!("{n}.log"), "x\n");
    }
    flow.look();
    flow.pass(120);
    assert_eq!(flow.tailers.tails.lively().count(), 0, "all are closed, stored and looked at");
    flow.append("7.log", "y\n");
    flow.tailers.written(&flow.path("7.log"));
    while flow.tailers.turn(flow.now, &flow.budget) == Turn::Progress {}
    assert_eq!(flow.tailers.tails.lively().count(), 1);
    flow.pass(120);
    assert_eq!(flow.tailers.tails.lively().count(), 0);
    flow.restart(|_| {});
    assert!(flow.tailers.tails().all(|tail| !tail.is_open()), "what did not change is not opened");
}

#[test]
fn many_files_do_not_exhaust_the_descriptors() {
    let mut flow = Flow::new("*.log");
    for n in 0..500 {
        flow.append(&format!("{n}.log"), "x\n");
    }
    flow.look();
    assert_eq!(flow.lines.len(), 500);
    let open = flow.tailers.tails().filter(|tail| tail.is_open()).count();
    assert!(open <= 100);
    assert_eq!(flow.tailers.counters.open_files.get(), open as u64);
    assert_eq!(flow.tailers.counters.files_followed.get(), flow.tailers.tails().count() as u64);
    flow.append("7.log", "y\n");
    flow.look();
    assert_eq!(flow.lines.len(), 501);
}

#[test]
fn a_compressed_rest_is_gone_on_with_after_another_restart() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "first\n");
    flow.look();
    let lines: Vec<String> = (0..100_000).map(|n| format!("{n:07}")).collect();
    flow.append("app.log", &(lines.join("\n") + "\n"));
    flow.stop_after(0);
    flow.rename("app.log", "app.log.1");
    flow.gzip("app.log.1", "app.log.1.gz");
    flow.start();
    flow.stop_after(1);
    assert!(flow.lines.len() > 1 && flow.lines.len() < 100_000);
    flow.start();
    flow.look();
    flow.restart(|_| {});
    assert_eq!(flow.lines[1..], lines);
}

#[test]
fn two_copytruncates_between_two_looks_lose_nothing() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    let later = |flow: &Flow, name: &str, seconds: u64| {
        let time = std::time::SystemTime::now() + Duration::from_secs(seconds);
        File::options().write(true).open(flow.path(name)).unwrap().set_modified(time).unwrap();
    };
    flow.append("app.log", "2\n");
    flow.copy("app.log", "app.log.2");
    later(&flow, "app.log.2", 1);
    flow.truncate("app.log");
    flow.append("app.log", "3\n");
    flow.copy("app.log", "app.log.1");
    later(&flow, "app.log.1", 2);
    flow.truncate("app.log");
    flow.append("app.log", "4\n");
    later(&flow, "app.log", 3);
    flow.look();
    flow.restart(|_| {});
    flow.lines.sort();
    flow.expect(&["1", "2", "3", "4"]);
}

/// Its modification time is so many seconds ahead: a copy's and a generation's time must differ.
fn set_ahead(flow: &Flow, name: &str, seconds: u64) {
    let time = std::time::SystemTime::now() + Duration::from_secs(seconds);
    File::options().write(true).open(flow.path(name)).unwrap().set_modified(time).unwrap();
}

#[test]
fn a_copy_that_is_renamed_while_it_is_looked_for_is_found_by_the_next_look() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.append("app.log", "2\n");
    flow.copy("app.log", "app.log.1");
    flow.truncate("app.log");
    flow.append("app.log", "3\n");
    let listing = flow.tailers.list();
    flow.rename("app.log.1", "app.log.2");
    flow.tailers.act_on(listing, flow.now, 0);
    flow.look();
    flow.lines.sort();
    flow.expect(&["1", "2", "3"]);
}

/// It was read to its end, but a crash came before anything of it was settled.
#[test]
fn a_finished_file_that_was_not_settled_is_read_again() {
    for packed in [false, true] {
        let mut flow = Flow::new("app.log");
        flow.append("app.log", "1\n");
        flow.look();
        flow.append("app.log", "2\n");
        flow.rename("app.log", "app.log.1");
        if packed {
            flow.restart(|flow| flow.gzip("app.log.1", "app.log.1.gz"));
        }
        flow.look();
        flow.pass(40);
        flow.pass(40);
        flow.expect(&["1", "2"]);
        let row = flow.rows.values_mut().next().unwrap();
        assert_eq!(row.size, 4);
        row.state = TailState::Finished;
        (row.offset, row.anchors) = (2, vec![crate::file::Anchor::of(2, b"1\n")]);
        flow.offsets.insert(row.tail, 2);
        flow.start();
        flow.look();
        flow.expect(&["2"]);
    }
}

#[test]
fn a_copy_that_got_the_inode_of_a_deleted_file_is_still_the_rest_of_its_own() {
    for pattern in ["*.log", "*.log*"] {
        let mut flow = Flow::new(pattern);
        flow.append("a.log", "1\n");
        flow.look();
        flow.append("b.log", "deleted\n");
        flow.look();
        flow.stop_after(0);
        flow.append("a.log", "2\n");
        flow.copy("a.log", "a.log.1");
        flow.truncate("a.log");
        flow.append("a.log", "3\n");
        fs::remove_file(flow.path("b.log")).unwrap();
        let inode = fs::metadata(flow.path("a.log.1")).unwrap().ino();
        flow.rows.values_mut().last().unwrap().identity.inode = inode;
        flow.start();
        flow.look();
        flow.lines.sort();
        flow.expect(&["1", "2", "3", "deleted"]);
        assert_eq!(flow.lost, 0);
    }
}

#[test]
fn a_generation_of_a_file_that_was_empty_when_it_was_last_seen_is_read() {
    for restart in [false, true] {
        let mut flow = Flow::new("app.log");
        flow.append("app.log", "");
        flow.look();
        flow.stop_after(0);
        flow.append("app.log", "1\n");
        flow.copy("app.log", "app.log.1");
        set_ahead(&flow, "app.log.1", 1);
        flow.truncate("app.log");
        flow.append("app.log", "2\n");
        set_ahead(&flow, "app.log", 2);
        if restart {
            flow.start();
        }
        flow.look();
        flow.lines.sort();
        flow.expect(&["1", "2"]);
    }
}

#[test]
fn a_file_that_only_a_link_led_to_is_read_to_its_end_after_a_restart() {
    let mut flow = Flow::new("current");
    flow.append("a-x", "1\n");
    std::os::unix::fs::symlink("a-x", flow.path("current")).unwrap();
    flow.look();
    flow.restart(|flow| {
        flow.append("a-x", "2\n");
        flow.append("b-x", "3\n");
        fs::remove_file(flow.path("current")).unwrap();
        std::os::unix::fs::symlink("b-x", flow.path("current")).unwrap();
    });
    flow.lines.sort();
    flow.expect(&["1", "2", "3"]);
}

#[test]
fn generations_in_another_folder_are_found_once_rotation_was_seen_to_go_there() {
    let mut flow = Flow::new("logs/app.log");
    fs::create_dir(flow.path("logs")).unwrap();
    fs::create_dir(flow.path("old")).unwrap();
    flow.append("logs/app.log", "1\n");
    flow.look();
    let rotate = |flow: &Flow, line: &str, seconds: u64| {
        flow.append("logs/app.log", line);
        let time = std::time::SystemTime::now() + Duration::from_secs(seconds);
        File::options().write(true).open(flow.path("logs/app.log")).unwrap().set_modified(time).unwrap();
        if flow.path("old/app.log.1").exists() {
            flow.rename("old/app.log.1", "old/app.log.2");
        }
        flow.rename("logs/app.log", "old/app.log.1");
    };
    flow.restart(|flow| {
        rotate(flow, "2\n", 1);
        rotate(flow, "3\n", 2);
        flow.append("logs/app.log", "4\n");
        let time = std::time::SystemTime::now() + Duration::from_secs(3);
        File::options().write(true).open(flow.path("logs/app.log")).unwrap().set_modified(time).unwrap();
    });
    flow.lines.sort();
    flow.expect(&["1", "2", "3", "4"]);
    rotate(&flow, "5\n", 4);
    rotate(&flow, "6\n", 5);
    flow.append("logs/app.log", "7\n");
    flow.look();
    flow.lines.sort();
    flow.expect(&["5", "6", "7"]);
    assert_eq!(flow.lost, 0);
}

#[test]
fn a_file_that_was_truncated_repeats_nothing_after_restarts() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n2\n");
    flow.look();
    let before = flow.rows.clone();
    flow.truncate("app.log");
    flow.append("app.log", "3\n");
    flow.look();
    // Also if the row of the life before is still there.
    flow.rows.extend(before);
    flow.restart(|_| {});
    flow.restart(|_| {});
    flow.expect(&["1", "2", "3"]);
}

#[test]
fn late_lines_of_a_closed_file_that_was_moved_to_another_folder_are_read() {
    let mut flow = Flow::new("logs/app.log");
    fs::create_dir(flow.path("logs")).unwrap();
    fs::create_dir(flow.path("old")).unwrap();
    flow.append("logs/app.log", "1\n");
    flow.append("logs/other.txt", "");
    flow.look();
    flow.pass(100);
    assert!(flow.tailers.tails().all(|tail| !tail.is_open()));
    assert_eq!(flow.tailers.counters.open_files.get(), 0);
    flow.append("logs/app.log", "2\n");
    flow.rename("logs/app.log", "old/app.log.1");
    flow.look();
    flow.expect(&["1", "2"]);
}

#[test]
fn what_cannot_be_unpacked_is_never_taken_for_lines() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    fs::write(flow.path("app.log.1.xz"), "compressed\n").unwrap();
    let later = std::time::SystemTime::now() + Duration::from_secs(5);
    File::options().write(true).open(flow.path("app.log.1.xz")).unwrap().set_modified(later).unwrap();
    flow.look();
    flow.expect(&["1"]);
}

#[test]
fn a_file_that_was_moved_out_of_sight_is_read_while_somebody_writes_to_it() {
    let mut flow = Flow::new("logs/app.log");
    fs::create_dir(flow.path("logs")).unwrap();
    flow.append("logs/app.log", "1\n");
    flow.look();
    let mut writer = File::options().append(true).open(flow.path("logs/app.log")).unwrap();
    flow.rename("logs/app.log", "elsewhere");
    flow.look();
    for (line, pause) in [("2", 10), ("3", 3000), ("4", 50)] {
        writeln!(writer, "{line}").unwrap();
        flow.pass(pause);
        flow.pass(100);
    }
    flow.expect(&["1", "2", "3", "4"]);
}

#[test]
fn a_name_that_only_looks_derived_is_not_read() {
    let mut flow = Flow::new("worker.log");
    flow.append("worker.log", "1\n");
    flow.look();
    let later = std::time::SystemTime::now() + Duration::from_secs(5);
    flow.append("worker-2.log", "another program\n");
    File::options().write(true).open(flow.path("worker-2.log")).unwrap().set_modified(later).unwrap();
    flow.look();
    flow.append("worker.log", "2\n");
    flow.look();
    flow.expect(&["1", "2"]);
}

#[test]
fn a_partial_first_line_that_is_written_anew_is_read() {
    for again in ["xy\n", "rewritten\n", "another longer line\n"] {
        let mut flow = Flow::new("app.log");
        flow.append("app.log", "unfinished");
        flow.look();
        let later = std::time::SystemTime::now() + Duration::from_secs(1);
        fs::write(flow.path("app.log"), again).unwrap();
        File::options().write(true).open(flow.path("app.log")).unwrap().set_modified(later).unwrap();
        flow.look();
        flow.append("app.log", "next\n");
        flow.look();
        flow.restart(|_| {});
        flow.expect(&[again.trim_end(), "next"]);
    }
}

#[test]
fn files_with_numbered_names_and_equal_content_are_files_of_their_own() {
    let mut flow = Flow::new("*.log");
    for n in 0..300 {
        flow.append(&format!("svc-{n}.log"), "the same line\n");
    }
    flow.look();
    assert_eq!(flow.lines.len(), 300);
}

#[test]
fn a_copy_over_an_older_rotated_file_repeats_nothing() {
    for pattern in ["app.log", "app.log*"] {
        let mut flow = Flow::new(pattern);
        flow.append("app.log", "1\n");
        flow.look();
        flow.copy("app.log", "app.log.1");
        flow.truncate("app.log");
        flow.append("app.log", "2 on\n");
        flow.look();
        flow.append("app.log", "3\n");
        flow.copy("app.log", "app.log.1");
        flow.truncate("app.log");
        flow.append("app.log", "4 and more\n");
        flow.look();
        flow.restart(|_| {});
        flow.lines.sort();
        flow.expect(&["1", "2 on", "3", "4 and more"]);
    }
}

#[test]
fn what_cannot_be_told_from_a_copy_is_sent_after_a_while() {
    let mut flow = Flow::new("*.log");
    flow.append("worker.log", "started\nmore\n");
    flow.append("worker-1.log", "started\n");
    flow.look();
    flow.look();
    flow.pass(700);
    flow.lines.sort();
    flow.expect(&["more", "started", "started"]);
}

#[test]
fn the_hole_of_a_writer_that_does_not_append_is_skipped() {
    use std::os::unix::fs::FileExt;
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.truncate("app.log");
    let writer = File::options().write(true).open(flow.path("app.log")).unwrap();
    writer.write_all_at(b"2 behind the hole\n", 1_000_000).unwrap();
    flow.look();
    writer.write_all_at(b"3\n", 1_000_018).unwrap();
    flow.look();
    flow.restart(|_| {});
    flow.expect(&["1", "2 behind the hole", "3"]);
}

#[test]
fn a_truncation_between_the_listing_and_the_look_repeats_nothing() {
    let mut flow = Flow::new("app.log*");
    flow.append("app.log", "1\n");
    flow.look();
    flow.copy("app.log", "app.log.1");
    let listing = flow.tailers.list();
    flow.truncate("app.log");
    flow.append("app.log", "2 and more\n");
    flow.tailers.act_on(listing, flow.now, 0);
    flow.look();
    flow.restart(|_| {});
    flow.expect(&["1", "2 and more"]);
}

#[test]
fn a_generation_that_was_born_after_a_look_at_an_empty_place_is_read() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.rename("app.log", "app.log.2");
    flow.look();
    let later = std::time::SystemTime::now() + Duration::from_secs(2);
    flow.append("app.log", "2\n");
    File::options().write(true).open(flow.path("app.log")).unwrap().set_modified(later).unwrap();
    flow.rename("app.log", "app.log.1");
    flow.append("app.log", "3\n");
    flow.look();
    flow.lines.sort();
    flow.expect(&["1", "2", "3"]);
}

#[test]
fn a_copy_that_shrinks_after_it_was_listed_is_no_copy_and_no_panic() {
    let mut flow = Flow::new("app.log");
    for part in ["1\n", "2\n", "3\n"] {
        flow.append("app.log", part);
        flow.look();
    }
    flow.append("app.log.1", "1\n2\n");
    flow.truncate("app.log");
    flow.append("app.log", "4\n");
    let listing = flow.tailers.list();
    flow.truncate("app.log.1");
    flow.tailers.act_on(listing, flow.now, 0);
    flow.look();
    flow.expect(&["1", "2", "3", "4"]);
}

#[test]
fn a_second_copytruncate_that_is_seen_in_the_middle_repeats_nothing() {
    for pattern in ["app.log", "app.log*"] {
        let mut flow = Flow::new(pattern);
        flow.append("app.log", "a1\n");
        flow.look();
        flow.append("app.log", "a2\n");
        flow.copy("app.log", "app.log.2");
        flow.truncate("app.log");
        flow.append("app.log", "b1\nb2\nb3\n");
        // First nothing is copied yet, then all is.
        flow.append("app.log.1", "");
        flow.look();
        flow.copy("app.log", "app.log.1");
        flow.look();
        flow.truncate("app.log");
        flow.append("app.log", "c1\n");
        flow.look();
        flow.expect(&["a1", "a2", "b1", "b2", "b3", "c1"]);
        flow.append("app.log", "c2\n");
        flow.copy("app.log", "app.log.3");
        flow.truncate("app.log");
        flow.append("app.log", "d1\nd2\nd3\n");
        flow.copy("app.log", "app.log.4");
        flow.look();
        flow.truncate("app.log");
        flow.append("app.log", "e1\n");
        flow.look();
        flow.expect(&["c2", "d1", "d2", "d3", "e1"]);
    }
}

#[test]
fn a_generation_that_a_look_missed_since_names_moved_is_read_at_the_next() {
    for pattern in ["app.log", "app.log*"] {
        let mut flow = Flow::new(pattern);
        flow.append("app.log", "1\n");
        flow.look();
        flow.rename("app.log", "app.log.2");
        flow.append("app.log", "2\n");
        flow.rename("app.log", "app.log.1");
        flow.append("app.log", "3\n");
        let listing = flow.tailers.list().having_missed(&flow.path("app.log.1"));
        flow.tailers.act_on(listing, flow.now, 0);
        assert!(flow.tailers.scan_due, "the next look comes at once");
        flow.look();
        flow.lines.sort();
        flow.expect(&["1", "2", "3"]);
    }
}

#[test]
fn a_closed_file_that_a_look_missed_since_names_moved_is_not_given_up() {
    let mut flow = Flow::new("app.log*");
    flow.append("app.log.1", "1\n");
    flow.append("app.log", "a\n");
    flow.look();
    flow.pass(100);
    flow.lines.clear();
    flow.rename("app.log.1", "app.log.2");
    let listing = flow.tailers.list().having_missed(&flow.path("app.log.2"));
    flow.tailers.act_on(listing, flow.now, 0);
    flow.append("app.log.2", "2\n");
    flow.look();
    flow.expect(&["2"]);
}

#[test]
fn names_that_never_rest_do_not_keep_a_file_that_is_gone() {
    let mut flow = Flow::new("app.log*");
    flow.append("app.log.1", "1\n");
    flow.append("app.log", "a\n");
    flow.look();
    flow.pass(100);
    fs::remove_file(flow.path("app.log.1")).unwrap();
    for left in [2, 1] {
        let listing = flow.tailers.list().having_missed(&flow.path("app.log.1"));
        flow.tailers.act_on(listing, flow.now, 0);
        assert_eq!(flow.tailers.tails().count(), left);
        flow.now += Duration::from_secs(10);
    }
}

#[test]
fn a_file_that_was_out_of_sight_for_a_look_is_live_again() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\nthe first half");
    flow.look();
    let listing = flow.tailers.list().having_missed(&flow.path("app.log"));
    flow.tailers.act_on(listing, flow.now, 0);
    flow.pass(0);
    flow.pass(40);
    flow.append("app.log", " and the second\n");
    flow.look();
    flow.expect(&["1", "the first half and the second"]);
}

#[test]
fn a_file_that_may_not_be_looked_at_for_a_while_is_not_given_up() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.pass(100);
    let mut listing = flow.tailers.list().having_missed(&flow.path("app.log"));
    listing.in_motion = false;
    listing.errors.push((flow.path(""), io::ErrorKind::PermissionDenied.into()));
    flow.tailers.act_on(listing, flow.now, 0);
    flow.append("app.log", "2\n");
    flow.look();
    flow.expect(&["1", "2"]);
}

#[test]
fn a_generation_of_the_same_moment_as_the_one_before_it_is_read() {
    let mut flow = Flow::new("app.log");
    let now = std::time::SystemTime::now();
    let write = |flow: &Flow, text: &str| {
        flow.append("app.log", text);
        File::options().append(true).open(flow.path("app.log")).unwrap().set_modified(now).unwrap();
    };
    write(&flow, "1\n");
    flow.look();
    flow.rename("app.log", "app.log.2");
    write(&flow, "2\n");
    flow.rename("app.log", "app.log.1");
    write(&flow, "3\n");
    flow.look();
    flow.lines.sort();
    flow.expect(&["1", "2", "3"]);
}

#[test]
fn reserved_space_is_not_sent_and_what_is_written_into_it_is() {
    use std::os::unix::fs::FileExt;
    for reserved in [3000, 5 << 20] {
        let mut flow = Flow::new("app.log");
        let file = File::create(flow.path("app.log")).unwrap();
        file.set_len(reserved).unwrap();
        flow.look();
        for (n, line) in ["1\n", "2\n", "3\n"].iter().enumerate() {
            file.write_all_at(line.as_bytes(), 2 * n as u64).unwrap();
            let later = std::time::SystemTime::now() + Duration::from_secs(n as u64);
            file.set_modified(later).unwrap();
            flow.pass(1);
            flow.expect(&[line.trim_end()]);
        }
        flow.restart(|_| {});
        file.set_len(6).unwrap();
        flow.append("app.log", "4\n");
        flow.rename("app.log", "app.log.1");
        flow.look();
        flow.pass(100);
        flow.expect(&["4"]);
        assert_eq!(flow.lost, 0);
    }
}

#[test]
fn a_generation_that_was_born_while_stopped_at_a_place_that_was_empty_then_is_read() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.rename("app.log", "app.log.1");
    flow.look();
    flow.restart(|flow| {
        flow.append("app.log", "2\n");
        flow.rename("app.log", "app.log.2");
        flow.append("app.log", "3\n");
    });
    flow.lines.sort();
    flow.expect(&["1", "2", "3"]);
}

#[test]
fn a_file_that_no_rotation_explains_in_a_look_during_which_names_moved_is_no_stranger() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    // The look saw the old file at its name before the rotation, and the others after it.
    let mut before = flow.tailers.list().files;
    flow.rename("app.log", "app.log.2");
    flow.append("app.log", "2\n");
    flow.rename("app.log", "app.log.1");
    flow.append("app.log", "3\n");
    let mut listing = flow.tailers.list().having_missed(&flow.path("app.log"));
    listing.files.append(&mut before);
    flow.tailers.act_on(listing, flow.now, 0);
    flow.look();
    flow.lines.sort();
    flow.expect(&["1", "2", "3"]);
}

#[test]
fn a_generation_that_moved_between_the_look_and_its_opening_is_read_at_the_next() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.rename("app.log", "app.log.2");
    flow.append("app.log", "2\n");
    flow.rename("app.log", "app.log.1");
    let later = std::time::SystemTime::now() + Duration::from_secs(2);
    flow.append("app.log", "3\n");
    File::options().append(true).open(flow.path("app.log")).unwrap().set_modified(later).unwrap();
    let listing = flow.tailers.list();
    flow.rename("app.log.2", "app.log.3");
    flow.rename("app.log.1", "app.log.2");
    flow.tailers.act_on(listing, flow.now, 0);
    flow.look();
    flow.lines.sort();
    flow.expect(&["1", "2", "3"]);
}

/// A look at what was listed, and a crash when all that it told is stored but nothing more.
fn act_and_crash(flow: &mut Flow, listing: Listing) {
    flow.tailers.act_on(listing, flow.now, 0);
    flow.collect();
    flow.settle();
    flow.start();
    flow.look();
}

#[test]
fn a_generation_that_is_compressed_while_it_is_looked_at_is_read_also_after_a_crash() {
    for pattern in ["app.log", "app.log*"] {
        for stopped in [false, true] {
            let mut flow = Flow::new(pattern);
            flow.append("app.log", "1\n");
            flow.look();
            if stopped {
                flow.settle();
                flow.start();
            }
            flow.rename("app.log", "app.log.1");
            flow.append("app.log", "2\n");
            flow.rename("app.log", "app.log.2");
            flow.append("app.log", "3\n");
            let listing = flow.tailers.list();
            flow.gzip("app.log.2", "app.log.2.gz");
            act_and_crash(&mut flow, listing);
            flow.lines.sort();
            flow.expect(&["1", "2", "3"]);
        }
    }
}

#[test]
fn a_generation_that_a_look_missed_since_names_moved_is_read_also_after_a_crash() {
    for pattern in ["app.log", "app.log*"] {
        let mut flow = Flow::new(pattern);
        flow.append("app.log", "1\n");
        flow.look();
        flow.rename("app.log", "app.log.1");
        flow.append("app.log", "2\n");
        flow.gzip("app.log", "app.log.2.gz");
        flow.append("app.log", "3\n");
        let listing = flow.tailers.list().having_missed(&flow.path("app.log.2.gz"));
        act_and_crash(&mut flow, listing);
        flow.lines.sort();
        flow.expect(&["1", "2", "3"]);
    }
}

#[test]
fn a_copy_that_was_made_after_the_listing_repeats_nothing() {
    for pattern in ["app.log", "app.log*"] {
        for moves in [false, true] {
            let mut flow = Flow::new(pattern);
            flow.append("app.log", "1\n");
            flow.look();
            flow.append("app.log", "2\n");
            let mut listing = flow.tailers.list();
            flow.copy("app.log", "app.log.1");
            flow.truncate("app.log");
            if moves {
                // The names were read before the copy came, and the sizes after the truncation.
                listing = flow.tailers.list().having_missed(&flow.path("app.log.1"));
            }
            flow.tailers.act_on(listing, flow.now, 0);
            flow.append("app.log", "3\n");
            flow.look();
            flow.restart(|_| {});
            flow.expect(&["1", "2", "3"]);
        }
    }
}

#[test]
fn a_file_that_was_empty_is_not_what_was_compressed_into_its_inode() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.settle();
    let inode = {
        flow.gzip("app.log", "app.log.1.gz");
        fs::metadata(flow.path("app.log.1.gz")).unwrap().ino()
    };
    // Of a life that was seen when it was empty the row is left.
    let mut empty = flow.rows.values().next().unwrap().clone();
    empty.tail = TailId(0);
    empty.identity =
        Identity { inode, head_length: 0, head_hash: xxhash_rust::xxh3::xxh3_64(b""), ..empty.identity };
    (empty.offset, empty.size, empty.anchors) = (0, 0, Vec::new());
    flow.rows.insert(empty.tail, empty);
    flow.offsets.insert(TailId(0), 0);
    flow.append("app.log", "2\n");
    flow.start();
    flow.look();
    flow.expect(&["1", "2"]);
}

#[test]
fn a_file_that_is_compressed_while_it_is_first_looked_at_is_read() {
    let mut flow = Flow::new("app.log*");
    flow.append("app.log.1", "1\n");
    flow.append("app.log", "2\n");
    let listing = flow.tailers.list();
    flow.gzip("app.log.1", "app.log.1.gz");
    flow.tailers.act_on(listing, flow.now, 0);
    flow.look();
    flow.lines.sort();
    flow.expect(&["1", "2"]);
}

#[test]
fn a_file_that_was_empty_is_not_the_copy_that_got_its_inode() {
    for pattern in ["*.log", "*.log*"] {
        let mut flow = Flow::new(pattern);
        flow.append("e.log", "");
        flow.append("f.log", "1\n");
        flow.look();
        flow.settle();
        flow.append("f.log", "2\n");
        flow.rename("e.log", "f.log.1");
        flow.copy("f.log", "f.log.1");
        flow.truncate("f.log");
        flow.append("f.log", "3\n");
        flow.append("e.log", "4\n");
        flow.start();
        flow.look();
        flow.lines.sort();
        flow.expect(&["1", "2", "3", "4"]);
    }
}

#[test]
fn a_tail_that_moved_into_a_copy_is_newer_than_the_file_whose_inode_the_copy_got() {
    for shifted in [false, true] {
        let mut flow = Flow::new("*.log*");
        flow.append("c.log", "1\n");
        flow.look();
        flow.append("c.log", "2\n");
        flow.copy("c.log", "c.log.1");
        flow.truncate("c.log");
        flow.append("c.log", "3\n");
        flow.look();
        flow.settle();
        let copy = flow.rows.values().find(|row| row.path.ends_with("c.log.1")).unwrap();
        let mut gone = KnownTail { tail: TailId(1000), path: flow.path("g.log").into(), ..copy.clone() };
        gone.identity.head_hash ^= 1;
        (gone.offset, gone.anchors) = (0, Vec::new());
        gone.modified_millis -= 1000;
        flow.rows.insert(gone.tail, gone);
        if shifted {
            flow.rename("c.log.1", "c.log.2");
        }
        flow.start();
        flow.look();
        flow.expect(&["1", "2", "3"]);
    }
}

#[test]
fn a_copytruncate_that_is_noticed_just_before_a_stop_is_gone_on_with() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.tailers.scan(flow.now, 0);
    flow.copy("app.log", "app.log.1");
    flow.truncate("app.log");
    flow.gzip("app.log.1", "app.log.1.gz");
    flow.tailers.turn(flow.now, &flow.budget);
    // What is stored must not say that the file, empty as it is now, was the one that was known.
    flow.restart(|_| ());
    flow.expect(&["1"]);
}

#[test]
fn a_copytruncate_whose_reading_waits_at_a_stop_is_gone_on_with() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.append("app.log", "2\n");
    flow.tailers.scan(flow.now, 0);
    flow.copy("app.log", "app.log.1");
    flow.truncate("app.log");
    flow.gzip("app.log.1", "app.log.1.gz");
    // The folder is busy and polled; there is no memory for a read.
    flow.tailers.poll(flow.folder.path(), Duration::from_secs(60), flow.now);
    flow.restart(|_| ());
    flow.expect(&["1", "2"]);
}

#[test]
fn a_copy_that_was_first_seen_as_a_file_of_its_own_is_not_read_again_from_its_compression() {
    let mut flow = Flow::new("app.log*");
    flow.append("app.log", "1\n");
    flow.copy("app.log", "app.log.1");
    flow.truncate("app.log");
    flow.tailers.scan(flow.now, 0);
    flow.rename("app.log.1", "app.log.2");
    flow.rename("app.log", "app.log.1");
    flow.append("app.log", "");
    flow.gzip("app.log.2", "app.log.2.gz");
    flow.look();
    flow.expect(&["1"]);
}

#[test]
fn what_is_older_than_a_file_that_was_deleted_while_stopped_is_no_generation() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log.1", "old\n");
    set_ahead(&flow, "app.log.1", 1);
    flow.append("app.log", "1\n");
    set_ahead(&flow, "app.log", 2);
    flow.look();
    flow.restart(|flow| {
        fs::remove_file(flow.path("app.log")).unwrap();
    });
    flow.expect(&["1"]);
}

#[test]
fn what_took_the_place_of_a_file_is_read_however_alike_it_begins() {
    for to in ["app-1.log", "app-1.log.1"] {
        let mut flow = Flow::new("app-*.log");
        flow.append("app-1.log", "banner\n");
        flow.look();
        flow.append("app-1.log", "1\n2\n3\n4\n");
        flow.look();
        flow.expect(&["banner", "1", "2", "3", "4"]);
        flow.restart(|flow| {
            flow.append("new", "banner\n5\n");
            fs::remove_file(flow.path("app-1.log")).unwrap();
            flow.rename("new", to);
        });
        flow.expect(&["banner", "5"]);
    }
}

#[test]
fn copytruncate_of_a_file_that_always_begins_with_the_same_line_loses_and_repeats_nothing() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "banner\n");
    flow.look();
    flow.append("app.log", "1\n2\n3\n4\n");
    flow.look();
    flow.append("app.log", "5\n");
    flow.copy("app.log", "app.log.1");
    flow.truncate("app.log");
    flow.append("app.log", "banner\n6\n");
    flow.look();
    flow.expect(&["banner", "1", "2", "3", "4", "5", "banner", "6"]);
}

#[test]
fn a_generation_that_was_born_while_stopped_beside_one_in_another_folder_is_read() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    fs::create_dir(flow.path("old")).unwrap();
    flow.rename("app.log", "old/app.log.1");
    flow.look();
    flow.restart(|flow| {
        flow.append("app.log", "2\n");
        flow.rename("app.log", "app.log-20260101");
        flow.append("app.log", "3\n");
    });
    flow.expect(&["1", "2", "3"]);
}

#[test]
fn what_was_regrown_while_there_was_no_memory_is_read_also_after_it_is_deleted() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    fs::write(flow.path("app.log"), "2\n3\n").unwrap();
    flow.tailers.written(&flow.path("app.log"));
    let no_memory = Budget::new(0, 1).flow();
    assert_eq!(flow.tailers.turn(flow.now, &no_memory), Turn::Blocked);
    flow.tailers.scan(flow.now, 0);
    fs::remove_file(flow.path("app.log")).unwrap();
    flow.look();
    flow.expect(&["1", "2", "3"]);
}

#[test]
fn a_read_head_is_stored_although_the_file_was_cut_just_before_a_stop() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "");
    flow.look();
    flow.append("app.log", "1\n");
    flow.tailers.written(&flow.path("app.log"));
    flow.tailers.turn(flow.now, &flow.budget);
    flow.collect();
    flow.copy("app.log", "app.log.1");
    flow.truncate("app.log");
    flow.tailers.written(&flow.path("app.log"));
    flow.tailers.turn(flow.now, &flow.budget);
    flow.restart(|_| ());
    flow.expect(&["1"]);
}

#[test]
fn a_file_that_was_empty_is_not_the_copy_of_a_newcomer_that_got_its_inode() {
    let mut flow = Flow::new("a*.log");
    flow.append("a1.log", "");
    flow.look();
    flow.stop_after(0);
    fs::remove_file(flow.path("a1.log")).unwrap();
    flow.append("a2.log", "2\n");
    flow.copy("a2.log", "a2.log.1");
    // The file system gives the inode of the first to the copy.
    let inode = fs::metadata(flow.path("a2.log.1")).unwrap().ino();
    flow.rows.values_mut().next().unwrap().identity.inode = inode;
    flow.start();
    flow.look();
    flow.expect(&["2"]);
}

#[test]
fn a_file_that_got_an_inode_and_is_renamed_after_it_was_read_as_another_is_read_once() {
    let mut flow = Flow::new("app.log*");
    flow.append("app.log", "1\n");
    flow.look();
    flow.expect(&["1"]);
    flow.stop_after(0);
    fs::remove_file(flow.path("app.log")).unwrap();
    flow.append("app.log", "2\n3\n");
    let inode = fs::metadata(flow.path("app.log")).unwrap().ino();
    flow.rows.values_mut().for_each(|row| (row.identity.inode, row.size) = (inode, 10));
    flow.start();
    flow.tailers.max_open.store(0, Ordering::Relaxed);
    flow.tailers.turn(flow.now, &flow.budget);
    flow.rename("app.log", "app.log.1");
    flow.look();
    flow.expect(&["2", "3"]);
}

#[test]
fn the_compression_of_an_open_file_is_not_the_empty_one_whose_inode_it_got() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.rename("app.log", "app.log.2");
    flow.append("app.log.1", "");
    flow.gzip("app.log.1", "app.log.1.gz");
    flow.append("app.log", "2\n");
    flow.look();
    flow.expect(&["1", "2"]);
    flow.stop_after(0);
    fs::remove_file(flow.path("app.log.1.gz")).unwrap();
    // Its row, and the file system gives its inode to the compression of the other.
    flow.start();
    flow.tailers.scan(flow.now, 0);
    flow.gzip("app.log.2", "app.log.2.gz");
    let inode = fs::metadata(flow.path("app.log.2.gz")).unwrap().ino();
    let device = fs::metadata(flow.path("app.log.2.gz")).unwrap().dev();
    let empty = KnownTail {
        tail: TailId(77),
        path: Arc::from(flow.path("app.log.1.gz")),
        identity: Identity { device, inode, ..Identity::default() },
        offset: 0,
        anchors: Vec::new(),
        size: 0,
        modified_millis: 0,
        state: TailState::Rotated,
    };
    flow.tailers.take_up(vec![empty]);
    flow.look();
    flow.expect(&[]);
}

#[test]
fn a_rest_is_found_compressed_although_another_file_has_its_inode() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.rename("app.log", "app.log.1");
    flow.append("app.log.1", "2\n");
    flow.append("app.log", "3\n");
    flow.look();
    flow.expect(&["1", "2", "3"]);
    flow.stop_after(0);
    // Not all of the first was settled.
    let first = flow.rows.values_mut().next().unwrap();
    (first.offset, first.anchors) = (2, vec![crate::file::Anchor::of(2, b"1\n")]);
    flow.offsets.insert(first.tail, 2);
    // The file system gave its inode to the second.
    first.identity.inode = fs::metadata(flow.folder.path().join("app.log")).unwrap().ino();
    flow.gzip("app.log.1", "app.log.1.gz");
    flow.start();
    flow.look();
    flow.expect(&["2"]);
}

#[test]
fn a_file_that_moved_to_the_name_of_another_that_had_its_inode_is_not_read_again() {
    for later in [-1000, 1000] {
        let mut flow = Flow::new("*.log*");
        flow.append("app.log.2", "1\n");
        flow.look();
        flow.expect(&["1"]);
        flow.settle();
        let row = flow.rows.values().next().unwrap();
        let mut gone = KnownTail { tail: TailId(1000), path: flow.path("app.log.1").into(), ..row.clone() };
        gone.identity.head_hash ^= 1;
        gone.modified_millis += later;
        flow.rows.insert(gone.tail, gone);
        flow.rename("app.log.2", "app.log.1");
        flow.start();
        flow.look();
        flow.expect(&[]);
    }
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

#[test]
fn a_generation_of_a_name_of_which_nothing_is_stored_is_read_if_the_flow_is_older() {
    for pattern in ["app.log", "app.log*", "app*.log"] {
        for at_home in [true, false] {
            let mut flow = started_before(pattern);
            flow.append("app.log", "ancient\n");
            flow.gzip("app.log", "app.log.3.gz");
            flow.modified_ago("app.log.3.gz", 100);
            flow.append("app.log", "1\n");
            flow.gzip("app.log", "app.log.2.gz");
            flow.modified_ago("app.log.2.gz", 20);
            flow.append("app.log", "2\n");
            flow.modified_ago("app.log", 10);
            flow.rename("app.log", "app.log.1");
            if at_home {
                flow.append("app.log", "3\n");
            }
            flow.look();
            flow.lines.sort();
            flow.expect(if at_home { &["1", "2", "3"] } else { &["1", "2"] });
            flow.stop_after(0);
            flow.start_since(millis_ago(60));
            flow.look();
            flow.expect(&[]);
        }
    }
}

#[test]
fn a_dated_file_that_was_born_and_compressed_while_stopped_is_read() {
    let mut flow = Flow::new("app-*.log");
    flow.append("app-20260101.log", "1\n");
    flow.modified_ago("app-20260101.log", 300);
    flow.look();
    flow.stop_after(0);
    flow.append("app-20260102.log", "2\n");
    flow.gzip("app-20260102.log", "app-20260102.log.gz");
    flow.modified_ago("app-20260102.log.gz", 200);
    flow.append("app-20250101.log", "ancient\n");
    flow.gzip("app-20250101.log", "app-20250101.log.gz");
    flow.modified_ago("app-20250101.log.gz", 3000);
    flow.append("app-20260103.log", "3\n");
    flow.start_since(millis_ago(10_000));
    flow.look();
    flow.lines.sort();
    flow.expect(&["1", "2", "3"]);
}

#[test]
fn what_was_compressed_before_the_first_look_of_a_flow_is_left_alone() {
    for pattern in ["app.log", "app.log*"] {
        let mut flow = Flow::with(tempfile::tempdir().unwrap(), pattern, InitialPosition::StartOfFile, true);
        flow.append("app.log", "before\n");
        flow.gzip("app.log", "app.log.1.gz");
        flow.append("app.log", "1\n");
        flow.look();
        flow.expect(&["1"]);
    }
}

/// What a start finds is stored in parts, should it be killed: no part may hide the rest.
#[test]
fn a_generation_of_an_unknown_name_is_read_whatever_was_stored_at_a_start_that_was_killed() {
    for stored in 0..4 {
        let mut flow = started_before("*.log");
        flow.append("app.log", "1\n");
        flow.gzip("app.log", "app.log.2.gz");
        flow.append("app.log", "2\n");
        flow.gzip("app.log", "app.log.1.gz");
        flow.append("app.log", "3\n");
        flow.append("other.log", "4\n");
        flow.tailers.scan(flow.now, 0);
        flow.tailers.notes.truncate(stored);
        flow.tailers.events.clear();
        flow.collect();
        flow.settle();
        let first_start = flow.tailers.past.first_start_millis;
        flow.start_since(first_start);
        flow.look();
        flow.lines.sort();
        flow.expect(&["1", "2", "3", "4"]);
    }
}

#[test]
fn archives_that_a_wider_pattern_matches_are_left_alone() {
    let mut flow = Flow::new("*.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.append("other.log", "ancient\n");
    flow.gzip("other.log", "other.log.1.gz");
    flow.modified_ago("other.log.1.gz", 1000);
    flow.append("other.log", "2\n");
    flow.stop_after(0);
    flow.start_since(millis_ago(10_000));
    flow.look();
    flow.lines.sort();
    flow.expect(&["1", "2"]);
}
