//! What the tests of this stage are made of.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::entry::{Entry, Part, Records};
use super::options::{
    Aggregation, Credentials, Destination, Flush, Network, Options, PartitionKey, Proxy, ShardLimits,
};
use super::partition::{self, Key};
use crate::file::{Chunk, Span, TailId};
use crate::record::{Block, Shape};

pub fn options() -> Options {
    Options {
        destination: Destination::Kinesis("stream".into()),
        region: Some("eu-central-1".into()),
        endpoint: None,
        credentials: Credentials::default(),
        network: Network { proxy: Proxy::Never, ..Network::default() },
        aggregation: Aggregation::None,
        aggregation_max_bytes: 250 * 1024,
        aggregation_max_records: None,
        compression: None,
        in_order: false,
        partition_key: PartitionKey::Random,
        shard_limits: ShardLimits::default(),
        max_batch_entries: 500,
        max_batch_bytes: 10 << 20,
        max_age: Duration::from_secs(1),
        flush: Flush::Aged,
        retry_initial_backoff: Duration::from_millis(100),
        retry_max_backoff: Duration::from_secs(10),
        max_in_flight: 2,
    }
}

/// Static keys, and this endpoint.
pub fn options_to(destination: Destination, endpoint: String) -> Options {
    Options {
        destination,
        endpoint: Some(endpoint),
        credentials: Credentials {
            access_key_id: Some("AKIDEXAMPLE".into()),
            secret_access_key: Some("secret".into()),
            ..Credentials::default()
        },
        ..options()
    }
}

/// The bytes of `tail` from `start` on, behind as many made-up ones as the anchors want.
pub fn chunk(tail: u64, start: u64, bytes: &[u8]) -> Chunk {
    let before = start.min(256);
    let mut buffer = vec![b'.'; before as usize];
    buffer.extend_from_slice(bytes);
    Chunk::new(TailId(tail), start - before, Bytes::from(buffer), start)
}

pub fn lines(chunk: &Chunk, span: Span) -> Block {
    Block { chunk: chunk.clone(), span, payload: chunk.slice(span), shape: Shape::Lines }
}

/// A block of all lines of one chunk.
pub fn block(tail: u64, start: u64, bytes: &[u8]) -> Block {
    let chunk = chunk(tail, start, bytes);
    lines(&chunk, chunk.span)
}

/// An entry of one record whose payload nobody else holds.
pub fn large_entry(bytes: usize) -> Entry {
    let mut entry = entry(&[b"x"]);
    entry.parts[0].payload = Bytes::from(vec![b'x'; bytes]);
    entry.parts[0].records = Records::one(bytes);
    (entry.bytes, entry.size) = (bytes, bytes);
    entry
}

/// An entry of consecutive parts of one tail.
pub fn entry(payloads: &[&[u8]]) -> Entry {
    let mut entry = Entry::default();
    for payload in payloads {
        let chunk = chunk(1, entry.bytes as u64, payload);
        entry.bytes += payload.len();
        entry.size += payload.len();
        entry.records += 1;
        let records = Records::one(payload.len());
        entry.parts.push(Part { span: chunk.span, payload: chunk.bytes(), chunk, records });
    }
    entry
}

/// Keys that fall to any shard.
pub fn keys(count: usize) -> Vec<Key> {
    (0..count).map(|_| Key { partition: partition::random(), explicit_hash: None }).collect()
}

/// What a [`Canned`] server was asked.
#[derive(Clone, Debug)]
pub struct Request {
    /// Header lines in lower case, one a line.
    pub head: String,
    pub body: String,
}

/// An HTTP server that gives the same answer to every request.
pub struct Canned {
    pub url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Canned {
    pub async fn start(status: u16, headers: &str, body: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let answer = format!(
            "HTTP/1.1 {status} Whatever\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}",
            body.len()
        );
        let seen = requests.clone();
        tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                let request = read_request(&mut connection).await;
                seen.lock().unwrap().push(request);
                connection.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Canned { url, requests }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Static keys, and this server as the endpoint.
    pub fn options(&self, destination: Destination) -> Options {
        options_to(destination, self.url.clone())
    }
}

async fn read_request(connection: &mut TcpStream) -> Request {
    let mut bytes = Vec::new();
    loop {
        connection.read_buf(&mut bytes).await.unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() == length.expect("the SDK sends the length").parse::<usize>().unwrap() {
            return Request { head, body: body.to_owned() };
        }
    }
}
