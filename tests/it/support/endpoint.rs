//! An HTTP endpoint on the loopback interface that speaks Kinesis PutRecords and Firehose
//! PutRecordBatch (JSON 1.1) and does what its script says.
//!
//! It keeps what it was sent, and whether it stored it. It checks the signature and AWS's
//! limits as AWS does; what AWS would refuse is refused, and fails the test in the end. It runs
//! in a thread of its own, so that the scripts are plain synchronous code.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;

use super::answer::{self, Answer};
use super::request::{KINESIS_MAX_RECORD, Record, Request, Service};
use super::script::{Script, Step};
use super::sigv4;
use super::wire::{Fate, Wire};

pub const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
pub const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
pub const REGION: &str = "us-east-1";

#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    shared: Arc<Shared>,
    commands: tokio::sync::mpsc::UnboundedSender<Command>,
    thread: Option<JoinHandle<()>>,
}

/// A valid call that was received.
#[derive(Clone, Debug)]
pub struct Call {
    pub service: Service,
    pub stream: String,
    pub records: Vec<Record>,
    /// When its body had arrived.
    pub received: Instant,
    /// When the answer was ready to be sent, if there was one.
    pub answered: Option<Instant>,
    /// What the script said.
    pub step: String,
}

#[derive(Debug)]
struct Shared {
    script: Mutex<Script>,
    calls: Mutex<Vec<Call>>,
    violations: Mutex<Vec<String>>,
    /// Replaces the answer to a question about a stream.
    description: Mutex<Option<(u16, Value)>>,
    described: Mutex<usize>,
    /// Its streams have two shards, and tell them.
    tells_shards: Mutex<bool>,
    keys: Mutex<Keys>,
    /// How far its clock is ahead, in seconds.
    clock: Mutex<i64>,
    /// The errors that requests were answered with before anybody looked into them.
    turned_away: Mutex<Vec<&'static str>>,
    /// What its streams take, partition key included.
    max_record: Mutex<usize>,
}

/// A secret, or the error that requests are answered with.
type Secret = Result<String, &'static str>;

/// Who may ask, by the access key.
struct Keys(Box<dyn Fn(&str) -> Secret + Send>);

