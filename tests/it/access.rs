//! Who asks AWS, and by which way: proxies, private authorities, AWS's kinds of endpoints,
//! credentials that expire, rotate or appear, and clocks that are wrong.
//!
//! Where AWS's own host names matter, a proxy on the loopback interface leads all of them to the
//! scripted endpoint, behind TLS with a certificate of a private authority.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::support::endpoint::{ACCESS_KEY, REGION, SECRET_KEY};
use crate::support::issuer::Issuer;
use crate::support::proxy::{Asked, Proxy};
use crate::support::scene::SOON;
use crate::support::tls::Authority;
use crate::support::{Config, Destination, Endpoint, Flow, Oracle, Scene, Shape, World, eventually};

const KINESIS: &str = "kinesis.us-east-1.amazonaws.com";
const ROLE: &str = "arn:aws:iam::123456789012:role/writer";

/// No endpoint is configured: what would go to AWS arrives at the scene's endpoint, if it goes
/// through the proxy and the agent trusts the authority.
struct Aws {
    scene: Scene,
    proxy: Proxy,
    authority: Authority,
}

impl Aws {
    fn new(destination: Destination) -> Self {
        Self::served_by(destination, Authority::serve)
    }

    fn served_by(
        destination: Destination,
        serve: impl Fn(&Authority, &[&str], SocketAddr) -> SocketAddr,
    ) -> Self {
        let mut scene = Scene::new(destination, "*.log");
        let authority = Authority::new();
        let names = [
            KINESIS,
            "kinesis-fips.us-east-1.amazonaws.com",
            "kinesis.us-east-1.api.aws",
            "firehose.us-east-1.amazonaws.com",
            "firehose-fips.us-east-1.api.aws",
            "sts.us-east-1.amazonaws.com",
            "localhost",
        ];
        let tls = serve(&authority, &names, scene.endpoint.address());
        for service in ["kinesis", "firehose"] {
            scene.set(service, json!({ "region": REGION }));
        }
        scene.set("caBundle", authority.write(scene.world.root()).display().to_string());
        Aws { scene, proxy: Proxy::start(tls), authority }
    }

    fn proxy_url(&self) -> String {
        format!("http://{}", self.proxy.address())
    }

    /// Delivers a few lines; what the proxy was asked meanwhile, each once.
    #[track_caller]
    fn deliver(mut self, env: &[(&str, &str)]) -> Vec<String> {
        self.scene.world.lines("a.log", 20);
        self.scene.start_with_env(env);
        self.scene.delivers_everything_once();
        let mut asked: Vec<String> = self.proxy.asked().into_iter().map(|asked| asked.what).collect();
        asked.sort();
        asked.dedup();
        asked
    }
}

#[test]
fn the_proxy_of_the_environment_is_used_with_its_password() {
    let mut aws = Aws::new(Destination::Kinesis);
    aws.scene.world.lines("a.log", 20);
    let url = format!("http://log:p%40ss@{}", aws.proxy.address());
    aws.scene.start_with_env(&[("HTTPS_PROXY", &url)]);
    aws.scene.delivers_everything_once();
    // `log:p@ss` in base64.
    let authorization = Some("Basic bG9nOnBAc3M=".to_owned());
    let expected = Asked { what: format!("CONNECT {KINESIS}:443"), authorization };
    assert!(!aws.proxy.asked().is_empty());
    assert!(aws.proxy.asked().iter().all(|asked| *asked == expected), "{:?}", aws.proxy.asked());
}

#[test]
fn the_proxy_of_the_configuration_comes_before_the_one_of_the_environment() {
    let mut aws = Aws::new(Destination::Firehose);
    let url = aws.proxy_url();
    aws.scene.set("proxy", url);
    let nobody = [("HTTPS_PROXY", "http://127.0.0.1:1"), ("NO_PROXY", "*")];
    assert_eq!(aws.deliver(&nobody), ["CONNECT firehose.us-east-1.amazonaws.com:443"]);
}

#[test]
fn hosts_that_are_exempt_are_reached_without_the_proxy() {
    for in_environment in [true, false] {
        let mut aws = Aws::new(Destination::Kinesis);
        let tls = aws.authority.serve(&["localhost"], aws.scene.endpoint.address());
        let endpoint = format!("https://localhost:{}", tls.port());
        aws.scene.set("kinesis", json!({ "region": REGION, "endpoint": endpoint }));
        let url = aws.proxy_url();
        let asked = if in_environment {
            aws.deliver(&[("HTTPS_PROXY", &url), ("NO_PROXY", "example.org,localhost")])
        } else {
            aws.scene.set("proxy", url);
            aws.scene.set("noProxy", json!(["example.org", "localhost"]));
            aws.deliver(&[])
        };
        assert_eq!(asked, [""; 0], "in the environment: {in_environment}");
    }
}

