//! The byte budget for all that is read and not yet settled, shared by the flows.
//!
//! Each flow has a reserved share that nobody else can take, so that a flow whose destination
//! is down cannot starve the others; what is left over is shared, first come, first served.
//! A permit is owned by the buffer that it was taken for and comes back when the last slice of
//! that buffer is dropped, so that the count is what the memory really holds.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::Notify;

/// At most this many buffers of one flow are unsettled at a time, so that tiny ones do not
/// grow the bookkeeping without bound. It is also the capacity of the channel they travel in.
pub const MAX_BUFFERS: usize = 16 * 1024;

/// What a buffer costs beside its bytes.
const OVERHEAD_BYTES: usize = 256;

#[derive(Debug)]
pub struct Budget {
    pool: Mutex<Pool>,
    waiting: AtomicU64,
    bells: Mutex<Vec<std::sync::Weak<dyn Wake>>>,
}

/// How the bytes are split up.
#[derive(Debug)]
struct Pool {
    /// Free, for whoever comes first. Below zero after a resize, until enough has come back.
    shared: isize,
    /// All of it, free or not.
    shared_total: usize,
    /// For each flow.
    reserve: usize,
}

impl Pool {
    fn new(total: usize, flows: usize) -> Self {
        let reserve = total / 2 / flows.max(1);
        let shared_total = total - reserve * flows;
        Pool { shared: shared_total.cast_signed(), shared_total, reserve }
    }
}

/// Told when bytes came back while somebody waited for them.
pub trait Wake: Send + Sync + std::fmt::Debug {
    fn wake(&self);
}

/// What one file, or all generations of one, holds of a budget.
#[derive(Clone, Debug, Default)]
pub struct Holding(Arc<Held>);

#[derive(Debug, Default)]
struct Held {
    bytes: AtomicUsize,
    buffers: AtomicUsize,
}

impl Holding {
    pub fn bytes(&self) -> usize {
        self.0.bytes.load(Ordering::Acquire)
    }

    fn buffers(&self) -> usize {
        self.0.buffers.load(Ordering::Acquire)
    }

    fn take(&self, bytes: usize) {
        self.0.bytes.fetch_add(bytes, Ordering::AcqRel);
        self.0.buffers.fetch_add(1, Ordering::AcqRel);
    }

    fn give_back(&self, bytes: usize) {
        self.0.bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.0.buffers.fetch_sub(1, Ordering::AcqRel);
    }
}

/// One flow's view of the budget.
#[derive(Debug)]
pub struct FlowBudget {
    budget: Arc<Budget>,
    used: Mutex<Used>,
    short: Notify,
}

#[derive(Debug, Default)]
struct Used {
    reserved: usize,
    buffers: usize,
    bytes: usize,
}

impl Budget {
    /// Half of `total` bytes is reserved in equal shares for `flows`, the other half is shared.
    pub fn new(total: usize, flows: usize) -> Arc<Self> {
        Arc::new(Budget {
            pool: Mutex::new(Pool::new(total, flows)),
            waiting: AtomicU64::new(0),
            bells: Mutex::default(),
        })
    }

    /// Splits `total` bytes among another number of flows. What a flow holds beyond its new
    /// reserve stays until it is settled; until then more than `total` may be in use.
    pub fn resize(&self, total: usize, flows: usize) {
        let new = Pool::new(total, flows);
        {
            let mut pool = self.pool.lock().unwrap();
            let taken = pool.shared_total.cast_signed() - pool.shared;
            *pool = Pool { shared: new.shared - taken, ..new };
        }
        self.ring();
    }

    pub fn flow(self: &Arc<Self>) -> Arc<FlowBudget> {
        Arc::new(FlowBudget { budget: self.clone(), used: Mutex::default(), short: Notify::new() })
    }

    /// `bell` is woken when bytes come back after somebody found none.
    pub fn ring_on_release(&self, bell: std::sync::Weak<dyn Wake>) {
        let mut bells = self.bells.lock().unwrap();
        bells.retain(|bell| bell.strong_count() > 0);
        bells.push(bell);
    }

