//! What the agent says of itself while it works, fails and is gone.

use std::fs;
use std::io::ErrorKind::PermissionDenied;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::inquiry::{get, status, status_command, status_said, status_when};
use crate::support::request::{Request, Service};
use crate::support::{AgentProcess, Config, Destination, Endpoint, Flow, Scene, Step, World};

use Destination::{Firehose, Kinesis};

fn hang_firehose(request: &Request) -> Step {
    if request.service == Service::Firehose { Step::Hang } else { Step::Ok }
}

/// A flow `app` to a stream that accepts, and a flow `web` to Firehose.
fn two_flows() -> Scene {
    let mut scene = Scene::with_flow(Kinesis, "app/*.log", |flow| flow.with("name", "app"));
    let web = Flow::new(&scene.world, Firehose, "web/*.log").with("name", "web");
    scene.add_flow(web);
    scene
}

fn file<'a>(status: &'a Value, name: &str) -> &'a Value {
    let items = status["files"]["items"].as_array().unwrap();
    let is_meant = |file: &&Value| file["path"].as_str().unwrap().ends_with(name);
    items.iter().find(is_meant).unwrap_or_else(|| panic!("no {name}: {status:#}"))
}

/// A file of the system that may only be written to, by whomever.
fn unreadable_for_root() -> PathBuf {
    let buses = fs::read_dir("/sys/bus").unwrap().map(|bus| bus.unwrap().path().join("uevent"));
    let mut closed = buses.filter(|file| fs::read(file).is_err_and(|error| error.kind() == PermissionDenied));
    closed.next().expect("sysfs has files that may only be written to")
}

fn millis_ago(then: &Value) -> u128 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    now - u128::from(then.as_u64().unwrap())
}

fn tells_of_the_agent(world: &World, status: &Value) {
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert!(millis_ago(&status["startedAt"]) < 600_000 && status["uptimeSeconds"].as_u64().unwrap() < 600);
    assert_eq!(status["configuration"]["file"], world.root().join("config.yaml").display().to_string());
    assert_eq!(status["configuration"]["reloads"], 0);
    assert_eq!(status["checkpoints"]["file"], world.checkpoint_file().display().to_string());
    assert_eq!(status["checkpoints"]["lastError"], Value::Null);
    assert_eq!(status["memory"]["budget"], 40 << 20);
}

fn tells_of_the_flows(status: &Value) {
    let [app, web] = [0, 1].map(|at| status["flows"][at].clone());
    assert_eq!(
        status["memory"]["used"],
        app["memoryUsed"].as_u64().unwrap() + web["memoryUsed"].as_u64().unwrap()
    );
    assert!(web["memoryUsed"].as_u64().unwrap() >= 2000);
    assert_eq!((&app["name"], &app["destination"]), (&json!("app"), &json!("kinesis:test-stream")));
    assert_eq!(
        (&app["state"], &app["recordsDelivered"], &app["bytesRead"]),
        (&json!("upToDate"), &json!(15), &json!(1500))
    );
    assert_eq!((&app["lagSeconds"], &app["errors"], &app["shardsSeen"]), (&json!(0.0), &json!(0), &json!(1)));
    assert_eq!((&app["failingSince"], &app["lastError"]), (&Value::Null, &Value::Null));
    assert!(app["credentials"]["source"].is_string() && app["credentials"]["expiresAt"].is_null(), "{app:#}");
    let unreadable = unreadable_for_root().canonicalize().unwrap();
    assert_eq!(app["unreadable"][0]["path"], unreadable.display().to_string());
    assert_eq!((&web["state"], &web["shardsSeen"]), (&json!("delivering"), &Value::Null));
    assert!(web["lagSeconds"].as_f64().unwrap() > 0.0);
}

