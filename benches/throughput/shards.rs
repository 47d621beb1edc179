//! How much of a stream's shards is used, and how much is refused: agents with a backlog on a
//! real Kinesis server (ferrokinesis), which takes 1 MiB and 1,000 records of each shard in each
//! second and refuses the rest. The server is a process of its own: the bench runs itself once
//! more with [`ARGUMENT`].
//!
//! Refused are first attempts and others, in parts of what left the agent; `later` is the second
//! half of the time, when agents that share a stream have found their parts. `shares` are the least
//! and the most of an agent.
//!
//! `SHARDS` is the number of shards, `SECONDS` the length of each measurement, `AGENTS` that of
//! the crowd on one stream.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::{BehaviorVersion, Credentials, Region};
use ferrokinesis::store::StoreOptions;

use crate::agent::{Agent, metrics, sum};
use crate::line::LENGTH;
use crate::throughput::write_backlog;
use crate::{in_folder, setting};

pub const ARGUMENT: &str = "ferrokinesis";

/// What AWS promises for a shard.
const SHARD_BYTES: f64 = 1e6;
const SHARD_RECORDS: f64 = 1000.0;

const FIRST_DELIVERY: Duration = Duration::from_secs(30);
const STREAM: &str = "bench";

pub fn run() -> Result<()> {
    let (shards, seconds) = (setting("SHARDS", 4)?, setting("SECONDS", 30)?);
    let agents = setting("AGENTS", 4)?;
    println!("\nA backlog to a stream of {shards} shards that enforces its limits, {seconds} s each");
    println!(
        "  {:<44} {:>8} {:>10} {:>10} {:>10} {:>10} {:>8}",
        "", "MB/s", "entries/s", "of limit %", "refused %", "later %", "shares %"
    );
    for (name, flow, records) in [
        ("packed, 250 KiB", "aggregation: lines", false),
        ("kpl, 250 KiB", "aggregation: kpl", false),
        ("kpl, 5 kB", "aggregation: kpl\naggregationMaxBytes: 5000", false),
        ("packed, 5 kB", "aggregation: lines\naggregationMaxBytes: 5000", false),
        ("a record each line of 200 bytes", "aggregation: none", true),
    ] {
        for agents in [1, agents] {
            let case = Case { shards, seconds, agents, flow, records };
            let name = if agents == 1 { name.into() } else { format!("{name}, {agents} agents") };
            in_folder(|folder| case.measure(folder, &name))?;
        }
    }
    Ok(())
}

struct Case {
    shards: u64,
    seconds: u64,
    agents: u64,
    flow: &'static str,
    /// The limit that binds is that of records.
    records: bool,
}

/// What agents have done so far.
#[derive(Clone, Copy, Default)]
struct Done {
    bytes: f64,
    records: f64,
    entries: f64,
    refused: f64,
}

