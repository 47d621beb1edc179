//! What the service manager is told (sd_notify(3)): that the agent is ready, how it is doing, and
//! that it is alive. Without a service manager that listens, nothing is told to nobody.
//!
//! The watchdog is fed only while every stage makes progress or rightly waits. A disk or file
//! server that does not answer is nothing that a restart could mend, so it is fed then, too.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::board::Board;
use super::human::{bytes, count};
use super::problems;
use super::repeated::Repeated;

/// How often the line in `systemctl status` is written anew.
const STATUS_EVERY: Duration = Duration::from_secs(5);
/// How often it is looked whether every flow has looked at its files once.
const READY_LOOK: Duration = Duration::from_millis(20);
/// A folder that does not answer must not keep the others from being ready.
const READY_AT_LAST: Duration = Duration::from_secs(30);

/// So much is kept for a service manager that does not listen now.
const UNHEARD: usize = 100;

/// Waits until every flow has looked at its files, and says that the agent is ready.
pub async fn become_ready(board: &Board) {
    let began = Instant::now();
    loop {
        let flows = board.flows();
        let looking: Vec<&str> = flows
            .iter()
            .filter(|flow| flow.counters.scans.get() == 0)
            .map(|flow| flow.name.as_str())
            .collect();
        if looking.is_empty() {
            break;
        }
        if began.elapsed() > READY_AT_LAST {
            tracing::warn!(
                flows = looking.join(", "),
                "flows have not been able to look at their folders since the start; the agent says that it \
                 is ready without them; check the mounts that they read from"
            );
            break;
        }
        tokio::time::sleep(READY_LOOK).await;
    }
    tell(&[NotifyState::Ready, NotifyState::Status(&sentence(board, 0.0))]);
}

/// The configuration is read again; [`become_ready`] says when that is done.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "the clock for the service manager cannot be read"),
    }
}

pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("Stopping: what was read is delivered first")]);
}

/// Feeds the watchdog and tells how it is going, for ever.
pub async fn keep_telling(board: Arc<Board>) {
    let watchdog = sd_notify::watchdog_enabled();
    let every = watchdog.map_or(STATUS_EVERY, |limit| (limit / 4).min(STATUS_EVERY));
    let limit = watchdog.map_or(Duration::MAX, |limit| limit / 2);
    let mut tick = interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut complaints = Repeated::default();
    let began = Instant::now();
    let mut told = (Instant::now(), delivered(&board));
    loop {
        tick.tick().await;
        if is_alive(&board, limit, &mut complaints, began.elapsed()) && watchdog.is_some() {
            tell(&[NotifyState::Watchdog]);
        }
        let (at, before) = told;
        if at.elapsed() >= STATUS_EVERY {
            let now = delivered(&board);
            let rate = now.saturating_sub(before) as f64 / at.elapsed().as_secs_f64();
            told = (Instant::now(), now);
            tell(&[NotifyState::Status(&sentence(&board, rate))]);
        }
    }
}

fn is_alive(board: &Board, limit: Duration, complaints: &mut Repeated, now: Duration) -> bool {
    let mut alive = true;
    for stuck in board.stuck(limit) {
        let cause = format!("{:?} {}", stuck.flow, stuck.stage);
        if complaints.ask(&cause, now).is_some() {
            let (flow, stage, seconds) = (stuck.flow.as_deref(), stuck.stage, stuck.time.as_secs());
            if stuck.in_kernel {
                tracing::error!(
                    flow,
                    stage,
                    seconds,
                    "a stage waits for a disk or a file server that does not answer; the other flows go on; \
                     check the mounts that the flow reads from"
                );
            } else {
                tracing::error!(
                    flow,
                    stage,
                    seconds,
                    "a stage makes no progress; the watchdog is no longer fed, so that the service manager \
                     starts the agent again; nothing is lost by it; please report this with the log"
                );
            }
        }
        alive &= stuck.in_kernel;
    }
    alive
}

fn delivered(board: &Board) -> u64 {
    board.flows().iter().map(|flow| flow.counters.bytes_delivered.get()).sum()
}

/// The one line that `systemctl status` shows. `rate` in bytes a second.
fn sentence(board: &Board, rate: f64) -> String {
    let flows = board.flows();
    let lag: i64 =
        flows.iter().map(|flow| flow.counters.lag_bytes.load(std::sync::atomic::Ordering::Relaxed)).sum();
    let behind = match u64::try_from(lag).unwrap_or(0) {
        0 => "nothing is left to send".to_owned(),
        lag => format!("{} are left to send", bytes(lag)),
    };
    let going = format!("{}, {}/s, {behind}", count(flows.len() as u64, "flow", "flows"), bytes(rate as u64));
    match problems::all(board, None, Duration::ZERO).first() {
        None => going,
        Some(problem) if flows.is_empty() => problem.text.clone(),
        Some(problem) => format!("{going}. {}", problem.text),
    }
}

/// Nobody may listen, and a manager that cannot be reached is no reason to stop delivering. One
/// that does not read what it is told blocks whoever tells it: that is a thread of its own.
fn tell(states: &[NotifyState<'_>]) {
    static TELLER: OnceLock<SyncSender<String>> = OnceLock::new();
    let text = states.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    if TELLER.get_or_init(start_teller).try_send(text).is_err() {
        tracing::debug!("the service manager does not listen");
    }
}

fn start_teller() -> SyncSender<String> {
    let (teller, told) = sync_channel::<String>(UNHEARD);
    std::thread::spawn(move || {
        for text in told {
            if let Err(error) = sd_notify::notify(&[NotifyState::Custom(&text)]) {
                tracing::debug!(%error, "the service manager cannot be told anything");
            }
        }
    });
    teller
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_says_what_to_do_where_nothing_is_configured() {
        let board = Board::new("/etc/x.yaml".into(), "/state".into(), 0);
        let text = sentence(&board, 0.0);
        assert!(text.starts_with("No flow is configured") && text.contains("/etc/x.yaml"), "{text}");
    }

    #[test]
    fn a_stage_that_is_stuck_ends_the_feeding_and_one_that_rests_does_not() {
        let board = Board::new("/etc/x.yaml".into(), "/state".into(), 0);
        let mut complaints = Repeated::default();
        assert!(is_alive(&board, Duration::ZERO, &mut complaints, Duration::ZERO));
        board.settling.works();
        let until = Instant::now() + Duration::from_millis(5);
        while Instant::now() < until {
            std::thread::yield_now();
        }
        assert!(!is_alive(&board, Duration::from_millis(1), &mut complaints, Duration::ZERO));
        assert!(is_alive(&board, Duration::from_secs(60), &mut complaints, Duration::ZERO));
    }
}
