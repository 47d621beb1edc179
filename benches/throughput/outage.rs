//! A long outage: the destination refuses, hangs, or throttles everything while a log is written
//! and rotated at full speed. Shows the memory while it lasts, what the agent catches up with
//! afterwards, how long fresh lines of another file take meanwhile, and what is lost or repeated.
//!
//! `SECONDS` is the outage's length, `OUTAGE` its kind (all three by default), `RATE_MB` the
//! speed of the writer. `KEEP` deletes all but so many rotated files. As root the checkpoints lie
//! on a small disk of their own, in a mount namespace, which is full during the outage.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::agent::Agent;
use crate::endpoint::{Endpoint, Outage, TIMED_FILE, Tally};
use crate::line::{LENGTH, Line, now_micros};
use crate::{in_folder, setting};

/// Set in the process that has a mount namespace of its own.
const MOUNTED: &str = "BENCH_MAY_MOUNT";
const DISK_BYTES: u64 = 4 << 20;
const BEFORE: Duration = Duration::from_secs(10);
const ROTATE_EACH: u64 = 100_000_000;
const TICK: Duration = Duration::from_millis(10);
const FRESH_EACH: Duration = Duration::from_millis(20);
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(600);
const ROW_EACH: Duration = Duration::from_secs(5);
/// Fresh lines from before the end of the outage, whose latency says nothing.
const WAITING_FILE: usize = 2;

pub fn run() -> Result<()> {
    let root = rustix::process::geteuid().is_root();
    if root && std::env::var_os(MOUNTED).is_none() {
        return run_with_mounts();
    }
    let wanted = std::env::var("OUTAGE").unwrap_or_default().to_lowercase();
    for outage in [Outage::Refuse, Outage::Hang, Outage::Throttle] {
        if wanted.is_empty() || wanted == format!("{outage:?}").to_lowercase() {
            in_folder(|folder| Run::new(folder, outage, root)?.measure())?;
        }
    }
    Ok(())
}

/// The same once more where mounts are seen by nobody else and end with the process.
fn run_with_mounts() -> Result<()> {
    let myself = std::env::current_exe()?;
    let status = Command::new("unshare").arg("-m").arg(myself).arg("outage").env(MOUNTED, "yes").status();
    match status.context("unshare cannot be started")?.success() {
        true => Ok(()),
        false => bail!("the measurement failed"),
    }
}

struct Run<'a> {
    folder: &'a Path,
    outage: Outage,
    seconds: u64,
    rate: u64,
    keep: u64,
    endpoint: Endpoint,
    agent: Agent,
    /// The small disk's folder.
    disk: Option<PathBuf>,
    began: Instant,
    row_due: Duration,
    most_mb: f64,
}

/// What the writers have done so far.
#[derive(Default)]
struct Written {
    end: AtomicBool,
    healed: AtomicBool,
    log: AtomicU64,
    /// By the number of their file in the lines.
    fresh: [AtomicU64; 3],
}

impl Written {
    fn lines(&self) -> u64 {
        let fresh = self.fresh.iter().map(|lines| lines.load(Ordering::Acquire)).sum::<u64>();
        self.log.load(Ordering::Acquire) + fresh
    }
}

