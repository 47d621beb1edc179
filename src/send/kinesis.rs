//! Puts entries into a Data Stream, and asks what it is: the only file that names
//! `aws_sdk_kinesis`.
//!
//! One call is one attempt: the SDK's own retries are off, and the sender owns the time-out.

use aws_config::SdkConfig;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::config::{Builder, Config};
use aws_sdk_kinesis::operation::put_records::PutRecordsOutput;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{
    EncryptionType, PutRecordsRequestEntry, Shard, ShardFilter, ShardFilterType, StreamMode,
};

use super::body::Body;
use super::description::StreamDescription;
use super::entry::Entry;
use super::envelope::Envelope;
use super::failure::chain;
use super::limit::Allowance;
use super::options::Options;
use super::outcome::{Answer, Answers, Failure, FailureClass, outcomes};
use super::partition::Key;
use super::shards::{OpenShard, ShardId};
use crate::observe::Shards;

#[derive(Clone, Debug)]
pub struct Kinesis {
    sdk: aws_sdk_kinesis::Client,
    stream: Stream,
    envelope: Envelope,
}

/// What is known of the permission to put records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    Granted,
    /// The endpoint is not AWS's own: one that does not know of dry runs would store the record.
    NotAsked,
}

/// Stops a request that must only go to AWS.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the endpoint is not one of AWS's own")]
struct NotAws;

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
            envelope: Envelope::of(options),
        }
    }

    /// One outcome for each of `entries`, which go by the key of the same place. `shards` is told
    /// where they went.
    pub async fn put(
        &self,
        entries: &[Entry],
        keys: &[Key],
        shards: &Shards,
        memory: Allowance,
    ) -> Result<Answers, Failure> {
        let (answer, compressed) = self.request(entries, keys, memory).await?;
        shards.saw(answer.records().iter().filter_map(|record| record.shard_id()));
        let outcomes = outcomes(
            entries.len(),
            answer.records().iter().map(|record| Answer {
                accepted: record.sequence_number().is_some_and(|number| !number.is_empty()),
                code: record.error_code(),
                message: record.error_message(),
            }),
        )?;
        let shards = answer.records().iter().map(|record| record.shard_id().and_then(ShardId::parse));
        Ok(Answers { outcomes, shards: shards.collect(), compressed })
    }

    /// The shards that take records now.
    pub async fn open_shards(&self) -> Result<Vec<OpenShard>, Failure> {
        let latest = ShardFilter::builder().r#type(ShardFilterType::AtLatest).build();
        let latest = latest.expect("the type is set");
        let (mut open, mut next) = (Vec::new(), None);
        loop {
            let call = self.sdk.list_shards();
            // A token stands for the stream and the filter.
            let call = match (next, &self.stream) {
                (Some(token), _) => call.next_token(token),
                (None, Stream::Name(name)) => call.stream_name(name).shard_filter(latest.clone()),
                (None, Stream::Arn(arn)) => call.stream_arn(arn).shard_filter(latest.clone()),
            };
            let answer = call.send().await?;
            for shard in answer.shards().iter().filter(|shard| is_open(shard)) {
                open.push(open_shard(shard)?);
            }
            next = answer.next_token;
            if next.is_none() {
                break;
            }
        }
        if open.is_empty() {
            return Err(unusable("ListShards was answered without an open shard"));
        }
        Ok(open)
    }

    pub async fn describe(&self) -> Result<StreamDescription, Failure> {
        let call = self.sdk.describe_stream_summary();
        let call = match &self.stream {
            Stream::Name(name) => call.stream_name(name),
            Stream::Arn(arn) => call.stream_arn(arn),
        };
        let answer = call.send().await?;
        let Some(stream) = answer.stream_description_summary() else {
            return Err(Failure {
                class: FailureClass::WrongAnswer,
                code: "wrong answer".into(),
                message: "DescribeStreamSummary was answered without a description".into(),
            });
        };
        let mode = stream.stream_mode_details().map(|details| details.stream_mode());
        let encrypted = stream.encryption_type() == Some(&EncryptionType::Kms);
        Ok(StreamDescription {
            arn: stream.stream_arn().to_owned(),
            status: stream.stream_status().as_str().to_owned(),
            open_shards: stream.open_shard_count(),
            on_demand: mode == Some(&StreamMode::OnDemand),
            retention_hours: stream.retention_period_hours(),
            max_record_bytes: stream
                .max_record_size_in_kib()
                .and_then(|kib| usize::try_from(kib).ok())
                .map(|kib| kib << 10),
            key: encrypted.then(|| stream.key_id().unwrap_or("a KMS key").to_owned()),
            consumers: stream.consumer_count(),
        })
    }

    /// Whether a record could be put, without putting one. AWS answers a dry run that would
    /// have succeeded with an error of its own.
    pub async fn may_put(&self) -> Result<Permission, Failure> {
        let record = PutRecordsRequestEntry::builder().data(Blob::new("\n")).partition_key("check").build();
        let call = self.sdk.put_records().records(record.expect("data and key are set")).dry_run(true);
        let call = match &self.stream {
            Stream::Name(name) => call.stream_name(name),
            Stream::Arn(arn) => call.stream_arn(arn),
        };
        let only_aws = call
            .customize()
            .map_request(|request| if is_aws(request.uri()) { Ok(request) } else { Err(NotAws) });
        let Err(error) = only_aws.send().await else {
            return Err(Failure {
                class: FailureClass::WrongAnswer,
                code: "wrong answer".into(),
                message: "PutRecords did not answer that it was a dry run".into(),
            });
        };
        if chain(&error).any(|cause| cause.is::<NotAws>()) {
            return Ok(Permission::NotAsked);
        }
        match Failure::from(error) {
            failure if failure.code == "DryRunOperationException" => Ok(Permission::Granted),
            failure => Err(failure),
        }
    }

    /// And what the entries were compressed to.
    async fn request(
        &self,
        entries: &[Entry],
        keys: &[Key],
        memory: Allowance,
    ) -> Result<(PutRecordsOutput, Option<usize>), Failure> {
        // The name of the stream is in the call, too, since it may decide on the host.
        let call = self.sdk.put_records().set_records(Some(Vec::new()));
        let (call, stream) = match &self.stream {
            Stream::Name(name) => (call.stream_name(name), ("StreamName", &**name)),
            Stream::Arn(arn) => (call.stream_arn(arn), ("StreamARN", &**arn)),
        };
        let (body, _held) = Body::new(self.envelope, stream, entries, keys, memory).await;
        let compressed = body.compressed;
        let answer = call.customize().interceptor(body).send().await?;
        Ok((answer, compressed))
    }
}

