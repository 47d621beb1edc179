//! A folder with logs, and the memory of all that was written to them.
//!
//! The scripts write through it, so that the oracle knows every line, in which life of which
//! file it stands, and whether the agent can be asked for it. A life of a file goes from its
//! first byte to its truncation or its end; a rename does not end it.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

#[derive(Debug)]
pub struct World {
    /// Taken only by `Drop`, which keeps the folder of a failed test in which an agent ran.
    dir: Option<TempDir>,
    /// The folder with all symlinks resolved.
    root: PathBuf,
    journal: Mutex<Journal>,
}

/// A complete line that was written, its newline included.
#[derive(Clone, Debug)]
pub struct Line {
    pub life: usize,
    /// The script does not ask for it: it may be delivered or not.
    pub excused: bool,
    pub bytes: Bytes,
}

/// All that was written so far.
#[derive(Debug, Default)]
pub struct Journal {
    pub lines: Vec<Line>,
    /// Counts the excuses, so that a reader of `lines` knows that earlier ones changed.
    pub excuses: u64,
    /// For each life, what stands after its last newline.
    unterminated: Vec<Vec<u8>>,
    lives: HashMap<PathBuf, usize>,
    next_number: u64,
}

/// A descriptor that stays open, as a daemon's does while its log is renamed. It writes to the
/// life that it was opened for: after a truncation, open another.
#[derive(Debug)]
pub struct Writer<'a> {
    world: &'a World,
    file: File,
    life: usize,
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("kinesis-agent-it-").tempdir();
        let dir = dir.expect("a temporary folder can be made");
        let root = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir_all(root.join("logs")).unwrap();
        World { dir: Some(dir), root, journal: Mutex::default() }
    }

    /// The folder of the test: the configuration, the agent's own log and its state.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path in the folder of the logs.
    pub fn path(&self, file: &str) -> PathBuf {
        self.root().join("logs").join(file)
    }

    pub fn checkpoint_file(&self) -> PathBuf {
        self.root().join("state/checkpoints.db")
    }

    pub fn status_socket(&self) -> PathBuf {
        self.root().join("status.sock")
    }

    pub fn dead_letter_file(&self) -> PathBuf {
        self.root().join("state/dead-letters.jsonl")
    }

    pub fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Appends bytes as they are. A last line without a newline is completed by what is
    /// appended to the same life next.
    pub fn append(&self, file: &str, bytes: impl AsRef<[u8]>) -> Range<usize> {
        self.writer(file).append(bytes)
    }

    /// The beginning of a line; to be completed by another append, or never.
    pub fn append_partial(&self, file: &str, bytes: impl AsRef<[u8]>) {
        assert!(!bytes.as_ref().contains(&b'\n'), "a partial line has no newline");
        self.append(file, bytes);
    }

    /// `n` lines of about 60 bytes, each unique in the world. The range of their places in the
    /// journal.
    pub fn lines(&self, file: &str, n: usize) -> Range<usize> {
        self.long_lines(file, n, 60)
    }

    /// `n` unique lines of `length` bytes, the newline included.
    pub fn long_lines(&self, file: &str, n: usize, length: usize) -> Range<usize> {
        self.writer(file).long_lines(n, length)
    }

    /// Opens (or creates) a file for appending, and keeps it open.
    pub fn writer(&self, file: &str) -> Writer<'_> {
        let path = self.path(file);
        fs::create_dir_all(path.parent().expect("a file stands in a folder")).unwrap();
        let opened = OpenOptions::new().append(true).create(true).open(&path);
        let opened = opened.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let key = fs::canonicalize(&path).unwrap();
        let life = self.journal().life_at(key);
        Writer { world: self, file: opened, life }
    }

    /// Lines that a program writes by itself; nobody asks for their order.
    pub fn written_by_a_program(&self, text: impl AsRef<[u8]>) {
        let mut journal = self.journal();
        for line in text.as_ref().split_inclusive(|byte| *byte == b'\n') {
            let life = journal.unterminated.len();
            journal.unterminated.push(Vec::new());
            journal.write(life, line);
        }
    }

    /// Bytes that the agent must not deliver, such as what was there before END_OF_FILE.
    pub fn append_unseen(&self, file: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().expect("a file stands in a folder")).unwrap();
        let mut opened = OpenOptions::new().append(true).create(true).open(path).unwrap();
        opened.write_all(bytes.as_ref()).unwrap();
    }

    pub fn rename(&self, from: &str, to: &str) {
        let (from, to) = (self.path(from), self.path(to));
        fs::create_dir_all(to.parent().expect("a file stands in a folder")).unwrap();
        fs::rename(&from, &to).unwrap();
        let mut journal = self.journal();
        if let Some(life) = journal.lives.remove(&from) {
            journal.lives.insert(to, life);
        }
    }

    /// What `copytruncate` and `> file` do.
    pub fn truncate(&self, file: &str) {
        let path = fs::canonicalize(self.path(file)).unwrap();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
        self.journal().lives.remove(&path);
    }

    pub fn delete(&self, file: &str) {
        let path = self.path(file);
        fs::remove_file(&path).unwrap();
        self.journal().lives.remove(&path);
    }

    /// A symlink at `link`; an older one is replaced in one step. A relative target is
    /// resolved in the folder of the logs.
    pub fn symlink(&self, target: &str, link: &str) {
        let (target, link) = (self.path(target), self.path(link));
        fs::create_dir_all(link.parent().expect("a link stands in a folder")).unwrap();
        let fresh = link.with_extension("new-link");
        std::os::unix::fs::symlink(target, &fresh).unwrap();
        fs::rename(fresh, link).unwrap();
    }

    /// A copy of all bytes so far.
    pub fn copy(&self, from: &str, to: &str) {
        let to = self.path(to);
        fs::create_dir_all(to.parent().expect("a file stands in a folder")).unwrap();
        fs::copy(self.path(from), to).unwrap();
    }

    /// The script no longer asks for these lines: nobody could have delivered them.
    pub fn excuse(&self, lines: Range<usize>) {
        let mut journal = self.journal();
        journal.excuses += 1;
        for line in &mut journal.lines[lines] {
            line.excused = true;
        }
    }

    /// The same for all lines of the present life of `file`.
    pub fn excuse_file(&self, file: &str) {
        self.excuse_lives(&[self.life_of(file)]);
    }

    /// The number of the present life of `file`.
    pub fn life_of(&self, file: &str) -> usize {
        let path = fs::canonicalize(self.path(file)).unwrap();
        self.journal().life_at(path)
    }

    /// The same for all lines of these lives.
    pub fn excuse_lives(&self, lives: &[usize]) {
        let mut journal = self.journal();
        journal.excuses += 1;
        for line in journal.lines.iter_mut().filter(|line| lives.contains(&line.life)) {
            line.excused = true;
        }
    }
}

