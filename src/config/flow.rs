//! One entry of `flows`, as the options of the three stages that it goes through.
//!
//! Defaults and ranges that depend on the destination or on the language of the file are decided
//! here. Problems go into the report, and the flow that comes back is only good if it holds none.

use std::time::Duration;

use regex::bytes::Regex;

use crate::file::{self, InitialPosition};
use crate::record::{self, MultiLine, Oversized};
use crate::send::partition;
use crate::send::{self, Aggregation, Capture, Compression, Destination, Flush, PartitionKey, ShardLimits};

use super::access::{self, Access};
use super::agent::{self, Service, Shared};
use super::destination;
use super::raw::{Format, Value};
use super::section::{Given, Section, quoted};
use super::variables;
use super::{Asked, Flow};

/// AWS: 1 MiB a record, its partition key included, unless the stream allows more.
const KINESIS_RECORD_BYTES: usize = 1 << 20;
/// AWS: the most that a stream can be told to allow, partition key included.
const KINESIS_LARGEST_RECORD_BYTES: usize = 10 << 20;
/// An MD5 in hex digits; no partition key is longer.
const PARTITION_KEY_BYTES: usize = 32;
/// AWS: 1,000 KiB a record, before base64.
const FIREHOSE_RECORD_BYTES: usize = 1_024_000;
/// AWS: 10 MiB a PutRecords, partition keys included.
const KINESIS_BATCH_BYTES: u64 = 10 << 20;
/// The Java agent's default and limit for a PutRecords.
const KINESIS_JAVA_BATCH_BYTES: u64 = 5 << 20;
/// AWS: 4 MiB a PutRecordBatch.
const FIREHOSE_BATCH_BYTES: u64 = 4 << 20;
/// Ten of AWS's 25 KB units, so that packing to a stream wastes little of the last one.
const KINESIS_AGGREGATION_BYTES: usize = 250 << 10;
/// The Java agent's longest `maxBufferAgeMillis`.
const MAX_AGE_MILLIS: u64 = 900_000;
const HOUR_MILLIS: u64 = 60 * 60 * 1000;
/// Less than this is no packing. Bytes.
const SMALLEST_PACK: usize = 100;
/// Long enough for a daemon to reopen its log after a rotation.
const FINISHED_AFTER_MILLIS: u64 = 30_000;

/// The longest record that the destination takes. `allowed` is what the stream was told to
/// allow, partition key included. Bytes.
pub fn record_limit(
    destination: &Destination,
    allowed: Option<usize>,
    compression: Option<Compression>,
    partition_key: &PartitionKey,
) -> usize {
    let limit = match destination {
        Destination::Kinesis(_) => {
            let allowed = allowed.unwrap_or(KINESIS_RECORD_BYTES).min(KINESIS_LARGEST_RECORD_BYTES);
            let key = partition::longest_key(partition_key).max(PARTITION_KEY_BYTES);
            allowed.saturating_sub(key).max(1)
        }
        Destination::Firehose(_) => FIREHOSE_RECORD_BYTES,
    };
    compression.map_or(limit, |_| send::compress::certain(limit))
}

