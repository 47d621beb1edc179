//! What is shared between flows: how many bytes of request bodies there may be at a time, and
//! what a destination has accepted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a permit stands for. Bytes.
const PERMIT_BYTES: usize = 1024;

/// A body is built from a copy of the payload, and is itself base64 of it in a buffer that grows.
const COPIES: usize = 3;

/// What is left of them when it is built, of a payload byte: base64, and what stands around it.
const BUILT: (usize, usize) = (3, 2);

/// So many requests have room beside each other while they are built, and more when they wait for
/// their answers: one that took all of the memory would leave a distant destination idle.
const REQUESTS: usize = 4;
/// Smaller requests would cost more than they gain. Bytes.
const LEAST_REQUEST: usize = 512 * 1024;

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
    /// `workspace` bytes more are needed until the body is built.
    pub async fn take(&self, payload_bytes: usize, workspace: usize) -> Body {
        let share = self.0.lock().unwrap().clone();
        let wanted = permits((payload_bytes + workspace) * COPIES).min(share.permits);
        let permit = share.free.acquire_many_owned(wanted).await.expect("the semaphore is never closed");
        let built = permits(payload_bytes * BUILT.0 / BUILT.1);
        Body { memory: Arc::new(Mutex::new(Some(permit))), built }
    }

    /// How large requests should be where several smaller ones do as well. Bytes of payload.
    pub fn request_bytes(&self) -> usize {
        let share = self.0.lock().unwrap().permits as usize * PERMIT_BYTES;
        (share / COPIES / REQUESTS).max(LEAST_REQUEST)
    }
}

/// The memory that one request takes, until it is dropped.
#[derive(Clone, Debug, Default)]
pub struct Body {
    memory: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
    /// What it takes when it is built. Permits.
    built: u32,
}

impl Body {
    /// The body is built, and what it was made from is gone.
    pub fn is_built(&self) {
        if let Some(permit) = &mut *self.memory.lock().unwrap() {
            let held = u32::try_from(permit.num_permits()).unwrap_or(u32::MAX);
            drop(permit.split(held.saturating_sub(self.built) as usize));
        }
    }
}

fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(PERMIT_BYTES).max(1)).unwrap_or(u32::MAX)
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
        let first = bodies.take(PERMIT_BYTES, 0).await;
        let second = bodies.take(PERMIT_BYTES, 0).await;
        assert_eq!(free(&bodies), 0);
        drop((first, second));
        let _all = bodies.take(100 * PERMIT_BYTES, 0).await;
        assert_eq!(free(&bodies), 0);
        bodies.resize(3 * PERMIT_BYTES);
        let _more = bodies.take(100 * PERMIT_BYTES, 0).await;
        assert_eq!(free(&bodies), 0);
    }

    #[tokio::test]
    async fn what_is_built_gives_back_what_it_was_made_from() {
        let bodies = Bodies::new(100 * PERMIT_BYTES);
        let body = bodies.take(10 * PERMIT_BYTES, 5 * PERMIT_BYTES).await;
        assert_eq!(free(&bodies), 55);
        body.is_built();
        body.clone().is_built();
        assert_eq!(free(&bodies), 85);
        drop(body);
        assert_eq!(free(&bodies), 100);
        // One that takes all there is may be larger than that when it is built.
        let large = bodies.take(90 * PERMIT_BYTES, 0).await;
        large.is_built();
        assert_eq!(free(&bodies), 0);
    }

    #[test]
    fn several_requests_have_room() {
        assert_eq!(Bodies::new(24 << 20).request_bytes(), 2 << 20);
        assert_eq!(Bodies::new(1 << 20).request_bytes(), LEAST_REQUEST);
    }
}
