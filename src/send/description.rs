//! What a destination says of itself, in words of our own, and what of it matters to a flow:
//! whether it takes records at all, and whether it takes them in the form that the flow sends.
//!
//! Pure: the files of the two services fill it in.

use crate::observe::finding::Finding;

const STREAM: &str = "stream";

/// A Data Stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamDescription {
    pub arn: String,
    /// `ACTIVE`, `CREATING`, `UPDATING`, `DELETING`.
    pub status: String,
    pub open_shards: i32,
    pub on_demand: bool,
    pub retention_hours: i32,
    /// The longest record that it takes, partition key included; none if it does not say. Bytes.
    pub max_record_bytes: Option<usize>,
    /// The KMS key that records are encrypted with; none if they are not.
    pub key: Option<String>,
    /// With enhanced fan-out.
    pub consumers: Option<i32>,
}

/// A Firehose delivery stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryStreamDescription {
    pub arn: String,
    /// `ACTIVE`, `CREATING`, `CREATING_FAILED`, `SUSPENDED` and the like.
    pub status: String,
    /// Why making or deleting it failed.
    pub failure: Option<String>,
    /// Who may put records: `DirectPut`, or the service that it reads from itself.
    pub source: String,
    pub targets: Vec<Target>,
}

/// Where a delivery stream takes the records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Such as `S3` or `OpenSearch`.
    pub name: &'static str,
    /// It makes one document or row of each record.
    pub row_per_record: bool,
    pub dynamic_partitioning: bool,
    pub format_conversion: bool,
    /// The names of its processors that are on, such as `Lambda`.
    pub processors: Vec<String>,
}

impl StreamDescription {
    pub fn findings(&self) -> Vec<Finding> {
        let mode = if self.on_demand { "on demand" } else { "provisioned" };
        let key = self.key.as_ref().map(|key| format!(", encrypted with {key}")).unwrap_or_default();
        let consumers = match self.consumers {
            Some(consumers) => format!(", {}", counted(i64::from(consumers), "registered consumer")),
            None => String::new(),
        };
        let records = match self.max_record_bytes {
            Some(bytes) if bytes != 1 << 20 => format!(", records of up to {} KiB", bytes >> 10),
            _ => String::new(),
        };
        let text = format!(
            "{}, {} ({mode}), kept for {} h{records}{key}{consumers}; {}",
            self.status,
            counted(i64::from(self.open_shards), "open shard"),
            self.retention_hours,
            self.arn
        );
        let mut findings = vec![of_status(&self.status, text)];
        if let Some(key) = &self.key {
            let text = format!("the agent needs kms:GenerateDataKey on {key}, unless it is AWS's own key");
            findings.extend((!key.ends_with("alias/aws/kinesis")).then(|| Finding::note(STREAM, text)));
        }
        findings
    }
}

impl DeliveryStreamDescription {
    /// `packs` says that the flow puts several lines into a record.
    pub fn findings(&self, packs: bool) -> Vec<Finding> {
        let names: Vec<&str> = self.targets.iter().map(|target| target.name).collect();
        let mut text = format!("{}, to {}; {}", self.status, names.join(" and "), self.arn);
        if let Some(failure) = &self.failure {
            text.push_str(&format!(" ({failure})"));
        }
        let mut findings = vec![of_status(&self.status, text)];
        if self.source != "DirectPut" {
            let text = format!(
                "it takes its records from elsewhere ({}), so PutRecordBatch is refused; make a delivery stream \
                 with Direct PUT as its source, or send to the stream that it reads",
                self.source
            );
            findings.push(Finding::failed(STREAM, text));
        }
        for target in &self.targets {
            findings.extend(target.findings(packs));
        }
        findings
    }
}

impl Target {
    fn findings(&self, packs: bool) -> Vec<Finding> {
        let has = |name: &str| self.processors.iter().any(|processor| processor == name);
        let mut wants = Vec::new();
        if self.row_per_record {
            wants.push(format!("{} makes one document or row of each record", self.name));
        }
        if has("Lambda") {
            wants.push("a Lambda function processes each record".to_owned());
        }
        // With de-aggregation Firehose takes the lines apart before it looks at the keys.
        if (self.dynamic_partitioning || has("MetadataExtraction")) && !has("RecordDeAggregation") {
            wants.push("dynamic partitioning takes its keys from each record".to_owned());
        }
        if self.format_conversion {
            wants.push("the format conversion reads one JSON object from each record".to_owned());
        }
        let mut findings = Vec::new();
        for want in wants.into_iter().filter(|_| packs) {
            let text = format!(
                "{want}, but the flow packs many lines into a record; set `aggregation: none` unless \
                 they are taken apart there"
            );
            findings.push(Finding::warning(STREAM, text));
        }
        if has("AppendDelimiterToRecord") {
            let text = "it appends a newline to each record, but the agent's records end in one already; \
                        remove AppendDelimiterToRecord, or expect empty lines";
            findings.push(Finding::warning(STREAM, text));
        }
        findings
    }
}