pub fn flow(section: &mut Section<'_, '_>, shared: &Shared) -> Flow {
    let name = name(section);
    let patterns = patterns(section);
    let excludes = excludes(section);
    let (destination, stream_region) = destination(section);
    let compression = compression(section, &destination);
    let in_order = ordering(section, &destination);
    let partition_key = partition_key(section, &destination, in_order);
    let allowed_record_bytes = allowed_record_bytes(section, &destination);
    let limit = record_limit(&destination, allowed_record_bytes, compression, &partition_key);
    let largest_record = shared.largest_record(compression.is_some());
    let max_record_bytes = limit.min(largest_record);
    let file = file::Options {
        patterns,
        excludes,
        initial_position: initial_position(section),
        max_line_bytes: max_record_bytes,
        scan_interval: shared.scan_interval,
        use_events: shared.use_events,
        finished_after: finished_after(section),
        in_order,
        shares_memory: matches!(
            partition_key,
            PartitionKey::File | PartitionKey::Field(_) | PartitionKey::Capture(_)
        ),
    };
    let (multi_line, event_bytes) = multi_line(section, max_record_bytes);
    let (aggregation, aggregation_bytes) = aggregation(section, &destination, multi_line.is_some());
    let aggregation_max_records = aggregation_max_records(section, aggregation);
    check_compression(section, compression, aggregation);
    check_ordering(section, in_order, aggregation);
    check_room_for_keys(section, aggregation, aggregation_bytes, &destination, &partition_key);
    check_stream_limit(section, aggregation_bytes, limit, allowed_record_bytes);
    let aggregation_max_bytes = aggregation_bytes.min(max_record_bytes);
    let is_firehose = matches!(destination, Destination::Firehose(_));
    let add_missing_newline = is_firehose || aggregation == Aggregation::Lines;
    let record = record_options(section, multi_line, max_record_bytes, add_missing_newline);
    let send = send_options(section, shared, destination, stream_region, largest_record);
    let identity = name.clone().unwrap_or_else(|| file.patterns.join(","));
    let asked = Asked {
        record_bytes: allowed_record_bytes,
        event_bytes,
        aggregation_bytes,
        batch_bytes: send.max_batch_bytes,
    };
    let max_batch_bytes = asked.batch_bytes.min(largest_record);
    Flow {
        name: name.unwrap_or_else(|| file.patterns.first().cloned().unwrap_or_default()),
        key: format!("{}#{identity}", send.destination),
        file,
        record,
        send: send::Options {
            aggregation,
            aggregation_max_bytes,
            aggregation_max_records,
            compression,
            partition_key,
            in_order,
            max_batch_bytes,
            ..send
        },
        asked,
        largest_record,
    }
}

/// What the stream was told to allow, as far as the file says.
fn allowed_record_bytes(section: &mut Section<'_, '_>, destination: &Destination) -> Option<usize> {
    let given = section.bytes("maxRecordBytes", 1024..=KINESIS_LARGEST_RECORD_BYTES as u64)?;
    if matches!(destination, Destination::Firehose(_)) {
        let text = "has no effect: a record for Firehose is never longer than 1024000 bytes";
        section.warning(given.line, "maxRecordBytes", text);
        return None;
    }
    Some(bytes(given.value))
}

fn finished_after(section: &mut Section<'_, '_>) -> Duration {
    let millis = section.millis("finishedAfterMillis", 100..=HOUR_MILLIS);
    Duration::from_millis(millis.unwrap_or(FINISHED_AFTER_MILLIS))
}

fn name(section: &mut Section<'_, '_>) -> Option<String> {
    let given = section.text("name")?;
    if given.value.len() <= 128 && !given.value.contains(char::is_control) {
        return Some(given.value);
    }
    section.problem(given.line, "name", "is not a name; allowed: 1 to 128 bytes on one line");
    None
}

fn patterns(section: &mut Section<'_, '_>) -> Vec<String> {
    if section.line_of("filePattern").is_none() {
        section.missing(&["filePattern"], "; it says which files are read, such as /var/log/app/*.log");
    }
    let given = section.texts("filePattern").unwrap_or_default();
    if let (Some(line), Some(Value::List(items))) =
        (section.line_of("filePattern"), section.typed("filePattern"))
        && items.is_empty()
    {
        section.problem(line, "filePattern", "holds no pattern; give one or more");
    }
    given.into_iter().filter_map(|pattern| glob(section, "filePattern", pattern)).collect()
}

fn excludes(section: &mut Section<'_, '_>) -> Vec<String> {
    let given = section.texts("excludePattern").unwrap_or_default();
    given.into_iter().filter_map(|pattern| glob(section, "excludePattern", pattern)).collect()
}

fn glob(section: &mut Section<'_, '_>, name: &str, given: Given<String>) -> Option<String> {
    const ALLOWED: &str = "allowed: an absolute path whose parts may hold *, ?, [..], {a,b} and **";
    let pattern = given.value;
    let wrong = if !pattern.starts_with('/') {
        Some("does not begin with /".to_owned())
    } else if pattern.ends_with('/') {
        Some("ends in /, so it names a folder and not files".to_owned())
    } else {
        let built = globset::GlobBuilder::new(&pattern).literal_separator(true).build();
        built.err().map(|error| error.kind().to_string())
    };
    match wrong {
        None => Some(pattern),
        Some(wrong) => {
            section.problem(given.line, name, format!("{}: {wrong}; {ALLOWED}", quoted(&pattern)));
            None
        }
    }
}

