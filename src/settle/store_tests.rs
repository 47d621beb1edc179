//! The database: what is written is read again, what is damaged is replaced, and a second agent
//! is kept out.

use std::fs;
use std::time::UNIX_EPOCH;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::settle::recovery::Instead;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn row(id: u64, path: &str, offset: u64) -> TailRow {
    TailRow {
        flow: "f".into(),
        known: KnownTail {
            tail: TailId(id),
            path: std::path::Path::new(path).into(),
            identity: Identity { device: u64::MAX, inode: 5, head_length: 1024, head_hash: u64::MAX - 1 },
            offset,
            anchors: vec![Anchor { offset, hash: u64::MAX }, Anchor { offset: 1, hash: 2 }],
            size: offset + 10,
            modified_millis: -5,
            state: TailState::Rotated,
        },
        present: true,
    }
}

fn open(path: &Path) -> (Store, Vec<Warning>) {
    Store::open(path, at(1000)).unwrap()
}

fn known(store: &mut Store) -> Resumed {
    let flows = [FlowIdentity {
        key: "f".into(),
        destination_prefix: "f".into(),
        begins: true,
        matches: Box::new(|_| true),
        lets_go: Box::new(|_| false),
    }];
    store.resume(&flows, at(2000)).unwrap().remove(0)
}

/// A database with one row; its backup is older, at offset 50.
fn used() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/checkpoints.db");
    let (mut store, warnings) = open(&path);
    assert_eq!(warnings, []);
    assert!(known(&mut store).is_first);
    for offset in [50, 100] {
        let changes = Changes { rows: vec![row(1, "/a.log", offset)], ..Changes::default() };
        store.commit(&changes, at(1000)).unwrap();
        if offset == 50 {
            store.backup().unwrap();
        }
    }
    (folder, path)
}

/// Until it is dropped, nobody else can write to the database.
pub fn lock_writers_out(path: &Path) -> impl Sized + use<> {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    connection
}

fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path.parent().unwrap()).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn what_was_committed_is_read_again() {
    let (_folder, path) = used();
    let (mut store, warnings) = open(&path);
    let resumed = known(&mut store);
    assert_eq!((warnings, store.start_over()), (vec![], false));
    assert_eq!(resumed.known, [row(1, "/a.log", 100).known]);
    assert_eq!((resumed.first_start, resumed.is_first), (at(2000), false));
}

#[test]
fn paths_need_not_be_utf_8() {
    let (_folder, path) = used();
    let mut odd = row(2, "", 3);
    odd.known.path = PathBuf::from(OsString::from_vec(b"/var/log/\xff\xfe\n.log".to_vec())).into();
    let (mut store, _) = open(&path);
    store.commit(&Changes { rows: vec![odd.clone()], durable: true, ..Changes::default() }, at(1)).unwrap();
    drop(store);
    assert_eq!(known(&mut open(&path).0).known[1], odd.known);
}

#[test]
fn tail_ids_are_never_given_out_twice() {
    let (_folder, path) = used();
    let first = open(&path).0.first_tail();
    let second = open(&path).0.first_tail();
    assert!(first.0 > 1 && second.0 >= first.0 + (1 << 32));
}

#[test]
fn a_second_agent_is_refused() {
    let (_folder, path) = used();
    let (store, _) = open(&path);
    let error = Store::open(&path, at(0)).unwrap_err();
    assert!(
        matches!(error, StoreError::Locked { pid: Some(pid), .. } if pid == std::process::id()),
        "{error}"
    );
    assert!(error.to_string().contains(&format!("process {}", std::process::id())));
    drop(store);
    open(&path);
}