fn of_status(status: &str, text: String) -> Finding {
    match status {
        "ACTIVE" | "UPDATING" => Finding::good(STREAM, text),
        _ => Finding::failed(STREAM, format!("{text}: it takes no records while it is not ACTIVE")),
    }
}

fn counted(number: i64, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::finding::Grade;

    fn stream() -> StreamDescription {
        StreamDescription {
            arn: "arn:s".into(),
            status: "ACTIVE".into(),
            open_shards: 1,
            on_demand: true,
            retention_hours: 24,
            max_record_bytes: Some(1 << 20),
            key: None,
            consumers: Some(2),
        }
    }

    fn delivery_stream(target: Target) -> DeliveryStreamDescription {
        DeliveryStreamDescription {
            arn: "arn:d".into(),
            status: "ACTIVE".into(),
            failure: None,
            source: "DirectPut".into(),
            targets: vec![target],
        }
    }

    fn texts(findings: &[Finding], grade: Grade) -> Vec<&str> {
        findings.iter().filter(|finding| finding.grade == grade).map(|finding| &*finding.text).collect()
    }

    #[test]
    fn a_stream_is_told_in_a_line() {
        let good = "ACTIVE, 1 open shard (on demand), kept for 24 h, 2 registered consumers; arn:s";
        assert_eq!(stream().findings(), [Finding::good(STREAM, good)]);
        let key = StreamDescription { key: Some("arn:key".into()), on_demand: false, ..stream() };
        let findings = key.findings();
        assert!(findings[0].text.contains("(provisioned), kept for 24 h, encrypted with arn:key"));
        let large = StreamDescription { max_record_bytes: Some(10 << 20), ..stream() };
        assert!(large.findings()[0].text.contains("kept for 24 h, records of up to 10240 KiB"));
        assert!(texts(&findings, Grade::Note)[0].contains("kms:GenerateDataKey on arn:key"));
        for (status, grade) in
            [("UPDATING", Grade::Good), ("CREATING", Grade::Failed), ("DELETING", Grade::Failed)]
        {
            let findings = StreamDescription { status: status.into(), ..stream() }.findings();
            assert_eq!(findings[0].grade, grade, "{status}");
        }
    }

    #[test]
    fn who_wants_one_object_a_record_is_warned_of_when_lines_are_packed() {
        let s3 = || Target { name: "S3", ..Target::default() };
        assert_eq!(delivery_stream(s3()).findings(true), [Finding::good(STREAM, "ACTIVE, to S3; arn:d")]);
        let processor = |name: &str| Target { processors: vec![name.into()], ..s3() };
        let partitioned = Target { dynamic_partitioning: true, ..s3() };
        for (target, words) in [
            (Target { name: "OpenSearch", row_per_record: true, ..s3() }, "OpenSearch makes one document"),
            (processor("Lambda"), "Lambda"),
            (processor("MetadataExtraction"), "dynamic partitioning"),
            (partitioned.clone(), "dynamic partitioning"),
            (Target { format_conversion: true, ..s3() }, "format conversion"),
        ] {
            let findings = delivery_stream(target.clone()).findings(true);
            let warnings = texts(&findings, Grade::Warning);
            assert!(warnings.len() == 1 && warnings[0].contains(words), "{warnings:?}");
            assert_eq!(texts(&delivery_stream(target).findings(false), Grade::Warning), [""; 0]);
        }
        let apart = Target { processors: vec!["RecordDeAggregation".into()], ..partitioned };
        assert_eq!(texts(&delivery_stream(apart).findings(true), Grade::Warning), [""; 0]);
        for packs in [true, false] {
            let findings = delivery_stream(processor("AppendDelimiterToRecord")).findings(packs);
            assert_eq!(texts(&findings, Grade::Warning).len(), 1);
        }
    }

    #[test]
    fn a_delivery_stream_that_reads_for_itself_takes_nothing() {
        let mut description = delivery_stream(Target { name: "S3", ..Target::default() });
        description.source = "KinesisStreamAsSource".into();
        let findings = description.findings(true);
        assert!(texts(&findings, Grade::Failed)[0].contains("PutRecordBatch is refused"), "{findings:?}");
        description.source = "DirectPut".into();
        description.status = "CREATING_FAILED".into();
        description.failure = Some("CREATE_KMS_GRANT_FAILED: no".into());
        let findings = description.findings(true);
        assert!(texts(&findings, Grade::Failed)[0].contains("CREATE_KMS_GRANT_FAILED: no"));
    }
}
