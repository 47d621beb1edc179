//! What the folders of a flow hold: the files that its patterns match, and beside them those
//! whose names say that rotation made them from one of its tails.
//!
//! Symbolic links are followed; what counts is the path they lead to. What cannot be listed or
//! is no regular file is left out without a fuss: it may be there the next time.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::identity::{FileKey, file_key, modified_millis};
use super::note::{KnownTail, TailState};
use super::pattern::{Patterns, Step};
use super::rotation::{KeyIndex, Seen, origins};
use super::tails::{Tails, path_hash};
use crate::observe::pulse::beat;

/// Folders under `**` are followed to this depth, so that a loop of links ends.
const MAX_DEPTH: usize = 64;

/// Some systems tell the time of a folder's last change in steps of up to 10 ms: a change that
/// is older than this cannot hide another.
const CLOCK_STEP: Duration = Duration::from_millis(20);

/// One look at all folders of a flow.
#[derive(Debug, Default)]
pub struct Listing {
    /// In no order; a file with two names is there twice.
    pub files: Vec<Seen>,
    pub by_key: KeyIndex,
    /// By the hashes of the paths.
    by_path: HashMap<u64, u32>,
    /// The folders that were looked at, resolved; where one does not exist yet, the
    /// nearest one above it.
    pub folders: BTreeSet<PathBuf>,
    /// What could not be listed or looked at, and why.
    pub errors: Vec<(PathBuf, std::io::Error)>,
    /// Names came, went or moved during the look: a file that is there may be missing here.
    pub in_motion: bool,
    /// What was in the folders, by their resolved paths.
    pub entries: HashMap<PathBuf, Arc<Entries>>,
}

/// What is known already: a name beside the home of a tail may be a rotated body of it.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    pub tails: &'a Tails,
    /// Homes beside those of the tails.
    pub rotated: &'a HashSet<Arc<Path>>,
    /// And where files were that could not be read yet.
    pub forbidden: &'a HashMap<FileKey, Arc<Path>>,
    /// Folders into which rotation moves files, by the folder that they come from.
    pub old_folders: &'a HashMap<PathBuf, BTreeSet<PathBuf>>,
    /// Whether a file of any name that the patterns match may have come and gone unseen.
    pub away: bool,
}

impl<'a> Places<'a> {
    /// Each folder that may hold rotated bodies, with the one where their homes are.
    fn where_bodies_may_be(self) -> BTreeSet<(&'a Path, &'a Path)> {
        let mut homes: HashSet<&'a Path> = HashSet::new();
        let mut last = None;
        let of_tails = self.tails.iter().map(|tail| &tail.home);
        for home in of_tails.chain(self.rotated).chain(self.forbidden.values()) {
            let folder = home.parent();
            // Neighbours are often of one folder.
            if folder != last {
                homes.extend(folder);
                last = folder;
            }
        }
        let old = |home: &Path| self.old_folders.get(home).into_iter().flatten().map(PathBuf::as_path);
        let places = homes
            .iter()
            .flat_map(|&home| old(home).chain([home]).map(move |folder| (folder, home)).collect::<Vec<_>>());
        places.collect()
    }

    fn is_home(&self, path: &Path) -> bool {
        let forbidden = || self.forbidden.values().any(|home| **home == *path);
        self.tails.is_home(path) || self.rotated.contains(path) || forbidden()
    }
}

impl Listing {
    pub fn take(patterns: &Patterns, known: Places<'_>) -> Self {
        let mut listing = Listing::default();
        listing.files.reserve(known.tails.len());
        listing.by_path.reserve(known.tails.len());
        let mut look = Look {
            patterns,
            known,
            listing,
            entries: HashMap::new(),
            named: Vec::new(),
            newcomers: BTreeSet::new(),
        };
        for steps in patterns.alternatives() {
            look.walk(Path::new("/"), Path::new("/"), steps, 0);
        }
        for (folder, home) in known.where_bodies_may_be() {
            look.rotated_bodies(folder, home);
        }
        let folders = match known.away {
            true => look.listing.folders.clone(),
            false => std::mem::take(&mut look.newcomers),
        };
        for folder in folders {
            look.rotated_bodies(&folder, &folder);
        }
        for tail in known.tails.iter() {
            if look.listing.place(&tail.path).is_none() {
                look.file(&tail.path, false);
            }
        }
        let in_motion = look.entries.iter().any(|(folder, entries)| entries.changed(folder))
            || look.named.iter().any(|(path, inode)| inode_at(path) != *inode);
        let mut listing = look.listing;
        listing.in_motion = in_motion;
        listing.entries = look.entries;
        listing.by_key = KeyIndex::of(&listing.files);
        listing
    }

