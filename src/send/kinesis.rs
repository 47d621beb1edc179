//! Puts entries into a Data Stream: the only file that names `aws_sdk_kinesis`.
//!
//! One call is one attempt: the SDK's own retries are off, and the sender owns the time-out.

use aws_config::SdkConfig;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::config::{Builder, Config};
use aws_sdk_kinesis::operation::put_records::PutRecordsOutput;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;

use super::entry::Entry;
use super::options::{Options, PartitionKey};
use super::outcome::{Answer, Failure, Outcome, outcomes};
use super::partition;
use crate::observe::Shards;

#[derive(Clone, Debug)]
pub struct Kinesis {
    sdk: aws_sdk_kinesis::Client,
    stream: Stream,
    partition_key: PartitionKey,
}

#[derive(Clone, Debug)]
enum Stream {
    Name(String),
    Arn(String),
}

impl Kinesis {
    /// `stream` is a name or an ARN.
    pub fn new(shared: &SdkConfig, options: &Options, stream: &str) -> Self {
        Kinesis {
            sdk: aws_sdk_kinesis::Client::from_conf(config(shared, options)),
            stream: if stream.starts_with("arn:") {
                Stream::Arn(stream.to_owned())
            } else {
                Stream::Name(stream.to_owned())
            },
            partition_key: options.partition_key,
        }
    }

    /// One outcome for each of `entries`. `shards` is told where they went.
    pub async fn put(&self, entries: &[Entry], shards: &Shards) -> Result<Vec<Outcome>, Failure> {
        let answer = self.request(entries).await?;
        shards.saw(answer.records().iter().filter_map(|record| record.shard_id()));
        outcomes(
            entries.len(),
            answer.records().iter().map(|record| Answer {
                accepted: record.sequence_number().is_some_and(|number| !number.is_empty()),
                code: record.error_code(),
                message: record.error_message(),
            }),
        )
    }

    /// Makes the body and sends it: all that a serialisation of our own would replace.
    async fn request(&self, entries: &[Entry]) -> Result<PutRecordsOutput, Failure> {
        let records = entries.iter().map(|entry| {
            PutRecordsRequestEntry::builder()
                .data(Blob::new(entry.to_vec()))
                .partition_key(partition::key(self.partition_key, entry))
                .build()
                .expect("data and key are set")
        });
        let call = self.sdk.put_records().set_records(Some(records.collect()));
        let call = match &self.stream {
            Stream::Name(name) => call.stream_name(name),
            Stream::Arn(arn) => call.stream_arn(arn),
        };
        Ok(call.send().await?)
    }
}

fn config(shared: &SdkConfig, options: &Options) -> Config {
    let mut builder = Builder::from(shared).retry_config(RetryConfig::disabled());
    if let Some(url) = &options.endpoint {
        builder = builder.endpoint_url(url);
    }
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::send::options::Destination;
    use crate::send::testing::{Canned, entry};
    use crate::send::{Client, Clients};
    use aws_sdk_kinesis::types::ShardIteratorType;
    use std::time::Duration;

    const OK: &str = r#"{"FailedRecordCount":7,"Records":[
        {"SequenceNumber":"1","ShardId":"shardId-000000000000"},
        {"ErrorCode":"ProvisionedThroughputExceededException","ErrorMessage":"Rate exceeded"}]}"#;

    async fn kinesis(options: &Options) -> Kinesis {
        match Clients::default().client("test", options).await.unwrap() {
            Client::Kinesis(kinesis) => kinesis,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_request_has_the_form_that_kinesis_documents() {
        let server = Canned::start(200, "", OK).await;
        let options = Options {
            partition_key: PartitionKey::Deterministic,
            ..server.options(Destination::Kinesis("my-stream".into()))
        };
        let shards = Shards::default();
        let outcomes =
            kinesis(&options).await.put(&[entry(&[b"he", b"llo\n"]), entry(&[b"x"])], &shards).await.unwrap();
        assert_eq!(shards.count(), 1);
        assert_eq!(outcomes[0], Outcome::Delivered);
        assert!(
            matches!(&outcomes[1], Outcome::Retry(cause) if cause.throttled && cause.message == "Rate exceeded")
        );

        let [request] = &server.requests()[..] else { panic!("{:?}", server.requests()) };
        for header in [
            "content-type: application/x-amz-json-1.1",
            "x-amz-target: kinesis_20131202.putrecords",
            "/eu-central-1/kinesis/aws4_request",
        ] {
            assert!(request.head.contains(header), "{header} in {}", request.head);
        }
        let body: serde_json::Value = serde_json::from_str(&request.body).unwrap();
        assert_eq!(body["StreamName"], "my-stream");
        assert_eq!(body["Records"][0]["Data"], "aGVsbG8K");
        assert_eq!(body["Records"][0]["PartitionKey"], "b1946ac92492d2347c6235b4d2611184");
        assert_eq!(body["Records"].as_array().unwrap().len(), 2);
    }

    #[tokio::test]
    async fn an_arn_is_sent_as_such_and_gives_the_region() {
        let server = Canned::start(200, "", OK).await;
        let arn = "arn:aws:kinesis:ap-south-1:123456789012:stream/my-stream";
        let options = Options { region: None, ..server.options(Destination::Kinesis(arn.into())) };
        kinesis(&options).await.put(&[entry(&[b"a"]), entry(&[b"b"])], &Shards::default()).await.unwrap();
        let request = server.requests().remove(0);
        assert!(request.head.contains("/ap-south-1/kinesis/aws4_request"), "{}", request.head);
        let body: serde_json::Value = serde_json::from_str(&request.body).unwrap();
        assert_eq!(body["StreamARN"], arn);
        assert_eq!(body["StreamName"], serde_json::Value::Null);
    }

    #[tokio::test]
    async fn what_was_put_is_read_back_from_a_real_server() {
        let server = ferrokinesis::store::StoreOptions { create_stream_ms: 0, ..Default::default() };
        let (app, _store) = ferrokinesis::create_app(server);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(ferrokinesis::serve_plain_http(listener, app, std::future::pending()));
        let keys = Canned::start(200, "", "").await.options(Destination::Kinesis("s".into()));
        let kinesis = kinesis(&Options { endpoint: Some(url), ..keys }).await;
        let entries = [entry(&[b"first\n"]), entry(&[b"sec", b"ond\n"]), entry(&[b"\xff\x00\n"])];
        let missing = kinesis.put(&entries, &Shards::default()).await.unwrap_err();
        assert_eq!(missing.code, "ResourceNotFoundException");

        kinesis.sdk.create_stream().stream_name("s").shard_count(1).send().await.unwrap();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while let Err(failure) = kinesis.put(&entries, &Shards::default()).await {
            assert!(tokio::time::Instant::now() < deadline, "{failure}");
        }
        let iterator = kinesis.sdk.get_shard_iterator().stream_name("s").shard_id("shardId-000000000000");
        let iterator = iterator.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.unwrap();
        let read =
            kinesis.sdk.get_records().set_shard_iterator(iterator.shard_iterator).send().await.unwrap();
        let data: Vec<_> = read.records().iter().map(|record| record.data().as_ref()).collect();
        assert_eq!(data, [b"first\n" as &[u8], b"second\n", b"\xff\x00\n"]);
    }
}