impl<'a> Run<'a> {
    fn new(folder: &'a Path, outage: Outage, with_disk: bool) -> Result<Run<'a>> {
        let disk = with_disk.then(|| small_disk(folder)).transpose()?;
        if disk.is_none() {
            println!("NOT ROOT: the disk of the checkpoints does not fill up in this run");
        }
        let endpoint = Endpoint::start(true)?;
        let agent = Agent::start(folder, &endpoint.url, "deliveryStream: bench\nmaxBufferAgeMillis: 200")?;
        Ok(Run {
            folder,
            outage,
            seconds: setting("SECONDS", 120)?,
            rate: setting("RATE_MB", 20)? * 1_000_000,
            keep: setting("KEEP", u64::MAX)?,
            endpoint,
            agent,
            disk,
            began: Instant::now(),
            row_due: Duration::ZERO,
            most_mb: 0.0,
        })
    }

    fn measure(mut self) -> Result<()> {
        println!(
            "\n{:?} for {} s, {} MB/s written, rotated each {} MB{}",
            self.outage,
            self.seconds,
            self.rate / 1_000_000,
            ROTATE_EACH / 1_000_000,
            if self.keep == u64::MAX { String::new() } else { format!(", {} files kept", self.keep) },
        );
        println!(
            "  {:>5} {:<10} {:>11} {:>12} {:>8} {:>6}",
            "s", "", "MB written", "MB delivered", "RSS MB", "files"
        );
        let written = Written::default();
        std::thread::scope(|scope| {
            let (logs, rate, keep) = (self.folder.join("logs"), self.rate, self.keep);
            let log = scope.spawn({
                let (logs, written) = (logs.clone(), &written);
                move || write_log(&logs, rate, keep, written)
            });
            let fresh = scope.spawn({
                let written = &written;
                move || write_fresh(&logs, written)
            });
            let phases = self.phases(&written);
            written.end.store(true, Ordering::Release);
            log.join().expect("the writer panicked")?;
            fresh.join().expect("the writer panicked")?;
            phases
        })?;
        self.finish(&written)
    }

    /// Before, while and after it lasts; ends when the backlog is gone while the log is still written.
    fn phases(&mut self, written: &Written) -> Result<()> {
        self.watch_until("healthy", written, |run, _| run.began.elapsed() > BEFORE)?;
        self.endpoint.fail(Some(self.outage))?;
        self.fill_disk()?;
        let until = BEFORE + Duration::from_secs(self.seconds);
        self.watch_until("outage", written, |run, _| run.began.elapsed() > until)?;
        let before = self.endpoint.fail(None)?;
        self.empty_disk()?;
        let healed = Instant::now();
        written.healed.store(true, Ordering::Release);
        let near = self.rate / LENGTH as u64;
        self.watch_until("catching up", written, |_, tally| tally.distinct + near > written.lines())?;
        let (seconds, after) = (healed.elapsed().as_secs_f64(), self.endpoint.tally()?);
        let megabytes = (after.payload_bytes - before.payload_bytes) as f64 / 1e6;
        println!(
            "  caught up after {seconds:.1} s with {megabytes:.0} MB: {:.0} MB/s while as much was written on",
            megabytes / seconds
        );
        let millis = |micros: u64| micros as f64 / 1e3;
        println!(
            "  fresh lines meanwhile: p50 {:.0} ms, p99 {:.0} ms, at most {:.0} ms ({} lines)",
            millis(after.micros_p50),
            millis(after.micros_p99),
            millis(after.micros_max),
            after.timed
        );
        Ok(())
    }

    fn watch_until(
        &mut self,
        phase: &str,
        written: &Written,
        done: impl Fn(&Run, &Tally) -> bool,
    ) -> Result<()> {
        let started = Instant::now();
        loop {
            self.agent.check_alive()?;
            let (tally, rss) = (self.endpoint.tally()?, self.agent.rss_mb()?);
            self.most_mb = self.most_mb.max(rss);
            if self.began.elapsed() >= self.row_due {
                self.row_due += ROW_EACH;
                println!(
                    "  {:>5.0} {phase:<10} {:>11.0} {:>12.0} {rss:>8.1} {:>6}",
                    self.began.elapsed().as_secs_f64(),
                    (written.lines() * LENGTH as u64) as f64 / 1e6,
                    tally.payload_bytes as f64 / 1e6,
                    fs::read_dir(self.folder.join("logs"))?.count(),
                );
            }
            if done(self, &tally) {
                return Ok(());
            }
            if phase == "catching up" && started.elapsed() > CAUGHT_UP_WITHIN {
                bail!("not caught up within {CAUGHT_UP_WITHIN:?}");
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Waits for the last lines, and says what was lost and repeated.
    fn finish(mut self, written: &Written) -> Result<()> {
        let (lines, deadline) = (written.lines(), Instant::now() + CAUGHT_UP_WITHIN);
        while self.endpoint.tally()?.distinct < lines && Instant::now() < deadline {
            self.agent.check_alive()?;
            std::thread::sleep(Duration::from_millis(50));
        }
        self.agent.stop()?;
        let tally = self.endpoint.tally()?;
        let lost = lines - tally.distinct;
        let log = fs::read_to_string(self.folder.join("agent.log"))?;
        println!(
            "  written {lines} lines, lost {lost}, repeated {}, invented {}",
            tally.repeated, tally.invented
        );
        println!(
            "  RSS at most {:.1} MB; the agent said {} times that checkpoints cannot be stored",
            self.most_mb,
            log.matches("checkpoints cannot be stored").count()
        );
        if lost + tally.invented > 0 {
            bail!("{lost} lines were lost, {} invented", tally.invented);
        }
        Ok(())
    }

    fn fill_disk(&self) -> Result<()> {
        let Some(disk) = &self.disk else { return Ok(()) };
        let mut file = File::create(disk.join("filler"))?;
        // Until there is no room left: that is what the error says.
        while file.write_all(&[1; 4096]).is_ok() {}
        Ok(())
    }

    fn empty_disk(&self) -> Result<()> {
        Ok(self.disk.as_ref().map_or(Ok(()), |disk| fs::remove_file(disk.join("filler")))?)
    }
}

fn small_disk(folder: &Path) -> Result<PathBuf> {
    let disk = folder.join("state");
    fs::create_dir(&disk)?;
    let size = format!("size={DISK_BYTES}");
    let status = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(&disk).status()?;
    match status.success() {
        true => Ok(disk),
        false => bail!("a small disk cannot be mounted"),
    }
}

/// `app.log`, renamed to `app-<n>.log` when it is large.
fn write_log(logs: &Path, rate: u64, keep: u64, written: &Written) -> Result<()> {
    let (log, started) = (logs.join("app.log"), Instant::now());
    let mut out = append_to(&log)?;
    let (mut size, mut generation, mut lines) = (0, 0_u64, Vec::new());
    while !written.end.load(Ordering::Acquire) {
        let due = (started.elapsed().as_secs_f64() * rate as f64) as u64 / LENGTH as u64;
        let number = written.log.load(Ordering::Acquire);
        lines.clear();
        for number in number..due {
            Line { file: 0, number, micros: now_micros() }.append_to(&mut lines);
        }
        out.write_all(&lines)?;
        written.log.store(due.max(number), Ordering::Release);
        size += lines.len() as u64;
        if size > ROTATE_EACH {
            generation += 1;
            fs::rename(&log, logs.join(format!("app-{generation}.log")))?;
            (out, size) = (append_to(&log)?, 0);
            if let Some(old) = generation.checked_sub(keep).filter(|old| *old > 0) {
                fs::remove_file(logs.join(format!("app-{old}.log")))?;
            }
        }
        std::thread::sleep(TICK);
    }
    Ok(())
}

/// `fresh.log`, a line at a time.
fn write_fresh(logs: &Path, written: &Written) -> Result<()> {
    let mut out = append_to(&logs.join("fresh.log"))?;
    while !written.end.load(Ordering::Acquire) {
        let file = if written.healed.load(Ordering::Acquire) { TIMED_FILE } else { WAITING_FILE };
        let mut line = Vec::new();
        let number = written.fresh[file].load(Ordering::Acquire);
        Line { file, number, micros: now_micros() }.append_to(&mut line);
        out.write_all(&line)?;
        written.fresh[file].store(number + 1, Ordering::Release);
        std::thread::sleep(FRESH_EACH);
    }
    Ok(())
}

fn append_to(path: &Path) -> Result<File> {
    Ok(OpenOptions::new().create(true).append(true).open(path)?)
}
