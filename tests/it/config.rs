//! `kinesis-agent check`, and what is said of a configuration that is wrong.

use std::process::Output;

use crate::support::agent_process::{check, command};
use crate::support::{AgentProcess, Config, Destination, Endpoint, Flow, World};

fn valid(world: &World) -> String {
    let endpoint = Endpoint::start();
    let flow = Flow::new(world, Destination::Kinesis, "*.log");
    Config::new(world, &endpoint).flow(flow).to_yaml()
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// The exit code must be 2, and the message must name all of this.
#[track_caller]
fn refused(config: &str, names: &[&str]) {
    let world = World::new();
    let output = check(&world, config);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for name in names.iter().chain(&["config.yaml"]) {
        assert!(said.contains(name), "{name:?} is missing in:\n{said}");
    }
}

#[test]
fn a_valid_configuration_passes() {
    let world = World::new();
    let output = check(&world, &valid(&world));
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn the_smallest_configuration_passes() {
    let world = World::new();
    let config = "flows:\n  - filePattern: /var/log/*.log\n    kinesisStream: s\n";
    let output = check(&world, config);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn a_misspelt_key_is_named_with_its_line_and_a_suggestion() {
    let config = "flows:\n  - filePattern: /a\n    kinesisStream: s\n    initialPositon: END_OF_FILE\n";
    refused(config, &[":4", "initialPositon", "initialPosition"]);
}

#[test]
fn every_error_is_named_at_once() {
    let config = "shutdownTimeoutMilis: 5\nflows:\n  - filePattern: /a\n    kinesisStream: s\n    \
                  maxBufferSizeRecords: 501\n    partitionKeyOption: SOMETIMES\n  - kinesisStream: t\n";
    let names = [
        "shutdownTimeoutMilis",
        "shutdownTimeoutMillis",
        "maxBufferSizeRecords",
        "500",
        "partitionKeyOption",
        "RANDOM",
        "DETERMINISTIC",
        "filePattern",
        ":5",
        ":6",
    ];
    refused(config, &names);
}

#[test]
fn a_flow_has_one_destination() {
    refused("flows:\n  - filePattern: /a\n", &["kinesisStream", "deliveryStream"]);
    let both = "flows:\n  - filePattern: /a\n    kinesisStream: s\n    deliveryStream: d\n";
    refused(both, &["kinesisStream", "deliveryStream"]);
}

#[test]
fn a_configuration_without_flows_is_refused() {
    refused("checkpointFile: /tmp/x.db\n", &["flows"]);
}

#[test]
fn a_broken_file_is_named_with_the_line() {
    refused("flows:\n  - filePattern: [unclosed\n", &[]);
}

#[test]
fn a_broken_regex_is_named() {
    let config = "flows:\n  - filePattern: /a\n    kinesisStream: s\n    multiLineStartPattern: '(['\n";
    refused(config, &[":4", "multiLineStartPattern"]);
}

#[test]
fn an_unset_variable_without_a_default_is_named() {
    let config = "flows:\n  - filePattern: /a\n    kinesisStream: ${NO_SUCH_VARIABLE_IS_SET}\n";
    refused(config, &[":3", "NO_SUCH_VARIABLE_IS_SET"]);
}

#[test]
fn a_missing_file_is_named() {
    let world = World::new();
    let mut agent = AgentProcess::start_with_file(&world, &world.root().join("no-such-file.yaml"));
    let status = agent.wait_exit(crate::support::scene::SOON);
    assert!(!status.success());
    assert!(agent.log_text().contains("no-such-file.yaml"), "{}", agent.log_text());
}

#[test]
fn an_agent_does_not_start_with_a_wrong_configuration() {
    let world = World::new();
    let endpoint = Endpoint::start();
    let flow = Flow::new(&world, Destination::Kinesis, "*.log").with("initialPositon", "END_OF_FILE");
    let mut agent = AgentProcess::start(&world, &Config::new(&world, &endpoint).flow(flow));
    let status = agent.wait_exit(crate::support::scene::SOON);
    assert_eq!(status.code(), Some(78), "{}", agent.log_text());
    assert!(agent.log_text().contains("initialPosition"), "{}", agent.log_text());
}

#[test]
fn a_configuration_in_json_with_comments_passes() {
    let world = World::new();
    let config = "{ // as the Java agent has it\n  \"flows\": [ /* one */ { \"filePattern\": \"/a\", \
                  \"kinesisStream\": \"s\" } ]\n}\n";
    let output = check(&world, config);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn dotted_and_nested_keys_and_numbers_as_text_are_the_same() {
    for config in ["kinesis.region: eu-west-1\n", "kinesis: {region: eu-west-1}\n"] {
        let world = World::new();
        let flow = "flows:\n  - {filePattern: /a, kinesisStream: s, maxBufferSizeRecords: '21'}\n";
        let output = check(&world, &format!("{config}{flow}"));
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    }
}

#[test]
fn the_schema_is_printed_as_it_is_kept() {
    let world = World::new();
    let output = command(&world).arg("schema").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/config.schema.json");
    assert!(output.stdout == std::fs::read(kept).unwrap(), "run `kinesis-agent schema > config.schema.json`");
}
