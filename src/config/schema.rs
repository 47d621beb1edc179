//! The JSON Schema (draft 2020-12) of our YAML configuration, for editors and other tools.
//!
//! The structs here are documentation: nothing is ever read into them, since the parser says
//! more about a mistake than serde could. The tests hold them to the table of keys and to what
//! the parser accepts. What depends on another key (a range that depends on the destination) or
//! needs arithmetic (a range of texts such as `30s`) is left to the parser.

#![expect(dead_code, reason = "the fields are only described")]

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::keys::{KEYS, Key, Level, Role};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

/// The configuration of kinesis-agent. A dotted key is the same as a nested one. In texts
/// `${VAR}` and `${VAR:-default}` are replaced from the environment.
#[derive(JsonSchema)]
#[schemars(
    title = "kinesis-agent configuration",
    rename_all = "camelCase",
    deny_unknown_fields,
    extend("required" = ["flows"])
)]
struct Document {
    /// What is read and where it goes.
    flows: Vec<FlowKeys>,
    /// How far each file is delivered (SQLite). Its folder must be on a local disk.
    #[schemars(extend("default" = "/var/lib/kinesis-agent/checkpoints.db"))]
    checkpoint_file: FilePath,
    /// Records that AWS will never take, as lines of JSON. By default `dead-letters.jsonl` beside
    /// `checkpointFile`.
    dead_letter_file: FilePath,
    /// The dead-letter file, and those that it was rotated to, do not grow beyond this together.
    #[schemars(extend("default" = "64MiB"))]
    dead_letter_max_bytes: Bytes<1024, { u64::MAX }>,
    /// The position of a file is kept for so many days after the file was last seen.
    #[schemars(extend("default" = 30))]
    checkpoint_time_to_live_days: Count<1, 3650>,
    /// What deleted files that are not read to their ends may hold of each file system. By default
    /// a tenth of it.
    max_open_removed_bytes: Bytes<0, { u64::MAX }>,
    /// Replaces AWS's address of Kinesis.
    #[schemars(rename = "kinesis.endpoint")]
    kinesis_endpoint: Url,
    /// The region of the streams. By default from the stream's ARN, from an AWS endpoint, else
    /// from the SDK's chain.
    #[schemars(rename = "kinesis.region")]
    kinesis_region: Region,
    /// Replaces AWS's address of Firehose.
    #[schemars(rename = "firehose.endpoint")]
    firehose_endpoint: Url,
    /// The region of the delivery streams. By default from an AWS endpoint, else from the SDK's
    /// chain.
    #[schemars(rename = "firehose.region")]
    firehose_region: Region,
    /// Replaces AWS's address of STS, for `assumeRoleARN`.
    #[schemars(rename = "sts.endpoint")]
    sts_endpoint: Url,
    /// A profile of the AWS files that credentials are taken from, and from no other source.
    aws_profile: Text,
    /// Static credentials, with `awsSecretAccessKey`. Better: none in the file.
    aws_access_key_id: Text,
    /// The secret of `awsAccessKeyId`.
    aws_secret_access_key: Text,
    /// A role to assume with the credentials.
    #[schemars(rename = "assumeRoleARN")]
    assume_role_arn: RoleArn,
    /// The external ID that the role asks for.
    assume_role_external_id: Text,
    /// The proxy to AWS, or none. By default what HTTPS_PROXY and NO_PROXY in the environment say.
    proxy: ProxyUrl,
    /// What is reached without `proxy`: hosts, domains with what is in them, networks.
    no_proxy: Texts,
    /// Certificates (PEM) that are trusted beside those of the host. By default the file that
    /// AWS_CA_BUNDLE in the environment names.
    ca_bundle: FilePath,
    /// Whether AWS's FIPS endpoints are used. By default the environment and the profile decide.
    use_fips_endpoint: Flag,
    /// Whether AWS's endpoints with IPv4 and IPv6 are used. By default the environment and the
    /// profile decide.
    use_dual_stack_endpoint: Flag,
    /// How long a stop may take to deliver what was read.
    #[schemars(extend("default" = "10s"))]
    shutdown_timeout_millis: Millis<0, HOUR>,
    /// Bytes for all that is read and not yet delivered, request bodies included: 512KiB or more
    /// a flow.
    #[schemars(extend("default" = "40MiB"))]
    memory_budget: Bytes<8_388_608, { u64::MAX }>,
    /// How often the folders are looked at although no event came.
    #[schemars(extend("default" = "10s"))]
    scan_interval_millis: Millis<100, MINUTE>,
    /// The Unix socket on which `kinesis-agent status` asks.
    #[schemars(rename = "status.socket", extend("default" = "/run/kinesis-agent/status.sock"))]
    status_socket: SocketPath,
    /// HTTP over TCP for the status and the metrics: PORT, :PORT or ADDRESS:PORT. By default off.
    #[schemars(rename = "status.listen")]
    status_listen: Address,
    /// `/readyz` says no while a flow has delivered nothing for longer.
    #[schemars(rename = "status.unreadyAfterMillis", extend("default" = "60s"))]
    status_unready_after_millis: Millis<1000, { 24 * HOUR }>,
    /// Whether file-system events wake the agent early.
    #[schemars(extend("default" = true))]
    use_file_events: Flag,
}

