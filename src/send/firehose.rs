//! Puts entries into a Firehose delivery stream: the only file that names `aws_sdk_firehose`.
//!
//! One call is one attempt: the SDK's own retries are off, and the sender owns the time-out.

use aws_config::SdkConfig;
use aws_sdk_firehose::config::retry::RetryConfig;
use aws_sdk_firehose::config::{Builder, Config};
use aws_sdk_firehose::operation::put_record_batch::PutRecordBatchOutput;
use aws_sdk_firehose::types::{DestinationDescription, ProcessingConfiguration};

use super::body::Body;
use super::description::{DeliveryStreamDescription, Target};
use super::entry::Entry;
use super::envelope::Envelope;
use super::limit::Allowance;
use super::options::Options;
use super::outcome::{Answer, Answers, Failure, FailureClass, outcomes};

#[derive(Clone, Debug)]
pub struct Firehose {
    sdk: aws_sdk_firehose::Client,
    stream: String,
    envelope: Envelope,
}

impl Firehose {
    /// `stream` is the delivery stream's name.
    pub fn new(shared: &SdkConfig, options: &Options, stream: &str) -> Self {
        Firehose {
            sdk: aws_sdk_firehose::Client::from_conf(config(shared, options)),
            stream: stream.to_owned(),
            envelope: Envelope::of(options),
        }
    }

    /// One outcome for each of `entries`.
    pub async fn put(&self, entries: &[Entry], memory: Allowance) -> Result<Answers, Failure> {
        let (answer, compressed) = self.request(entries, memory).await?;
        let outcomes = outcomes(
            entries.len(),
            answer.request_responses().iter().map(|record| Answer {
                accepted: record.record_id().is_some_and(|id| !id.is_empty()),
                code: record.error_code(),
                message: record.error_message(),
            }),
        )?;
        Ok(Answers { compressed, ..Answers::from(outcomes) })
    }

