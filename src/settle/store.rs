//! The database (SQLite, WAL): a row for each tail, the first start of each flow, and the next
//! tail id. One process writes, everything that belongs together in one transaction.
//!
//! Offsets may be lost by a power cut (that only repeats lines) unless the commit is durable.
//! It decides nothing about what it stores, and it blocks: call it from a thread that may.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fs::DirBuilder;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, params};

use super::lock::{Lock, LockError};
use super::recovery::{self, Warning, folder_of, io_at, with_suffix};
use super::resume::{self, FlowIdentity, Plan, Resumed, Stored, millis};
use crate::file::{Anchor, Identity, KnownTail, TailId, TailState};
use crate::observe::crash_point;

/// The schema, one step for each version. Steps that were released are never changed.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
    CREATE TABLE flows (key TEXT PRIMARY KEY, first_start INTEGER NOT NULL) STRICT;
    CREATE TABLE tails (
        id INTEGER PRIMARY KEY, flow TEXT NOT NULL, path BLOB NOT NULL,
        inode INTEGER NOT NULL, device INTEGER NOT NULL,
        head_length INTEGER NOT NULL, head_hash INTEGER NOT NULL, anchors BLOB NOT NULL,
        offset INTEGER NOT NULL, size INTEGER NOT NULL, modified INTEGER NOT NULL,
        state INTEGER NOT NULL, last_seen INTEGER NOT NULL
    ) STRICT;
    INSERT INTO meta VALUES ('next_tail_id', 1), ('start_over', 0);
"];

const SELECT_TAILS: &str = "SELECT flow, id, path, inode, device, head_length, head_hash, anchors,
    offset, size, modified, state FROM tails";

const UPSERT_TAIL: &str = "INSERT INTO tails (id, flow, path, inode, device, head_length, head_hash,
    anchors, offset, size, modified, state, last_seen)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
    ON CONFLICT (id) DO UPDATE SET flow = ?2, path = ?3, inode = ?4, device = ?5, head_length = ?6,
    head_hash = ?7, anchors = ?8, offset = ?9, size = ?10, modified = ?11, state = ?12,
    last_seen = iif(?14, ?13, last_seen)";

/// So many ids belong to one run of the agent; it never comes to their end.
const IDS_FOR_A_RUN: i64 = 1 << 32;

/// How long a commit waits for somebody who looks into the database and locks it.
const BUSY_TIMEOUT: Duration = if cfg!(test) { Duration::ZERO } else { Duration::from_secs(5) };

/// A row outlives the last sight of its file by so much, unless it is told otherwise.
const KEPT_UNSEEN: Duration = Duration::from_secs(30 * 24 * 3600);

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(
        "another agent{} uses the checkpoint file {}: stop it, or give this one its own `checkpointFile`",
        pid.map(|pid| format!(" (process {pid})")).unwrap_or_default(), path.display()
    )]
    Locked { path: PathBuf, pid: Option<u32> },
    #[error(
        "the checkpoint file {} was written by a newer agent (format {found}, this one knows {known}): \
         install that version again, or move the file away to start over", path.display(), known = MIGRATIONS.len()
    )]
    Newer { path: PathBuf, found: i64 },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("the checkpoint file {} cannot be used: {source}", path.display())]
    Database { path: PathBuf, source: rusqlite::Error },
}

/// What is stored of a tail.
#[derive(Clone, Debug, PartialEq)]
pub struct TailRow {
    /// The key of its flow.
    pub flow: Arc<str>,
    pub known: KnownTail,
    /// Whether its file is still there, as far as is known.
    pub present: bool,
}

/// What one commit writes.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    pub rows: Vec<TailRow>,
    /// Tails whose files are still there although nothing of them changed.
    pub seen: Vec<TailId>,
    /// Whether it must survive a power cut.
    pub durable: bool,
}

/// Whether there is a database, and whether it can be used.
#[derive(Debug, PartialEq, Eq)]
pub enum Inspection {
    Good,
    Missing,
    Damaged(String),
}

#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
    /// The file that was opened, by its device and inode.
    file: Option<(u64, u64)>,
    first_tail: TailId,
    start_over: bool,
    kept_unseen: Duration,
    _lock: Lock,
}