    pub fn find(&self, key: FileKey) -> Option<&Seen> {
        self.by_key.places(&self.files, key).next().map(|place| &self.files[place])
    }

    /// Whether there is a file at this path.
    pub fn has(&self, path: &Path) -> bool {
        self.place(path).is_some()
    }

    fn place(&self, path: &Path) -> Option<usize> {
        let place = *self.by_path.get(&path_hash(path))? as usize;
        (*self.files[place].path == *path).then_some(place)
    }

    /// As it would be if the file at `path` had moved while the look was taken.
    #[cfg(test)]
    pub fn having_missed(mut self, path: &Path) -> Self {
        self.in_motion = true;
        self.files.retain(|seen| *seen.path != *path);
        self.by_key = KeyIndex::of(&self.files);
        let places = (0..).zip(&self.files).map(|(place, seen)| (path_hash(&seen.path), place));
        self.by_path = places.collect();
        self
    }

    /// Whether something that could not be looked at hides what is at `path`.
    pub fn is_hidden(&self, path: &Path) -> bool {
        self.errors.iter().any(|(failed, _)| path.starts_with(failed))
    }
}

/// What a folder held when its look began: the names in one piece of memory, and the inodes.
#[derive(Debug, Default)]
pub struct Entries {
    names: Vec<u8>,
    ends: Vec<usize>,
    inodes: Vec<u64>,
    changed: Option<SystemTime>,
}

impl Entries {
    fn read(folder: &Path) -> std::io::Result<Self> {
        // The time first: what changes behind it shows.
        let mut entries = Entries { changed: changed(folder), ..Entries::default() };
        for entry in fs::read_dir(folder)?.filter_map(Result::ok) {
            entries.names.extend_from_slice(entry.file_name().as_bytes());
            entries.ends.push(entries.names.len());
            entries.inodes.push(entry.ino());
        }
        Ok(entries)
    }

    fn names(&self) -> impl Iterator<Item = &OsStr> {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| OsStr::from_bytes(&self.names[start..end]))
    }

    /// Whether names came, went or moved in the folder since.
    pub fn changed(&self, folder: &Path) -> bool {
        let (before, after) = (self.changed, changed(folder));
        let age = after.and_then(|after| SystemTime::now().duration_since(after).ok());
        if before != after || age.is_some_and(|age| age > CLOCK_STEP) {
            return before != after;
        }
        let same =
            |now: &Entries| now.names == self.names && now.ends == self.ends && now.inodes == self.inodes;
        Entries::read(folder).is_ok_and(|now| !same(&now))
    }
}

fn inode_at(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|metadata| metadata.ino())
}

fn changed(folder: &Path) -> Option<SystemTime> {
    fs::metadata(folder).and_then(|metadata| metadata.modified()).ok()
}

struct Look<'a> {
    patterns: &'a Patterns,
    known: Places<'a>,
    listing: Listing,
    /// The entries of each folder, by its resolved path.
    entries: HashMap<PathBuf, Arc<Entries>>,
    /// What was at the names that the patterns spell out, before the entries of their folders.
    named: Vec<(PathBuf, Option<u64>)>,
    /// The folders of files that the patterns match and that are no tail's yet: what lies beside
    /// them now was there before them.
    newcomers: BTreeSet<PathBuf>,
}

