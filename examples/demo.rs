//! The whole way of a log line, on one machine and without an AWS account: `make demo`.
//!
//! A Kinesis server (the `ferrokinesis` crate, with AWS's limits on) runs inside this process.
//! The agent, a process of its own, tails a file that a writer appends to and rotates three
//! times. A reader takes the records back out of the stream, and every line is accounted for.
//! It ends with code 1 if one is missing. `STAY=1` leaves everything running until Ctrl-C.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_kinesis::types::ShardIteratorType;
use base64::Engine;
use ferrokinesis::capture::{CaptureWriter, read_capture_file};

const STREAM: &str = "demo";
const SHARDS: i32 = 4;
const LINES_PER_TICK: u64 = 20;
const TICK: Duration = Duration::from_millis(10);
const WRITE_FOR: Duration = Duration::from_secs(15);
const DELIVERED_WITHIN: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result<()> {
    let place = Place::new()?;
    let endpoint = start_server(&place).await?;
    let client = client(&endpoint);
    create_stream(&client).await?;
    fs::write(&place.config, config(&place, &endpoint))?;

    println!("A Kinesis server listens on {endpoint}; its stream \"{STREAM}\" has {SHARDS} shards.");
    println!("The agent tails {}", place.log.display());
    println!();

    let mut agent = Agent::start(&place)?;
    let written = Arc::new(AtomicU64::new(0));
    let writer = {
        let (log, written) = (place.log.clone(), Arc::clone(&written));
        tokio::task::spawn_blocking(move || write_and_rotate(&log, &written))
    };

    let mut received = Received::new();
    let mut positions = shard_positions(&client).await?;
    follow(&client, &mut positions, &mut received, &written, &mut agent, || writer.is_finished()).await?;
    writer.await??;
    let stopped = if stay() { None } else { Some(agent.stop()?) };
    read_all(&client, &mut positions, &mut received).await?;

    let lost = report(&received, &latencies(&place)?, written.load(Ordering::Acquire), stopped);
    print_where(&place, &endpoint);
    if stopped.is_none() {
        println!("\nEverything keeps running until Ctrl-C. Append to the log, and look:");
        println!("  echo hello >> {}", place.log.display());
        println!("  tail {}", place.agent_log.display());
        tokio::signal::ctrl_c().await?;
        agent.stop()?;
    }
    if lost > 0 {
        bail!("{lost} lines are missing; what the agent says is in {}", place.agent_log.display());
    }
    Ok(())
}

fn stay() -> bool {
    std::env::var("STAY").is_ok_and(|value| !value.is_empty() && value != "0")
}

/// The demo's files; they stay after the end.
struct Place {
    folder: PathBuf,
    log: PathBuf,
    config: PathBuf,
    agent_log: PathBuf,
    captured: PathBuf,
}

impl Place {
    fn new() -> Result<Place> {
        let folder = tempfile::Builder::new().prefix("kinesis-agent-demo-").tempdir()?.keep();
        fs::create_dir(folder.join("logs"))?;
        Ok(Place {
            log: folder.join("logs/app.log"),
            config: folder.join("config.yaml"),
            agent_log: folder.join("agent.log"),
            captured: folder.join("captured.ndjson"),
            folder,
        })
    }
}

/// The port that local Kinesis servers usually have, so that the kept configuration works again
/// with another run; any other if it is taken.
async fn start_server(place: &Place) -> Result<String> {
    let options = ferrokinesis::store::StoreOptions {
        create_stream_ms: 50,
        enforce_limits: true,
        ..Default::default()
    };
    let captured = CaptureWriter::new(&place.captured, false)?;
    let (app, _store) = ferrokinesis::create_app_with_capture(options, Some(captured));
    let listener = match tokio::net::TcpListener::bind("127.0.0.1:4567").await {
        Ok(listener) => listener,
        Err(_) => tokio::net::TcpListener::bind("127.0.0.1:0").await?,
    };
    let endpoint = format!("http://{}", listener.local_addr()?);
    tokio::spawn(ferrokinesis::serve_plain_http(listener, app, std::future::pending()));
    Ok(endpoint)
}

fn client(endpoint: &str) -> Client {
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("demo", "demo", None, None, "demo"))
        .build();
    Client::from_conf(config)
}