#[test]
fn a_newer_database_is_refused_and_left_alone() {
    let (_folder, path) = used();
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = fs::read(&path).unwrap();
    let error = Store::open(&path, at(0)).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_damaged_database_is_moved_aside_and_its_backup_used() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 6] = [
        ("zero bytes", |path| fs::write(path, b"").unwrap()),
        ("garbage", |path| fs::write(path, [0x5a; 9000]).unwrap()),
        ("truncated", |path| fs::File::options().write(true).open(path).unwrap().set_len(5000).unwrap()),
        ("a broken page", |path| {
            let mut bytes = fs::read(path).unwrap();
            bytes[4096..].fill(0xee);
            fs::write(path, bytes).unwrap();
        }),
        ("a value of the wrong type", |path| {
            let connection = Connection::open(path).unwrap();
            connection.execute_batch("DROP TABLE flows; CREATE TABLE flows (key, first_start)").unwrap();
            connection.execute("INSERT INTO flows VALUES ('f', 'yesterday')", []).unwrap();
        }),
        ("a table is missing", |path| {
            Connection::open(path).unwrap().execute_batch("DROP TABLE flows").unwrap();
        }),
    ];
    for (what, damage) in damages {
        let (_folder, path) = used();
        damage(&path);
        fs::write(with_suffix(&path, "-wal"), b"leftover").unwrap();
        let (mut store, warnings) = open(&path);
        assert!(
            matches!(&warnings[..], [Warning::Damaged { instead: Instead::Backup, .. }]),
            "{what}: {warnings:?}"
        );
        let resumed = known(&mut store);
        assert_eq!(resumed.known, [row(1, "/a.log", 50).known], "{what}");
        assert!(!resumed.is_first && !store.start_over());
        assert!(names(&path).contains(&"checkpoints.db.damaged-1000".to_string()), "{what}");
    }
}

#[test]
fn without_a_good_backup_the_agent_starts_over_until_the_flows_were_resumed() {
    for backup in [None, Some(&b"garbage"[..])] {
        let (_folder, path) = used();
        fs::write(&path, b"no database").unwrap();
        match backup {
            Some(content) => fs::write(with_suffix(&path, ".backup"), content).unwrap(),
            None => fs::remove_file(with_suffix(&path, ".backup")).unwrap(),
        }
        let (store, warnings) = open(&path);
        assert!(
            matches!(&warnings[..], [Warning::Damaged { instead: Instead::StartOver, .. }]),
            "{warnings:?}"
        );
        let kept = names(&path).contains(&"checkpoints.db.backup.damaged-1000".to_string());
        assert_eq!(kept, backup.is_some());
        drop(store);
        let (mut store, warnings) = open(&path);
        assert_eq!((warnings, store.start_over()), (vec![], true), "a crash in between changes nothing");
        let resumed = known(&mut store);
        assert_eq!((resumed.known, resumed.first_start, resumed.is_first), (vec![], UNIX_EPOCH, false));
        drop(store);
        let (mut store, _) = open(&path);
        assert!(!store.start_over());
        assert_eq!(known(&mut store).first_start, UNIX_EPOCH, "files are still read from their beginnings");
    }
}

#[test]
fn a_missing_database_is_not_a_first_start_when_there_was_one() {
    let (_folder, path) = used();
    fs::remove_file(&path).unwrap();
    let (mut store, warnings) = open(&path);
    assert!(matches!(&warnings[..], [Warning::Gone { instead: Instead::Backup, .. }]));
    assert_eq!(known(&mut store).known.len(), 1);
    drop(store);
    // A crash after the damaged one was moved aside, before the new one was there.
    fs::rename(&path, with_suffix(&path, ".damaged-1")).unwrap();
    fs::remove_file(with_suffix(&path, ".backup")).unwrap();
    let (store, warnings) = open(&path);
    assert!(matches!(&warnings[..], [Warning::Gone { instead: Instead::StartOver, .. }]));
    assert!(store.start_over());
}

#[test]
fn a_lost_log_only_costs_what_was_in_it() {
    let (_folder, path) = used();
    let (mut store, _) = open(&path);
    store.commit(&Changes { rows: vec![row(1, "/a.log", 200)], ..Changes::default() }, at(1)).unwrap();
    let crashed = path.with_file_name("crashed.db");
    fs::copy(&path, &crashed).unwrap();
    assert!(with_suffix(&path, "-wal").metadata().unwrap().len() > 0);
    let (mut store, warnings) = open(&crashed);
    assert_eq!(warnings, []);
    assert_eq!(known(&mut store).known[0].offset, 100);
}

