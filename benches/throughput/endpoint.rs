//! A counting endpoint that speaks PutRecords and PutRecordBatch, in a process of its own: the
//! bench runs itself once more with [`ARGUMENT`].
//!
//! It accepts everything, unless it is told to fail, and parses just enough to count: the decoded size of each entry, and
//! where the lines are asked for also their numbers, as one bit each. It checks no limit and no
//! signature; the tests' endpoint does that. The process answers a line on its standard input
//! with its tally as JSON, after it did what the line says, and ends with its input.

use std::convert::Infallible;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::line::{Line, now_micros};

pub const ARGUMENT: &str = "endpoint";

/// Lines of the file with this number count for the latencies.
pub const TIMED_FILE: usize = 1;

/// The endpoint as the bench sees it.
pub struct Endpoint {
    pub url: String,
    process: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// How fast the endpoint answers: at once, unless something is not 0.
#[derive(Clone, Copy, Default)]
pub struct Pace {
    /// Each answer takes so long,
    pub delay_millis: u64,
    /// and all bodies together pass at this speed.
    pub bytes_per_second: u64,
}

/// How the endpoint fails.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub enum Outage {
    /// No connection can be made, and those that are there end.
    Refuse,
    /// Requests are taken and never answered.
    Hang,
    /// Each request is refused because of a rate limit.
    Throttle,
}

/// What has arrived.
#[derive(Clone, Copy, Default, Deserialize, Serialize)]
pub struct Tally {
    pub requests: u64,
    pub entries: u64,
    pub payload_bytes: u64,
    /// What is billed for the entries, their keys counted: units of 25 KB,
    pub put_units: u64,
    /// KB (1,024 bytes), each entry rounded up to one,
    pub on_demand_kb: u64,
    /// and to five.
    pub firehose_kb: u64,
    /// The rest stays zero unless the endpoint looks at the lines.
    pub distinct: u64,
    pub repeated: u64,
    /// Lines that nobody wrote.
    pub invented: u64,
    /// Lines of [`TIMED_FILE`].
    pub timed: u64,
    /// From the write of a line of [`TIMED_FILE`] to its receipt.
    pub micros_p50: u64,
    pub micros_p99: u64,
    pub micros_max: u64,
}

impl Endpoint {
    pub fn start(look_at_lines: bool) -> Result<Endpoint> {
        Endpoint::start_paced(look_at_lines, Pace::default())
    }