/// Files, and the one place that their records go to.
#[derive(JsonSchema)]
#[schemars(
    title = "a flow",
    rename_all = "camelCase",
    deny_unknown_fields,
    extend(
        "required" = ["filePattern"],
        "oneOf" = [{ "required": ["kinesisStream"] }, { "required": ["deliveryStream"] }]
    )
)]
struct FlowKeys {
    /// Shown in logs and in the status. Positions are stored under the destination and the name.
    /// By default the first pattern.
    name: Name,
    /// Which files are read, all at once: absolute, with `*`, `?`, `[..]`, `{a,b}` and `**`.
    file_pattern: Globs<1>,
    /// Files that are left out.
    exclude_pattern: Globs<0>,
    /// The stream that the records go to: its name or its ARN.
    kinesis_stream: Stream,
    /// The Firehose delivery stream that the records go to.
    delivery_stream: DeliveryStream,
    /// The region of this flow.
    region: Region,
    /// The endpoint of this flow.
    endpoint: Url,
    /// The profile of this flow, in place of the profile or the keys at the top.
    aws_profile: Text,
    /// The role of this flow, or none.
    #[schemars(rename = "assumeRoleARN")]
    assume_role_arn: RoleArn,
    /// The external ID of the flow's role.
    assume_role_external_id: Text,
    /// The proxy of this flow, or none.
    proxy: ProxyUrl,
    /// What is reached without `proxy`: hosts, domains with what is in them, networks.
    no_proxy: Texts,
    /// Certificates (PEM) that are trusted beside those of the host. By default the file that
    /// AWS_CA_BUNDLE in the environment names.
    ca_bundle: FilePath,
    /// Whether AWS's FIPS endpoints are used. By default the environment and the profile decide.
    use_fips_endpoint: Flag,
    /// Whether AWS's endpoints with IPv4 and IPv6 are used. By default the environment and the
    /// profile decide.
    use_dual_stack_endpoint: Flag,
    /// Where reading starts in files that were there before the flow.
    #[schemars(extend("default" = "END_OF_FILE"))]
    initial_position: InitialPosition,
    /// A request leaves when its oldest record has waited this long. By default 1s to a stream,
    /// 60s to Firehose.
    max_buffer_age_millis: Millis<10, { 15 * MINUTE }>,
    /// A request leaves when it holds so many records.
    #[schemars(extend("default" = 500))]
    max_buffer_size_records: Count<1, 500>,
    /// A request leaves when it holds so many bytes, partition keys included: to a stream up to
    /// 10MiB (by default 5MiB), to Firehose up to 4MiB.
    max_buffer_size_bytes: Bytes<1, { 10 << 20 }>,
    /// Requests of this flow under way at a time, at most.
    #[schemars(extend("default" = 32))]
    max_in_flight: Count<1, 64>,
    /// Streams only. What decides on the shard of a record. DETERMINISTIC: the MD5 of the record, so
    /// that equal records go to one shard. FILE: the path; HOST: this host's name; `value`: a text;
    /// `field`: a field of each record, which is a JSON object; `regex`: the first group of a pattern.
    #[schemars(extend("default" = "RANDOM"))]
    partition_key_option: PartitionKey,
    /// `strict`: what a stream holds of each key is in the order of the files. Needs `aggregation`
    /// with `lines` or `kpl`.
    #[schemars(extend("default" = "none"))]
    ordering: Ordering,
    /// What this agent may put into each shard of the stream in a second, in bytes: a part of AWS's
    /// 1 MB where others use the shards, too.
    #[schemars(extend("default" = 1_000_000))]
    shard_bytes_per_second: Bytes<1000, 1_000_000>,
    /// What this agent may put into each shard of the stream in a second, in records as AWS counts
    /// them.
    #[schemars(extend("default" = 1000))]
    shard_records_per_second: Count<1, 1000>,
    /// When a request leaves before it is full: when its oldest record is old enough, or as soon as
    /// fewer than `maxInFlight` are under way.
    #[schemars(extend("default" = "aged"))]
    flush: Flush,
    /// The pause after the first failure; it doubles with each.
    #[schemars(extend("default" = 100))]
    retry_initial_backoff_millis: Millis<1, HOUR>,
    /// The longest pause. By default 10s, or retryInitialBackoffMillis if that is longer.
    #[schemars(extend("default" = "10s"))]
    retry_max_backoff_millis: Millis<1, HOUR>,
    /// Makes events of several lines: each begins with a line whose beginning matches. No
    /// variables are replaced in it.
    multi_line_start_pattern: Verbatim,
    /// An event is sent when its file was quiet for so long.
    #[schemars(extend("default" = "5s"))]
    multi_line_flush_millis: Millis<10, { 15 * MINUTE }>,
    /// An event is cut before it grows beyond this.
    #[schemars(extend("default" = "1MiB"))]
    multi_line_max_bytes: Bytes<1, { 10 << 20 }>,
    /// So many lines at the start of each file are not sent.
    #[schemars(extend("default" = 0))]
    skip_header_lines: Count<0, 2_147_483_647>,
    /// A rotated or deleted file that was quiet for so long is finished: its last line is sent
    /// even without a newline.
    #[schemars(extend("default" = "30s"))]
    finished_after_millis: Millis<100, HOUR>,
    /// Streams only: how long a record may be, partition key included, if the stream allows another
    /// size than 1MiB. By default what the stream says of itself when the flow starts.
    max_record_bytes: Bytes<1024, { 10 << 20 }>,
    /// What is done with a record that is longer than AWS takes.
    #[schemars(extend("default" = "split"))]
    oversized_records: OversizedRecords,
    /// With `oversizedRecords: truncate`: the end of a record that was cut off.
    #[schemars(extend("default" = "\n"))]
    truncated_record_terminator: Text,
    /// lines: as many lines as fit share a record, each with its newline. kpl (streams only): in
    /// the format of the Kinesis Producer Library. By default lines to Firehose (none with
    /// multiLineStartPattern), and none to a stream.
    aggregation: Aggregation,
    /// With `aggregation`: how large a record may become, with its partition key, or before
    /// compression. To a stream up to 1048544 (by default 250KiB), to Firehose up to 1024000.
    aggregation_max_bytes: Bytes<1, 10_485_728>,
    /// With `aggregation`: how many lines or events a record may hold. By default as many as fit.
    aggregation_max_records: Count<1, 1_000_000>,
    /// Each record becomes a gzip member or a Zstandard frame, which its consumers must undo. Not
    /// with `aggregation: kpl`; to Firehose only with forceCompression.
    #[schemars(extend("default" = "none"))]
    compression: Compression,
    /// To Firehose: that nothing there has to read the records.
    #[schemars(extend("default" = false))]
    force_compression: Flag,
}

