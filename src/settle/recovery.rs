//! Puts a usable database in the place of one that is damaged or gone: the backup copy if that
//! is good, else a fresh one that says that the agent starts over, so that files that were
//! known are read from their beginnings. Repeating them is better than losing what was unread.
//!
//! Nothing is deleted: what is damaged is moved aside, with its -wal and -shm. Every step is
//! one rename, so that a crash between two of them leads to the same end.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::store::{self, Inspection, StoreError};
use crate::observe::crash_point;

/// What the operator must know about the state that the agent starts with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    #[error(
        "the checkpoint file {} is damaged ({problem}); it was moved to {}; {instead}",
        path.display(), moved_to.display()
    )]
    Damaged { path: PathBuf, problem: String, moved_to: PathBuf, instead: Instead },
    #[error("the checkpoint file {} is gone; {instead}", path.display())]
    Gone { path: PathBuf, instead: Instead },
}

/// What is used in the place of the lost database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Instead {
    #[error("its backup copy is used: what was sent since that was made (10 minutes at most) is sent again")]
    Backup,
    #[error(
        "there is no good backup copy: all matching files are read from their beginnings, and what was sent before is sent again"
    )]
    StartOver,
}

/// Makes sure that a good database is at `path`.
pub fn ensure(path: &Path, now: SystemTime) -> Result<Vec<Warning>, StoreError> {
    let damage = match store::inspect(path)? {
        Inspection::Good => return Ok(Vec::new()),
        Inspection::Missing => None,
        Inspection::Damaged(problem) => Some((problem, move_aside(path, now)?)),
    };
    crash_point("recovery.moved_aside");
    let leftovers = damage.is_some() || was_moved_aside(path)? || with_suffix(path, "-wal").exists();
    if damage.is_none() {
        // A log without its database must not be played into the one that comes.
        move_aside(path, now)?;
    }
    let instead = match inspect_backup(path, now)? {
        Inspection::Good => {
            restore(path)?;
            Some(Instead::Backup)
        }
        Inspection::Missing if !leftovers => {
            store::create(path, false)?;
            None
        }
        _ => {
            store::create(path, true)?;
            Some(Instead::StartOver)
        }
    };
    let path = path.to_path_buf();
    Ok(match (damage, instead) {
        (Some((problem, moved_to)), Some(instead)) => {
            vec![Warning::Damaged { path, problem, moved_to, instead }]
        }
        (None, Some(instead)) => vec![Warning::Gone { path, instead }],
        (_, None) => Vec::new(),
    })
}

/// A damaged backup is moved aside too.
fn inspect_backup(path: &Path, now: SystemTime) -> Result<Inspection, StoreError> {
    let backup = with_suffix(path, ".backup");
    let found = store::inspect(&backup)?;
    if matches!(found, Inspection::Damaged(_)) {
        move_aside(&backup, now)?;
    }
    Ok(found)
}

fn restore(path: &Path) -> Result<(), StoreError> {
    let new = with_suffix(path, ".new");
    fs::copy(with_suffix(path, ".backup"), &new).map_err(io_at(&new))?;
    publish(&new, path)
}

/// Renames `new`, which is complete, to `path`, and makes sure that both survive a power cut.
pub fn publish(new: &Path, path: &Path) -> Result<(), StoreError> {
    File::open(new).and_then(|file| file.sync_all()).map_err(io_at(new))?;
    fs::rename(new, path).map_err(io_at(path))?;
    let folder = folder_of(path);
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_at(folder))
}

/// Moves the database at `path` with its -wal and -shm. Returns where the database went. The
/// database goes last: while it is there, the next start looks again.
fn move_aside(path: &Path, now: SystemTime) -> Result<PathBuf, StoreError> {
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let free = (0..).map(|n: u32| match n {
        0 => with_suffix(path, &format!(".damaged-{seconds}")),
        n => with_suffix(path, &format!(".damaged-{seconds}-{n}")),
    });
    let aside = free
        .into_iter()
        .find(|name| !["", "-wal"].iter().any(|suffix| with_suffix(name, suffix).exists()))
        .expect("there are more numbers than files");
    for suffix in ["-wal", "-shm", ""] {
        let (from, to) = (with_suffix(path, suffix), with_suffix(&aside, suffix));
        match fs::rename(&from, &to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_at(&from)(error)),
            _ => (),
        }
    }
    Ok(aside)
}

/// Whether there was a database at `path`, where none is.
pub fn had_a_database(path: &Path) -> Result<bool, StoreError> {
    Ok(with_suffix(path, "-wal").exists() || (folder_of(path).exists() && was_moved_aside(path)?))
}

/// Whether a database was moved aside here without another one taking its place.
fn was_moved_aside(path: &Path) -> Result<bool, StoreError> {
    let folder = folder_of(path);
    let mut begin = path.file_name().unwrap_or_default().to_os_string();
    begin.push(".damaged-");
    for entry in fs::read_dir(folder).map_err(io_at(folder))? {
        let name = entry.map_err(io_at(folder))?.file_name();
        if name.as_encoded_bytes().starts_with(begin.as_encoded_bytes()) {
            return Ok(true);
        }
    }
    Ok(false)
}

pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

pub fn io_at(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_path_buf();
    move |source| StoreError::Io { path, source }
}
