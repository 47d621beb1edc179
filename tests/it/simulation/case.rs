//! One case: a setup and a list of steps, run from an empty folder to the end, where everything
//! heals and the promises are checked once more.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::str::FromStr;

use fastrand::Rng;

use super::agent::Agent;
use super::oracle::Oracle;
use super::setup::Setup;
use super::step::{Step, Swarm, What};
use super::world::World;

/// When all cases begin. Milliseconds since the epoch.
const BEGIN: i64 = 1_800_000_000_000;
const LENGTH: std::ops::Range<usize> = 20..220;
/// How time passes while all heals: what is due within half a minute, a minute, ten minutes.
const HEALING: [i64; 10] = [1_000, 1_000, 31_000, 31_000, 31_000, 61_000, 700_000, 31_000, 31_000, 1_000];
/// No case needs so many rounds for what is there to be read and delivered.
const ROUNDS: usize = 500;

#[derive(Clone)]
pub struct Case {
    pub setup: Setup,
    pub steps: Vec<Step>,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub cases: u64,
    pub steps: u64,
    pub units: u64,
    pub excused: u64,
    pub repeated: u64,
}

impl Tally {
    pub fn add(&mut self, other: Tally) {
        self.cases += other.cases;
        self.steps += other.steps;
        self.units += other.units;
        self.excused += other.excused;
        self.repeated += other.repeated;
    }
}

struct Run {
    world: World,
    oracle: Oracle,
    agent: Option<Agent>,
    database: std::path::PathBuf,
    /// The flow was replaced by this step.
    reloads: bool,
}

impl Case {
    pub fn draw(seed: u64, exact: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut setup = Setup::draw(&mut rng, exact);
        let swarm = Swarm::draw(&mut rng, exact);
        let length = rng.usize(LENGTH);
        let steps = (0..length).map(|_| swarm.step(&mut rng)).collect();
        // Drawn last, so that a seed keeps its steps.
        setup.in_order = rng.bool();
        Case { setup, steps }
    }

    /// Runs it in an empty folder. An error begins with the promise that was broken.
    pub fn run(&self, folder: &Path) -> Result<Tally, String> {
        catch_unwind(AssertUnwindSafe(|| self.run_all(folder))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            Err(format!("panic {}", text.or(panic.downcast_ref().copied()).unwrap_or("of another kind")))
        })
    }

    fn run_all(&self, folder: &Path) -> Result<Tally, String> {
        let mut run = Run::new(self.setup, folder)?;
        for (number, step) in self.steps.iter().enumerate() {
            run.step(*step).map_err(|error| format!("{error} (step {number}, {step:?})"))?;
        }
        run.heal().map_err(|error| format!("{error} (at the end)"))?;
        let units = &run.world.text.units;
        Ok(Tally {
            cases: 1,
            steps: self.steps.len() as u64,
            units: units.len() as u64,
            excused: units.iter().filter(|unit| unit.excuse.is_some()).count() as u64,
            repeated: run.oracle.repeated,
        })
    }
}

impl Run {
    fn new(setup: Setup, folder: &Path) -> Result<Self, String> {
        let logs = folder.join("logs");
        std::fs::create_dir_all(&logs).unwrap();
        let mut world = World::new(setup, logs, BEGIN);
        if setup.prior {
            world.prior();
            world.hints.clear();
        }
        let mut run = Run {
            world,
            oracle: Oracle::default(),
            agent: None,
            database: folder.join("state/db"),
            reloads: false,
        };
        run.start();
        // What comes before the first look of a new flow was there before the flow.
        run.act(Step { what: What::Scan, a: 0, b: 0 });
        run.check("begin")?;
        Ok(run)
    }

    fn start(&mut self) {
        let disk = &self.world.disk;
        self.agent = Some(Agent::start(self.world.setup, &disk.folder, &self.database, disk.clock));
        self.oracle.running = true;
    }

    fn step(&mut self, step: Step) -> Result<(), String> {
        tracing::debug!("step {step:?}");
        if self.world.step(step) {
            let hints = std::mem::take(&mut self.world.hints);
            // An event may be lost, or come for a file that is another's by now.
            if let Some(agent) = self.agent.as_mut().filter(|_| step.b & 0x80 == 0) {
                hints.iter().for_each(|(path, renamed)| agent.hint(path, *renamed));
            }
        } else {
            self.act(step);
        }
        self.check(&format!("{step:?}"))
    }