/// The destination, and the region that its ARN names.
fn destination(section: &mut Section<'_, '_>) -> (Destination, Option<String>) {
    let stream = section.any_text("kinesisStream");
    let delivery_stream = section.any_text("deliveryStream");
    let typed = ["kinesisStream", "deliveryStream"].map(|name| section.line_of(name));
    match typed {
        [Some(_), Some(line)] => {
            let text =
                "stands beside kinesisStream; a flow has exactly one of the two, so make two flows of it";
            section.problem(line, "deliveryStream", text);
        }
        [None, None] => {
            let text = ", and so is deliveryStream; a flow has exactly one of the two";
            section.missing(&["kinesisStream", "deliveryStream"], text);
        }
        _ => {}
    }
    if let Some(given) = stream {
        let region = destination::kinesis_region(&given.value).unwrap_or_else(|wrong| {
            section.problem(given.line, "kinesisStream", format!("{} {wrong}", quoted(&given.value)));
            None
        });
        return (Destination::Kinesis(given.value), region);
    }
    match delivery_stream {
        Some(given) => {
            if let Err(wrong) = destination::check_delivery_stream(&given.value) {
                section.problem(given.line, "deliveryStream", format!("{} {wrong}", quoted(&given.value)));
            }
            (Destination::Firehose(given.value), None)
        }
        // A problem has been reported; the rest of the flow is checked all the same.
        None if typed[1].is_some() => (Destination::Firehose(String::new()), None),
        None => (Destination::Kinesis(String::new()), None),
    }
}

fn initial_position(section: &mut Section<'_, '_>) -> InitialPosition {
    let words =
        [("START_OF_FILE", InitialPosition::StartOfFile), ("END_OF_FILE", InitialPosition::EndOfFile)];
    section.choice("initialPosition", &words).map_or(InitialPosition::EndOfFile, |given| given.value)
}

/// And how long an event may be as far as the file says.
fn multi_line(section: &mut Section<'_, '_>, max_record_bytes: usize) -> (Option<MultiLine>, usize) {
    let flush = section.millis("multiLineFlushMillis", 10..=MAX_AGE_MILLIS);
    let max_bytes = section.bytes("multiLineMaxBytes", 1..=KINESIS_LARGEST_RECORD_BYTES as u64);
    let Some(pattern) = section.verbatim("multiLineStartPattern") else {
        for name in ["multiLineFlushMillis", "multiLineMaxBytes"] {
            if let Some(line) = section.line_of(name) {
                section.warning(line, name, "has no effect without multiLineStartPattern");
            }
        }
        return (None, 0);
    };
    let start = Regex::new(&format!(r"\A(?:{})", pattern.value))
        .map_err(|error| section.problem(pattern.line, "multiLineStartPattern", regex_problem(&error)));
    let Ok(start) = start else { return (None, 0) };
    let wanted = max_bytes.as_ref().map_or(KINESIS_RECORD_BYTES, |given| bytes(given.value));
    if let Some(given) = max_bytes.filter(|_| wanted > max_record_bytes) {
        let text =
            format!("an event is cut at {max_record_bytes} bytes already, the longest record of this flow");
        section.warning(given.line, "multiLineMaxBytes", text);
    }
    let multi_line = MultiLine {
        start,
        flush_after: Duration::from_millis(flush.unwrap_or(5000)),
        max_bytes: wanted.min(max_record_bytes),
    };
    (Some(multi_line), wanted)
}

/// The crate explains itself in several lines of which the last one says what is wrong.
fn regex_problem(error: &regex::Error) -> String {
    let text = error.to_string();
    let what = text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ");
    let allowed = if what.contains("look-around") {
        "write the pattern without (?=..), (?!..), (?<=..) and (?<!..)"
    } else if what.contains("backreference") {
        r"write the pattern without \1, \2 and the like"
    } else {
        "allowed: a regular expression that the beginning of an event's first line matches"
    };
    format!("is not a pattern this agent can use: {what}; {allowed}")
}

