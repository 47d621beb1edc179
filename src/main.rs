//! The command line; nothing else.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use kinesis_agent::agent::Agent;
use kinesis_agent::config::{self, Settings};
use kinesis_agent::observe::logging;
use tokio::signal::unix::{SignalKind, signal};

/// EX_CONFIG of sysexits(3): starting again would not help.
const BAD_CONFIGURATION: u8 = 78;
/// `check` found something.
const CHECK_FAILED: u8 = 2;

/// Tails log files and delivers every line to Kinesis Data Streams or Firehose.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the agent (the default).
    Run(Run),
    /// Checks the configuration and prints every mistake in it.
    Check(ConfigFile),
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    config: ConfigFile,
    /// How log lines on stderr look.
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,
    /// The least level that is logged: error, warn, info, debug, trace. RUST_LOG wins.
    #[arg(long, default_value = "info")]
    log_level: tracing::Level,
}

#[derive(Args)]
struct ConfigFile {
    /// The configuration: YAML, or an agent.json.
    #[arg(long, short, default_value = "/etc/kinesis-agent/config.yaml")]
    config: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

fn main() -> ExitCode {
    let line = CommandLine::parse();
    match line.command.unwrap_or(Command::Run(line.run)) {
        Command::Run(run) => start(&run),
        Command::Check(file) => check(&file),
    }
}

fn check(file: &ConfigFile) -> ExitCode {
    match config::load(&file.config) {
        Ok(settings) => {
            for warning in &settings.warnings {
                println!("warning: {warning}");
            }
            println!("{}: good, {}", file.config.display(), flows(&settings));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(CHECK_FAILED)
        }
    }
}

fn flows(settings: &Settings) -> String {
    match settings.flows.len() {
        1 => "1 flow".to_owned(),
        flows => format!("{flows} flows"),
    }
}

fn start(run: &Run) -> ExitCode {
    let settings = match config::load(&run.config.config) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    let format = match run.log_format {
        LogFormat::Text => logging::LogFormat::Text,
        LogFormat::Json => logging::LogFormat::Json,
    };
    end_on_panic();
    let ended = logging::init(run.log_level, format)
        .map_err(anyhow::Error::from)
        .and_then(|()| tokio::runtime::Runtime::new().context("the async runtime cannot be started"))
        .and_then(|runtime| {
            let ended = runtime.block_on(serve(settings));
            // A thread that hangs on a dead disk must not keep the process.
            runtime.shutdown_background();
            ended
        });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kinesis-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A stage that died alone would leave its flow unread in silence. The service manager starts the
/// agent again, and what was not settled is sent then.
fn end_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}

async fn serve(settings: Settings) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let agent = tokio::select! {
        agent = Agent::start(settings) => agent.map_err(|error| anyhow::anyhow!("{error}"))?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => tracing::warn!("SIGHUP: this version does not reload; restart the agent to apply a new configuration"),
        }
    }
    tokio::select! {
        _ = agent.stop() => Ok(()),
        _ = terminate.recv() => anyhow::bail!("a second signal: stopped at once; what was not settled is sent again after the next start"),
        _ = interrupt.recv() => anyhow::bail!("a second signal: stopped at once; what was not settled is sent again after the next start"),
    }
}