impl Store {
    /// Opens the database, makes one where there is none, and replaces a damaged one. What is
    /// returned beside the store should be logged as errors.
    pub fn open(path: &Path, now: SystemTime) -> Result<(Store, Vec<Warning>), StoreError> {
        let lock = lock(path)?;
        let warnings = recovery::ensure(path, now)?;
        let (connection, first_tail, start_over) = begin(path).map_err(database_at(path))?;
        let path = path.to_path_buf();
        let file = file_at(&path);
        let first_tail = TailId(first_tail);
        let kept_unseen = KEPT_UNSEEN;
        Ok((Store { connection, path, file, first_tail, start_over, kept_unseen, _lock: lock }, warnings))
    }

    /// Copies the database at `from` to `to`, for somebody who only wants to know what is in it.
    /// `from` is neither locked nor written, and another agent may be using it; what is damaged
    /// or gone is so in the copy too.
    ///
    /// # Errors
    /// It cannot be read, or a newer agent wrote it.
    pub fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
        match from.metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                // A log without its database says that there was one.
                if recovery::had_a_database(from)? {
                    let log = with_suffix(to, "-wal");
                    std::fs::write(&log, b"").map_err(io_at(&log))?;
                }
            }
            Err(error) => return Err(io_at(from)(error)),
            Ok(_) => copy_database(from, to)?,
        }
        let (backup, its_copy) = (with_suffix(from, ".backup"), with_suffix(to, ".backup"));
        match std::fs::copy(&backup, its_copy) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io_at(&backup)(error)),
            _ => Ok(()),
        }
    }

    /// All ids from here on are free; they belong to this run of the agent.
    pub fn first_tail(&self) -> TailId {
        self.first_tail
    }

    /// What was known is lost: known files are read from their beginnings. The first starts
    /// that [`Store::resume`] gives out say so too.
    pub fn start_over(&self) -> bool {
        self.start_over
    }

    /// What the flows (all that are configured, once) go on from; in their order. It is on
    /// disk before this returns.
    pub fn resume(&mut self, flows: &[FlowIdentity], now: SystemTime) -> Result<Vec<Resumed>, StoreError> {
        let resumed = resume(&mut self.connection, flows, self.start_over, now);
        // A flow that is added later is a new one.
        self.start_over &= resumed.is_err();
        resumed.map_err(database_at(&self.path))
    }

    /// Writes everything or nothing.
    pub fn commit(&mut self, changes: &Changes, now: SystemTime) -> Result<(), StoreError> {
        if file_at(&self.path) != self.file {
            self.restore()?;
        }
        commit(&mut self.connection, changes, millis(now)).map_err(database_at(&self.path))
    }

    /// Somebody removed the database, but the open descriptor still holds all of it.
    fn restore(&mut self) -> Result<(), StoreError> {
        tracing::error!(
            path = %self.path.display(),
            "the checkpoint file was removed or replaced while the agent runs; it is written anew; \
             leave it alone, or stop the agent first"
        );
        self._lock = lock(&self.path)?;
        let new = with_suffix(&self.path, ".restored");
        remove(&new)?;
        self.connection
            .backup("main", &new, None::<fn(rusqlite::backup::Progress)>)
            .map_err(database_at(&new))?;
        for suffix in ["-wal", "-shm"] {
            remove(&with_suffix(&self.path, suffix))?;
        }
        recovery::publish(&new, &self.path)?;
        self.connection = connect(&self.path).map_err(database_at(&self.path))?;
        self.file = file_at(&self.path);
        Ok(())
    }

    /// How long a row outlives the last sight of its file.
    pub fn keep_unseen(&mut self, duration: Duration) {
        self.kept_unseen = duration;
    }

    /// Removes the rows whose files were not seen for so long. Returns how many.
    ///
    /// To be called regularly: where the last call is longer ago than a row is kept, or lies in
    /// the future, nothing is removed, since the agent did not run or the clock jumped, and so
    /// nobody looked for the files in the meantime.
    pub fn purge(&mut self, now: SystemTime) -> Result<usize, StoreError> {
        purge(&mut self.connection, self.kept_unseen, millis(now)).map_err(database_at(&self.path))
    }

    /// Replaces the backup copy.
    pub fn backup(&self) -> Result<(), StoreError> {
        let backup = with_suffix(&self.path, ".backup");
        let new = with_suffix(&self.path, ".backup.new");
        remove(&new)?;
        self.connection
            .backup("main", &new, None::<fn(rusqlite::backup::Progress)>)
            .map_err(database_at(&new))?;
        crash_point("store.backup_made");
        recovery::publish(&new, &backup)?;
        crash_point("store.after_backup");
        Ok(())
    }
}