fn aggregation(
    section: &mut Section<'_, '_>,
    destination: &Destination,
    multi_line: bool,
) -> (Aggregation, usize) {
    let is_firehose = matches!(destination, Destination::Firehose(_));
    let (default_bytes, limit) = match destination {
        Destination::Kinesis(_) => {
            (KINESIS_AGGREGATION_BYTES, KINESIS_LARGEST_RECORD_BYTES - PARTITION_KEY_BYTES)
        }
        Destination::Firehose(_) => (FIREHOSE_RECORD_BYTES, FIREHOSE_RECORD_BYTES),
    };
    let max_bytes = section.bytes("aggregationMaxBytes", 1..=limit as u64);
    let words = [("none", Aggregation::None), ("lines", Aggregation::Lines), ("kpl", Aggregation::Kpl)];
    let aggregation = match section.choice("aggregation", &words) {
        Some(given) => {
            if is_firehose && given.value == Aggregation::Kpl {
                let text = "kpl is for Data Streams: Firehose takes such records apart only where they come \
                            from a stream; allowed: none, lines";
                section.problem(given.line, "aggregation", text);
            }
            given.value
        }
        None if is_firehose && !multi_line && section.report.format == Format::Yaml => Aggregation::Lines,
        None => Aggregation::None,
    };
    if let Some(given) = max_bytes.as_ref().filter(|_| aggregation == Aggregation::None) {
        section.warning(given.line, "aggregationMaxBytes", "has no effect without `aggregation`");
    }
    (aggregation, max_bytes.map_or(default_bytes, |given| bytes(given.value)))
}

/// Records that hold many lines are records, too.
fn check_stream_limit(section: &mut Section<'_, '_>, asked: usize, limit: usize, allowed: Option<usize>) {
    let Some(line) = section.line_of("aggregationMaxBytes").filter(|_| asked > limit) else { return };
    let until = match allowed {
        Some(_) => "",
        None => ", unless the stream says that it allows more (or `maxRecordBytes` does)",
    };
    let text = format!("records become no longer than {limit} bytes{until}");
    section.warning(line, "aggregationMaxBytes", text);
}

/// The key counts, and stands in an aggregate once more; room is kept for the longest.
fn check_room_for_keys(
    section: &mut Section<'_, '_>,
    aggregation: Aggregation,
    max_bytes: usize,
    destination: &Destination,
    partition_key: &PartitionKey,
) {
    let (Destination::Kinesis(_), Some(line)) = (destination, section.line_of("aggregationMaxBytes")) else {
        return;
    };
    let least = match aggregation {
        Aggregation::None => return,
        Aggregation::Lines => partition::longest_key(partition_key) + SMALLEST_PACK,
        Aggregation::Kpl => 2 * partition::longest_key(partition_key) + SMALLEST_PACK,
    };
    if max_bytes < least {
        let text = format!(
            "leaves no room for lines beside a partition key of up to {} bytes, so each goes alone; set {least} \
             or more",
            partition::longest_key(partition_key)
        );
        section.warning(line, "aggregationMaxBytes", text);
    }
}

fn aggregation_max_records(section: &mut Section<'_, '_>, aggregation: Aggregation) -> Option<u32> {
    let number = section.number("aggregationMaxRecords", 1..=1_000_000)?;
    if let (Aggregation::None, Some(line)) = (aggregation, section.line_of("aggregationMaxRecords")) {
        section.warning(line, "aggregationMaxRecords", "has no effect without `aggregation`");
    }
    u32::try_from(number).ok()
}

fn compression(section: &mut Section<'_, '_>, destination: &Destination) -> Option<Compression> {
    let words = [("none", None), ("gzip", Some(Compression::Gzip)), ("zstd", Some(Compression::Zstd))];
    let given = section.choice("compression", &words);
    let forced = section.flag("forceCompression") == Some(true);
    let is_firehose = matches!(destination, Destination::Firehose(_));
    let compression = given.as_ref().and_then(|given| given.value);
    if let (Some(given), Some(_), true, false) = (given, compression, is_firehose, forced) {
        let text = "makes records that Firehose cannot read: no transformation, partitioning or conversion \
                    there works, and no destination but S3 understands them; compress in Firehose instead, \
                    or set `forceCompression: true` if nothing there has to read a record";
        section.problem(given.line, "compression", text);
    }
    if let (true, Some(line)) = (forced, section.line_of("forceCompression")) {
        if !is_firehose {
            section.warning(line, "forceCompression", "has no effect on a stream");
        } else if compression.is_none() {
            section.warning(line, "forceCompression", "has no effect without `compression`");
        }
    }
    compression
}

