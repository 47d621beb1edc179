//! The agent beside a real logrotate, in the modes that hosts run it in: while a daemon writes
//! and the agent reads, and while the agent is stopped.
//!
//! The daemon is a thread that does as daemons do: it keeps its descriptor over a rename until
//! `postrotate` tells it to reopen. Under `copytruncate` real daemons lose what they write
//! between the copy and the truncation, whoever ships the log; here `prerotate` makes it pause.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::{AgentProcess, Config, Destination, Endpoint, Flow, World, eventually, let_pass};

const SOON: Duration = Duration::from_secs(30);
const ROTATIONS: u64 = 4;
const LINES_BETWEEN: u64 = 300;

#[derive(Clone, Copy)]
struct Mode {
    directives: &'static str,
    copies: bool,
}

const CREATE: Mode = Mode { directives: "create", copies: false };
const COPYTRUNCATE: Mode = Mode { directives: "copytruncate", copies: true };
const COMPRESS: Mode = Mode { directives: "create\ncompress", copies: false };
const DELAYCOMPRESS: Mode = Mode { directives: "create\ncompress\ndelaycompress", copies: false };
const DATEEXT: Mode = Mode { directives: "create\ndateext\ndateformat -%Y%m%d-%s", copies: false };
const OLDDIR: Mode = Mode { directives: "create\nolddir ../old", copies: false };

#[test]
fn create() {
    check_while_reading(CREATE);
}

#[test]
fn create_while_stopped() {
    check_while_stopped(CREATE);
}

#[test]
fn copytruncate() {
    check_while_reading(COPYTRUNCATE);
}

#[test]
fn copytruncate_while_stopped() {
    check_while_stopped(COPYTRUNCATE);
}

#[test]
fn compress() {
    check_while_reading(COMPRESS);
}

#[test]
fn compress_while_stopped() {
    check_while_stopped(COMPRESS);
}

#[test]
fn delaycompress() {
    check_while_reading(DELAYCOMPRESS);
}

#[test]
fn delaycompress_while_stopped() {
    check_while_stopped(DELAYCOMPRESS);
}

#[test]
fn dateext() {
    check_while_reading(DATEEXT);
}

#[test]
fn dateext_while_stopped() {
    check_while_stopped(DATEEXT);
}

#[test]
fn olddir() {
    check_while_reading(OLDDIR);
}

#[test]
fn olddir_while_stopped() {
    check_while_stopped(OLDDIR);
}

#[track_caller]
fn check_while_reading(mode: Mode) {
    let host = Host::new(mode);
    let agent = host.start_agent();
    let daemon = Daemon::start(&host);
    for rotation in 1..=ROTATIONS {
        daemon.wait_for_lines(rotation * LINES_BETWEEN);
        host.rotate();
    }
    daemon.wait_for_lines((ROTATIONS + 1) * LINES_BETWEEN);
    let written = daemon.stop();
    host.wait_for_all(written);
    stop(agent);
    host.assert_each_once(written);
}

/// The rest of a file that was rotated while nobody read it, twice.
#[track_caller]
fn check_while_stopped(mode: Mode) {
    let host = Host::new(mode);
    let agent = host.start_agent();
    let daemon = Daemon::start(&host);
    daemon.wait_for_lines(LINES_BETWEEN);
    stop(agent);
    for rotation in 2..=3 {
        daemon.wait_for_lines(rotation * LINES_BETWEEN);
        host.rotate();
    }
    daemon.wait_for_lines(4 * LINES_BETWEEN);
    let agent = host.start_agent();
    let written = daemon.stop();
    host.wait_for_all(written);
    stop(agent);
    host.assert_each_once(written);
}

#[track_caller]
fn stop(mut agent: AgentProcess) {
    agent.terminate();
    let status = agent.wait_exit(SOON);
    assert!(status.success(), "{status}");
}

/// A folder with a log, logrotate's configuration for it, and the agent's endpoint.
struct Host {
    endpoint: Endpoint,
    world: World,
}

impl Host {
    fn new(mode: Mode) -> Self {
        let world = World::new();
        fs::create_dir_all(world.root().join("old")).unwrap();
        let host = Host { endpoint: Endpoint::start(), world };
        fs::write(host.file("logrotate.conf"), host.logrotate_conf(mode)).unwrap();
        host
    }

    fn file(&self, name: &str) -> PathBuf {
        self.world.root().join(name)
    }

    /// The scripts ask the daemon for something with a file, and wait until it is gone.
    fn logrotate_conf(&self, mode: Mode) -> String {
        let ask = |what: &str| {
            let ask = self.file(what).display().to_string();
            format!("touch {ask}; while [ -e {ask} ]; do sleep 0.01; done")
        };
        let (before, after) =
            if mode.copies { (ask("pause"), ask("resume")) } else { ("true".to_owned(), ask("reopen")) };
        format!(
            "{log} {{\n{directives}\nrotate 20\nsize 1\nnomail\n\
             prerotate\n{before}\nendscript\npostrotate\n{after}\nendscript\n}}\n",
            log = self.world.path("app.log").display(),
            directives = mode.directives,
        )
    }

