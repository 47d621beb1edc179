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

    /// One outcome for each of `entries`.
    pub async fn put(&self, entries: &[Entry]) -> Result<Vec<Outcome>, Failure> {
        let answer = self.request(entries).await?;
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