/// Milliseconds, or a number with a unit.
struct Millis<const MIN: u64, const MAX: u64>;
/// Bytes, or a number with a unit.
struct Bytes<const MIN: u64, const MAX: u64>;
/// A number without a unit.
struct Count<const MIN: u64, const MAX: u64>;
/// One or more patterns; as a list at least so many.
struct Globs<const LEAST: u64>;

const VARIABLE: &str = r"\$\{";

macro_rules! described {
    ($({$($generics:tt)*} $name:ty => $schema:expr;)*) => {$(
        impl<$($generics)*> JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    )*};
}

macro_rules! texts {
    ($($name:ident $types:tt $pattern:expr,)*) => {
        $(struct $name;)*
        described! { $({} $name => json_schema!({
            "type": $types, "pattern": format!("{}|{VARIABLE}", $pattern)
        });)* }
    };
}

macro_rules! words {
    ($($name:ident $($word:literal)*,)*) => {
        $(struct $name;)*
        described! { $({} $name => json_schema!({
            "anyOf": [{ "enum": [$($word),*] }, { "type": "string", "pattern": VARIABLE }]
        });)* }
    };
}

// The empty text stands for no value where a key may be left out.
texts! {
    Text ["string", "integer"] "",
    Name ["string", "integer"] r"^[^\u0000-\u001f\u007f-\u009f]{0,128}$",
    FilePath ["string"] r"^$|^/(.*[^/])$",
    SocketPath ["string"] r"^$|^/(.{0,105}[^/])$",
    Address ["string", "integer"] r"^$|^((localhost)?:)?0*[1-9][0-9]{0,4}$|^([0-9.]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}$",
    Url ["string", "integer"] r"^$|^(https?://|(?!.*://))[A-Za-z0-9\[][A-Za-z0-9._:\[\]-]*([/?#]\S*)?$",
    Region ["string", "integer"] r"^[a-z0-9-]{0,64}$",
    ProxyUrl ["string"] r"^$|^none$|^(https?://|(?!.*://))([^/?#\s]*@)?[A-Za-z0-9\[][A-Za-z0-9._:\[\]-]*/?$",
    RoleArn ["string"] r"^$|^none$|^arn:aws[^:]*:iam::[0-9]{12}:role/.+$",
    Stream ["string", "integer"]
        r"^[A-Za-z0-9_.-]{1,128}$|^arn:aws[^:]*:kinesis:[a-z0-9-]{1,64}:[0-9]{12}:stream/[A-Za-z0-9_.-]{1,128}$",
    DeliveryStream ["string", "integer"] r"^[A-Za-z0-9_.-]{1,64}$",
}

