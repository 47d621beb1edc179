//! `check --online`: what it says of credentials, destinations and files, and that it leaves no
//! trace.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::support::agent_process::{command, output};
use crate::support::endpoint::{ACCESS_KEY, SECRET_KEY};
use crate::support::{Config, Destination, Endpoint, Ferrokinesis, Flow, Ministack, Scene, World};

use Destination::{Firehose, Kinesis};

const ONLINE: [&str; 2] = ["check", "--online"];

/// What is printed, and the exit code.
fn check_with(world: &World, config: &Config, env: &[(&str, &str)]) -> (String, i32) {
    let output = output(world, config, &ONLINE, env);
    let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr);
    (said, output.status.code().unwrap())
}

#[track_caller]
fn good(world: &World, config: &Config, words: &[&str]) -> String {
    let (said, code) = check_with(world, config, &[]);
    assert_eq!(code, 0, "{said}");
    assert_says(&said, words);
    said
}

#[track_caller]
fn bad(world: &World, config: &Config, words: &[&str]) -> String {
    let (said, code) = check_with(world, config, &[]);
    assert_eq!(code, 2, "{said}");
    assert_says(&said, words);
    said
}

#[track_caller]
fn assert_says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{word:?} is missing in:\n{said}");
    }
}

#[test]
fn a_good_flow_is_told_from_its_credentials_to_its_files() {
    let mut scene = Scene::with_flow(Kinesis, "*.log", |flow| flow.with("initialPosition", "END_OF_FILE"));
    scene.add_flow(Flow::new(&scene.world, Firehose, "*.txt"));
    scene.world.append("old.log", "one\n");
    let said = good(
        &scene.world,
        &scene.config,
        &[
            "good, 2 flows",
            "Data Stream test-stream at http://127.0.0.1",
            "ok       credentials  kinesis-agent configuration",
            "ACTIVE, 4 open shards (on demand), kept for 24 h, encrypted with alias/aws/kinesis, 0 registered consumers",
            "kinesis:PutRecords was not tried: the endpoint is not AWS's own",
            "none yet:",
            "1 to be followed",
            "old.log: from its end at 4 (initialPosition: END_OF_FILE)",
            "Firehose test-delivery-stream",
            "ACTIVE, to S3",
            "WARNING  files        nothing matches",
            "good, with 1 warning",
        ],
    );
    assert!(!said.contains("FAILED"), "{said}");
    assert_eq!((scene.endpoint.call_count(), scene.endpoint.described()), (0, 2));
    assert!(!scene.world.root().join("state").exists(), "something was written");
}

#[test]
fn stored_positions_are_told_also_while_the_agent_runs() {
    let mut scene = Scene::new(Kinesis, "*.log");
    scene.world.append("a.log", "one\ntwo\n");
    scene.start();
    scene.wait_for_all();
    scene.stop();
    scene.world.append("a.log", "three\n");
    scene.world.append("b.log", "new\n");
    let words = ["a.log: from the stored position 8 of 14 (6 bytes behind)", "b.log: from 0 of 4"];
    good(&scene.world, &scene.config, &words);
    scene.start();
    scene.wait_for_all();
    crate::support::eventually("the check sees what is stored", crate::support::scene::SOON, || {
        let (said, code) = check_with(&scene.world, &scene.config, &[]);
        assert_eq!(code, 0, "{said}");
        if said.contains("a.log: delivered up to its end at 14") { Ok(()) } else { Err(said) }
    });
    scene.delivers_everything_once();
}

fn one_flow(destination: Destination) -> (World, Endpoint, Config) {
    let (world, endpoint) = (World::new(), Endpoint::start());
    let config = Config::new(&world, &endpoint).flow(Flow::new(&world, destination, "*.log"));
    world.append("a.log", "one\n");
    (world, endpoint, config)
}

fn error(code: &str, message: &str) -> Value {
    json!({ "__type": code, "message": message })
}

#[test]
fn each_refusal_is_told_with_what_to_do() {
    let expired = "Signature expired: 20260101T000000Z is now earlier than 20260101T001000Z";
    for (code, message, words) in [
        (
            "ResourceNotFoundException",
            "Stream not found",
            ["no such stream in us-east-1", "Stream not found"],
        ),
        ("ExpiredTokenException", "The token is expired", ["have expired; get new ones", "FAILED   stream"]),
        ("InvalidSignatureException", expired, ["the clock of this host", "FAILED   stream"]),
        ("UnrecognizedClientException", "invalid token", ["does not know these keys", "FAILED   stream"]),
    ] {
        for destination in Destination::BOTH {
            let (world, endpoint, config) = one_flow(destination);
            endpoint.describe(400, error(code, message));
            let said = bad(&world, &config, &words);
            assert!(said.contains("not good: 1 failure"), "{said}");
        }
    }
}

