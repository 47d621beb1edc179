//! The mistakes that people make, and what they are told. Each message is one line that can be
//! acted upon without reading the documentation.

use super::said;

#[test]
fn an_empty_file() {
    let text = "";
    insta::assert_snapshot!(said(text), @"c.yaml:1: the file is empty; it must hold `flows`");
}

#[test]
fn a_file_of_comments() {
    let text = "# flows:

# []
";
    insta::assert_snapshot!(said(text), @"c.yaml:1: the file is empty; it must hold `flows`");
}

#[test]
fn a_file_without_keys() {
    let text = "- a
- b
";
    insta::assert_snapshot!(said(text), @"c.yaml:1: the file must hold keys with values, such as `flows:`");
}

#[test]
fn yaml_that_is_cut_off() {
    let text = "flows:
- filePattern: [/a, /b
  kinesisStream: s
";
    insta::assert_snapshot!(said(text), @"c.yaml:3: not valid YAML, at column 16: did not find expected ',' or ']'");
}

#[test]
fn a_colon_in_a_text() {
    let text = "flows:
- filePattern: /a
  name: a: b
";
    insta::assert_snapshot!(said(text), @"c.yaml:3: not valid YAML, at column 10: mapping values are not allowed in this context; put text that holds `: ` in quotes, and keys of one group one below the other");
}

#[test]
fn a_tab() {
    let text = "flows:\n- filePattern: /a\n\tkinesisStream: s\n";
    insta::assert_snapshot!(said(text), @"c.yaml:3: not valid YAML, at column 1: found a tab character that violates indentation; YAML allows no tabs before a key, only spaces");
}

#[test]
fn a_tag() {
    let text = "flows:
- filePattern: !a /b
";
    insta::assert_snapshot!(said(text), @"c.yaml:2: not valid YAML, at column 16: flows[0].filePattern: a tag (a word that begins with `!`) has no meaning here; put text that begins with `!` in quotes");
}

#[test]
fn two_documents() {
    let text = "flows: []
---
flows: []
";
    insta::assert_snapshot!(said(text), @"c.yaml:1: not valid YAML, at column 1: deserializing from YAML containing more than one document is not supported");
}

#[test]
fn json_that_is_broken() {
    let text = r#"{
  // flows
  "flows": [
    {"filePattern": "/a",}
  ]
}
"#;
    insta::assert_snapshot!(said(text), @"c.yaml:4: not valid JSON (as the file begins with {), at column 26: trailing comma");
}

#[test]
fn json_that_is_cut_off() {
    let text = r#"{ "flows": [ /* and so on
"#;
    insta::assert_snapshot!(said(text), @"c.yaml:2: not valid JSON (as the file begins with {), at column 1: EOF while parsing a list");
}

#[test]
fn no_flows() {
    let text = "kinesis.region: eu-west-1
";
    insta::assert_snapshot!(said(text), @"c.yaml:1: flows: is missing; it is the list of what is read and where it goes");
}

#[test]
fn flows_without_a_value() {
    let text = "flows:
";
    insta::assert_snapshot!(said(text), @"c.yaml:1: flows: has no value; give one, or remove the key if it may be left out");
}

#[test]
fn flows_that_are_no_list() {
    let text = "flows:
  filePattern: /a
  kinesisStream: s
";
    insta::assert_snapshot!(said(text), @"c.yaml:1: flows: is not a list; in YAML each flow begins with `- `, in JSON they stand in [ ]");
}

#[test]
fn a_flow_that_is_a_text() {
    let text = "flows:
- /a
";
    insta::assert_snapshot!(said(text), @"c.yaml:2: flows[0]: is not a flow; it must hold keys such as filePattern");
}

#[test]
fn a_misspelt_key() {
    let text = "flows:
- filePatern: /a
  kinesisStream: s
";
    insta::assert_snapshot!(said(text), @"c.yaml:2: flows[0].filePatern: no such key in a flow; did you mean `filePattern`?");
}

#[test]
fn a_misspelt_top_key() {
    let text = "flow:
- filePattern: /a
  kinesisStream: s
";
    insta::assert_snapshot!(said(text), @"c.yaml:1: flow: no such key at the top level; did you mean `flows`?");
}

