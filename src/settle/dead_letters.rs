//! The file that keeps what was given up: a JSON object a line, with the bytes in base64, so
//! that an operator can see the reason and send them by other means.
//!
//! What it was given is on disk when [`DeadLetters::write`] returns, and only then is it
//! settled. The file is rotated when it holds an eighth of the bound. All of them together never
//! grow beyond it, and none is ever removed here: then nothing more is given up until somebody
//! sends some again or moves them away. The file is opened anew for each write, so that moving it
//! away is enough; while it is written it is locked, so that who removes it knows what it holds.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use aws_smithy_types::date_time::{DateTime, Format};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::recovery::folder_of;
use crate::file::Settled;
use crate::observe::{DeadLetterFile, crash_point};
use crate::send::{Part, Records};

/// The file is rotated when it would grow beyond this part of the bound.
const FILES: u64 = 8;

#[derive(Clone, Debug)]
pub struct DeadLetters {
    file: DeadLetterFile,
}

/// A line of the file, as far as it is needed to send it again.
#[derive(Debug, serde::Deserialize)]
pub struct Line {
    pub flow: String,
    pub destination: String,
    #[serde(default)]
    pub file: PathBuf,
    /// The partition key that its destination was given.
    pub key: Option<String>,
    #[serde(deserialize_with = "from_base64")]
    pub data: Vec<u8>,
    /// How long each of several records in `data` is. Bytes.
    #[serde(default, rename = "records")]
    lengths: Vec<u32>,
}

impl Line {
    /// None if it is not a line as they are written here.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let line: Line = serde_json::from_slice(line).ok()?;
        let together: u64 = line.lengths.iter().map(|length| u64::from(*length)).sum();
        (line.lengths.is_empty() || together == line.data.len() as u64).then_some(line)
    }

    pub fn records(&self) -> Records {
        match &self.lengths[..] {
            [] => Records::one(self.data.len()),
            lengths => Records::Lengths(lengths.into()),
        }
    }

    /// How many records it holds.
    pub fn count(&self) -> u32 {
        u32::try_from(self.lengths.len().max(1)).expect("a line holds fewer")
    }
}

/// An entry that was given up.
#[derive(Clone, Debug)]
pub struct Letter {
    /// The flow's key.
    pub key: Arc<str>,
    /// The flow's name.
    pub flow: String,
    pub destination: String,
    pub reason: String,
    /// With the paths of their files. Each gets a line.
    pub parts: Vec<(PathBuf, Part)>,
    /// The partition key of all of it, where that follows from the file or the records.
    pub partition_key: Option<Arc<str>>,
    /// How many records of ours it holds.
    pub records: u64,
}

impl Letter {
    /// What may settle when the letter is on disk.
    pub fn settled(&self) -> impl Iterator<Item = Settled> + '_ {
        self.parts.iter().map(|(_, part)| Settled::new(&part.chunk, part.span))
    }
}