async fn create_stream(client: &Client) -> Result<()> {
    client.create_stream().stream_name(STREAM).shard_count(SHARDS).send().await?;
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = client.describe_stream_summary().stream_name(STREAM).send().await?;
        let summary = answer.stream_description_summary().context("no summary")?;
        if summary.stream_status().as_str() == "ACTIVE" {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("the stream did not become active within 10 s");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn config(place: &Place, endpoint: &str) -> String {
    format!(
        "# Written by `make demo`.\n\
         kinesis.endpoint: {endpoint}\n\
         kinesis.region: us-east-1\n\
         awsAccessKeyId: demo\n\
         awsSecretAccessKey: demo\n\
         checkpointFile: {folder}/checkpoints.db\n\
         status.socket: {folder}/status.sock\n\
         flows:\n  \
           - filePattern: {log}\n    \
             kinesisStream: {STREAM}\n    \
             initialPosition: START_OF_FILE\n    \
             maxBufferAgeMillis: 100\n",
        folder = place.folder.display(),
        log = place.log.display(),
    )
}

/// The agent's process. Killed if the demo fails half-way.
struct Agent(Child);

impl Agent {
    fn start(place: &Place) -> Result<Agent> {
        let binary = match std::env::var_os("KINESIS_AGENT") {
            Some(path) => PathBuf::from(path),
            // target/debug/examples/demo -> target/debug/kinesis-agent
            None => {
                std::env::current_exe()?.ancestors().nth(2).context("no target folder")?.join("kinesis-agent")
            }
        };
        let log = File::create(&place.agent_log)?;
        fs::set_permissions(&place.config, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        let child = Command::new(&binary)
            .args(["run", "--config"])
            .arg(&place.config)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {} (`make build`?)", binary.display()))?;
        Ok(Agent(child))
    }

    fn check_alive(&mut self) -> Result<()> {
        if let Some(status) = self.0.try_wait()? {
            bail!("the agent ended by itself: {status}");
        }
        Ok(())
    }

    /// Seconds that the clean stop took.
    fn stop(&mut self) -> Result<f64> {
        let started = Instant::now();
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let status = self.0.wait()?;
        if !status.success() {
            bail!("the agent did not stop cleanly: {status}");
        }
        Ok(started.elapsed().as_secs_f64())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It has ended already, unless the demo failed; then there is nobody left to tell.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// 2,000 lines a second; a rename after 4 s and 8 s, a copytruncate after 12 s. The writer
/// rotates its own file, so that no line falls between a copy and a truncation.
fn write_and_rotate(log: &Path, written: &AtomicU64) -> Result<()> {
    let mut file = append_to(log)?;
    let mut rotations = [4, 8, 12].map(Duration::from_secs).into_iter().peekable();
    let started = Instant::now();
    let mut tick = 0;
    while started.elapsed() < WRITE_FOR {
        if rotations.next_if(|at| started.elapsed() >= *at).is_some() {
            if rotations.peek().is_some() {
                shift(log)?;
                fs::rename(log, generation(log, 1))?;
                file = append_to(log)?;
            } else {
                shift(log)?;
                fs::copy(log, generation(log, 1))?;
                file.set_len(0)?;
            }
        }
        let first = tick * LINES_PER_TICK;
        let lines: String = (first..first + LINES_PER_TICK).map(line).collect();
        file.write_all(lines.as_bytes())?;
        tick += 1;
        written.store(tick * LINES_PER_TICK, Ordering::Release);
        std::thread::sleep((TICK * tick as u32).saturating_sub(started.elapsed()));
    }
    Ok(())
}

fn append_to(log: &Path) -> Result<File> {
    Ok(OpenOptions::new().create(true).append(true).open(log)?)
}

fn generation(log: &Path, number: u32) -> PathBuf {
    PathBuf::from(format!("{}.{number}", log.display()))
}

/// `app.log.2` becomes `app.log.3`, `app.log.1` becomes `app.log.2`, as logrotate does it.
fn shift(log: &Path) -> Result<()> {
    for number in (1..3).rev() {
        if generation(log, number).exists() {
            fs::rename(generation(log, number), generation(log, number + 1))?;
        }
    }
    Ok(())
}

fn line(number: u64) -> String {
    let micros = since_epoch().as_micros();
    format!("{number:010} {micros} GET /orders/{number} 200 a line like many others in a log\n")
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970")
}

/// What came out of the stream.
struct Received {
    times_seen: Vec<u32>,
    foreign: u64,
    per_shard: Vec<ShardCount>,
}

#[derive(Clone, Default)]
struct ShardCount {
    records: u64,
    bytes: u64,
}

impl Received {
    fn new() -> Received {
        let per_shard = vec![ShardCount::default(); SHARDS as usize];
        Received { times_seen: Vec::new(), foreign: 0, per_shard }
    }

    fn add(&mut self, shard: usize, data: &[u8]) {
        self.per_shard[shard].records += 1;
        self.per_shard[shard].bytes += data.len() as u64;
        let Some((number, _)) = parse(data) else {
            self.foreign += 1;
            return;
        };
        if self.times_seen.len() <= number {
            self.times_seen.resize(number + 1, 0);
        }
        self.times_seen[number] += 1;
    }

    fn delivered(&self) -> u64 {
        self.times_seen.iter().filter(|&&times| times > 0).count() as u64
    }

    fn repeated(&self) -> u64 {
        self.times_seen.iter().map(|&times| u64::from(times.saturating_sub(1))).sum()
    }
}

/// A line's number, and when it was written in microseconds; None for what we did not write.
fn parse(data: &[u8]) -> Option<(usize, f64)> {
    let text = std::str::from_utf8(data).ok()?.strip_suffix('\n')?;
    let mut words = text.split(' ');
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

async fn shard_positions(client: &Client) -> Result<Vec<String>> {
    let listed = client.list_shards().stream_name(STREAM).send().await?;
    let mut positions = Vec::new();
    for shard in listed.shards() {
        let answer = client
            .get_shard_iterator()
            .stream_name(STREAM)
            .shard_id(shard.shard_id())
            .shard_iterator_type(ShardIteratorType::TrimHorizon)
            .send()
            .await?;
        positions.push(answer.shard_iterator().context("no shard iterator")?.to_string());
    }
    Ok(positions)
}

/// Reads on, with a line of progress each second, until all that was written has arrived.
async fn follow(
    client: &Client,
    positions: &mut [String],
    received: &mut Received,
    written: &AtomicU64,
    agent: &mut Agent,
    writer_ended: impl Fn() -> bool,
) -> Result<()> {
    let started = Instant::now();
    let mut seconds_said = 0;
    let mut ended_at = None;
    loop {
        agent.check_alive()?;
        read_all(client, positions, received).await?;
        let seconds = started.elapsed().as_secs();
        if seconds > seconds_said {
            seconds_said = seconds;
            let (written, delivered) = (written.load(Ordering::Acquire), received.delivered());
            let event = match seconds {
                4 | 8 => "  app.log is renamed to app.log.1",
                12 => "  app.log is copied to app.log.1 and truncated",
                _ => "",
            };
            println!("  {seconds:>3} s {written:>8} written {delivered:>8} delivered{event}");
        }
        if writer_ended() {
            let ended_at = *ended_at.get_or_insert_with(Instant::now);
            let complete = received.delivered() == written.load(Ordering::Acquire);
            if complete || ended_at.elapsed() > DELIVERED_WITHIN {
                return Ok(());
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn read_all(client: &Client, positions: &mut [String], received: &mut Received) -> Result<()> {
    for (shard, position) in positions.iter_mut().enumerate() {
        loop {
            let answer = client.get_records().shard_iterator(position.as_str()).send().await?;
            for record in answer.records() {
                received.add(shard, record.data().as_ref());
            }
            let empty = answer.records().is_empty();
            *position = answer.next_shard_iterator().context("the shard was closed")?.to_string();
            if empty {
                break;
            }
        }
    }
    Ok(())
}

/// Milliseconds from each line's write to its arrival, sorted. From what the server captured,
/// since the arrival times that it gives to readers are whole seconds.
fn latencies(place: &Place) -> Result<Vec<f64>> {
    let mut latencies = Vec::new();
    for record in read_capture_file(&place.captured)? {
        let data = base64::engine::general_purpose::STANDARD.decode(&record.data)?;
        if let Some((_, micros)) = parse(&data) {
            latencies.push(record.ts as f64 - micros / 1e3);
        }
    }
    latencies.sort_by(f64::total_cmp);
    Ok(latencies)
}

/// Returns how many lines are missing.
fn report(received: &Received, latencies: &[f64], written: u64, stopped: Option<f64>) -> u64 {
    let delivered = received.delivered();
    let lost = written - delivered;
    println!("\nWhat arrived");
    for (shard, count) in received.per_shard.iter().enumerate() {
        let mib = count.bytes as f64 / f64::from(1 << 20);
        println!("  shardId-{shard:012} {:>8} records {mib:>8.2} MiB", count.records);
    }
    println!("\nLines");
    println!("  written   {written:>9}");
    println!("  delivered {delivered:>9}");
    println!("  lost      {lost:>9}");
    println!("  repeated  {:>9}", received.repeated());
    if received.foreign > 0 {
        println!("  not ours  {:>9}", received.foreign);
    }
    if let Some(last) = latencies.len().checked_sub(1) {
        println!("\nFrom the write to the arrival in the stream");
        println!("  p50 {:>6.0} ms", latencies[last / 2]);
        println!("  p99 {:>6.0} ms", latencies[last * 99 / 100]);
    }
    if let Some(seconds) = stopped {
        println!("\nSIGTERM: the agent stored where it was and ended with code 0 after {seconds:.2} s.");
    }
    lost
}

fn print_where(place: &Place, endpoint: &str) {
    println!("\nKept for you in {}", place.folder.display());
    println!("  config.yaml     what the agent was told ({endpoint} is gone when the demo ends)");
    println!("  logs/           the log and its rotated generations");
    println!("  agent.log       what the agent said");
    println!("  checkpoints.db  where it was");
    println!("  captured.ndjson every record as the server took it");
    println!("`make demo STAY=1` keeps the server and the agent running.");
}
