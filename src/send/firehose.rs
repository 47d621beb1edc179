//! Puts entries into a Firehose delivery stream: the only file that names `aws_sdk_firehose`.
//!
//! One call is one attempt: the SDK's own retries are off, and the sender owns the time-out.

use aws_config::SdkConfig;
use aws_sdk_firehose::config::retry::RetryConfig;
use aws_sdk_firehose::config::{Builder, Config};
use aws_sdk_firehose::operation::put_record_batch::PutRecordBatchOutput;
use aws_sdk_firehose::primitives::Blob;
use aws_sdk_firehose::types::Record;

use super::entry::Entry;
use super::options::Options;
use super::outcome::{Answer, Failure, Outcome, outcomes};

#[derive(Clone, Debug)]
pub struct Firehose {
    sdk: aws_sdk_firehose::Client,
    stream: String,
}

impl Firehose {
    /// `stream` is the delivery stream's name.
    pub fn new(shared: &SdkConfig, options: &Options, stream: &str) -> Self {
        Firehose {
            sdk: aws_sdk_firehose::Client::from_conf(config(shared, options)),
            stream: stream.to_owned(),
        }
    }

    /// One outcome for each of `entries`.
    pub async fn put(&self, entries: &[Entry]) -> Result<Vec<Outcome>, Failure> {
        let answer = self.request(entries).await?;
        outcomes(
            entries.len(),
            answer.request_responses().iter().map(|record| Answer {
                accepted: record.record_id().is_some_and(|id| !id.is_empty()),
                code: record.error_code(),
                message: record.error_message(),
            }),
        )
    }

    /// Makes the body and sends it: all that a serialisation of our own would replace.
    async fn request(&self, entries: &[Entry]) -> Result<PutRecordBatchOutput, Failure> {
        let records = entries
            .iter()
            .map(|entry| Record::builder().data(Blob::new(entry.to_vec())).build().expect("the data is set"));
        let call = self.sdk.put_record_batch().delivery_stream_name(&self.stream);
        Ok(call.set_records(Some(records.collect())).send().await?)
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

    #[tokio::test]
    async fn a_request_has_the_form_that_firehose_documents() {
        let answer = r#"{"FailedPutCount":0,"RequestResponses":[{"RecordId":"r1"},
            {"ErrorCode":"ServiceUnavailableException","ErrorMessage":"Slow down."}]}"#;
        let server = Canned::start(200, "", answer).await;
        let options = server.options(Destination::Firehose("my-delivery-stream".into()));
        let Client::Firehose(firehose) = Clients::default().client("test", &options).await.unwrap() else {
            panic!("not a Firehose client");
        };
        let outcomes = firehose.put(&[entry(&[b"he", b"llo\n"]), entry(&[b"x"])]).await.unwrap();
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
}
