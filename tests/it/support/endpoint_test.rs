//! The scripted endpoint under AWS's own client, which signs, encodes and reads the answers.

use aws_sdk_firehose::primitives::Blob as FirehoseBlob;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_kinesis::error::{DisplayErrorContext, ProvideErrorMetadata as _};
use aws_sdk_kinesis::operation::put_records::PutRecordsOutput;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;

use super::endpoint::{ACCESS_KEY, Endpoint, REGION, SECRET_KEY};
use super::script::{Body, Step};

fn credentials() -> Credentials {
    Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "test")
}

fn kinesis(endpoint: &Endpoint, region: &'static str) -> aws_sdk_kinesis::Client {
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint.url())
        .region(Region::from_static(region))
        .credentials_provider(credentials())
        .retry_config(RetryConfig::disabled());
    aws_sdk_kinesis::Client::from_conf(config.build())
}

/// Puts the records; an error is its code, or the reason that there is none.
fn put(client: &aws_sdk_kinesis::Client, records: &[&str]) -> Result<PutRecordsOutput, String> {
    let entry = |data: &&str| {
        let entry = PutRecordsRequestEntry::builder().data(Blob::new(*data)).partition_key("k");
        entry.build().unwrap()
    };
    let records = records.iter().map(entry).collect();
    let call = client.put_records().stream_name("test-stream").set_records(Some(records)).send();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(call).map_err(|error| {
        let code = error.as_service_error().and_then(|error| error.code());
        code.map_or_else(|| format!("{}", DisplayErrorContext(&error)), str::to_owned)
    })
}

fn stored(endpoint: &Endpoint) -> Vec<String> {
    let text = |data: bytes::Bytes| String::from_utf8(data.to_vec()).unwrap();
    endpoint.stored().into_iter().map(text).collect()
}

#[test]
fn a_signed_call_is_stored_and_answered() {
    let endpoint = Endpoint::start();
    let output = put(&kinesis(&endpoint, REGION), &["one\n", "two\n"]).unwrap();
    assert_eq!(output.failed_record_count(), Some(0));
    assert!(output.records().iter().all(|record| record.sequence_number().is_some()));
    assert_eq!(stored(&endpoint), ["one\n", "two\n"]);
    let call = &endpoint.calls()[0];
    assert_eq!(call.stream, "test-stream");
    assert_eq!(call.records[0].key.as_deref(), Some("k"));
    assert!(call.answered.is_some());
}

