//! What a good file becomes: defaults, units, nesting, variables, and the limits of the memory.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::good;
use crate::config::{ConfigError, load};
use crate::file::InitialPosition;
use crate::record::Oversized;
use crate::send::{Aggregation, Compression, Destination, Flush, PartitionKey, Proxy, ShardLimits, compress};

const STREAM: &str = "flows:\n- {filePattern: /a, kinesisStream: s}\n";
const FIREHOSE: &str = "flows:\n- {filePattern: /a, deliveryStream: d}\n";

#[test]
fn defaults_of_a_flow_to_a_stream() {
    let settings = good(STREAM);
    assert_eq!(settings.checkpoint_file, Path::new("/var/lib/kinesis-agent/checkpoints.db"));
    assert_eq!(settings.dead_letter_file, Path::new("/var/lib/kinesis-agent/dead-letters.jsonl"));
    assert_eq!((settings.dead_letter_max_bytes, settings.memory_budget), (64 << 20, 40 << 20));
    assert_eq!(settings.checkpoint_time_to_live, Duration::from_secs(30 * 86_400));
    assert_eq!((settings.max_open_removed_bytes, settings.shutdown_timeout), (None, Duration::from_secs(10)));
    assert_eq!(settings.status.socket, Path::new("/run/kinesis-agent/status.sock"));
    assert_eq!((settings.status.listen, settings.status.unready_after), (None, Duration::from_secs(60)));
    let flow = &settings.flows[0];
    assert_eq!((flow.name.as_str(), flow.key.as_str()), ("/a", "kinesis:s#/a"));
    assert_eq!(flow.file.initial_position, InitialPosition::EndOfFile);
    assert_eq!((flow.file.scan_interval, flow.file.use_events), (Duration::from_secs(10), true));
    assert_eq!((flow.file.max_line_bytes, flow.record.max_record_bytes), (1_048_544, 1_048_544));
    assert_eq!((flow.record.oversized, flow.record.skip_header_lines), (Oversized::Split, 0));
    assert_eq!(flow.record.truncated_record_terminator, b"\n");
    assert!(!flow.record.add_missing_newline && flow.record.multi_line.is_none());
    assert_eq!((flow.send.aggregation, flow.send.aggregation_max_bytes), (Aggregation::None, 256_000));
    assert_eq!((flow.send.max_batch_entries, flow.send.max_batch_bytes), (500, 5 << 20));
    assert_eq!((flow.send.max_age, flow.send.max_in_flight), (Duration::from_secs(1), 32));
    assert_eq!(flow.send.retry_initial_backoff, Duration::from_millis(100));
    assert_eq!(flow.send.retry_max_backoff, Duration::from_secs(10));
    assert_eq!(flow.send.partition_key, PartitionKey::Random);
    assert_eq!((&flow.send.region, &flow.send.endpoint), (&None, &None));
}

#[test]
fn firehose_packs_lines_but_not_events() {
    let flow = &good(FIREHOSE).flows[0];
    assert_eq!((flow.send.aggregation, flow.send.aggregation_max_bytes), (Aggregation::Lines, 1_024_000));
    assert_eq!((flow.send.max_age, flow.send.max_batch_bytes), (Duration::from_secs(60), 4 << 20));
    assert_eq!(flow.record.max_record_bytes, 1_024_000);
    assert!(flow.record.add_missing_newline);
    let events = "flows:\n- {filePattern: /a, deliveryStream: d, multiLineStartPattern: a|b}\n";
    let flow = &good(events).flows[0];
    assert_eq!(flow.send.aggregation, Aggregation::None);
    let multi_line = flow.record.multi_line.as_ref().unwrap();
    assert_eq!((multi_line.flush_after, multi_line.max_bytes), (Duration::from_secs(5), 1_024_000));
    assert!(multi_line.start.is_match(b"b\n") && !multi_line.start.is_match(b"xb\n"));
}