    pub fn start_paced(look_at_lines: bool, pace: Pace) -> Result<Endpoint> {
        let mut process = Command::new(std::env::current_exe()?)
            .args([ARGUMENT, if look_at_lines { "lines" } else { "sizes" }])
            .args([pace.delay_millis.to_string(), pace.bytes_per_second.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let ask = process.stdin.take().context("no input")?;
        let mut answers = BufReader::new(process.stdout.take().context("no output")?);
        let mut url = String::new();
        answers.read_line(&mut url)?;
        Ok(Endpoint { url: url.trim().to_string(), process, ask, answers })
    }

    pub fn tally(&mut self) -> Result<Tally> {
        self.tell("\"tally\"")
    }

    /// From now on it fails like this, or no more.
    pub fn fail(&mut self, outage: Option<Outage>) -> Result<Tally> {
        self.tell(&serde_json::to_string(&outage)?)
    }

    fn tell(&mut self, line: &str) -> Result<Tally> {
        writeln!(self.ask, "{line}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        serde_json::from_str(&answer).context("the endpoint has ended")
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        // It would end with its input anyway.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The endpoint's own process; ends when its standard input does.
pub fn serve() -> Result<()> {
    let look_at_lines = std::env::args().any(|argument| argument == "lines");
    let numbers: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let [delay_millis, bytes_per_second] = numbers[..] else { bail!("no pace is given") };
    let pace = Pace { delay_millis, bytes_per_second };
    let seen = Arc::new(Mutex::new(Seen { look_at_lines, pace, ..Seen::default() }));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (outage, outages) = watch::channel(None);
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    println!("http://{}", listener.local_addr()?);
    runtime.spawn(listen(listener, outages, Arc::clone(&seen)));
    for line in std::io::stdin().lock().lines() {
        if let Ok(wanted) = serde_json::from_str::<Option<Outage>>(&line?) {
            outage.send(wanted)?;
        }
        let tally = seen.lock().unwrap().tally();
        println!("{}", serde_json::to_string(&tally)?);
    }
    Ok(())
}

type Outages = watch::Receiver<Option<Outage>>;

/// Listens, except while connections are refused.
async fn listen(mut listener: TcpListener, mut outages: Outages, seen: Arc<Mutex<Seen>>) -> Result<()> {
    let address = listener.local_addr()?;
    let refuses = |outage: &Option<Outage>| *outage == Some(Outage::Refuse);
    loop {
        let mut until = outages.clone();
        tokio::select! {
            ended = accept(&listener, outages.clone(), &seen) => ended?,
            _ = until.wait_for(refuses) => {}
        }
        drop(listener);
        outages.wait_for(|outage| !refuses(outage)).await?;
        listener = TcpListener::bind(address).await?;
    }
}

async fn accept(listener: &TcpListener, outages: Outages, seen: &Arc<Mutex<Seen>>) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (seen, outages) = (Arc::clone(seen), outages.clone());
        let service = service_fn(move |request| serve_one(request, outages.clone(), Arc::clone(&seen)));
        tokio::spawn(async move {
            // An error here is the agent's end in the middle of a request: what a kill does.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn serve_one(
    request: Request<Incoming>,
    outages: Outages,
    seen: Arc<Mutex<Seen>>,
) -> Result<Response<Full<Bytes>>> {
    let outage = *outages.borrow();
    match outage {
        None => Ok(answer(request, seen).await?),
        Some(Outage::Refuse) => bail!("this connection ends"),
        Some(Outage::Hang) => std::future::pending().await,
        Some(Outage::Throttle) => {
            request.into_body().collect().await?;
            let error = r#"{"__type":"ProvisionedThroughputExceededException","message":"too much"}"#;
            Ok(respond(400, error.into()))
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    seen: Arc<Mutex<Seen>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let target = request.headers().get("x-amz-target").and_then(|value| value.to_str().ok());
    let operation = target.and_then(|target| target.split('.').next_back()).unwrap_or("").to_string();
    let Ok(body) = request.into_body().collect().await else {
        return Ok(respond(400, String::new()));
    };
    let body = body.to_bytes();
    let pause = seen.lock().unwrap().pause(body.len() as u64);
    tokio::time::sleep(pause).await;
    Ok(match operation.as_str() {
        "PutRecords" => {
            let entries = seen.lock().unwrap().add_request(&body);
            let entry = r#"{"SequenceNumber":"49000000000000000000000000000000000000000000000000000001","ShardId":"shardId-000000000000"}"#;
            respond(200, format!(r#"{{"FailedRecordCount":0,"Records":[{}]}}"#, repeat(entry, entries)))
        }
        "PutRecordBatch" => {
            let entries = seen.lock().unwrap().add_request(&body);
            let entry = r#"{"RecordId":"kqLlPvNzHvzXQkLDeRXpJVSxRN8cVgE0"}"#;
            let answers = repeat(entry, entries);
            respond(
                200,
                format!(r#"{{"FailedPutCount":0,"Encrypted":false,"RequestResponses":[{answers}]}}"#),
            )
        }
        _ => respond(400, r#"{"__type":"AccessDeniedException","message":"only puts are allowed"}"#.into()),
    })
}

fn respond(status: u16, body: String) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header("content-type", "application/x-amz-json-1.1")
        .body(Full::new(Bytes::from(body)))
        .expect("status and header are valid")
}

fn repeat(entry: &str, times: usize) -> String {
    let mut all = format!("{entry},").repeat(times);
    all.pop();
    all
}

#[derive(Default)]
struct Seen {
    look_at_lines: bool,
    pace: Pace,
    /// When all bodies before will have passed.
    passed: Option<Instant>,
    tally: Tally,
    /// For each file one bit a line.
    bits: Vec<Vec<u64>>,
    micros: Vec<u32>,
}

impl Seen {
    /// How long a body takes.
    fn pause(&mut self, bytes: u64) -> Duration {
        let now = Instant::now();
        let mut passed = self.passed.map_or(now, |passed| passed.max(now));
        if let Some(micros) = (bytes * 1_000_000).checked_div(self.pace.bytes_per_second) {
            passed += Duration::from_micros(micros);
        }
        self.passed = Some(passed);
        passed - now + Duration::from_millis(self.pace.delay_millis)
    }

    /// Counts a request's entries. Base64 holds no quote and nothing that JSON escapes, so that
    /// an entry's data stands between the next two quotes.
    fn add_request(&mut self, body: &[u8]) -> usize {
        let now = now_micros();
        let data_key = memchr::memmem::Finder::new(br#""Data":"#);
        let (mut entries, mut rest) = (0, body);
        while let Some(at) = data_key.find(rest) {
            let mut quoted = rest[at + data_key.needle().len()..].splitn(3, |&byte| byte == b'"').skip(1);
            let (Some(data), Some(behind)) = (quoted.next(), quoted.next()) else { break };
            self.add_entry(data, now);
            self.add_bill(data, key_bytes(behind));
            rest = behind;
            entries += 1;
        }
        self.tally.requests += 1;
        self.tally.entries += entries as u64;
        entries
    }

    fn add_entry(&mut self, base64: &[u8], now: u64) {
        self.tally.payload_bytes += decoded_bytes(base64);
        if !self.look_at_lines {
            return;
        }
        let Ok(data) = STANDARD.decode(base64) else {
            self.tally.invented += 1;
            return;
        };
        for line in data.strip_suffix(b"\n").unwrap_or(&data).split(|&byte| byte == b'\n') {
            match Line::parse(line) {
                Some(line) => self.add_line(line, now),
                None => self.tally.invented += 1,
            }
        }
    }

    fn add_bill(&mut self, base64: &[u8], key_bytes: u64) {
        let bytes = decoded_bytes(base64) + key_bytes;
        self.tally.put_units += bytes.div_ceil(25 * 1024);
        self.tally.on_demand_kb += bytes.div_ceil(1024);
        self.tally.firehose_kb += bytes.div_ceil(5 * 1024) * 5;
    }

    fn add_line(&mut self, line: Line, now: u64) {
        if self.bits.len() <= line.file {
            self.bits.resize(line.file + 1, Vec::new());
        }
        let bits = &mut self.bits[line.file];
        let (word, bit) = ((line.number / 64) as usize, 1 << (line.number % 64));
        if bits.len() <= word {
            bits.resize(word + 1, 0);
        }
        if bits[word] & bit != 0 {
            self.tally.repeated += 1;
            return;
        }
        bits[word] |= bit;
        self.tally.distinct += 1;
        if line.file == TIMED_FILE {
            self.micros.push(now.saturating_sub(line.micros) as u32);
        }
    }

    fn tally(&mut self) -> Tally {
        self.micros.sort_unstable();
        let at = |percent: usize| match self.micros.len().checked_sub(1) {
            Some(last) => u64::from(self.micros[last * percent / 100]),
            None => 0,
        };
        let timed = self.micros.len() as u64;
        Tally { timed, micros_p50: at(50), micros_p99: at(99), micros_max: at(100), ..self.tally }
    }
}

fn decoded_bytes(base64: &[u8]) -> u64 {
    let padding = base64.iter().rev().take_while(|&&byte| byte == b'=').count();
    (base64.len() / 4 * 3 - padding) as u64
}

/// The length of the partition key that stands behind an entry's data, if there is one.
fn key_bytes(behind: &[u8]) -> u64 {
    let Some(key) = behind.strip_prefix(br#","PartitionKey":""#) else { return 0 };
    memchr::memchr(b'"', key).unwrap_or(0) as u64
}