impl Default for Keys {
    fn default() -> Self {
        let secret = SECRET_KEY.to_owned();
        Keys(Box::new(move |key| if key == ACCESS_KEY { Ok(secret.clone()) } else { Err("") }))
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

#[derive(Debug)]
enum Command {
    Listen(mpsc::Sender<()>),
    Refuse(mpsc::Sender<()>),
    Stop,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Endpoint {
    /// Listens on a free port of 127.0.0.1 and accepts everything.
    pub fn start() -> Self {
        let shared = Arc::new(Shared {
            script: Mutex::default(),
            calls: Mutex::default(),
            violations: Mutex::default(),
            description: Mutex::default(),
            described: Mutex::default(),
            tells_shards: Mutex::default(),
            keys: Mutex::default(),
            clock: Mutex::default(),
            turned_away: Mutex::default(),
            max_record: Mutex::new(KINESIS_MAX_RECORD),
        });
        let (commands, received) = tokio::sync::mpsc::unbounded_channel();
        let (ready, address) = mpsc::channel();
        let of_thread = shared.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let server = Server { shared: of_thread, connections: JoinSet::new() };
            runtime.expect("a runtime can be made").block_on(server.run(ready, received));
        });
        let address = address.recv().expect("the endpoint listens");
        Endpoint { address, shared, commands, thread: Some(thread) }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What is answered from now on to whoever asks what a stream is: HTTP's status, and a body.
    pub fn describe(&self, status: u16, body: Value) {
        *lock(&self.shared.description) = Some((status, body));
    }

    /// From now on each stream has two shards, halves of the hash keys, and tells them.
    pub fn tell_shards(&self) {
        *lock(&self.shared.tells_shards) = true;
    }

    /// How often that was asked.
    pub fn described(&self) -> usize {
        *lock(&self.shared.described)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on streams take records of so many KiB. They say so only to whom `says` it.
    pub fn take_records_of(&self, kib: usize, says: bool) {
        *lock(&self.shared.max_record) = kib << 10;
        if says {
            let mut body = answer::description(Service::Kinesis, br#"{"StreamName":"test-stream"}"#);
            body["StreamDescriptionSummary"]["MaxRecordSizeInKiB"] = kib.into();
            self.describe(200, body);
        }
    }

    /// From now on `keys` says whose requests are looked into: it gives the secret of an access
    /// key, or the error that its requests are answered with.
    pub fn only_for(&self, keys: impl Fn(&str) -> Secret + Send + 'static) {
        *lock(&self.shared.keys) = Keys(Box::new(keys));
    }

    /// Sets its clock so many seconds ahead of this host's. Like AWS it takes no request whose
    /// signature is more than five minutes off.
    pub fn set_clock_ahead(&self, seconds: i64) {
        *lock(&self.shared.clock) = seconds;
    }

    /// The errors that requests got because of their keys or their time.
    pub fn turned_away(&self) -> Vec<&'static str> {
        lock(&self.shared.turned_away).clone()
    }

    /// Steps for the next requests, after those that are still queued.
    pub fn script(&self, steps: impl IntoIterator<Item = Step>) {
        lock(&self.shared.script).push(steps);
    }

    /// What is done with each request once the queued steps are used up.
    pub fn always(&self, rule: impl FnMut(&Request) -> Step + Send + 'static) {
        lock(&self.shared.script).then(rule);
    }

    /// From now on everything is accepted. What hangs goes on hanging.
    pub fn heal(&self) {
        lock(&self.shared.script).heal();
    }

    /// How many queued steps no request has taken yet.
    pub fn steps_left(&self) -> usize {
        lock(&self.shared.script).steps_left()
    }

    /// Ends all connections and refuses new ones.
    pub fn go_down(&self) {
        self.command(Command::Refuse);
    }

    /// Listens again on the same port.
    pub fn come_up(&self) {
        self.command(Command::Listen);
    }

    fn command(&self, command: impl FnOnce(mpsc::Sender<()>) -> Command) {
        let (done, wait) = mpsc::channel();
        self.commands.send(command(done)).expect("the endpoint's thread lives");
        wait.recv().expect("the endpoint's thread obeys");
    }

    /// All calls so far, in the order of their arrival.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.shared.calls).clone()
    }

    /// Runs `look` on the calls from the `first` on.
    pub fn look_at_calls<T>(&self, first: usize, look: impl FnOnce(&[Call]) -> T) -> T {
        look(&lock(&self.shared.calls)[first..])
    }

    pub fn call_count(&self) -> usize {
        lock(&self.shared.calls).len()
    }

    /// The data of every stored record, in the order of arrival.
    pub fn stored(&self) -> Vec<Bytes> {
        let stored = |call: &Call| call.records.iter().filter(|r| r.stored).cloned().collect::<Vec<_>>();
        let calls = lock(&self.shared.calls);
        calls.iter().flat_map(stored).map(|record| record.data).collect()
    }

    /// All stored data in one piece.
    pub fn stored_text(&self) -> String {
        String::from_utf8_lossy(&self.stored().concat()).into_owned()
    }

    /// What AWS would have refused, which the caller answers for. Nothing is left behind.
    pub fn take_violations(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.shared.violations))
    }

    #[track_caller]
    pub fn assert_no_violations(&self) {
        let violations = lock(&self.shared.violations).clone();
        assert!(violations.is_empty(), "AWS would have refused: {violations:#?}");
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        // The thread may be gone after a panic of its own, which is told below.
        let _ = self.commands.send(Command::Stop);
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert!(matches!(ended, Some(Ok(()))), "the endpoint's thread panicked");
            self.assert_no_violations();
        }
    }
}

/// The side of the endpoint that runs in its own thread.
struct Server {
    shared: Arc<Shared>,
    connections: JoinSet<()>,
}

type Commands = tokio::sync::mpsc::UnboundedReceiver<Command>;

