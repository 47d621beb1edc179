//! Which files are read, from where, and what is in the way.

use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use crate::support::request::Service;
use crate::support::scene::SOON;
use crate::support::{Destination, Flow, Repeats, Scene, eventually, let_pass};

use Destination::{Firehose, Kinesis};

/// What was delivered is the end of what was written, without a gap.
fn assert_suffix_delivered(scene: &Scene) {
    let mut stored = scene.endpoint.stored();
    stored.sort();
    let journal = scene.world.journal();
    let written: Vec<_> = journal.lines.iter().map(|line| line.bytes.clone()).collect();
    assert_eq!(stored, written[written.len() - stored.len()..]);
}

#[test]
fn a_file_that_was_there_is_read_from_its_end_by_default() {
    let end = |flow: Flow| flow.with("initialPosition", "END_OF_FILE");
    let mut scene = Scene::with_flow(Kinesis, "app.log", end);
    scene.world.append_unseen("app.log", "old 1\nold 2\n");
    scene.start();
    scene.probe("app.log");
    scene.world.lines("app.log", 50);
    scene.delivers_everything_once();
    assert_suffix_delivered(&scene);
}

#[test]
fn a_file_that_appears_later_is_read_from_its_beginning() {
    let end = |flow: Flow| flow.with("initialPosition", "END_OF_FILE");
    let mut scene = Scene::with_flow(Kinesis, "*.log", end);
    scene.world.append_unseen("old.log", "old\n");
    scene.start();
    scene.probe("old.log");
    scene.world.lines("new.log", 50);
    scene.delivers_everything_once();
}

#[test]
fn a_file_that_was_there_is_read_from_its_start_if_the_flow_says_so() {
    for destination in Destination::BOTH {
        let mut scene = Scene::new(destination, "*.log");
        scene.world.lines("a.log", 700);
        scene.start();
        scene.world.lines("a.log", 10);
        scene.delivers_everything_once();
    }
}

#[test]
fn lines_that_come_one_by_one_keep_their_order() {
    let mut scene = Scene::new(Kinesis, "app.log");
    scene.start();
    for _ in 0..30 {
        scene.world.lines("app.log", 3);
        let_pass(Duration::from_millis(20));
    }
    scene.delivers_everything_once();
    scene.oracle.check_order_between_calls(&scene.world, &scene.endpoint);
}

#[test]
fn a_folder_that_appears_later_is_watched() {
    let mut scene = Scene::new(Kinesis, "deep/*/app.log");
    scene.start();
    scene.world.lines("deep/one/app.log", 10);
    scene.wait_for_all();
    scene.world.lines("deep/two/app.log", 10);
    scene.world.append_unseen("deep/app.log", "not in a folder below\n");
    scene.delivers_everything_once();
}

#[test]
fn a_folder_that_is_deleted_and_made_again_is_watched_again() {
    let mut scene = Scene::new(Kinesis, "sub/*.log");
    scene.start();
    scene.world.lines("sub/a.log", 10);
    scene.wait_for_all();
    scene.world.delete("sub/a.log");
    fs::remove_dir(scene.world.path("sub")).unwrap();
    let_pass(Duration::from_millis(300));
    scene.world.lines("sub/b.log", 10);
    scene.delivers_everything_once();
}

#[test]
fn lines_come_without_events_too() {
    let mut scene = Scene::new(Kinesis, "*.log");
    scene.set("useFileEvents", false);
    scene.start();
    scene.world.lines("a.log", 100);
    scene.wait_for_all();
    scene.world.lines("a.log", 100);
    scene.world.lines("b.log", 100);
    scene.delivers_everything_once();
}

#[test]
fn an_event_wakes_the_agent_long_before_the_next_scan() {
    let mut scene = Scene::new(Kinesis, "*.log");
    scene.set("scanIntervalMillis", 60_000);
    scene.set("useFileEvents", true);
    scene.world.lines("a.log", 1);
    scene.start();
    scene.wait_for_all();
    scene.world.lines("a.log", 10);
    scene.world.lines("b.log", 10);
    scene.delivers_everything_once();
}