#[test]
fn a_delivery_stream_is_stored_and_answered() {
    let endpoint = Endpoint::start();
    let config = aws_sdk_firehose::Config::builder()
        .behavior_version(aws_sdk_firehose::config::BehaviorVersion::latest())
        .endpoint_url(endpoint.url())
        .region(aws_sdk_firehose::config::Region::from_static(REGION))
        .credentials_provider(credentials());
    let client = aws_sdk_firehose::Client::from_conf(config.build());
    let record = aws_sdk_firehose::types::Record::builder().data(FirehoseBlob::new("one\n")).build();
    endpoint.script([Step::fail_all("ServiceUnavailableException")]);
    let put = client.put_record_batch().delivery_stream_name("d").records(record.unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let refused = runtime.block_on(put.clone().send()).unwrap();
    assert_eq!(refused.failed_put_count(), 1);
    let code = refused.request_responses()[0].error_code();
    assert_eq!(code, Some("ServiceUnavailableException"));
    let accepted = runtime.block_on(put.send()).unwrap();
    assert_eq!(accepted.failed_put_count(), 0);
    assert_eq!(stored(&endpoint), ["one\n"]);
}

#[test]
fn a_call_that_was_signed_for_another_region_is_a_violation() {
    let endpoint = Endpoint::start();
    assert_eq!(put(&kinesis(&endpoint, "eu-west-1"), &["one\n"]).unwrap_err(), "ValidationException");
    let violations = endpoint.take_violations();
    assert!(violations[0].contains("eu-west-1"), "{violations:?}");
    assert!(stored(&endpoint).is_empty());
}

#[test]
#[should_panic(expected = "501 records in a request")]
fn a_violation_fails_the_test_that_forgets_it() {
    let endpoint = Endpoint::start();
    put(&kinesis(&endpoint, REGION), &["x\n"; 501]).unwrap_err();
}

#[test]
fn failed_entries_are_not_stored() {
    let endpoint = Endpoint::start();
    endpoint.script([Step::fail_every(2, "InternalFailure")]);
    let output = put(&kinesis(&endpoint, REGION), &["one\n", "two\n", "three\n"]).unwrap();
    assert_eq!(output.failed_record_count(), Some(2));
    let codes: Vec<_> = output.records().iter().map(|record| record.error_code()).collect();
    assert_eq!(codes, [Some("InternalFailure"), None, Some("InternalFailure")]);
    assert_eq!(stored(&endpoint), ["two\n"]);
}

#[test]
fn whole_calls_fail_with_the_codes_of_the_script() {
    let endpoint = Endpoint::start();
    let client = kinesis(&endpoint, REGION);
    endpoint.script([
        Step::Throttle,
        Step::error("ExpiredTokenException"),
        Step::Error { status: 400, code: "ResourceNotFoundException", prefixed: true },
        Step::ServerError(500, Body::Json),
    ]);
    let codes = [(); 4].map(|()| put(&client, &["x\n"]).unwrap_err());
    let expected = [
        "ProvisionedThroughputExceededException",
        "ExpiredTokenException",
        "ResourceNotFoundException",
        "InternalFailure",
    ];
    assert_eq!(codes, expected);
    endpoint.script([Step::ServerError(503, Body::Html), Step::ServerError(500, Body::Empty)]);
    put(&client, &["x\n"]).unwrap_err();
    put(&client, &["x\n"]).unwrap_err();
    assert!(stored(&endpoint).is_empty());
    assert_eq!(endpoint.steps_left(), 0);
}

#[test]
fn a_lost_answer_is_an_error_although_the_records_are_stored() {
    for step in [Step::ResetAfterStore, Step::CutBody, Step::BadJson] {
        let endpoint = Endpoint::start();
        endpoint.script([step.clone()]);
        let error = put(&kinesis(&endpoint, REGION), &["one\n"]).unwrap_err();
        assert_eq!(stored(&endpoint), ["one\n"], "{step:?}: {error}");
        assert_eq!(error.contains("reset"), matches!(step, Step::ResetAfterStore), "{step:?}: {error}");
    }
}

#[test]
fn a_connection_that_ends_before_the_store_stores_nothing() {
    for step in [Step::ResetBeforeStore, Step::CloseConnection] {
        let endpoint = Endpoint::start();
        endpoint.script([step]);
        put(&kinesis(&endpoint, REGION), &["one\n"]).unwrap_err();
        assert!(stored(&endpoint).is_empty());
    }
}

#[test]
fn the_number_of_results_can_be_wrong() {
    let endpoint = Endpoint::start();
    endpoint.script([Step::TooFewResults, Step::TooManyResults]);
    let client = kinesis(&endpoint, REGION);
    assert_eq!(put(&client, &["one\n", "two\n"]).unwrap().records().len(), 1);
    assert_eq!(put(&client, &["one\n", "two\n"]).unwrap().records().len(), 3);
}

#[test]
fn an_endpoint_that_is_down_refuses_until_it_is_up_again() {
    let endpoint = Endpoint::start();
    endpoint.go_down();
    let error = put(&kinesis(&endpoint, REGION), &["one\n"]).unwrap_err();
    assert!(error.contains("refused"), "{error}");
    endpoint.come_up();
    put(&kinesis(&endpoint, REGION), &["one\n"]).unwrap();
    assert_eq!(stored(&endpoint), ["one\n"]);
}