impl Case {
    fn measure(&self, folder: &Path, name: &str) -> Result<()> {
        let server = Server::start(self.shards)?;
        let lines = self.lines();
        let flow = format!("kinesisStream: {STREAM}\n{}", self.flow);
        let mut agents = Vec::new();
        for number in 0..self.agents {
            let own = folder.join(format!("agent-{number}"));
            std::fs::create_dir_all(own.join("logs"))?;
            write_backlog(&own.join("logs/app.log"), lines)?;
            agents.push((Agent::start(&own, &server.url, &flow)?, own));
        }
        let deadline = Instant::now() + FIRST_DELIVERY;
        while total(&done_by_each(&agents)).bytes == 0.0 {
            if Instant::now() > deadline {
                bail!("nothing is delivered");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let half = Duration::from_secs_f64(self.seconds as f64 / 2.0);
        let (before, began) = (done_by_each(&agents), Instant::now());
        std::thread::sleep(half);
        let middle = done_by_each(&agents);
        std::thread::sleep(half);
        let (after, seconds) = (done_by_each(&agents), began.elapsed().as_secs_f64());
        for (agent, _) in agents {
            agent.kill()?;
        }
        self.print(name, [&before, &middle, &after], seconds);
        Ok(())
    }

    fn print(&self, name: &str, [before, middle, after]: [&[Done]; 3], seconds: f64) {
        let (all, later) = (total(after).since(total(before)), total(after).since(total(middle)));
        let part = if self.records { all.records / SHARD_RECORDS } else { all.bytes / SHARD_BYTES };
        let bytes = before.iter().zip(after).map(|(before, after)| after.since(*before).bytes);
        let shares: Vec<f64> = bytes.map(|bytes| 100.0 * bytes / all.bytes).collect();
        let least = shares.iter().copied().fold(f64::MAX, f64::min);
        println!(
            "  {name:<44} {:>8.2} {:>10.0} {:>10.1} {:>10.2} {:>10.2} {:>8}",
            all.bytes / 1e6 / seconds,
            all.entries / seconds,
            100.0 * part / (self.shards as f64 * seconds),
            all.refused_part(),
            later.refused_part(),
            format!("{least:.0}-{:.0}", shares.iter().copied().fold(0.0, f64::max)),
        );
    }

    /// What all shards take in the time, and some more, for each agent.
    fn lines(&self) -> u64 {
        let each = if self.records { SHARD_RECORDS as u64 } else { SHARD_BYTES as u64 / LENGTH as u64 };
        each * self.shards * (self.seconds + 15)
    }
}

impl Done {
    fn since(self, before: Done) -> Done {
        Done {
            bytes: self.bytes - before.bytes,
            records: self.records - before.records,
            entries: self.entries - before.entries,
            refused: self.refused - before.refused,
        }
    }

    fn refused_part(&self) -> f64 {
        100.0 * self.refused / (self.entries + self.refused)
    }
}

fn total(each: &[Done]) -> Done {
    each.iter().fold(Done::default(), |sum, done| Done {
        bytes: sum.bytes + done.bytes,
        records: sum.records + done.records,
        entries: sum.entries + done.entries,
        refused: sum.refused + done.refused,
    })
}

/// Nothing of an agent that does not listen yet.
fn done_by_each(agents: &[(Agent, PathBuf)]) -> Vec<Done> {
    let done = |metrics: String| Done {
        bytes: sum(&metrics, "kinesis_agent_delivered_bytes_total{"),
        records: sum(&metrics, "kinesis_agent_records_delivered_total{"),
        entries: sum(&metrics, "kinesis_agent_batch_entries_sum{"),
        refused: sum(&metrics, "kinesis_agent_entries_throttled_total{"),
    };
    agents.iter().map(|(_, folder)| metrics(folder).map(done).unwrap_or_default()).collect()
}

struct Server {
    url: String,
    process: Child,
    /// It ends with its input.
    _input: ChildStdin,
}

impl Server {
    fn start(shards: u64) -> Result<Server> {
        let mut process = Command::new(std::env::current_exe()?)
            .args([ARGUMENT, &shards.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let _input = process.stdin.take().context("no input")?;
        let mut url = String::new();
        BufReader::new(process.stdout.take().context("no output")?).read_line(&mut url)?;
        Ok(Server { url: url.trim().to_owned(), process, _input })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The server's own process; says its address when its stream can be written to.
pub fn serve() -> Result<()> {
    let shards: i32 = std::env::args().next_back().context("no number of shards")?.parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let options = StoreOptions { create_stream_ms: 0, enforce_limits: true, ..StoreOptions::default() };
    let url = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let (app, _store) = ferrokinesis::create_app(options);
        tokio::spawn(ferrokinesis::serve_plain_http(listener, app, std::future::pending()));
        create_stream(&url, shards).await?;
        anyhow::Ok(url)
    })?;
    println!("{url}");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

async fn create_stream(url: &str, shards: i32) -> Result<()> {
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(url)
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .build();
    let client = Client::from_conf(config);
    client.create_stream().stream_name(STREAM).shard_count(shards).send().await?;
    loop {
        let summary = client.describe_stream_summary().stream_name(STREAM).send().await?;
        if summary.stream_description_summary().is_some_and(|it| it.stream_status().as_str() == "ACTIVE") {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
