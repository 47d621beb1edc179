//! The agent's process: started, killed, stopped, and asked for its CPU time and memory.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// /proc counts CPU time in these; the kernel's interface fixes it for every architecture we run on.
const TICKS_PER_SECOND: f64 = 100.0;

pub struct Agent {
    child: Child,
    /// Heard when the agent says that it is ready, as it does to systemd.
    ready: Receiver<()>,
}

impl Agent {
    /// Writes the configuration into `folder` and starts the agent there; its log is `agent.log`.
    pub fn start(folder: &Path, endpoint: &str, flow: &str) -> Result<Agent> {
        let config = folder.join("config.yaml");
        fs::write(&config, yaml(folder, endpoint, flow))?;
        fs::set_permissions(&config, fs::Permissions::from_mode(0o600))?;
        let log = OpenOptions::new().create(true).append(true).open(folder.join("agent.log"))?;
        let socket = folder.join("notify.sock");
        if socket.exists() {
            fs::remove_file(&socket)?;
        }
        let ready = listen(UnixDatagram::bind(&socket)?);
        let binary = binary();
        let child = Command::new(&binary)
            .args(["run", "--config"])
            .arg(&config)
            .env("NOTIFY_SOCKET", &socket)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        Ok(Agent { child, ready })
    }

    /// Waits until it has looked at its folders.
    pub fn wait_until_ready(&mut self, at_most: Duration) -> Result<()> {
        self.ready.recv_timeout(at_most).context("the agent does not become ready")
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
        self.memory_mb("VmHWM:")
    }

    /// The memory that is resident now.
    pub fn rss_mb(&self) -> Result<f64> {
        self.memory_mb("VmRSS:")
    }

    fn memory_mb(&self, key: &str) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with(key)).context("no such memory")?;
        let kib: f64 = line.split_whitespace().nth(1).context("no such memory")?.parse()?;
        Ok(kib * 1024.0 / 1e6)
    }

    pub fn open_files(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
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

/// Takes all that the agent says: its socket would fill up, and it would wait.
fn listen(notify: UnixDatagram) -> Receiver<()> {
    let (tell, ready) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut message = [0; 4096];
        while let Ok(length) = notify.recv(&mut message) {
            if message[..length].split(|&byte| byte == b'\n').any(|line| line == b"READY=1") {
                // Not everybody waits for it.
                let _ = tell.send(());
            }
        }
    });
    ready
}

fn binary() -> PathBuf {
    std::env::var_os("KINESIS_AGENT").map_or(env!("CARGO_BIN_EXE_kinesis-agent").into(), PathBuf::from)
}

/// What the agent that runs in `folder` says of all its flows. It listens a moment after it is
/// ready.
pub fn bytes_delivered(folder: &Path) -> Result<u64> {
    let socket = folder.join("status.sock");
    if !socket.exists() {
        return Ok(0);
    }
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(b"GET /status HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").context("no body")?;
    let status: serde_json::Value = serde_json::from_str(body)?;
    let flows = status["flows"].as_array().context("no flows")?;
    Ok(flows.iter().filter_map(|flow| flow["bytesDelivered"].as_u64()).sum())
}

/// What the agent that runs in `folder` has counted.
pub fn metrics(folder: &Path) -> Result<String> {
    let mut stream = UnixStream::connect(folder.join("status.sock"))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The sum of all counters whose lines begin with `name`.
pub fn sum(metrics: &str, name: &str) -> f64 {
    let lines = metrics.lines().filter(|line| line.starts_with(name));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).fold(0.0, |sum, value| sum + value)
}

fn yaml(folder: &Path, endpoint: &str, flow: &str) -> String {
    format!(
        "kinesis:\n  endpoint: {endpoint}\n  region: us-east-1\n\
         firehose:\n  endpoint: {endpoint}\n  region: us-east-1\n\
         awsAccessKeyId: bench\nawsSecretAccessKey: bench\n\
         checkpointFile: {folder}/{state}checkpoints.db\n\
         status.socket: {folder}/status.sock\n\
         {memory}\
         flows:\n  - filePattern: {folder}/logs/*.log\n    initialPosition: START_OF_FILE\n    {flow}\n",
        folder = folder.display(),
        memory = std::env::var("MEMORY").map_or(String::new(), |memory| format!("memoryBudget: {memory}\n")),
        state = if folder.join("state").is_dir() { "state/" } else { "" },
        flow = flow.trim().replace('\n', "\n    "),
    )
}
