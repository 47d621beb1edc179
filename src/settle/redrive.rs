//! A dead-letter file whose lines are sent again, and how far that has come: read in loads,
//! each of one flow's; noted after each load; removed when all of it was sent or kept elsewhere.
//!
//! It sends nothing itself. How far it has come stands in a file beside (`.progress`), with a
//! hash of what was before that place, so that another file under the same name is read from its
//! beginning. What is refused again goes to a file beside, too (`.refused`).

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::dead_letters::{Line, is_at, sync_folder};
use super::recovery::folder_of;

/// What every destination takes in one request, with room for partition keys.
const MAX_LETTERS: usize = 500;
const MAX_BYTES: usize = 3 << 20;
/// So many bytes before the place that was reached are hashed.
const HASHED: u64 = 1024;

#[derive(Debug, thiserror::Error)]
pub enum RedriveError {
    #[error("another `kinesis-agent redrive` is at work on {}", path.display())]
    Busy { path: PathBuf },
    #[error("{} cannot be read, or not noted how far it was sent: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// How the lines were given up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    pub flow: String,
    pub destination: String,
}

/// Letters that are sent together.
#[derive(Debug)]
pub struct Load {
    pub route: Route,
    pub letters: Vec<Line>,
    lines: Vec<Vec<u8>>,
    end: u64,
}

#[derive(Debug)]
enum Next {
    Letters(Load),
    /// A line that is no letter.
    Stranger(Vec<u8>, u64),
    End,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub sent: u64,
    pub sent_bytes: u64,
    pub refused: u64,
    pub strangers: u64,
}

#[derive(Debug)]
pub struct Redrive {
    path: PathBuf,
    file: File,
    /// Locked against another redrive.
    progress: File,
    /// Everything before is sent or kept.
    offset: u64,
    pub counts: Counts,
}

impl Redrive {
    /// Goes on where an earlier one on this file ended.
    pub fn open(path: &Path) -> Result<Self, RedriveError> {
        let failed = |source| RedriveError::Io { path: path.to_owned(), source };
        let file = OpenOptions::new().read(true).append(true).open(path).map_err(failed)?;
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut progress = options.open(beside(path, "progress")).map_err(failed)?;
        match progress.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(RedriveError::Busy { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let mut redrive = Redrive {
            path: path.to_owned(),
            file,
            progress: progress.try_clone().map_err(failed)?,
            offset: 0,
            counts: Counts::default(),
        };
        let mut noted = String::new();
        progress.read_to_string(&mut noted).map_err(failed)?;
        redrive.offset = redrive.noted(&noted).map_err(failed)?;
        Ok(redrive)
    }

    /// Where to go on, if what was noted is about this file.
    fn noted(&mut self, noted: &str) -> io::Result<u64> {
        let mut numbers = noted.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(offset)), Some(Ok(hash))) = (numbers.next(), numbers.next()) else { return Ok(0) };
        let is_same = offset <= self.file.metadata()?.len() && self.hash_before(offset)? == hash;
        Ok(if is_same { offset } else { 0 })
    }

    fn hash_before(&mut self, offset: u64) -> io::Result<u64> {
        let from = offset.saturating_sub(HASHED);
        let mut before = Vec::new();
        self.file.seek(SeekFrom::Start(from))?;
        (&self.file).take(offset - from).read_to_end(&mut before)?;
        Ok(xxh3_64(&before))
    }

    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What is to be sent next; none when there is nothing more, and then the file is gone.
    /// Lines that are no letters are kept on the way.
    pub fn load(&mut self) -> Result<Option<Load>, RedriveError> {
        loop {
            let next = self.read().map_err(|source| self.failed(source))?;
            let done = match next {
                Next::Letters(load) => return Ok(Some(load)),
                Next::Stranger(line, end) => {
                    self.counts.strangers += 1;
                    self.keep(&line).and_then(|()| self.reached(end))
                }
                Next::End => match self.remove() {
                    Ok(true) => return Ok(None),
                    // Another letter has come meanwhile.
                    Ok(false) => Ok(()),
                    Err(error) => Err(error),
                },
            };
            done.map_err(|source| self.failed(source))?;
        }
    }

    fn failed(&self, source: io::Error) -> RedriveError {
        RedriveError::Io { path: self.path.clone(), source }
    }

    /// Whole lines from where it is: as many letters of one route as go into a request.
    fn read(&mut self) -> io::Result<Next> {
        self.file.seek(SeekFrom::Start(self.offset))?;
        let mut reader = BufReader::new(&self.file);
        let mut load: Option<Load> = None;
        let (mut end, mut bytes) = (self.offset, 0);
        loop {
            let mut line = Vec::new();
            reader.read_until(b'\n', &mut line)?;
            if !line.ends_with(b"\n") {
                break;
            }
            end += line.len() as u64;
            let letter = match Line::parse(&line) {
                Some(letter) => letter,
                None if load.is_none() => return Ok(Next::Stranger(line, end)),
                None => break,
            };
            let route = Route { flow: letter.flow.clone(), destination: letter.destination.clone() };
            let load = load.get_or_insert_with(|| Load {
                route: route.clone(),
                letters: Vec::new(),
                lines: Vec::new(),
                end: 0,
            });
            bytes += letter.data.len();
            let is_full = load.letters.len() == MAX_LETTERS || bytes > MAX_BYTES && !load.letters.is_empty();
            if load.route != route || is_full {
                break;
            }
            load.letters.push(letter);
            load.lines.push(line);
            load.end = end;
        }
        Ok(load.map_or(Next::End, Next::Letters))
    }