    fn start_agent(&self) -> AgentProcess {
        let flow = Flow::new(&self.world, Destination::Kinesis, "*.log");
        AgentProcess::start(&self.world, &Config::new(&self.world, &self.endpoint).flow(flow))
    }

    /// One forced rotation, of which logrotate says nothing wrong and which left a generation.
    #[track_caller]
    fn rotate(&self) {
        self.wait_for_the_next_second();
        let before = self.generations();
        let output = Command::new(logrotate())
            .args(["--force", "--state"])
            .arg(self.file("logrotate.state"))
            .arg(self.file("logrotate.conf"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "logrotate: {said}");
        assert_eq!(self.generations(), before + 1, "logrotate rotated nothing: {said}");
    }

    fn generations(&self) -> usize {
        let folders = [self.file("logs"), self.file("old")];
        let count = |folder: &PathBuf| fs::read_dir(folder).unwrap().count();
        folders.iter().map(count).sum::<usize>() - 1
    }

    /// Dates in names are whole seconds; logrotate skips a name that is taken. Its clock, time(),
    /// is some milliseconds late.
    fn wait_for_the_next_second(&self) {
        let late = Duration::from_millis(20);
        let second = || (SystemTime::now() - late).duration_since(UNIX_EPOCH).unwrap().as_secs();
        let begin = second();
        eventually("the next second", SOON, || if second() > begin { Ok(()) } else { Err(String::new()) });
    }

    #[track_caller]
    fn wait_for_all(&self, written: u64) {
        eventually("every line is delivered", SOON, || {
            let delivered = self.delivered();
            let missing: Vec<_> = (0..written).filter(|number| !delivered.contains_key(number)).collect();
            match missing.as_slice() {
                [] => Ok(()),
                [first, .., last] => Err(format!("{} missing: {first} .. {last}", missing.len())),
                [one] => Err(format!("{one} is missing")),
            }
        });
    }

    #[track_caller]
    fn assert_each_once(&self, written: u64) {
        self.endpoint.assert_no_violations();
        let mut delivered = self.delivered();
        delivered.retain(|&number, times| number >= written || *times != 1);
        assert!(delivered.is_empty(), "lines that did not arrive once: {delivered:?}");
    }

    /// How often each line arrived.
    fn delivered(&self) -> HashMap<u64, u64> {
        let mut times = HashMap::new();
        for line in self.endpoint.stored_text().lines() {
            let number = line.split(' ').next().and_then(|word| word.parse().ok());
            let number: u64 = number.unwrap_or_else(|| panic!("not a line of ours: {line:?}"));
            assert_eq!(format!("{line}\n"), text(number), "a line was changed");
            *times.entry(number).or_default() += 1;
        }
        times
    }
}

fn text(number: u64) -> String {
    format!("{number:08} a line of a daemon whose log is rotated by logrotate\n")
}

/// Debian keeps it where only root's PATH looks.
fn logrotate() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.push(PathBuf::from("/usr/sbin"));
    let found = folders.iter().map(|folder| folder.join("logrotate")).find(|file| file.exists());
    found.expect("logrotate is missing: run `make peers`, or install the package logrotate")
}

/// Writes a line each millisecond, and does what the rotation's scripts ask for.
struct Daemon {
    written: Arc<AtomicU64>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    fn start(host: &Host) -> Self {
        let (written, end) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let log = host.world.path("app.log");
        let root = host.world.root().to_owned();
        let (counter, stop) = (Arc::clone(&written), Arc::clone(&end));
        let thread = std::thread::spawn(move || {
            let mut out = append_to(&log);
            while !stop.load(Ordering::Acquire) {
                obey(&root, &log, &mut out);
                let number = counter.load(Ordering::Relaxed);
                out.write_all(text(number).as_bytes()).unwrap();
                counter.store(number + 1, Ordering::Release);
                let_pass(Duration::from_millis(1));
            }
        });
        Daemon { written, end, thread: Some(thread) }
    }

    #[track_caller]
    fn wait_for_lines(&self, lines: u64) {
        eventually("the daemon writes", SOON, || {
            let written = self.written.load(Ordering::Acquire);
            if written >= lines { Ok(()) } else { Err(format!("{written} lines")) }
        });
    }

    /// Returns how many lines it has written.
    fn stop(mut self) -> u64 {
        self.end.store(true, Ordering::Release);
        self.thread.take().expect("it is stopped once").join().expect("the daemon wrote without errors");
        self.written.load(Ordering::Acquire)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Release);
    }
}

/// `reopen`, and `pause` until `resume`.
fn obey(root: &Path, log: &Path, out: &mut File) {
    if root.join("reopen").exists() {
        *out = append_to(log);
        fs::remove_file(root.join("reopen")).unwrap();
    }
    if root.join("pause").exists() {
        fs::remove_file(root.join("pause")).unwrap();
        eventually("logrotate has truncated", SOON, || {
            fs::remove_file(root.join("resume")).map_err(|error| error.to_string())
        });
    }
}

fn append_to(log: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(log).unwrap()
}