#[test]
fn a_misspelt_nested_key() {
    let text = "kinesis:
  regoin: eu-west-1
flows:
- filePattern: /a
  kinesisStream: s
";
    insta::assert_snapshot!(said(text), @"c.yaml:2: kinesis.regoin: no such key at the top level; did you mean `kinesis.region`?");
}

#[test]
fn a_key_in_the_wrong_case() {
    let text = "flows:
- filePattern: /a
  kinesisStream: s
  initialposition: START_OF_FILE
";
    insta::assert_snapshot!(said(text), @"c.yaml:4: flows[0].initialposition: no such key in a flow; did you mean `initialPosition`?");
}

#[test]
fn a_key_that_means_nothing() {
    let text = "flows:
- filePattern: /a
  kinesisStream: s
  xyzzy: 1
";
    insta::assert_snapshot!(said(text), @"c.yaml:4: flows[0].xyzzy: no such key in a flow; every key is explained in docs/CONFIGURATION.md");
}

#[test]
fn a_flows_key_at_the_top() {
    let text = "maxBufferAgeMillis: 1000
flows:
- filePattern: /a
  kinesisStream: s
";
    insta::assert_snapshot!(said(text), @"c.yaml:1: maxBufferAgeMillis: does not belong at the top level; `maxBufferAgeMillis` belongs in a flow, that is in an entry of `flows`");
}

#[test]
fn a_top_key_in_a_flow() {
    let text = "flows:
- filePattern: /a
  kinesisStream: s
  checkpointFile: /x
  kinesis: {region: eu-west-1}
";
    insta::assert_snapshot!(said(text), @r"
    c.yaml:4: flows[0].checkpointFile: does not belong in a flow; `checkpointFile` belongs at the top level, beside `flows`
    c.yaml:5: flows[0].kinesis.region: does not belong in a flow; `kinesis.region` belongs at the top level, beside `flows`
    ");
}

#[test]
fn a_misspelt_key_at_the_wrong_level() {
    let text = "flows:
- filePattern: /a
  kinesisStream: s
  chekpointFile: /x
";
    insta::assert_snapshot!(said(text), @"c.yaml:4: flows[0].chekpointFile: no such key in a flow; did you mean `checkpointFile`? It belongs at the top level, beside `flows`");
}

#[test]
fn a_group_with_a_value() {
    let text = "kinesis: eu-west-1
flows:
- filePattern: /a
  kinesisStream: s
";
    insta::assert_snapshot!(said(text), @"c.yaml:1: kinesis: is a group of keys, not a key; allowed: `kinesis.endpoint`, `kinesis.region`");
}

#[test]
fn a_key_twice() {
    let text = "flows:
- filePattern: /a
  kinesisStream: s
  filePattern: /b
";
    insta::assert_snapshot!(said(text), @"c.yaml:4: flows[0].filePattern: stands twice, first on line 2; remove one of the two");
}

#[test]
fn a_key_dotted_and_nested() {
    let text = "kinesis.region: eu-west-1
kinesis:
  region: eu-west-2
flows:
- filePattern: /a
  kinesisStream: s
";
    insta::assert_snapshot!(said(text), @"c.yaml:3: kinesis.region: stands twice, first on line 1; remove one of the two");
}

#[test]
fn a_key_twice_in_json() {
    let text = r#"{"flows": [],
 "flows": []}"#;
    insta::assert_snapshot!(said(text), @"c.yaml:2: flows: stands twice, first on line 1; remove one of the two");
}

#[test]
fn a_key_without_a_value() {
    let text = "flows:
- filePattern: /a
  kinesisStream: s
  region:
";
    insta::assert_snapshot!(said(text), @"c.yaml:4: flows[0].region: has no value; give one, or remove the key if it may be left out");
}

