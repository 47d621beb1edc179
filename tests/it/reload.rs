//! Another configuration while the agent runs: what changes, what must not, and that nothing is
//! lost or repeated by it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::support::agent_process::command;
use crate::support::scene::SOON;
use crate::support::{Destination, Flow, Repeats, Rotator, Scene, Step, World, eventually};

use Destination::{Firehose, Kinesis};

fn flow(scene: &Scene, name: &str, file: &str) -> Flow {
    Flow::new(&scene.world, Kinesis, file).with("name", name)
}

fn use_flows(scene: &mut Scene, flows: impl IntoIterator<Item = Flow>) {
    scene.config = scene.config.clone().with_flows(flows);
}

/// An agent with a flow for each of these files.
fn scene_with(files: &[&str]) -> Scene {
    let mut scene = Scene::new(Kinesis, "unused.log");
    let flows: Vec<Flow> = files.iter().map(|file| flow(&scene, file, file)).collect();
    use_flows(&mut scene, flows);
    scene.start();
    for file in files {
        scene.world.lines(file, 10);
    }
    scene.wait_for_all();
    scene
}

#[test]
fn a_new_flow_begins_and_a_removed_one_ends_and_goes_on_where_it_was_when_it_comes_back() {
    let mut scene = scene_with(&["a.log"]);
    let (a, b) = (flow(&scene, "a.log", "a.log"), flow(&scene, "b", "b.log"));
    scene.world.lines("b.log", 10);
    use_flows(&mut scene, [b.clone()]);
    scene.reload();
    scene.wait_for_all();
    let unheard = scene.world.lines("a.log", 10);
    scene.world.lines("b.log", 10);
    scene.reload();
    eventually("all but what nobody reads is delivered", SOON, || {
        match scene.oracle.missing(&scene.world, &scene.endpoint) {
            missing if missing == unheard.len() => Ok(()),
            missing => Err(format!("{missing} are missing")),
        }
    });
    use_flows(&mut scene, [b, a]);
    scene.reload();
    scene.delivers_everything_once();
}

/// While the endpoint hangs, only the descriptor that the flow opened keeps the bytes of a
/// deleted file. If the reload closed it they would be gone.
#[test]
fn a_flow_that_is_asked_for_as_before_keeps_its_files_open() {
    let mut scene = scene_with(&["kept.log", "removed.log"]);
    scene.endpoint.always(|_| Step::fail_all("ProvisionedThroughputExceededException"));
    scene.world.long_lines("kept.log", 20_000, 1000);
    let calls = scene.endpoint.call_count();
    scene.wait_for_calls_after(calls, 3);
    scene.world.delete("kept.log");
    let flows: Vec<Flow> = ["new.log", "kept.log"].iter().map(|file| flow(&scene, file, file)).collect();
    use_flows(&mut scene, flows);
    scene.reload();
    scene.world.lines("new.log", 10);
    scene.endpoint.heal();
    scene.delivers_everything_once();
}

#[test]
fn a_changed_flow_delivers_what_it_read_and_goes_on_with_its_new_keys() {
    let mut scene = scene_with(&["app.log", "other.log"]);
    scene.endpoint.always(|_| Step::Latency(Duration::from_millis(200)));
    scene.world.lines("app.log", 2000);
    let changed = flow(&scene, "app.log", "app.log").with("maxBufferSizeRecords", 7);
    let other = flow(&scene, "other.log", "other.log");
    use_flows(&mut scene, [changed, other]);
    scene.reload();
    scene.endpoint.heal();
    let calls = scene.endpoint.call_count();
    scene.world.lines("app.log", 100);
    scene.wait_for_all();
    let largest = scene
        .endpoint
        .look_at_calls(calls, |calls| calls.iter().map(|call| call.records.len()).max().unwrap());
    assert!(largest <= 7, "a request with {largest} records");
    scene.delivers_everything_once();
}

#[test]
fn a_renamed_flow_takes_over_the_positions_of_its_files() {
    let mut scene = scene_with(&["app.log"]);
    let renamed = flow(&scene, "another name", "*.log");
    use_flows(&mut scene, [renamed]);
    scene.reload();
    scene.world.lines("app.log", 10);
    scene.world.lines("more.log", 10);
    scene.delivers_everything_once();
}