impl Writer<'_> {
    pub fn append(&mut self, bytes: impl AsRef<[u8]>) -> Range<usize> {
        // Remembered first: the agent may be quicker than this thread.
        let range = self.world.journal().write(self.life, bytes.as_ref());
        self.file.write_all(bytes.as_ref()).unwrap();
        range
    }

    pub fn long_lines(&mut self, n: usize, length: usize) -> Range<usize> {
        let first = self.world.journal().lines.len();
        let numbers = self.world.journal().take_numbers(n);
        let mut text = Vec::with_capacity(n * length);
        for number in numbers {
            text.extend_from_slice(&numbered_line(number, length));
        }
        let written = self.append(text);
        first.min(written.start)..written.end
    }
}

impl Journal {
    fn life_at(&mut self, path: PathBuf) -> usize {
        let next = self.unterminated.len();
        let life = *self.lives.entry(path).or_insert(next);
        if life == next {
            self.unterminated.push(Vec::new());
        }
        life
    }

    /// The text of `n` unique lines, for [`World::written_by_a_program`].
    pub fn new_lines(&mut self, n: usize) -> Vec<u8> {
        self.take_numbers(n).flat_map(|number| numbered_line(number, 60)).collect()
    }

    fn take_numbers(&mut self, n: usize) -> Range<u64> {
        let first = self.next_number;
        self.next_number += n as u64;
        first..self.next_number
    }

