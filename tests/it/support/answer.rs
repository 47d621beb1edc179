//! What the services answer, in AWS's shapes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use aws_smithy_types::date_time::{DateTime, Format};
use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use md5::{Digest as _, Md5};
use serde_json::{Value, json};

use super::request::{Record, Request, Service};
use super::script::Body;

pub type Answer = Response<Full<Bytes>>;

const JSON: &str = "application/x-amz-json-1.1";

/// The result of a call whose entries were stored, or failed with the code that stands in
/// their place. `halves`: the stream has two shards.
pub fn results(request: &Request, failed: &[Option<&str>], halves: bool) -> Vec<Value> {
    let entries = request.records.iter().zip(failed);
    let result = |(record, code): (&Record, &Option<&str>)| match code {
        Some(code) => refused(code),
        None => stored_in(request.service, usize::from(halves && is_upper(record))),
    };
    entries.map(result).collect()
}

pub fn stored(service: Service) -> Value {
    stored_in(service, 0)
}

fn stored_in(service: Service, shard: usize) -> Value {
    static SEQUENCE: AtomicU64 = AtomicU64::new(0);
    let number = SEQUENCE.fetch_add(1, Ordering::Relaxed);
    match service {
        Service::Kinesis => {
            json!({ "SequenceNumber": format!("4964{number:052}"), "ShardId": format!("shardId-{shard:012}") })
        }
        Service::Firehose => json!({ "RecordId": format!("{number:0224}") }),
    }
}

/// Whether the record goes to the upper one of two shards, by the hash of its key.
pub fn is_upper(record: &Record) -> bool {
    record.key.as_ref().is_some_and(|key| Md5::digest(key)[0] >= 0x80)
}

/// The two shards of a stream.
pub fn halves() -> Value {
    let half = u128::MAX / 2;
    let shard = |number: usize, start: u128, end: u128| {
        json!({
            "ShardId": format!("shardId-{number:012}"),
            "HashKeyRange": { "StartingHashKey": start.to_string(), "EndingHashKey": end.to_string() },
            "SequenceNumberRange": { "StartingSequenceNumber": "4964" },
        })
    };
    json!({ "Shards": [shard(0, 0, half), shard(1, half + 1, u128::MAX)] })
}

fn refused(code: &str) -> Value {
    let message = match code {
        "ProvisionedThroughputExceededException" => {
            "Rate exceeded for shard shardId-000000000000 in stream test under account 123456789012."
        }
        "ServiceUnavailableException" => "Slow down.",
        _ => "Internal Service Failure",
    };
    json!({ "ErrorCode": code, "ErrorMessage": message })
}

/// The 200 that carries one result for each entry.
pub fn success(service: Service, results: &[Value]) -> Answer {
    let failed = results.iter().filter(|result| result.get("ErrorCode").is_some()).count();
    let body = match service {
        Service::Kinesis => {
            json!({ "EncryptionType": "NONE", "FailedRecordCount": failed, "Records": results })
        }
        Service::Firehose => {
            json!({ "Encrypted": false, "FailedPutCount": failed, "RequestResponses": results })
        }
    };
    answer(200, JSON, body.to_string())
}

/// The caller may not do this.
pub fn denied(action: &str) -> Answer {
    let message = format!("User: arn:aws:iam::123456789012:user/it is not authorized to perform: {action}");
    json(400, &json!({ "__type": "AccessDeniedException", "message": message }))
}

/// An active stream of the name that `request` asks for.
pub fn description(service: Service, request: &[u8]) -> Value {
    let request: Value = serde_json::from_slice(request).unwrap_or_default();
    match service {
        Service::Kinesis => json!({ "StreamDescriptionSummary": {
            "StreamName": request["StreamName"],
            "StreamARN": format!("arn:aws:kinesis:us-east-1:123456789012:stream/{}", request["StreamName"].as_str().unwrap_or_default()),
            "StreamStatus": "ACTIVE", "StreamModeDetails": { "StreamMode": "ON_DEMAND" },
            "RetentionPeriodHours": 24, "StreamCreationTimestamp": 1_700_000_000, "EnhancedMonitoring": [],
            "EncryptionType": "KMS", "KeyId": "alias/aws/kinesis", "OpenShardCount": 4, "ConsumerCount": 0,
        } }),
        Service::Firehose => json!({ "DeliveryStreamDescription": {
            "DeliveryStreamName": request["DeliveryStreamName"], "DeliveryStreamARN": "arn:aws:firehose:x",
            "DeliveryStreamStatus": "ACTIVE", "DeliveryStreamType": "DirectPut", "VersionId": "1",
            "HasMoreDestinations": false, "Destinations": [{ "DestinationId": "d" }],
        } }),
    }
}

pub fn json(status: u16, body: &Value) -> Answer {
    answer(status, JSON, body.to_string())
}

/// A call that failed as a whole. AWS puts the service's name before the code, or not.
pub fn error(service: Service, status: u16, code: &str, prefixed: bool) -> Answer {
    let prefix = if prefixed { format!("{}#", service.error_prefix()) } else { String::new() };
    let message = format!("The scripted endpoint answers {code}.");
    answer(status, JSON, json!({ "__type": format!("{prefix}{code}"), "message": message }).to_string())
}

pub fn throttle(service: Service) -> Answer {
    match service {
        Service::Kinesis => error(service, 400, "ProvisionedThroughputExceededException", true),
        Service::Firehose => error(service, 503, "ServiceUnavailableException", false),
    }
}

pub fn server_error(service: Service, status: u16, body: Body) -> Answer {
    match body {
        Body::Empty => answer(status, "text/plain", String::new()),
        Body::Html => {
            let page = format!("<html><body><h1>{status} An error</h1></body></html>");
            answer(status, "text/html", page)
        }
        Body::Json if status == 503 => error(service, status, "ServiceUnavailable", false),
        Body::Json => error(service, status, "InternalFailure", true),
    }
}

/// The answer as a server whose clock shows `time` gives it.
pub fn dated(mut answer: Answer, time: SystemTime) -> Answer {
    let date = DateTime::from(time).fmt(Format::HttpDate).expect("a date of our time");
    answer.headers_mut().insert("date", date.parse().expect("a date is a header's value"));
    answer
}

/// A 200 whose body is no JSON.
pub fn nonsense() -> Answer {
    answer(200, JSON, "{\"Records\": [".to_owned())
}

fn answer(status: u16, content_type: &str, body: String) -> Answer {
    static REQUEST: AtomicU64 = AtomicU64::new(0);
    let id = REQUEST.fetch_add(1, Ordering::Relaxed);
    Response::builder()
        .status(status)
        .header("content-type", content_type)
        .header("x-amzn-RequestId", format!("00000000-0000-4000-8000-{id:012}"))
        .header("x-amz-id-2", "c2NyaXB0ZWQ=")
        .body(Full::new(Bytes::from(body)))
        .expect("the parts of the answer are valid")
}