#[test]
fn three_hundred_files_are_read_at_once() {
    many_files(300);
}

#[test]
#[ignore = "takes a minute; run with --run-ignored"]
fn ten_thousand_files_are_read_at_once() {
    many_files(10_000);
}

fn many_files(n: usize) {
    let mut scene = Scene::new(Firehose, "*.log");
    for file in 0..n {
        scene.world.lines(&format!("{file}.log"), 3);
    }
    scene.start();
    scene.wait_for_all_within(Duration::from_secs(120));
    for file in 0..n {
        scene.world.lines(&format!("{file}.log"), 2);
    }
    scene.wait_for_all_within(Duration::from_secs(120));
    scene.delivers_everything_once();
}

#[test]
fn more_files_than_descriptors_are_read() {
    let mut scene = Scene::new(Firehose, "*.log");
    for file in 0..1500 {
        scene.world.lines(&format!("{file}.log"), 1);
    }
    scene.start_with_descriptors(300);
    scene.wait_for_all_within(Duration::from_secs(60));
    for file in (0..1500).step_by(3) {
        scene.world.lines(&format!("{file}.log"), 1);
    }
    scene.wait_for_all_within(Duration::from_secs(60));
    let open = scene.agent().open_files();
    assert!(open < 280, "{open} descriptors");
    scene.delivers_everything_once();
}

#[test]
fn globs_match_in_folders_and_braces_and_leave_out_what_is_excluded() {
    let exclude = |flow: Flow| {
        let pattern = flow_path(&flow, "**/*secret*");
        flow.with("excludePattern", pattern)
    };
    let mut scene = Scene::with_flow(Kinesis, "**/{app,web}-[0-9]?.log", exclude);
    scene.world.lines("app-01.log", 5);
    scene.world.lines("a/web-12.log", 5);
    scene.world.lines("a/b/c/app-9x.log", 5);
    for not in ["db-01.log", "app-x1.log", "a/web-123.log", "a/secret/app-01.log", "app-01.log.gz"] {
        scene.world.append_unseen(not, "must not be delivered\n");
    }
    scene.start();
    scene.wait_for_all();
    scene.world.lines("later/app-02.log", 5);
    scene.delivers_everything_once();
}

/// A path in the folder of the flow's logs.
fn flow_path(flow: &Flow, name: &str) -> String {
    let pattern = flow.get("filePattern").and_then(|value| value.as_str().map(str::to_owned));
    let (root, _) = pattern.as_deref().and_then(|text| text.split_once("/logs/")).expect("a pattern");
    format!("{root}/logs/{name}")
}

#[test]
fn a_list_of_patterns_is_one_flow_and_a_file_that_matches_twice_is_read_once() {
    let list = |flow: Flow| {
        let paths = [flow_path(&flow, "a*.log"), flow_path(&flow, "*1.log")];
        flow.with("filePattern", paths.to_vec())
    };
    let mut scene = Scene::with_flow(Kinesis, "a*.log", list);
    scene.world.lines("a1.log", 10);
    scene.world.lines("a2.log", 10);
    scene.world.lines("b1.log", 10);
    scene.start();
    scene.delivers_everything_once();
}

#[test]
fn symlinks_to_files_and_folders_are_followed() {
    let mut scene = Scene::new(Kinesis, "watched/*/*.log");
    scene.world.lines("elsewhere/real.txt", 10);
    scene.world.symlink("elsewhere/real.txt", "watched/here/link.log");
    scene.world.lines("real-folder/a.log", 10);
    scene.world.symlink("real-folder", "watched/linked");
    scene.start();
    scene.wait_for_all();
    scene.world.lines("elsewhere/real.txt", 10);
    scene.world.lines("real-folder/a.log", 10);
    scene.world.lines("real-folder/b.log", 10);
    scene.delivers_everything_once();
}