impl Look<'_> {
    /// `typed` is the folder as the pattern names it, `real` what it resolves to.
    fn walk(&mut self, typed: &Path, real: &Path, steps: &[Step], depth: usize) {
        let Some((step, rest)) = steps.split_first() else { return };
        match step {
            Step::Literal(name) if rest.is_empty() => {
                self.listing.folders.insert(real.to_owned());
                let path = real.join(name);
                let inode = inode_at(&path);
                if inode.is_some() && self.known.tails.at(&path).is_none() {
                    // The entries first: what was copied from it meanwhile is not among them.
                    self.entries(real);
                }
                self.named.push((path.clone(), inode));
                self.candidate(&typed.join(name), &path);
            }
            Step::Literal(name) => self.enter(&typed.join(name), &real.join(name), real, rest, depth),
            Step::Glob(_) => {
                for name in self.entries(real).names() {
                    if step.matches(name) {
                        let (typed, real_path) = (typed.join(name), real.join(name));
                        match rest.is_empty() {
                            true => self.candidate(&typed, &real_path),
                            false => self.enter(&typed, &real_path, real, rest, depth),
                        }
                    }
                }
            }
            Step::AnyDepth => {
                self.walk(typed, real, rest, depth);
                for name in self.entries(real).names() {
                    let below = real.join(name);
                    // Links are not followed at any depth, so that loops do not multiply.
                    let is_folder = fs::symlink_metadata(&below).is_ok_and(|metadata| metadata.is_dir());
                    if is_folder && depth < MAX_DEPTH {
                        self.walk(&typed.join(name), &below, steps, depth + 1);
                    }
                }
            }
        }
    }

    fn enter(&mut self, typed: &Path, path: &Path, above: &Path, rest: &[Step], depth: usize) {
        match fs::canonicalize(path) {
            Ok(real) if real.is_dir() => self.walk(typed, &real, rest, depth),
            Ok(_) => {}
            Err(error) => {
                self.listing.folders.insert(above.to_owned());
                self.failed(path, error);
            }
        }
    }

    fn entries(&mut self, folder: &Path) -> Arc<Entries> {
        if let Some(entries) = self.entries.get(folder) {
            return entries.clone();
        }
        self.listing.folders.insert(folder.to_owned());
        match Entries::read(folder) {
            Ok(entries) => self.entries.entry(folder.to_owned()).or_insert(Arc::new(entries)).clone(),
            Err(error) => {
                self.failed(folder, error);
                Arc::default()
            }
        }
    }

    /// A path that the patterns may match.
    fn candidate(&mut self, typed: &Path, path: &Path) {
        if self.patterns.excluded(typed) {
            return;
        }
        self.file(path, true);
    }

    fn rotated_bodies(&mut self, folder: &Path, home: &Path) {
        let mut path = folder.join("name");
        for name in self.entries(folder).names() {
            path.set_file_name(name);
            let (known, patterns) = (self.known, self.patterns);
            let listing = &self.listing;
            let is_new = |home: &Path| listing.place(home).is_some_and(|place| listing.files[place].matched);
            let is_home =
                |home: &Path| known.is_home(home) || is_new(home) || (known.away && patterns.matches(home));
            let is_body = || origins(name).iter().any(|origin| is_home(&home.join(origin)));
            if !self.listing.has(&path) && is_body() {
                self.file(&path, false);
            }
        }
    }

    fn file(&mut self, path: &Path, matched: bool) {
        beat();
        let link = match fs::symlink_metadata(path) {
            Ok(link) => link,
            Err(error) => return self.failed(path, error),
        };
        if !link.is_symlink() {
            return self.found(path, &link, matched);
        }
        let Ok(target) = fs::canonicalize(path) else { return };
        let Ok(metadata) = fs::metadata(&target) else { return };
        self.listing.folders.extend(target.parent().map(Path::to_owned));
        self.found(&target, &metadata, matched);
    }

    fn found(&mut self, path: &Path, metadata: &fs::Metadata, matched: bool) {
        if !metadata.is_file() {
            return;
        }
        if let Some(place) = self.listing.place(path) {
            self.listing.files[place].matched |= matched;
            return;
        }
        let place = u32::try_from(self.listing.files.len()).expect("no system holds so many files");
        self.listing.by_path.insert(path_hash(path), place);
        // Most files are where they were.
        let known = self.known.tails.at(path).map(|tail| tail.path.clone());
        if matched && known.is_none() {
            self.newcomers.extend(path.parent().map(Path::to_owned));
        }
        self.listing.files.push(Seen {
            path: known.unwrap_or_else(|| path.into()),
            key: file_key(metadata),
            size: metadata.len(),
            modified_millis: modified_millis(metadata),
            matched,
        });
    }

    fn failed(&mut self, path: &Path, error: std::io::Error) {
        if error.kind() != std::io::ErrorKind::NotFound {
            self.listing.errors.push((path.to_owned(), error));
        }
    }
}

