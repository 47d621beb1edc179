//! What happened to a flow's files between two looks, told from names, inodes, sizes and times
//! alone. Pure: it opens nothing. Whoever acts on an event verifies it on the open file.
//!
//! It also knows how rotation names files (`app.log.1`, `app.log-20260101`, `app-20260101.log`,
//! each also compressed), so that a copy or a generation is held against the right tail.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::Arc;

use super::body::is_compressed;
use super::chunk::TailId;
use super::identity::FileKey;

/// A file as a folder showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub path: Arc<Path>,
    pub key: FileKey,
    pub size: u64,
    pub modified_millis: i64,
    /// Whether the flow's patterns match it.
    pub matched: bool,
}

impl Seen {
    /// Whether the other is as large and as old.
    pub fn looks_like(&self, other: &Seen) -> bool {
        (self.size, self.modified_millis) == (other.size, other.modified_millis)
    }
}

/// What is known of a tail when two looks are compared.
#[derive(Clone, Debug)]
pub struct Known<'a> {
    pub tail: TailId,
    pub path: &'a Path,
    pub key: FileKey,
    pub size: u64,
    pub modified_millis: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileEvent {
    /// It has another size or time than before.
    Changed { tail: TailId },
    /// Its file has another name now.
    Renamed { tail: TailId, to: Arc<Path> },
    /// No name leads to its file any more.
    Missing { tail: TailId },
    /// A file that is no tail's.
    Appeared { seen: Seen },
}

/// Where the files of a key stand in a list.
#[derive(Debug, Default)]
pub struct KeyIndex(Vec<u32>);

impl KeyIndex {
    pub fn of(seen: &[Seen]) -> Self {
        let mut places: Vec<u32> = (0..).take(seen.len()).collect();
        places.sort_unstable_by(|&a, &b| {
            let (a, b) = (&seen[a as usize], &seen[b as usize]);
            a.key.cmp(&b.key).then_with(|| a.path.cmp(&b.path))
        });
        KeyIndex(places)
    }

    /// The places of the files with this key, in the order of their paths.
    pub fn places(&self, seen: &[Seen], key: FileKey) -> impl Iterator<Item = usize> + Clone {
        let first = self.0.partition_point(|&place| seen[place as usize].key < key);
        let count = self.0[first..].iter().take_while(|&&place| seen[place as usize].key == key).count();
        self.0[first..first + count].iter().map(|&place| place as usize)
    }
}

/// Compares what is known with what a look at the folders showed. Events of known tails come
/// first, new files last and in the order of their modification times.
pub fn diff<'a>(
    known: impl IntoIterator<Item = Known<'a>>,
    seen: &[Seen],
    index: &KeyIndex,
) -> Vec<FileEvent> {
    let mut is_tails = vec![false; seen.len()];
    let mut events = Vec::new();
    for tail in known {
        // A file with two names stays at the one that it is known by.
        let places = index.places(seen, tail.key);
        let mut files = places.clone().map(|place| &seen[place]);
        let first = files.clone().next();
        let found = files.find(|file| *file.path == *tail.path).or(first);
        let Some(found) = found.filter(|found| may_be_renamed(tail.path, &found.path)) else {
            events.push(FileEvent::Missing { tail: tail.tail });
            continue;
        };
        places.for_each(|place| is_tails[place] = true);
        if *found.path != *tail.path {
            events.push(FileEvent::Renamed { tail: tail.tail, to: found.path.clone() });
        }
        if (found.size, found.modified_millis) != (tail.size, tail.modified_millis) {
            events.push(FileEvent::Changed { tail: tail.tail });
        }
    }
    let unknown = seen.iter().zip(is_tails).filter(|(_, is_tails)| !is_tails);
    let mut appeared: Vec<&Seen> = unknown.map(|(seen, _)| seen).collect();
    appeared.sort_by(|a, b| a.path.cmp(&b.path));
    let mut taken = HashSet::new();
    appeared.retain(|seen| taken.insert(seen.key));
    appeared.sort_by_key(|seen| seen.modified_millis);
    events.extend(appeared.into_iter().map(|seen| FileEvent::Appeared { seen: seen.clone() }));
    events
}

/// Whether a file that was at `from` can be the one with its inode at `to`: nobody compresses a
/// file in its place, so a compressed one got the inode of a plain one that was deleted.
pub fn may_be_renamed(from: &Path, to: &Path) -> bool {
    is_compressed(from) == is_compressed(to)
}