    fn act(&mut self, step: Step) {
        let wall = self.world.disk.clock;
        let (a, b) = (usize::from(step.a), step.b);
        if step.what == What::Pass {
            self.world.disk.clock += [10, 300, 1_000, 11_000, 31_000, 62_000][a % 6];
            return;
        }
        let Some(mut agent) = self.agent.take() else {
            if step.what == What::Start {
                self.start();
            }
            return;
        };
        match step.what {
            What::Scan => {
                if agent.scan(wall) {
                    self.oracle.look(&self.world);
                } else {
                    self.oracle.glimpse(&self.world);
                }
            }
            What::List => agent.list(),
            What::Turns => agent.turns(1 + a % 4, wall),
            What::Tend => {
                agent.tend(wall);
                self.oracle.tended(&self.world);
            }
            What::Fill => drop(agent.fill(1 + a % 4, wall)),
            What::Send => drop(agent.send()),
            What::Answer => drop(agent.answer(a, b)),
            What::Hear => agent.hear(wall),
            What::Commit => agent.commit(wall, false),
            What::CommitFails => agent.commit(wall, true),
            What::Stop => {
                agent.drain(b & 1 == 0, wall);
                agent.commit(wall, false);
            }
            What::Reload => {
                agent = agent.reload(b & 1 == 0, wall);
                self.reloads = true;
            }
            _ => {}
        }
        self.agent = Some(agent);
    }

    /// What was seen is held against the promises; then the agent ends where the step says so.
    fn check(&mut self, step: &str) -> Result<(), String> {
        self.observe()?;
        let ends = ["crash", "stop"].iter().any(|word| step.starts_with(word));
        if ends && self.agent.take().is_some() {
            self.oracle.crashed(&mut self.world);
        }
        if std::mem::take(&mut self.reloads) {
            self.oracle.reloaded(&mut self.world);
        }
        self.oracle.excuse(&mut self.world, step);
        Ok(())
    }

    fn observe(&mut self) -> Result<(), String> {
        let Some(agent) = &mut self.agent else { return Ok(()) };
        for sight in std::mem::take(&mut agent.sights) {
            tracing::debug!("{sight:?}");
            self.oracle.observe(&mut self.world, sight)?;
        }
        let (used, total) = agent.memory();
        if used > total {
            return Err(format!("P6 {used} bytes of {total} are in memory"));
        }
        Ok(())
    }

    fn heal(&mut self) -> Result<(), String> {
        if self.agent.is_none() {
            self.start();
        }
        self.world.finish();
        self.settle_down()?;
        self.oracle.nothing_is_lost(&self.world)?;
        let agent = self.agent.as_ref().expect("it was started");
        let (used, _) = agent.memory();
        if agent.is_idle() && (used, agent.copied()) != (0, 0) {
            return Err(format!("P6 {used} and {} bytes stay in memory", agent.copied()));
        }
        // What was settled in peace is not sent again by the next life.
        let before = self.oracle.repeated;
        self.step(Step { what: What::Stop, a: 0, b: 0 })?;
        self.start();
        self.settle_down()?;
        if self.world.setup.exact && self.oracle.repeated != before {
            return Err("P5 lines are repeated after a stop in peace".to_owned());
        }
        self.oracle.nothing_is_lost(&self.world)
    }

    fn settle_down(&mut self) -> Result<(), String> {
        for millis in HEALING {
            self.world.disk.clock += millis;
            for round in 0.. {
                if round == ROUNDS {
                    return Err("P2 there is no end to it".to_owned());
                }
                if !self.round()? {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Whether anything happened.
    fn round(&mut self) -> Result<bool, String> {
        let wall = self.world.disk.clock;
        let agent = self.agent.as_mut().expect("it was started");
        if agent.scan(wall) {
            self.oracle.look(&self.world);
        }
        agent.turns(1000, wall);
        agent.tend(wall);
        agent.turns(1000, wall);
        agent.deliver_all(wall);
        agent.hear(wall);
        agent.commit(wall, false);
        let busy = !agent.sights.is_empty();
        self.observe()?;
        self.oracle.excuse(&mut self.world, "the end");
        Ok(busy)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.setup)?;
        self.steps.iter().try_for_each(|step| writeln!(f, "{step:?}"))
    }
}

impl FromStr for Case {
    type Err = String;

    /// Lines that begin with `#` are comments.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        let setup = lines.next().ok_or("there is no setup")?.parse()?;
        Ok(Case { setup, steps: lines.map(str::parse).collect::<Result<_, _>>()? })
    }
}
