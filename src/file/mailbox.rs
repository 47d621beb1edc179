//! Where the file stage of one flow is woken: by events of its folders, by memory that came
//! back, by a stored start position, and to stop.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use super::budget::Wake;

/// What has come in since the last look.
#[derive(Debug, Default)]
pub struct Mail {
    /// Files that were written to.
    pub written: HashSet<PathBuf>,
    /// Names that came, went or changed.
    pub renamed: HashSet<PathBuf>,
    /// Folders with so many events that polling is cheaper.
    pub busy: HashSet<PathBuf>,
    /// Events were lost.
    pub overflow: bool,
    /// Nothing new is read any more.
    pub stop: bool,
    /// Not even what would be lost by it.
    pub abandon: bool,
    /// The open files are handed on, so nothing would be lost.
    pub keep: bool,
    woken: bool,
}

#[derive(Debug, Default)]
pub struct Mailbox {
    mail: Mutex<Mail>,
    bell: Condvar,
}

impl Mailbox {
    fn put(&self, change: impl FnOnce(&mut Mail)) {
        let mut mail = self.mail.lock().unwrap();
        change(&mut mail);
        mail.woken = true;
        self.bell.notify_one();
    }

    pub fn written(&self, path: &Path) {
        let mut mail = self.mail.lock().unwrap();
        if !mail.written.contains(path) {
            mail.written.insert(path.to_owned());
            mail.woken = true;
            self.bell.notify_one();
        }
    }

    pub fn renamed(&self, path: &Path) {
        self.put(|mail| {
            mail.renamed.insert(path.to_owned());
        });
    }

    pub fn busy(&self, folder: &Path) {
        self.put(|mail| {
            mail.busy.insert(folder.to_owned());
        });
    }

    pub fn overflow(&self) {
        self.put(|mail| mail.overflow = true);
    }

    /// Reading stops but for deleted files, whose bytes nobody could read later.
    pub fn stop(&self) {
        self.put(|mail| mail.stop = true);
    }

    /// As [`stop`](Self::stop); what is not read then stays open for another flow.
    pub fn stop_and_keep(&self) {
        self.put(|mail| (mail.stop, mail.keep) = (true, true));
    }

    /// Reading stops at once.
    pub fn abandon(&self) {
        self.put(|mail| (mail.stop, mail.abandon) = (true, true));
    }

    /// Waits until something comes in or `at_most` has passed, and takes it all.
    pub fn wait(&self, at_most: Duration) -> Mail {
        let until = Instant::now() + at_most;
        let mut mail = self.mail.lock().unwrap();
        while !mail.woken {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            mail = self.bell.wait_timeout(mail, left).unwrap().0;
        }
        let (stop, abandon, keep) = (mail.stop, mail.abandon, mail.keep);
        let taken = std::mem::take(&mut *mail);
        (mail.stop, mail.abandon, mail.keep) = (stop, abandon, keep);
        taken
    }
}

impl Wake for Mailbox {
    fn wake(&self) {
        self.put(|_| {});
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_waits_for_its_reader_and_stopping_stays() {
        let mailbox = Mailbox::default();
        mailbox.written(Path::new("/a"));
        mailbox.stop();
        let mail = mailbox.wait(Duration::from_secs(60));
        assert!(mail.stop && mail.written.contains(Path::new("/a")));
        let mail = mailbox.wait(Duration::ZERO);
        assert!(mail.stop && mail.written.is_empty());
    }
}