words! {
    InitialPosition "START_OF_FILE" "END_OF_FILE",
    OversizedRecords "split" "truncate" "deadLetter",
    Aggregation "none" "lines" "kpl",
    Compression "none" "gzip" "zstd",
    Flush "aged" "eager",
    Ordering "none" "strict",
}

struct Flag;
struct PartitionKey;
struct Verbatim;
struct Texts;

described! {
    {const MIN: u64, const MAX: u64} Millis<MIN, MAX> => number(MIN, MAX, r"^\s*[0-9]+\s*(ms|s|m|h)?\s*$");
    {const MIN: u64, const MAX: u64} Bytes<MIN, MAX> => {
        number(MIN, MAX, r"^\s*[0-9]+\s*([bB]|[kKmMgG][iI]?[bB])?\s*$")
    };
    {const MIN: u64, const MAX: u64} Count<MIN, MAX> => number(MIN, MAX, r"^\s*[0-9]+\s*$");
    {const LEAST: u64} Globs<LEAST> => {
        let glob = json!({ "type": "string", "pattern": format!(r"^/(.*[^/])$|{VARIABLE}") });
        json_schema!({ "anyOf": [glob, { "type": "array", "items": glob, "minItems": LEAST }] })
    };
    {} Flag => json_schema!({ "anyOf": [
        { "type": "boolean" },
        { "type": "string", "pattern": format!("^([tT][rR][uU][eE]|[fF][aA][lL][sS][eE])$|{VARIABLE}") },
    ] });
    {} Texts => json_schema!({ "anyOf": [
        { "type": ["string", "integer"] }, { "type": "array", "items": { "type": ["string", "integer"] } }
    ] });
    {} PartitionKey => {
        let only = |name: &str, schema: Value| json!({
            "type": "object", "additionalProperties": false, "required": [name], "properties": { name: schema }
        });
        let text = json!({ "type": ["string", "integer"], "minLength": 1, "maxLength": 256 });
        json_schema!({ "anyOf": [
            { "enum": ["RANDOM", "DETERMINISTIC", "FILE", "HOST"] },
            { "type": "string", "pattern": VARIABLE },
            only("value", text),
            only("field", json!({ "type": ["string", "integer"], "minLength": 1 })),
            only("regex", json!({ "type": "string", "minLength": 1 })),
        ] })
    };
    {} Verbatim => json_schema!({ "type": "string" });
}

