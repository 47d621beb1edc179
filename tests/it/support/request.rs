//! One request as AWS reads it: the operation, its records, and today's limits.
//!
//! What AWS would refuse is refused here with a sentence for the person who reads the test's
//! failure. The limits are those of the service models and developer guides of 2026: 500
//! records; Kinesis 10 MiB a request and 1 MiB a record, both with the partition keys;
//! Firehose 4 MiB a request and 1,000 KiB a record, before base64.

use bytes::Bytes;
use serde_json::Value;

const MAX_RECORDS: usize = 500;
const KINESIS_MAX_REQUEST: usize = 10 * 1024 * 1024;
pub const KINESIS_MAX_RECORD: usize = 1024 * 1024;
const KINESIS_MAX_KEY_CHARS: usize = 256;
const FIREHOSE_MAX_REQUEST: usize = 4 * 1024 * 1024;
const FIREHOSE_MAX_RECORD: usize = 1_024_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    Kinesis,
    Firehose,
}

/// A PutRecords or PutRecordBatch call that is within the limits.
#[derive(Clone, Debug)]
pub struct Request {
    pub service: Service,
    /// The name, also where the call gave an ARN.
    pub stream: String,
    pub records: Vec<Record>,
}

#[derive(Clone, Debug)]
pub struct Record {
    /// The partition key. Firehose has none.
    pub key: Option<String>,
    pub data: Bytes,
    /// Set by the endpoint when it keeps the record.
    pub stored: bool,
}

impl Service {
    /// The service and its put operation, as `x-amz-target` names them.
    pub fn of_target(target: &str) -> Result<Self, String> {
        match target {
            "Kinesis_20131202.PutRecords" => Ok(Service::Kinesis),
            "Firehose_20150804.PutRecordBatch" => Ok(Service::Firehose),
            other => Err(format!("the operation {other:?} is not one that the agent may use")),
        }
    }

    pub fn signing_name(self) -> &'static str {
        match self {
            Service::Kinesis => "kinesis",
            Service::Firehose => "firehose",
        }
    }

    /// The prefix that AWS puts before the error codes of the service, at times.
    pub fn error_prefix(self) -> &'static str {
        match self {
            Service::Kinesis => "com.amazonaws.kinesis.v20131202",
            Service::Firehose => "com.amazonaws.firehose.v20150804",
        }
    }
}

impl Request {
    /// Reads a JSON 1.1 body and checks it against the limits.
    pub fn parse(service: Service, body: &[u8]) -> Result<Self, String> {
        Self::parse_within(service, body, KINESIS_MAX_RECORD)
    }

    /// The same for a stream that takes records of other sizes.
    pub fn parse_within(service: Service, body: &[u8], kinesis_record: usize) -> Result<Self, String> {
        let body: Value = serde_json::from_slice(body)
            .map_err(|error| format!("the body of {} bytes is not JSON: {error}", body.len()))?;
        let records = body["Records"].as_array().ok_or("Records is missing")?;
        if records.is_empty() || records.len() > MAX_RECORDS {
            return Err(format!("{} records in a request", records.len()));
        }
        let stream = match service {
            Service::Kinesis => kinesis_stream(&body)?,
            Service::Firehose => text(&body, "DeliveryStreamName")?.to_owned(),
        };
        check_stream_name(service, &stream)?;
        let read = |value| Record::parse(service, value, kinesis_record);
        let records = records.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let request = Request { service, stream, records };
        request.check_size()?;
        Ok(request)
    }

    fn check_size(&self) -> Result<(), String> {
        let limit = match self.service {
            Service::Kinesis => KINESIS_MAX_REQUEST,
            Service::Firehose => FIREHOSE_MAX_REQUEST,
        };
        let size: usize = self.records.iter().map(Record::size).sum();
        if size > limit {
            return Err(format!("a request of {size} bytes is over the limit of {limit}"));
        }
        Ok(())
    }
}

impl Record {
    fn parse(service: Service, value: &Value, kinesis_record: usize) -> Result<Self, String> {
        let data = text(value, "Data")?;
        let data =
            aws_smithy_types::base64::decode(data).map_err(|error| format!("Data is not base64: {error}"))?;
        let (key, limit) = match service {
            Service::Kinesis => (Some(partition_key(value)?), kinesis_record),
            Service::Firehose => (None, FIREHOSE_MAX_RECORD),
        };
        let record = Record { key, data: Bytes::from(data), stored: false };
        if record.size() > limit {
            return Err(format!("a record of {} bytes is over the limit of {limit}", record.size()));
        }
        Ok(record)
    }

