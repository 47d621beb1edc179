//! What may be typed on the command line, as data: the program parses it, and the man pages and
//! the shells' completions are generated from it. What a command does stands in `commands`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Where the packages put the configuration.
pub const DEFAULT_CONFIG_FILE: &str = "/etc/kinesis-agent/config.yaml";

/// Tails log files and delivers every line to Kinesis Data Streams or Firehose.
#[derive(Debug, Parser)]
#[command(name = "kinesis-agent", version, args_conflicts_with_subcommands = true)]
pub struct CommandLine {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub run: Run,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the agent (the default).
    Run(Run),
    /// Checks the configuration and prints every mistake in it.
    Check(Check),
    /// Prints the JSON Schema of the configuration, for editors.
    Schema,
    /// Prints the completions of a shell, to be sourced by it.
    Completions(Completions),
    /// Asks the running agent how it is doing. Exit code: 0 good, 1 warning, 2 critical, 3 unknown.
    Status(StatusArguments),
    /// Sends the records of a dead-letter file again, also while the agent runs. Exit code: 0 all
    /// were taken, 1 it could not, 2 the configuration is wrong, 3 some were refused again and kept.
    Redrive(Redrive),
    /// Lets the running agent read its configuration again, and says how that went.
    Reload(Reload),
}

#[derive(Args, Debug)]
pub struct Run {
    #[command(flatten)]
    pub config: ConfigFile,
    /// Prints the records that would be sent, and touches neither AWS nor the stored positions.
    ///
    /// It starts where the agent would, and follows the files until Ctrl-C. `--log-level debug`
    /// shows on stderr which request and entry each record is in.
    #[arg(long)]
    pub dry_run: bool,
    /// Ends a dry run when all that is in the files now was printed.
    #[arg(long, requires = "dry_run")]
    pub until_end: bool,
    /// How log lines on stderr look.
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// The least level that is logged: error, warn, info, debug, trace. RUST_LOG wins.
    #[arg(long, default_value = "info")]
    pub log_level: tracing::Level,
}

#[derive(Args, Debug)]
pub struct Check {
    #[command(flatten)]
    pub config: ConfigFile,
    /// Also asks AWS whether each destination would take records, and tries to read the files.
    ///
    /// Nothing is sent or stored. It ends with 2 if anything failed; warnings alone are no failure.
    #[arg(long)]
    pub online: bool,
}

#[derive(Args, Debug)]
pub struct StatusArguments {
    /// Where `status.socket` is looked up, if it can be read.
    #[command(flatten)]
    pub config: ConfigFile,
    /// The agent's Unix socket, whatever the configuration says.
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Only this flow and its files.
    #[arg(long, value_name = "NAME")]
    pub flow: Option<String>,
    /// Only files whose path holds this, or matches it if it is a glob.
    #[arg(long, value_name = "PATTERN")]
    pub file: Option<String>,
    /// So many files are shown, those with the largest lag.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub limit: u16,
    /// What the agent says, as JSON.
    #[arg(long, conflicts_with = "watch")]
    pub json: bool,
    /// Shows it again every 2 s, until it is interrupted.
    #[arg(long)]
    pub watch: bool,
}

#[derive(Args, Debug)]
pub struct Reload {
    /// Where `status.socket` is looked up, if it can be read.
    #[command(flatten)]
    pub config: ConfigFile,
    /// The agent's Unix socket, whatever the configuration says.
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// The agent's process; by default the one that answers on the socket.
    #[arg(long, value_name = "PID", env = "MAINPID", hide_env_values = true)]
    pub pid: Option<i32>,
}

#[derive(Args, Debug)]
pub struct Redrive {
    /// Says where the records go, and as whom.
    #[command(flatten)]
    pub config: ConfigFile,
    /// The dead-letter file, or one that it was rotated to. It is removed when all of it was sent;
    /// what is refused again is kept in FILE.refused.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Sends all of them to where this flow sends, whatever stands in the file.
    #[arg(long, value_name = "NAME")]
    pub flow: Option<String>,
}

#[derive(Args, Clone, Debug)]
pub struct ConfigFile {
    /// The configuration: YAML, or an agent.json.
    #[arg(id = "config", long = "config", short, value_name = "FILE", default_value = DEFAULT_CONFIG_FILE)]
    pub path: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Args, Debug)]
pub struct Completions {
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}
