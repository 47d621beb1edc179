//! The configuration file of a test, with everything set so that things happen soon.

use serde_json::{Map, Value, json};

use super::World;
use super::endpoint::{ACCESS_KEY, Endpoint, REGION, SECRET_KEY};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    Kinesis,
    Firehose,
}

impl Destination {
    pub const BOTH: [Destination; 2] = [Destination::Kinesis, Destination::Firehose];
}

/// One element of `flows`.
#[derive(Clone, Debug)]
pub struct Flow(Map<String, Value>);

impl Flow {
    /// A flow that reads all that `pattern` (in the folder of the logs) matches, from its
    /// first byte.
    pub fn new(world: &World, destination: Destination, pattern: &str) -> Self {
        let stream = match destination {
            Destination::Kinesis => ("kinesisStream", "test-stream"),
            Destination::Firehose => ("deliveryStream", "test-delivery-stream"),
        };
        Flow(Map::new())
            .with("filePattern", world.path(pattern).display().to_string())
            .with(stream.0, stream.1)
            .with("initialPosition", "START_OF_FILE")
            .with("maxBufferAgeMillis", 100)
            .with("retryInitialBackoffMillis", 20)
            .with("retryMaxBackoffMillis", 200)
    }

    /// Sets a key, or another value for it.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }
}

#[derive(Clone, Debug)]
pub struct Config {
    keys: Map<String, Value>,
    flows: Vec<Flow>,
}

impl Config {
    pub fn new(world: &World, endpoint: &Endpoint) -> Self {
        let service = json!({ "endpoint": endpoint.url(), "region": REGION });
        Config { keys: Map::new(), flows: Vec::new() }
            .with("scanIntervalMillis", 100)
            .with("checkpointFile", world.checkpoint_file().display().to_string())
            .with("deadLetterFile", world.dead_letter_file().display().to_string())
            .with("awsAccessKeyId", ACCESS_KEY)
            .with("awsSecretAccessKey", SECRET_KEY)
            .with("kinesis", service.clone())
            .with("firehose", service)
            .with("status.socket", world.status_socket().display().to_string())
            .with("shutdownTimeoutMillis", 5000)
            .with("scanIntervalMillis", 100)
            .with("useFileEvents", std::env::var("IT_EVENTS").as_deref() != Ok("off"))
    }

    /// For servers that are not ours: one address for all services, and no credentials.
    pub fn for_server(world: &World, url: &str) -> Self {
        let service = json!({ "endpoint": url, "region": REGION });
        Config { keys: Map::new(), flows: Vec::new() }
            .with("scanIntervalMillis", 100)
            .with("checkpointFile", world.checkpoint_file().display().to_string())
            .with("status.socket", world.status_socket().display().to_string())
            .with("kinesis", service.clone())
            .with("firehose", service)
    }

    /// Sets a top-level key, or another value for it.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.keys.insert(key.to_owned(), value.into());
        self
    }

    #[must_use]
    pub fn flow(mut self, flow: Flow) -> Self {
        self.flows.push(flow);
        self
    }

    /// The same top-level keys with other flows.
    #[must_use]
    pub fn with_flows(mut self, flows: impl IntoIterator<Item = Flow>) -> Self {
        self.flows = flows.into_iter().collect();
        self
    }

    /// YAML, whose values are written as JSON, which is YAML too.
    pub fn to_yaml(&self) -> String {
        let mut text = String::new();
        for (key, value) in &self.keys {
            text.push_str(&format!("{key}: {value}\n"));
        }
        text.push_str(if self.flows.is_empty() { "flows: []\n" } else { "flows:\n" });
        for flow in &self.flows {
            for (index, (key, value)) in flow.0.iter().enumerate() {
                let indent = if index == 0 { "  - " } else { "    " };
                text.push_str(&format!("{indent}{key}: {value}\n"));
            }
        }
        text
    }
}

#[test]
fn a_configuration_is_yaml_with_a_key_a_line() {
    let (world, endpoint) = (World::new(), Endpoint::start());
    let flow = Flow::new(&world, Destination::Firehose, "*.log").with("skipHeaderLines", 2);
    let config = Config::new(&world, &endpoint).with("shutdownTimeoutMillis", 7).flow(flow);
    let yaml: Value = serde_yaml::from_str(&config.to_yaml()).unwrap();
    assert_eq!(yaml["shutdownTimeoutMillis"], 7);
    assert_eq!(yaml["kinesis"]["endpoint"], endpoint.url());
    assert_eq!(yaml["flows"][0]["deliveryStream"], "test-delivery-stream");
    assert_eq!(yaml["flows"][0]["skipHeaderLines"], 2);
}
