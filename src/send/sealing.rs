//! What is sent for each entry of a request. Hashing and compressing take milliseconds, so they
//! are done on a thread that may block; a plain copy is made at once.
//!
//! The entries are cloned for that thread, which copies no bytes of theirs.

use super::entry::Entry;
use super::envelope::Envelope;
use super::partition::Key;

/// The data of each entry. `keys` has one for each, or none where the destination knows none.
pub async fn seal(envelope: Envelope, entries: &[Entry], keys: &[Key]) -> Vec<Vec<u8>> {
    if envelope == Envelope::Plain {
        return seal_now(envelope, entries, keys);
    }
    let (entries, keys) = (entries.to_vec(), keys.to_vec());
    let sealed = tokio::task::spawn_blocking(move || seal_now(envelope, &entries, &keys));
    match sealed.await {
        Ok(sealed) => sealed,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is shutting down, and takes this task with it.
        Err(_) => std::future::pending().await,
    }
}

fn seal_now(envelope: Envelope, entries: &[Entry], keys: &[Key]) -> Vec<Vec<u8>> {
    let sealed = entries.iter().enumerate();
    sealed.map(|(number, entry)| envelope.seal(entry, keys.get(number))).collect()
}
