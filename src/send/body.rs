//! Makes the body of a request and puts it in the place of the one that the SDK makes, before it
//! is signed: credentials, signatures, addresses and connections stay the SDK's.
//!
//! A large body is streamed, for which the signature needs the hash of it beforehand; else the
//! SDK would sign that it is not signed. The length that the SDK has set is that of its own.

use std::sync::Mutex;

use aws_runtime::auth::PayloadSigningOverride;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextMut;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;

use super::compress;
use super::entry::Entry;
use super::envelope::Envelope;
use super::limit::Allowance;
use super::pace::body_bytes;
use super::partition::Key;
use super::text::{Data, Measure, PIECE_BYTES, Text};
use super::upload::{self, BUFFER_BYTES, Lease, Upload};

/// A body that is ready to be sent once.
#[derive(Debug)]
pub struct Body {
    measure: Measure,
    body: Mutex<Option<SdkBody>>,
    /// What the entries were compressed to. Bytes.
    pub compressed: Option<usize>,
}

/// The memory of a body, also where the connection keeps it for longer: whoever waits for the
/// answer holds it as long.
#[derive(Debug)]
pub struct Held {
    _memory: Option<Allowance>,
    _lease: Option<Lease>,
}

/// The body was sent before. The SDK does not repeat requests, so this is a fault in the agent.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the body of the request was sent already")]
struct SentAlready;

/// What sending these entries takes beside themselves. Bytes.
pub fn memory(envelope: Envelope, entries: &[Entry]) -> usize {
    let made = match envelope {
        Envelope::Plain => 0,
        Envelope::Kpl(_) => PIECE_BYTES,
        Envelope::Compressed(_) => {
            let sizes = || entries.iter().map(|entry| entry.size);
            compress::WORKSPACE + sizes().sum::<usize>() + sizes().max().unwrap_or(0)
        }
    };
    let buffers = body_bytes(entries).min(upload::MEMORY as u64) as usize;
    made + buffers + copies(entries)
}

/// Entries are copied, though not their bytes.
fn copies(entries: &[Entry]) -> usize {
    std::mem::size_of_val(entries)
}

impl Body {
    /// Of the entries in a request to `stream`, which is the name of a field and its value. `keys`
    /// has one for each entry, or none where the destination knows none. Hashing and compressing
    /// take milliseconds, so that is done on a thread that may block. And what is to be held until
    /// the answer has come, or nobody waits for it any more.
    pub async fn new(
        envelope: Envelope,
        stream: (&'static str, &str),
        entries: &[Entry],
        keys: &[Key],
        memory: Allowance,
    ) -> (Self, Held) {
        let bytes: usize = entries.iter().map(|entry| entry.size).sum();
        let (entries, keys, name) = (entries.to_vec(), keys.to_vec(), stream.1.to_owned());
        let make = move || Body::make(envelope, (stream.0, &name), entries, keys, memory);
        if envelope == Envelope::Plain && bytes <= BUFFER_BYTES {
            return make();
        }
        match tokio::task::spawn_blocking(make).await {
            Ok(body) => body,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime is shutting down, and takes this task with it.
            Err(_) => std::future::pending().await,
        }
    }

    fn make(
        envelope: Envelope,
        stream: (&str, &str),
        entries: Vec<Entry>,
        keys: Vec<Key>,
        memory: Allowance,
    ) -> (Self, Held) {
        let (length, copies) = (body_bytes(&entries), copies(&entries));
        let data: Vec<Data> = entries.into_iter().map(|entry| envelope.data(entry)).collect();
        let compressed = matches!(envelope, Envelope::Compressed(_))
            .then(|| data.iter().map(|data| if let Data::Made(made) = data { made.len() } else { 0 }).sum());
        if let Some(compressed) = compressed {
            memory.shrink(compressed + upload::MEMORY + copies);
        }
        let (mut text, mut buffer) = (Text::new(stream, data, keys), upload::buffer(length));
        let measure = text.measure(&mut buffer, BUFFER_BYTES);
        let (body, held) = if measure.length == buffer.len() as u64 {
            (SdkBody::from(buffer), Held { _memory: Some(memory), _lease: None })
        } else {
            let (upload, lease) = Upload::new(text, measure.length, buffer, memory);
            (SdkBody::from_body_1_x(upload), Held { _memory: None, _lease: Some(lease) })
        };
        (Body { measure, body: Mutex::new(Some(body)), compressed }, held)
    }
}

#[dyn_dispatch_hint]
impl Intercept for Body {
    fn name(&self) -> &'static str {
        "Body"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = self.body.lock().unwrap().take().ok_or(SentAlready)?;
        let request = context.request_mut();
        *request.body_mut() = body;
        request.headers_mut().insert("content-length", self.measure.length.to_string());
        config
            .interceptor_state()
            .store_put(PayloadSigningOverride::Precomputed(self.measure.sha256.clone()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Shards;
    use crate::send::Clients;
    use crate::send::limit::Bodies;
    use crate::send::options::Destination;
    use crate::send::outcome::{Answers, Failure};
    use crate::send::testing::{keys, large_entry, options, options_to};
    use std::time::Duration;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    const REFUSAL: &str = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/x-amz-json-1.1\r\n\
        content-length: 32\r\n\r\n{\"__type\":\"ValidationException\"}";
    const MEMORY: usize = 1 << 20;

    /// Puts an entry, of more than the system takes for a peer that does not read. Gives what came
    /// of it until `until`, and the connection.
    async fn put(
        bodies: &Bodies,
        entry: &Entry,
        answer: &'static str,
    ) -> (Option<Result<Answers, Failure>>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let options = options_to(Destination::Kinesis("s".into()), endpoint);
        let client = Clients::default().client("test", &options).await.unwrap();
        let entries = [entry.clone()];
        let memory = bodies.take(super::memory(Envelope::of(&options), &entries)).await;
        let (keys, shards) = (keys(1), Shards::default());
        let mut put = std::pin::pin!(client.put(&entries, &keys, &shards, memory));
        let mut connection = tokio::select! {
            (connection, _) = async { listener.accept().await.unwrap() } => connection,
            answer = &mut put => panic!("{answer:?}"),
        };
        connection.write_all(answer.as_bytes()).await.unwrap();
        // What is waited for is not there: the request goes on as far as it gets.
        let most = if answer.is_empty() { Duration::from_millis(500) } else { Duration::from_secs(30) };
        (tokio::time::timeout(most, put).await.ok(), connection)
    }

    #[tokio::test]
    async fn what_an_attempt_took_comes_back_though_the_peer_does_not_read() {
        for answer in ["", REFUSAL] {
            let bodies = Bodies::new(MEMORY, 0);
            let entry = large_entry(20 << 20);
            let (result, _connection) = put(&bodies, &entry, answer).await;
            assert_eq!(result.is_some(), !answer.is_empty());
            assert!(entry.parts[0].payload.is_unique(), "the connection holds what was read");
            tokio::time::timeout(Duration::from_secs(30), bodies.take(MEMORY)).await.expect("it came back");
        }
    }

    #[tokio::test]
    async fn a_small_body_counts_until_it_is_answered() {
        let bodies = Bodies::new(MEMORY, 0);
        let options = options();
        let entry = large_entry(10_000);
        let memory = bodies.take(MEMORY).await;
        let stream = ("StreamName", "s");
        let (body, held) = Body::new(Envelope::of(&options), stream, &[entry], &keys(1), memory).await;
        drop(body);
        assert!(tokio::time::timeout(Duration::from_millis(1), bodies.take(MEMORY)).await.is_err());
        drop(held);
        bodies.take(MEMORY).await;
    }
}