#[test]
fn two_names_for_one_file_do_not_stop_the_flow() {
    let mut scene = Scene::new(Kinesis, "*.log");
    scene.world.lines("a.log", 10);
    fs::hard_link(scene.world.path("a.log"), scene.world.path("b.log")).unwrap();
    scene.start();
    scene.wait_for_all();
    scene.world.lines("a.log", 10);
    scene.world.lines("c.log", 10);
    scene.delivers_everything(Repeats::Allowed);
}

#[test]
fn what_cannot_be_read_as_a_file_does_not_stop_the_flow() {
    let mut scene = Scene::new(Kinesis, "*.log");
    let path = |name: &str| scene.world.path(name);
    fs::create_dir(path("folder.log")).unwrap();
    let _socket = UnixListener::bind(path("socket.log")).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, path("pipe.log"), fifo, 0o600.into(), 0).unwrap();
    std::os::unix::fs::symlink(path("nothing"), path("dangling.log")).unwrap();
    std::os::unix::fs::symlink(path("loop.log"), path("loop.log")).unwrap();
    scene.world.lines("good.log", 10);
    scene.start();
    scene.wait_for_all();
    scene.world.lines("good.log", 10);
    scene.delivers_everything_once();
}

#[test]
fn a_file_that_may_not_be_read_is_read_once_it_may() {
    let mut scene = Scene::new(Kinesis, "*.log");
    let secret = scene.world.path("secret.log");
    let lines = scene.world.lines("secret.log", 10);
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
    // Root may read everything: then only the rest of the script counts.
    let unreadable = fs::File::open(&secret).is_err();
    scene.world.lines("good.log", 10);
    scene.start();
    eventually("the other file is delivered", SOON, || {
        let delivered = scene.endpoint.stored().len();
        if delivered >= 10 { Ok(()) } else { Err(format!("{delivered} lines")) }
    });
    if unreadable {
        assert_eq!(scene.oracle.missing(&scene.world, &scene.endpoint), lines.len());
    }
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    scene.delivers_everything_once();
}

#[test]
fn a_name_that_is_not_utf8_does_not_stop_the_flow() {
    let mut scene = Scene::new(Kinesis, "*.log");
    let name = std::ffi::OsString::from_vec(b"b\xff.log".to_vec());
    fs::write(scene.world.path("").join(name), "").unwrap();
    scene.world.lines("a.log", 10);
    scene.start();
    scene.wait_for_all();
    scene.world.lines("a.log", 10);
    scene.delivers_everything_once();
}

#[test]
fn an_empty_file_is_read_when_it_is_written() {
    let mut scene = Scene::new(Kinesis, "*.log");
    scene.world.append("empty.log", "");
    scene.world.lines("other.log", 1);
    scene.start();
    scene.wait_for_all();
    scene.world.lines("empty.log", 10);
    scene.delivers_everything_once();
}

#[test]
fn two_files_with_the_same_banner_are_two_files() {
    let mut scene = Scene::new(Kinesis, "*.log");
    let banner = "=".repeat(2000) + "\n";
    for file in ["a.log", "b.log"] {
        scene.world.append(file, &banner);
        scene.world.append(file, &banner);
    }
    scene.start();
    scene.wait_for_all();
    scene.world.lines("a.log", 10);
    scene.world.lines("b.log", 10);
    scene.delivers_everything_once();
}

#[test]
fn two_flows_read_the_same_file_for_two_destinations() {
    let mut scene = Scene::new(Kinesis, "app.log");
    let second = Flow::new(&scene.world, Firehose, "app.log").with("aggregation", "none");
    scene.add_flow(second);
    scene.world.lines("app.log", 20);
    scene.start();
    for service in [Service::Kinesis, Service::Firehose] {
        eventually("the destination has all", SOON, || {
            let calls = scene.endpoint.calls();
            let records = calls.iter().filter(|call| call.service == service).flat_map(|call| &call.records);
            let stored = records.filter(|record| record.stored).count();
            if stored == 20 { Ok(()) } else { Err(format!("{service:?}: {stored} of 20")) }
        });
    }
    let repeated = scene.delivers_everything(Repeats::Allowed).repeated;
    assert_eq!(repeated, 20, "each flow delivers each line once");
}