    fn ring(&self) {
        if self.waiting.swap(0, Ordering::AcqRel) == 0 {
            return;
        }
        for bell in self.bells.lock().unwrap().iter().filter_map(std::sync::Weak::upgrade) {
            bell.wake();
        }
    }
}

impl FlowBudget {
    /// Resolves when the flow found no bytes: what waits for more records to fill a request
    /// should leave now.
    pub async fn short(&self) {
        self.short.notified().await;
    }

    /// The largest buffer that this flow can always get once it has settled all it holds.
    pub fn largest(&self) -> usize {
        self.budget.pool.lock().unwrap().reserve.saturating_sub(OVERHEAD_BYTES)
    }

    /// How much more of the budget a file may take that has this holding: so much that it holds no more
    /// than is free then. However many files are held up, something is left for those that are not. While
    /// that is less than `least`, the bells ring when bytes come back.
    pub fn left_for(&self, holding: &Holding, least: usize) -> usize {
        let left = || match self.free() {
            (_, buffers) if buffers <= holding.buffers() => 0,
            (bytes, _) => bytes.saturating_sub(holding.bytes()) / 2,
        };
        if left() >= least {
            return left();
        }
        self.budget.waiting.fetch_add(1, Ordering::AcqRel);
        // Bytes may have come back between the look and the registration.
        left()
    }

    /// Bytes, and buffers.
    fn free(&self) -> (usize, usize) {
        let used = self.used.lock().unwrap();
        let pool = self.budget.pool.lock().unwrap();
        let bytes = pool.reserve.saturating_sub(used.reserved) + pool.shared.max(0).cast_unsigned();
        (bytes, MAX_BUFFERS.saturating_sub(used.buffers))
    }

    /// Nothing can be read before something is settled.
    pub fn run_short(&self) {
        self.short.notify_one();
    }

    /// A buffer of `capacity` bytes, or none while the budget does not allow it; then the
    /// bells ring when it may.
    pub fn take(self: &Arc<Self>, capacity: usize) -> Option<Permit> {
        let cost = capacity + OVERHEAD_BYTES;
        let taken = self.try_take(cost);
        if taken.is_none() {
            self.budget.waiting.fetch_add(1, Ordering::AcqRel);
            self.run_short();
            // Bytes may have come back between the look and the registration.
            return self.try_take(cost);
        }
        taken
    }

    fn try_take(self: &Arc<Self>, cost: usize) -> Option<Permit> {
        let mut used = self.used.lock().unwrap();
        if used.buffers >= MAX_BUFFERS {
            return None;
        }
        let mut pool = self.budget.pool.lock().unwrap();
        let reserved = cost.min(pool.reserve.saturating_sub(used.reserved));
        let shared = cost - reserved;
        if shared > 0 && shared.cast_signed() > pool.shared {
            return None;
        }
        pool.shared -= shared.cast_signed();
        drop(pool);
        let permit = Permit { flow: self.clone(), reserved, shared, holding: None };
        used.reserved += permit.reserved;
        used.buffers += 1;
        used.bytes += cost;
        Some(permit)
    }

    /// Bytes that are read and not yet settled, with their overhead.
    pub fn used(&self) -> usize {
        self.used.lock().unwrap().bytes
    }
}

/// The right to hold so many bytes. Given back when dropped.
#[derive(Debug)]
pub struct Permit {
    flow: Arc<FlowBudget>,
    reserved: usize,
    shared: usize,
    holding: Option<Holding>,
}

impl Permit {
    /// It counts as held by this one.
    pub fn held_by(mut self, holding: Option<&Holding>) -> Self {
        if let Some(holding) = holding {
            holding.take(self.bytes());
        }
        self.holding = holding.cloned();
        self
    }

    fn bytes(&self) -> usize {
        self.reserved + self.shared
    }

    /// `data` as bytes that give the permit back when the last slice is dropped.
    pub fn hold(self, data: Vec<u8>) -> Bytes {
        Bytes::from_owner(Buffer { data, _permit: self })
    }
}

