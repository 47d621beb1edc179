//! Very many files of which few or none are written: how long the agent takes to start, what it
//! holds in memory and open, and what it costs while nothing or little happens. Each line must
//! arrive once, also after a restart.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::agent::Agent;
use crate::endpoint::Endpoint;
use crate::line::{Line, now_micros};
use crate::{in_folder, setting};

/// In each file before the agent comes.
const LINES: u64 = 2;
const AT_MOST: Duration = Duration::from_secs(300);
/// What follows a start (checkpoints, a backup) belongs to the start.
const CALM_AFTER: Duration = Duration::from_secs(5);

struct Many {
    folder: PathBuf,
    endpoint: Endpoint,
    files: usize,
    active: usize,
    seconds: u64,
    /// Lines in each file.
    lines: Vec<u64>,
}

pub fn run() -> Result<()> {
    let (files, active) = (setting("FILES", 100_000)? as usize, setting("ACTIVE", 100)? as usize);
    let seconds = setting("SECONDS", 30)?;
    println!(
        "\n{files} files with {LINES} lines each; then {active} of them get a line a second for {seconds} s"
    );
    in_folder(|folder| {
        let endpoint = Endpoint::start(true)?;
        let (folder, lines) = (folder.to_owned(), vec![0; files]);
        let mut many = Many { folder, endpoint, files, active: active.min(files), seconds, lines };
        for file in 0..files {
            many.write(file, LINES)?;
        }
        many.live("first start")?;
        // A file that is not the last one to be looked at.
        many.write(files / 2, 1)?;
        many.live("restart")
    })
}

impl Many {
    fn live(&mut self, name: &str) -> Result<()> {
        println!("  {name}");
        let mut agent = Agent::start(&self.folder, &self.endpoint.url, "kinesisStream: bench")?;
        let started = Instant::now();
        agent.wait_until_ready(AT_MOST)?;
        println!("    ready after                {:>10.2} s", started.elapsed().as_secs_f64());
        self.wait_for_all(&mut agent)?;
        println!("    all that was there arrived {:>10.2} s", started.elapsed().as_secs_f64());
        std::thread::sleep(CALM_AFTER);
        println!("    CPU until then             {:>10.2} s", agent.cpu_seconds()?);
        println!("    RSS now                    {:>10.1} MB", agent.rss_mb()?);
        let cpu = self.over_the_time(&agent, |_| Ok(()))?;
        println!("    idle CPU                   {:>10.2} % of a core", cpu * 100.0);
        let active = self.active;
        let cpu = self.over_the_time(&agent, |many| {
            (0..active).try_for_each(|n| many.write(n * (many.files / active), 1))
        })?;
        println!("    CPU with {active:>6} active     {:>10.2} % of a core", cpu * 100.0);
        self.wait_for_all(&mut agent)?;
        println!("    RSS then                   {:>10.1} MB", agent.rss_mb()?);
        println!("    peak RSS                   {:>10.1} MB", agent.peak_rss_mb()?);
        println!("    open files                 {:>10}", agent.open_files()?);
        let stopping = Instant::now();
        agent.stop()?;
        println!("    stopped within             {:>10.2} s", stopping.elapsed().as_secs_f64());
        let tally = self.endpoint.tally()?;
        if tally.repeated + tally.invented > 0 {
            bail!("{} lines were repeated, {} invented", tally.repeated, tally.invented);
        }
        Ok(())
    }

    /// The share of a core that the agent takes while `each_second` is done.
    fn over_the_time(
        &mut self,
        agent: &Agent,
        mut each_second: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<f64> {
        let (began, before) = (Instant::now(), agent.cpu_seconds()?);
        for second in 1..=self.seconds {
            each_second(self)?;
            std::thread::sleep(Duration::from_secs(second).saturating_sub(began.elapsed()));
        }
        Ok((agent.cpu_seconds()? - before) / began.elapsed().as_secs_f64())
    }

    fn write(&mut self, file: usize, lines: u64) -> Result<()> {
        let path = log(&self.folder, file);
        let mut text = Vec::new();
        for _ in 0..lines {
            Line { file, number: self.lines[file], micros: now_micros() }.append_to(&mut text);
            self.lines[file] += 1;
        }
        Ok(OpenOptions::new().create(true).append(true).open(path)?.write_all(&text)?)
    }

    fn wait_for_all(&mut self, agent: &mut Agent) -> Result<()> {
        let (written, began) = (self.lines.iter().sum::<u64>(), Instant::now());
        loop {
            agent.check_alive()?;
            let arrived = self.endpoint.tally()?.distinct;
            if arrived >= written {
                return Ok(());
            }
            if began.elapsed() > AT_MOST {
                bail!("{arrived} of {written} lines arrived");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn log(folder: &Path, file: usize) -> PathBuf {
    folder.join(format!("logs/app-{file:06}-web.log"))
}
