//! Which files of a flow cannot be read, and why: for the status. The file stage says so each
//! time that it fails, and in rounds, one for each look at the folders: what was not heard of
//! again in a whole round is over, because the file can be read, is gone, or has another name.
//!
//! Bounded: the first hundred are kept with path and error, of the others a hash that counts
//! them.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// So many are named.
const MAX_NAMED: usize = 100;

#[derive(Debug, Default)]
pub struct Troubles(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    round: u64,
    /// The hash of each path, and the round in which it was last heard of.
    all: HashMap<u64, u64>,
    named: BTreeMap<PathBuf, String>,
    hasher: RandomState,
}

/// How it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TroubleReport {
    /// How many files cannot be read.
    pub count: u64,
    /// The first hundred of them, with what the system said.
    pub named: Vec<(PathBuf, String)>,
}

impl Troubles {
    /// The file, or the folder, cannot be read.
    pub fn failed(&self, path: &Path, error: &str) {
        let mut state = self.0.lock().unwrap();
        let (hash, round) = (state.hash(path), state.round);
        state.all.insert(hash, round);
        if let Some(known) = state.named.get_mut(path) {
            if known != error {
                error.clone_into(known);
            }
        } else if state.named.len() < MAX_NAMED {
            state.named.insert(path.to_owned(), error.to_owned());
        }
    }

    /// The file was read after all.
    pub fn mended(&self, path: &Path) {
        let mut state = self.0.lock().unwrap();
        if !state.all.is_empty() {
            let hash = state.hash(path);
            state.all.remove(&hash);
            state.named.remove(path);
        }
    }

    /// Nobody has tried again yet.
    pub fn remains(&self, path: &Path) {
        let mut state = self.0.lock().unwrap();
        let (hash, round) = (state.hash(path), state.round);
        if let Some(heard) = state.all.get_mut(&hash) {
            *heard = round;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.lock().unwrap().all.is_empty()
    }

    /// All that fails has been heard of by now.
    pub fn end_round(&self) {
        let state = &mut *self.0.lock().unwrap();
        let round = state.round;
        state.round += 1;
        if state.all.is_empty() {
            return;
        }
        state.all.retain(|_, heard| *heard == round);
        let (all, hasher) = (&state.all, &state.hasher);
        state.named.retain(|path, _| all.contains_key(&hasher.hash_one(path)));
    }

    pub fn report(&self) -> TroubleReport {
        let state = self.0.lock().unwrap();
        let named = state.named.iter().map(|(path, error)| (path.clone(), error.clone()));
        TroubleReport { count: state.all.len() as u64, named: named.collect() }
    }
}

impl State {
    fn hash(&self, path: &Path) -> u64 {
        self.hasher.hash_one(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(troubles: &Troubles) -> Vec<String> {
        let named = troubles.report().named.into_iter();
        named.map(|(path, error)| format!("{} {error}", path.display())).collect()
    }

    #[test]
    fn a_trouble_lasts_until_it_is_mended_or_not_heard_of_for_a_round() {
        let troubles = Troubles::default();
        for name in ["/a", "/b", "/c"] {
            troubles.failed(Path::new(name), "denied");
        }
        troubles.mended(Path::new("/b"));
        assert_eq!(paths(&troubles), ["/a denied", "/c denied"]);
        troubles.end_round();
        assert_eq!(troubles.report().count, 2);
        troubles.failed(Path::new("/a"), "input/output error");
        troubles.end_round();
        assert_eq!(paths(&troubles), ["/a input/output error"]);
        troubles.remains(Path::new("/a"));
        troubles.remains(Path::new("/never"));
        troubles.end_round();
        assert_eq!(troubles.report().count, 1);
        troubles.end_round();
        assert!(troubles.is_empty());
        assert_eq!(troubles.report(), TroubleReport::default());
    }

    #[test]
    fn many_are_counted_and_a_hundred_are_named() {
        let troubles = Troubles::default();
        for _ in 0..2 {
            (0..5000).for_each(|n| troubles.failed(Path::new(&format!("/{n}")), "denied"));
        }
        assert_eq!((troubles.report().count, paths(&troubles).len()), (5000, MAX_NAMED));
        troubles.end_round();
        (0..20).for_each(|n| troubles.failed(Path::new(&format!("/late/{n}")), "denied"));
        troubles.end_round();
        assert_eq!((troubles.report().count, paths(&troubles).len()), (20, 0));
        (0..20).for_each(|n| troubles.failed(Path::new(&format!("/late/{n}")), "denied"));
        assert_eq!((troubles.report().count, paths(&troubles).len()), (20, 20));
    }
}
