//! The built program: started with a configuration, paused, asked to stop, or killed.
//!
//! What it says is appended to `agent.log` in the world's folder; the end of it is shown when
//! a test fails. An agent that the script has not ended is killed when it is dropped.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{Config, World, eventually};

/// How many lines of the agent's log are shown when a test fails.
const SHOWN_LINES: usize = 40;

const STARTS_WITHIN: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub struct AgentProcess {
    child: Child,
    log: PathBuf,
}

impl AgentProcess {
    /// Writes the configuration and starts `kinesis-agent run` with it.
    pub fn start(world: &World, config: &Config) -> Self {
        let config_file = world.root().join("config.yaml");
        fs::write(&config_file, config.to_yaml()).unwrap();
        Self::start_with_file(world, &config_file)
    }

    pub fn start_with_file(world: &World, config_file: &Path) -> Self {
        Self::start_in(world, config_file, &[])
    }

    /// Started by a shell whose command `before` ends with what is to run the program, such as
    /// `ulimit -n 300; exec`.
    pub fn start_by_shell(world: &World, config: &Config, before: &str) -> Self {
        let agent = command(world).get_program().to_owned();
        let starter = world.root().join("starter");
        let script = format!("#!/bin/sh\n{before} '{}' \"$@\"\n", agent.display());
        fs::write(&starter, script).unwrap();
        fs::set_permissions(&starter, fs::Permissions::from_mode(0o755)).unwrap();
        let config_file = world.root().join("config.yaml");
        fs::write(&config_file, config.to_yaml()).unwrap();
        let mut started = Command::new(&starter);
        started.env_clear().current_dir(world.root());
        Self::start_command(world, started, &config_file, &[])
    }

    /// With variables in its environment, as a host that gives it credentials has them.
    pub fn start_with_env(world: &World, config: &Config, env: &[(&str, &str)]) -> Self {
        let config_file = world.root().join("config.yaml");
        fs::write(&config_file, config.to_yaml()).unwrap();
        Self::start_in(world, &config_file, env)
    }

    fn start_in(world: &World, config_file: &Path, env: &[(&str, &str)]) -> Self {
        Self::start_command(world, command(world), config_file, env)
    }

    fn start_command(world: &World, mut command: Command, config_file: &Path, env: &[(&str, &str)]) -> Self {
        fs::create_dir_all(world.root().join("state")).unwrap();
        let log = log_file(world);
        let stderr = File::options().append(true).create(true).open(&log).unwrap();
        let level = std::env::var("IT_LOG_LEVEL").unwrap_or_else(|_| "info".to_owned());
        let child = command
            .envs(env.iter().copied())
            .args(["run", "--log-format", "text", "--log-level", &level, "--config"])
            .arg(config_file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn();
        AgentProcess { child: child.expect("the built agent can be started"), log }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the agent is our child");
    }

    /// As a power cut would: nothing can be finished.
    pub fn kill9(mut self) {
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
    }

    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    #[track_caller]
    pub fn terminate(&self) {
        self.wait_until_it_catches(Signal::TERM);
        self.signal(Signal::TERM);
    }

    #[track_caller]
    pub fn interrupt(&self) {
        self.wait_until_it_catches(Signal::INT);
        self.signal(Signal::INT);
    }

    /// Asks it to read its configuration again.
    #[track_caller]
    pub fn hang_up(&self) {
        self.wait_until_it_catches(Signal::HUP);
        self.signal(Signal::HUP);
    }

    /// In the first moment of its life a process is ended by any signal.
    #[track_caller]
    fn wait_until_it_catches(&self, signal: Signal) {
        eventually("the agent listens to signals", STARTS_WITHIN, || {
            let mask = self.status_field("SigCgt:");
            let caught = u64::from_str_radix(&mask, 16).expect("a mask in hexadecimal digits");
            if caught & (1 << (signal.as_raw() - 1)) != 0 { Ok(()) } else { Err(format!("mask {mask}")) }
        });
    }

    /// A field of `/proc/<pid>/status`, which only a process that still runs has in full.
    #[track_caller]
    fn status_field(&self, name: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let field = status.lines().find_map(|line| line.strip_prefix(name));
        let ended = || panic!("the agent has ended; its log is {}", self.log.display());
        field.unwrap_or_else(ended).trim().to_owned()
    }

    /// Waits until the agent has ended by itself.
    #[track_caller]
    pub fn wait_exit(&mut self, deadline: Duration) -> ExitStatus {
        let log = self.log.clone();
        eventually("the agent has ended", deadline, || {
            let ended = self.child.try_wait().map_err(|error| error.to_string())?;
            ended.ok_or_else(|| format!("it still runs; its log is {}", log.display()))
        })
    }

    /// Whether the agent still runs.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("the agent is our child").is_none()
    }

    /// Resident memory.
    pub fn rss_bytes(&self) -> u64 {
        let field = self.status_field("VmRSS:");
        let kib = field.strip_suffix(" kB").expect("VmRSS is given in kB");
        kib.parse::<u64>().expect("VmRSS is a number") * 1024
    }

    /// User and system time so far. Linux counts it in hundredths of a second.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields = stat.rsplit_once(')').expect("the name stands in parentheses").1;
        let ticks = |n: usize| fields.split_whitespace().nth(n).unwrap().parse::<f64>().unwrap();
        (ticks(11) + ticks(12)) / 100.0
    }

    /// Descriptors that are open now.
    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    pub fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

/// Where the agents of this world say what they do.
pub fn log_file(world: &World) -> PathBuf {
    world.root().join("agent.log")
}

/// `kinesis-agent check` on a configuration text.
pub fn check(world: &World, config: &str) -> Output {
    let config_file = world.root().join("config.yaml");
    fs::write(&config_file, config).unwrap();
    command(world).arg("check").arg("--config").arg(config_file).output().unwrap()
}

/// `kinesis-agent` with other arguments and variables, until it has ended.
pub fn output(world: &World, config: &Config, arguments: &[&str], env: &[(&str, &str)]) -> Output {
    let config_file = world.root().join("config.yaml");
    fs::write(&config_file, config.to_yaml()).unwrap();
    let mut command = command(world);
    command.envs(env.iter().copied()).args(arguments).arg("--config").arg(config_file).output().unwrap()
}

/// The built program (or the one that `IT_AGENT` names, such as a release build), away from the
/// credentials and settings of whoever runs the tests.
pub fn command(world: &World) -> Command {
    let built = || env!("CARGO_BIN_EXE_kinesis-agent").into();
    let mut command = Command::new(std::env::var_os("IT_AGENT").unwrap_or_else(built));
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", world.root())
        .env("RUST_BACKTRACE", "1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .current_dir(world.root());
    command
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.signal(Signal::KILL);
            self.child.wait().expect("a killed child can be waited for");
        }
        if std::thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_else(|error| error.to_string());
            let lines: Vec<_> = log.lines().collect();
            let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
            eprintln!("the end of {}:\n{}", self.log.display(), shown.join("\n"));
        }
    }
}
