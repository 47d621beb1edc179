//! World, endpoint, agent and oracle together: what nearly every script needs.

use std::time::Duration;

use super::oracle::Counts;
use super::{AgentProcess, Config, Destination, Endpoint, Flow, Oracle, Repeats, Shape, World};
use super::{eventually, happens_within};

/// How long the agent may take for what should take a moment. Generous: the tests share the
/// machine with each other.
pub const SOON: Duration = Duration::from_secs(20);

/// How often a line is written to see whether the agent delivers it.
const PROBE_INTERVAL: Duration = Duration::from_millis(20);

/// Runs a script with and without file-system events, both at the same time.
pub fn with_and_without_events(script: impl Fn(bool) + Sync) {
    let script = &script;
    std::thread::scope(|scope| {
        for events in [true, false] {
            let name = format!("events {}", if events { "on" } else { "off" });
            let thread = std::thread::Builder::new().name(name);
            thread.spawn_scoped(scope, move || script(events)).expect("a thread can be started");
        }
    });
}

/// What is to be dropped first stands first.
#[derive(Debug)]
pub struct Scene {
    agent: Option<AgentProcess>,
    pub endpoint: Endpoint,
    pub oracle: Oracle,
    pub config: Config,
    pub world: World,
}

impl Scene {
    /// One flow that sends what `pattern` matches to the destination in its usual shape: a
    /// line a record to a stream, packed lines to Firehose.
    pub fn new(destination: Destination, pattern: &str) -> Self {
        Self::with_flow(destination, pattern, |flow| flow)
    }

    /// The same with more keys in the flow.
    pub fn with_flow(destination: Destination, pattern: &str, more: impl FnOnce(Flow) -> Flow) -> Self {
        let (world, endpoint) = (World::new(), Endpoint::start());
        let flow = more(Flow::new(&world, destination, pattern));
        let config = Config::new(&world, &endpoint).flow(flow);
        let shape = match destination {
            Destination::Kinesis => Shape::LinePerRecord,
            Destination::Firehose => Shape::Packed,
        };
        Scene { agent: None, endpoint, oracle: Oracle::new(shape), config, world }
    }

    /// Lines a record, from a configuration that stands.
    pub fn of(world: World, endpoint: Endpoint, config: Config) -> Self {
        Scene { agent: None, endpoint, oracle: Oracle::new(Shape::LinePerRecord), config, world }
    }

    /// Sets a top-level key of the configuration, for the next start of the agent.
    pub fn set(&mut self, key: &str, value: impl Into<serde_json::Value>) {
        self.config = self.config.clone().with(key, value);
    }

    /// One more flow, for the next start or reload of the agent.
    pub fn add_flow(&mut self, flow: Flow) {
        self.config = self.config.clone().flow(flow);
    }

    pub fn start(&mut self) {
        assert!(self.agent.is_none(), "the agent is started once at a time");
        self.agent = Some(AgentProcess::start(&self.world, &self.config));
    }

    /// With a limit of open files that it cannot raise.
    pub fn start_with_descriptors(&mut self, limit: u32) {
        self.start_by_shell(&format!("ulimit -n {limit}; exec"));
    }

    /// Without root's right to read what its permissions forbid.
    pub fn start_without_rights(&mut self) {
        let is_root = rustix::process::geteuid().is_root();
        let drop = "exec setpriv --bounding-set=-dac_override,-dac_read_search";
        self.start_by_shell(if is_root { drop } else { "exec" });
    }

    fn start_by_shell(&mut self, before: &str) {
        assert!(self.agent.is_none(), "the agent is started once at a time");
        self.agent = Some(AgentProcess::start_by_shell(&self.world, &self.config, before));
    }

    /// With variables in its environment.
    pub fn start_with_env(&mut self, env: &[(&str, &str)]) {
        assert!(self.agent.is_none(), "the agent is started once at a time");
        self.agent = Some(AgentProcess::start_with_env(&self.world, &self.config, env));
    }

