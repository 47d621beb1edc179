//! Where the body of a file may be that is not at its path: under any name in its own folder, or
//! in the folders that rotation moves files to (`olddir`).
//!
//! Each folder is read once for all files that are missed in one look, so that a thousand missed
//! files in a folder of a hundred thousand do not cost a hundred million comparisons. What is
//! found is only a candidate: whoever takes it verifies it on the open file.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

use super::body::{Body, is_compressed, is_unpackable};
use super::identity::{FileKey, HEAD_BYTES, file_key, modified_millis};
use super::note::Identity;
use super::rotation::{Seen, origins};
use crate::observe::pulse::beat;

/// A search looks into at most so many folders on each level.
const MAX_OLD_FOLDERS: usize = 100;
/// So many files of a folder are opened to look at their first bytes.
const MAX_HEADS: usize = 1000;
/// What the names of folders hold that rotation moves files to.
const WORDS_FOR_OLD: [&str; 5] = ["old", "arch", "back", "bak", "rotat"];

/// What the folders held when they were first asked for. To be cleared before each look.
#[derive(Debug, Default)]
pub struct Attic {
    shelves: HashMap<PathBuf, Shelf>,
    old_folders: HashMap<PathBuf, Vec<PathBuf>>,
}

#[derive(Debug, Default)]
struct Shelf {
    names: Vec<OsString>,
    by_inode: HashMap<u64, Vec<usize>>,
    by_origin: HashMap<OsString, Vec<usize>>,
    /// By the first bytes, once they were asked for.
    by_head: Option<HashMap<u64, Vec<Seen>>>,
}

impl Attic {
    pub fn clear(&mut self) {
        self.shelves.clear();
        self.old_folders.clear();
    }

    /// Files that may be the one at `home` under another name: those with its inode, then, in
    /// other folders, those with a name that rotation would give it. Also whether one of them went
    /// from its name after the folder was read.
    pub fn bodies(&mut self, home: &Path, inode: u64) -> (Vec<Seen>, bool) {
        let (Some(folder), Some(name)) = (home.parent(), home.file_name()) else {
            return (Vec::new(), false);
        };
        let old = self.old_folders(folder);
        let mut found = Vec::new();
        for folder in std::iter::once(folder).chain(old.iter().map(PathBuf::as_path)) {
            let shelf = self.shelf(folder);
            found.extend(shelf.paths(shelf.by_inode.get(&inode), folder));
        }
        for folder in &old {
            let shelf = self.shelf(folder);
            found.extend(shelf.paths(shelf.by_origin.get(name), folder));
        }
        let mut taken = HashSet::new();
        found.retain(|path| taken.insert(path.clone()));
        let moved = found.iter().any(|path| fs::symlink_metadata(path).is_err());
        (found.iter().filter_map(|path| seen_at(path)).collect(), moved)
    }

    /// Files of any name that begin as this one does, in its folder and in those of old files.
    /// None where too little is known of its beginning to tell it from others.
    pub fn alike(&mut self, home: &Path, identity: &Identity) -> Vec<Seen> {
        let Some(folder) = home.parent() else { return Vec::new() };
        if identity.head_length as usize != HEAD_BYTES {
            return Vec::new();
        }
        let mut found = Vec::new();
        for folder in std::iter::once(folder.to_owned()).chain(self.old_folders(folder)) {
            self.shelf(&folder);
            let shelf = self.shelves.get_mut(&folder).expect("it was put there a moment ago");
            found.extend(shelf.heads(&folder).get(&identity.head_hash).into_iter().flatten().cloned());
        }
        found
    }

    fn shelf(&mut self, folder: &Path) -> &Shelf {
        self.shelves.entry(folder.to_owned()).or_insert_with(|| Shelf::of(folder))
    }

    /// The folders below this one, and those beside it whose names say what they are for.
    fn old_folders(&mut self, folder: &Path) -> Vec<PathBuf> {
        let found = self.old_folders.entry(folder.to_owned()).or_insert_with(|| {
            let mut folders = folders_in(folder);
            let beside = folder.parent().map(folders_in).unwrap_or_default();
            folders.extend(beside.into_iter().filter(|beside| beside != folder && is_for_old(beside)));
            folders
        });
        found.clone()
    }
}