#[test]
fn an_agent_json_has_the_defaults_of_the_java_agent() {
    let json = r#"/* shipped */ {
        "cloudwatch.emitMetrics": true, // warned of
        "kinesis.endpoint": "", "firehose.endpoint": "firehose.us-east-2.amazonaws.com",
        "assumeRoleARN": null, "made.up": 1,
        "flows": [{"filePattern": "/a", "deliveryStream": "${d}", "maxBufferSizeRecords": "7"}]
    }"#;
    let json = json.replace("${d}", "d");
    let settings = good(&json);
    insta::assert_snapshot!(settings.warnings.join("\n"), @r"
    c.yaml:2: cloudwatch.emitMetrics: has no effect in this agent: this version publishes no metrics to CloudWatch
    c.yaml:4: made.up: no such key at the top level; every key is explained in docs/CONFIGURATION.md (the key is ignored)
    ");
    let send = &settings.flows[0].send;
    assert_eq!((send.aggregation, send.max_age), (Aggregation::None, Duration::from_secs(60)));
    assert_eq!(send.endpoint.as_deref(), Some("https://firehose.us-east-2.amazonaws.com"));
    assert_eq!(send.region.as_deref(), Some("us-east-2"));
    assert_eq!((send.max_batch_entries, send.credentials.assume_role_arn.as_deref()), (7, None));
}

#[test]
fn dotted_and_nested_keys_are_the_same() {
    let nested = format!("kinesis: {{region: eu-west-1, endpoint: 'http://h:1'}}\n{STREAM}");
    let dotted = format!("kinesis.region: eu-west-1\nkinesis.endpoint: http://h:1\n{STREAM}");
    let mixed = format!("kinesis:\n  region: eu-west-1\nkinesis.endpoint: http://h:1\n{STREAM}");
    let send = &good(&nested).flows[0].send;
    assert_eq!((send.region.as_deref(), send.endpoint.as_deref()), (Some("eu-west-1"), Some("http://h:1")));
    assert_eq!(&good(&dotted).flows[0].send, send);
    assert_eq!(&good(&mixed).flows[0].send, send);
}

