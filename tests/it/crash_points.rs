//! Deaths at chosen places, under every kind of rotation: nothing may be lost, no stored position
//! may pass a line that is not safe, and nothing that was stored as safe is sent again.
//!
//! The agent dies of itself (`CRASH_AT`, `src/observe/crash_point.rs`) while a log is written and
//! rotated; the log is rotated once more while no agent runs; then the next life must finish.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use crate::content::{dead_data, dead_letters};
use crate::support::oracle::Counts;
use crate::support::request::Record;
use crate::support::scene::SOON;
use crate::support::{
    Destination, Flow, Positions, Repeats, Rotator, Scene, Step, eventually, happens_within,
    is_first_start_stored,
};

/// What has to happen so that the agent comes to a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It runs.
    Running,
    /// It starts for the first time.
    FirstStart,
    /// It starts for the first time, and reads from the ends of its files.
    FromTheEnds,
    /// It starts with a damaged database.
    Damaged,
    /// A record is refused for good.
    Refused,
    /// Its configuration changes.
    Reload,
    /// It is asked to end.
    Stop,
}

/// Every point, and at which visit the agent dies there.
const POINTS: [(&str, u32, Way); 26] = [
    ("store.mid_migration", 1, Way::FirstStart),
    ("store.made", 1, Way::FirstStart),
    ("start.after_resume", 1, Way::FirstStart),
    ("scan.after_list", 1, Way::FirstStart),
    ("scan.after_act", 1, Way::FirstStart),
    ("scan.after_list", 5, Way::Running),
    ("scan.after_act", 4, Way::Running),
    ("tail.after_read", 3, Way::Running),
    ("file.after_notes", 4, Way::Running),
    ("send.before_request", 3, Way::Running),
    ("send.after_response", 3, Way::Running),
    ("send.after_settled", 2, Way::Running),
    ("settle.before_commit", 3, Way::Running),
    ("store.mid_commit", 3, Way::Running),
    ("settle.after_commit", 3, Way::Running),
    ("store.backup_made", 1, Way::Running),
    ("store.after_backup", 1, Way::Running),
    ("settle.before_start_position", 1, Way::FromTheEnds),
    ("settle.after_start_position", 1, Way::FromTheEnds),
    ("recovery.moved_aside", 1, Way::Damaged),
    ("dead_letters.before_fsync", 1, Way::Refused),
    ("dead_letters.after_fsync", 1, Way::Refused),
    ("reload.after_drain", 1, Way::Reload),
    ("reload.after_resume", 1, Way::Reload),
    ("shutdown.after_drain", 1, Way::Stop),
    ("settle.before_last_commit", 1, Way::Stop),
];

/// How many cells of the table run at a time: the machine is shared.
const AT_A_TIME: usize = 6;
const LINES: usize = 20;
/// A log is rotated so often at most before the agent must have died.
const ROTATIONS: usize = 6;

/// All points under one kind of rotation, or none.
fn check(rotator: Option<Rotator>) {
    let next = std::sync::Mutex::new(POINTS.iter());
    let report = std::sync::Mutex::new(Vec::new());
    let name = rotator.map_or("no rotation".to_owned(), |rotator| format!("{rotator:?}"));
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(&(point, visit, way)) = { next.lock().unwrap().next() } {
                    let cell = std::thread::Builder::new().name(format!("{point}:{visit}, {name}"));
                    let cell = cell.spawn_scoped(scope, move || check_cell(point, visit, way, rotator));
                    let Ok(counts) = cell.unwrap().join() else { panic!("{point}:{visit}, {name} failed") };
                    report.lock().unwrap().push(format!("{name}, {point}:{visit}: 0 lost, {counts}"));
                }
            });
        }
    });
    let mut report = report.into_inner().unwrap();
    report.sort();
    println!("{}", report.join("\n"));
}

fn check_cell(point: &str, visit: u32, way: Way, rotator: Option<Rotator>) -> Counts {
    let mut scene = prepared(way, rotator);
    let mut log = Log { rotator, file: "app.log".to_owned() };
    log.write(&scene);
    if way == Way::FromTheEnds {
        scene.world.excuse_file("app.log");
    }
    if way == Way::Damaged {
        scene.start();
        scene.wait_for_all();
        let backup = scene.world.checkpoint_file().with_added_extension("backup");
        eventually("there is a backup", SOON, || if backup.exists() { Ok(()) } else { Err("none".into()) });
        scene.kill9();
        fs::write(scene.world.checkpoint_file(), "no database").unwrap();
        log.write(&scene);
    }
    scene.start_with_env(&[("CRASH_AT", &format!("{point}:{visit}"))]);
    log.write_until_it_dies(&mut scene, way);
    died_there(&mut scene, point);
    let positions = match way {
        Way::Damaged => Positions::default(),
        _ => Positions::check(&scene.world, &scene.endpoint, &mut scene.oracle),
    };
    log.write(&scene);
    if way != Way::Damaged && !is_first_start_stored(&scene.world) && rotator.is_some_and(leaves_the_pattern)
    {
        // What rotation takes out of the pattern now is from before the flow, as far as anybody knows.
        let all = 0..scene.world.journal().lines.len();
        scene.world.excuse(all);
    }
    log.rotate(&mut scene);
    log.write(&scene);
    scene.start();
    log.write(&scene);
    scene.wait_for_all();
    scene.stop();
    positions.were_kept(&scene.world, &scene.endpoint, &mut scene.oracle);
    if way == Way::Refused {
        let letters: Vec<_> = dead_letters(&scene).iter().map(dead_data).collect();
        assert!((1..=2).contains(&letters.len()), "{} dead letters", letters.len());
        assert!(letters.iter().all(|letter| letter == b"poison\n"), "{letters:?}");
    }
    scene.oracle.check(&scene.world, &scene.endpoint, Repeats::Allowed)
}