    fn write(&mut self, life: usize, bytes: &[u8]) -> Range<usize> {
        let first = self.lines.len();
        let mut pending = std::mem::take(&mut self.unterminated[life]);
        pending.extend_from_slice(bytes);
        // All lines of one write share an allocation.
        let all = Bytes::from(pending);
        let mut start = 0;
        for newline in memchr::memchr_iter(b'\n', &all) {
            let bytes = all.slice(start..=newline);
            self.lines.push(Line { life, excused: false, bytes });
            start = newline + 1;
        }
        self.unterminated[life] = all[start..].to_vec();
        first..self.lines.len()
    }

    /// What stands after the last newline of each life that has such bytes.
    pub fn unterminated(&self) -> impl Iterator<Item = &[u8]> {
        self.unterminated.iter().map(Vec::as_slice).filter(|rest| !rest.is_empty())
    }
}

/// A line whose content proves itself: a number, filler, and a checksum over both.
pub fn numbered_line(number: u64, length: usize) -> Vec<u8> {
    let mut line = format!("{number:010} ").into_bytes();
    let filler = length.saturating_sub(line.len() + 10);
    let alphabet = b"abcdefghijklmnopqrstuvwxyz";
    let filling = alphabet.repeat(filler / alphabet.len() + 2);
    line.extend_from_slice(&filling[(number % 26) as usize..][..filler]);
    let sum = Sha256::digest(&line);
    let sum = u32::from_be_bytes([sum[0], sum[1], sum[2], sum[3]]);
    line.extend_from_slice(format!(" {sum:08x}\n").as_bytes());
    line
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() && super::agent_process::log_file(self).exists() {
            let kept = self.dir.take().expect("taken only here").keep();
            eprintln!("the world of the failed test is kept in {}", kept.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(world: &World) -> Vec<(usize, String)> {
        let journal = world.journal();
        let text = |line: &Line| (line.life, String::from_utf8(line.bytes.to_vec()).unwrap());
        journal.lines.iter().map(text).collect()
    }

    #[test]
    fn a_line_in_two_appends_is_one_line_of_its_life() {
        let world = World::new();
        world.append_partial("a.log", "he");
        assert_eq!(world.append("a.log", "llo\nworld\nx"), 0..2);
        assert_eq!(texts(&world), [(0, "hello\n".into()), (0, "world\n".into())]);
        assert_eq!(world.journal().unterminated().collect::<Vec<_>>(), [b"x"]);
        assert_eq!(fs::read(world.path("a.log")).unwrap(), b"hello\nworld\nx");
    }

    #[test]
    fn a_rename_keeps_the_life_and_a_truncation_ends_it() {
        let world = World::new();
        let mut daemon = world.writer("a.log");
        daemon.append("one\n");
        world.rename("a.log", "a.log.1");
        world.append("a.log", "two\n");
        daemon.append("late\n");
        world.truncate("a.log");
        world.append("a.log", "three\n");
        let lives: Vec<_> = texts(&world).into_iter().map(|(life, _)| life).collect();
        assert_eq!(lives, [0, 1, 0, 2]);
    }

    #[test]
    fn numbered_lines_have_the_asked_length_and_are_unique() {
        let world = World::new();
        world.long_lines("a.log", 3, 100);
        world.lines("b.log", 2);
        let lengths: Vec<_> = texts(&world).iter().map(|(_, text)| text.len()).collect();
        assert_eq!(lengths, [100, 100, 100, 60, 60]);
        let distinct: std::collections::HashSet<_> = texts(&world).into_iter().collect();
        assert_eq!(distinct.len(), 5);
    }

    #[test]
    fn a_swapped_symlink_begins_another_life() {
        let world = World::new();
        world.append("data/1.log", "one\n");
        world.symlink("data/1.log", "current.log");
        world.append("current.log", "still one\n");
        world.append("data/2.log", "");
        world.symlink("data/2.log", "current.log");
        world.append("current.log", "two\n");
        let lives: Vec<_> = texts(&world).into_iter().map(|(life, _)| life).collect();
        assert_eq!(lives, [0, 0, 1]);
    }
}
