//! What rewrites a log where it stands: shells, sed and vim. A file that takes the place of
//! another is a new file, so what it has in common with the old one is sent again; one that is
//! rewritten in place is not, unless the agent looks at it half way.

use std::fs;
use std::process::Command;

use super::{delivers_with_repeats, new_lines};
use crate::support::program::{find, run};
use crate::support::scene::with_and_without_events;
use crate::support::{Destination, Scene};

use Destination::Kinesis;

/// `echo ... > app.log`, again and again.
#[test]
fn a_writer_that_truncates_its_file_each_time_loses_nothing_that_was_seen_and_repeats_nothing() {
    with_and_without_events(|events| {
        let mut scene = Scene::new(Kinesis, "app.log");
        scene.set("useFileEvents", events);
        scene.start();
        let text = scene.world.root().join("text");
        for n in [1, 1, 20, 20, 5, 50, 50, 1, 2] {
            fs::write(&text, new_lines(&scene, n)).unwrap();
            let script = format!("cat {} > {}", text.display(), scene.world.path("app.log").display());
            run(&["sh"], ["-c", &script]);
            scene.wait_for_all();
        }
        scene.delivers_everything_once();
    });
}

/// `grep -v noise app.log > tmp; cat tmp > app.log`: the lines before the first change are known.
#[test]
fn a_file_that_is_written_anew_with_the_same_lines_and_more_is_read_on() {
    with_and_without_events(|events| {
        let mut scene = Scene::new(Kinesis, "app.log");
        scene.set("useFileEvents", events);
        scene.world.lines("app.log", 100);
        scene.start();
        scene.wait_for_all();
        let all = [fs::read(scene.world.path("app.log")).unwrap(), new_lines(&scene, 10)].concat();
        scene.agent().pause();
        fs::write(scene.world.path("app.log"), all).unwrap();
        scene.agent().resume();
        scene.delivers_everything_once();
    });
}

#[test]
fn sed_in_place_makes_a_new_file_which_is_sent_again() {
    for pattern in ["app.log", "*"] {
        with_and_without_events(|events| {
            let mut scene = Scene::new(Kinesis, pattern);
            scene.set("useFileEvents", events);
            scene.world.lines("app.log", 99);
            scene.world.append("app.log", "the password is 1234\n");
            scene.start();
            scene.wait_for_all();
            scene.world.written_by_a_program("the password is ****\n");
            let file = scene.world.path("app.log");
            run(&["sed"], ["-i", "s/1234/****/", file.to_str().unwrap()]);
            scene.wait_for_all();
            scene.world.lines("app.log", 10);
            delivers_with_repeats(&mut scene, 99);
        });
    }
}

/// Opens the log, adds a line at its end, and saves. Temporary folders are no exception here.
fn edit_with_vim(scene: &Scene, options: &str) {
    let line = new_lines(scene, 1);
    let line = std::str::from_utf8(&line).unwrap().trim_end();
    let status = Command::new(find(&["vim", "vim.tiny", "vi"]))
        .args(["-Nu", "NONE", "-n", "-es", "-c", &format!("set backupskip= {options}")])
        .args(["-c", &format!("$put ='{line}'"), "-c", "wq"])
        .arg(scene.world.path("app.log"))
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn vim_that_renames_its_backup_makes_a_new_file_which_is_sent_again() {
    for (pattern, options) in
        [("app.log", "backupcopy=no"), ("app.log*", "backupcopy=no"), ("app.log", "backupcopy=no backup")]
    {
        with_and_without_events(|events| {
            let mut scene = Scene::new(Kinesis, pattern);
            scene.set("useFileEvents", events);
            scene.world.lines("app.log", 100);
            scene.start();
            scene.wait_for_all();
            edit_with_vim(&scene, options);
            scene.wait_for_all();
            scene.world.lines("app.log", 10);
            delivers_with_repeats(&mut scene, 100);
        });
    }
}

/// Unless the agent looks between the truncation and the last byte, which it is kept from here.
#[test]
fn vim_that_copies_its_backup_changes_the_file_itself_which_is_read_on() {
    for (pattern, options) in
        [("app.log", "backupcopy=yes"), ("app.log*", "backupcopy=yes"), ("app.log*", "backupcopy=yes backup")]
    {
        with_and_without_events(|events| {
            let mut scene = Scene::new(Kinesis, pattern);
            scene.set("useFileEvents", events);
            scene.world.lines("app.log", 100);
            scene.start();
            scene.wait_for_all();
            scene.agent().pause();
            edit_with_vim(&scene, options);
            scene.agent().resume();
            scene.wait_for_all();
            scene.world.lines("app.log", 10);
            delivers_with_repeats(&mut scene, 0);
        });
    }
}

/// Vim's steps with `backupcopy=yes`, and a look after each.
#[test]
fn a_look_at_a_file_that_vim_has_truncated_costs_a_repeat_and_no_line() {
    with_and_without_events(|events| {
        let mut scene = Scene::new(Kinesis, "app.log");
        scene.set("useFileEvents", events);
        scene.world.lines("app.log", 100);
        scene.start();
        scene.wait_for_all();
        let before = fs::read(scene.world.path("app.log")).unwrap();
        scene.world.copy("app.log", "app.log~");
        fs::write(scene.world.path("app.log"), "").unwrap();
        // What is delivered from another life shows that the agent has seen the empty file.
        scene.world.written_by_a_program("a look\n");
        fs::write(scene.world.path("app.log"), "a look\n").unwrap();
        scene.wait_for_all();
        fs::write(scene.world.path("app.log"), [before, new_lines(&scene, 1)].concat()).unwrap();
        fs::remove_file(scene.world.path("app.log~")).unwrap();
        delivers_with_repeats(&mut scene, 100);
    });
}
