//! The settle stage as a whole, with a real database in a folder of its own: what is stored and
//! when, what is told to whom, and what happens while the disk refuses.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::*;
use crate::file::{Chunk, Identity, Span, TailId, TailState};
use crate::observe::status::FilesQuery;
use crate::settle::store::tests::lock_writers_out;
use crate::settle::{FlowIdentity, Resumed};

const KEY: &str = "firehose:web access";

struct Outlets {
    notes: mpsc::Sender<TailNote>,
    settled: mpsc::Sender<Vec<Settled>>,
    dead: mpsc::Sender<DeadLetter>,
    oversized: mpsc::Sender<(Arc<str>, Dead)>,
    changes: mpsc::Sender<FlowChange>,
    questions: mpsc::Sender<Question>,
    rung: Arc<AtomicUsize>,
    counters: Arc<FlowCounters>,
    checkpoints: Arc<Checkpoints>,
}

fn identity(key: &str) -> FlowIdentity {
    FlowIdentity {
        key: key.into(),
        destination_prefix: "firehose:web ".into(),
        begins: true,
        matches: Box::new(|_| true),
        lets_go: Box::new(|_| false),
    }
}

fn open(folder: &Path) -> (Store, Resumed) {
    let (mut store, warnings) = Store::open(&folder.join("c.db"), SystemTime::now()).unwrap();
    assert_eq!(warnings, []);
    let flows = [identity(KEY)];
    let resumed = store.resume(&flows, SystemTime::now()).unwrap().remove(0);
    (store, resumed)
}

fn start(folder: &TempDir, max_letter_bytes: u64) -> (Outlets, JoinHandle<Summary>) {
    let (store, resumed) = open(folder.path());
    let counters = Arc::<FlowCounters>::default();
    let flow = SettlerFlow {
        key: KEY.into(),
        name: "access".into(),
        destination: "firehose:web".into(),
        counters: counters.clone(),
        known: resumed.known,
    };
    let rung = Arc::new(AtomicUsize::new(0));
    let bell = rung.clone();
    let bell: Bell = Box::new(move || {
        bell.fetch_add(1, Ordering::Relaxed);
    });
    let checkpoints = Arc::<Checkpoints>::default();
    let letters = DeadLetters::new(folder.path().join("d.jsonl"), max_letter_bytes);
    let settler = Settler::new(store, letters, vec![flow], bell, checkpoints.clone());
    let (notes, notes_rx) = mpsc::channel(8);
    let (settled, settled_rx) = mpsc::channel(8);
    let (dead, dead_rx) = mpsc::channel(8);
    let (oversized, oversized_rx) = mpsc::channel(8);
    let (changes, changes_rx) = mpsc::channel(1);
    let (questions, questions_rx) = mpsc::channel(8);
    let inlets = Inlets {
        notes: notes_rx,
        settled: settled_rx,
        dead: dead_rx,
        oversized: oversized_rx,
        changes: changes_rx,
        questions: questions_rx,
    };
    (
        Outlets { notes, settled, dead, oversized, changes, questions, rung, counters, checkpoints },
        tokio::spawn(settler.run(inlets, CancellationToken::new())),
    )
}

fn started(tail: u64, offset: u64, stored: Option<Stored>) -> TailNote {
    let known = KnownTail {
        tail: TailId(tail),
        path: std::path::Path::new("/var/log/a.log").into(),
        identity: Identity::default(),
        offset,
        anchors: Vec::new(),
        size: 100,
        modified_millis: 0,
        state: TailState::Live,
    };
    TailNote::Started { flow: KEY.into(), known, stored }
}

fn chunk() -> Chunk {
    Chunk::new(TailId(1), 0, Bytes::from(vec![b'x'; 100]), 0)
}

fn letter(start: u64, end: u64) -> DeadLetter {
    let span = Span::new(start, end);
    letter_of(KEY.into(), Dead { payload: chunk().slice(span), chunk: chunk(), span, reason: "too long" })
}

fn offset(folder: &TempDir) -> u64 {
    open(folder.path()).1.known[0].offset
}