    /// What the record counts against the limits.
    pub fn size(&self) -> usize {
        self.data.len() + self.key.as_ref().map_or(0, String::len)
    }
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str, String> {
    value[key].as_str().ok_or_else(|| format!("{key} is missing"))
}

fn partition_key(record: &Value) -> Result<String, String> {
    let key = text(record, "PartitionKey")?;
    match key.chars().count() {
        1..=KINESIS_MAX_KEY_CHARS => Ok(key.to_owned()),
        n => Err(format!("a partition key of {n} characters")),
    }
}

fn kinesis_stream(body: &Value) -> Result<String, String> {
    match (body["StreamName"].as_str(), body["StreamARN"].as_str()) {
        (Some(name), None) => Ok(name.to_owned()),
        (None, Some(arn)) => {
            let name = arn.strip_prefix("arn:aws").and_then(|rest| rest.split_once(":stream/"));
            Ok(name.ok_or_else(|| format!("{arn:?} is not the ARN of a stream"))?.1.to_owned())
        }
        (Some(_), Some(_)) => Err("both StreamName and StreamARN".to_owned()),
        (None, None) => Err("neither StreamName nor StreamARN".to_owned()),
    }
}

fn check_stream_name(service: Service, name: &str) -> Result<(), String> {
    let longest = if service == Service::Kinesis { 128 } else { 64 };
    let valid = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if name.is_empty() || name.len() > longest || !name.chars().all(valid) {
        return Err(format!("{name:?} is not the name of a stream"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn encoded(length: usize) -> String {
        aws_smithy_types::base64::encode(vec![b'x'; length])
    }

    fn kinesis(records: &[Value]) -> Result<Request, String> {
        let body = json!({ "StreamName": "s", "Records": records });
        Request::parse(Service::Kinesis, body.to_string().as_bytes())
    }

    fn firehose(records: &[Value]) -> Result<Request, String> {
        let body = json!({ "DeliveryStreamName": "s", "Records": records });
        Request::parse(Service::Firehose, body.to_string().as_bytes())
    }

    fn keyed(length: usize, key: &str) -> Value {
        json!({ "Data": encoded(length), "PartitionKey": key })
    }

    #[test]
    fn a_kinesis_record_may_have_one_mebibyte_with_its_key() {
        assert!(kinesis(&[keyed(KINESIS_MAX_RECORD - 3, "key")]).is_ok());
        assert!(kinesis(&[keyed(KINESIS_MAX_RECORD - 2, "key")]).is_err());
    }

    #[test]
    fn a_kinesis_request_may_have_ten_mebibytes_with_its_keys() {
        let mut records = vec![keyed(KINESIS_MAX_RECORD - 1, "k"); 10];
        assert!(kinesis(&records).is_ok());
        records.push(keyed(0, "k"));
        assert!(kinesis(&records).is_err());
    }

    #[test]
    fn a_firehose_record_and_request_have_their_own_limits() {
        let data = |length| json!({ "Data": encoded(length) });
        assert!(firehose(&[data(FIREHOSE_MAX_RECORD)]).is_ok());
        assert!(firehose(&[data(FIREHOSE_MAX_RECORD + 1)]).is_err());
        let mut records = vec![data(1_000_000); 4];
        records.push(data(FIREHOSE_MAX_REQUEST - 4_000_000));
        assert!(firehose(&records).is_ok());
        records.push(data(1));
        assert!(firehose(&records).is_err());
    }

    #[test]
    fn the_number_of_records_and_the_key_have_limits() {
        assert!(kinesis(&[]).is_err());
        assert!(kinesis(&vec![keyed(1, "k"); 500]).is_ok());
        assert!(kinesis(&vec![keyed(1, "k"); 501]).is_err());
        assert!(kinesis(&[keyed(1, "")]).is_err());
        assert!(kinesis(&[keyed(1, &"ö".repeat(256))]).is_ok());
        assert!(kinesis(&[keyed(1, &"ö".repeat(257))]).is_err());
        assert!(kinesis(&[json!({ "Data": "!!!", "PartitionKey": "k" })]).is_err());
    }

    #[test]
    fn a_stream_has_a_name_or_an_arn_but_not_both() {
        let parse = |mut body: Value| {
            body["Records"] = json!([keyed(1, "k")]);
            Request::parse(Service::Kinesis, body.to_string().as_bytes())
        };
        let arn = "arn:aws:kinesis:us-east-1:123456789012:stream/orders";
        assert_eq!(parse(json!({ "StreamARN": arn })).unwrap().stream, "orders");
        assert!(parse(json!({ "StreamARN": arn, "StreamName": "orders" })).is_err());
        assert!(parse(json!({ "StreamARN": "orders" })).is_err());
        assert!(parse(json!({})).is_err());
        assert!(parse(json!({ "StreamName": "a b" })).is_err());
    }

    #[test]
    fn a_body_that_was_cut_is_refused() {
        let body = json!({ "StreamName": "s", "Records": [keyed(9, "k")] }).to_string();
        let cut = &body.as_bytes()[..body.len() - 1];
        assert!(Request::parse(Service::Kinesis, cut).unwrap_err().contains("not JSON"));
    }
}