#[test]
fn a_folder_that_cannot_be_used_is_an_error_and_not_damage() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, b"x").unwrap();
    assert!(matches!(Store::open(&file.join("c.db"), at(0)), Err(StoreError::Io { .. })));
    assert!(matches!(Store::open(Path::new("/proc/nothing/c.db"), at(0)), Err(StoreError::Io { .. })));
    assert_eq!(fs::read(&file).unwrap(), b"x");
}

#[test]
fn a_locked_database_fails_the_commit_and_the_next_one_writes_everything() {
    let (_folder, path) = used();
    let (mut store, _) = open(&path);
    let other = lock_writers_out(&path);
    let changes = Changes { rows: vec![row(1, "/a.log", 300)], durable: true, ..Changes::default() };
    assert!(matches!(store.commit(&changes, at(5)), Err(StoreError::Database { .. })));
    drop(other);
    store.commit(&changes, at(5)).unwrap();
    assert_eq!(known(&mut store).known[0].offset, 300);
}

#[test]
fn rows_are_purged_30_days_after_their_file_was_last_seen() {
    let (_folder, path) = used();
    let (mut store, _) = open(&path);
    let rows = vec![row(1, "/a.log", 1), row(2, "/b.log", 2)];
    store.commit(&Changes { rows, ..Changes::default() }, at(0)).unwrap();
    let gone = TailRow { present: false, ..row(1, "/a.log", 1) };
    let changes = Changes { rows: vec![gone], seen: vec![TailId(2)], ..Changes::default() };
    store.commit(&changes, at(86_400)).unwrap();
    assert_eq!(store.purge(at(30 * 86_400)).unwrap(), 0);
    assert_eq!(store.purge(at(30 * 86_400 + 1)).unwrap(), 1);
    assert_eq!(known(&mut store).known[0].tail, TailId(2));
}

#[test]
fn a_clock_that_jumps_and_an_agent_that_was_off_for_long_purge_nothing() {
    let (_folder, path) = used();
    let (mut store, _) = open(&path);
    store.keep_unseen(Duration::from_secs(10 * 86_400));
    let rows = vec![row(1, "/a.log", 1)];
    store.commit(&Changes { rows, ..Changes::default() }, at(86_400)).unwrap();
    assert_eq!(store.purge(at(86_400)).unwrap(), 0);
    // Nobody looked for the file in these years.
    assert_eq!(store.purge(at(900 * 86_400)).unwrap(), 0);
    // The clock is set right.
    assert_eq!(store.purge(at(2 * 86_400)).unwrap(), 0);
    assert_eq!(store.purge(at(8 * 86_400)).unwrap(), 0);
    assert_eq!(store.purge(at(11 * 86_400 + 1)).unwrap(), 1, "now it was looked for in vain for ten days");
}

#[test]
fn a_hundred_thousand_rows_come_back() {
    let (_folder, path) = used();
    let (mut store, _) = open(&path);
    let rows = (1..=100_000).map(|id| row(id, &format!("/var/log/{id}.log"), id)).collect();
    store.commit(&Changes { rows, ..Changes::default() }, at(1)).unwrap();
    let resumed = known(&mut store);
    assert_eq!(resumed.known.len(), 100_000);
    assert_eq!(resumed.known[99_999].offset, 100_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn whatever_the_file_holds_the_agent_starts_or_says_why_not(
        cut in proptest::option::of(0usize..20_000),
        writes in proptest::collection::vec((0usize..20_000, any::<[u8; 7]>()), 0..6),
    ) {
        static GOOD: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| fs::read(used().1).unwrap());
        let mut bytes = GOOD.clone();
        bytes.truncate(cut.unwrap_or(usize::MAX));
        for (at, write) in writes {
            let at = at.min(bytes.len());
            let end = (at + write.len()).min(bytes.len());
            bytes[at..end].copy_from_slice(&write[..end - at]);
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.db");
        fs::write(&path, &bytes).unwrap();
        match Store::open(&path, at(1000)) {
            Ok((mut store, warnings)) => {
                prop_assert_eq!(warnings.is_empty(), !store.start_over());
                prop_assert!(!known(&mut store).is_first, "{warnings:?}");
            }
            Err(StoreError::Newer { .. }) => prop_assert_eq!(fs::read(&path).unwrap(), bytes),
            Err(error) => prop_assert!(false, "{error}"),
        }
    }
}

#[test]
fn a_state_folder_that_was_removed_is_written_anew() {
    let (_folder, path) = used();
    let (mut store, _) = open(&path);
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
    let changes = Changes { rows: vec![row(2, "/b.log", 7)], ..Changes::default() };
    store.commit(&changes, at(1000)).unwrap();
    store.commit(&Changes { rows: vec![row(2, "/b.log", 8)], ..Changes::default() }, at(1000)).unwrap();
    drop(store);
    let (mut store, warnings) = open(&path);
    assert_eq!(warnings, []);
    let resumed = known(&mut store);
    let offsets: Vec<u64> = resumed.known.iter().map(|known| known.offset).collect();
    assert_eq!((resumed.is_first, offsets), (false, vec![100, 8]));
}

/// The names and the contents of all files beside the database, but for the index of its log,
/// in which readers note that they read.
fn contents(path: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap());
    let mut files: Vec<_> = entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            let bytes = if name.ends_with("-shm") { Vec::new() } else { fs::read(entry.path()).unwrap() };
            (name, bytes)
        })
        .collect();
    files.sort();
    files
}