fn check_compression(
    section: &mut Section<'_, '_>,
    compression: Option<Compression>,
    aggregation: Aggregation,
) {
    let (Some(_), Some(line)) = (compression, section.line_of("compression")) else { return };
    match aggregation {
        Aggregation::Kpl => {
            let text = "stands beside `aggregation: kpl`, whose consumers could not find the records; remove \
                        one of the two, or use `aggregation: lines`";
            section.problem(line, "compression", text);
        }
        Aggregation::None => {
            let text =
                "compresses each line by itself, which makes short ones longer; set `aggregation: lines`";
            section.warning(line, "compression", text);
        }
        Aggregation::Lines => {}
    }
}

fn record_options(
    section: &mut Section<'_, '_>,
    multi_line: Option<MultiLine>,
    max_record_bytes: usize,
    add_missing_newline: bool,
) -> record::Options {
    const WORDS: [(&str, Oversized); 3] = [
        ("split", Oversized::Split),
        ("truncate", Oversized::Truncate),
        ("deadLetter", Oversized::DeadLetter),
    ];
    let oversized = section.choice("oversizedRecords", &WORDS).map_or(Oversized::Split, |given| given.value);
    let terminator = section.any_text("truncatedRecordTerminator");
    if let Some(given) = &terminator {
        if given.value.len() >= max_record_bytes {
            let text = format!("is as long as a record; allowed: fewer than {max_record_bytes} bytes");
            section.problem(given.line, "truncatedRecordTerminator", text);
        } else if oversized != Oversized::Truncate {
            let text = "has no effect without `oversizedRecords: truncate`";
            section.warning(given.line, "truncatedRecordTerminator", text);
        }
    }
    record::Options {
        multi_line,
        skip_header_lines: section.number("skipHeaderLines", 0..=i32::MAX as u64).unwrap_or(0),
        oversized,
        truncated_record_terminator: terminator
            .map_or_else(|| b"\n".to_vec(), |given| given.value.into_bytes()),
        max_record_bytes,
        add_missing_newline,
    }
}

/// All but the aggregation and the keys.
fn send_options(
    section: &mut Section<'_, '_>,
    shared: &Shared,
    destination: Destination,
    stream_region: Option<String>,
    largest_record: usize,
) -> send::Options {
    let (service, age) = match &destination {
        Destination::Kinesis(_) => (&shared.kinesis, 1000),
        Destination::Firehose(_) => (&shared.firehose, 60_000),
    };
    let (default_age, min_age) = match section.report.format {
        Format::Yaml => (age, 10),
        Format::Json => (60_000, 1000),
    };
    let (region, endpoint) = place(section, service, stream_region);
    let Access { credentials, network } = access::of_flow(section, &shared.access, endpoint.is_some());
    let (retry_initial_backoff, retry_max_backoff) = backoff(section);
    let max_age = section.millis("maxBufferAgeMillis", min_age..=MAX_AGE_MILLIS).unwrap_or(default_age);
    send::Options {
        region,
        endpoint,
        credentials,
        network,
        aggregation: Aggregation::None,
        aggregation_max_bytes: 0,
        aggregation_max_records: None,
        compression: None,
        partition_key: PartitionKey::Random,
        in_order: false,
        shard_limits: shard_limits(section, &destination),
        max_batch_entries: count(section, "maxBufferSizeRecords", 500, 500),
        max_batch_bytes: max_batch_bytes(section, largest_record, &destination),
        max_age: Duration::from_millis(max_age),
        flush: flush(section),
        retry_initial_backoff,
        retry_max_backoff,
        max_in_flight: count(section, "maxInFlight", 32, 64),
        destination,
    }
}

