//! The file that keeps what was given up: a JSON object a line, with the bytes in base64, so
//! that an operator can see the reason and send them by other means.
//!
//! What it was given is on disk when [`DeadLetters::write`] returns, and only then is it
//! settled. It never grows beyond its bound: then nothing more is given up until somebody moves
//! the file away. The file is opened anew for each write, so that moving it away is enough.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use aws_smithy_types::date_time::{DateTime, Format};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::recovery::folder_of;
use crate::file::Settled;
use crate::observe::crash_point;
use crate::send::Part;

#[derive(Clone, Debug)]
pub struct DeadLetters {
    path: PathBuf,
    max_bytes: u64,
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
    #[error("the dead-letter file {} would grow beyond its {max_bytes} bytes; move it away", path.display())]
    Full { path: PathBuf, max_bytes: u64 },
    #[error("the dead-letter file {} cannot be written: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl DeadLetters {
    pub fn new(path: PathBuf, max_bytes: u64) -> Self {
        DeadLetters { path, max_bytes }
    }

    /// Appends the first letters, as many as the bound allows. Returns how many: those are on
    /// disk. An error says why the others are not.
    pub fn write(&self, letters: &[Letter], now: SystemTime) -> (usize, Option<DeadLetterError>) {
        match self.try_write(letters, now) {
            Ok(written) if written == letters.len() => (written, None),
            Ok(written) => {
                let path = self.path.clone();
                (written, Some(DeadLetterError::Full { path, max_bytes: self.max_bytes }))
            }
            Err(source) => (0, Some(DeadLetterError::Io { path: self.path.clone(), source })),
        }
    }

    fn try_write(&self, letters: &[Letter], now: SystemTime) -> io::Result<usize> {
        let mut file = self.open()?;
        let mut size = cut_torn_line(&mut file)?;
        let time = DateTime::from(now).fmt(Format::DateTime).map_err(io::Error::other)?;
        let mut written = 0;
        for letter in letters {
            let lines = lines_of(letter, &time);
            size += lines.len() as u64;
            if size > self.max_bytes {
                break;
            }
            file.write_all(lines.as_bytes())?;
            written += 1;
        }
        if written > 0 {
            crash_point("dead_letters.before_fsync");
            file.sync_data()?;
            crash_point("dead_letters.after_fsync");
        }
        Ok(written)
    }

    fn open(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).mode(0o600);
        match options.open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => (),
            opened => return opened,
        }
        let file = options.create_new(true).open(&self.path)?;
        sync_folder(folder_of(&self.path))?;
        Ok(file)
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
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
        let line = serde_json::json!({
            "time": time,
            "flow": letter.flow,
            "destination": letter.destination,
            "file": file.to_string_lossy(),
            "offset": part.span.start,
            "length": part.span.len(),
            "reason": letter.reason,
            "data": STANDARD.encode(&part.payload),
        });
        lines.push_str(&line.to_string());
        lines.push('\n');
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
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
    fn at_the_bound_it_waits_until_the_file_is_moved_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d");
        let letters = DeadLetters::new(path.clone(), 700);
        let given = vec![letter(b"ab"), letter(b"cd"), letter(b"ef")];
        let (written, error) = letters.write(&given, now());
        assert!(matches!(error, Some(DeadLetterError::Full { .. })));
        assert_eq!(written, 2);
        assert!(path.metadata().unwrap().len() <= 700);
        assert!(matches!(letters.write(&given[2..], now()), (0, Some(DeadLetterError::Full { .. }))));
        std::fs::rename(&path, folder.path().join("away")).unwrap();
        assert!(matches!(letters.write(&given[2..], now()), (1, None)));
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let letters = DeadLetters::new("/proc/nothing/here".into(), 1000);
        assert!(matches!(letters.write(&[letter(b"ab")], now()), (0, Some(DeadLetterError::Io { .. }))));
    }
}