    /// All of `load` was sent but the letters at the places in `refused`, which are kept with
    /// the reason.
    pub fn done(&mut self, load: &Load, refused: &[(usize, String)]) -> Result<(), RedriveError> {
        let mut kept = Vec::new();
        for (at, reason) in refused {
            kept.extend(with_reason(&load.lines[*at], reason));
        }
        let noted = self.keep(&kept).and_then(|()| self.reached(load.end));
        noted.map_err(|source| self.failed(source))?;
        let is_refused = |at: usize| refused.iter().any(|(refused, _)| *refused == at);
        for (at, letter) in load.letters.iter().enumerate() {
            let records = u64::from(letter.count());
            if is_refused(at) {
                self.counts.refused += records;
            } else {
                self.counts.sent += records;
                self.counts.sent_bytes += letter.data.len() as u64;
            }
        }
        Ok(())
    }

    /// Where the letters are that are refused again.
    pub fn refused_file(&self) -> PathBuf {
        beside(&self.path, "refused")
    }

    /// On disk when it returns.
    fn keep(&self, lines: &[u8]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let path = self.refused_file();
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        file.write_all(lines)?;
        file.sync_data()?;
        sync_folder(folder_of(&path))
    }

    fn reached(&mut self, offset: u64) -> io::Result<()> {
        let hash = self.hash_before(offset)?;
        // Of a fixed length, so that one write replaces the whole.
        let text = format!("{offset:020} {hash:020}\n");
        self.progress.rewind()?;
        self.progress.write_all(text.as_bytes())?;
        self.progress.sync_data()?;
        self.offset = offset;
        Ok(())
    }

    /// Removes the file, unless a letter has come. The rest of a line that a crash of the agent
    /// left is no letter: it was not settled.
    fn remove(&mut self) -> io::Result<bool> {
        self.file.lock()?;
        let mut rest = Vec::new();
        self.file.seek(SeekFrom::Start(self.offset))?;
        (&self.file).read_to_end(&mut rest)?;
        if rest.contains(&b'\n') {
            self.file.unlock()?;
            return Ok(false);
        }
        if is_at(&self.file, &self.path)? {
            std::fs::remove_file(&self.path)?;
        }
        std::fs::remove_file(beside(&self.path, "progress"))?;
        sync_folder(folder_of(&self.path))?;
        Ok(true)
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{suffix}"));
    name.into()
}

/// The line with another `reason`; all else in it stays.
fn with_reason(line: &[u8], reason: &str) -> Vec<u8> {
    let mut letter: serde_json::Value = serde_json::from_slice(line).expect("it was read before");
    letter["reason"] = reason.into();
    let mut line = letter.to_string().into_bytes();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(flow: &str, data: &str) -> String {
        let data = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, data);
        format!(
            "{{\"flow\":\"{flow}\",\"destination\":\"kinesis:s\",\"reason\":\"old\",\"data\":\"{data}\"}}\n"
        )
    }

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.1");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn it_goes_on_after_the_last_load_and_leaves_what_was_refused() {
        let text =
            [line("a", "1"), line("a", "2"), line("b", "3"), "strange\n".into(), line("b", "4")].concat();
        let (folder, path) = file(&(text + "torn"));
        let mut redrive = Redrive::open(&path).unwrap();
        let load = redrive.load().unwrap().unwrap();
        assert_eq!((&*load.route.flow, load.letters.len()), ("a", 2));
        assert!(matches!(Redrive::open(&path), Err(RedriveError::Busy { .. })));
        redrive.done(&load, &[(1, "new".into())]).unwrap();
        // The next load is sent, but nobody hears of it any more.
        assert_eq!(redrive.load().unwrap().unwrap().letters[0].data, b"3");
        drop(redrive);

        let mut redrive = Redrive::open(&path).unwrap();
        for text in [b"3", b"4"] {
            let load = redrive.load().unwrap().unwrap();
            assert_eq!((load.letters.len(), &load.letters[0].data[..]), (1, &text[..]));
            redrive.done(&load, &[]).unwrap();
        }
        assert!(redrive.load().unwrap().is_none());
        assert_eq!(redrive.counts, Counts { sent: 2, sent_bytes: 2, refused: 0, strangers: 1 });
        assert_eq!(names(folder.path()), ["d.1.refused"]);
        let kept = std::fs::read_to_string(folder.path().join("d.1.refused")).unwrap();
        assert_eq!(kept, line("a", "2").replace("old", "new") + "strange\n");
    }

    #[test]
    fn another_file_of_the_same_name_is_read_from_its_beginning() {
        let (_folder, path) = file(&[line("a", "1"), line("b", "2")].concat());
        let mut redrive = Redrive::open(&path).unwrap();
        let load = redrive.load().unwrap().unwrap();
        redrive.done(&load, &[]).unwrap();
        drop(redrive);
        std::fs::write(&path, [line("c", "3"), line("c", "4")].concat()).unwrap();
        assert_eq!(Redrive::open(&path).unwrap().offset(), 0);
    }

    #[test]
    fn a_load_is_no_larger_than_a_request() {
        let large = "x".repeat(MAX_BYTES - 10);
        let mut text =
            [line("a", &large), line("a", &large), line("a", &"y".repeat(MAX_BYTES + 10))].concat();
        text.push_str(&line("a", "1").repeat(MAX_LETTERS + 1));
        let (_folder, path) = file(&text);
        let mut redrive = Redrive::open(&path).unwrap();
        let mut loads = Vec::new();
        while let Some(load) = redrive.load().unwrap() {
            loads.push(load.letters.len());
            redrive.done(&load, &[]).unwrap();
        }
        assert_eq!(loads, [1, 1, 1, MAX_LETTERS, 1]);
        assert!(!path.exists());
    }
}
