//! How much of each disk is held by files that were deleted before they were read to their ends:
//! only the agent's descriptors keep them, and so their space is not free.
//!
//! One for all flows, since they share the disks. It says which files are to be let go, the
//! oldest first; each flow lets go of its own. It does no I/O.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::chunk::TailId;

/// Part of a file system that may be held where no limit is configured.
const DEFAULT_SHARE: u64 = 10;
/// What stands for no limit of its own.
const DEFAULT: u64 = u64::MAX;

/// What a deleted file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    pub device: u64,
    /// Bytes on the disk: without the holes of a sparse file.
    pub bytes: u64,
    /// Of the whole file system; 0 where it does not say.
    pub capacity: u64,
}

#[derive(Debug)]
pub struct Removed {
    /// Bytes for each file system.
    limit: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By the order in which they were first heard of.
    held: BTreeMap<u64, Held>,
    orders: HashMap<TailId, u64>,
    next: u64,
}

#[derive(Debug)]
struct Held {
    tail: TailId,
    flow: Arc<str>,
    space: Space,
}

/// What a flow is to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Its files that are to be let go, the oldest first.
    pub let_go: Vec<TailId>,
    /// More than four fifths of the limit of this file system, on which the flow holds files, are
    /// held.
    pub nearly_full: Option<Fill>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    pub bytes: u64,
    pub limit: u64,
}

impl Default for Removed {
    fn default() -> Self {
        Removed { limit: DEFAULT.into(), state: Mutex::default() }
    }
}

impl Removed {
    /// None is a tenth of each file system.
    pub fn set_limit(&self, bytes: Option<u64>) {
        self.limit.store(bytes.unwrap_or(DEFAULT), Ordering::Relaxed);
    }

    /// Takes in all that a flow holds now.
    pub fn hold(&self, flow: &Arc<str>, holds: &[(TailId, Space)]) -> Verdict {
        let mut state = self.state.lock().unwrap();
        state.take_in(flow, holds);
        let mut verdict = Verdict::default();
        let devices: BTreeMap<u64, u64> =
            holds.iter().map(|(_, space)| (space.device, self.limit_of(space))).collect();
        for (device, limit) in devices {
            let on_device = || state.held.values().filter(move |held| held.space.device == device);
            let bytes: u64 = on_device().map(|held| held.space.bytes).sum();
            if bytes > limit / 5 * 4 {
                verdict.nearly_full = Some(Fill { bytes, limit });
            }
            let mut excess = bytes.saturating_sub(limit);
            for held in on_device() {
                if excess == 0 {
                    break;
                }
                excess = excess.saturating_sub(held.space.bytes);
                if held.flow == *flow {
                    verdict.let_go.push(held.tail);
                }
            }
        }
        verdict
    }

    fn limit_of(&self, space: &Space) -> u64 {
        match self.limit.load(Ordering::Relaxed) {
            DEFAULT if space.capacity == 0 => u64::MAX,
            DEFAULT => space.capacity / DEFAULT_SHARE,
            limit => limit,
        }
    }
}

impl State {
    fn take_in(&mut self, flow: &Arc<str>, holds: &[(TailId, Space)]) {
        let holds: HashMap<TailId, Space> = holds.iter().copied().collect();
        self.held.retain(|_, held| held.flow != *flow || holds.contains_key(&held.tail));
        self.orders.retain(|_, order| self.held.contains_key(order));
        let mut tails: Vec<(TailId, Space)> = holds.into_iter().collect();
        tails.sort_unstable_by_key(|(tail, _)| *tail);
        for (tail, space) in tails {
            let next = self.next;
            let order = *self.orders.entry(tail).or_insert(next);
            self.next += u64::from(order == next);
            self.held.insert(order, Held { tail, flow: flow.clone(), space });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(device: u64, bytes: u64) -> Space {
        Space { device, bytes, capacity: 1000 }
    }

    fn holds(files: &[(u64, u64, u64)]) -> Vec<(TailId, Space)> {
        files.iter().map(|&(tail, device, bytes)| (TailId(tail), space(device, bytes))).collect()
    }

    fn let_go(tails: &[u64]) -> Vec<TailId> {
        tails.iter().map(|&tail| TailId(tail)).collect()
    }

    #[test]
    fn the_oldest_files_of_all_flows_are_let_go_until_the_rest_is_within_the_limit() {
        let removed = Removed::default();
        removed.set_limit(Some(100));
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        assert_eq!(removed.hold(&a, &holds(&[(7, 1, 40)])), Verdict::default());
        let nearly = removed.hold(&b, &holds(&[(3, 1, 50)]));
        assert_eq!(nearly, Verdict { nearly_full: Some(Fill { bytes: 90, limit: 100 }), let_go: Vec::new() });
        // The other flow's file is the oldest, and enough.
        assert_eq!(removed.hold(&b, &holds(&[(3, 1, 50), (4, 1, 20)])).let_go, []);
        assert_eq!(removed.hold(&a, &holds(&[(7, 1, 40)])).let_go, let_go(&[7]));
        assert_eq!(removed.hold(&a, &[]).let_go, []);
        assert_eq!(removed.hold(&b, &holds(&[(3, 1, 50), (4, 1, 20)])).let_go, []);
        assert_eq!(removed.hold(&b, &holds(&[(4, 1, 20), (3, 1, 90)])).let_go, let_go(&[3]));
        // Disks are counted each by itself.
        assert_eq!(removed.hold(&b, &holds(&[(3, 1, 60), (4, 2, 60)])).let_go, []);
    }

    #[test]
    fn a_tenth_of_the_file_system_is_held_where_no_limit_is_set() {
        let (removed, flow) = (Removed::default(), "a".into());
        assert_eq!(removed.hold(&flow, &holds(&[(1, 1, 100)])).let_go, []);
        assert_eq!(removed.hold(&flow, &holds(&[(1, 1, 101)])).let_go, let_go(&[1]));
        let unknown = [(TailId(1), Space { device: 1, bytes: 1 << 40, capacity: 0 })];
        assert_eq!(removed.hold(&flow, &unknown), Verdict::default());
        removed.set_limit(Some(0));
        assert_eq!(removed.hold(&flow, &holds(&[(1, 1, 1)])).let_go, let_go(&[1]));
    }
}