#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    #[error(
        "the dead-letter files {}* would grow beyond {max_bytes} bytes together; send them again with \
         `kinesis-agent redrive`, move them away, or raise deadLetterMaxBytes", path.display()
    )]
    Full { path: PathBuf, max_bytes: u64 },
    #[error("the dead-letter file {} cannot be written: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl DeadLetters {
    pub fn new(path: PathBuf, max_bytes: u64) -> Self {
        DeadLetters { file: DeadLetterFile { path, max_bytes } }
    }

    /// Appends the first letters, as many as the bound allows. Returns how many: those are on
    /// disk. An error says why the others are not.
    pub fn write(&self, letters: &[Letter], now: SystemTime) -> (usize, Option<DeadLetterError>) {
        let DeadLetterFile { path, max_bytes } = self.file.clone();
        match self.try_write(letters, now) {
            Ok(written) if written == letters.len() => (written, None),
            Ok(written) => (written, Some(DeadLetterError::Full { path, max_bytes })),
            Err(source) => (0, Some(DeadLetterError::Io { path, source })),
        }
    }

    fn try_write(&self, letters: &[Letter], now: SystemTime) -> io::Result<usize> {
        let mut file = self.open()?;
        let mut size = cut_torn_line(&mut file)?;
        let mut room = self.file.max_bytes.saturating_sub(self.file.size());
        let time = DateTime::from(now).fmt(Format::DateTime).map_err(io::Error::other)?;
        let mut written = 0;
        for letter in letters {
            let lines = lines_of(letter, &time);
            let bytes = lines.len() as u64;
            if bytes > room {
                break;
            }
            if size > 0 && size + bytes > self.file.max_bytes / FILES {
                file = self.rotate(file)?;
                size = 0;
            }
            file.write_all(lines.as_bytes())?;
            written += 1;
            room -= bytes;
            size += bytes;
        }
        if written > 0 {
            crash_point("dead_letters.before_fsync");
            file.sync_data()?;
            crash_point("dead_letters.after_fsync");
        }
        Ok(written)
    }

    /// The file under the path, locked until it is closed.
    fn open(&self) -> io::Result<File> {
        loop {
            let file = self.open_any()?;
            file.lock()?;
            // Who held the lock may have removed the file meanwhile.
            if is_at(&file, &self.file.path)? {
                return Ok(file);
            }
        }
    }

    fn open_any(&self) -> io::Result<File> {
        let path = &self.file.path;
        let mut options = OpenOptions::new();
        options.read(true).append(true).mode(0o600);
        match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => (),
            opened => return opened,
        }
        let file = options.create(true).open(path)?;
        sync_folder(folder_of(path))?;
        Ok(file)
    }

    /// Gives the file the next number, and opens another.
    fn rotate(&self, full: File) -> io::Result<File> {
        full.sync_data()?;
        self.rename()?;
        drop(full);
        self.open()
    }

    fn rename(&self) -> io::Result<PathBuf> {
        let mut name = self.file.path.clone().into_os_string();
        name.push(format!(".{}", self.file.next_number()));
        std::fs::rename(&self.file.path, &name)?;
        sync_folder(folder_of(&self.file.path))?;
        Ok(name.into())
    }

    /// Rotates what was given up so far, so that nothing is added to it any more. Where it is.
    pub fn set_aside(&self) -> io::Result<PathBuf> {
        let file = File::open(&self.file.path)?;
        file.lock()?;
        self.rename()
    }
}

