//! `run`: the agent, from its configuration to its last checkpoint, and the signals between.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::agent::Agent;
use crate::command_line::{LogFormat, Run};
use crate::config::{self, Settings};
use crate::observe::{Board, logging};

/// EX_CONFIG of sysexits(3): starting again would not help.
pub(super) const BAD_CONFIGURATION: u8 = 78;

pub fn run(arguments: &Run) -> ExitCode {
    let settings = match config::load(&arguments.config.path) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    let board = Arc::new(Board::new(
        arguments.config.path.clone(),
        settings.checkpoint_file.clone(),
        settings.memory_budget as u64,
    ));
    end_on_panic();
    let ended = logging::init(arguments.log_level, log_format(arguments.log_format))
        .map_err(anyhow::Error::from)
        .and_then(|()| tokio::runtime::Runtime::new().context("the async runtime cannot be started"))
        .and_then(|runtime| {
            let ended = runtime.block_on(serve(settings, board));
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

pub(super) fn log_format(format: LogFormat) -> logging::LogFormat {
    match format {
        LogFormat::Text => logging::LogFormat::Text,
        LogFormat::Json => logging::LogFormat::Json,
    }
}

/// A stage that died alone would leave its flow unread in silence. The service manager starts the
/// agent again, and what was not settled is sent then.
pub(super) fn end_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}

async fn serve(settings: Settings, board: Arc<Board>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let agent = tokio::select! {
        agent = Agent::start(settings, board, Arc::default()) => agent.map_err(|error| anyhow::anyhow!("{error}"))?,
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