fn pattern(rotator: Option<Rotator>) -> &'static str {
    rotator.map_or("app.log", Rotator::pattern)
}

fn prepared(way: Way, rotator: Option<Rotator>) -> Scene {
    let position = if way == Way::FromTheEnds { "END_OF_FILE" } else { "START_OF_FILE" };
    let scene = Scene::with_flow(Destination::Kinesis, pattern(rotator), |flow| {
        flow.with("initialPosition", position)
    });
    if let Some(rotator) = rotator {
        rotator.prepare(&scene.world);
    }
    if way == Way::Refused {
        let poison = |_: usize, record: &Record| record.data.starts_with(b"poison");
        scene.endpoint.always(move |_| Step::fail_where("InvalidArgumentException", poison));
    }
    scene
}

fn leaves_the_pattern(rotator: Rotator) -> bool {
    matches!(rotator, Rotator::RenameShift | Rotator::RenameThenCompress | Rotator::CopyTruncateOutOfPattern)
}

/// The agent ended by itself, as if it had been killed, where it was told to.
#[track_caller]
fn died_there(scene: &mut Scene, point: &str) {
    let status = scene.agent().wait_exit(SOON);
    let log = scene.agent().log_text();
    assert_eq!(status.signal(), Some(9), "the agent ends with {status}");
    assert!(log.lines().any(|line| line == format!("crash point {point}")), "it died elsewhere");
    scene.forget_agent();
}

/// A log that is written and rotated.
struct Log {
    rotator: Option<Rotator>,
    /// Where the application writes to.
    file: String,
}

impl Log {
    fn write(&self, scene: &Scene) {
        scene.world.lines(&self.file, LINES);
    }

    /// What nobody can read afterwards is not asked for.
    fn rotate(&mut self, scene: &mut Scene) {
        let Some(rotator) = self.rotator else { return };
        if !rotator.keeps_unseen() {
            let (world, endpoint) = (&scene.world, &scene.endpoint);
            let oracle = &mut scene.oracle;
            if !happens_within(Duration::from_millis(300), || oracle.missing(world, endpoint) == 0) {
                world.excuse_file(&self.file);
            }
        }
        self.file = rotator.rotate(&scene.world, &self.file);
    }

    fn write_until_it_dies(&mut self, scene: &mut Scene, way: Way) {
        if way == Way::Refused {
            let poison = scene.world.append(&self.file, "poison\n");
            scene.world.excuse(poison);
        }
        let (mut rotations, mut asked) = (0, false);
        eventually("the agent has died", SOON, || {
            if happens_within(Duration::from_millis(60), || !scene.agent().is_alive()) {
                return Ok(());
            }
            let unseen = scene.world.lines(&self.file, LINES);
            if way == Way::FromTheEnds {
                scene.world.excuse(unseen);
            } else if rotations < ROTATIONS && way != Way::Refused && scene.endpoint.call_count() > 0 {
                rotations += 1;
                self.rotate(scene);
            }
            if !asked && scene.endpoint.call_count() > 2 {
                asked = true;
                ask(scene, way, pattern(self.rotator));
            }
            Err(format!("{rotations} rotations, {} calls", scene.endpoint.call_count()))
        });
    }
}

fn ask(scene: &mut Scene, way: Way, pattern: &str) {
    match way {
        Way::Reload => {
            let changed = Flow::new(&scene.world, Destination::Kinesis, pattern);
            scene.config = scene.config.clone().with_flows([changed.with("maxBufferAgeMillis", 150)]);
            scene.ask_to_reload();
        }
        Way::Stop => scene.agent().terminate(),
        _ => {}
    }
}

#[test]
fn without_rotation() {
    check(None);
}

#[test]
fn while_the_log_is_renamed() {
    check(Some(Rotator::Rename));
}

#[test]
fn while_the_log_is_renamed_with_shifted_numbers() {
    check(Some(Rotator::RenameShift));
}

#[test]
fn while_the_log_is_copied_and_truncated() {
    check(Some(Rotator::CopyTruncate));
}

#[test]
fn while_the_log_is_copied_out_of_the_pattern_and_truncated() {
    check(Some(Rotator::CopyTruncateOutOfPattern));
}

#[test]
fn while_the_log_is_deleted_and_made_anew() {
    check(Some(Rotator::DeleteRecreate));
}

#[test]
fn while_the_log_is_renamed_and_compressed() {
    check(Some(Rotator::RenameThenCompress));
}

#[test]
fn while_a_link_to_the_log_is_swapped() {
    check(Some(Rotator::SymlinkSwap));
}