struct Buffer {
    data: Vec<u8>,
    _permit: Permit,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(holding) = &self.holding {
            holding.give_back(self.bytes());
        }
        {
            let mut used = self.flow.used.lock().unwrap();
            used.reserved -= self.reserved;
            used.buffers -= 1;
            used.bytes -= self.bytes();
        }
        if self.shared > 0 {
            self.flow.budget.pool.lock().unwrap().shared += self.shared.cast_signed();
        }
        self.flow.budget.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_always_gets_its_reserve_and_the_shared_part_is_first_come() {
        let budget = Budget::new(8192, 2);
        let (a, b) = (budget.flow(), budget.flow());
        let mut held: Vec<_> = std::iter::from_fn(|| a.take(256)).collect();
        assert_eq!(a.used(), 2048 + 4096);
        assert!(b.take(b.largest()).is_some());
        assert!(b.take(b.largest() + 1).is_none());
        held.clear();
        assert_eq!((a.used(), budget.pool.lock().unwrap().shared), (0, 4096));
    }

    #[test]
    fn a_resize_gives_a_new_flow_its_reserve_and_the_others_pay_as_they_settle() {
        let budget = Budget::new(8192, 1);
        let old = budget.flow();
        let mut held: Vec<_> = std::iter::from_fn(|| old.take(256)).collect();
        assert_eq!(old.used(), 8192);
        budget.resize(8192, 2);
        let new = budget.flow();
        assert_eq!(new.largest(), 2048 - OVERHEAD_BYTES);
        let reserved = new.take(new.largest());
        assert!(reserved.is_some() && new.take(1).is_none() && old.take(1).is_none());
        held.clear();
        drop(reserved);
        assert_eq!(budget.pool.lock().unwrap().shared, 4096);
        budget.resize(8192, 0);
        assert_eq!(budget.pool.lock().unwrap().shared, 8192);
    }

    #[test]
    fn however_much_files_hold_something_is_left_for_another() {
        const TOTAL: usize = 1 << 20;
        let budget = Budget::new(TOTAL, 1);
        let flow = budget.flow();
        let files: [Holding; 3] = Default::default();
        let mut held = Vec::new();
        for file in &files {
            while flow.left_for(file, 2000) >= 2000 {
                held.push(flow.take(1000).unwrap().held_by(Some(file)));
            }
        }
        for (file, part) in files.iter().zip([2, 4, 8]) {
            assert!(file.bytes().abs_diff(TOTAL / part) < 8000, "{} of {TOTAL}/{part}", file.bytes());
        }
        // What came first is not read further before the others have as much.
        held.retain(|permit| !Arc::ptr_eq(&permit.holding.as_ref().unwrap().0, &files[1].0));
        assert_eq!(files.each_ref().map(|file| flow.left_for(file, 2000) < 2000), [true, false, false]);
        drop(held);
        assert_eq!(files.each_ref().map(Holding::bytes), [0; 3]);
    }

    #[test]
    fn tiny_buffers_are_shared_as_bytes_are() {
        let flow = Budget::new(1 << 30, 1).flow();
        let (many, few) = (Holding::default(), Holding::default());
        let mut held = Vec::new();
        while flow.left_for(&many, 1) > 0 {
            held.push(flow.take(10).unwrap().held_by(Some(&many)));
        }
        assert_eq!(many.buffers(), MAX_BUFFERS / 2);
        assert!(flow.left_for(&few, 1) > 0);
        held.clear();
        assert_eq!((many.buffers(), many.bytes()), (0, 0));
    }

    #[test]
    fn a_slice_keeps_the_permit_of_its_whole_buffer() {
        let budget = Budget::new(8192, 1);
        let flow = budget.flow();
        let bytes = flow.take(1000).unwrap().hold(vec![7; 1000]);
        let slice = bytes.slice(10..20);
        drop(bytes);
        assert_eq!(flow.used(), 1000 + OVERHEAD_BYTES);
        drop(slice);
        assert_eq!(flow.used(), 0);
    }
}