impl Server {
    async fn run(mut self, ready: mpsc::Sender<SocketAddr>, mut commands: Commands) {
        // Bound but not listening, it keeps the port for us while connections are refused.
        let placeholder = socket("127.0.0.1:0".parse().expect("an address"));
        let address = placeholder.local_addr().expect("a bound socket has an address");
        let mut listener = Some(listen(address));
        ready.send(address).expect("the test waits for the address");
        loop {
            let command = match &listener {
                Some(open) => self.accept_until(open, &mut commands).await,
                None => commands.recv().await,
            };
            let done = match command {
                None | Some(Command::Stop) => return,
                Some(Command::Listen(done)) => {
                    listener = Some(listen(address));
                    done
                }
                Some(Command::Refuse(done)) => {
                    listener = None;
                    self.connections.shutdown().await;
                    done
                }
            };
            done.send(()).expect("the test waits for its command");
        }
    }

    async fn accept_until(&mut self, listener: &TcpListener, commands: &mut Commands) -> Option<Command> {
        loop {
            tokio::select! {
                command = commands.recv() => return command,
                Some(ended) = self.connections.join_next() => {
                    ended.expect("no connection's task panics");
                }
                accepted = listener.accept() => {
                    let (stream, _) = accepted.expect("the listener accepts");
                    let fate = Fate::default();
                    let wire = TokioIo::new(Wire::new(stream, fate.clone()));
                    let shared = self.shared.clone();
                    let service = service_fn(move |request| handle(shared.clone(), fate.clone(), request));
                    let connection = hyper::server::conn::http1::Builder::new().serve_connection(wire, service);
                    // Its errors are the ones that the script wants, or the agent's death.
                    self.connections.spawn(async move { drop(connection.await) });
                }
            }
        }
    }
}

fn socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket can be made");
    socket.set_reuseport(true).expect("the option is known");
    socket.bind(address).expect("the address is ours");
    socket
}

fn listen(address: SocketAddr) -> TcpListener {
    socket(address).listen(1024).expect("a bound socket can listen")
}

/// The connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the script ends the connection")]
struct Ended;

async fn handle(shared: Arc<Shared>, fate: Fate, request: hyper::Request<Incoming>) -> Result<Answer, Ended> {
    let answer = answer(shared.clone(), fate, request).await;
    let now = SystemTime::now();
    let ahead = *lock(&shared.clock);
    let time = if ahead < 0 {
        now - Duration::from_secs(ahead.unsigned_abs())
    } else {
        now + Duration::from_secs(ahead as u64)
    };
    answer.map(|answer| answer::dated(answer, time))
}

async fn answer(shared: Arc<Shared>, fate: Fate, request: hyper::Request<Incoming>) -> Result<Answer, Ended> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Ended)?.to_bytes();
    if let Some(code) = shared.turns_away(&head) {
        lock(&shared.turned_away).push(code);
        return Ok(answer::error(Service::Kinesis, 400, code, false));
    }
    if let Some((service, description)) = shared.description_for(&head, &body) {
        return Ok(match shared.signed(&head, &body, service) {
            Ok(()) => description,
            Err(violation) => {
                lock(&shared.violations).push(violation);
                answer::error(service, 400, "ValidationException", false)
            }
        });
    }
    match shared.check(&head, &body) {
        Ok(request) => shared.perform(fate, request).await,
        Err((service, violation)) => {
            lock(&shared.violations).push(violation);
            Ok(answer::error(service, 400, "ValidationException", false))
        }
    }
}

