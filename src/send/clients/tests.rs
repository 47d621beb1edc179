//! The real SDK clients against canned answers over a socket: how each failure is understood,
//! and that nothing is sent a second time below us.

use super::*;
use crate::send::outcome::{FailureClass, Outcome};
use crate::send::testing::{Canned, entry, keys, options};

/// One attempt against a server that gives this answer: the failure, and that it was asked
/// exactly once.
async fn failure(status: u16, headers: &str, body: &str) -> Failure {
    let server = Canned::start(status, headers, body).await;
    let mut failures = Vec::new();
    for destination in [Destination::Kinesis("s".into()), Destination::Firehose("s".into())] {
        let client = Clients::default().client("test", &server.options(destination)).await.unwrap();
        failures.push(
            client
                .put(&[entry(&[b"a"])], &keys(1), &Shards::default(), Allowance::default())
                .await
                .unwrap_err(),
        );
    }
    assert_eq!(server.requests().len(), 2, "the SDK must not retry");
    let known = |failure: &Failure| (failure.class, failure.code.clone());
    assert_eq!(known(&failures[0]), known(&failures[1]), "both services are understood alike");
    failures.remove(0)
}

#[tokio::test]
async fn errors_are_understood_as_aws_writes_them() {
    const NOT_FOUND: FailureClass = FailureClass::Waiting { authentication: false };
    let body =
        r#"{"__type":"com.amazonaws.kinesis#ResourceNotFoundException","message":"Stream s not found"}"#;
    let expected = Failure {
        class: NOT_FOUND,
        code: "ResourceNotFoundException".into(),
        message: "Stream s not found".into(),
    };
    assert_eq!(failure(400, "", body).await, expected);
    let bare = r#"{"__type":"ResourceNotFoundException","Message":"Stream s not found"}"#;
    assert_eq!(failure(400, "", bare).await, expected);

    let header = "x-amzn-ErrorType: ExpiredTokenException:http://internal.amazon.com/\r\n";
    let expired = failure(400, header, r#"{"message":"expired"}"#).await;
    assert_eq!(expired.class, FailureClass::Waiting { authentication: true });
    assert_eq!(expired.to_string(), "ExpiredTokenException: expired");

    let throttled = failure(400, "", r#"{"__type":"ProvisionedThroughputExceededException"}"#).await;
    assert_eq!(throttled.class, FailureClass::Throttled);
    let invalid = failure(400, "", r#"{"__type":"ValidationException","message":"too long"}"#).await;
    assert_eq!(invalid.class, FailureClass::Invalid);
}

#[tokio::test]
async fn errors_without_a_code_are_known_by_their_status() {
    let unavailable = failure(503, "content-type: text/html\r\n", "<html>busy</html>").await;
    assert_eq!((unavailable.class, &*unavailable.code), (FailureClass::Transient, "HTTP 503"));
    assert_eq!(unavailable.message, "<html>busy</html>");
    assert_eq!(failure(500, "", "").await.class, FailureClass::Transient);
    assert_eq!(failure(413, "", "").await.class, FailureClass::Invalid);
    assert_eq!(failure(400, "", "").await.class, FailureClass::Waiting { authentication: false });
    assert_eq!(failure(403, "", "no").await.class, FailureClass::Waiting { authentication: true });
}

#[tokio::test]
async fn a_good_answer_that_cannot_be_read_is_not_a_delivery() {
    let cut = failure(200, "", r#"{"Records":[{"SequenceNumb"#).await;
    assert_eq!(cut.class, FailureClass::Transient, "{cut}");
    let empty = failure(200, "", "{}").await;
    assert_eq!(empty.class, FailureClass::WrongAnswer, "{empty}");
}

#[tokio::test]
async fn a_destination_that_is_not_there_is_a_network_fault() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let options = Options {
        endpoint: Some(format!("http://{free}")),
        ..Canned::start(200, "", "").await.options(Destination::Kinesis("s".into()))
    };
    let client = Clients::default().client("test", &options).await.unwrap();
    let failure =
        client.put(&[entry(&[b"a"])], &keys(1), &Shards::default(), Allowance::default()).await.unwrap_err();
    assert_eq!((failure.class, &*failure.code), (FailureClass::Transient, "network"));
    assert!(failure.message.contains("refused"), "{failure}");
}

#[tokio::test]
async fn a_role_that_cannot_be_assumed_is_a_matter_of_credentials() {
    let denied = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>\
                  <Message>not yours</Message></Error></ErrorResponse>";
    let sts = Canned::start(403, "", denied).await;
    let server = Canned::start(200, "", "{}").await;
    let mut options = server.options(Destination::Kinesis("s".into()));
    options.credentials.assume_role_arn = Some("arn:aws:iam::123456789012:role/writer".into());
    options.credentials.assume_role_external_id = Some("external-1".into());
    options.credentials.sts_endpoint = Some(sts.url.clone());
    let client = Clients::default().client("test", &options).await.unwrap();
    let failure =
        client.put(&[entry(&[b"a"])], &keys(1), &Shards::default(), Allowance::default()).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Waiting { authentication: true }, "{failure}");
    assert!(failure.message.contains("not yours"), "{failure}");
    assert!(server.requests().is_empty());
    let asked = sts.requests().remove(0).body;
    for field in ["ExternalId=external-1", "RoleSessionName=kinesis-agent", "role%2Fwriter"] {
        assert!(asked.contains(field), "{field} in {asked}");
    }
}

#[tokio::test]
async fn flows_with_the_same_credentials_ask_for_them_once() {
    let credentials = "<AssumeRoleResponse><AssumeRoleResult><Credentials>\
        <AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>s</SecretAccessKey>\
        <SessionToken>token</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>\
        </Credentials></AssumeRoleResult></AssumeRoleResponse>";
    let sts = Canned::start(200, "", credentials).await;
    let server = Canned::start(200, "", r#"{"Records":[{"SequenceNumber":"1"}]}"#).await;
    let clients = Clients::default();
    for (stream, region) in [("one", "eu-central-1"), ("two", "us-east-1")] {
        let mut options = server.options(Destination::Kinesis(stream.into()));
        options.region = Some(region.into());
        options.credentials.assume_role_arn = Some("arn:aws:iam::123456789012:role/writer".into());
        options.credentials.sts_endpoint = Some(sts.url.clone());
        let client = clients.client(stream, &options).await.unwrap();
        assert_eq!(
            client
                .put(&[entry(&[b"a"])], &keys(1), &Shards::default(), Allowance::default())
                .await
                .unwrap()
                .outcomes,
            [Outcome::Delivered]
        );
    }
    assert_eq!(sts.requests().len(), 1);
    let heads: Vec<_> = server.requests().into_iter().map(|request| request.head).collect();
    assert!(heads[0].contains("asiarole") && heads[0].contains("/eu-central-1/kinesis/"), "{}", heads[0]);
    assert!(heads[1].contains("asiarole") && heads[1].contains("/us-east-1/kinesis/"), "{}", heads[1]);
}

#[tokio::test(start_paused = true)]
async fn a_renewed_client_has_a_new_chain_unless_another_flow_has_just_made_one() {
    let mut options = options();
    options.credentials.access_key_id = Some("AKIDEXAMPLE".into());
    options.credentials.secret_access_key = Some("secret".into());
    let clients = Clients::default();
    let access = (options.credentials.clone(), options.network.clone());
    let built = async || clients.shared.lock().await[&access].built;
    let client = clients.client("a", &options).await.unwrap();
    let first = built().await;
    let made = Instant::now();
    tokio::time::advance(Duration::from_secs(60)).await;
    clients.renewed("a", &options, &client, made).await.unwrap();
    let second = built().await;
    assert!(second > first);
    clients.renewed("b", &options, &client, made).await.unwrap();
    assert_eq!(built().await, second, "flow a has just made one");
    tokio::time::advance(Duration::from_secs(1)).await;
    clients.renewed("b", &options, &client, Instant::now()).await.unwrap();
    assert!(built().await > second);
}

#[test]
fn the_region_comes_from_the_options_before_the_arn() {
    let arn = Destination::Kinesis("arn:aws-cn:kinesis:cn-north-1:123456789012:stream/s".into());
    let region = |region: Option<&str>, destination: &Destination| {
        let region = region.map(str::to_owned);
        configured_region(&Options { region, destination: destination.clone(), ..options() })
    };
    assert_eq!(region(Some("eu-west-1"), &arn), Some(Region::from_static("eu-west-1")));
    assert_eq!(region(None, &arn), Some(Region::from_static("cn-north-1")));
    assert_eq!(region(None, &Destination::Kinesis("s".into())), None);
    assert_eq!(region(None, &Destination::Firehose("s".into())), None);
}

#[tokio::test]
async fn what_is_missing_is_said_with_the_keys_that_set_it() {
    let error = no_region("access", &Destination::Firehose("logs".into()));
    assert_eq!(
        error.to_string(),
        "flow `access`: the AWS region of firehose:logs is not known; set `firehose.region` in the \
         configuration, or AWS_REGION in the environment, or `region` in the AWS profile"
    );
    let mut options = options();
    options.credentials.secret_access_key = Some("secret".into());
    let error = Clients::default().client("access", &options).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "flow `access`: `awsSecretAccessKey` is set without `awsAccessKeyId`; set both, or neither"
    );
}

#[tokio::test]
async fn the_report_names_the_source_until_when_it_counts_and_what_went_wrong() {
    let credentials = "<AssumeRoleResponse><AssumeRoleResult><Credentials>\
        <AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>s</SecretAccessKey>\
        <SessionToken>token</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>\
        </Credentials><AssumedRoleUser><AssumedRoleId>AROA:x</AssumedRoleId>\
        <Arn>arn:aws:sts::123456789012:assumed-role/writer/x</Arn></AssumedRoleUser>\
        </AssumeRoleResult></AssumeRoleResponse>";
    let sts = Canned::start(200, "", credentials).await;
    let server = Canned::start(200, "", r#"{"Records":[{"SequenceNumber":"1"}]}"#).await;
    let clients = Clients::default();
    let options = server.options(Destination::Kinesis("s".into()));
    let report = clients.report(&options.credentials);
    let client = clients.client("keys", &options).await.unwrap();
    assert_eq!(report.status(), None, "nothing was asked for yet");
    client.put(&[entry(&[b"a"])], &keys(1), &Shards::default(), Allowance::default()).await.unwrap();
    let found = report.state().found.unwrap();
    assert_eq!((&*found.source, found.expires_at), ("kinesis-agent configuration", None));

    let mut role = options.clone();
    role.credentials.assume_role_arn = Some("arn:aws:iam::123456789012:role/writer".into());
    role.credentials.sts_endpoint = Some(sts.url.clone());
    let report = clients.report(&role.credentials);
    let client = clients.client("role", &role).await.unwrap();
    client.put(&[entry(&[b"a"])], &keys(1), &Shards::default(), Allowance::default()).await.unwrap();
    let found = report.state().found.unwrap();
    assert_eq!(
        found.source,
        "assumed role arn:aws:iam::123456789012:role/writer, by kinesis-agent configuration"
    );
    assert_eq!(found.account.as_deref(), Some("123456789012"));
    assert_eq!(report.status().unwrap().expires_at, Some(4_070_908_800_000));

    let denied = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>\
                  <Message>not yours</Message></Error></ErrorResponse>";
    let refusing = Canned::start(403, "", denied).await;
    role.credentials.sts_endpoint = Some(refusing.url.clone());
    let report = clients.report(&role.credentials);
    let client = clients.client("refused", &role).await.unwrap();
    client.put(&[entry(&[b"a"])], &keys(1), &Shards::default(), Allowance::default()).await.unwrap_err();
    let state = report.state();
    assert_eq!(state.found, None);
    assert!(state.last_error.unwrap().text.contains("not yours"));
}

#[tokio::test(start_paused = true)]
async fn a_report_outlives_the_renewal_of_its_credentials() {
    let mut options = options();
    options.credentials.access_key_id = Some("AKIDEXAMPLE".into());
    options.credentials.secret_access_key = Some("secret".into());
    let clients = Clients::default();
    let client = clients.client("a", &options).await.unwrap();
    let report = clients.report(&options.credentials);
    tokio::time::advance(Duration::from_secs(1)).await;
    clients.renewed("a", &options, &client, Instant::now()).await.unwrap();
    assert!(Arc::ptr_eq(&report, &clients.report(&options.credentials)));
    let access = (options.credentials.clone(), options.network.clone());
    let provider = clients.shared.lock().await[&access].config.credentials_provider().unwrap();
    aws_credential_types::provider::ProvideCredentials::provide_credentials(&provider).await.unwrap();
    assert_eq!(report.state().found.unwrap().source, "kinesis-agent configuration");
}
