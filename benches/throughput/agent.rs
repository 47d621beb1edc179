//! The agent's process: started, killed, stopped, and asked for its CPU time and memory.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// /proc counts CPU time in these; the kernel's interface fixes it for every architecture we run on.
const TICKS_PER_SECOND: f64 = 100.0;

pub struct Agent {
    child: Child,
}

impl Agent {
    /// Writes the configuration into `folder` and starts the agent there; its log is `agent.log`.
    pub fn start(folder: &Path, endpoint: &str, flow: &str) -> Result<Agent> {
        let config = folder.join("config.yaml");
        fs::write(&config, yaml(folder, endpoint, flow))?;
        fs::set_permissions(&config, fs::Permissions::from_mode(0o600))?;
        let log = OpenOptions::new().create(true).append(true).open(folder.join("agent.log"))?;
        let binary = binary();
        let child = Command::new(&binary)
            .args(["run", "--config"])
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        Ok(Agent { child })
    }

    pub fn check_alive(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the agent ended by itself: {status}");
        }
        Ok(())
    }

    /// User and system time since its start.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name in parentheses may hold spaces; utime and stime are fields 14 and 15.
        let after_name = stat.rsplit_once(')').context("no name in /proc/stat")?.1;
        let mut fields = after_name.split_whitespace().skip(11);
        let mut ticks = || fields.next().and_then(|field| field.parse::<f64>().ok());
        let user = ticks().context("no utime in /proc/stat")?;
        let system = ticks().context("no stime in /proc/stat")?;
        Ok((user + system) / TICKS_PER_SECOND)
    }

    /// The most memory that was resident at a time.
    pub fn peak_rss_mb(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).context("no VmHWM")?;
        let kib: f64 = line.split_whitespace().nth(1).context("no VmHWM")?.parse()?;
        Ok(kib * 1024.0 / 1e6)
    }

    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    pub fn stop(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("the agent did not stop cleanly: {status}");
        }
        Ok(())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // After kill() and stop() it is gone already; this is for a bench that fails half-way.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn binary() -> PathBuf {
    std::env::var_os("KINESIS_AGENT").map_or(env!("CARGO_BIN_EXE_kinesis-agent").into(), PathBuf::from)
}

fn yaml(folder: &Path, endpoint: &str, flow: &str) -> String {
    format!(
        "kinesis:\n  endpoint: {endpoint}\n  region: us-east-1\n\
         firehose:\n  endpoint: {endpoint}\n  region: us-east-1\n\
         awsAccessKeyId: bench\nawsSecretAccessKey: bench\n\
         checkpointFile: {folder}/checkpoints.db\n\
         status.socket: {folder}/status.sock\n\
         flows:\n  - filePattern: {folder}/logs/*.log\n    initialPosition: START_OF_FILE\n    {flow}\n",
        folder = folder.display(),
        flow = flow.trim().replace('\n', "\n    "),
    )
}