#[test]
fn numbers_are_numbers_texts_or_have_units() {
    for (text, age) in
        [("500", 500), ("\"500\"", 500), ("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("0x1F4", 500)]
    {
        let yaml = format!("flows:\n- filePattern: /a\n  kinesisStream: s\n  maxBufferAgeMillis: {text}\n");
        assert_eq!(good(&yaml).flows[0].send.max_age, Duration::from_millis(age), "{text}");
    }
    for (text, budget) in [("64MiB", 64 << 20), ("10 MB", 10_000_000), ("'9000000'", 9_000_000)] {
        assert_eq!(good(&format!("memoryBudget: {text}\n{STREAM}")).memory_budget, budget, "{text}");
    }
    assert!(!good(&format!("useFileEvents: 'False'\n{STREAM}")).flows[0].file.use_events);
}

#[test]
fn variables_are_replaced_but_not_in_a_pattern() {
    let yaml = "flows:\n- filePattern: [\"/${STREAM}/*\", '/b/$${x}']\n  kinesisStream: ${NONE:-x}-${STREAM}\n  \
                region: ${EMPTY}\n  multiLineStartPattern: '[${]STREAM}'\n";
    let flow = &good(yaml).flows[0];
    assert_eq!(flow.file.patterns, ["/s/*", "/b/${x}"]);
    assert_eq!(flow.key, "kinesis:x-s#/s/*,/b/${x}");
    assert_eq!((flow.send.destination.name(), &flow.send.region), ("x-s", &None));
    assert_eq!(flow.record.multi_line.as_ref().unwrap().start.as_str(), r"\A(?:[${]STREAM})");
}

#[test]
fn the_status_is_served_on_this_host_unless_an_address_is_typed() {
    for (text, address) in [
        ("9494", "127.0.0.1:9494"),
        ("':9494'", "127.0.0.1:9494"),
        ("127.0.0.1:1", "127.0.0.1:1"),
        ("'[::1]:80'", "[::1]:80"),
        ("localhost:80", "127.0.0.1:80"),
    ] {
        let settings = good(&format!("status.listen: {text}\n{STREAM}"));
        assert_eq!(settings.status.listen, Some(address.parse().unwrap()), "{text}");
        assert_eq!(settings.warnings, Vec::<String>::new(), "{text}");
    }
    let open =
        good(&format!("status: {{listen: '0.0.0.0:80', socket: /a/s, unreadyAfterMillis: 5m}}\n{STREAM}"));
    assert_eq!(open.status.listen, Some("0.0.0.0:80".parse().unwrap()));
    assert_eq!(open.status.unready_after, Duration::from_secs(300));
    insta::assert_snapshot!(open.warnings.join("\n"), @"c.yaml:1: status.listen: everybody who reaches 0.0.0.0:80 can read the paths of files and the errors of destinations; use a loopback address, such as 127.0.0.1:80, or keep others out");
}

#[test]
fn the_nearest_region_and_endpoint_win() {
    let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/s";
    for (flow, region, endpoint) in [
        ("kinesisStream: s", "us-west-2", "http://all"),
        (&format!("kinesisStream: '{arn}'"), "eu-west-1", "http://all"),
        ("kinesisStream: s, region: ap-east-1", "ap-east-1", "http://all"),
        (
            "kinesisStream: s, endpoint: kinesis.eu-west-3.amazonaws.com",
            "eu-west-3",
            "https://kinesis.eu-west-3.amazonaws.com",
        ),
        ("deliveryStream: s, region: eu-west-2", "eu-west-2", ""),
    ] {
        let yaml = format!(
            "kinesis: {{region: us-west-2, endpoint: 'http://all'}}\nflows: [{{filePattern: /a, {flow}}}]\n"
        );
        let send = &good(&yaml).flows[0].send;
        assert_eq!(send.region.as_deref(), Some(region), "{flow}");
        assert_eq!(send.endpoint.as_deref().unwrap_or(""), endpoint, "{flow}");
    }
}

#[test]
fn credentials_are_every_flows() {
    let yaml = format!(
        "awsAccessKeyId: id\nawsSecretAccessKey: secret\nassumeRoleARN: arn:aws:iam::123456789012:role/a/b\n\
         assumeRoleExternalId: 12\nsts.endpoint: http://sts\n{FIREHOSE}"
    );
    let credentials = &good(&yaml).flows[0].send.credentials;
    assert_eq!(credentials.access_key_id.as_deref(), Some("id"));
    assert_eq!(credentials.secret_access_key.as_deref(), Some("secret"));
    assert_eq!(credentials.assume_role_arn.as_deref(), Some("arn:aws:iam::123456789012:role/a/b"));
    assert_eq!(credentials.assume_role_external_id.as_deref(), Some("12"));
    assert_eq!(credentials.sts_endpoint.as_deref(), Some("http://sts"));
}

#[test]
fn a_flow_may_ask_as_somebody_else_and_by_another_way() {
    let flow = |keys: &str| format!("- filePattern: /a{}\n  kinesisStream: s\n{keys}", keys.len());
    let yaml = format!(
        "awsAccessKeyId: id\nawsSecretAccessKey: secret\nassumeRoleARN: arn:aws:iam::123456789012:role/top\n\
         assumeRoleExternalId: x\nproxy: http://p:1\nnoProxy: a, b\ncaBundle: /ca\nuseFipsEndpoint: true\nflows:\n{}{}{}",
        flow("  initialPosition: END_OF_FILE\n"),
        flow("  awsProfile: mine\n  proxy: none\n  useFipsEndpoint: false\n  caBundle: /other\n"),
        flow("  assumeRoleARN: none\n  proxy: q\n"),
    );
    let flows = good(&yaml).flows;
    let [top, mine, none] = [0, 1, 2].map(|at| (&flows[at].send.credentials, &flows[at].send.network));
    assert_eq!(top.0.access_key_id.as_deref(), Some("id"));
    assert_eq!(top.0.assume_role_external_id.as_deref(), Some("x"));
    assert_eq!(top.1.proxy, Proxy::Url { url: "http://p:1".into(), except: "a, b".into() });
    assert_eq!((top.1.fips, top.1.ca_bundle.as_deref()), (Some(true), Some(Path::new("/ca"))));
    assert_eq!((mine.0.profile.as_deref(), mine.0.access_key_id.as_deref()), (Some("mine"), None));
    assert_eq!(mine.0.assume_role_arn, top.0.assume_role_arn);
    assert_eq!((&mine.1.proxy, mine.1.fips), (&Proxy::Never, Some(false)));
    assert_eq!(mine.1.ca_bundle.as_deref(), Some(Path::new("/other")));
    assert_eq!((&none.0.assume_role_arn, &none.0.assume_role_external_id), (&None, &None));
    assert_eq!(none.1.proxy, Proxy::Url { url: "http://q".into(), except: String::new() });
    assert!(
        !format!("{:?}", Proxy::Url { url: "http://u:pw@q".into(), except: String::new() }).contains("pw")
    );
}

#[test]
fn a_flow_never_needs_more_than_its_share_of_the_memory() {
    let yaml = |flows: usize, budget: &str| {
        let flow = |i| format!("- {{filePattern: /a{i}, kinesisStream: s, maxBufferSizeBytes: 5MiB}}\n");
        format!("memoryBudget: {budget}\nflows:\n{}", (0..flows).map(flow).collect::<String>())
    };
    let settings = good(&yaml(16, "8MiB"));
    let flow = &settings.flows[0];
    // Half of 8 MiB less an eighth and what each flow's request takes, by 16, less the bookkeeping.
    assert_eq!(flow.file.max_line_bytes, ((7 << 20) - 16 * 96 * 1024) / 2 / 16 - 1024);
    assert_eq!(flow.record.max_record_bytes, flow.file.max_line_bytes);
    assert_eq!(flow.send.aggregation_max_bytes, flow.file.max_line_bytes);
    assert_eq!(flow.send.max_batch_bytes, flow.file.max_line_bytes);
    insta::assert_snapshot!(settings.warnings[..2].join("\n"), @r"
    c.yaml:1: memoryBudget: each of 16 flows may hold 179200 bytes in one piece, so a longer record is treated as `oversizedRecords` says although AWS takes 1048544; 43MiB would be enough for those
    c.yaml:3: flows[0].maxBufferSizeBytes: requests are no larger than 179200 bytes, the flow's share of memoryBudget
    ");
    let enough = good(&yaml(16, "428MiB"));
    assert_eq!(enough.warnings, Vec::<String>::new());
    assert_eq!(enough.flows[0].record.max_record_bytes, 1_048_544);
}

#[test]
fn a_longest_pause_that_was_not_typed_is_never_the_shorter_one() {
    let flow =
        &good("flows: [{filePattern: /a, kinesisStream: s, retryInitialBackoffMillis: 20s}]\n").flows[0];
    assert_eq!(flow.send.retry_max_backoff, Duration::from_secs(20));
}

#[test]
fn what_has_no_effect_is_warned_of() {
    let settings = good(
        "flows:\n- filePattern: /a\n  deliveryStream: d\n  aggregation: none\n  aggregationMaxBytes: 1000\n  \
         partitionKeyOption: RANDOM\n  multiLineMaxBytes: 10\n  truncatedRecordTerminator: x\n  \
         publishQueueCapacity: 5\n  maxTimeBetweenFileTrackerRefreshMillis: 5\nassumeRoleExternalId: x\nlog: {level: INFO}\n",
    );
    insta::assert_snapshot!(settings.warnings.join("\n"), @r"
    c.yaml:5: flows[0].aggregationMaxBytes: has no effect without `aggregation`
    c.yaml:6: flows[0].partitionKeyOption: has no effect: Firehose knows no partition keys
    c.yaml:7: flows[0].multiLineMaxBytes: has no effect without multiLineStartPattern
    c.yaml:8: flows[0].truncatedRecordTerminator: has no effect without `oversizedRecords: truncate`
    c.yaml:9: flows[0].publishQueueCapacity: has no effect in this agent: `memoryBudget` bounds what waits to be sent
    c.yaml:10: flows[0].maxTimeBetweenFileTrackerRefreshMillis: has no effect in this agent: use `scanIntervalMillis` at the top level
    c.yaml:11: assumeRoleExternalId: has no effect without assumeRoleARN
    c.yaml:12: log.level: has no effect in this agent: what is logged is set on the command line
    ");
    insta::assert_snapshot!(good("flows: []\n").warnings.join("\n"), @"c.yaml:1: flows: no flow is configured, so nothing is read");
}

#[test]
fn packed_records_may_be_as_long_as_the_stream_allows() {
    let flow = |more: &str| {
        let text = format!(
            "memoryBudget: 256MiB\nflows:\n- {{filePattern: /a, kinesisStream: s, aggregation: kpl, {more}}}\n"
        );
        let mut settings = good(&text);
        (settings.flows.remove(0), settings.warnings.join("\n"))
    };
    let (allowed, warnings) = flow("aggregationMaxBytes: 4000000, maxRecordBytes: 4MiB");
    assert_eq!((allowed.send.aggregation_max_bytes, &*warnings), (4_000_000, ""));
    let (mut unknown, warnings) = flow("aggregationMaxBytes: 4000000");
    assert_eq!(unknown.send.aggregation_max_bytes, (1 << 20) - 32);
    insta::assert_snapshot!(warnings, @"c.yaml:3: flows[0].aggregationMaxBytes: records become no longer than 1048544 bytes, unless the stream says that it allows more (or `maxRecordBytes` does)");
    unknown.allow_records(2 << 20);
    assert_eq!(unknown.send.aggregation_max_bytes, (2 << 20) - 32);
    unknown.allow_records(10 << 20);
    assert_eq!(unknown.send.aggregation_max_bytes, 4_000_000);
}

#[test]
fn flows_that_limit_the_shards_of_one_stream_differently_are_warned_of() {
    let flows = |limit: &str| {
        let flow = |file, limit: &str| {
            format!("- {{filePattern: /{file}, kinesisStream: s, shardBytesPerSecond: {limit}}}\n")
        };
        good(&format!("flows:\n{}{}", flow('a', "1000"), flow('b', limit))).warnings.join("\n")
    };
    assert_eq!(flows("1000"), "");
    insta::assert_snapshot!(flows("2000"), @"c.yaml:1: flows: flows to kinesis:s set different shardBytesPerSecond or shardRecordsPerSecond, so each limits the shards by itself and together they may send the sum; set them alike in all of them");
}

#[test]
fn records_that_their_keys_fill_are_warned_of() {
    let flow = |more: &str| {
        let text = format!("flows:\n- {{filePattern: /a, kinesisStream: s, {more}}}\n");
        good(&text).warnings.join("\n")
    };
    assert_eq!(flow("aggregation: kpl, aggregationMaxBytes: 200"), "");
    assert_eq!(flow("aggregation: lines, aggregationMaxBytes: 400, partitionKeyOption: FILE"), "");
    insta::assert_snapshot!(flow("aggregation: kpl, aggregationMaxBytes: 600, ordering: strict"), @"c.yaml:2: flows[0].aggregationMaxBytes: leaves no room for lines beside a partition key of up to 256 bytes, so each goes alone; set 612 or more");
}

#[test]
fn what_compresses_little_or_nothing_is_warned_of() {
    let settings = good(
        "flows:\n- filePattern: /a\n  kinesisStream: s\n  compression: gzip\n  forceCompression: true\n  \
         aggregationMaxRecords: 5\n- {filePattern: /a, deliveryStream: s, forceCompression: true}\n",
    );
    insta::assert_snapshot!(settings.warnings.join("\n"), @r"
    c.yaml:4: flows[0].compression: compresses each line by itself, which makes short ones longer; set `aggregation: lines`
    c.yaml:5: flows[0].forceCompression: has no effect on a stream
    c.yaml:6: flows[0].aggregationMaxRecords: has no effect without `aggregation`
    c.yaml:7: flows[1].forceCompression: has no effect without `compression`
    ");
    assert_eq!(settings.flows[0].send.compression, Some(Compression::Gzip));
}

#[test]
fn a_compressed_record_leaves_room_for_what_cannot_be_compressed() {
    let flow = |keys: &str| {
        good(&format!("memoryBudget: 64MiB\nflows: [{{filePattern: /a, {keys}}}]\n")).flows.remove(0)
    };
    let plain = flow("kinesisStream: s, aggregation: lines, aggregationMaxBytes: 1048544");
    let packed =
        flow("kinesisStream: s, aggregation: lines, aggregationMaxBytes: 1048544, compression: zstd");
    let forced = flow("deliveryStream: s, compression: gzip, forceCompression: true");
    assert_eq!(plain.record.max_record_bytes, 1_048_544);
    for (flow, limit) in [(packed, 1_048_544), (forced, 1_024_000)] {
        let longest = flow.record.max_record_bytes;
        assert_eq!(flow.send.aggregation_max_bytes, longest);
        assert!(compress::bound(longest) <= limit && longest > limit - 5000, "{longest}");
    }
}

#[test]
fn aggregates_keep_a_last_line_without_its_newline() {
    let flow = |aggregation: &str| {
        let text = format!("flows: [{{filePattern: /a, kinesisStream: s, aggregation: {aggregation}}}]\n");
        good(&text).flows.remove(0)
    };
    assert!(!flow("kpl").record.add_missing_newline);
    assert!(flow("lines").record.add_missing_newline);
    assert_eq!(flow("kpl").send.aggregation, Aggregation::Kpl);
}

#[test]
fn a_name_tells_flows_apart() {
    let settings = good(
        "flows:\n- {name: x, filePattern: /a, kinesisStream: s}\n- {name: y, filePattern: /a, kinesisStream: s}\n",
    );
    assert_eq!(settings.flows[1].key, "kinesis:s#y");
    assert_eq!(settings.flows[0].send.destination, Destination::Kinesis("s".into()));
}

#[test]
fn a_secret_that_others_may_read_is_warned_of() {
    let warnings = |secret: &str, mode: u32| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "\u{feff}awsAccessKeyId: id\nawsSecretAccessKey: {secret}\n{STREAM}").unwrap();
        file.as_file().set_permissions(std::fs::Permissions::from_mode(mode)).unwrap();
        load(file.path()).unwrap().warnings.join("\n").replace(&file.path().display().to_string(), "FILE")
    };
    insta::assert_snapshot!(warnings("secret", 0o644), @"FILE:2: awsSecretAccessKey: other users may read this file and the secret in it; run `chmod 600` on the file, or write ${VAR} and set the variable");
    assert_eq!(warnings("secret", 0o640), "");
    assert_eq!(warnings("${NOT_SET_ANYWHERE:-secret}", 0o644), "");
}

#[test]
fn a_file_that_is_not_text_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(load(folder.path()), Err(ConfigError::Unreadable { .. })));
    let path = folder.path().join("none.yaml");
    let error = load(&path).unwrap_err().to_string().replace(&folder.path().display().to_string(), "");
    insta::assert_snapshot!(error, @"/none.yaml: cannot be read: No such file or directory (os error 2); give the path of a readable file with --config");
    std::fs::write(&path, b"# \xc3\xa9\nflows:\n- name: \xff\n").unwrap();
    let error = load(&path).unwrap_err().to_string().replace(&folder.path().display().to_string(), "");
    insta::assert_snapshot!(error, @"/none.yaml:3: is not valid UTF-8; save it as UTF-8");
}

#[test]
fn partition_keys_may_come_from_the_host_the_file_or_the_records() {
    let of = |option: &str| {
        let text = format!("flows:\n- {{filePattern: /a, kinesisStream: s, partitionKeyOption: {option}}}\n");
        good(&text).flows.remove(0)
    };
    assert_eq!(of("FILE").send.partition_key, PartitionKey::File);
    assert_eq!(of("HOST").send.partition_key, PartitionKey::Host);
    assert_eq!(of("{value: web}").send.partition_key, PartitionKey::Value("web".into()));
    assert_eq!(of("{field: user}").send.partition_key, PartitionKey::Field("user".into()));
    let PartitionKey::Capture(pattern) = of(r"{regex: 'id=(\d+)'}").send.partition_key else { panic!() };
    assert_eq!(pattern.0.as_str(), r"id=(\d+)");
    // The longest key counts against the longest record.
    assert_eq!(of("FILE").record.max_record_bytes, (1 << 20) - 256);
    assert_eq!(of("{value: web}").record.max_record_bytes, (1 << 20) - 32);
}

#[test]
fn with_order_each_file_has_its_key_unless_another_is_wanted() {
    let of = |more: &str| {
        let keys = "filePattern: /a, kinesisStream: s, aggregation: lines, ordering: strict";
        good(&format!("flows:\n- {{{keys}{more}}}\n")).flows.remove(0)
    };
    let flow = of("");
    assert!(flow.send.in_order && flow.file.in_order);
    assert_eq!(flow.send.partition_key, PartitionKey::File);
    assert_eq!(of(", partitionKeyOption: HOST").send.partition_key, PartitionKey::Host);
    let flow = good(STREAM).flows.remove(0);
    assert!(!flow.send.in_order && !flow.file.in_order);
}

#[test]
fn what_a_shard_takes_of_this_agent_may_be_less_than_aws_allows() {
    let text = "flows:\n- {filePattern: /a, kinesisStream: s, shardBytesPerSecond: 250000, \
                shardRecordsPerSecond: 250, flush: eager}\n";
    let flow = good(text).flows.remove(0);
    let limits = ShardLimits { bytes_per_second: 250_000, records_per_second: 250 };
    assert_eq!((flow.send.shard_limits, flow.send.flush), (limits, Flush::Eager));
    let flow = good(STREAM).flows.remove(0);
    assert_eq!((flow.send.shard_limits, flow.send.flush), (ShardLimits::default(), Flush::Aged));
}
