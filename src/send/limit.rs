//! How much memory requests may take beside their entries, and what a destination has accepted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a permit stands for. Bytes.
const PERMIT_BYTES: usize = 1024;

/// The memory that the requests of a flow take beside their entries, until they are sent. Cheap to
/// clone.
#[derive(Clone, Debug)]
pub struct Bodies(Arc<Mutex<Share>>);

#[derive(Clone, Debug)]
struct Share {
    free: Arc<Semaphore>,
    permits: u32,
    request_bytes: usize,
}

impl Bodies {
    /// At most about `bytes`; a request that alone needs more takes all of it. `request_bytes` is
    /// how large requests should be where several smaller ones do as well. Bytes of payload.
    pub fn new(bytes: usize, request_bytes: usize) -> Self {
        Bodies(Arc::new(Mutex::new(Share::new(bytes, request_bytes))))
    }

    /// From now on at most about `bytes`, beside what is under way now.
    pub fn resize(&self, bytes: usize, request_bytes: usize) {
        *self.0.lock().unwrap() = Share::new(bytes, request_bytes);
    }

    pub fn request_bytes(&self) -> usize {
        self.0.lock().unwrap().request_bytes
    }

    /// Waits until there are so many bytes. Not to be asked for twice at a time by one task: two
    /// that each hold a part would wait for ever.
    pub async fn take(&self, bytes: usize) -> Allowance {
        let share = self.0.lock().unwrap().clone();
        let wanted = permits(bytes).min(share.permits);
        let permit = share.free.acquire_many_owned(wanted).await.expect("the semaphore is never closed");
        Allowance(Mutex::new(Some(permit)))
    }
}

/// The memory that one request takes, until it is dropped.
#[derive(Debug, Default)]
pub struct Allowance(Mutex<Option<OwnedSemaphorePermit>>);

impl Allowance {
    /// It takes no more than so many bytes from now on.
    pub fn shrink(&self, bytes: usize) {
        if let Some(permit) = &mut *self.0.lock().unwrap() {
            let held = u32::try_from(permit.num_permits()).unwrap_or(u32::MAX);
            drop(permit.split(held.saturating_sub(permits(bytes)) as usize));
        }
    }
}

fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(PERMIT_BYTES).max(1)).unwrap_or(u32::MAX)
}

impl Share {
    fn new(bytes: usize, request_bytes: usize) -> Self {
        let permits = u32::try_from(bytes / PERMIT_BYTES).unwrap_or(u32::MAX).max(1);
        let permits = permits.min(u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        Share { free: Arc::new(Semaphore::new(permits as usize)), permits, request_bytes }
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
        let bodies = Bodies::new(6 * PERMIT_BYTES, 0);
        let first = bodies.take(3 * PERMIT_BYTES).await;
        let second = bodies.take(3 * PERMIT_BYTES).await;
        assert_eq!(free(&bodies), 0);
        drop((first, second));
        let _all = bodies.take(100 * PERMIT_BYTES).await;
        assert_eq!(free(&bodies), 0);
        bodies.resize(3 * PERMIT_BYTES, 0);
        let _more = bodies.take(100 * PERMIT_BYTES).await;
        assert_eq!(free(&bodies), 0);
    }

    #[tokio::test]
    async fn what_is_no_longer_needed_comes_back() {
        let bodies = Bodies::new(100 * PERMIT_BYTES, 0);
        let body = bodies.take(45 * PERMIT_BYTES).await;
        body.shrink(15 * PERMIT_BYTES);
        body.shrink(20 * PERMIT_BYTES);
        assert_eq!(free(&bodies), 85);
        drop(body);
        assert_eq!(free(&bodies), 100);
    }
}