/// What was rotated while nothing could be sent belongs to the flow that has its file now.
#[test]
fn a_renamed_flow_takes_over_the_unread_rest_of_a_rotated_file() {
    let mut scene = scene_with(&["app.log"]);
    scene.set("shutdownTimeoutMillis", 200);
    scene.reload();
    scene.endpoint.always(|_| Step::fail_all("ProvisionedThroughputExceededException"));
    let calls = scene.endpoint.call_count();
    scene.world.lines("app.log", 2000);
    scene.wait_for_calls_after(calls, 2);
    scene.world.rename("app.log", "app.log.1");
    scene.world.lines("app.log", 10);
    eventually("the rotation is seen", SOON, || {
        let seen = scene.agent().log_text().contains("the file was renamed");
        if seen { Ok(()) } else { Err("not yet".into()) }
    });
    let renamed = flow(&scene, "another name", "app.log");
    use_flows(&mut scene, [renamed]);
    scene.reload();
    scene.endpoint.heal();
    // A request that was under way when the flow gave up may be accepted later.
    scene.delivers_everything(Repeats::Allowed);
}

/// Who mends what an outage came from, such as the credentials, changes the flow. Its descriptor
/// is all that keeps the bytes of a file that was deleted meanwhile.
#[test]
fn a_changed_flow_goes_on_with_a_deleted_file_that_it_could_not_send() {
    let mut scene = scene_with(&["app.log"]);
    scene.set("shutdownTimeoutMillis", 200);
    scene.reload();
    scene.endpoint.always(|_| Step::fail_all("ProvisionedThroughputExceededException"));
    let calls = scene.endpoint.call_count();
    scene.world.long_lines("app.log", 40_000, 1000);
    scene.wait_for_calls_after(calls, 3);
    scene.world.delete("app.log");
    scene.world.lines("app.log", 10);
    let changed = flow(&scene, "app.log", "app.log").with("maxBufferAgeMillis", 50);
    use_flows(&mut scene, [changed]);
    scene.reload();
    let renamed = flow(&scene, "another name", "app.log");
    use_flows(&mut scene, [renamed]);
    scene.reload();
    scene.endpoint.heal();
    // A request that was under way when the flow gave up may be accepted later.
    scene.delivers_everything(Repeats::Allowed);
}

#[test]
fn flows_that_swap_their_names_and_one_that_is_split_keep_the_positions_of_their_files() {
    let mut scene = scene_with(&["a.log", "b.log"]);
    let swapped = [flow(&scene, "b.log", "a.log"), flow(&scene, "a.log", "b.log")];
    use_flows(&mut scene, swapped);
    scene.reload();
    for file in ["a.log", "b.log"] {
        scene.world.lines(file, 10);
    }
    scene.wait_for_all();
    let merged = flow(&scene, "a.log", "*.log");
    use_flows(&mut scene, [merged]);
    scene.reload();
    for file in ["a.log", "b.log"] {
        scene.world.lines(file, 10);
    }
    scene.wait_for_all();
    let split = [flow(&scene, "a.log", "a.log"), flow(&scene, "new", "b.log")];
    use_flows(&mut scene, split);
    scene.stop();
    scene.start();
    for file in ["a.log", "b.log"] {
        scene.world.lines(file, 10);
    }
    scene.delivers_everything_once();
}

/// Who leaves a file out may have a reason that it must not be sent.
#[test]
fn a_file_that_a_flow_leaves_out_from_now_on_is_not_read_any_more() {
    let mut scene = scene_with(&["a.log", "b.log"]);
    let all = || flow(&scene, "all", "*.log");
    let (all, without_b) =
        (all(), all().with("excludePattern", scene.world.path("b.log").display().to_string()));
    use_flows(&mut scene, [all.clone()]);
    scene.reload();
    use_flows(&mut scene, [without_b]);
    scene.reload();
    let left_out = scene.world.lines("b.log", 10).len();
    for is_restarted in [false, true] {
        if is_restarted {
            scene.stop();
            scene.start();
        }
        scene.world.lines("a.log", 10);
        eventually("all but what is left out is delivered", SOON, || {
            match scene.oracle.missing(&scene.world, &scene.endpoint) {
                missing if missing == left_out => Ok(()),
                missing => Err(format!("{missing} are missing")),
            }
        });
    }
    use_flows(&mut scene, [all]);
    scene.reload();
    scene.delivers_everything_once();
}