/// The names that rotation may have made `name` from, the nearest first: `app.log.2.gz` comes
/// from `app.log`. Without the name itself.
pub fn origins(name: &OsStr) -> Vec<OsString> {
    let mut bytes = name.as_bytes();
    let mut found = Vec::new();
    if is_compressed(Path::new(name))
        && let Some(dot) = bytes.iter().rposition(|&byte| byte == b'.')
    {
        bytes = &bytes[..dot];
        push(&mut found, bytes.to_vec());
    }
    strip_from_the_end(bytes, &[], &mut found);
    // A date before the ending: `app-20260101.log`, `app.1.log`.
    if let Some(dot) = bytes.iter().rposition(|&byte| byte == b'.') {
        let (stem, ending) = bytes.split_at(dot);
        if ending.len() > 1 && ending[1..].iter().all(u8::is_ascii_alphabetic) {
            strip_from_the_end(stem, ending, &mut found);
        }
    }
    found.into_iter().map(OsString::from_vec).collect()
}

/// Whether rotation may have made both names from one.
pub fn is_sibling(a: &Path, b: &Path) -> bool {
    let (Some(name), Some(other)) = (a.file_name(), b.file_name()) else { return false };
    let others = origins(other);
    a.parent() == b.parent() && origins(name).iter().any(|origin| others.contains(origin))
}

/// Takes parts that look like a number, a date or a word of rotation off the end, one by one.
fn strip_from_the_end(mut stem: &[u8], ending: &[u8], found: &mut Vec<Vec<u8>>) {
    while let Some(at) = stem.iter().rposition(|byte| b".-_~@".contains(byte)) {
        if at == 0 || !is_rotation_part(&stem[at + 1..]) {
            return;
        }
        stem = &stem[..at];
        push(found, [stem, ending].concat());
    }
}

fn push(found: &mut Vec<Vec<u8>>, name: Vec<u8>) {
    if !name.is_empty() && !found.contains(&name) {
        found.push(name);
    }
}

