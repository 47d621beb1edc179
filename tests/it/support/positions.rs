//! What a killed agent left in its database, held against what was written and delivered.
//!
//! A stored position must never pass a line that is not safe, and what is before it must not be
//! sent again. A row is matched with a life by the hash of the life's first bytes, which are
//! unique in these worlds; names and inodes may have changed since the row was written.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use rusqlite::Connection;
use tempfile::TempDir;
use xxhash_rust::xxh3::xxh3_64;

use super::{Endpoint, Oracle, World};

/// The lines before the stored positions, each with how often it had been delivered.
#[derive(Debug, Default)]
pub struct Positions {
    lines: Vec<(Bytes, usize)>,
}

struct Row {
    head_length: usize,
    head_hash: u64,
    offset: u64,
}

/// What was written to one life.
#[derive(Default)]
struct Life {
    bytes: Vec<u8>,
    size: u64,
    /// The lines that are asked for, each with the offset of its end.
    lines: Vec<(Bytes, u64)>,
}

impl Positions {
    /// Looks at what is stored now, while no agent runs, and fails if a line before a position
    /// was neither delivered nor written to the dead-letter file.
    #[track_caller]
    pub fn check(world: &World, endpoint: &Endpoint, oracle: &mut Oracle) -> Positions {
        oracle.missing(world, endpoint);
        let dead = fs::read_to_string(world.dead_letter_file()).unwrap_or_default();
        let lives = lives(world);
        let mut positions = Positions::default();
        for row in rows(&world.checkpoint_file()) {
            let begins =
                |life: &&Life| life.bytes.get(..row.head_length).is_some_and(|h| xxh3_64(h) == row.head_hash);
            let Some(life) = lives.values().find(begins).filter(|_| row.head_length > 0) else { continue };
            for (line, _) in life.lines.iter().take_while(|(_, end)| *end <= row.offset) {
                let delivered = oracle.deliveries(line);
                let safe = delivered > 0 || dead.contains(&aws_smithy_types::base64::encode(line));
                let text = String::from_utf8_lossy(line);
                assert!(safe, "the stored position {} is behind {text:?}, which is nowhere", row.offset);
                positions.lines.push((line.clone(), delivered));
            }
        }
        positions
    }

    /// None of these lines was delivered once more since the look.
    #[track_caller]
    pub fn were_kept(&self, world: &World, endpoint: &Endpoint, oracle: &mut Oracle) {
        oracle.missing(world, endpoint);
        let again = self.lines.iter().filter(|(line, before)| oracle.deliveries(line) > *before);
        let again: Vec<_> = again.map(|(line, _)| String::from_utf8_lossy(line)).collect();
        let shown = &again[..again.len().min(5)];
        assert!(again.is_empty(), "{} lines before stored positions were sent again: {shown:?}", again.len());
    }
}

/// Whether it is stored that the flow of the world was started.
pub fn is_first_start_stored(world: &World) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let Some(connection) = copy_of(&world.checkpoint_file(), &folder) else { return false };
    connection.query_row("SELECT count(*) FROM flows", [], |row| row.get::<_, u32>(0)).unwrap() > 0
}

fn rows(database: &Path) -> Vec<Row> {
    let folder = tempfile::tempdir().unwrap();
    let Some(connection) = copy_of(database, &folder) else { return Vec::new() };
    let mut statement = connection.prepare("SELECT head_length, head_hash, offset FROM tails").unwrap();
    let rows = statement.query_map([], |row| {
        Ok(Row {
            head_length: row.get::<_, u32>(0)? as usize,
            head_hash: row.get::<_, i64>(1)?.cast_unsigned(),
            offset: row.get::<_, i64>(2)?.cast_unsigned(),
        })
    });
    rows.unwrap().map(Result::unwrap).collect()
}

/// Opens a copy in `folder`, since whoever opens the original changes it. None if the agent died
/// before it had a database.
fn copy_of(database: &Path, folder: &TempDir) -> Option<Connection> {
    let copy = folder.path().join("copy.db");
    for suffix in ["", "-wal"] {
        let with_suffix = |path: &Path| format!("{}{suffix}", path.display());
        match fs::copy(with_suffix(database), with_suffix(&copy)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && suffix == "-wal" => (),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            copied => drop(copied.unwrap()),
        }
    }
    Some(Connection::open(copy).unwrap())
}

fn lives(world: &World) -> HashMap<usize, Life> {
    let mut lives = HashMap::<usize, Life>::new();
    for line in &world.journal().lines {
        let life = lives.entry(line.life).or_default();
        life.size += line.bytes.len() as u64;
        if !line.excused {
            life.lines.push((line.bytes.clone(), life.size));
        }
        if life.bytes.len() < 1024 {
            life.bytes.extend_from_slice(&line.bytes);
        }
    }
    lives
}