/// Looks at a database as a whole. Fails where it is not damaged but cannot be read.
pub fn inspect(path: &Path) -> Result<Inspection, StoreError> {
    match path.metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Inspection::Missing),
        Err(error) => return Err(io_at(path)(error)),
        Ok(metadata) if metadata.len() == 0 => return Ok(Inspection::Damaged("it is empty".into())),
        Ok(_) => (),
    }
    let found = match inspect_content(path) {
        Ok(found) => found,
        Err(error) => match damage(&error) {
            Some(problem) => return Ok(Inspection::Damaged(problem)),
            None => return Err(database_at(path)(error)),
        },
    };
    match found {
        Content::Good => Ok(Inspection::Good),
        Content::Damaged(problem) => Ok(Inspection::Damaged(problem)),
        Content::Newer(found) => Err(StoreError::Newer { path: path.to_path_buf(), found }),
    }
}

enum Content {
    Good,
    Damaged(String),
    Newer(i64),
}

fn inspect_content(path: &Path) -> rusqlite::Result<Content> {
    let connection = connect(path)?;
    let version = version(&connection)?;
    if version > MIGRATIONS.len() as i64 {
        return Ok(Content::Newer(version));
    }
    if version < 1 {
        return Ok(Content::Damaged("its tables are missing".into()));
    }
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Ok(Content::Damaged(verdict));
    }
    connection.prepare("SELECT key, value FROM meta")?;
    // Each row is read once, and none kept.
    connection.prepare(SELECT_TAILS)?.query_map([], tail_of)?.try_for_each(|row| row.map(drop))?;
    first_starts(&connection)?;
    Ok(Content::Good)
}

/// Whether the error says that the content is wrong, and not that the disk, the permissions or
/// another process are in the way.
fn damage(error: &rusqlite::Error) -> Option<String> {
    let damaged = match error.sqlite_error_code() {
        Some(code) => {
            matches!(code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown)
        }
        // A value that cannot be what it should be.
        None => true,
    };
    damaged.then(|| error.to_string())
}

/// Makes a new database under another name and renames it when it is complete, so that an
/// empty one at `path` is always a damaged one.
pub fn create(path: &Path, start_over: bool) -> Result<(), StoreError> {
    let new = with_suffix(path, ".new");
    remove(&new)?;
    make(&new, start_over).map_err(database_at(&new))?;
    crash_point("store.made");
    recovery::publish(&new, path)
}

fn make(path: &Path, start_over: bool) -> rusqlite::Result<()> {
    let mut connection = connect(path)?;
    migrate(&mut connection)?;
    connection.execute("UPDATE meta SET value = ?1 WHERE key = 'start_over'", [i64::from(start_over)])?;
    connection.close().map_err(|(_, error)| error)
}

/// Keeps other agents from the database at `path`, whose folder is made where there is none.
fn lock(path: &Path) -> Result<Lock, StoreError> {
    let folder = folder_of(path);
    DirBuilder::new().recursive(true).mode(0o750).create(folder).map_err(io_at(folder))?;
    let lock_path = with_suffix(path, ".lock");
    Lock::take(&lock_path).map_err(|error| match error {
        LockError::Held { pid } => StoreError::Locked { path: path.to_path_buf(), pid },
        LockError::Io(source) => StoreError::Io { path: lock_path, source },
    })
}