#[tokio::test]
async fn what_is_settled_is_stored_before_it_ends_and_gone_on_from() {
    let folder = tempfile::tempdir().unwrap();
    let (to, task) = start(&folder, 1000);
    to.notes.send(started(1, 0, None)).await.unwrap();
    for span in [Span::new(20, 30), Span::new(0, 10)] {
        to.settled.send(vec![Settled::new(&chunk(), span)]).await.unwrap();
    }
    drop(to);
    assert_eq!(task.await.unwrap(), Summary { stored: true, unwritten_letters: 0 });
    assert_eq!(offset(&folder), 10);
    let (to, task) = start(&folder, 1000);
    to.settled.send(vec![Settled::new(&chunk(), Span::new(10, 30))]).await.unwrap();
    let counters = to.counters.clone();
    drop(to);
    task.await.unwrap();
    assert_eq!(offset(&folder), 30);
    assert_eq!(counters.lag_bytes.load(Ordering::Relaxed), 70);
}

#[tokio::test(start_paused = true)]
async fn a_start_position_is_on_disk_before_it_may_be_read_from() {
    let folder = tempfile::tempdir().unwrap();
    let (to, task) = start(&folder, 1000);
    let stored = Stored::default();
    to.notes.send(started(1, 70, Some(stored.clone()))).await.unwrap();
    while !stored.is_set() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let copy = folder.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    for name in ["c.db", "c.db-wal"] {
        std::fs::copy(folder.path().join(name), copy.join(name)).unwrap();
    }
    assert_eq!(open(&copy).1.known[0].offset, 70);
    assert_eq!(to.rung.load(Ordering::Relaxed), 1);
    drop(to);
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_settles_once_it_is_on_disk_and_waits_while_the_file_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let (to, task) = start(&folder, 300);
    to.notes.send(started(1, 0, None)).await.unwrap();
    to.dead.send(letter(0, 10)).await.unwrap();
    let span = Span::new(10, 20);
    let dead = Dead { payload: chunk().slice(span), chunk: chunk(), span, reason: "too long" };
    to.oversized.send((KEY.into(), dead)).await.unwrap();
    let file = folder.path().join("d.jsonl");
    let moved = folder.path().join("moved");
    while to.counters.records_dead.get() < 1 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(to.counters.records_dead.get(), 1, "the second does not fit");
    std::fs::rename(&file, &moved).unwrap();
    while to.counters.records_dead.get() < 2 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    to.dead.send(letter(20, 30)).await.unwrap();
    drop(to);
    assert_eq!(task.await.unwrap(), Summary { stored: true, unwritten_letters: 1 });
    assert_eq!(offset(&folder), 20);
    let text = std::fs::read_to_string(&moved).unwrap() + &std::fs::read_to_string(&file).unwrap();
    let starts: Vec<u64> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["offset"].as_u64().unwrap())
        .collect();
    assert_eq!(starts, [0, 10]);
    assert!(text.contains("/var/log/a.log"));
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_fails_is_made_up_for_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let (to, task) = start(&folder, 300);
    let other = lock_writers_out(&folder.path().join("c.db"));
    let stored = Stored::default();
    to.notes.send(started(1, 40, Some(stored.clone()))).await.unwrap();
    to.settled.send(vec![Settled::new(&chunk(), Span::new(40, 50))]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(!stored.is_set() && to.rung.load(Ordering::Relaxed) == 0);
    let report = to.checkpoints.report();
    assert!(report.age >= Duration::from_secs(29) && report.commits == 0 && report.failures > 0);
    assert!(report.last_error.is_some());
    drop(other);
    while !stored.is_set() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let checkpoints = to.checkpoints.clone();
    drop(to);
    assert!(task.await.unwrap().stored);
    assert_eq!(checkpoints.report().age, Duration::ZERO);
    assert_eq!(offset(&folder), 50);
}

#[tokio::test]
async fn a_question_is_answered_while_a_commit_cannot_be_made() {
    let folder = tempfile::tempdir().unwrap();
    let (to, task) = start(&folder, 300);
    let other = lock_writers_out(&folder.path().join("c.db"));
    let stored = Stored::default();
    to.notes.send(started(1, 40, Some(stored.clone()))).await.unwrap();
    let files = loop {
        let (reply, answer) = oneshot::channel();
        to.questions.send(Question { query: FilesQuery::default(), reply }).await.unwrap();
        let files = answer.await.unwrap();
        if files.total > 0 {
            break files;
        }
    };
    assert!(!stored.is_set());
    let file = &files.items[0];
    assert_eq!((file.flow.as_str(), file.path.as_str()), ("access", "/var/log/a.log"));
    assert_eq!((file.size, file.settled, file.lag_bytes), (100, 40, 60));
    assert!(file.lag_seconds > 1e6, "the file was last written long ago");
    drop(other);
    drop(to);
    assert!(task.await.unwrap().stored);
}