/// `1`, `20260101`, `2026`, `20260101T120000Z`, `12:30`, `old`, `bak`, an empty part (`app.log~`).
fn is_rotation_part(part: &[u8]) -> bool {
    const WORDS: [&[u8]; 6] = [b"old", b"bak", b"orig", b"prev", b"save", b"rotated"];
    let dated = part.iter().all(|byte| byte.is_ascii_digit() || b"TZ:+".contains(byte));
    dated || WORDS.iter().any(|word| part.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(path: &str, inode: u64, size: u64, modified_millis: i64) -> Seen {
        Seen { path: Path::new(path).into(), key: (1, inode), size, modified_millis, matched: true }
    }

    fn compare(known: &[Known<'_>], seen: &[Seen]) -> Vec<FileEvent> {
        diff(known.iter().cloned(), seen, &KeyIndex::of(seen))
    }

    fn known(tail: u64, path: &str, inode: u64, size: u64) -> Known<'_> {
        Known { tail: TailId(tail), path: Path::new(path), key: (1, inode), size, modified_millis: 10 }
    }

    #[test]
    fn nothing_happened() {
        assert_eq!(compare(&[known(1, "/a", 7, 5)], &[seen("/a", 7, 5, 10)]), []);
    }

    #[test]
    fn a_rename_and_a_new_file_at_the_old_name() {
        let events = compare(&[known(1, "/a", 7, 5)], &[seen("/a", 8, 2, 12), seen("/a.1", 7, 6, 11)]);
        let tail = TailId(1);
        assert_eq!(
            events,
            [
                FileEvent::Renamed { tail, to: Path::new("/a.1").into() },
                FileEvent::Changed { tail },
                FileEvent::Appeared { seen: seen("/a", 8, 2, 12) }
            ]
        );
    }

    #[test]
    fn a_missing_file_and_new_ones_in_the_order_of_time() {
        let events = compare(&[known(1, "/a", 7, 5)], &[seen("/b", 9, 1, 30), seen("/c", 8, 1, 20)]);
        assert_eq!(
            events,
            [
                FileEvent::Missing { tail: TailId(1) },
                FileEvent::Appeared { seen: seen("/c", 8, 1, 20) },
                FileEvent::Appeared { seen: seen("/b", 9, 1, 30) }
            ]
        );
    }

    #[test]
    fn a_second_name_of_a_known_file_changes_nothing() {
        let files = [seen("/0", 7, 5, 10), seen("/a", 7, 5, 10), seen("/z", 7, 5, 10)];
        assert_eq!(compare(&[known(1, "/a", 7, 5)], &files), []);
        let appeared = compare(&[], &files);
        assert_eq!(appeared, [FileEvent::Appeared { seen: seen("/0", 7, 5, 10) }]);
    }

    #[test]
    fn names_that_rotation_makes_lead_back_to_their_origin() {
        let leads = |name: &str, origin: &str| {
            let names = origins(OsStr::new(name));
            assert!(names.iter().any(|found| found == origin), "{name} -> {names:?}");
        };
        for name in [
            "app.log.1",
            "app.log.12.gz",
            "app.log-20260101",
            "app.log-20260101.zst",
            "app.log-2026-01-01",
            "app.log.2026-01-01_12-30",
            "app.log-20260101T120000Z",
            "app-20260101.log",
            "app.1.log",
            "app-2026-01-01.log.gz",
            "app.log~",
            "app.log.old",
            "app.log.gz",
            "app.log-1767225600",
        ] {
            leads(name, "app.log");
        }
        leads("app.1", "app");
        leads("app-1.log", "app.log");
        assert_eq!(origins(OsStr::new("app.log")), Vec::<OsString>::new());
        assert_eq!(origins(OsStr::new(".1")), Vec::<OsString>::new());
        assert_eq!(origins(OsStr::new("other-app.log")), Vec::<OsString>::new());
    }

    #[test]
    fn a_compressed_file_that_got_the_inode_of_a_deleted_one_is_another() {
        let before = seen("/app.log", 7, 10, 1);
        let tail =
            Known { tail: TailId(1), path: &before.path, key: before.key, size: 10, modified_millis: 1 };
        let after = seen("/app.log.2.gz", 7, 5, 2);
        let events = compare(&[tail], std::slice::from_ref(&after));
        assert_eq!(events, [FileEvent::Missing { tail: TailId(1) }, FileEvent::Appeared { seen: after }]);
    }

    use proptest::prelude::*;

    fn files(max: usize) -> impl Strategy<Value = Vec<Seen>> {
        let file = (0..6u64, 0..8u64, 0..3u64, 0..3i64);
        proptest::collection::vec(file, 0..max).prop_map(|files| {
            let mut names = std::collections::BTreeMap::new();
            for (name, inode, size, modified) in files {
                names.insert(name, seen(&format!("/{name}"), inode, size, modified));
            }
            names.into_values().collect()
        })
    }

    proptest! {
        /// Every tail is found or missing, every other file appears once, and nothing that stayed
        /// as it was is spoken of.
        #[test]
        fn each_file_is_accounted_for(before in files(8), after in files(8)) {
            let mut inodes = std::collections::HashSet::new();
            let tails: Vec<Known<'_>> = before
                .iter()
                .filter(|seen| inodes.insert(seen.key))
                .enumerate()
                .map(|(n, seen)| Known {
                    tail: TailId(n as u64),
                    path: &seen.path,
                    key: seen.key,
                    size: seen.size,
                    modified_millis: seen.modified_millis,
                })
                .collect();
            let events = compare(&tails, &after);
            for tail in &tails {
                let found: Vec<&Seen> = after.iter().filter(|seen| seen.key == tail.key).collect();
                let missing = events.contains(&FileEvent::Missing { tail: tail.tail });
                prop_assert_eq!(missing, found.is_empty());
                let stayed = found.iter().any(|seen| *seen.path == *tail.path);
                let renamed = events.iter().any(|e| matches!(e, FileEvent::Renamed { tail: id, .. } if *id == tail.tail));
                prop_assert_eq!(renamed, !missing && !stayed);
                let same = |seen: &&Seen| (seen.size, seen.modified_millis) == (tail.size, tail.modified_millis);
                let changed = events.contains(&FileEvent::Changed { tail: tail.tail });
                prop_assert!(!changed || !found.iter().all(same));
            }
            let known: std::collections::HashSet<FileKey> = tails.iter().map(|tail| tail.key).collect();
            let mut new: Vec<FileKey> = after.iter().map(|seen| seen.key).filter(|key| !known.contains(key)).collect();
            new.sort_unstable();
            new.dedup();
            let appeared: Vec<&Seen> =
                events.iter().filter_map(|e| if let FileEvent::Appeared { seen } = e { Some(seen) } else { None }).collect();
            let mut keys: Vec<FileKey> = appeared.iter().map(|seen| seen.key).collect();
            prop_assert!(appeared.windows(2).all(|pair| pair[0].modified_millis <= pair[1].modified_millis));
            keys.sort_unstable();
            prop_assert_eq!(keys, new);
        }
    }
}
