//! Where reading would begin in each file of a flow if the agent started now, told without
//! following anything.
//!
//! It opens the files and holds them against what is stored, as the first look of the agent
//! does. What rotation made of a file that is gone from its place is only told as far as its
//! name and inode say.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::body::{Body, is_compressed};
use super::identity::{FileKey, HEAD_BYTES, Verdict, file_key, verify};
use super::ladder::Ladder;
use super::listing::{Listing, Places, home_of};
use super::note::{KnownTail, TailState};
use super::options::{InitialPosition, Options};
use super::pattern::{PatternError, Patterns};
use super::rotation::Seen;
use super::tail::Tail;
use super::tailers::Past;
use super::tails::Tails;

#[derive(Debug, Default)]
pub struct Forecast {
    /// The one that was written last comes first.
    pub files: Vec<Foreseen>,
    /// Matching files that are not followed because they are compressed.
    pub compressed: usize,
    /// Files that were known, are not where their names lead, and were not delivered as a whole.
    pub missing: Vec<KnownTail>,
    /// Folders that could not be listed.
    pub errors: Vec<(PathBuf, io::Error)>,
    /// Files that there was no time to open.
    pub skipped: usize,
}

#[derive(Debug)]
pub struct Foreseen {
    pub path: PathBuf,
    pub size: u64,
    /// Or why it cannot be read.
    pub begin: io::Result<Begin>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Where everything before is settled.
    Stored(u64),
    /// The file lost its end; up to here it is what was read.
    Cut(u64),
    /// It was known, but holds something else now.
    Anew,
    /// `initialPosition`: behind the last complete line that was there before the flow.
    End,
    Start,
}

/// Files are opened for as long as `within` says.
pub fn forecast(options: &Options, past: &Past, within: Duration) -> Result<Forecast, PatternError> {
    let deadline = Instant::now() + within;
    let patterns = Patterns::try_new(&options.patterns, &options.excludes)?;
    let live = || past.known.iter().filter(|known| known.state != TailState::Over);
    let mut tails = Tails::default();
    for known in live() {
        tails.insert(Tail::new(known.clone(), home_of(&known.path, &patterns), Duration::ZERO));
    }
    let (rotated, forbidden, old_folders) = Default::default();
    let places = Places {
        tails: &tails,
        rotated: &rotated,
        forbidden: &forbidden,
        old_folders: &old_folders,
        away: false,
    };
    let listing = Listing::take(&patterns, places);
    let mut forecast = Forecast { errors: listing.errors, ..Forecast::default() };
    let by_key: HashMap<FileKey, &KnownTail> = live().map(|known| (known.identity.key(), known)).collect();
    // Device numbers change over reboots.
    let by_inode: HashMap<u64, &KnownTail> = live().map(|known| (known.identity.inode, known)).collect();
    let mut files = listing.files;
    files.sort_by(|a, b| b.modified_millis.cmp(&a.modified_millis).then_with(|| a.path.cmp(&b.path)));
    let mut seen_keys = HashSet::new();
    let mut found = HashSet::new();
    for seen in files {
        let known = by_key.get(&seen.key).or_else(|| by_inode.get(&seen.key.1)).copied();
        if let Some(known) = known {
            found.insert(known.tail);
        }
        if is_compressed(&seen.path) {
            forecast.compressed += usize::from(seen.matched);
            continue;
        }
        if (!seen.matched && known.is_none()) || !seen_keys.insert(seen.key) {
            continue;
        }
        if Instant::now() >= deadline {
            forecast.skipped += 1;
            continue;
        }
        let begin = begin(&seen, known, options, past);
        forecast.files.push(Foreseen { path: seen.path.to_path_buf(), size: seen.size, begin });
    }
    let unread = |known: &&KnownTail| known.size > known.offset;
    let missing = live().filter(|known| !found.contains(&known.tail)).filter(unread);
    forecast.missing = missing.cloned().collect();
    Ok(forecast)
}

fn begin(seen: &Seen, known: Option<&KnownTail>, options: &Options, past: &Past) -> io::Result<Begin> {
    let mut body = open(&seen.path, seen.key)?;
    body.bytes_at(0, HEAD_BYTES)?;
    if let Some(known) = known {
        let ladder = Ladder::new(known.anchors.clone());
        match verify(&mut body, &known.identity, &ladder)? {
            Verdict::Same => return Ok(Begin::Stored(known.offset)),
            Verdict::UpTo(anchor) => return Ok(Begin::Cut(anchor.offset)),
            Verdict::Different if known.identity.key() == seen.key => return Ok(Begin::Anew),
            // Another device's file has the same inode by chance.
            Verdict::Different => {}
        }
    }
    let at_end = options.initial_position == InitialPosition::EndOfFile && past.was_there(seen, true);
    Ok(if at_end { Begin::End } else { Begin::Start })
}

