//! The tails of a flow, and the ways to find one: by its number, by its path, by the name that
//! it was first found under, and among those that something may have to be done about.
//!
//! There may be a hundred thousand of which a handful are written to, so a tail costs little
//! memory here (a path is found by its hash), and what is done each second goes through the
//! lively ones alone. It decides nothing about them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

use super::chunk::TailId;
use super::tail::Tail;

#[derive(Debug, Default)]
pub struct Tails {
    all: BTreeMap<TailId, Box<Tail>>,
    /// Every tail that is open, absent or changed, and some that are not.
    lively: BTreeSet<TailId>,
    /// By the hashes of their paths; of two with the same path the one that came there last.
    paths: HashMap<u64, TailId>,
    /// By the hashes of their homes, each in the order of the numbers.
    families: HashMap<u64, SmallVec<[TailId; 2]>>,
    /// Homes whose last tail was removed.
    deserted: HashSet<Arc<Path>>,
}

impl Tails {
    pub fn insert(&mut self, tail: Tail) {
        let id = tail.id;
        self.paths.insert(path_hash(&tail.path), id);
        let family = self.families.entry(path_hash(&tail.home)).or_default();
        if let Err(at) = family.binary_search(&id) {
            family.insert(at, id);
        }
        self.deserted.remove(&tail.home);
        self.lively.insert(id);
        self.all.insert(id, Box::new(tail));
    }

    pub fn remove(&mut self, id: TailId) -> Option<Tail> {
        let tail = self.all.remove(&id)?;
        self.lively.remove(&id);
        self.leave_path(id, &tail.path);
        let home = path_hash(&tail.home);
        if let Some(family) = self.families.get_mut(&home) {
            family.retain(|other| *other != id);
            if family.is_empty() {
                self.families.remove(&home);
                self.deserted.insert(tail.home.clone());
            }
        }
        Some(*tail)
    }

    /// The tail's file has another path now.
    pub fn relocate(&mut self, id: TailId, to: Arc<Path>) {
        let Some(tail) = self.all.get_mut(&id) else { return };
        let from = std::mem::replace(&mut tail.path, to.clone());
        self.lively.insert(id);
        self.leave_path(id, &from);
        self.paths.insert(path_hash(&to), id);
    }

    fn leave_path(&mut self, id: TailId, path: &Path) {
        let path = path_hash(path);
        if self.paths.get(&path) == Some(&id) {
            self.paths.remove(&path);
        }
    }

    pub fn get(&self, id: TailId) -> Option<&Tail> {
        self.all.get(&id).map(|tail| &**tail)
    }

    /// From now on it is one of the lively.
    pub fn get_mut(&mut self, id: TailId) -> Option<&mut Tail> {
        let tail = self.all.get_mut(&id)?;
        self.lively.insert(id);
        Some(tail)
    }

    pub fn contains(&self, id: TailId) -> bool {
        self.all.contains_key(&id)
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// In the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &Tail> {
        self.all.values().map(|tail| &**tail)
    }

    pub fn into_all(self) -> impl Iterator<Item = Tail> {
        self.all.into_values().map(|tail| *tail)
    }

    /// Every tail that is open, absent or changed, and some that are not.
    pub fn lively(&self) -> impl Iterator<Item = &Tail> {
        self.lively.iter().filter_map(|id| self.get(*id))
    }

    /// Those of the lively that `wanted` holds for.
    pub fn lively_where(&self, wanted: impl Fn(&Tail) -> bool) -> Vec<TailId> {
        self.lively().filter(|tail| wanted(tail)).map(|tail| tail.id).collect()
    }

    /// Forgets the lively ones about which nothing is to be done.
    pub fn calm_down(&mut self) {
        let all = &self.all;
        self.lively.retain(|id| all.get(id).is_some_and(|tail| tail.is_lively()));
    }

    pub fn at(&self, path: &Path) -> Option<&Tail> {
        let tail = self.get(*self.paths.get(&path_hash(path))?)?;
        (*tail.path == *path).then_some(tail)
    }