#[test]
fn a_description_that_is_denied_is_only_a_warning() {
    let message = "User: arn:aws:iam::123456789012:user/shipper is not authorized to perform that";
    for (destination, action, put) in [
        (Kinesis, "kinesis:DescribeStreamSummary", "kinesis:PutRecords may be allowed"),
        (Firehose, "firehose:DescribeDeliveryStream", "firehose:PutRecordBatch may be allowed"),
    ] {
        let (world, endpoint, config) = one_flow(destination);
        endpoint.describe(400, error("AccessDeniedException", message));
        good(&world, &config, &["WARNING  stream", "user/shipper", action, put]);
    }
}

#[test]
fn a_stream_that_takes_no_records_is_a_failure() {
    let (world, endpoint, config) = one_flow(Firehose);
    let description = |status: &str, source: &str| {
        json!({ "DeliveryStreamDescription": {
            "DeliveryStreamName": "d", "DeliveryStreamARN": "arn:d", "DeliveryStreamStatus": status,
            "DeliveryStreamType": source, "VersionId": "1", "HasMoreDestinations": false,
            "Destinations": [{ "DestinationId": "d", "AmazonopensearchserviceDestinationDescription": {} }],
        } })
    };
    endpoint.describe(200, description("ACTIVE", "KinesisStreamAsSource"));
    bad(&world, &config, &["PutRecordBatch is refused"]);
    endpoint.describe(200, description("CREATING", "DirectPut"));
    bad(&world, &config, &["takes no records while it is not ACTIVE"]);
    endpoint.describe(200, description("ACTIVE", "DirectPut"));
    good(&world, &config, &["WARNING  stream", "OpenSearch makes one document", "aggregation: none"]);
}

#[test]
fn an_endpoint_that_is_not_there_or_speaks_no_tls_is_told_apart() {
    let (world, endpoint, config) = one_flow(Kinesis);
    let tls = json!({ "endpoint": endpoint.url().replace("http:", "https:"), "region": "us-east-1" });
    bad(&world, &config.clone().with("kinesis", tls), &["FAILED   stream", "no TLS that this host trusts"]);
    endpoint.go_down();
    bad(&world, &config, &["FAILED   stream", "nothing listens there"]);
}

#[test]
fn an_endpoint_that_never_answers_is_not_waited_for_long() {
    let world = World::new();
    // Connections are made by the system and answered by nobody.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let config = Config::for_server(&world, &url)
        .with("awsAccessKeyId", ACCESS_KEY)
        .with("awsSecretAccessKey", SECRET_KEY)
        .flow(Flow::new(&world, Kinesis, "*.log"))
        .flow(Flow::new(&world, Firehose, "*.log"));
    let said = bad(&world, &config, &["no answer within 5 s; nothing answers", "2 failures"]);
    assert_eq!(said.matches("FAILED   stream").count(), 2, "{said}");
}

#[test]
fn no_credentials_and_no_region_are_told() {
    let (world, endpoint) = (World::new(), Endpoint::start());
    let flow = Flow::new(&world, Kinesis, "*.log");
    let bare = Config::bare(&world).flow(flow);
    bad(&world, &bare, &["FAILED   region", "kinesis.region"]);
    let region = json!({ "endpoint": endpoint.url(), "region": "us-east-1" });
    bad(&world, &bare.with("kinesis", region), &["FAILED   credentials", "give the service credentials"]);
    assert_eq!(endpoint.described(), 0);
}

#[test]
fn the_source_of_the_credentials_is_named() {
    let (world, endpoint) = (World::new(), Endpoint::start());
    let region = json!({ "endpoint": endpoint.url(), "region": "us-east-1" });
    let config = Config::bare(&world).with("kinesis", region).flow(Flow::new(&world, Kinesis, "*.log"));
    let keys = [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)];
    let (said, code) = check_with(&world, &config, &keys);
    assert_eq!(code, 0, "{said}");
    assert_says(&said, &["credentials  environment (AWS_ACCESS_KEY_ID)"]);

    fs::create_dir(world.root().join(".aws")).unwrap();
    let profile = format!("[logs]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n");
    fs::write(world.root().join(".aws/credentials"), profile).unwrap();
    let (said, code) = check_with(&world, &config, &[("AWS_PROFILE", "logs")]);
    assert_eq!(code, 0, "{said}");
    assert_says(&said, &["credentials  profile logs in ~/.aws/credentials or ~/.aws/config"]);

    let process = format!(
        "[profile made]\ncredential_process = echo '{{\"Version\":1,\"AccessKeyId\":\"{ACCESS_KEY}\",\
         \"SecretAccessKey\":\"{SECRET_KEY}\"}}'\n"
    );
    fs::write(world.root().join(".aws/config"), process).unwrap();
    let (said, code) = check_with(&world, &config, &[("AWS_PROFILE", "made")]);
    assert_eq!(code, 0, "{said}");
    assert_says(&said, &["(its credential_process)"]);
}

