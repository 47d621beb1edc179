//! The handlers of Python's `logging`, as in any service that is written in it.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::new_lines;
use crate::support::program::find;
use crate::support::scene::with_and_without_events;
use crate::support::{Destination, Scene, let_pass};

const ROTATING: &str = "RotatingFileHandler(file, maxBytes=3000, backupCount=200)";
const TIMED: &str = "TimedRotatingFileHandler(file, when='S', interval=1, backupCount=200)";
const WATCHED: &str = "WatchedFileHandler(file)";

/// A service that logs each line that it is given.
struct Service {
    process: Child,
}

impl Service {
    fn start(handler: &str, file: &Path) -> Self {
        let program = format!(
            "import logging, logging.handlers, sys\n\
             file = sys.argv[1]\n\
             handler = logging.handlers.{handler}\n\
             handler.setFormatter(logging.Formatter('%(message)s'))\n\
             logging.basicConfig(level=logging.INFO, handlers=[handler])\n\
             for line in sys.stdin: logging.info(line.rstrip('\\n'))\n"
        );
        let mut command = Command::new(find(&["python3"]));
        command.args(["-c", &program]).arg(file).stdin(Stdio::piped());
        Service { process: command.spawn().unwrap() }
    }

    fn log(&mut self, text: &[u8]) {
        let stdin = self.process.stdin.as_mut().expect("it was given one");
        stdin.write_all(text).unwrap();
        stdin.flush().unwrap();
    }

    /// Until it has logged everything.
    fn end(mut self) {
        drop(self.process.stdin.take());
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It has ended, unless the script failed.
        let _ = self.process.kill();
    }
}

/// The agent runs, is stopped for a while, and runs again, while the service logs on and rotates
/// as often as it likes; `between` is done after each part.
fn check(handler: &str, between: impl Fn(&Scene, usize) + Sync) {
    for pattern in ["app.log", "app.log*"] {
        with_and_without_events(|events| {
            let mut scene = Scene::new(Destination::Kinesis, pattern);
            scene.set("useFileEvents", events);
            scene.start();
            // What was rotated before the agent has seen the log is nobody's to find.
            let mut service = Service::start(handler, &scene.world.path("app.log"));
            service.log(&new_lines(&scene, 1));
            scene.wait_for_all();
            for part in 0..4 {
                service.log(&new_lines(&scene, 200));
                if part < 2 {
                    scene.wait_for_all();
                }
                between(&scene, part);
                if part == 1 {
                    scene.stop();
                }
            }
            service.end();
            scene.start();
            scene.delivers_everything_once();
        });
    }
}

#[test]
fn a_rotating_file_handler_loses_and_repeats_nothing() {
    check(ROTATING, |_, _| {});
}

#[test]
fn a_timed_rotating_file_handler_loses_and_repeats_nothing() {
    check(TIMED, |_, _| let_pass(Duration::from_millis(1100)));
}

#[test]
fn a_watched_file_handler_loses_and_repeats_nothing() {
    check(WATCHED, |scene, part| {
        let (from, to) = (scene.world.path("app.log"), scene.world.path(&format!("app.log.{part}")));
        // The service makes it at its first line.
        if from.exists() {
            std::fs::rename(from, to).unwrap();
        }
    });
}

/// As fast as it can, which rotates a thousand times in a second or two.
#[test]
fn a_rotating_file_handler_at_full_speed_loses_and_repeats_nothing() {
    with_and_without_events(|events| {
        let mut scene = Scene::new(Destination::Firehose, "app.log");
        scene.set("useFileEvents", events);
        scene.start();
        scene.world.lines("app.log", 1);
        scene.wait_for_all();
        let mut service = Service::start(ROTATING, &scene.world.path("app.log"));
        service.log(&new_lines(&scene, 8000));
        service.end();
        scene.delivers_everything_once();
    });
}