    /// The tails that were first found at `home`.
    pub fn family(&self, home: &Path) -> impl Iterator<Item = TailId> {
        let family = self.families.get(&path_hash(home)).into_iter().flatten().copied();
        family.filter(move |id| self.get(*id).is_some_and(|tail| *tail.home == *home))
    }

    pub fn is_home(&self, path: &Path) -> bool {
        self.family(path).next().is_some()
    }

    /// The homes at which no tail's file is now. Those whose last tail was removed since they
    /// were last taken are among them.
    pub fn take_vacant_homes(&mut self) -> HashSet<Arc<Path>> {
        let mut vacant = std::mem::take(&mut self.deserted);
        let is_at_home = |tail: &Tail| tail.path == tail.home && !tail.is_nameless();
        for tail in self.iter().filter(|tail| !is_at_home(tail)) {
            let mut family = self.family(&tail.home).filter_map(|id| self.get(id));
            if !family.any(is_at_home) {
                vacant.insert(tail.home.clone());
            }
        }
        vacant
    }
}

/// What stands for a path where many are kept.
pub fn path_hash(path: &Path) -> u64 {
    xxh3_64(path.as_os_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::note::{Identity, KnownTail, TailState};
    use super::*;

    fn tail(id: u64, path: &str, home: &str) -> Tail {
        let known = KnownTail {
            tail: TailId(id),
            path: Path::new(path).into(),
            identity: Identity::default(),
            offset: 0,
            anchors: Vec::new(),
            size: 0,
            modified_millis: 0,
            state: TailState::Live,
        };
        Tail::new(known, Path::new(home).into(), Duration::ZERO)
    }

    fn at(tails: &Tails, path: &str) -> Option<u64> {
        tails.at(Path::new(path)).map(|tail| tail.id.0)
    }

    #[test]
    fn files_that_change_places_are_found_at_their_new_ones() {
        let mut tails = Tails::default();
        tails.insert(tail(1, "/a", "/a"));
        tails.insert(tail(2, "/b", "/b"));
        tails.relocate(TailId(1), Path::new("/b").into());
        tails.relocate(TailId(2), Path::new("/a").into());
        assert_eq!((at(&tails, "/a"), at(&tails, "/b")), (Some(2), Some(1)));
        tails.relocate(TailId(1), Path::new("/c").into());
        assert_eq!((at(&tails, "/b"), at(&tails, "/c")), (None, Some(1)));
        tails.insert(tail(3, "/c", "/c"));
        tails.remove(TailId(1));
        assert_eq!(at(&tails, "/c"), Some(3), "it came there last");
    }

    #[test]
    fn a_home_is_vacant_while_no_tail_is_there_and_once_after_the_last_is_gone() {
        let mut tails = Tails::default();
        let vacant = |tails: &mut Tails| tails.take_vacant_homes().len();
        tails.insert(tail(1, "/a.1", "/a"));
        assert_eq!(vacant(&mut tails), 1);
        tails.insert(tail(2, "/a", "/a"));
        assert_eq!(tails.family(Path::new("/a")).collect::<Vec<_>>(), [TailId(1), TailId(2)]);
        assert_eq!(vacant(&mut tails), 0);
        tails.remove(TailId(1));
        assert_eq!(vacant(&mut tails), 0);
        tails.remove(TailId(2));
        assert_eq!((vacant(&mut tails), vacant(&mut tails)), (1, 0));
        assert!(tails.is_empty() && !tails.is_home(Path::new("/a")));
    }

    #[test]
    fn who_was_touched_is_lively_until_nothing_is_to_be_done() {
        let mut tails = Tails::default();
        for id in 1..=3 {
            let mut tail = tail(id, "/a", "/a");
            tail.known_modified_millis = Some(0);
            tails.insert(tail);
        }
        tails.calm_down();
        assert_eq!(tails.lively().count(), 0);
        tails.get_mut(TailId(2)).unwrap().note_due = true;
        tails.get_mut(TailId(3)).unwrap();
        tails.calm_down();
        assert_eq!(tails.lively_where(|_| true), [TailId(2)]);
    }
}