#[test]
fn no_pattern_and_no_destination() {
    let text = "flows:
- name: x
";
    insta::assert_snapshot!(said(text), @r"
    c.yaml:2: flows[0].filePattern: is missing; it says which files are read, such as /var/log/app/*.log
    c.yaml:2: flows[0].kinesisStream: is missing, and so is deliveryStream; a flow has exactly one of the two
    ");
}

#[test]
fn both_destinations() {
    let text = "flows:
- filePattern: /a
  kinesisStream: s
  deliveryStream: d
";
    insta::assert_snapshot!(said(text), @"c.yaml:4: flows[0].deliveryStream: stands beside kinesisStream; a flow has exactly one of the two, so make two flows of it");
}

#[test]
fn an_empty_list_of_patterns() {
    let text = "flows:
- filePattern: []
  kinesisStream: s
";
    insta::assert_snapshot!(said(text), @"c.yaml:2: flows[0].filePattern: holds no pattern; give one or more");
}

#[test]
fn patterns_that_are_no_files() {
    let text = "flows:
- filePattern:
  - log/*.log
  - /var/log/
  - /var/log/[a
  - ''
  kinesisStream: s
";
    insta::assert_snapshot!(said(text), @r#"
    c.yaml:3: flows[0].filePattern: "log/*.log": does not begin with /; allowed: an absolute path whose parts may hold *, ?, [..], {a,b} and **
    c.yaml:4: flows[0].filePattern: "/var/log/": ends in /, so it names a folder and not files; allowed: an absolute path whose parts may hold *, ?, [..], {a,b} and **
    c.yaml:5: flows[0].filePattern: "/var/log/[a": unclosed character class; missing ']'; allowed: an absolute path whose parts may hold *, ?, [..], {a,b} and **
    c.yaml:6: flows[0].filePattern: "": does not begin with /; allowed: an absolute path whose parts may hold *, ?, [..], {a,b} and **
    "#);
}

#[test]
fn a_wrong_exclude_pattern() {
    let text = "flows:
- filePattern: /a
  kinesisStream: s
  excludePattern: '*.gz'
";
    insta::assert_snapshot!(said(text), @r#"c.yaml:4: flows[0].excludePattern: "*.gz": does not begin with /; allowed: an absolute path whose parts may hold *, ?, [..], {a,b} and **"#);
}

#[test]
fn a_wrong_stream() {
    let text = "flows:
- {filePattern: /a, kinesisStream: my stream}
- {filePattern: /b, deliveryStream: 'arn:aws:firehose:eu-west-1:123456789012:deliverystream/d'}
- {filePattern: /c, kinesisStream: 'arn:aws:kinesis:eu-west-1:1234:stream/s'}
- {filePattern: /d, kinesisStream: ''}
";
    insta::assert_snapshot!(said(text), @r#"
    c.yaml:2: flows[0].kinesisStream: "my stream" is not a stream's name; allowed: a name of 1 to 128 letters, digits, `_`, `.` and `-`, or arn:aws:kinesis:REGION:ACCOUNT:stream/NAME
    c.yaml:3: flows[1].deliveryStream: "arn:aws:firehose:eu-west-1:123456789012:deliverystream/d" is an ARN, and Firehose takes names; allowed: 1 to 64 letters, digits, `_`, `.` and `-`
    c.yaml:4: flows[2].kinesisStream: "arn:aws:kinesis:eu-west-1:1234:stream/s" is not a stream's ARN (the fifth part is not an account of 12 digits); allowed: a name of 1 to 128 letters, digits, `_`, `.` and `-`, or arn:aws:kinesis:REGION:ACCOUNT:stream/NAME
    c.yaml:5: flows[3].kinesisStream: "" is not a stream's name; allowed: a name of 1 to 128 letters, digits, `_`, `.` and `-`, or arn:aws:kinesis:REGION:ACCOUNT:stream/NAME
    "#);
}

#[test]
fn an_arn_and_another_region() {
    let text = "flows:
- filePattern: /a
  kinesisStream: arn:aws:kinesis:eu-west-1:123456789012:stream/s
  region: us-east-1
";
    insta::assert_snapshot!(said(text), @"c.yaml:4: flows[0].region: is us-east-1, but the ARN of kinesisStream says eu-west-1; remove the key");
}

#[test]
fn two_equal_flows() {
    let text = "flows:
- filePattern: /a
  kinesisStream: s
- filePattern: [/a]
  kinesisStream: s
";
    insta::assert_snapshot!(said(text), @"c.yaml:4: flows[1]: sends the same files to the same place as flows[0] on line 2; remove one, or give each its own `name`");
}

#[test]
fn a_word_that_is_not_known() {
    let text = "flows:
- filePattern: /a
  kinesisStream: s
  initialPosition: start_of_file
  partitionKeyOption: HASH
";
    insta::assert_snapshot!(said(text), @r#"
    c.yaml:4: flows[0].initialPosition: "start_of_file" is not known; allowed: START_OF_FILE, END_OF_FILE; did you mean `START_OF_FILE`?
    c.yaml:5: flows[0].partitionKeyOption: "HASH" is not known; allowed: RANDOM, DETERMINISTIC, FILE, HOST, {value: TEXT}, {field: NAME}, {regex: PATTERN}
    "#);
}

#[test]
fn numbers_out_of_range() {
    let text = "flows:
- filePattern: /a
  kinesisStream: s
  maxBufferAgeMillis: 5
  maxBufferSizeRecords: 501
  maxBufferSizeBytes: 11MiB
  maxInFlight: 0
  skipHeaderLines: -1
";
    insta::assert_snapshot!(said(text), @r#"
    c.yaml:4: flows[0].maxBufferAgeMillis: 5 is too small; allowed: 10 to 900000 milliseconds, or a number with ms, s, m or h such as 30s
    c.yaml:5: flows[0].maxBufferSizeRecords: 501 is too large; allowed: 1 to 500
    c.yaml:6: flows[0].maxBufferSizeBytes: "11MiB" is too large; allowed: 1 to 10485760 bytes, or a number with KiB, MiB, KB or MB
    c.yaml:7: flows[0].maxInFlight: 0 is too small; allowed: 1 to 64
    c.yaml:8: flows[0].skipHeaderLines: -1 is too small; allowed: 0 to 2147483647
    "#);
}

#[test]
fn packing_that_no_consumer_could_undo() {
    let text = "flows:
- filePattern: /a
  kinesisStream: s
  aggregation: kpl
  compression: zstd
- filePattern: /b
  deliveryStream: d
  aggregation: kpl
- filePattern: /c
  deliveryStream: d
  compression: gzip
";
    insta::assert_snapshot!(said(text), @r"
    c.yaml:5: flows[0].compression: stands beside `aggregation: kpl`, whose consumers could not find the records; remove one of the two, or use `aggregation: lines`
    c.yaml:8: flows[1].aggregation: kpl is for Data Streams: Firehose takes such records apart only where they come from a stream; allowed: none, lines
    c.yaml:11: flows[2].compression: makes records that Firehose cannot read: no transformation, partitioning or conversion there works, and no destination but S3 understands them; compress in Firehose instead, or set `forceCompression: true` if nothing there has to read a record
    ");
}

#[test]
fn numbers_out_of_range_for_firehose() {
    let text = "flows:
- filePattern: /a
  deliveryStream: d
  maxBufferSizeBytes: 5MiB
  aggregationMaxBytes: 1MiB
";
    insta::assert_snapshot!(said(text), @r#"
    c.yaml:4: flows[0].maxBufferSizeBytes: "5MiB" is too large; allowed: 1 to 4194304 bytes, or a number with KiB, MiB, KB or MB
    c.yaml:5: flows[0].aggregationMaxBytes: "1MiB" is too large; allowed: 1 to 1024000 bytes, or a number with KiB, MiB, KB or MB
    "#);
}

#[test]
fn numbers_out_of_range_in_json() {
    let text = r#"{"flows": [{"filePattern": "/a", "kinesisStream": "s",
  "maxBufferAgeMillis": 999,
  "maxBufferSizeBytes": 10485760}]}"#;
    insta::assert_snapshot!(said(text), @r"
    c.yaml:2: flows[0].maxBufferAgeMillis: 999 is too small; allowed: 1000 to 900000 milliseconds, or a number with ms, s, m or h such as 30s
    c.yaml:3: flows[0].maxBufferSizeBytes: 10485760 is too large; allowed: 1 to 5242880 bytes, or a number with KiB, MiB, KB or MB
    ");
}

#[test]
fn numbers_that_are_none() {
    let text = "flows:
- filePattern: /a
  kinesisStream: s
  maxBufferAgeMillis: soon
  maxBufferSizeRecords: 1.5
  maxInFlight: [4]
  skipHeaderLines: 5s
";
    insta::assert_snapshot!(said(text), @r#"
    c.yaml:4: flows[0].maxBufferAgeMillis: "soon" cannot be read as a whole number; allowed: 10 to 900000 milliseconds, or a number with ms, s, m or h such as 30s
    c.yaml:5: flows[0].maxBufferSizeRecords: the number 1.5 cannot be read as a whole number; allowed: 1 to 500
    c.yaml:6: flows[0].maxInFlight: a list cannot be read as a whole number; allowed: 1 to 64
    c.yaml:7: flows[0].skipHeaderLines: "5s" cannot be read as a whole number; allowed: 0 to 2147483647
    "#);
}

#[test]
fn a_flag_that_is_none() {
    let text = "useFileEvents: no
flows:
- filePattern: /a
  kinesisStream: s
";
    insta::assert_snapshot!(said(text), @r#"c.yaml:1: useFileEvents: "no" is neither; allowed: true, false"#);
}

#[test]
fn a_pause_that_shrinks() {
    let text = "flows:
- filePattern: /a
  kinesisStream: s
  retryInitialBackoffMillis: 5s
  retryMaxBackoffMillis: 1s
";
    insta::assert_snapshot!(said(text), @"c.yaml:5: flows[0].retryMaxBackoffMillis: 1000 is too small; allowed: 5000 (retryInitialBackoffMillis) to 3600000");
}

#[test]
fn a_budget_that_is_too_small() {
    let text = "memoryBudget: 1MiB
flows:
- filePattern: /a
  kinesisStream: s
";
    insta::assert_snapshot!(said(text), @r#"c.yaml:1: memoryBudget: "1MiB" is too small; allowed: 8388608 bytes or more, or a number with KiB, MiB, GiB, KB, MB or GB"#);
}

#[test]
fn a_text_that_is_a_number_or_a_list() {
    let text = "flows:
- filePattern: /a
  kinesisStream: s
  name: 1.5
  region: [eu-west-1]
";
    insta::assert_snapshot!(said(text), @r"
    c.yaml:4: flows[0].name: is the number 1.5; text is allowed (put it in quotes)
    c.yaml:5: flows[0].region: is a list; text is allowed (put it in quotes)
    ");
}

#[test]
fn a_pattern_with_look_around() {
    let text = r"flows:
- filePattern: /a
  kinesisStream: s
  multiLineStartPattern: '(?=\d)'
";
    insta::assert_snapshot!(said(text), @"c.yaml:4: flows[0].multiLineStartPattern: is not a pattern this agent can use: look-around, including look-ahead and look-behind, is not supported; write the pattern without (?=..), (?!..), (?<=..) and (?<!..)");
}

#[test]
fn a_pattern_that_is_broken() {
    let text = r"flows:
- filePattern: /a
  kinesisStream: s
  multiLineStartPattern: '(\d'
";
    insta::assert_snapshot!(said(text), @"c.yaml:4: flows[0].multiLineStartPattern: is not a pattern this agent can use: unclosed group; allowed: a regular expression that the beginning of an event's first line matches");
}

#[test]
fn a_variable_that_is_not_set() {
    let text = "flows:
- filePattern: /a
  kinesisStream: ${MY_STREAM}
  region: ${REGION
  name: ${my-name}
";
    insta::assert_snapshot!(said(text), @r"
    c.yaml:3: flows[0].kinesisStream: the environment variable MY_STREAM is not set; set it, or give a default: ${MY_STREAM:-default}
    c.yaml:4: flows[0].region: `${` without `}`; allowed: ${VAR}, ${VAR:-default}, and $${ for the text `${`
    c.yaml:5: flows[0].name: `my-name` in `${my-name}` is not a variable's name; allowed: ${VAR}, ${VAR:-default}, and $${ for the text `${`
    ");
}

#[test]
fn a_variable_that_is_empty() {
    let text = "flows:
- filePattern: /a
  kinesisStream: ${EMPTY}
";
    insta::assert_snapshot!(said(text), @r#"c.yaml:3: flows[0].kinesisStream: "" is not a stream's name; allowed: a name of 1 to 128 letters, digits, `_`, `.` and `-`, or arn:aws:kinesis:REGION:ACCOUNT:stream/NAME"#);
}

#[test]
fn half_a_key_pair() {
    let text = "awsAccessKeyId: AKIA
flows:
- filePattern: /a
  kinesisStream: s
";
    insta::assert_snapshot!(said(text), @"c.yaml:1: awsSecretAccessKey: has no value, but the other half of the key pair has; give both or none");
}

#[test]
fn a_wrong_secret_is_not_shown() {
    let text = "awsAccessKeyId: AKIA
awsSecretAccessKey: [hidden]
flows:
- filePattern: /a
  kinesisStream: s
";
    insta::assert_snapshot!(said(text), @"c.yaml:2: awsSecretAccessKey: is a list; text is allowed (put it in quotes)");
}

#[test]
fn a_wrong_role() {
    let text = "assumeRoleARN: arn:aws:iam::123:role/x
flows:
- filePattern: /a
  kinesisStream: s
";
    insta::assert_snapshot!(said(text), @r#"c.yaml:1: assumeRoleARN: "arn:aws:iam::123:role/x" is not the ARN of a role; allowed: arn:aws:iam::ACCOUNT:role/NAME"#);
}

#[test]
fn a_wrong_endpoint_and_region() {
    let text = "kinesis:
  endpoint: ftp://x
  region: Europe (Ireland)
flows:
- filePattern: /a
  kinesisStream: s
";
    insta::assert_snapshot!(said(text), @r#"
    c.yaml:2: kinesis.endpoint: "ftp://x" is not an endpoint; allowed: a URL such as https://kinesis.eu-west-1.amazonaws.com
    c.yaml:3: kinesis.region: "Europe (Ireland)" is not a region; allowed: a name such as eu-west-1
    "#);
}

#[test]
fn paths_that_are_not_absolute() {
    let text = "checkpointFile: checkpoints.db
deadLetterFile: /var/lib/x/
flows:
- filePattern: /a
  kinesisStream: s
";
    insta::assert_snapshot!(said(text), @r#"
    c.yaml:1: checkpointFile: "checkpoints.db" is not the path of a file; allowed: an absolute path such as /var/lib/x
    c.yaml:2: deadLetterFile: "/var/lib/x/" is not the path of a file; allowed: an absolute path such as /var/lib/x
    "#);
}

#[test]
fn one_file_for_two_things() {
    let text = "checkpointFile: /x/y
deadLetterFile: /x/y
flows:
- filePattern: /a
  kinesisStream: s
";
    insta::assert_snapshot!(said(text), @"c.yaml:2: deadLetterFile: is the same file as checkpointFile; give each its own");
}

#[test]
fn keys_of_the_java_agent_that_change_the_data() {
    let text = "userDefinedCredentialsProvider:
  classname: com.example.Provider
flows:
- filePattern: /a
  kinesisStream: s
  dataProcessingOptions:
  - optionName: LOGTOJSON
  fileFooterPattern: END
";
    insta::assert_snapshot!(said(text), @r"
    c.yaml:2: userDefinedCredentialsProvider.classname: is not supported by this version: no Java class can be loaded; remove the key and use the SDK's own chain (environment, profile, `credential_process`, web identity, container, instance) or `assumeRoleARN`
    c.yaml:6: flows[0].dataProcessingOptions: is not supported by this version: without it the records would hold other data; remove the key, and convert behind the stream
    c.yaml:8: flows[0].fileFooterPattern: is not supported by this version: without it the footer would be sent; remove the key, and drop the footer behind the stream
    ");
}

#[test]
fn keys_that_change_the_data_in_json() {
    let text = r#"{"flows": [{"filePattern": "/a", "kinesisStream": "s",
 "dataProcessingOptions": [{"optionName": "SINGLELINE"}]}]}"#;
    insta::assert_snapshot!(said(text), @"c.yaml:2: flows[0].dataProcessingOptions: is not supported by this version: without it the records would hold other data; remove the key, and convert behind the stream");
}

#[test]
fn where_no_status_can_be_served() {
    let text = format!(
        "status.listen: host:80\nstatus.unreadyAfterMillis: 0\nstatus.socket: /{}\nflows: []\n",
        "x".repeat(107)
    );
    insta::assert_snapshot!(said(&text).replace(&"x".repeat(50), "x"), @r#"
    c.yaml:1: status.listen: "host:80" is no address; allowed: PORT, :PORT or ADDRESS:PORT such as 127.0.0.1:9494 or [::1]:9494
    c.yaml:2: status.unreadyAfterMillis: 0 is too small; allowed: 1000 to 86400000 milliseconds, or a number with ms, s, m or h such as 30s
    c.yaml:3: status.socket: is longer than the 107 bytes that a socket's path may have
    "#);
    for listen in ["0", "70000", "1.5", "[80]", "':x'", "127.0.0.1"] {
        assert!(said(&format!("status.listen: {listen}\nflows: []\n")).contains("status.listen"), "{listen}");
    }
}

#[test]
fn a_misspelt_destination() {
    let text = "flows:
- filePattern: /a
  deliverystream: d
";
    insta::assert_snapshot!(said(text), @"c.yaml:3: flows[0].deliverystream: no such key in a flow; did you mean `deliveryStream`?");
}

#[test]
fn nulls_in_json() {
    let text = r#"{"flows": [{"filePattern": null, "kinesisStream": null}]}"#;
    insta::assert_snapshot!(said(text), @r"
    c.yaml:1: flows[0].filePattern: is missing; it says which files are read, such as /var/log/app/*.log
    c.yaml:1: flows[0].kinesisStream: is missing, and so is deliveryStream; a flow has exactly one of the two
    ");
}

#[test]
fn a_misspelt_key_in_json() {
    let text = r#"{"flows": [{"filepattern": "/a", "kinesisStream": "s"}]}"#;
    insta::assert_snapshot!(said(text), @"c.yaml:1: flows[0].filePattern: is missing; it says which files are read, such as /var/log/app/*.log");
}

#[test]
fn yaml_that_begins_with_a_brace() {
    let text = "{flows: []}";
    insta::assert_snapshot!(said(text), @"c.yaml:1: not valid JSON (as the file begins with {), at column 2: key must be a string");
}

#[test]
fn a_key_with_a_line_end() {
    let text = r#""a\nb": 1
flows: []
"#;
    insta::assert_snapshot!(said(text), @r"c.yaml:1: a\nb: no such key at the top level; every key is explained in docs/CONFIGURATION.md");
}

#[test]
fn too_many_flows_for_the_budget() {
    let text = "memoryBudget: 8MiB
flows:
- {filePattern: /a0, kinesisStream: s}
- {filePattern: /a1, kinesisStream: s}
- {filePattern: /a2, kinesisStream: s}
- {filePattern: /a3, kinesisStream: s}
- {filePattern: /a4, kinesisStream: s}
- {filePattern: /a5, kinesisStream: s}
- {filePattern: /a6, kinesisStream: s}
- {filePattern: /a7, kinesisStream: s}
- {filePattern: /a8, kinesisStream: s}
- {filePattern: /a9, kinesisStream: s}
- {filePattern: /a10, kinesisStream: s}
- {filePattern: /a11, kinesisStream: s}
- {filePattern: /a12, kinesisStream: s}
- {filePattern: /a13, kinesisStream: s}
- {filePattern: /a14, kinesisStream: s}
- {filePattern: /a15, kinesisStream: s}
- {filePattern: /a16, kinesisStream: s}
";
    insta::assert_snapshot!(said(text), @r#"c.yaml:1: memoryBudget: "8MiB" is too small; allowed: 8912896 bytes or more, or a number with KiB, MiB, GiB, KB, MB or GB"#);
}

#[test]
fn everything_at_once() {
    let text = "checkpointFile: x
flows:
- filePattern: a
  kinesisStream: s
  agregation: lines
- deliveryStream: d
  initialPosition: HERE
shutdownTimeoutMillis: 2h
";
    insta::assert_snapshot!(said(text), @r#"
    c.yaml:1: checkpointFile: "x" is not the path of a file; allowed: an absolute path such as /var/lib/x
    c.yaml:3: flows[0].filePattern: "a": does not begin with /; allowed: an absolute path whose parts may hold *, ?, [..], {a,b} and **
    c.yaml:5: flows[0].agregation: no such key in a flow; did you mean `aggregation`?
    c.yaml:6: flows[1].filePattern: is missing; it says which files are read, such as /var/log/app/*.log
    c.yaml:7: flows[1].initialPosition: "HERE" is not known; allowed: START_OF_FILE, END_OF_FILE
    c.yaml:8: shutdownTimeoutMillis: "2h" is too large; allowed: 0 to 3600000 milliseconds, or a number with ms, s, m or h such as 30s
    "#);
}

#[test]
fn a_wrong_way_to_aws() {
    let text = "proxy: http://me:secret@host/path
awsProfile: logs
awsAccessKeyId: a
awsSecretAccessKey: b
caBundle: ca.pem
flows:
- filePattern: /a
  kinesisStream: s
  endpoint: http://x
  useFipsEndpoint: true
  proxy: socks5://x:1080
";
    insta::assert_snapshot!(said(text), @r#"
    c.yaml:1: proxy: is not the URL of a proxy; allowed: none, or a URL such as http://proxy.example.com:3128 or http://USER:PASSWORD@HOST:PORT (characters such as @ and / in a password as %40 and %2F)
    c.yaml:2: awsProfile: stands beside awsAccessKeyId; remove the profile or the keys
    c.yaml:5: caBundle: "ca.pem" is not the path of a file; allowed: an absolute path such as /var/lib/x
    c.yaml:10: flows[0].useFipsEndpoint: is true, but the flow's `endpoint` says where to go; remove one of the two
    c.yaml:11: flows[0].proxy: is a SOCKS proxy, which this agent does not speak to; allowed: none, or a URL such as http://proxy.example.com:3128 or http://USER:PASSWORD@HOST:PORT (characters such as @ and / in a password as %40 and %2F)
    "#);
}

#[test]
fn an_order_that_cannot_be() {
    let text = "flows:
- filePattern: /a
  kinesisStream: s
  ordering: strict
- filePattern: /b
  kinesisStream: s
  aggregation: kpl
  ordering: strict
  partitionKeyOption: RANDOM
- filePattern: /c
  deliveryStream: d
  ordering: strict
- filePattern: /d
  kinesisStream: s
  aggregation: kpl
  ordering: loose
";
    insta::assert_snapshot!(said(text), @r#"
    c.yaml:4: flows[0].ordering: strict has one record of each key under way at a time, so records have to hold many lines; set `aggregation: kpl` or `aggregation: lines` beside it
    c.yaml:9: flows[1].partitionKeyOption: scatters the records of a file over the shards, and `ordering: strict` keeps them in order; allowed there: FILE (the default with it), HOST, `value`, `field` and `regex`
    c.yaml:12: flows[2].ordering: strict is for Data Streams: Firehose itself keeps no order; allowed: none
    c.yaml:16: flows[3].ordering: "loose" is not known; allowed: none, strict
    "#);
}

#[test]
fn keys_that_cannot_be() {
    let text = "flows:
- filePattern: /a
  kinesisStream: s
  partitionKeyOption: {value: a, field: b}
- filePattern: /b
  kinesisStream: s
  partitionKeyOption: {regex: abc}
- filePattern: /c
  kinesisStream: s
  partitionKeyOption: {feild: a}
- filePattern: /d
  kinesisStream: s
  partitionKeyOption: FILES
";
    insta::assert_snapshot!(said(text), @r#"
    c.yaml:4: flows[0].partitionKeyOption: holds 2 keys; allowed: one of `value: TEXT`, `field: NAME` and `regex: PATTERN` with a group
    c.yaml:7: flows[1].partitionKeyOption: "abc" has no group in parentheses; allowed: one of `value: TEXT`, `field: NAME` and `regex: PATTERN` with a group
    c.yaml:10: flows[2].partitionKeyOption: `feild` is not known; allowed: one of `value: TEXT`, `field: NAME` and `regex: PATTERN` with a group
    c.yaml:13: flows[3].partitionKeyOption: "FILES" is not known; allowed: RANDOM, DETERMINISTIC, FILE, HOST, {value: TEXT}, {field: NAME}, {regex: PATTERN}; did you mean `FILE`?
    "#);
}
