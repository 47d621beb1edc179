//! A real Kinesis server with AWS's limits for each shard, in a process of its own, so that it
//! can be killed: the test binary runs itself once more with only [`serve`].
//!
//! It keeps what it acknowledged in a state folder, also over a kill. Streams are made and read
//! back with the SDK's client, which shares nothing with the agent but the crate.

use std::collections::HashMap;
use std::fs::File;
use std::net::TcpListener;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_kinesis::types::{Shard, ShardIteratorType};
use ferrokinesis::store::{DurableStateOptions, StoreOptions};
use tokio::runtime::Runtime;

use super::{World, eventually};

const PORT: &str = "IT_FERROKINESIS_PORT";
const STATE: &str = "IT_FERROKINESIS_STATE";
const READY_WITHIN: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub struct Ferrokinesis {
    process: Option<Child>,
    port: u16,
    state: PathBuf,
    client: Client,
    runtime: Runtime,
}

impl Ferrokinesis {
    pub fn start(world: &World) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let port = free_port();
        let config = aws_sdk_kinesis::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(format!("http://127.0.0.1:{port}"))
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .build();
        let state = world.root().join("ferrokinesis");
        let client = Client::from_conf(config);
        let mut server = Ferrokinesis { process: None, port, state, client, runtime };
        server.come_up();
        server
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// kill -9, in the middle of whatever it does.
    pub fn kill9(&mut self) {
        let mut process = self.process.take().expect("the server runs");
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Starts it on its old port, with what it had acknowledged.
    pub fn come_up(&mut self) {
        assert!(self.process.is_none(), "the server is started once at a time");
        std::fs::create_dir_all(&self.state).unwrap();
        let log = File::options().append(true).create(true).open(self.state.join("server.log")).unwrap();
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "support::ferrokinesis::serve", "--ignored", "--nocapture"])
            .env(PORT, self.port.to_string())
            .env(STATE, &self.state)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        self.process = Some(process.expect("the test binary can be started"));
        eventually("ferrokinesis listens", READY_WITHIN, || {
            std::net::TcpStream::connect(("127.0.0.1", self.port)).map_err(|error| error.to_string())
        });
    }

    pub fn create_stream(&self, name: &str, shards: i32) {
        let request = self.client.create_stream().stream_name(name).shard_count(shards);
        self.runtime.block_on(request.send()).unwrap();
        self.wait_until_active(name);
    }

    /// Splits the shard so that the first of the two takes a 64th of its hash keys.
    pub fn split_unevenly(&self, stream: &str, shard: &str) {
        let shards = self.runtime.block_on(self.client.list_shards().stream_name(stream).send()).unwrap();
        let old = shards.shards().iter().find(|it| it.shard_id() == shard).expect("the shard is there");
        let keys = old.hash_key_range().unwrap();
        let [start, end] = [keys.starting_hash_key(), keys.ending_hash_key()]
            .map(|key| key.parse::<u128>().expect("a hash key is a number"));
        let split = self.client.split_shard().stream_name(stream).shard_to_split(shard);
        let split = split.new_starting_hash_key((start + (end - start) / 64).to_string());
        self.runtime.block_on(split.send()).unwrap();
        self.wait_until_active(stream);
    }

    pub fn merge(&self, stream: &str, shard: &str, neighbour: &str) {
        let merge = self.client.merge_shards().stream_name(stream).shard_to_merge(shard);
        self.runtime.block_on(merge.adjacent_shard_to_merge(neighbour).send()).unwrap();
        self.wait_until_active(stream);
    }

    pub fn update_shard_count(&self, stream: &str, count: i32) {
        let update = self.client.update_shard_count().stream_name(stream).target_shard_count(count);
        let update = update.scaling_type(aws_sdk_kinesis::types::ScalingType::UniformScaling);
        self.runtime.block_on(update.send()).unwrap();
        self.wait_until_active(stream);
    }

    /// How many records each open shard holds.
    pub fn open_shards(&self, stream: &str) -> HashMap<String, usize> {
        let shards = self.runtime.block_on(self.client.list_shards().stream_name(stream).send()).unwrap();
        let is_open = |shard: &&aws_sdk_kinesis::types::Shard| {
            shard.sequence_number_range().unwrap().ending_sequence_number().is_none()
        };
        let names = shards.shards().iter().filter(is_open).map(|shard| shard.shard_id().to_owned());
        let count = |name: &str| self.runtime.block_on(self.read_shard(stream, name)).len();
        names.map(|name| (name.clone(), count(&name))).collect()
    }

    fn wait_until_active(&self, name: &str) {
        eventually("the stream is active", READY_WITHIN, || {
            let summary = self.client.describe_stream_summary().stream_name(name).send();
            let answer = self.runtime.block_on(summary).map_err(|error| format!("{error:?}"))?;
            let status = answer.stream_description_summary().unwrap().stream_status().as_str().to_owned();
            if status == "ACTIVE" { Ok(()) } else { Err(status) }
        });
    }

    /// The data of all records that the stream holds, by shard, in the shard's order.
    pub fn records(&self, stream: &str) -> HashMap<String, Vec<Vec<u8>>> {
        self.runtime.block_on(async {
            let shards = self.client.list_shards().stream_name(stream).send().await.unwrap();
            let mut records = HashMap::new();
            for shard in shards.shards() {
                records.insert(shard.shard_id().to_owned(), self.read_shard(stream, shard.shard_id()).await);
            }
            records
        })
    }

    /// Divides the stream's shard that has this number in half.
    pub fn split(&self, stream: &str, shard: usize) {
        self.runtime.block_on(async {
            let shards = self.client.list_shards().stream_name(stream).send().await.unwrap();
            let shard = &shards.shards()[shard];
            let range = hash_keys(shard);
            let middle = range.start() + (range.end() - range.start()) / 2 + 1;
            let split = self.client.split_shard().stream_name(stream).shard_to_split(shard.shard_id());
            split.new_starting_hash_key(middle.to_string()).send().await.unwrap();
        });
        self.wait_until_active(stream);
    }

    /// The hash keys of all shards that the stream has or had.
    pub fn hash_keys(&self, stream: &str) -> HashMap<String, RangeInclusive<u128>> {
        let shards = self.runtime.block_on(self.client.list_shards().stream_name(stream).send()).unwrap();
        shards.shards().iter().map(|shard| (shard.shard_id().to_owned(), hash_keys(shard))).collect()
    }

    async fn read_shard(&self, stream: &str, shard: &str) -> Vec<Vec<u8>> {
        let start = self.client.get_shard_iterator().stream_name(stream).shard_id(shard);
        let start = start.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.unwrap();
        let mut position = start.shard_iterator().unwrap().to_owned();
        let mut all = Vec::new();
        loop {
            let answer = self.client.get_records().shard_iterator(&position).send().await.unwrap();
            if answer.records().is_empty() {
                return all;
            }
            all.extend(answer.records().iter().map(|record| record.data().as_ref().to_vec()));
            // A shard that was split ends.
            let Some(next) = answer.next_shard_iterator() else { return all };
            position = next.to_owned();
        }
    }
}

impl Drop for Ferrokinesis {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.kill9();
        }
    }
}

fn hash_keys(shard: &Shard) -> RangeInclusive<u128> {
    let range = shard.hash_key_range().expect("a shard has hash keys");
    range.starting_hash_key().parse().unwrap()..=range.ending_hash_key().parse().unwrap()
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The server's process. Run by hand it ends at once.
#[test]
#[ignore = "not a test: the process that the tests start as their Kinesis server"]
fn serve() {
    let (Ok(port), Some(state)) = (std::env::var(PORT), std::env::var_os(STATE)) else { return };
    let durable =
        DurableStateOptions { state_dir: state.into(), snapshot_interval_secs: 0, max_retained_bytes: None };
    let options = StoreOptions {
        create_stream_ms: 20,
        enforce_limits: true,
        durable: Some(durable),
        ..StoreOptions::default()
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let address = format!("127.0.0.1:{port}");
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let (app, _store) = ferrokinesis::create_app(options);
        ferrokinesis::serve_plain_http(listener, app, std::future::pending()).await.unwrap();
    });
}
