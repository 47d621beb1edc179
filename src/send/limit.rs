//! What is shared between flows: how many bytes of request bodies there may be at a time, and
//! what a destination has accepted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a permit stands for. Bytes.
const PERMIT_BYTES: usize = 1024;

/// A body is built from a copy of the payload, and is itself base64 of it in a buffer that grows.
const COPIES: usize = 3;

/// The memory for the request bodies of a flow that are built or under way. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Bodies(Arc<Mutex<Share>>);

#[derive(Clone, Debug)]
struct Share {
    free: Arc<Semaphore>,
    permits: u32,
}

impl Bodies {
    /// At most about `bytes`; a request that alone needs more takes all of it.
    pub fn new(bytes: usize) -> Self {
        Bodies(Arc::new(Mutex::new(Share::new(bytes))))
    }

    /// From now on at most about `bytes`, beside what is under way now.
    pub fn resize(&self, bytes: usize) {
        *self.0.lock().unwrap() = Share::new(bytes);
    }

    /// Waits for the memory that a request with so many payload bytes takes. Not to be asked
    /// for twice at a time by one task: two that each hold a part would wait for ever.
    pub async fn take(&self, payload_bytes: usize) -> OwnedSemaphorePermit {
        let wanted = (payload_bytes * COPIES).div_ceil(PERMIT_BYTES).max(1);
        let share = self.0.lock().unwrap().clone();
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX).min(share.permits);
        share.free.acquire_many_owned(wanted).await.expect("the semaphore is never closed")
    }
}

impl Share {
    fn new(bytes: usize) -> Self {
        let permits = u32::try_from(bytes / PERMIT_BYTES).unwrap_or(u32::MAX).max(1);
        let permits = permits.min(u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        Share { free: Arc::new(Semaphore::new(permits as usize)), permits }
    }
}

/// How many entries a destination has accepted, of all flows that send to it. An entry that is
/// refused again and again is only at fault itself if others are accepted meanwhile. Cheap to
/// clone.
#[derive(Clone, Debug, Default)]
pub struct Accepted(Arc<AtomicU64>);

impl Accepted {
    pub fn add(&self, entries: u64) {
        self.0.fetch_add(entries, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(bodies: &Bodies) -> usize {
        bodies.0.lock().unwrap().free.available_permits()
    }

    #[tokio::test]
    async fn bodies_wait_for_each_other_and_the_largest_takes_all() {
        let bodies = Bodies::new(6 * PERMIT_BYTES);
        let first = bodies.take(PERMIT_BYTES).await;
        let second = bodies.take(PERMIT_BYTES).await;
        assert_eq!(free(&bodies), 0);
        drop((first, second));
        let _all = bodies.take(100 * PERMIT_BYTES).await;
        assert_eq!(free(&bodies), 0);
        bodies.resize(3 * PERMIT_BYTES);
        let _more = bodies.take(100 * PERMIT_BYTES).await;
        assert_eq!(free(&bodies), 0);
    }
}
