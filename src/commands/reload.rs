//! `reload`: asks the running agent to read its configuration again, waits until it has, and says
//! how that went. The service's ExecReload runs it, so that `systemctl reload` fails, with the
//! reason, where the new configuration cannot be used.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::status::{client, socket};
use crate::command_line::Reload;
use crate::observe::status::{Configuration, Status};

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Flows that drain may take longer; the configuration is accepted by then.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn reload(arguments: &Reload) -> ExitCode {
    match try_reload(arguments) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("kinesis-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn try_reload(arguments: &Reload) -> anyhow::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("the async runtime cannot be started")?;
    let (socket, doubt) = socket(&arguments.config, arguments.socket.as_deref());
    let ask = || runtime.block_on(ask(&socket));
    let before = match (ask(), arguments.pid) {
        (Ok(status), _) => status,
        (Err(error), None) => bail!("{error:#}{doubt}"),
        (Err(error), Some(pid)) => {
            hang_up(pid)?;
            return Ok(format!(
                "the agent was asked to reload; how that went is in its log, since {error:#}"
            ));
        }
    };
    hang_up(arguments.pid.unwrap_or(before.pid.cast_signed()))?;
    let until = Instant::now() + PATIENCE;
    let seen = |configuration: &Configuration| (configuration.reloads, configuration.failed_reloads);
    let started = seen(&before.configuration);
    loop {
        let now = ask()?.configuration;
        if seen(&now) != started {
            return match now.last_reload_error {
                None => Ok(format!("{} is used now", now.file)),
                Some(error) => bail!("the agent goes on with the configuration before: {}", error.text),
            };
        }
        if Instant::now() > until {
            return Ok(
                "the agent still waits for flows to drain; `kinesis-agent status` shows which".to_owned()
            );
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

async fn ask(socket: &Path) -> anyhow::Result<Status> {
    Ok(client::ask(socket, "limit=0").await?.status)
}

fn hang_up(pid: i32) -> anyhow::Result<()> {
    let process = Pid::from_raw(pid).with_context(|| format!("{pid} is no process"))?;
    kill_process(process, Signal::HUP).with_context(|| format!("process {pid} cannot be asked to reload"))
}