/// What an agent would go on from with a copy of the database at `path`.
fn of_copy(path: &Path) -> (Vec<Warning>, Resumed) {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.db");
    let before = path.parent().unwrap().exists().then(|| contents(path));
    Store::copy(path, &copy).unwrap();
    assert_eq!(path.parent().unwrap().exists().then(|| contents(path)), before, "something was written");
    let (mut store, warnings) = open(&copy);
    (warnings, known(&mut store))
}

#[test]
fn a_copy_holds_what_was_committed_and_touches_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd %3f?#name/checkpoints.db");
    let (mut store, _) = open(&path);
    known(&mut store);
    let changes = Changes { rows: vec![row(1, "/a.log", 70)], ..Changes::default() };
    store.commit(&changes, at(1000)).unwrap();
    assert!(with_suffix(&path, "-wal").metadata().unwrap().len() > 0);
    let (warnings, resumed) = of_copy(&path);
    assert_eq!((warnings, resumed.known[0].offset, resumed.is_first), (vec![], 70, false));
    // The agent that runs goes on as if nothing had happened.
    let changes = Changes { rows: vec![row(1, "/a.log", 90)], ..Changes::default() };
    store.commit(&changes, at(1000)).unwrap();
    drop(store);
    assert!(!with_suffix(&path, "-wal").exists());
    assert_eq!(of_copy(&path).1.known[0].offset, 90);
}

#[test]
fn a_copy_of_nothing_is_a_first_start_unless_something_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("no-such-folder/checkpoints.db");
    let (warnings, resumed) = of_copy(&path);
    assert_eq!((warnings, resumed.is_first), (vec![], true));
    assert!(!path.parent().unwrap().exists());

    fs::create_dir(path.parent().unwrap()).unwrap();
    fs::write(with_suffix(&path, ".damaged-1"), b"x").unwrap();
    let (warnings, resumed) = of_copy(&path);
    assert!(matches!(warnings[..], [Warning::Gone { instead: Instead::StartOver, .. }]), "{warnings:?}");
    assert!(!resumed.is_first);
}

#[test]
fn what_is_damaged_or_gone_is_so_in_the_copy_and_its_backup_is_used() {
    let (_folder, path) = used();
    fs::write(&path, b"this is no database, and it is long enough to be looked at").unwrap();
    let (warnings, resumed) = of_copy(&path);
    assert!(matches!(warnings[..], [Warning::Damaged { instead: Instead::Backup, .. }]), "{warnings:?}");
    assert_eq!(resumed.known[0].offset, 50);
    fs::remove_file(&path).unwrap();
    let (warnings, resumed) = of_copy(&path);
    assert!(matches!(warnings[..], [Warning::Gone { instead: Instead::Backup, .. }]), "{warnings:?}");
    assert_eq!(resumed.known[0].offset, 50);
}

#[test]
fn a_newer_database_is_not_copied() {
    let (folder, path) = used();
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = Store::copy(&path, &folder.path().join("copy.db")).unwrap_err();
    assert!(matches!(&error, StoreError::Newer { path: named, found: 99 } if *named == path), "{error}");
}