/// The region and the endpoint: the flow's own before those of all flows; and where no region is
/// given, the one that an endpoint of AWS is in, as in the Java agent.
fn place(
    section: &mut Section<'_, '_>,
    service: &Service,
    stream_region: Option<String>,
) -> (Option<String>, Option<String>) {
    let endpoint = agent::endpoint(section, "endpoint");
    let region = agent::region(section, "region");
    if let (Some(typed), Some(of_stream)) = (&region, &stream_region)
        && typed != of_stream
    {
        let line = section.line_of("region").unwrap_or(section.line);
        let text = format!("is {typed}, but the ARN of kinesisStream says {of_stream}; remove the key");
        section.problem(line, "region", text);
    }
    let of_url = |url: &Option<String>| url.as_deref().and_then(destination::region_of_endpoint);
    let region = region
        .or(stream_region)
        .or_else(|| of_url(&endpoint))
        .or_else(|| service.region.clone())
        .or_else(|| of_url(&service.endpoint));
    (region, endpoint.or_else(|| service.endpoint.clone()))
}

fn backoff(section: &mut Section<'_, '_>) -> (Duration, Duration) {
    let initial = section.millis("retryInitialBackoffMillis", 1..=HOUR_MILLIS).unwrap_or(100);
    let max = section.millis("retryMaxBackoffMillis", 1..=HOUR_MILLIS);
    if let (Some(max), Some(line)) = (max, section.line_of("retryMaxBackoffMillis"))
        && max < initial
    {
        let text =
            format!("{max} is too small; allowed: {initial} (retryInitialBackoffMillis) to {HOUR_MILLIS}");
        section.problem(line, "retryMaxBackoffMillis", text);
    }
    let max = max.unwrap_or_else(|| initial.max(10_000));
    (Duration::from_millis(initial), Duration::from_millis(max))
}

fn partition_key(section: &mut Section<'_, '_>, destination: &Destination, in_order: bool) -> PartitionKey {
    const NAME: &str = "partitionKeyOption";
    const WORDS: [(&str, &PartitionKey); 4] = [
        ("RANDOM", &PartitionKey::Random),
        ("DETERMINISTIC", &PartitionKey::Deterministic),
        ("FILE", &PartitionKey::File),
        ("HOST", &PartitionKey::Host),
    ];
    let given = match section.typed(NAME) {
        Some(Value::Map(_)) => section.node(NAME).and_then(|Given { value, line }| {
            let key = chosen_key(section, value)
                .map_err(|wrong| section.problem(line, NAME, format!("{wrong}; {KEY_ALLOWED}")));
            Some(Given { value: key.ok()?, line })
        }),
        _ => section
            .choice_beside(NAME, &WORDS, KEY_BESIDE)
            .map(|given| Given { value: given.value.clone(), line: given.line }),
    };
    let Some(given) = given else {
        return if in_order { PartitionKey::File } else { PartitionKey::Random };
    };
    if matches!(destination, Destination::Firehose(_)) {
        section.warning(given.line, NAME, "has no effect: Firehose knows no partition keys");
        return PartitionKey::Random;
    }
    if in_order && matches!(given.value, PartitionKey::Random | PartitionKey::Deterministic) {
        let text = "scatters the records of a file over the shards, and `ordering: strict` keeps them in order; \
                    allowed there: FILE (the default with it), HOST, `value`, `field` and `regex`";
        section.problem(given.line, NAME, text);
    }
    given.value
}

/// Whether what the stream holds is to be in the order of the files.
fn ordering(section: &mut Section<'_, '_>, destination: &Destination) -> bool {
    let Some(given) = section.choice("ordering", &[("none", false), ("strict", true)]) else { return false };
    if given.value && matches!(destination, Destination::Firehose(_)) {
        let text = "strict is for Data Streams: Firehose itself keeps no order; allowed: none";
        section.problem(given.line, "ordering", text);
        return false;
    }
    given.value
}

fn check_ordering(section: &mut Section<'_, '_>, in_order: bool, aggregation: Aggregation) {
    if let (true, Aggregation::None, Some(line)) = (in_order, aggregation, section.line_of("ordering")) {
        let text = "strict has one record of each key under way at a time, so records have to hold many \
                    lines; set `aggregation: kpl` or `aggregation: lines` beside it";
        section.problem(line, "ordering", text);
    }
}