/// Only somebody else than root meets files that cannot be read.
#[test]
fn a_file_that_cannot_be_read_is_told_with_its_owner_and_the_cure() {
    let (world, _endpoint, config) = one_flow(Kinesis);
    world.append("closed.log", "secret\n");
    fs::set_permissions(world.path("closed.log"), fs::Permissions::from_mode(0o600)).unwrap();
    for folder in [world.root().to_path_buf(), world.path("")] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let said = if rustix::process::geteuid().is_root() {
        fs::write(world.root().join("config.yaml"), config.to_yaml()).unwrap();
        fs::set_permissions(world.root().join("config.yaml"), fs::Permissions::from_mode(0o644)).unwrap();
        let program = world.root().join("agent");
        fs::copy(command(&world).get_program(), &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let output = std::process::Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&program)
            .args(ONLINE)
            .arg("--config")
            .arg(world.root().join("config.yaml"))
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    } else {
        fs::set_permissions(world.path("closed.log"), fs::Permissions::from_mode(0o000)).unwrap();
        bad(&world, &config, &[])
    };
    assert_says(&said, &["closed.log cannot be read by", "owner ", "CAP_DAC_READ_SEARCH", "a.log: from 0"]);
}

#[test]
fn a_damaged_database_is_told_and_left_alone() {
    let (world, _endpoint, config) = one_flow(Kinesis);
    let database = world.checkpoint_file();
    fs::create_dir(database.parent().unwrap()).unwrap();
    fs::write(&database, "no database, but long enough to be looked at as one").unwrap();
    good(&world, &config, &["WARNING  positions", "is damaged", "from their beginnings", "a.log: from 0"]);
    assert_eq!(fs::read_dir(database.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn a_real_stream_is_described() {
    let world = World::new();
    let server = Ferrokinesis::start(&world);
    server.create_stream("test-stream", 3);
    let config = Config::for_server(&world, &server.url())
        .with("awsAccessKeyId", "test")
        .with("awsSecretAccessKey", "test")
        .flow(Flow::new(&world, Kinesis, "*.log"));
    world.append("a.log", "one\n");
    good(&world, &config, &["ACTIVE, 3 open shards (provisioned), kept for 24 h", "was not tried"]);
    let missing = Flow::new(&world, Kinesis, "*.log").with("kinesisStream", "no-such-stream");
    bad(&world, &config.flow(missing), &["ResourceNotFoundException", "no such stream in us-east-1"]);
    assert!(server.records("test-stream").values().all(Vec::is_empty), "a record was stored");
}

#[test]
fn a_real_delivery_stream_and_instance_credentials_are_described() {
    let world = World::new();
    let server = Ministack::start(&world, &[("MINISTACK_IMDS_V2_REQUIRED", "1")]);
    server.aws(&["bucket", "log-bucket"]);
    server.aws(&["delivery-stream", "test-delivery-stream", "log-bucket"]);
    world.append("a.log", "one\n");
    let config = Config::for_server(&world, &server.url()).flow(Flow::new(&world, Firehose, "*.log"));
    let url = server.url();
    let metadata = [("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &*url)];
    let (said, code) = check_with(&world, &config, &metadata);
    assert_eq!(code, 0, "{said}");
    assert_says(&said, &["instance role (IMDSv2)", "to be renewed within", "ACTIVE, to S3"]);
    assert_eq!(server.contents("objects", "log-bucket").len(), 0, "a record was stored");
}

#[test]
fn a_role_is_told_with_who_assumes_it_and_why_it_cannot() {
    let world = World::new();
    let server = Ministack::start(&world, &[("AUTH", "true")]);
    server.aws(&["stream", "test-stream", "1"]);
    let only_assume = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}]}"#;
    let anything = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
    let user = server.aws(&["user", "shipper", only_assume]);
    let role = server.aws(&["role", "writer", "shipper", "open-sesame", anything]);
    world.append("a.log", "one\n");
    let config = Config::for_server(&world, &server.url())
        .with("awsAccessKeyId", user["id"].clone())
        .with("awsSecretAccessKey", user["secret"].clone())
        .with("assumeRoleARN", role)
        .with("sts", json!({ "endpoint": server.url() }))
        .flow(Flow::new(&world, Kinesis, "*.log"));
    let right = config.clone().with("assumeRoleExternalId", "open-sesame");
    good(
        &world,
        &right,
        &["assumed role arn:aws:iam::", "by kinesis-agent configuration", "ACTIVE, 1 open shard"],
    );
    let wrong = config.with("assumeRoleExternalId", "close-sesame");
    bad(&world, &wrong, &["FAILED   credentials", "allow sts:AssumeRole"]);
}

#[test]
fn a_web_identity_is_told_with_its_role() {
    let world = World::new();
    let server = Ministack::start(&world, &[]);
    server.aws(&["stream", "test-stream", "1"]);
    let token = world.root().join("token");
    fs::write(&token, "header.payload.signature").unwrap();
    let config = Config::for_server(&world, &server.url()).flow(Flow::new(&world, Kinesis, "*.log"));
    let (url, token) = (server.url(), token.display().to_string());
    let role = "arn:aws:iam::000000000000:role/pod";
    let web = [
        ("AWS_ROLE_ARN", role),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", &*token),
        ("AWS_ENDPOINT_URL_STS", &*url),
        ("AWS_REGION", "us-east-1"),
    ];
    let (said, code) = check_with(&world, &config, &web);
    assert_eq!(code, 0, "{said}");
    assert_says(&said, &["web identity for arn:aws:iam::000000000000:role/pod", "to be renewed within"]);
}