/// The name that a tail was first found under, as far as its present name tells: `app.log` for
/// a tail at `app.log.1` or `old/app.log.1` where the patterns match `app.log`, or a link that led
/// to it.
pub fn home_of(path: &Arc<Path>, patterns: &Patterns) -> Arc<Path> {
    let homes = possible_homes(path);
    let matched = homes.iter().find_map(|names| names.iter().rfind(|home| patterns.matches(home)));
    // What a link leads to matches no pattern, and the link may lead elsewhere by now.
    let linked = || homes.first()?.last().filter(|_| !patterns.matches(path));
    matched.or_else(linked).map_or_else(|| path.clone(), |home| home.as_path().into())
}

/// The names that rotation may have made `path` from: beside it, and in the folder above
/// (`olddir`).
fn possible_homes(path: &Path) -> Vec<Vec<PathBuf>> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Vec::new() };
    let folders = [Some(folder), folder.parent()].into_iter().flatten();
    folders.map(|folder| origins(name).into_iter().map(|origin| folder.join(origin)).collect()).collect()
}

/// Whether the patterns match the tail's file, or the name that it was rotated from: beside it,
/// or in the folder above (`olddir`).
pub fn is_of(known: &KnownTail, patterns: &Patterns) -> bool {
    let path = &known.path;
    if known.state == TailState::Live || patterns.matches(path) {
        return patterns.matches(path);
    }
    possible_homes(path).iter().flatten().any(|home| patterns.matches(home))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(patterns: &Patterns, rotated: HashSet<Arc<Path>>) -> Listing {
        let (tails, forbidden, old_folders) = (Tails::default(), HashMap::new(), HashMap::new());
        let known = Places {
            tails: &tails,
            rotated: &rotated,
            forbidden: &forbidden,
            old_folders: &old_folders,
            away: false,
        };
        Listing::take(patterns, known)
    }

    fn look(folder: &Path, pattern: &str, homes: &[&str]) -> Vec<(String, bool)> {
        let pattern = format!("{}/{pattern}", folder.display());
        let patterns = Patterns::try_new(&[pattern], &[]).unwrap();
        let rotated = homes.iter().map(|home| folder.join(home).into()).collect();
        let listing = take(&patterns, rotated);
        let mut files: Vec<&Seen> = listing.files.iter().collect();
        files.sort_by_key(|seen| &seen.path);
        let name = |path: &Path| path.strip_prefix(folder).unwrap_or(path).display().to_string();
        files.iter().map(|seen| (name(&seen.path), seen.matched)).collect()
    }

    fn folder_with(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::Builder::new().tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        folder
    }

    fn matched(names: &[&str]) -> Vec<(String, bool)> {
        names.iter().map(|name| (name.to_string(), true)).collect()
    }

    #[test]
    fn names_that_move_during_a_look_are_noticed() {
        let folder = folder_with(&["app.log", "app.log.1"]);
        let before = Entries::read(folder.path()).unwrap();
        assert!(!before.changed(folder.path()));
        fs::write(folder.path().join("app.log"), "more").unwrap();
        assert!(!before.changed(folder.path()), "what is in the files does not count");
        for (from, to) in [("app.log.1", "app.log.2"), ("app.log", "app.log.1"), ("app.log.2", "app.log")] {
            let before = Entries::read(folder.path()).unwrap();
            fs::rename(folder.path().join(from), folder.path().join(to)).unwrap();
            assert!(before.changed(folder.path()), "{from} -> {to}");
        }
    }

    #[test]
    fn globs_reach_into_folders() {
        let folder = folder_with(&["a/x.log", "b/y.log", "b/c/z.log", "top.log"]);
        assert_eq!(look(folder.path(), "*/*.log", &[]), matched(&["a/x.log", "b/y.log"]));
        assert_eq!(
            look(folder.path(), "**/*.log", &[]),
            matched(&["a/x.log", "b/c/z.log", "b/y.log", "top.log"])
        );
        assert_eq!(look(folder.path(), "{a,b/c}/*.log", &[]), matched(&["a/x.log", "b/c/z.log"]));
    }

    #[test]
    fn rotated_bodies_beside_a_tail_are_listed_too() {
        let folder = folder_with(&["app.log", "app.log.1", "app.log.2.gz", "other.log"]);
        let files = look(folder.path(), "app.log", &["app.log"]);
        let expected = [("app.log", true), ("app.log.1", false), ("app.log.2.gz", false)];
        assert_eq!(files, expected.map(|(name, matched)| (name.to_owned(), matched)));
    }

    #[test]
    fn folders_sockets_and_dangling_links_are_left_out() {
        let folder = folder_with(&["a.log", "b.log/file"]);
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("s.log")).unwrap();
        std::os::unix::fs::symlink("nowhere", folder.path().join("d.log")).unwrap();
        assert_eq!(look(folder.path(), "*.log", &[]), matched(&["a.log"]));
    }

    #[test]
    fn a_link_counts_as_the_file_it_leads_to() {
        let folder = folder_with(&["real/a-2026.txt"]);
        std::os::unix::fs::symlink("real/a-2026.txt", folder.path().join("a.log")).unwrap();
        assert_eq!(look(folder.path(), "a.log", &[]), matched(&["real/a-2026.txt"]));
        std::os::unix::fs::symlink("real", folder.path().join("linked")).unwrap();
        assert_eq!(look(folder.path(), "linked/*.txt", &[]), matched(&["real/a-2026.txt"]));
    }

    #[test]
    fn a_folder_that_is_not_there_yet_is_waited_for_in_the_one_above() {
        let folder = folder_with(&[]);
        let pattern = format!("{}/later/*/a.log", folder.path().display());
        let patterns = Patterns::try_new(&[pattern], &[]).unwrap();
        let listing = take(&patterns, HashSet::new());
        assert!(listing.folders.contains(folder.path()));
        assert!(listing.files.is_empty() && listing.errors.is_empty());
    }

    #[test]
    fn a_rotated_file_is_of_the_flow_that_matches_the_name_it_was_rotated_from() {
        let patterns = Patterns::try_new(&["/l/app.log".into()], &[]).unwrap();
        let is_of = |path: &str, state| {
            let (tail, identity, anchors) =
                (crate::file::TailId(1), crate::file::Identity::default(), vec![]);
            let path = Path::new(path).into();
            is_of(
                &KnownTail { tail, path, identity, offset: 0, anchors, size: 0, modified_millis: 0, state },
                &patterns,
            )
        };
        assert!(is_of("/l/app.log", TailState::Live));
        for path in ["/l/app.log", "/l/app.log.1", "/l/app.log.2.gz", "/l/old/app.log-20260101"] {
            assert!(is_of(path, TailState::Rotated), "{path}");
        }
        for path in ["/l/other.log.1", "/m/app.log.1", "/l/old/older/app.log.1"] {
            assert!(!is_of(path, TailState::Rotated), "{path}");
        }
        assert!(!is_of("/l/app.log.1", TailState::Live), "a file of its own");
    }

    #[test]
    fn the_home_of_a_rotated_tail_is_the_name_that_the_pattern_matches() {
        let patterns = Patterns::try_new(&["/l/app.log".into()], &[]).unwrap();
        for path in ["/l/app.log.1", "/l/app.log"] {
            assert_eq!(&*home_of(&Path::new(path).into(), &patterns), Path::new("/l/app.log"));
        }
        let linked = home_of(&Path::new("/data/app.txt.2.gz").into(), &patterns);
        assert_eq!(&*linked, Path::new("/data/app.txt"), "a link led to it");
    }
}
