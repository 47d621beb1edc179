//! File-system events, as hints: they make a flow look earlier than its scan would. One watcher
//! serves all flows. Nothing depends on an event: what is missed here, the scan finds.
//!
//! The only file that names `notify`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use notify::event::{EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};

use super::mailbox::Mailbox;

/// A folder with more writes a second than this is polled instead: handling each event would
/// cost more than the line that it announces.
const BUSY_WRITES: u32 = 500;

/// How changes in a folder are noticed.
#[derive(Debug, PartialEq, Eq)]
pub enum Watched {
    Events,
    /// There are no events here (a network file system, a limit of the system): look often.
    Polled(String),
}

#[derive(Default)]
struct Route {
    flows: Vec<Weak<Mailbox>>,
    window: Option<Instant>,
    writes: u32,
}

type Routes = Arc<Mutex<HashMap<PathBuf, Route>>>;

pub struct Watch {
    watcher: Result<Mutex<RecommendedWatcher>, String>,
    routes: Routes,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("folders", &self.routes.lock().unwrap().len()).finish()
    }
}

impl Watch {
    pub fn new() -> Arc<Self> {
        let routes = Routes::default();
        let handler = {
            let routes = routes.clone();
            move |event: notify::Result<Event>| dispatch(&routes, event)
        };
        let watcher = notify::recommended_watcher(handler).map(Mutex::new).map_err(|error| error.to_string());
        Arc::new(Watch { watcher, routes })
    }

    /// Tells `mailbox` of the events in `folder` (not below it) from now on.
    pub fn watch(&self, folder: &Path, mailbox: &Arc<Mailbox>) -> Watched {
        let watcher = match &self.watcher {
            Ok(watcher) => watcher,
            Err(error) => return Watched::Polled(error.clone()),
        };
        if let Some(kind) = network_file_system(folder) {
            return Watched::Polled(format!("{kind} has no events for what other hosts write"));
        }
        let known = {
            let mut routes = self.routes.lock().unwrap();
            let route = routes.entry(folder.to_owned()).or_default();
            route.flows.retain(|flow| flow.strong_count() > 0);
            let known = !route.flows.is_empty();
            if !route.flows.iter().any(|flow| std::ptr::eq(flow.as_ptr(), Arc::as_ptr(mailbox))) {
                route.flows.push(Arc::downgrade(mailbox));
            }
            known
        };
        if known {
            return Watched::Events;
        }
        // The routes are not locked here, since the watcher's own thread waits for them.
        match watcher.lock().unwrap().watch(folder, RecursiveMode::NonRecursive) {
            Ok(()) => Watched::Events,
            Err(error) => {
                self.routes.lock().unwrap().remove(folder);
                Watched::Polled(error.to_string())
            }
        }
    }

    /// No flow hears of `folder` any more.
    pub fn unwatch(&self, folder: &Path) {
        let known = self.routes.lock().unwrap().remove(folder).is_some();
        if let (true, Ok(watcher)) = (known, &self.watcher) {
            // It fails if the folder is gone, and then there is nothing to undo.
            let _ = watcher.lock().unwrap().unwatch(folder);
        }
    }

    /// The flow with this mailbox hears of nothing any more; folders that only it looked at are
    /// let go.
    pub fn leave(&self, mailbox: &Mailbox) {
        let is_its = |flow: &Weak<Mailbox>| std::ptr::eq(flow.as_ptr(), mailbox);
        let mut lonely = Vec::new();
        for (folder, route) in self.routes.lock().unwrap().iter_mut() {
            let before = route.flows.len();
            route.flows.retain(|flow| flow.strong_count() > 0 && !is_its(flow));
            if route.flows.is_empty() && before > 0 {
                lonely.push(folder.clone());
            }
        }
        lonely.iter().for_each(|folder| self.unwatch(folder));
    }
}

