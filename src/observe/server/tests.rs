//! The server in this process, in front of a settle stage that answers, hangs or is gone.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;

use tempfile::TempDir;
use tokio::sync::mpsc::Receiver;

use super::*;
use crate::observe::status::{FilePage, Severity, Status};

struct World {
    folder: TempDir,
    /// Where a settle stage would hear.
    questions: Receiver<Question>,
    server: Option<ServerHandle>,
    listen: SocketAddr,
}

impl World {
    fn new() -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (server, questions) = start(&folder.path().join("run/s"), Some(free));
        World { folder, questions, server: Some(server), listen: free }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("run/s")
    }

    fn ask(&self, request: &str) -> (u16, String) {
        ask(&self.socket(), request)
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.ask(&format!("GET {path} HTTP/1.0\r\n\r\n"))
    }
}

fn start(socket: &Path, listen: Option<SocketAddr>) -> (ServerHandle, Receiver<Question>) {
    let (questions, asked) = mpsc::channel(4);
    let board = Board::new("/etc/c.yaml".into(), "/var/c.db".into(), 1 << 20);
    let options = StatusOptions { socket: socket.to_owned(), listen, unready_after: Duration::from_secs(60) };
    let metrics = Box::new(|| Metrics { content_type: "text/x-metrics", text: "up 1\n".to_owned() });
    (Server::start(options, Arc::new(board), questions, metrics), asked)
}

/// The status and the whole answer, once somebody listens.
fn ask(socket: &Path, request: &str) -> (u16, String) {
    exchange(soon(|| UnixStream::connect(socket)), request)
}

fn exchange(mut stream: impl Read + Write, request: &str) -> (u16, String) {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap_or_else(|| panic!("{answer:?}")).parse().unwrap();
    (status, answer)
}

fn soon<T>(mut attempt: impl FnMut() -> io::Result<T>) -> T {
    let begin = std::time::SystemTime::now();
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(error) if begin.elapsed().unwrap() > Duration::from_secs(20) => panic!("{error}"),
            Err(_) => std::thread::yield_now(),
        }
    }
}

fn status(answer: &str) -> Status {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[test]
fn each_address_answers_and_whatever_else_is_asked_is_refused_in_words() {
    let world = World::new();
    for (request, code, text) in [
        ("GET /healthz HTTP/1.0", 200, "alive"),
        ("GET /readyz HTTP/1.0", 200, "ready"),
        ("GET /metrics HTTP/1.0", 200, "content-type: text/x-metrics"),
        ("GET / HTTP/1.0", 200, "<!doctype html>"),
        ("GET /nothing HTTP/1.0", 404, "/healthz"),
        ("GET /status/ HTTP/1.0", 404, "there is nothing here"),
        ("POST /status HTTP/1.0", 405, "allow: GET, HEAD"),
        ("DELETE / HTTP/1.0", 405, "nothing can be changed here"),
        ("GET /status?limit=5000 HTTP/1.0", 400, "at most 1000"),
        ("GET /status?colour=red HTTP/1.0", 400, "no such parameter"),
        ("what is this", 400, ""),
    ] {
        let (status, answer) = world.ask(&format!("{request}\r\n\r\n"));
        assert_eq!(status, code, "{request}: {answer}");
        assert!(answer.contains(text), "{request}: {answer}");
    }
    let (code, head) = world.ask("HEAD / HTTP/1.0\r\n\r\n");
    assert_eq!((code, head.split_once("\r\n\r\n").unwrap().1), (200, ""));
    for header in [
        "script-src 'sha256-",
        "x-content-type-options: nosniff",
        "cache-control: no-store",
        "x-frame-options: DENY",
    ] {
        assert!(head.contains(header), "{head}");
    }
}

#[test]
fn over_tcp_only_this_host_may_be_asked_for() {
    let world = World::new();
    let get = |host: &str| {
        let stream = soon(|| TcpStream::connect(world.listen));
        exchange(stream, &format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")).0
    };
    assert_eq!(["localhost", "127.0.0.1:1", "evil.example"].map(get), [200, 200, 403]);
}

#[test]
fn a_settle_stage_that_does_not_answer_costs_the_files_and_nothing_else() {
    let world = World::new();
    let (code, answer) = world.get("/status");
    let silent = status(&answer);
    assert_eq!((code, silent.files), (200, None));
    assert_eq!(silent.problems[0].severity, Severity::Warning);
    assert!(silent.problems[0].text.contains("too busy"), "{:?}", silent.problems);

    let World { mut questions, folder, server, .. } = world;
    let settle = std::thread::spawn(move || {
        let mut answered = Vec::new();
        while let Some(Question { query, reply }) = questions.blocking_recv() {
            if reply.send(FilePage { total: 7, ..FilePage::default() }).is_ok() {
                answered.push(query.file);
            }
        }
        answered
    });
    let (_, answer) = ask(&folder.path().join("run/s"), "GET /status?file=x HTTP/1.0\r\n\r\n");
    assert_eq!(status(&answer).files.unwrap().total, 7);
    drop(server);
    assert_eq!(settle.join().unwrap(), [Some("x".to_owned())]);
}

#[test]
fn a_socket_that_was_left_behind_is_replaced_and_one_that_lives_is_not() {
    let mut world = World::new();
    let socket = world.socket();
    assert_eq!(world.get("/healthz").0, 200);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&socket).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o660);

    let (second, _questions) = start(&socket, None);
    drop(second);
    assert_eq!(world.get("/healthz").0, 200, "the first still answers after the second has come and gone");

    world.server = None;
    assert!(!socket.exists(), "a clean end leaves nothing");

    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let (third, _questions) = start(&socket, None);
    assert_eq!(
        soon(|| {
            let (code, _) = ask(&socket, "GET /healthz HTTP/1.0\r\n\r\n");
            Ok(code)
        }),
        200
    );
    drop(third);

    std::fs::write(&socket, "a file").unwrap();
    drop(start(&socket, None));
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "a file");
}
