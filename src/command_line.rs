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
    /// Prints the completions of a shell, to be sourced by it.
    Completions(Completions),
}

#[derive(Args, Debug)]
pub struct Run {
    #[command(flatten)]
    pub config: ConfigFile,
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
}

#[derive(Args, Debug)]
pub struct Completions {
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
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