fn dispatch(routes: &Routes, event: notify::Result<Event>) {
    let mut routes = routes.lock().unwrap();
    let event = match event {
        Ok(event) if !event.need_rescan() => event,
        _ => {
            let flows = routes.values().flat_map(|route| &route.flows).filter_map(Weak::upgrade);
            flows.for_each(|flow| flow.overflow());
            return;
        }
    };
    let written = match event.kind {
        EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_) | ModifyKind::Any) => true,
        EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => false,
        _ => return,
    };
    for path in &event.paths {
        if let Some(route) = path.parent().and_then(|folder| routes.get_mut(folder)) {
            deliver(route, path, written);
        }
        if !written && let Some(mut route) = routes.remove(path) {
            // The folder itself is gone from this name, and its watch with it.
            deliver(&mut route, path, false);
        }
    }
}

fn deliver(route: &mut Route, path: &Path, written: bool) {
    let now = Instant::now();
    if route.window.is_none_or(|start| now - start > Duration::from_secs(1)) {
        (route.window, route.writes) = (Some(now), 0);
    }
    route.writes += u32::from(written);
    for flow in route.flows.iter().filter_map(Weak::upgrade) {
        match written {
            true => flow.written(path),
            false => flow.renamed(path),
        }
        if route.writes == BUSY_WRITES
            && let Some(folder) = path.parent()
        {
            flow.busy(folder);
        }
    }
}

/// The kind of file system, if other hosts may write to it (statfs(2), `f_type`).
fn network_file_system(folder: &Path) -> Option<&'static str> {
    match rustix::fs::statfs(folder).ok()?.f_type as u32 {
        0x6969 => Some("NFS"),
        0x517b | 0xfe53_4d42 | 0xff53_4d42 => Some("SMB"),
        0x6573_5546 => Some("FUSE"),
        0x00c3_6400 => Some("Ceph"),
        0x0102_1997 => Some("9P"),
        0x0bd0_0bd0 => Some("Lustre"),
        0x4750_4653 => Some("GPFS"),
        0x5346_414f => Some("AFS"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_for(mailbox: &Mailbox, found: impl Fn(&super::super::mailbox::Mail) -> bool) {
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until {
            if found(&mailbox.wait(Duration::from_millis(100))) {
                return;
            }
        }
        panic!("no such event");
    }

    #[test]
    fn writes_and_names_reach_the_flow_that_watches_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let (watch, mailbox) = (Watch::new(), Arc::new(Mailbox::default()));
        assert_eq!(watch.watch(folder.path(), &mailbox), Watched::Events);
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::write(&a, "x").unwrap();
        wait_for(&mailbox, |mail| mail.written.contains(&a));
        std::fs::rename(&a, &b).unwrap();
        wait_for(&mailbox, |mail| mail.renamed.contains(&b));
    }

    #[test]
    fn a_flow_that_leaves_takes_the_folders_along_that_only_it_looked_at() {
        let (own, common) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (watch, leaving, staying) = (Watch::new(), Arc::default(), Arc::new(Mailbox::default()));
        for folder in [&own, &common] {
            assert_eq!(watch.watch(folder.path(), &leaving), Watched::Events);
        }
        assert_eq!(watch.watch(common.path(), &staying), Watched::Events);
        watch.leave(&leaving);
        assert_eq!(watch.routes.lock().unwrap().keys().collect::<Vec<_>>(), [common.path()]);
        let file = common.path().join("a");
        std::fs::write(&file, "x").unwrap();
        wait_for(&staying, |mail| mail.written.contains(&file));
    }

    #[test]
    fn a_folder_that_is_not_there_is_polled() {
        let (watch, mailbox) = (Watch::new(), Arc::new(Mailbox::default()));
        assert!(matches!(watch.watch(Path::new("/no/such/folder"), &mailbox), Watched::Polled(_)));
    }

    #[test]
    fn a_folder_with_very_many_writes_is_called_busy() {
        let folder = tempfile::tempdir().unwrap();
        let mut route = Route::default();
        let mailbox = Arc::new(Mailbox::default());
        route.flows.push(Arc::downgrade(&mailbox));
        for _ in 0..BUSY_WRITES {
            deliver(&mut route, &folder.path().join("a"), true);
        }
        assert!(mailbox.wait(Duration::ZERO).busy.contains(folder.path()));
    }
}
