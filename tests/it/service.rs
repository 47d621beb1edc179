//! What the agent tells a service manager and the journal, with a socket and a file in their
//! places.

use std::collections::VecDeque;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use crate::support::scene::SOON;
use crate::support::{AgentProcess, Config, Destination, Endpoint, Flow, World, eventually, let_pass};

/// Stands where systemd listens.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    /// Assignments that were told and not asked for yet.
    told: VecDeque<String>,
}

impl Manager {
    fn listen(world: &World) -> Self {
        let path = world.root().join("notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Manager { socket, path, told: VecDeque::new() }
    }

    fn hear(&mut self) {
        let mut message = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut message) {
            let text = String::from_utf8(message[..length].to_vec()).unwrap();
            self.told.extend(text.lines().map(str::to_owned));
        }
    }

    /// Waits for an assignment that begins so, and forgets what was told before it.
    #[track_caller]
    fn wait_for(&mut self, beginning: &str) -> String {
        eventually(beginning, SOON, || {
            self.hear();
            while let Some(told) = self.told.pop_front() {
                if told.starts_with(beginning) {
                    return Ok(told);
                }
            }
            Err("not yet".into())
        })
    }
}

fn start(world: &World, endpoint: &Endpoint, env: &[(&str, &str)]) -> AgentProcess {
    let flow = Flow::new(world, Destination::Kinesis, "app.log");
    AgentProcess::start_with_env(world, &Config::new(world, endpoint).flow(flow), env)
}

#[test]
fn the_service_manager_hears_of_each_step() {
    let (world, endpoint) = (World::new(), Endpoint::start());
    let mut manager = Manager::listen(&world);
    let socket = manager.path.display().to_string();
    let mut agent = start(&world, &endpoint, &[("NOTIFY_SOCKET", &socket), ("WATCHDOG_USEC", "400000")]);
    manager.wait_for("READY=1");
    manager.wait_for("STATUS=1 flow, 0 B/s, nothing is left to send");
    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1");
    }
    agent.hang_up();
    manager.wait_for("RELOADING=1");
    manager.wait_for("MONOTONIC_USEC=");
    manager.wait_for("READY=1");
    agent.terminate();
    manager.wait_for("STOPPING=1");
    assert!(agent.wait_exit(SOON).success());
}

#[test]
fn a_service_manager_that_does_not_listen_holds_nothing_up() {
    let (world, endpoint) = (World::new(), Endpoint::start());
    let manager = Manager::listen(&world);
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(b"FILLED=1", &manager.path).is_ok() {}
    let socket = manager.path.display().to_string();
    let mut agent = start(&world, &endpoint, &[("NOTIFY_SOCKET", &socket), ("WATCHDOG_USEC", "400000")]);
    eventually("the agent runs", SOON, || {
        if agent.log_text().contains("the agent runs") { Ok(()) } else { Err("not yet".into()) }
    });
    agent.terminate();
    assert!(agent.wait_exit(SOON).success());
}

#[test]
fn an_agent_that_stands_still_feeds_no_watchdog() {
    let (world, endpoint) = (World::new(), Endpoint::start());
    let mut manager = Manager::listen(&world);
    let socket = manager.path.display().to_string();
    let agent = start(&world, &endpoint, &[("NOTIFY_SOCKET", &socket), ("WATCHDOG_USEC", "400000")]);
    manager.wait_for("WATCHDOG=1");
    agent.pause();
    // What was sent before the pause.
    let_pass(Duration::from_millis(100));
    manager.hear();
    manager.told.clear();
    let_pass(Duration::from_secs(1));
    manager.hear();
    assert!(manager.told.is_empty(), "{:?}", manager.told);
    agent.resume();
    manager.wait_for("WATCHDOG=1");
}

/// Of an agent that started and ended.
fn whole_log(agent: &mut AgentProcess) -> String {
    eventually("the agent runs", SOON, || {
        if agent.log_text().contains("the agent runs") { Ok(()) } else { Err("not yet".into()) }
    });
    agent.terminate();
    agent.wait_exit(SOON);
    agent.log_text()
}

#[test]
fn lines_for_the_journal_carry_their_priority_and_no_time() {
    let (world, endpoint) = (World::new(), Endpoint::start());
    let log = world.root().join("agent.log");
    std::fs::write(&log, "").unwrap();
    let stat = std::fs::metadata(&log).unwrap();
    let stream = format!("{}:{}", stat.dev(), stat.ino());
    let mut agent = start(&world, &endpoint, &[("JOURNAL_STREAM", &stream)]);
    let text = whole_log(&mut agent);
    assert!(text.lines().all(|line| line.starts_with("<6> INFO") || line.starts_with("<4> WARN")), "{text}");
    assert!(text.contains("<6> INFO kinesis_agent::agent: the agent runs"), "{text}");
}

#[test]
fn lines_that_do_not_go_to_the_journal_carry_none() {
    let (world, endpoint) = (World::new(), Endpoint::start());
    let mut agent = start(&world, &endpoint, &[("JOURNAL_STREAM", "1:1")]);
    let text = whole_log(&mut agent);
    assert!(!text.is_empty() && !text.contains('<'), "{text}");
}
