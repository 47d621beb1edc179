//! The schema has the keys of the table, and takes what the parser takes.

use serde_json::{Value as Json, json};

use super::{good, parse};
use crate::config::keys::{KEYS, Level, Role};
use crate::config::raw::{self, Format, Node, Value};
use crate::config::schema::schema;

const EXAMPLE: &str = include_str!("../../../config.example.yaml");
const COMMITTED: &str = include_str!("../../../config.schema.json");

fn json(node: Node) -> Json {
    match node.value {
        Value::Null => Json::Null,
        Value::Bool(flag) => flag.into(),
        Value::Integer(number) => i64::try_from(number).map_or_else(|_| json!(number as f64), Json::from),
        Value::Float(number) => number.into(),
        Value::Text(text) => text.into(),
        Value::List(items) => items.into_iter().map(json).collect(),
        Value::Map(entries) => entries.into_iter().map(|entry| (entry.key, json(entry.node))).collect(),
    }
}

/// What the schema finds wrong with a YAML text.
fn mistakes(text: &str) -> Vec<String> {
    let document = json(raw::parse(text, Format::Yaml).unwrap());
    static VALIDATOR: std::sync::LazyLock<jsonschema::Validator> =
        std::sync::LazyLock::new(|| jsonschema::draft202012::new(&schema()).unwrap());
    VALIDATOR.iter_errors(&document).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// A flow with one more line, or a top with one.
fn with(level: Level, line: &str) -> String {
    let stream = match line.contains("deliveryStream") || line.contains("kinesisStream") {
        true => "",
        false => "    kinesisStream: s\n",
    };
    let pattern = if line.contains("filePattern") { "" } else { "    filePattern: /a\n" };
    match level {
        Level::Agent => {
            let budget = if line.contains("memoryBudget") { "" } else { "memoryBudget: 1GiB\n" };
            format!("{line}\n{budget}flows:\n  -\n{pattern}{stream}")
        }
        Level::Flow => format!("memoryBudget: 1GiB\nflows:\n  -\n    {line}\n{pattern}{stream}"),
    }
}

#[track_caller]
fn both_take(text: &str) {
    assert_eq!(mistakes(text), Vec::<String>::new(), "the schema\n{text}");
    good(text);
}

#[track_caller]
fn both_refuse(text: &str) {
    assert!(!mistakes(text).is_empty(), "the schema takes\n{text}");
    assert!(parse(text).is_err(), "the parser takes\n{text}");
}

/// The properties of a level that are keys and not groups of keys.
fn properties(schema: &Json, level: Level) -> &serde_json::Map<String, Json> {
    match level {
        Level::Agent => schema["properties"].as_object().unwrap(),
        Level::Flow => schema["$defs"]["FlowKeys"]["properties"].as_object().unwrap(),
    }
}

#[test]
fn the_committed_schema_is_the_one_that_is_printed() {
    let printed = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    assert!(printed == COMMITTED, "run `kinesis-agent schema > config.schema.json`");
    assert_eq!(schema()["$schema"], "https://json-schema.org/draft/2020-12/schema");
}

#[test]
fn the_example_follows_the_schema_that_it_names() {
    assert!(EXAMPLE.starts_with("# yaml-language-server: $schema=config.schema.json\n"));
    assert_eq!(mistakes(EXAMPLE), Vec::<String>::new());
}

#[test]
fn each_key_of_the_table_is_in_the_schema_at_its_level_and_no_other() {
    let schema = schema();
    for level in [Level::Agent, Level::Flow] {
        let properties = properties(&schema, level);
        for key in KEYS.iter().filter(|key| key.level == level) {
            let property = properties.get(key.name).unwrap_or_else(|| panic!("{} is missing", key.name));
            assert!(!property["description"].as_str().unwrap_or_default().is_empty(), "{}", key.name);
            assert_eq!(property["deprecated"] == true, key.role != Role::Used, "{}", key.name);
            if let Some((group, inner)) = key.name.split_once('.') {
                assert_eq!(properties[group]["properties"][inner], *property, "{}", key.name);
            }
        }
        for name in properties.keys() {
            let group = format!("{name}.");
            let known = |key: &crate::config::keys::Key| {
                key.level == level && (key.name == name || key.name.starts_with(&group))
            };
            assert!(KEYS.iter().any(known), "{name} is no key");
        }
    }
}

#[test]
fn the_defaults_of_the_schema_are_the_defaults() {
    let schema = schema();
    let mut compared = 0;
    for level in [Level::Agent, Level::Flow] {
        for (name, property) in properties(&schema, level) {
            let Some(default) = property.get("default") else { continue };
            let settings = |text: &str| crate::config::Settings { warnings: Vec::new(), ..good(text) };
            let plain = if name == "memoryBudget" {
                with(level, "").replace("1GiB", "40MiB")
            } else {
                with(level, "")
            };
            let typed = with(level, &format!("{name}: {default}"));
            assert_eq!(format!("{:#?}", settings(&typed)), format!("{:#?}", settings(&plain)), "{name}");
            compared += 1;
        }
    }
    assert!(compared >= 18, "only {compared} defaults");
}

#[test]
fn the_ranges_of_the_schema_are_the_ranges() {
    let schema = schema();
    let mut compared = 0;
    for level in [Level::Agent, Level::Flow] {
        for (name, property) in properties(&schema, level) {
            let Some(range) = property["anyOf"].get(0).filter(|range| range["type"] == "integer") else {
                continue;
            };
            // These two bound each other.
            let companion = match name.as_str() {
                "retryInitialBackoffMillis" => "\n    retryMaxBackoffMillis: 1h",
                "retryMaxBackoffMillis" => "\n    retryInitialBackoffMillis: 1",
                _ => "",
            };
            let typed = |number: i64| with(level, &format!("{name}: {number}{companion}"));
            let least = range["minimum"].as_i64().unwrap();
            both_take(&typed(least));
            both_refuse(&typed(least - 1));
            if let Some(most) = range["maximum"].as_i64() {
                both_take(&typed(most));
                both_refuse(&typed(most + 1));
            }
            both_refuse(&with(level, &format!("{name}: 1.5")));
            both_refuse(&with(level, &format!("{name}: ~")));
            both_refuse(&with(level, &format!("{name}: ''")));
            both_refuse(&with(level, &format!("{name}: [1]")));
            both_refuse(&with(level, &format!("{name}: 1 parsec")));
            compared += 1;
        }
    }
    assert!(compared >= 15, "only {compared} ranges");
}

const GOOD_AT_THE_TOP: &[&str] = &[
    "status.listen: 9494",
    "status: {listen: ':9494', socket: /run/a.sock}",
    "status.listen: '[::1]:9494'",
    "status.listen: 127.0.0.1:9494",
    "status.listen: localhost:9494",
    "kinesis.region: eu-west-1",
    "kinesis: {region: eu-west-1, endpoint: localhost:4567}",
    "kinesis: {}",
    "kinesis.endpoint: ''",
    "firehose.endpoint: http://[::1]:4567/x",
    "sts: {endpoint: https://sts.x}",
    "checkpointFile: /a b/c",
    "deadLetterFile: ''",
    "deadLetterMaxBytes: 1 GB",
    "useFileEvents: 'TRUE'",
    "useFileEvents: false",
    "memoryBudget: ' 64 MiB '",
    "scanIntervalMillis: '500'",
    "shutdownTimeoutMillis: 1m",
    "assumeRoleARN: arn:aws-cn:iam::123456789012:role/a/b",
    "assumeRoleARN: ''",
    "assumeRoleARN: none",
    "awsProfile: logs",
    "proxy: none",
    "proxy: proxy:3128",
    "proxy: 'http://u:p%40@[::1]:3128/'",
    "noProxy: [a, .b, 10.0.0.0/8]",
    "noProxy: a,b",
    "caBundle: /etc/ssl/ca.pem",
    "useFipsEndpoint: true",
    "useDualStackEndpoint: false",
    "maxConnections: 5",
    "maxConnections: ~",
    "cloudwatch: {emitMetrics: true}",
    "cloudwatch.emitMetrics: [1]",
    "log.level: x",
    "userDefinedCredentialsProvider.classname: ''",
    "userDefinedCredentialsProvider: {location: ''}",
];

const GOOD_IN_A_FLOW: &[&str] = &[
    "name: 12",
    "name: ''",
    "filePattern: [/a, '/b/**/*.log']",
    "filePattern: '/${STREAM}/x'",
    "excludePattern: []",
    "excludePattern: /a/*.gz",
    "kinesisStream: a.b_c-1",
    "kinesisStream: 123",
    "kinesisStream: arn:aws:kinesis:eu-west-1:123456789012:stream/s",
    "kinesisStream: ${STREAM}",
    "deliveryStream: ${NO:-d}",
    "deliveryStream: d",
    "awsProfile: logs",
    "assumeRoleARN: none",
    "proxy: https://a",
    "useDualStackEndpoint: 'true'",
    "initialPosition: START_OF_FILE",
    "partitionKeyOption: ${NO:-DETERMINISTIC}",
    "oversizedRecords: deadLetter",
    "aggregation: lines",
    "aggregation: kpl",
    "aggregationMaxBytes: 100KiB",
    "aggregationMaxRecords: 500",
    "compression: zstd",
    "compression: ${NO:-gzip}",
    "forceCompression: true",
    "truncatedRecordTerminator: ''",
    "truncatedRecordTerminator: 5",
    "multiLineStartPattern: '^\\d'",
    "multiLineStartPattern: 'a$'",
    "maxBufferAgeMillis: 10 s",
    "maxBufferSizeRecords: ' 7 '",
    "publishQueueCapacity: 100",
    "log: {emitInternalMetrics: true}",
    "dataProcessingOptions: []",
    "fileFooterPattern: ''",
    "region: ''",
    "endpoint: http://x",
];

const BAD_AT_THE_TOP: &[&str] = &[
    "status.listen: example.org:9494",
    "status.listen: '0'",
    "status.listen: [1]",
    "status.socket: a.sock",
    "no: such",
    "proxy: socks5://a:1080",
    "proxy: http://a/b",
    "proxy: [a]",
    "noProxy: {a: b}",
    "caBundle: ca.pem",
    "useFipsEndpoint: maybe",
    "kinesis: {regoin: x}",
    "kinesis: x",
    "kinesis.region: EU",
    "kinesis.region: [x]",
    "kinesis.endpoint: ftp://x",
    "kinesis.endpoint: a b",
    "checkpointFile: a/b",
    "checkpointFile: /a/",
    "checkpointFile: {a: b}",
    "checkpointFile: 5",
    "checkpointFile: /",
    "assumeRoleARN: 5",
    "useFileEvents: maybe",
    "useFileEvents: 1",
    "memoryBudget: lots",
    "assumeRoleARN: writer",
    "filePattern: /a",
    "awsAccessKeyId: true",
    "assumeRoleExternalId: [a]",
    "userDefinedCredentialsProvider.classname: com.example.Provider",
];

const BAD_IN_A_FLOW: &[&str] = &[
    "no: such",
    "checkpointFile: /a",
    "filePattern: []",
    "filePattern: a",
    "filePattern: /a/",
    "filePattern: ''",
    "filePattern: [/a, b]",
    "filePattern: {a: b}",
    "kinesisStream: a b",
    "kinesisStream: ''",
    "kinesisStream: arn:aws:kinesis:eu-west-1:1:stream/s",
    "deliveryStream: arn:aws:firehose:x",
    "kinesisStream: s\n    deliveryStream: d",
    "initialPosition: LATEST",
    "initialPosition: ''",
    "aggregation: all",
    "aggregationMaxRecords: 0",
    "compression: lz4",
    "forceCompression: 1",
    "oversizedRecords: 1",
    "multiLineStartPattern: 5",
    "name: [a]",
    "name: \"a\\nb\"",
    "dataProcessingOptions: [{optionName: LOGTOJSON}]",
    "fileFooterPattern: x",
    "log: {level: x}",
    "skipHeaderLines: -1",
];

#[test]
fn what_may_be_typed_after_a_key_is_the_same_for_both() {
    GOOD_AT_THE_TOP.iter().for_each(|line| both_take(&with(Level::Agent, line)));
    GOOD_IN_A_FLOW.iter().for_each(|line| both_take(&with(Level::Flow, line)));
    both_take("flows: []");
}

#[test]
fn what_may_not_be_typed_after_a_key_is_the_same_for_both() {
    BAD_AT_THE_TOP.iter().for_each(|line| both_refuse(&with(Level::Agent, line)));
    BAD_IN_A_FLOW.iter().for_each(|line| both_refuse(&with(Level::Flow, line)));
    for text in [
        "a: b",
        "flows: 5",
        "flows: {}",
        "flows: [5]",
        "flows: [{kinesisStream: s}]",
        "flows: [{filePattern: /a}]",
    ] {
        both_refuse(text);
    }
}