#[test]
fn a_flow_may_go_without_the_proxy_of_the_others() {
    let world = World::new();
    let endpoint = Endpoint::start();
    let proxy = Proxy::start(endpoint.address());
    let config = Config::new(&world, &endpoint)
        .with("proxy", "http://127.0.0.1:1")
        .flow(Flow::new(&world, Destination::Kinesis, "*.log").with("proxy", "none"));
    let mut scene = Scene::of(world, endpoint, config);
    scene.world.lines("a.log", 20);
    scene.start();
    scene.delivers_everything_once();
    assert_eq!(proxy.asked(), []);
}

#[test]
fn what_a_proxy_refuses_is_sent_when_it_no_longer_does() {
    let mut aws = Aws::new(Destination::Kinesis);
    let url = aws.proxy_url();
    aws.scene.set("proxy", url);
    aws.scene.world.lines("a.log", 50);
    aws.proxy.refuse(Some("407 Proxy Authentication Required"));
    aws.scene.start();
    eventually("it is said", SOON, || {
        let log = aws.scene.agent().log_text();
        if log.contains("proxy authorization required") { Ok(()) } else { Err(log) }
    });
    for refusal in ["403 Forbidden", "503 Service Unavailable"] {
        aws.proxy.refuse(Some(refusal));
        let before = aws.proxy.asked().len();
        eventually("the proxy is asked again", SOON, || match aws.proxy.asked().len() - before {
            0 | 1 => Err("not yet".into()),
            _ => Ok(()),
        });
    }
    aws.proxy.refuse(None);
    aws.scene.delivers_everything_once();
}

#[test]
fn the_kind_of_endpoint_is_the_one_that_the_flow_wants() {
    let mut aws = Aws::new(Destination::Kinesis);
    let url = aws.proxy_url();
    aws.scene.set("proxy", url);
    aws.scene.set("useFipsEndpoint", true);
    assert_eq!(aws.deliver(&[]), ["CONNECT kinesis-fips.us-east-1.amazonaws.com:443"]);

    let mut aws = Aws::new(Destination::Kinesis);
    let url = aws.proxy_url();
    aws.scene.set("proxy", url);
    aws.scene.set("useFipsEndpoint", true);
    let flow = Flow::new(&aws.scene.world, Destination::Kinesis, "*.log")
        .with("useFipsEndpoint", false)
        .with("useDualStackEndpoint", true);
    aws.scene.config = aws.scene.config.clone().with_flows([flow]);
    assert_eq!(aws.deliver(&[]), ["CONNECT kinesis.us-east-1.api.aws:443"]);

    let aws = Aws::new(Destination::Firehose);
    let url = aws.proxy_url();
    let env =
        [("HTTPS_PROXY", &*url), ("AWS_USE_FIPS_ENDPOINT", "true"), ("AWS_USE_DUALSTACK_ENDPOINT", "true")];
    assert_eq!(aws.deliver(&env), ["CONNECT firehose-fips.us-east-1.api.aws:443"]);
}

#[test]
fn a_private_authority_is_trusted_when_its_certificate_is_replaced() {
    let mut aws = Aws::new(Destination::Kinesis);
    let bundle = aws.scene.world.root().join("ca.pem");
    Authority::new().write(aws.scene.world.root());
    let url = aws.proxy_url();
    aws.scene.set("proxy", url);
    aws.scene.world.lines("a.log", 20);
    aws.scene.start();
    eventually("the certificate is not trusted", SOON, || {
        let log = aws.scene.agent().log_text();
        if log.contains("invalid peer certificate") { Ok(()) } else { Err(log) }
    });
    assert_eq!(aws.scene.endpoint.call_count(), 0);
    fs::rename(aws.authority.write(&aws.scene.world.path("..")), bundle).unwrap();
    aws.scene.delivers_everything_once();
}

/// They are streamed, and the endpoint checks their lengths and signatures.
#[track_caller]
fn large_requests_arrive_whole(serve: impl Fn(&Authority, &[&str], SocketAddr) -> SocketAddr) {
    for (destination, aggregation, shape) in [
        (Destination::Kinesis, "kpl", Shape::Kpl),
        (Destination::Kinesis, "lines", Shape::Packed),
        (Destination::Firehose, "lines", Shape::Packed),
    ] {
        let mut aws = Aws::served_by(destination, &serve);
        let url = aws.proxy_url();
        aws.scene.set("proxy", url);
        let flow = Flow::new(&aws.scene.world, destination, "*.log").with("aggregation", aggregation);
        aws.scene.config = aws.scene.config.clone().with_flows([flow]);
        aws.scene.oracle = Oracle::new(shape);
        aws.scene.world.lines("a.log", 40_000);
        aws.scene.start();
        aws.scene.delivers_everything_once();
    }
}