impl Shared {
    /// The error that whoever asks is answered with.
    fn turns_away(&self, head: &hyper::http::request::Parts) -> Option<&'static str> {
        let key = sigv4::access_key(head)?;
        match lock(&self.keys).0(&key) {
            Err(code) if !code.is_empty() => return Some(code),
            _ => {}
        }
        let off = sigv4::seconds_off(head)? - *lock(&self.clock);
        (off.abs() > 300).then_some("InvalidSignatureException")
    }

    /// The request, if AWS would accept it.
    fn check(&self, head: &hyper::http::request::Parts, body: &[u8]) -> Result<Request, (Service, String)> {
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        let target = header("x-amz-target").unwrap_or("");
        let service = Service::of_target(target).map_err(|violation| (Service::Kinesis, violation))?;
        let told = |violation: String| (service, format!("{target}: {violation}"));
        if head.method != "POST" || head.uri.path() != "/" {
            return Err(told(format!("{} {}", head.method, head.uri)));
        }
        if header("content-type") != Some("application/x-amz-json-1.1") {
            return Err(told(format!("content-type is {:?}", header("content-type"))));
        }
        if header("content-length") != Some(&body.len().to_string()) {
            return Err(told(format!("content-length is {:?}", header("content-length"))));
        }
        self.signed(head, body, service).map_err(told)?;
        Request::parse_within(service, body, *lock(&self.max_record)).map_err(told)
    }

    fn signed(
        &self,
        head: &hyper::http::request::Parts,
        body: &[u8],
        service: Service,
    ) -> Result<(), String> {
        let scope = sigv4::verify(head, body, |key| self.keys.lock().unwrap().0(key).ok())?;
        if (scope.region.as_str(), scope.service.as_str()) != (REGION, service.signing_name()) {
            return Err(format!("signed for {scope:?}"));
        }
        Ok(())
    }

    /// The answer to a question about a stream, if it is one.
    fn description_for(&self, head: &hyper::http::request::Parts, body: &[u8]) -> Option<(Service, Answer)> {
        let target = head.headers.get("x-amz-target")?.to_str().ok()?;
        let service = match target {
            "Kinesis_20131202.ListShards" if *lock(&self.tells_shards) => {
                return Some((Service::Kinesis, answer::json(200, &answer::halves())));
            }
            "Kinesis_20131202.ListShards" => {
                return Some((Service::Kinesis, answer::denied("kinesis:ListShards")));
            }
            "Kinesis_20131202.DescribeStreamSummary" => Service::Kinesis,
            "Firehose_20150804.DescribeDeliveryStream" => Service::Firehose,
            _ => return None,
        };
        *lock(&self.described) += 1;
        let scripted = lock(&self.description).clone();
        let (status, body) = scripted.unwrap_or_else(|| (200, answer::description(service, body)));
        Some((service, answer::json(status, &body)))
    }

    async fn perform(&self, fate: Fate, mut request: Request) -> Result<Answer, Ended> {
        let step = lock(&self.script).next(&request);
        let failed = store(&step, &mut request);
        let call = self.receive(&request, &step);
        let service = request.service;
        let mut results = answer::results(&request, &failed, *lock(&self.tells_shards));
        match &step {
            Step::Hang => std::future::pending().await,
            Step::Latency(time) => tokio::time::sleep(*time).await,
            Step::ResetBeforeStore | Step::ResetAfterStore => {
                fate.reset();
                return Err(Ended);
            }
            Step::CloseConnection => return Err(Ended),
            Step::CutBody => fate.cut(),
            Step::TooFewResults => drop(results.pop()),
            Step::TooManyResults => results.push(answer::stored(service)),
            _ => {}
        }
        let answer = match step {
            Step::Throttle => answer::throttle(service),
            Step::ServerError(status, body) => answer::server_error(service, status, body),
            Step::Error { status, code, prefixed } => answer::error(service, status, code, prefixed),
            Step::BadJson => answer::nonsense(),
            _ => answer::success(service, &results),
        };
        lock(&self.calls)[call].answered = Some(Instant::now());
        Ok(answer)
    }

    fn receive(&self, request: &Request, step: &Step) -> usize {
        let mut calls = lock(&self.calls);
        calls.push(Call {
            service: request.service,
            stream: request.stream.clone(),
            records: request.records.clone(),
            received: Instant::now(),
            answered: None,
            step: format!("{step:?}"),
        });
        calls.len() - 1
    }
}

/// Marks the records that the step stores. The code with which each of the others fails.
fn store(step: &Step, request: &mut Request) -> Vec<Option<&'static str>> {
    let mut failed = vec![None; request.records.len()];
    if let Step::FailEntries(which, code) = step {
        for (index, record) in request.records.iter().enumerate() {
            failed[index] = which(index, record).then_some(*code);
        }
    }
    for (record, failed) in request.records.iter_mut().zip(&failed) {
        record.stored = step.stores() && failed.is_none();
    }
    failed
}

impl Call {
    /// How long after `instant` the call was received.
    pub fn delay_since(&self, instant: Instant) -> Duration {
        self.received.saturating_duration_since(instant)
    }
}
