//! What becomes of the open files when the tailers of a flow end: at a stop the deleted ones are read
//! for as long as there is time, at a reload the flow's next tailers go on with all of them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::body::Body;
use super::budget::FlowBudget;
use super::chunk::TailId;
use super::identity::FileKey;
use super::tail::Tail;
use super::tailers::Tailers;

/// An open file of a flow that has ended, for one that goes on with it: no name may lead to it.
#[derive(Debug)]
pub struct HeldFile {
    pub path: PathBuf,
    /// What nobody could read any more without it.
    pub nameless_bytes: u64,
    body: Body,
}

pub type HeldFiles = HashMap<FileKey, HeldFile>;

impl Tailers {
    /// When no more is read: the last lines of deleted files that were read to their ends. They
    /// are not let go: what was read of them may not be settled in time, and what holds their
    /// bytes may be found by whoever goes on.
    pub fn finish_deleted(&mut self, now: Duration, budget: &Arc<FlowBudget>) {
        for id in self.tails.lively_where(|tail| tail.is_open() && tail.deleted) {
            self.finish(id, now, budget, false);
        }
    }

    /// From now on only files are read that no later start could find again: deleted ones, and
    /// those that were moved out of sight. Whether there are any left.
    /// When nothing else has a turn, what waits for another file waits no longer.
    pub fn only_nameless(&mut self, now: Duration, budget: &Arc<FlowBudget>) -> bool {
        let tails = &self.tails;
        let nameless = |id: &TailId| tails.get(*id).is_some_and(Tail::is_nameless);
        self.queue.retain(nameless);
        self.backlogs.retain(nameless);
        self.queued.retain(nameless);
        self.succession.retain(nameless);
        if !self.has_turns() && self.succession.waits() {
            self.let_followers_go(now, budget);
        }
        self.has_turns()
    }

    /// The open files, for the flow that goes on with them.
    pub fn into_held(self) -> HeldFiles {
        self.removed.hold(&self.key, &[]);
        let held = self.tails.into_all().filter_map(|tail| {
            let (key, path) = (tail.key(), tail.path.to_path_buf());
            let nameless_bytes = if tail.is_nameless() { tail.unread() } else { 0 };
            Some((key, HeldFile { path, nameless_bytes, body: tail.into_body()? }))
        });
        held.collect()
    }

    /// Goes on with those of the open files that are tails of this flow.
    pub fn go_on_with(&mut self, held: &mut HeldFiles) {
        if held.is_empty() {
            return;
        }
        let known: Vec<(TailId, FileKey)> = self.tails.iter().map(|tail| (tail.id, tail.key())).collect();
        for (id, key) in known {
            let (Some(file), Some(tail)) = (held.remove(&key), self.tails.get_mut(id)) else { continue };
            match tail.take_over(file.body, Duration::ZERO) {
                Ok(true) => {
                    self.open_files += 1;
                    self.enqueue(id);
                }
                // The first look finds out what became of it.
                Ok(false) => {}
                Err(error) => tracing::debug!(file = %file.path.display(), %error, "cannot be read on"),
            }
        }
    }

    /// Files without a name that have unread bytes, and how many, when the agent must stop.
    pub fn unread_nameless(&self) -> Vec<(PathBuf, u64)> {
        let unread = self.tails.lively().filter(|tail| tail.is_nameless() && tail.unread() > 0);
        unread.map(|tail| (tail.path.to_path_buf(), tail.unread())).collect()
    }
}