async fn change(to: &Outlets, removed: &[&str], flows: &[&str], added: &[&str]) -> FlowsResumed {
    let (reply, answer) = oneshot::channel();
    let added = added.iter().map(|key| SettlerFlow {
        key: (*key).into(),
        name: "added".into(),
        destination: "firehose:web".into(),
        counters: Arc::default(),
        known: Vec::new(),
    });
    let change = FlowChange {
        removed: removed.iter().map(|key| (*key).into()).collect(),
        flows: flows.iter().map(|key| identity(key)).collect(),
        added: added.collect(),
        reply,
    };
    to.changes.send(change).await.unwrap();
    answer.await.unwrap()
}

#[tokio::test]
async fn a_flow_that_begins_takes_over_what_one_that_ended_had_settled_last() {
    let folder = tempfile::tempdir().unwrap();
    let (to, task) = start(&folder, 1000);
    to.notes.send(started(1, 0, None)).await.unwrap();
    to.settled.send(vec![Settled::new(&chunk(), Span::new(0, 30))]).await.unwrap();
    let resumed = change(&to, &[KEY], &["firehose:web new"], &["firehose:web new"]).await.unwrap();
    assert_eq!((resumed[0].known[0].offset, resumed[0].is_first), (30, false));
    to.settled.send(vec![Settled::new(&chunk(), Span::new(30, 40))]).await.unwrap();
    let resumed = change(&to, &["firehose:web new"], &[KEY], &[KEY]).await.unwrap();
    assert_eq!(resumed[0].known[0].offset, 40, "the new flow settled it");
    drop(to);
    task.await.unwrap();
    assert_eq!(offset(&folder), 40);
}

/// The agent's own age has nothing to do with that of the bytes.
#[tokio::test(start_paused = true)]
async fn what_a_new_flow_takes_over_is_as_old_as_its_file_says() {
    let folder = tempfile::tempdir().unwrap();
    let (to, task) = start(&folder, 1000);
    to.notes.send(started(1, 0, None)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10_000)).await;
    change(&to, &[KEY], &["firehose:web new"], &["firehose:web new"]).await.unwrap();
    let (reply, answer) = oneshot::channel();
    to.questions.send(Question { query: FilesQuery::default(), reply }).await.unwrap();
    let file = answer.await.unwrap().items.remove(0);
    let since_written = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((file.lag_seconds - since_written).abs() < 1000.0, "{} {since_written}", file.lag_seconds);
    drop(to);
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_change_that_cannot_be_stored_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (to, task) = start(&folder, 1000);
    to.notes.send(started(1, 0, None)).await.unwrap();
    to.settled.send(vec![Settled::new(&chunk(), Span::new(0, 30))]).await.unwrap();
    let other = lock_writers_out(&folder.path().join("c.db"));
    assert!(change(&to, &[KEY], &[], &[]).await.is_err());
    drop(other);
    to.settled.send(vec![Settled::new(&chunk(), Span::new(30, 40))]).await.unwrap();
    drop(to);
    assert!(task.await.unwrap().stored);
    assert_eq!(offset(&folder), 40);
}

#[tokio::test(start_paused = true)]
async fn the_files_can_be_asked_for_while_nothing_can_be_stored() {
    let folder = tempfile::tempdir().unwrap();
    let (to, task) = start(&folder, 1000);
    let other = lock_writers_out(&folder.path().join("c.db"));
    to.notes.send(started(1, 0, Some(Stored::default()))).await.unwrap();
    to.settled.send(vec![Settled::new(&chunk(), Span::new(0, 30))]).await.unwrap();
    let mut seen = None;
    while seen != Some((100, 30)) {
        let (reply, answer) = oneshot::channel();
        to.questions.send(Question { query: FilesQuery::default(), reply }).await.unwrap();
        let page = answer.await.unwrap();
        seen = page.items.first().map(|file| (file.size, file.settled));
    }
    drop(other);
    drop(to);
    assert!(task.await.unwrap().stored);
}