#[test]
fn a_file_with_mistakes_changes_nothing_and_says_why() {
    let mut scene = scene_with(&["app.log"]);
    let broken = scene.config.to_yaml() + "    maxBufferAgeMilis: 5\n";
    fs::write(scene.world.root().join("config.yaml"), broken).unwrap();
    scene.agent().hang_up();
    eventually("the mistake is named", SOON, || {
        let log = scene.agent().log_text();
        let named = log.contains("maxBufferAgeMilis") && log.contains("goes on with the one before");
        if named { Ok(()) } else { Err("not yet".into()) }
    });
    scene.world.lines("app.log", 10);
    scene.wait_for_all();
    fs::remove_file(scene.world.root().join("config.yaml")).unwrap();
    scene.agent().hang_up();
    eventually("the missing file is named", SOON, || {
        let missing = scene.agent().log_text().contains("No such file");
        if missing { Ok(()) } else { Err("not yet".into()) }
    });
    scene.world.lines("app.log", 10);
    scene.delivers_everything_once();
}

#[test]
fn a_flow_whose_endpoint_hangs_does_not_hold_up_a_reload_for_ever_nor_the_others() {
    let mut scene = scene_with(&["hangs.log", "lives.log"]);
    scene.set("shutdownTimeoutMillis", 500);
    // The deadline of the reload is that of the configuration that it brings.
    let hanging = flow(&scene, "hangs.log", "hangs.log").with("kinesisStream", "hanging");
    let lives = flow(&scene, "lives.log", "lives.log");
    use_flows(&mut scene, [hanging, lives.clone()]);
    scene.reload();
    scene.endpoint.always(|request| match request.stream.as_str() {
        "hanging" => Step::Hang,
        _ => Step::Ok,
    });
    let calls = scene.endpoint.call_count();
    scene.world.lines("hangs.log", 10);
    scene.wait_for_calls_after(calls, 1);
    use_flows(&mut scene, [lives]);
    scene.ask_to_reload();
    scene.probe("lives.log");
    eventually("the reload ends", SOON, || {
        let log = scene.agent().log_text();
        if log.matches("is used now").count() == 2 { Ok(()) } else { Err("not yet".into()) }
    });
    let back = ["hangs.log", "lives.log"].map(|file| flow(&scene, file, file));
    use_flows(&mut scene, back);
    scene.endpoint.heal();
    scene.reload();
    scene.delivers_everything_once();
}

#[test]
fn sigterm_in_the_middle_of_a_reload_ends_the_agent_and_loses_nothing() {
    let mut scene = scene_with(&["app.log", "other.log"]);
    scene.set("shutdownTimeoutMillis", 2000);
    scene.endpoint.always(|_| Step::Hang);
    let calls = scene.endpoint.call_count();
    scene.world.lines("app.log", 10);
    scene.wait_for_calls_after(calls, 1);
    let other = flow(&scene, "other.log", "other.log");
    let app = flow(&scene, "app.log", "app.log");
    use_flows(&mut scene, [other.clone()]);
    scene.ask_to_reload();
    eventually("the flow drains", SOON, || {
        let draining = scene.agent().log_text().contains("the flow is removed or changed");
        if draining { Ok(()) } else { Err("not yet".into()) }
    });
    scene.stop();
    scene.endpoint.heal();
    use_flows(&mut scene, [app, other]);
    scene.start();
    scene.delivers_everything_once();
}

#[test]
fn an_agent_without_flows_waits_for_a_configuration_that_has_some() {
    let mut scene = Scene::new(Firehose, "app.log");
    let config = scene.config.clone();
    use_flows(&mut scene, []);
    scene.world.lines("app.log", 10);
    scene.start();
    scene.reload();
    scene.config = config;
    scene.reload();
    scene.delivers_everything_once();
}