#[test]
fn large_requests_arrive_whole_through_a_proxy_and_tls() {
    large_requests_arrive_whole(Authority::serve);
}

#[test]
fn large_requests_arrive_whole_by_http_2_with_a_small_window() {
    large_requests_arrive_whole(|authority, names, backend| authority.serve_http2(names, backend, 65_535));
}

#[test]
fn the_bundle_of_the_environment_is_trusted_too_and_a_bad_one_is_no_start() {
    let mut aws = Aws::new(Destination::Kinesis);
    let bundle = aws.scene.world.root().join("other.pem");
    fs::rename(aws.scene.world.root().join("ca.pem"), &bundle).unwrap();
    aws.scene.set("caBundle", "");
    let url = aws.proxy_url();
    aws.scene.set("proxy", url);
    let env = [("AWS_CA_BUNDLE", bundle.to_str().unwrap())];
    assert_eq!(aws.deliver(&env), [format!("CONNECT {KINESIS}:443")]);

    let mut scene = Scene::new(Destination::Kinesis, "*.log");
    let bundle = scene.world.root().join("bad.pem");
    fs::write(&bundle, "no certificate\n").unwrap();
    scene.set("caBundle", bundle.display().to_string());
    scene.start();
    assert!(!scene.agent().wait_exit(SOON).success());
    assert!(scene.agent().log_text().contains("holds no certificate in PEM form"));
    scene.forget_agent();
}

/// Delivers lines until the endpoint has seen `n` different keys.
#[track_caller]
fn rotate(scene: &mut Scene, issuer: &Issuer, n: usize) {
    rotate_within(scene, issuer, n, SOON * 2);
}

#[track_caller]
fn rotate_within(scene: &Scene, issuer: &Issuer, n: usize, deadline: Duration) {
    eventually("keys are used", deadline, || {
        scene.probe("a.log");
        let used = issuer.used();
        if used.len() >= n { Ok(()) } else { Err(format!("{used:?}")) }
    });
}

/// The scene without keys in its configuration.
fn without_keys() -> Scene {
    let mut scene = Scene::new(Destination::Kinesis, "*.log");
    scene.set("awsAccessKeyId", "");
    scene.set("awsSecretAccessKey", "");
    scene
}

/// The SDK fetches credentials anew ten seconds before they expire: these each two seconds.
const SHORT: Duration = Duration::from_secs(12);

/// A running agent that assumes a role, whose keys are good for so long.
fn with_role(lifetime: Duration) -> (Scene, Issuer) {
    let mut scene = Scene::new(Destination::Kinesis, "*.log");
    let issuer = Issuer::new(lifetime);
    issuer.rules(&scene.endpoint);
    scene.set("assumeRoleARN", ROLE);
    scene.set("sts", json!({ "endpoint": format!("http://{}", issuer.sts()) }));
    scene.start();
    (scene, issuer)
}

#[test]
fn an_assumed_role_is_renewed_before_it_expires() {
    let (mut scene, issuer) = with_role(SHORT);
    rotate(&mut scene, &issuer, 3);
    scene.delivers_everything_once();
    assert_eq!(scene.endpoint.turned_away(), [""; 0]);
}

/// The least time that AWS gives a role. The SDK fetches new keys shortly before they expire.
#[test]
#[ignore = "takes half an hour: `make role`"]
fn a_role_of_900_seconds_is_renewed() {
    let (mut scene, issuer) = with_role(Duration::from_secs(900));
    rotate_within(&scene, &issuer, 3, Duration::from_secs(2000));
    scene.delivers_everything_once();
    assert_eq!(scene.endpoint.turned_away(), [""; 0]);
}

#[test]
fn nothing_is_lost_while_sts_is_down_and_the_role_expires() {
    let (mut scene, issuer) = with_role(SHORT);
    scene.probe("a.log");
    issuer.set_down(true);
    eventually("there are no credentials", SOON * 2, || {
        scene.world.lines("a.log", 1);
        let log = scene.agent().log_text();
        if log.contains("no credentials") { Ok(()) } else { Err(log) }
    });
    scene.world.lines("a.log", 50);
    issuer.set_down(false);
    scene.delivers_everything_once();
}

#[test]
fn keys_of_an_instance_are_renewed_and_replaced_at_once_when_they_are_revoked() {
    let mut scene = without_keys();
    let issuer = Issuer::new(Duration::from_secs(3600));
    issuer.rules(&scene.endpoint);
    let url = format!("http://{}", issuer.metadata());
    scene.start_with_env(&[
        ("AWS_EC2_METADATA_DISABLED", "false"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url),
    ]);
    scene.probe("a.log");
    assert_eq!(issuer.used(), [1]);
    issuer.revoke();
    scene.world.lines("a.log", 50);
    scene.wait_for_all();
    assert_eq!(issuer.used().len(), 2);
    assert!(scene.endpoint.turned_away().contains(&"ExpiredTokenException"));
    scene.delivers_everything_once();
}