fn open(path: &Path, key: FileKey) -> io::Result<Body> {
    let (body, metadata) = Body::open(path)?;
    if file_key(&metadata) == key {
        return Ok(body);
    }
    Err(io::Error::other("it was replaced by another file while it was looked at"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::chunk::{Anchor, TailId};
    use crate::file::identity::modified_millis;
    use crate::file::note::Identity;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn path(&self, name: &str) -> PathBuf {
            self.0.path().canonicalize().unwrap().join(name)
        }

        /// The tail of a file that holds these bytes and is read up to `offset`.
        fn known(&self, id: u64, name: &str, content: &[u8], offset: u64) -> KnownTail {
            std::fs::write(self.path(name), content).unwrap();
            let (mut body, metadata) = Body::open(&self.path(name)).unwrap();
            let before = &content[..offset as usize];
            KnownTail {
                tail: TailId(id),
                path: self.path(name).into(),
                identity: Identity::of(&mut body, file_key(&metadata)).unwrap(),
                offset,
                anchors: if offset > 0 {
                    vec![Anchor::of(offset, &before[before.len().saturating_sub(256)..])]
                } else {
                    vec![]
                },
                size: content.len() as u64,
                modified_millis: modified_millis(&metadata),
                state: TailState::Live,
            }
        }

        fn forecast(&self, initial_position: InitialPosition, past: &Past) -> Forecast {
            let options = Options {
                patterns: vec![self.path("*.log*").display().to_string()],
                excludes: Vec::new(),
                initial_position,
                max_line_bytes: 1 << 20,
                scan_interval: Duration::from_secs(10),
                use_events: false,
                finished_after: Duration::from_secs(30),
                in_order: false,
                shares_memory: false,
            };
            forecast(&options, past, Duration::from_secs(60)).unwrap()
        }
    }

    fn begins(forecast: &Forecast) -> Vec<(String, Begin)> {
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        let mut begins: Vec<_> =
            forecast.files.iter().map(|file| (name(&file.path), *file.begin.as_ref().unwrap())).collect();
        begins.sort_by(|a, b| a.0.cmp(&b.0));
        begins
    }

    #[test]
    fn known_files_begin_where_they_were_settled_and_others_anew() {
        let folder = Folder(tempfile::tempdir().unwrap());
        let known = vec![
            folder.known(1, "grown.log", b"one\ntwo\n", 4),
            folder.known(2, "replaced.log", b"one\ntwo\n", 4),
            folder.known(3, "gone.log", b"one\ntwo\n", 4),
            folder.known(4, "gone-but-read.log", b"one\n", 4),
        ];
        std::fs::write(folder.path("replaced.log"), b"other\n").unwrap();
        std::fs::write(folder.path("new.log"), b"new\n").unwrap();
        std::fs::write(folder.path("old.log.gz"), b"packed").unwrap();
        // Its inode must not be given to another.
        let _held = std::fs::File::open(folder.path("gone.log")).unwrap();
        std::fs::remove_file(folder.path("gone.log")).unwrap();
        std::fs::remove_file(folder.path("gone-but-read.log")).unwrap();
        let past = Past { known, first_start_millis: 0, is_first_start: false };
        let forecast = folder.forecast(InitialPosition::EndOfFile, &past);
        let expected =
            [("grown.log", Begin::Stored(4)), ("new.log", Begin::Start), ("replaced.log", Begin::Anew)];
        assert_eq!(begins(&forecast), expected.map(|(name, begin)| (name.to_owned(), begin)));
        assert_eq!((forecast.compressed, forecast.skipped), (1, 0));
        assert_eq!(forecast.missing.iter().map(|known| known.tail.0).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn a_file_that_was_renamed_is_followed_to_its_new_name() {
        let folder = Folder(tempfile::tempdir().unwrap());
        let known = folder.known(1, "a.log", b"one\ntwo\n", 4);
        std::fs::rename(folder.path("a.log"), folder.path("a.log.1")).unwrap();
        let past = Past { known: vec![known], first_start_millis: 0, is_first_start: false };
        let forecast = folder.forecast(InitialPosition::EndOfFile, &past);
        assert_eq!(begins(&forecast), [("a.log.1".to_owned(), Begin::Stored(4))]);
        assert!(forecast.missing.is_empty());
    }

    #[test]
    fn the_initial_position_counts_for_what_was_there_before_the_flow() {
        let folder = Folder(tempfile::tempdir().unwrap());
        std::fs::write(folder.path("a.log"), b"one\n").unwrap();
        let first = Past { known: vec![], first_start_millis: i64::MAX, is_first_start: true };
        let later = Past { known: vec![], first_start_millis: 0, is_first_start: false };
        for (position, past, begin) in [
            (InitialPosition::EndOfFile, &first, Begin::End),
            (InitialPosition::StartOfFile, &first, Begin::Start),
            (InitialPosition::EndOfFile, &later, Begin::Start),
        ] {
            assert_eq!(begins(&folder.forecast(position, past)), [("a.log".to_owned(), begin)]);
        }
    }
}