fn number(min: u64, max: u64, pattern: &str) -> Schema {
    let mut integer = json!({ "type": "integer", "minimum": min });
    if max < u64::MAX {
        integer["maximum"] = max.into();
    }
    json_schema!({
        "anyOf": [integer, { "type": "string", "pattern": format!("{pattern}|{VARIABLE}") }]
    })
}

/// The schema as a JSON document.
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(Document).to_value();
    complete(&mut schema["properties"], Level::Agent);
    complete(&mut schema["$defs"]["FlowKeys"]["properties"], Level::Flow);
    let mut ordered = Map::new();
    for name in ["$schema", "title", "description"] {
        ordered.insert(name.to_owned(), schema[name].take());
    }
    let rest = schema.as_object().expect("a schema is an object").clone();
    ordered.extend(rest.into_iter().filter(|(_, value)| !value.is_null()));
    ordered.into()
}

/// Adds the keys of the Java agent, and for each dotted key the group that it may be nested in.
fn complete(properties: &mut Value, level: Level) {
    let properties = properties.as_object_mut().expect("a struct has properties");
    for key in KEYS.iter().filter(|key| key.level == level) {
        if let Some(schema) = of_java_agent(key) {
            properties.insert(key.name.to_owned(), schema);
        }
    }
    let mut groups = Map::new();
    for (name, schema) in properties.iter() {
        if let Some((group, inner)) = name.split_once('.') {
            let empty = json!({ "type": "object", "additionalProperties": false, "properties": {} });
            groups.entry(group).or_insert(empty)["properties"][inner] = schema.clone();
        }
    }
    properties.extend(groups);
}

fn of_java_agent(key: &Key) -> Option<Value> {
    match key.role {
        Role::Used => None,
        Role::NoEffect(instead) => {
            let colon = if instead.is_empty() { "" } else { ": " };
            let text = format!("A key of the Java agent that has no effect here{colon}{instead}.");
            Some(json!({ "description": text, "deprecated": true }))
        }
        Role::Unsupported(instead) => {
            let text = format!("A key of the Java agent that is not supported: {instead}.");
            // Only what turns it off is accepted.
            Some(json!({
                "description": text, "deprecated": true,
                "type": ["string", "array"], "maxLength": 0, "maxItems": 0
            }))
        }
    }
}