impl Shelf {
    fn of(folder: &Path) -> Self {
        let mut shelf = Shelf::default();
        // A folder that cannot be read holds nothing that could be gone on with.
        for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
            beat();
            let (number, name) = (shelf.names.len(), entry.file_name());
            shelf.by_inode.entry(entry.ino()).or_default().push(number);
            for origin in origins(&name) {
                shelf.by_origin.entry(origin).or_default().push(number);
            }
            shelf.names.push(name);
        }
        shelf
    }

    fn paths<'a>(
        &'a self,
        numbers: Option<&'a Vec<usize>>,
        folder: &'a Path,
    ) -> impl Iterator<Item = PathBuf> + 'a {
        numbers.into_iter().flatten().map(|&number| folder.join(&self.names[number]))
    }

    fn heads(&mut self, folder: &Path) -> &HashMap<u64, Vec<Seen>> {
        let names = &self.names;
        self.by_head.get_or_insert_with(|| {
            let mut by_head = HashMap::<u64, Vec<Seen>>::new();
            let paths = names.iter().map(|name| folder.join(name));
            let readable = paths.filter(|path| !is_compressed(path) || is_unpackable(path));
            for seen in readable.filter_map(|path| seen_at(&path)).take(MAX_HEADS) {
                if let Some(head) = head_of(&seen.path, seen.key) {
                    by_head.entry(head).or_default().push(seen);
                }
            }
            by_head
        })
    }
}

/// The hash of the first bytes. None for a file that has fewer or cannot be read.
fn head_of(path: &Path, key: FileKey) -> Option<u64> {
    beat();
    let (mut body, _) = Body::open(path).ok()?;
    let identity = Identity::of(&mut body, key).ok()?;
    (identity.head_length as usize == HEAD_BYTES).then_some(identity.head_hash)
}

/// The regular file at `path`; a link is not followed, since its target has a name of its own.
pub(super) fn seen_at(path: &Path) -> Option<Seen> {
    let metadata = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file)?;
    let (key, modified_millis) = (file_key(&metadata), modified_millis(&metadata));
    Some(Seen { path: path.into(), key, size: metadata.len(), modified_millis, matched: false })
}

/// Whether what is at the path now is as large and as old as it was.
pub(super) fn is_as_listed(seen: &Seen) -> bool {
    seen_at(&seen.path).is_some_and(|now| now.looks_like(seen))
}

fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path()).take(MAX_OLD_FOLDERS).collect()
}

fn is_for_old(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or(OsStr::new("")).to_string_lossy().to_lowercase();
    WORDS_FOR_OLD.iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(found: Vec<Seen>, folder: &Path) -> Vec<String> {
        let name = |seen: Seen| seen.path.strip_prefix(folder).unwrap().display().to_string();
        let mut names: Vec<String> = found.into_iter().map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn bodies_are_found_by_inode_under_any_name_and_by_name_where_old_files_go() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            seen_at(&path).unwrap().key.1
        };
        let inode = file("log/kept.txt", "x");
        file("log/app.log", "new");
        file("log/old/app.log.1", "y");
        file("log/old/other.log.1", "z");
        file("archive/app.log-20260101", "y");
        file("data/app.log.1", "a folder that is not for old files");
        let mut attic = Attic::default();
        let (found, moved) = attic.bodies(&folder.path().join("log/app.log"), inode);
        assert!(!moved);
        assert_eq!(
            names(found, folder.path()),
            ["archive/app.log-20260101", "log/kept.txt", "log/old/app.log.1"]
        );
    }

    #[test]
    fn files_alike_are_found_by_their_first_bytes_unless_those_are_few() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("app.log");
        let long = "line\n".repeat(HEAD_BYTES);
        for (name, content) in [("copy", &long[..]), ("short", "line\n"), ("other", &long[1..])] {
            fs::write(folder.path().join(name), content).unwrap();
        }
        let identity = |content: &str| {
            fs::write(&home, content).unwrap();
            Identity::of(&mut Body::open(&home).unwrap().0, (0, 0)).unwrap()
        };
        let (whole, part) = (identity(&long), identity("line\n"));
        fs::remove_file(&home).unwrap();
        let mut attic = Attic::default();
        assert_eq!(names(attic.alike(&home, &whole), folder.path()), ["copy"]);
        assert_eq!(names(attic.alike(&home, &part), folder.path()), [""; 0]);
    }
}