    /// `prelude` is a command that sets limits of a user namespace in which the agent is alone.
    pub fn start_in_user_namespace(&mut self, prelude: &str) {
        let inside = format!("{prelude} && exec \"$0\" \"$@\"");
        self.start_by_shell(&format!("exec unshare --user --map-root-user sh -c '{inside}'"));
    }

    /// Appends a line again and again until one more is delivered, which shows that the agent
    /// runs and has found its place in the file. Nobody asks for these lines.
    #[track_caller]
    pub fn probe(&self, file: &str) {
        let before = self.endpoint.stored().len();
        eventually("a new line is delivered", SOON, || {
            let line = self.world.lines(file, 1);
            self.world.excuse(line);
            let arrived = || self.endpoint.stored().len() > before;
            if happens_within(PROBE_INTERVAL, arrived) { Ok(()) } else { Err("none".into()) }
        });
    }

    #[track_caller]
    pub fn agent(&mut self) -> &mut AgentProcess {
        self.agent.as_mut().expect("the script has started the agent")
    }

    pub fn kill9(&mut self) {
        self.agent.take().expect("the script has started the agent").kill9();
    }

    /// The agent has ended by itself; another may be started.
    #[track_caller]
    pub fn forget_agent(&mut self) {
        assert!(!self.agent().is_alive(), "the agent still runs");
        self.agent = None;
    }

    /// SIGTERM, and the end that it must lead to.
    #[track_caller]
    pub fn stop(&mut self) {
        let mut agent = self.agent.take().expect("the script has started the agent");
        agent.terminate();
        let status = agent.wait_exit(SOON);
        assert!(status.success(), "after SIGTERM the agent ends with {status}");
    }

    #[track_caller]
    pub fn restart(&mut self) {
        self.stop();
        self.start();
    }

    /// Writes the configuration as it is now, and lets the agent read it.
    #[track_caller]
    pub fn reload(&mut self) {
        let before = self.reloads();
        self.ask_to_reload();
        eventually("the agent has read its configuration again", SOON, || {
            let log = self.agent().log_text();
            if log.contains("cannot be used") {
                return Err("it was refused".into());
            }
            if self.reloads() > before { Ok(()) } else { Err("not yet".into()) }
        });
    }

    /// The same without waiting.
    #[track_caller]
    pub fn ask_to_reload(&mut self) {
        std::fs::write(self.world.root().join("config.yaml"), self.config.to_yaml()).unwrap();
        self.agent().hang_up();
    }

    fn reloads(&mut self) -> usize {
        self.agent().log_text().matches("the configuration was read again and is used now").count()
    }

    /// Waits until all that was asked for is delivered.
    #[track_caller]
    pub fn wait_for_all(&mut self) {
        self.wait_for_all_within(SOON);
    }

    #[track_caller]
    pub fn wait_for_all_within(&mut self, deadline: Duration) {
        self.oracle.wait_for_all(&self.world, &self.endpoint, deadline);
    }

    /// Waits until the endpoint has received `n` more calls than `before`.
    #[track_caller]
    pub fn wait_for_calls_after(&self, before: usize, n: usize) {
        eventually("calls", SOON, || {
            self.endpoint.assert_no_violations();
            let calls = self.endpoint.call_count() - before;
            if calls >= n { Ok(()) } else { Err(format!("{calls} of {n} calls")) }
        });
    }

    #[track_caller]
    pub fn wait_for_calls(&self, n: usize) {
        self.wait_for_calls_after(0, n);
    }

    /// Waits until everything is delivered, stops the agent, so that nothing can follow, and
    /// checks all promises.
    #[track_caller]
    pub fn delivers_everything(&mut self, repeats: Repeats) -> Counts {
        self.wait_for_all();
        if self.agent.is_some() {
            self.stop();
        }
        self.oracle.check(&self.world, &self.endpoint, repeats)
    }

    #[track_caller]
    pub fn delivers_everything_once(&mut self) -> Counts {
        self.delivers_everything(Repeats::None)
    }
}