/// Whether `path` is this file.
pub(super) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let (file, at) = (file.metadata()?, std::fs::metadata(path));
    match at {
        Ok(at) => Ok((file.dev(), file.ino()) == (at.dev(), at.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn from_base64<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text: std::borrow::Cow<'de, str> = serde::Deserialize::deserialize(deserializer)?;
    STANDARD.decode(&*text).map_err(serde::de::Error::custom)
}

pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Removes the beginning of a line that a crash or a full disk left: it was not settled, so
/// it is written again. Returns the size of the file.
fn cut_torn_line(file: &mut File) -> io::Result<u64> {
    const BLOCK: u64 = 64 * 1024;
    let size = file.seek(SeekFrom::End(0))?;
    let mut end = size;
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        block.clear();
        file.take(end - start).read_to_end(&mut block)?;
        if let Some(newline) = memchr::memrchr(b'\n', &block) {
            end = start + newline as u64 + 1;
            break;
        }
        end = start;
    }
    if end < size {
        file.set_len(end)?;
    }
    Ok(end)
}

fn lines_of(letter: &Letter, time: &str) -> String {
    let mut lines = String::new();
    for (file, part) in &letter.parts {
        let mut line = serde_json::json!({
            "time": time,
            "flow": letter.flow,
            "destination": letter.destination,
            "file": file.to_string_lossy(),
            "offset": part.span.start,
            "length": part.span.len(),
            "reason": letter.reason,
            "data": STANDARD.encode(&part.payload),
        });
        if let Some(key) = &letter.partition_key {
            line["key"] = (&**key).into();
        }
        let lengths: Vec<usize> = part.records().map(<[u8]>::len).collect();
        if lengths.len() > 1 {
            line["records"] = lengths.into();
        }
        lines.push_str(&line.to_string());
        lines.push('\n');
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use bytes::Bytes;

    use super::*;
    use crate::file::{Chunk, Span, TailId};
    use crate::send::Records;

    fn letter(content: &'static [u8]) -> Letter {
        let chunk = Chunk::new(TailId(1), 0, Bytes::from_static(content), 0);
        let half = content.len() as u64 / 2;
        let part = |span| {
            let part =
                Part { payload: chunk.slice(span), chunk: chunk.clone(), span, records: Records::Lines };
            (PathBuf::from("/a.log"), part)
        };
        Letter {
            key: "k".into(),
            partition_key: None,
            records: 2,
            flow: "access".into(),
            destination: "firehose:web".into(),
            reason: "refused".into(),
            parts: vec![part(Span::new(0, half)), part(Span::new(half, half * 2))],
        }
    }

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(1_700_000_000_250)
    }

    #[test]
    fn each_part_is_a_line_with_all_that_is_known_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dead-letters.jsonl");
        let letters = DeadLetters::new(path.clone(), 1 << 20);
        assert!(matches!(letters.write(&[letter(b"ab\ncd\n")], now()), (1, None)));
        let text = std::fs::read_to_string(&path).unwrap();
        let line = r#"{"time":"2023-11-14T22:13:20.25Z","flow":"access","destination":"firehose:web","file":"/a.log","offset":3,"length":3,"reason":"refused","data":"Y2QK"}"#;
        assert_eq!(text.lines().nth(1), Some(line));
        assert_eq!(text.lines().count(), 2);
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_torn_last_line_is_cut_and_what_is_before_it_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d");
        let letters = DeadLetters::new(path.clone(), 1 << 20);
        for torn in [&b"{\"time\":"[..], &[b'x'; 200_000]] {
            letters.write(&[letter(b"ab")], now());
            let before = std::fs::read(&path).unwrap();
            std::fs::write(&path, [&before, torn].concat()).unwrap();
            assert!(matches!(letters.write(&[letter(b"cd")], now()), (1, None)));
            let after = std::fs::read_to_string(&path).unwrap();
            assert!(after.as_bytes().starts_with(&before));
            assert!(after.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
        }
    }

    #[test]
    fn at_the_bound_it_waits_until_a_file_is_moved_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d");
        let letters = DeadLetters::new(path.clone(), 700);
        let given = vec![letter(b"ab"), letter(b"cd"), letter(b"ef")];
        let (written, error) = letters.write(&given, now());
        assert!(matches!(error, Some(DeadLetterError::Full { .. })));
        assert_eq!(written, 2);
        assert!(letters.file.size() <= 700);
        assert!(matches!(letters.write(&given[2..], now()), (0, Some(DeadLetterError::Full { .. }))));
        std::fs::rename(folder.path().join("d.1"), folder.path().join("away")).unwrap();
        assert!(matches!(letters.write(&given[2..], now()), (1, None)));
    }

    #[test]
    fn it_is_rotated_within_the_bound_and_no_number_is_used_twice() {
        let folder = tempfile::tempdir().unwrap();
        let letters = DeadLetters::new(folder.path().join("d"), 8 * 700);
        let one = vec![letter(b"ab"); 1];
        for _ in 0..7 {
            assert!(matches!(letters.write(&one, now()), (1, None)));
        }
        let names = || {
            let names = std::fs::read_dir(folder.path()).unwrap();
            let mut names: Vec<_> =
                names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        assert_eq!(names(), ["d", "d.1", "d.2", "d.3"]);
        let lines = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap().lines().count();
        assert_eq!([lines("d.1"), lines("d.2"), lines("d.3"), lines("d")], [4, 4, 4, 2]);
        std::fs::remove_file(folder.path().join("d.1")).unwrap();
        letters.write(&vec![letter(b"ab"); 2], now());
        assert_eq!(names(), ["d", "d.2", "d.3", "d.4"]);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let letters = DeadLetters::new("/proc/nothing/here".into(), 1000);
        assert!(matches!(letters.write(&[letter(b"ab")], now()), (0, Some(DeadLetterError::Io { .. }))));
    }
}