fn is_open(shard: &Shard) -> bool {
    shard.sequence_number_range().is_none_or(|range| range.ending_sequence_number().is_none())
}

fn open_shard(shard: &Shard) -> Result<OpenShard, Failure> {
    let hashes = shard.hash_key_range().and_then(|range| {
        let (start, end) = (range.starting_hash_key().parse().ok()?, range.ending_hash_key().parse().ok()?);
        (start <= end).then_some(start..=end)
    });
    let shard_of = |id, hashes| OpenShard { id, hashes };
    ShardId::parse(shard.shard_id())
        .zip(hashes)
        .map(|(id, hashes)| shard_of(id, hashes))
        .ok_or_else(|| unusable("ListShards named a shard in a form that is not AWS's"))
}

fn unusable(message: &str) -> Failure {
    Failure { class: FailureClass::WrongAnswer, code: "wrong answer".into(), message: message.into() }
}

/// Whether a request to this URL goes to AWS itself, in any of its partitions.
fn is_aws(url: &str) -> bool {
    const DOMAINS: [&str; 7] = [
        ".amazonaws.com",
        ".amazonaws.com.cn",
        ".amazonaws.eu",
        ".api.aws",
        ".api.amazonwebservices.com.cn",
        ".c2s.ic.gov",
        ".sc2s.sgov.gov",
    ];
    let Some(rest) = url.strip_prefix("https://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = authority.rsplit('@').next().unwrap_or(authority);
    let host = host.split(':').next().unwrap_or(host).to_ascii_lowercase();
    DOMAINS.iter().any(|domain| host.ends_with(domain))
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
    use crate::send::outcome::Outcome;
    use crate::send::testing::{Canned, entry, keys};
    use crate::send::{Client, Clients};
    use aws_sdk_kinesis::types::ShardIteratorType;
    use aws_smithy_runtime_api::client::http::{
        HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
    };
    use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
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
        let options = server.options(Destination::Kinesis("my-stream".into()));
        let shards = Shards::default();
        let keys = [
            Key { partition: "a \u{e9} key".into(), explicit_hash: None },
            Key { partition: "other".into(), explicit_hash: Some(u128::MAX) },
        ];
        let entries = [entry(&[b"he", b"llo\n"]), entry(&[b"x"])];
        let answers =
            kinesis(&options).await.put(&entries, &keys, &shards, Allowance::default()).await.unwrap();
        assert_eq!(shards.count(), 1);
        assert_eq!(answers.shards, [Some(ShardId(0)), None]);
        let outcomes = answers.outcomes;
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
        assert_eq!(body["Records"][0]["PartitionKey"], "a \u{e9} key");
        assert_eq!(body["Records"][0]["ExplicitHashKey"], serde_json::Value::Null);
        assert_eq!(body["Records"][1]["ExplicitHashKey"], "340282366920938463463374607431768211455");
        assert_eq!(body["Records"].as_array().unwrap().len(), 2);
    }

    #[tokio::test]
    async fn an_arn_is_sent_as_such_and_gives_the_region() {
        let server = Canned::start(200, "", OK).await;
        let arn = "arn:aws:kinesis:ap-south-1:123456789012:stream/my-stream";
        let options = Options { region: None, ..server.options(Destination::Kinesis(arn.into())) };
        kinesis(&options)
            .await
            .put(&[entry(&[b"a"]), entry(&[b"b"])], &keys(2), &Shards::default(), Allowance::default())
            .await
            .unwrap();
        let request = server.requests().remove(0);
        assert!(request.head.contains("/ap-south-1/kinesis/aws4_request"), "{}", request.head);
        let body: serde_json::Value = serde_json::from_str(&request.body).unwrap();
        assert_eq!(body["StreamARN"], arn);
        assert_eq!(body["StreamName"], serde_json::Value::Null);
    }

    #[test]
    fn only_the_hosts_of_aws_are_aws() {
        for url in [
            "https://kinesis.eu-west-1.amazonaws.com/",
            "https://123456789012.data-kinesis.us-east-1.amazonaws.com:443",
            "https://kinesis.cn-north-1.amazonaws.com.cn/",
            "https://vpce-1.kinesis.eu-west-1.vpce.amazonaws.com/",
            "https://kinesis.eu-west-1.api.aws",
        ] {
            assert!(is_aws(url), "{url}");
        }
        for url in [
            "http://127.0.0.1:4567/",
            "http://kinesis.eu-west-1.amazonaws.com/",
            "https://kinesis.amazonaws.com.example.org/",
            "https://localhost/.amazonaws.com",
            "https://x.amazonaws.com@example.org/",
            "https://fakeamazonaws.com",
        ] {
            assert!(!is_aws(url), "{url}");
        }
    }

    /// A client of AWS's own hosts, whose connections all end here: the requests it made, by host
    /// and body, and a canned answer.
    #[derive(Clone, Debug)]
    struct NoNetwork {
        status: u16,
        answer: &'static str,
        seen: std::sync::Arc<std::sync::Mutex<Vec<(String, String)>>>,
    }

    impl HttpConnector for NoNetwork {
        fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
            let body = String::from_utf8(request.body().bytes().unwrap().to_vec()).unwrap();
            self.seen.lock().unwrap().push((request.uri().to_owned(), body));
            let status = aws_smithy_runtime_api::http::StatusCode::try_from(self.status).unwrap();
            HttpConnectorFuture::ready(Ok(HttpResponse::new(status, self.answer.into())))
        }
    }

    async fn of_aws(
        status: u16,
        answer: &'static str,
    ) -> (Result<Permission, Failure>, Vec<(String, String)>) {
        let network = NoNetwork { status, answer, seen: Default::default() };
        let connector = SharedHttpConnector::new(network.clone());
        let keys = aws_credential_types::Credentials::new("id", "secret", None, None, "test");
        let shared = aws_config::SdkConfig::builder()
            .behavior_version(aws_config::BehaviorVersion::latest())
            .region(aws_config::Region::new("eu-west-1"))
            .credentials_provider(aws_credential_types::provider::SharedCredentialsProvider::new(keys))
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .build();
        let kinesis = Kinesis::new(&shared, &crate::send::testing::options(), "s");
        let permission = kinesis.may_put().await;
        let seen = network.seen.lock().unwrap().clone();
        (permission, seen)
    }

    #[tokio::test]
    async fn a_dry_run_is_asked_of_aws_and_its_refusal_is_understood() {
        let dry = r#"{"__type":"DryRunOperationException","message":"The request would have succeeded"}"#;
        let (permission, seen) = of_aws(400, dry).await;
        assert_eq!(permission, Ok(Permission::Granted));
        let [(url, body)] = &seen[..] else { panic!("{seen:?}") };
        assert!(url.starts_with("https://kinesis.eu-west-1.amazonaws.com"), "{url}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["DryRun"], true);

        let denied = r#"{"__type":"AccessDeniedException","message":"User: arn:x is not authorized"}"#;
        assert_eq!(of_aws(400, denied).await.0.unwrap_err().code, "AccessDeniedException");
        assert_eq!(of_aws(200, OK).await.0.unwrap_err().code, "wrong answer");
    }

    #[tokio::test]
    async fn a_dry_run_is_never_asked_of_anybody_else() {
        let server = Canned::start(200, "", OK).await;
        let kinesis = kinesis(&server.options(Destination::Kinesis("s".into()))).await;
        assert_eq!(kinesis.may_put().await, Ok(Permission::NotAsked));
        assert_eq!(server.requests().len(), 0);
    }

    #[tokio::test]
    async fn what_was_put_is_read_back_from_a_real_server() {
        let server = ferrokinesis::store::StoreOptions { create_stream_ms: 0, ..Default::default() };
        let (app, _store) = ferrokinesis::create_app(server);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(ferrokinesis::serve_plain_http(listener, app, std::future::pending()));
        let static_keys = Canned::start(200, "", "").await.options(Destination::Kinesis("s".into()));
        let kinesis = kinesis(&Options { endpoint: Some(url), ..static_keys }).await;
        let entries = [entry(&[b"first\n"]), entry(&[b"sec", b"ond\n"]), entry(&[b"\xff\x00\n"])];
        let missing =
            kinesis.put(&entries, &keys(3), &Shards::default(), Allowance::default()).await.unwrap_err();
        assert_eq!(missing.code, "ResourceNotFoundException");

        kinesis.sdk.create_stream().stream_name("s").shard_count(1).send().await.unwrap();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while let Err(failure) =
            kinesis.put(&entries, &keys(3), &Shards::default(), Allowance::default()).await
        {
            assert!(tokio::time::Instant::now() < deadline, "{failure}");
        }
        let described = kinesis.describe().await.unwrap();
        assert_eq!((&*described.status, described.open_shards, described.retention_hours), ("ACTIVE", 1, 24));
        assert!(described.arn.ends_with(":stream/s"), "{}", described.arn);
        let iterator = kinesis.sdk.get_shard_iterator().stream_name("s").shard_id("shardId-000000000000");
        let iterator = iterator.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.unwrap();
        let read =
            kinesis.sdk.get_records().set_shard_iterator(iterator.shard_iterator).send().await.unwrap();
        let data: Vec<_> = read.records().iter().map(|record| record.data().as_ref()).collect();
        assert_eq!(data, [b"first\n" as &[u8], b"second\n", b"\xff\x00\n"]);
    }
}