fn write_profile(home: &Path, name: &str, id: &str, secret: &str) {
    fs::create_dir_all(home.join(".aws")).unwrap();
    let new = home.join(".aws/new");
    let text = format!("[{name}]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
    fs::write(&new, text).unwrap();
    fs::rename(new, home.join(".aws/credentials")).unwrap();
}

#[test]
fn a_profile_that_appears_after_the_start_is_found() {
    let mut scene = without_keys();
    scene.world.lines("a.log", 50);
    scene.start();
    eventually("there are no credentials", SOON, || {
        let log = scene.agent().log_text();
        if log.contains("no credentials") { Ok(()) } else { Err(log) }
    });
    write_profile(scene.world.root(), "default", ACCESS_KEY, SECRET_KEY);
    scene.delivers_everything_once();
}

#[test]
fn a_profile_whose_keys_were_replaced_is_read_again() {
    let mut scene = without_keys();
    write_profile(scene.world.root(), "default", "AKIAOLD", "old");
    let old_is_good = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let old = old_is_good.clone();
    scene.endpoint.only_for(move |key| match key {
        "AKIAOLD" if old.load(std::sync::atomic::Ordering::Relaxed) => Ok("old".into()),
        "AKIANEW" => Ok("new".into()),
        _ => Err("UnrecognizedClientException"),
    });
    scene.start();
    scene.probe("a.log");
    write_profile(scene.world.root(), "default", "AKIANEW", "new");
    old_is_good.store(false, std::sync::atomic::Ordering::Relaxed);
    scene.world.lines("a.log", 50);
    scene.delivers_everything_once();
    assert!(!scene.endpoint.turned_away().is_empty());
}

#[test]
fn flows_ask_as_different_users() {
    let mut scene = without_keys();
    write_profile(scene.world.root(), "one", "AKIAONE", "1");
    let credentials = scene.world.root().join(".aws/credentials");
    let text = fs::read_to_string(&credentials).unwrap();
    let two = text.replace("[one]", "[two]").replace("AKIAONE", "AKIATWO").replace("= 1", "= 2");
    fs::write(&credentials, text + &two).unwrap();
    let issuer = Issuer::new(Duration::from_secs(3600));
    let flow = |destination, profile: &str| {
        Flow::new(&scene.world, destination, "*.log").with("awsProfile", profile)
    };
    let flows = [
        flow(Destination::Kinesis, "one"),
        flow(Destination::Firehose, "two"),
        flow(Destination::Kinesis, "two").with("kinesisStream", "third").with("assumeRoleARN", ROLE),
    ];
    let config = scene.config.clone().with_flows(flows);
    scene.config = config.with("sts", json!({ "endpoint": format!("http://{}", issuer.sts()) }));
    let keys = std::sync::Arc::<std::sync::Mutex<std::collections::BTreeSet<String>>>::default();
    let seen = keys.clone();
    scene.endpoint.only_for(move |key| {
        seen.lock().unwrap().insert(key.to_owned());
        match key {
            "AKIAONE" => Ok("1".into()),
            "AKIATWO" => Ok("2".into()),
            "ASIA1" => Ok("secret1".into()),
            _ => Err(""),
        }
    });
    scene.world.lines("a.log", 3);
    // A profile that is named comes before the environment.
    scene.start_with_env(&[("AWS_ACCESS_KEY_ID", "AKIANOT"), ("AWS_SECRET_ACCESS_KEY", "x")]);
    eventually("each flow delivers", SOON, || {
        let mut streams: Vec<String> = scene.endpoint.calls().into_iter().map(|call| call.stream).collect();
        streams.sort();
        streams.dedup();
        if streams.len() == 3 { Ok(()) } else { Err(format!("{streams:?}")) }
    });
    scene.stop();
    let keys: Vec<String> = keys.lock().unwrap().iter().cloned().collect();
    assert_eq!(keys, ["AKIAONE", "AKIATWO", "ASIA1"]);
}

#[test]
fn a_clock_that_is_wrong_is_corrected_by_what_the_destination_says() {
    for ahead in [3600, -3600] {
        let mut scene = Scene::new(Destination::Kinesis, "*.log");
        scene.endpoint.set_clock_ahead(ahead);
        scene.world.lines("a.log", 50);
        scene.start();
        scene.delivers_everything_once();
        let refused = scene.endpoint.turned_away();
        assert!((1..=4).contains(&refused.len()), "each slot learns once: {refused:?}");
    }
}
