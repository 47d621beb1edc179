//! `run`: the agent, from its configuration to its last checkpoint, and the signals between.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::agent::Agent;
use crate::command_line::{LogFormat, Run};
use crate::config::{self, Settings};
use crate::observe::server::{Metrics, Server};
use crate::observe::{Board, logging, metrics, service};

/// EX_CONFIG of sysexits(3): starting again would not help.
const BAD_CONFIGURATION: u8 = 78;

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
    let format = match arguments.log_format {
        LogFormat::Text => logging::LogFormat::Text,
        LogFormat::Json => logging::LogFormat::Json,
    };
    end_on_panic();
    let ended = logging::init(arguments.log_level, format)
        .map_err(anyhow::Error::from)
        .and_then(|()| runtime().context("the async runtime cannot be started"))
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

/// On a machine with many cores a thread for each would only take memory: the files are read by
/// threads of their own, and a few are enough to sign and send what those read.
const MOST_WORKERS: usize = 4;

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread().worker_threads(cores.min(MOST_WORKERS)).enable_all().build()
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

async fn serve(settings: Settings, board: Arc<Board>) -> anyhow::Result<()> {
    let status = settings.status.clone();
    let mut signals = Signals::listen()?;
    tokio::spawn(service::keep_telling(board.clone()));
    let mut agent = tokio::select! {
        agent = Agent::start(settings, board.clone()) => agent.map_err(|error| anyhow::anyhow!("{error}"))?,
        () = signals.ending() => return Ok(()),
    };
    let seen = board.clone();
    let metrics = move || Metrics { content_type: metrics::CONTENT_TYPE, text: metrics::render(&seen) };
    let _server = Server::start(status, board.clone(), agent.questions.clone(), Box::new(metrics));
    tokio::select! {
        () = service::become_ready(&board) => {}
        () = signals.ending() => return end(agent, signals).await,
    }
    loop {
        match signals.next().await {
            Asked::ToEnd => break,
            Asked::ToReload => {}
        }
        tokio::select! {
            () = reload(&mut agent, &board) => {}
            () = signals.ending() => break,
        }
    }
    end(agent, signals).await
}

async fn end(agent: Agent, mut signals: Signals) -> anyhow::Result<()> {
    service::stopping();
    tokio::select! {
        _ = agent.stop() => Ok(()),
        () = signals.ending() => anyhow::bail!("a second signal: stopped at once; what was not settled is sent again after the next start"),
    }
}

/// Reads the configuration again. If it cannot be used nothing is changed.
async fn reload(agent: &mut Agent, board: &Board) {
    service::reloading();
    tracing::info!(file = %board.config_file.display(), "SIGHUP: reading the configuration again");
    let reloaded = match config::load(&board.config_file) {
        Ok(settings) => agent.reload(settings).await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match reloaded {
        Ok(()) => board.reloaded(),
        Err(error) => {
            tracing::error!(
                file = %board.config_file.display(), error,
                "the new configuration cannot be used; the agent goes on with the one before; mend the file \
                 and reload again"
            );
            board.reload_failed(error);
        }
    }
    service::become_ready(board).await;
}

enum Asked {
    ToEnd,
    ToReload,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::ToEnd,
            _ = self.interrupt.recv() => Asked::ToEnd,
            _ = self.hangup.recv() => Asked::ToReload,
        }
    }

    /// Resolves when the agent is asked to end.
    async fn ending(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