fn tells_of_the_files(world: &World, status: &Value) {
    assert_eq!((&status["files"]["total"], &status["files"]["matching"]), (&json!(3), &json!(3)));
    assert_eq!(status["files"]["items"][0]["path"], world.path("web/w.log").display().to_string());
    let backlog = file(status, "w.log");
    assert_eq!(
        (&backlog["flow"], &backlog["state"], &backlog["size"]),
        (&json!("web"), &json!("live"), &json!(2000))
    );
    assert_eq!((&backlog["settled"], &backlog["lagBytes"]), (&json!(0), &json!(2000)));
    let done = file(status, "a.log");
    assert_eq!((&done["size"], &done["read"], &done["settled"]), (&json!(1000), &json!(1000), &json!(1000)));
}

#[test]
fn every_field_tells_what_is_so() {
    let mut scene = two_flows();
    scene.endpoint.always(hang_firehose);
    scene.world.long_lines("app/a.log", 10, 100);
    scene.world.long_lines("app/b.log", 5, 100);
    scene.world.long_lines("web/w.log", 20, 100);
    std::os::unix::fs::symlink(unreadable_for_root(), scene.world.path("app/secret.log")).unwrap();
    scene.start();
    let status = status_when(&scene.world, "one flow delivers, one hangs", |status| {
        let (app, web) = (&status["flows"][0], &status["flows"][1]);
        app["bytesDelivered"] == 1500
            && app["lagBytes"] == 0
            && app["unreadableFiles"] == 1
            && web["requestsInFlight"] == 1
            && web["lagBytes"] == 2000
            && file(status, "w.log")["read"] == 2000
            && app["openFiles"] == 2
    });
    tells_of_the_agent(&scene.world, &status);
    tells_of_the_flows(&status);
    tells_of_the_files(&scene.world, &status);
    let problems = status["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert_eq!((&problems[0]["severity"], &problems[0]["flow"]), (&json!("warning"), &json!("app")));

    let (_, body) = get(&scene.world, "/status?file=*.log&flow=app&sort=path&offset=1&limit=1");
    let page: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&page["files"]["matching"], &page["files"]["items"][0]["size"]), (&json!(2), &json!(500)));

    let (code, said) = status_said(&scene.world, &["--flow", "app"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.starts_with("WARNING - 2 flows, lag 2.0 KiB, oldest "), "{said}");
    assert!(said.contains("/uevent") && said.contains("app/a.log") && !said.contains("web/w.log"), "{said}");
    let (_, json) = status_said(&scene.world, &["--json", "--file", "w.log"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["files"]["matching"], &json["pid"]), (&json!(1), &status["pid"]));

    fs::remove_file(scene.world.path("app/secret.log")).unwrap();
    scene.endpoint.heal();
    status_when(&scene.world, "nobody complains of a file that is gone", |status| {
        status["flows"][0]["unreadableFiles"] == 0
    });
}

#[test]
fn a_flow_that_fails_for_long_makes_the_agent_unready_until_it_delivers() {
    let mut scene = two_flows();
    scene.set("status.unreadyAfterMillis", "1s");
    scene.world.lines("app/a.log", 10);
    scene.start();
    status_when(&scene.world, "all is delivered", |status| {
        status["flows"][0]["recordsDelivered"] == 10 && status["flows"][0]["state"] == "upToDate"
    });
    assert_eq!(get(&scene.world, "/readyz"), (200, "ready\n".to_owned()));
    let (code, said) = status_said(&scene.world, &[]);
    assert_eq!(code, 0, "{said}");
    assert!(said.starts_with("OK - 2 flows, lag 0 B, 1 file, up "), "{said}");

    scene.endpoint.always(|_| Step::error("AccessDeniedException"));
    scene.world.lines("app/a.log", 10);
    let failing = status_when(&scene.world, "the flow has failed for long", |status| {
        status["problems"][0]["severity"] == "critical"
    });
    assert_eq!(
        (&failing["flows"][0]["state"], &failing["flows"][1]["state"]),
        (&json!("failing"), &json!("upToDate"))
    );
    assert!(millis_ago(&failing["flows"][0]["failingSince"]) >= 1000);
    assert!(failing["flows"][0]["lastError"]["text"].as_str().unwrap().contains("AccessDenied"));
    let (code, reason) = get(&scene.world, "/readyz");
    assert_eq!(code, 503);
    assert!(reason.contains("`app`") && reason.contains("AccessDeniedException"), "{reason}");
    assert_eq!(get(&scene.world, "/healthz").0, 200);
    let (code, said) = status_said(&scene.world, &[]);
    assert_eq!(code, 2, "{said}");
    assert!(said.starts_with("CRITICAL - 2 flows, 1 failing, lag "), "{said}");

    scene.endpoint.heal();
    status_when(&scene.world, "it delivers again", |status| status["flows"][0]["state"] == "upToDate");
    assert_eq!(get(&scene.world, "/readyz").0, 200);
    assert_eq!(status_said(&scene.world, &[]).0, 0);
    scene.delivers_everything_once();
}

