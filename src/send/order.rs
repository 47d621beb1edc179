//! Which keys have an entry under way, where records are to be stored in the order of their
//! files: the next entry of a key leaves when the one before is settled. Pure.
//!
//! It does not decide when an entry that may leave does: its shard, the batch and the request
//! slots may have it wait longer.

use std::collections::HashSet;

use super::entry::Entry;

/// With one entry of each key under way, several requests have to share them: while the body of one
/// is made another is on its way, and the destination answers a third. As one they would take turns.
const OVERLAP: usize = 4;
/// Less is not worth sharing. Bytes.
const LEAST: usize = 256 * 1024;

#[derive(Debug, Default)]
pub struct Order {
    under_way: HashSet<Option<u128>>,
    /// Of the entries under way.
    bytes: usize,
}

impl Order {
    /// Those of `entries`, which wait in their order, whose key has nothing before them.
    pub fn free<'a>(&self, entries: impl IntoIterator<Item = &'a Entry>) -> Vec<usize> {
        let mut before = self.under_way.clone();
        let entries = entries.into_iter().enumerate();
        entries.filter_map(|(at, entry)| before.insert(key(entry)).then_some(at)).collect()
    }

    /// The keys of which an entry is under way or waits among `entries`.
    pub fn busy<'a>(&self, entries: impl IntoIterator<Item = &'a Entry>) -> Busy {
        let waiting = entries.into_iter().map(key);
        Busy(self.under_way.iter().copied().chain(waiting).collect())
    }

    /// How many entries one of up to `requests` requests should hold where `free` of so many bytes may
    /// leave.
    pub fn part(&self, free: usize, bytes: usize, requests: usize) -> usize {
        let all = self.under_way.len() + free;
        if self.bytes + bytes <= LEAST { all } else { all.div_ceil(requests.clamp(1, OVERLAP)) }
    }

    /// The entry leaves.
    pub fn begin(&mut self, entry: &Entry) {
        let first = self.under_way.insert(key(entry));
        debug_assert!(first, "one of each key is under way");
        self.bytes += entry.size;
    }

    /// The entry is settled.
    pub fn end(&mut self, entry: &Entry) {
        if self.under_way.remove(&key(entry)) {
            self.bytes -= entry.size;
        }
    }
}

/// Keys whose next entry has to wait, and may grow meanwhile.
#[derive(Debug)]
pub struct Busy(HashSet<Option<u128>>);

impl Busy {
    pub fn holds(&self, entry: &Entry) -> bool {
        self.0.contains(&key(entry))
    }
}

/// What decides on the shard; the same for all entries that have none.
fn key(entry: &Entry) -> Option<u128> {
    entry.key.as_ref().map(|key| key.hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::send::partition::FixedKey;
    use proptest::prelude::*;

    fn entry(name: &str) -> Entry {
        Entry { key: Some(FixedKey::new(name)), ..Entry::default() }
    }

    #[test]
    fn the_first_of_each_key_is_free_until_it_leaves_and_again_when_it_is_settled() {
        let mut order = Order::default();
        let waiting = ["a", "a", "b", "a", "b", "c"].map(entry);
        let free = |order: &Order| order.free(&waiting);
        assert_eq!(free(&order), [0, 2, 5]);
        order.begin(&entry("a"));
        assert_eq!(free(&order), [2, 5]);
        order.begin(&entry("c"));
        order.end(&entry("a"));
        assert_eq!(free(&order), [0, 2]);
        let keyless = [Entry::default(), Entry::default()];
        assert_eq!(order.free(&keyless), [0]);
    }

    #[test]
    fn what_is_under_way_and_free_is_shared_by_a_few_requests() {
        let large = |name| Entry { size: 250_000, ..entry(name) };
        let mut order = Order::default();
        assert_eq!([1, 2, 4, 32].map(|requests| order.part(8, 2_000_000, requests)), [8, 4, 2, 2]);
        assert_eq!(order.part(8, LEAST, 32), 8);
        order.begin(&large("a"));
        order.begin(&large("b"));
        assert_eq!(order.part(7, 1_750_000, 32), 3);
        assert_eq!(order.part(2, 0, 32), 1);
        order.end(&large("a"));
        assert_eq!(order.part(2, LEAST - 250_000, 32), 3);
        order.end(&large("a"));
        order.end(&large("b"));
        assert_eq!(order.part(3, LEAST, 32), 3);
    }

    proptest! {
        /// However entries leave and are settled, each key's leave in their order, one at a time.
        #[test]
        fn entries_of_a_key_never_pass_each_other(
            keys in prop::collection::vec(0u8..4, 1..40),
            steps in prop::collection::vec(any::<prop::sample::Index>(), 200),
        ) {
            let mut order = Order::default();
            let all: Vec<Entry> = keys.iter().map(|key| entry(&key.to_string())).collect();
            let mut waiting: Vec<usize> = (0..all.len()).collect();
            let (mut under_way, mut left) = (Vec::<usize>::new(), Vec::new());
            for step in steps {
                let free = order.free(waiting.iter().map(|at| &all[*at]));
                prop_assert!(!free.is_empty() || waiting.is_empty() || !under_way.is_empty());
                match step.index(free.len() + under_way.len() + 1).checked_sub(under_way.len()) {
                    Some(at) if at < free.len() => {
                        let entry = waiting.remove(free[at]);
                        prop_assert!(under_way.iter().all(|other| keys[*other] != keys[entry]));
                        order.begin(&all[entry]);
                        under_way.push(entry);
                        left.push(entry);
                    }
                    Some(_) => {}
                    None => {
                        let at = step.index(under_way.len());
                        order.end(&all[under_way.remove(at)]);
                    }
                }
            }
            for key in 0u8..4 {
                let of_key: Vec<usize> = left.iter().copied().filter(|at| keys[*at] == key).collect();
                prop_assert!(of_key.is_sorted());
            }
        }
    }
}