    pub async fn describe(&self) -> Result<DeliveryStreamDescription, Failure> {
        let call = self.sdk.describe_delivery_stream().delivery_stream_name(&self.stream);
        let answer = call.send().await?;
        let Some(stream) = answer.delivery_stream_description() else {
            return Err(Failure {
                class: FailureClass::WrongAnswer,
                code: "wrong answer".into(),
                message: "DescribeDeliveryStream was answered without a description".into(),
            });
        };
        let failure = stream.failure_description();
        Ok(DeliveryStreamDescription {
            arn: stream.delivery_stream_arn().to_owned(),
            status: stream.delivery_stream_status().as_str().to_owned(),
            failure: failure.map(|failure| format!("{}: {}", failure.r#type().as_str(), failure.details())),
            source: stream.delivery_stream_type().as_str().to_owned(),
            targets: stream.destinations().iter().flat_map(targets).collect(),
        })
    }

    /// And what the entries were compressed to.
    async fn request(
        &self,
        entries: &[Entry],
        memory: Allowance,
    ) -> Result<(PutRecordBatchOutput, Option<usize>), Failure> {
        let call = self.sdk.put_record_batch().delivery_stream_name(&self.stream);
        let stream = ("DeliveryStreamName", &*self.stream);
        let (body, _held) = Body::new(self.envelope, stream, entries, &[], memory).await;
        let compressed = body.compressed;
        let answer = call.set_records(Some(Vec::new())).customize().interceptor(body).send().await?;
        Ok((answer, compressed))
    }
}

/// Of the several descriptions of a destination those that are set; the plain one of S3 is the
/// older form of the extended one, and an intermediate station of Redshift.
fn targets(destination: &DestinationDescription) -> Vec<Target> {
    let mut targets = Vec::new();
    if let Some(s3) = destination.extended_s3_destination_description() {
        let partitioning =
            s3.dynamic_partitioning_configuration().and_then(|partitioning| partitioning.enabled());
        let conversion =
            s3.data_format_conversion_configuration().and_then(|conversion| conversion.enabled());
        targets.push(Target {
            dynamic_partitioning: partitioning == Some(true),
            // A conversion that is described is on unless it says otherwise.
            format_conversion: s3.data_format_conversion_configuration().is_some()
                && conversion != Some(false),
            ..target("S3", false, s3.processing_configuration())
        });
    }
    macro_rules! others {
        ($($description:ident $name:literal $row_per_record:literal,)*) => {
            $(if let Some(found) = destination.$description() {
                targets.push(target($name, $row_per_record, found.processing_configuration()));
            })*
        };
    }
    others! {
        redshift_destination_description "Redshift" false,
        elasticsearch_destination_description "Elasticsearch" true,
        amazonopensearchservice_destination_description "OpenSearch" true,
        amazon_open_search_serverless_destination_description "OpenSearch Serverless" true,
        splunk_destination_description "Splunk" false,
        http_endpoint_destination_description "an HTTP endpoint" false,
        snowflake_destination_description "Snowflake" true,
        iceberg_destination_description "Iceberg" true,
    }
    if targets.is_empty() {
        targets.push(target("S3", false, None));
    }
    targets
}

fn target(name: &'static str, row_per_record: bool, processing: Option<&ProcessingConfiguration>) -> Target {
    let processors = processing.filter(|processing| processing.enabled() != Some(false));
    let processors = processors.map(ProcessingConfiguration::processors).unwrap_or_default();
    let processors = processors.iter().map(|processor| processor.r#type().as_str().to_owned()).collect();
    Target { name, row_per_record, processors, ..Target::default() }
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
    use crate::send::testing::{Canned, entry};
    use crate::send::{Client, Clients};

    #[tokio::test]
    async fn a_request_has_the_form_that_firehose_documents() {
        let answer = r#"{"FailedPutCount":0,"RequestResponses":[{"RecordId":"r1"},
            {"ErrorCode":"ServiceUnavailableException","ErrorMessage":"Slow down."}]}"#;
        let server = Canned::start(200, "", answer).await;
        let options = server.options(Destination::Firehose("my-delivery-stream".into()));
        let Client::Firehose(firehose) = Clients::default().client("test", &options).await.unwrap() else {
            panic!("not a Firehose client");
        };
        let outcomes = firehose
            .put(&[entry(&[b"he", b"llo\n"]), entry(&[b"x"])], Allowance::default())
            .await
            .unwrap()
            .outcomes;
        assert_eq!(outcomes[0], Outcome::Delivered);
        assert!(matches!(&outcomes[1], Outcome::Retry(cause) if cause.throttled));

        let [request] = &server.requests()[..] else { panic!("{:?}", server.requests()) };
        for header in [
            "content-type: application/x-amz-json-1.1",
            "x-amz-target: firehose_20150804.putrecordbatch",
            "/eu-central-1/firehose/aws4_request",
        ] {
            assert!(request.head.contains(header), "{header} in {}", request.head);
        }
        let body: serde_json::Value = serde_json::from_str(&request.body).unwrap();
        let expected = serde_json::json!({
            "DeliveryStreamName": "my-delivery-stream",
            "Records": [{"Data": "aGVsbG8K"}, {"Data": "eA=="}],
        });
        assert_eq!(body, expected);
    }

    #[tokio::test]
    async fn a_description_names_what_handles_the_records() {
        let answer = r#"{"DeliveryStreamDescription":{"DeliveryStreamName":"d","DeliveryStreamARN":"arn:d",
            "DeliveryStreamStatus":"ACTIVE","DeliveryStreamType":"DirectPut","VersionId":"1","HasMoreDestinations":false,
            "Destinations":[{"DestinationId":"1",
                "S3DestinationDescription":{"RoleARN":"r","BucketARN":"b","BufferingHints":{},
                    "CompressionFormat":"GZIP","EncryptionConfiguration":{}},
                "ExtendedS3DestinationDescription":{"RoleARN":"r","BucketARN":"b","BufferingHints":{},
                    "CompressionFormat":"GZIP","EncryptionConfiguration":{},
                    "DynamicPartitioningConfiguration":{"Enabled":true},
                    "DataFormatConversionConfiguration":{"Enabled":false},
                    "ProcessingConfiguration":{"Enabled":true,"Processors":[{"Type":"Lambda","Parameters":[]}]}}},
              {"DestinationId":"2","AmazonopensearchserviceDestinationDescription":{
                    "ProcessingConfiguration":{"Enabled":false,"Processors":[{"Type":"Lambda"}]}}}]}}"#;
        let server = Canned::start(200, "", answer).await;
        let options = server.options(Destination::Firehose("d".into()));
        let Client::Firehose(firehose) = Clients::default().client("test", &options).await.unwrap() else {
            panic!("not a Firehose client");
        };
        let description = firehose.describe().await.unwrap();
        assert_eq!((&*description.status, &*description.source), ("ACTIVE", "DirectPut"));
        let s3 = Target {
            name: "S3",
            dynamic_partitioning: true,
            processors: vec!["Lambda".into()],
            ..Target::default()
        };
        let search = Target { name: "OpenSearch", row_per_record: true, ..Target::default() };
        assert_eq!(description.targets, [s3, search]);
        assert!(server.requests()[0].head.contains("firehose_20150804.describedeliverystream"));
    }
}