#[test]
fn whoever_asks_an_agent_that_is_gone_or_stuck_is_told_so() {
    let mut scene = two_flows();
    let (code, said) = status_said(&scene.world, &[]);
    assert_eq!(code, 3, "{said}");
    scene.start();
    let pid = status(&scene.world)["pid"].clone();
    scene.agent().pause();
    let (code, said) = status_said(&scene.world, &[]);
    assert_eq!(code, 3);
    assert!(said.starts_with("UNKNOWN - the agent behind ") && said.contains("has not answered"), "{said}");
    scene.agent().resume();
    assert_eq!(status(&scene.world)["pid"], pid);

    scene.kill9();
    let (code, said) = status_said(&scene.world, &[]);
    assert_eq!(code, 3);
    assert!(said.contains("ended without removing the socket"), "{said}");

    scene.start();
    assert_ne!(status(&scene.world)["pid"], pid, "the socket that was left behind is replaced");
    scene.stop();
    let (code, said) = status_said(&scene.world, &[]);
    assert_eq!(code, 3);
    assert!(said.contains("there is no such socket") && said.contains("systemctl status"), "{said}");
    let silent = status_command(&scene.world, &["--json"]);
    assert_eq!((silent.status.code(), silent.stdout.len()), (Some(3), 0));
    assert_eq!(
        status_command(&scene.world, &["--colour"]).status.code(),
        Some(3),
        "2 is for an agent in trouble"
    );
}

#[test]
fn a_second_agent_leaves_the_first_ones_socket_alone_and_works() {
    let mut scene = two_flows();
    scene.start();
    let pid = status(&scene.world)["pid"].clone();
    let mode = fs::metadata(scene.world.status_socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);

    let (other, endpoint) = (World::new(), Endpoint::start());
    let config = Config::new(&other, &endpoint)
        .with("status.socket", scene.world.status_socket().display().to_string())
        .flow(Flow::new(&other, Kinesis, "*.log"));
    other.lines("a.log", 3);
    let mut second = AgentProcess::start(&other, &config);
    crate::support::eventually("the second delivers", crate::support::scene::SOON, || {
        if endpoint.stored().len() == 3 { Ok(()) } else { Err(endpoint.stored_text()) }
    });
    second.terminate();
    assert!(second.wait_exit(crate::support::scene::SOON).success());
    let log = second.log_text();
    assert!(log.contains("another agent answers there") && log.contains("`status.socket`"), "{log}");
    assert_eq!(status(&scene.world)["pid"], pid);
}

#[test]
fn nothing_that_cannot_be_bound_stops_the_agent() {
    let mut scene = Scene::new(Kinesis, "*.log");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    fs::write(scene.world.root().join("file"), "").unwrap();
    scene.set("status.socket", scene.world.root().join("file/status.sock").display().to_string());
    scene.set("status.listen", taken.local_addr().unwrap().to_string());
    scene.world.lines("a.log", 10);
    scene.start();
    scene.wait_for_all();
    let log = scene.agent().log_text();
    assert!(log.contains("`status.listen`") && log.contains("`status.socket`"), "{log}");
    scene.delivers_everything_once();
}