const KEY_BESIDE: &str = ", {value: TEXT}, {field: NAME}, {regex: PATTERN}";
const KEY_ALLOWED: &str = "allowed: one of `value: TEXT`, `field: NAME` and `regex: PATTERN` with a group";

/// What stands in braces behind `partitionKeyOption`.
fn chosen_key(section: &Section<'_, '_>, value: Value) -> Result<PartitionKey, String> {
    let Value::Map(entries) = value else { return Err("is not a group of keys".into()) };
    let [entry] = &entries[..] else { return Err(format!("holds {} keys", entries.len())) };
    let text = match &entry.node.value {
        Value::Text(text) if !text.is_empty() => text.clone(),
        Value::Integer(number) => number.to_string(),
        _ => return Err(format!("`{}` is not a text", entry.key)),
    };
    let expanded = || variables::expand(&text, section.report.env);
    match entry.key.as_str() {
        "value" => match expanded()? {
            value if (1..=256).contains(&value.len()) => Ok(PartitionKey::Value(value.into())),
            value => Err(format!("`value` is {} bytes long, and a key has 1 to 256", value.len())),
        },
        "field" => Ok(PartitionKey::Field(expanded()?.into())),
        "regex" => {
            let regex = Regex::new(&text).map_err(|error| regex_problem(&error))?;
            if regex.captures_len() < 2 {
                return Err(format!("{} has no group in parentheses", quoted(&text)));
            }
            Ok(PartitionKey::Capture(Capture(regex)))
        }
        other => Err(format!("`{other}` is not known")),
    }
}

fn shard_limits(section: &mut Section<'_, '_>, destination: &Destination) -> ShardLimits {
    let of_aws = ShardLimits::default();
    let bytes = section.bytes("shardBytesPerSecond", 1000..=of_aws.bytes_per_second);
    let records = section.number("shardRecordsPerSecond", 1..=of_aws.records_per_second);
    if matches!(destination, Destination::Firehose(_)) {
        for name in ["shardBytesPerSecond", "shardRecordsPerSecond"] {
            if let Some(line) = section.line_of(name) {
                section.warning(line, name, "has no effect: Firehose has no shards");
            }
        }
        return of_aws;
    }
    ShardLimits {
        bytes_per_second: bytes.map_or(of_aws.bytes_per_second, |given| given.value),
        records_per_second: records.unwrap_or(of_aws.records_per_second),
    }
}

fn flush(section: &mut Section<'_, '_>) -> Flush {
    section
        .choice("flush", &[("aged", Flush::Aged), ("eager", Flush::Eager)])
        .map_or(Flush::Aged, |given| given.value)
}

fn max_batch_bytes(section: &mut Section<'_, '_>, most: usize, destination: &Destination) -> usize {
    let (default, limit) = match (destination, section.report.format) {
        (Destination::Kinesis(_), Format::Yaml) => (KINESIS_JAVA_BATCH_BYTES, KINESIS_BATCH_BYTES),
        (Destination::Kinesis(_), Format::Json) => (KINESIS_JAVA_BATCH_BYTES, KINESIS_JAVA_BATCH_BYTES),
        (Destination::Firehose(_), _) => (FIREHOSE_BATCH_BYTES, FIREHOSE_BATCH_BYTES),
    };
    let given = section.bytes("maxBufferSizeBytes", 1..=limit);
    let wanted = given.as_ref().map_or(default, |given| given.value);
    if bytes(wanted) > most {
        let text = format!("requests are no larger than {most} bytes, the flow's share of memoryBudget");
        match given {
            Some(given) => section.warning(given.line, "maxBufferSizeBytes", text),
            None => tracing::debug!("{text}"),
        }
    }
    bytes(wanted)
}

/// A number from 1 to `most`.
fn count(section: &mut Section<'_, '_>, name: &str, default: usize, most: usize) -> usize {
    section.number(name, 1..=most as u64).map_or(default, |number| usize::try_from(number).unwrap_or(most))
}

fn bytes(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