fn file_at(path: &Path) -> Option<(u64, u64)> {
    path.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

fn copy_database(from: &Path, to: &Path) -> Result<(), StoreError> {
    let copied = connect_read_only(from).and_then(|connection| {
        let version = version(&connection)?;
        connection.backup("main", to, None::<fn(rusqlite::backup::Progress)>)?;
        Ok(version)
    });
    match copied {
        Ok(found) if found > MIGRATIONS.len() as i64 => {
            Err(StoreError::Newer { path: from.to_path_buf(), found })
        }
        Ok(_) => Ok(()),
        // Whoever opens the copy finds the damage again and knows what to do about it.
        Err(error) if damage(&error).is_some() => std::fs::copy(from, to).map(drop).map_err(io_at(from)),
        Err(error) => Err(database_at(from)(error)),
    }
}

/// A connection that makes no files. Without a log beside the database nobody writes it, but
/// SQLite would make one to read it, unless it is told that the file does not change.
fn connect_read_only(path: &Path) -> rusqlite::Result<Connection> {
    let log = with_suffix(path, "-wal").metadata();
    let written = log.is_ok_and(|log| log.len() > 0);
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => uri.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => uri.push(char::from(*byte)),
            byte => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    if !written {
        uri.push_str("?immutable=1");
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(uri, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let from = usize::try_from(version(connection)?).unwrap_or(0);
    if from >= MIGRATIONS.len() {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    for step in &MIGRATIONS[from..] {
        transaction.execute_batch(step)?;
        crash_point("store.mid_migration");
    }
    transaction.pragma_update(None, "user_version", MIGRATIONS.len() as i64)?;
    transaction.commit()
}

/// Brings the database up to date and reserves the ids of this run.
fn begin(path: &Path) -> rusqlite::Result<(Connection, u64, bool)> {
    let mut connection = connect(path)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    migrate(&mut connection)?;
    let transaction = connection.transaction()?;
    let meta = |key: &str| {
        let mut statement = transaction.prepare("SELECT value FROM meta WHERE key = ?1")?;
        statement.query_row([key], |row| row.get::<_, i64>(0)).optional()
    };
    let stored = meta("next_tail_id")?.unwrap_or(1);
    let used: i64 = transaction.query_row("SELECT ifnull(max(id), 0) FROM tails", [], |row| row.get(0))?;
    let first = stored.max(used + 1);
    let start_over = meta("start_over")?.unwrap_or(0) != 0;
    transaction
        .execute("INSERT OR REPLACE INTO meta VALUES ('next_tail_id', ?1)", [first + IDS_FOR_A_RUN])?;
    transaction.commit()?;
    Ok((connection, first.unsigned_abs(), start_over))
}

fn resume(
    connection: &mut Connection,
    flows: &[FlowIdentity],
    start_over: bool,
    now: SystemTime,
) -> rusqlite::Result<Vec<Resumed>> {
    connection.pragma_update(None, "synchronous", "FULL")?;
    let transaction = connection.transaction()?;
    transaction.execute("DELETE FROM tails WHERE state = ?1", [state_to_number(TailState::Over)])?;
    let plan = planned(&transaction, flows, start_over, now)?;
    let adopted = plan.adopted.iter().map(|(tail, flow)| (tail, &flows[*flow].key));
    // No flow has this key, since each has something behind the destination.
    let let_go = plan.let_go.iter().map(|(tail, flow)| (tail, &flows[*flow].destination_prefix));
    for (tail, key) in adopted.chain(let_go) {
        transaction
            .prepare_cached("UPDATE tails SET flow = ?2 WHERE id = ?1")?
            .execute(params![tail.0.cast_signed(), key])?;
    }
    for (flow, first_start) in flows.iter().zip(&plan.first_starts) {
        transaction
            .prepare_cached("INSERT OR REPLACE INTO flows VALUES (?1, ?2)")?
            .execute(params![flow.key, first_start])?;
    }
    transaction.execute("UPDATE meta SET value = 0 WHERE key = 'start_over'", [])?;
    transaction.commit()?;
    take_in_the_log(connection)?;
    Ok(plan.resumed)
}

/// What is in the database, given to whoever plans with it.
fn planned(
    connection: &Connection,
    flows: &[FlowIdentity],
    start_over: bool,
    now: SystemTime,
) -> rusqlite::Result<Plan> {
    let first_starts = first_starts(connection)?;
    let mut keys: HashSet<Arc<str>> = HashSet::new();
    let mut row_of = |row: &Row<'_>| {
        let key = row.get_ref(0)?.as_str()?;
        let key = keys.get(key).cloned().unwrap_or_else(|| key.into());
        keys.insert(key.clone());
        Ok((key, tail_of(row)?))
    };
    let mut statement = connection.prepare(SELECT_TAILS)?;
    let mut failed = None;
    let rows = statement.query_map([], |row| row_of(row))?;
    let tails = rows.map_while(|row| row.map_err(|error| failed = Some(error)).ok());
    let plan = resume::plan(Stored { tails, first_starts, start_over }, flows, now);
    failed.map_or(Ok(plan), Err)
}

fn first_starts(connection: &Connection) -> rusqlite::Result<BTreeMap<String, i64>> {
    let mut statement = connection.prepare("SELECT key, first_start FROM flows")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

fn commit(connection: &mut Connection, changes: &Changes, now: i64) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", if changes.durable { "FULL" } else { "NORMAL" })?;
    let transaction = connection.transaction()?;
    for TailRow { flow, known, present } in &changes.rows {
        transaction.prepare_cached(UPSERT_TAIL)?.execute(params![
            known.tail.0.cast_signed(),
            &**flow,
            known.path.as_os_str().as_bytes(),
            known.identity.inode.cast_signed(),
            known.identity.device.cast_signed(),
            known.identity.head_length,
            known.identity.head_hash.cast_signed(),
            anchors_to_bytes(&known.anchors),
            known.offset.cast_signed(),
            known.size.cast_signed(),
            known.modified_millis,
            state_to_number(known.state),
            now,
            present,
        ])?;
        crash_point("store.mid_commit");
    }
    for tail in &changes.seen {
        transaction
            .prepare_cached("UPDATE tails SET last_seen = ?2 WHERE id = ?1")?
            .execute(params![tail.0.cast_signed(), now])?;
    }
    transaction.commit()?;
    if changes.durable { take_in_the_log(connection) } else { Ok(()) }
}

/// Copies the log into the database, so that a power cut, or somebody who removes the log, cannot
/// take what must not be lost. A reader may hold it up; then the log alone has it.
fn take_in_the_log(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

fn purge(connection: &mut Connection, kept: Duration, now: i64) -> rusqlite::Result<usize> {
    let kept = i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
    let before = now.saturating_sub(kept);
    let transaction = connection.transaction()?;
    let last: Option<i64> = transaction
        .query_row("SELECT value FROM meta WHERE key = 'last_purge'", [], |row| row.get(0))
        .optional()?;
    transaction.execute("INSERT OR REPLACE INTO meta VALUES ('last_purge', ?1)", [now])?;
    let removed = match last {
        Some(last) if (before..=now).contains(&last) => {
            transaction.execute("DELETE FROM tails WHERE last_seen < ?1", [before])?
        }
        _ => 0,
    };
    transaction.commit()?;
    Ok(removed)
}

/// The columns of [`SELECT_TAILS`], without the flow.
fn tail_of(row: &Row) -> rusqlite::Result<KnownTail> {
    let unsigned = |column: usize| row.get::<_, i64>(column).map(i64::cast_unsigned);
    Ok(KnownTail {
        tail: TailId(unsigned(1)?),
        path: Path::new(&OsString::from_vec(row.get(2)?)).into(),
        identity: Identity {
            inode: unsigned(3)?,
            device: unsigned(4)?,
            head_length: row.get(5)?,
            head_hash: unsigned(6)?,
        },
        anchors: anchors_from_bytes(&row.get::<_, Vec<u8>>(7)?),
        offset: unsigned(8)?,
        size: unsigned(9)?,
        modified_millis: row.get(10)?,
        state: state_from_number(row.get(11)?),
    })
}

/// Sixteen bytes each: offset and hash, little-endian.
fn anchors_to_bytes(anchors: &[Anchor]) -> Vec<u8> {
    anchors
        .iter()
        .flat_map(|anchor| [anchor.offset.to_le_bytes(), anchor.hash.to_le_bytes()])
        .flatten()
        .collect()
}

fn anchors_from_bytes(bytes: &[u8]) -> Vec<Anchor> {
    let numbers: Vec<u64> = bytes.as_chunks().0.iter().map(|number| u64::from_le_bytes(*number)).collect();
    numbers.as_chunks().0.iter().map(|[offset, hash]| Anchor { offset: *offset, hash: *hash }).collect()
}

fn state_to_number(state: TailState) -> i64 {
    match state {
        TailState::Live => 0,
        TailState::Rotated => 1,
        TailState::Finished => 2,
        TailState::Over => 3,
    }
}

/// A number that is not known is taken for a live file, which is looked at most closely.
fn state_from_number(number: i64) -> TailState {
    match number {
        1 => TailState::Rotated,
        2 => TailState::Finished,
        3 => TailState::Over,
        _ => TailState::Live,
    }
}

/// Removes a database that was not finished.
fn remove(path: &Path) -> Result<(), StoreError> {
    for suffix in ["-journal", "-wal", "-shm", ""] {
        let path = with_suffix(path, suffix);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io_at(&path)(error)),
            _ => (),
        }
    }
    Ok(())
}

fn database_at(path: &Path) -> impl FnOnce(rusqlite::Error) -> StoreError {
    let path = path.to_path_buf();
    move |source| StoreError::Database { path, source }
}

#[cfg(test)]
#[path = "store_tests.rs"]
pub mod tests;