#[test]
fn what_only_a_restart_changes_is_named() {
    let mut scene = scene_with(&["app.log"]);
    let elsewhere = scene.world.root().join("elsewhere.db");
    scene.set("checkpointFile", elsewhere.display().to_string());
    scene.set("status.listen", 9494);
    scene.set("status.unreadyAfterMillis", 5000);
    scene.reload();
    for key in ["checkpointFile", "status.listen", "status.unreadyAfterMillis"] {
        assert!(scene.agent().log_text().contains(&format!("key=\"{key}\"")), "{key}");
    }
    assert!(!elsewhere.exists());
    scene.delivers_everything_once();
}

/// Each reload ends, begins or changes flows while files are written and rotated.
#[test]
fn fifty_reloads_under_load_lose_and_repeat_nothing() {
    let mut scene = Scene::new(Kinesis, "unused.log");
    let all = ["a.log", "b.log", "c.log", "d.log"];
    let flows = |scene: &Scene, n: usize| -> Vec<Flow> {
        let flows = all.iter().enumerate().map(|(at, file)| {
            let age = if at == n % 4 { 20 + n } else { 100 };
            flow(scene, file, file).with("maxBufferAgeMillis", age)
        });
        // `a.log` always stays as it is, one of the others is left out, another one is changed.
        let kept = flows.enumerate().filter(|(at, _)| *at == 0 || at % 4 != (n + 1) % 4);
        kept.map(|(at, flow)| if at == 0 { flow.with("maxBufferAgeMillis", 100) } else { flow }).collect()
    };
    let first = flows(&scene, 0);
    use_flows(&mut scene, first);
    scene.start();
    for n in 0..50 {
        for file in all {
            scene.world.lines(file, 40);
        }
        if n % 5 == 4 {
            let file = all[n / 5 % 4];
            Rotator::RenameShift.rotate(&scene.world, file);
        }
        let flows = flows(&scene, n);
        use_flows(&mut scene, flows);
        scene.reload();
    }
    let flows = all.map(|file| flow(&scene, file, file));
    use_flows(&mut scene, flows);
    scene.reload();
    scene.delivers_everything_once();
}

fn reload(world: &World, option: &str, path: &Path) -> (Option<i32>, String) {
    let output = command(world).args(["reload", option]).arg(path).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code(), text)
}

/// What an operator sees of it.
#[test]
fn the_command_says_how_a_reload_went() {
    let mut scene = scene_with(&["app.log"]);
    let file = scene.world.root().join("config.yaml");
    let socket = scene.world.status_socket();
    let (code, text) = reload(&scene.world, "--config", &file);
    assert!(code == Some(0) && text.contains("config.yaml is used now"), "{code:?} {text}");
    fs::write(&file, scene.config.to_yaml() + "    maxBufferAgeMilis: 5\n").unwrap();
    let (code, text) = reload(&scene.world, "--socket", &socket);
    assert!(code == Some(1) && text.contains("`maxBufferAgeMillis`"), "{code:?} {text}");
    scene.stop();
    let (code, text) = reload(&scene.world, "--socket", &socket);
    assert!(code == Some(1) && text.contains("Is the agent running"), "{code:?} {text}");
}

/// Without positions nothing may be read, so the new flow waits; whoever asks is told.
#[test]
fn a_new_flow_waits_for_the_database_and_the_status_says_so() {
    let mut scene = scene_with(&["app.log"]);
    let database = rusqlite::Connection::open(scene.world.checkpoint_file()).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    let flows = ["app.log", "new.log"].map(|file| flow(&scene, file, file));
    use_flows(&mut scene, flows);
    scene.world.lines("new.log", 10);
    scene.ask_to_reload();
    let socket = scene.world.status_socket();
    eventually("the status tells that the flow cannot begin", Duration::from_secs(60), || {
        let output = command(&scene.world).args(["status", "--socket"]).arg(&socket).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let told =
            text.starts_with("CRITICAL") && text.contains("The new flows of the changed configuration");
        if told { Ok(()) } else { Err(text) }
    });
    scene.probe("app.log");
    drop(database);
    scene.delivers_everything_once();
}
