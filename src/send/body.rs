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
use super::upload::{self, BUFFER_BYTES, Upload};

/// A body that is ready to be sent once.
#[derive(Debug)]
pub struct Body {
    measure: Measure,
    body: Mutex<Option<SdkBody>>,
    /// What the entries were compressed to. Bytes.
    pub compressed: Option<usize>,
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
            compress::WORKSPACE + entries.iter().map(|entry| entry.size).sum::<usize>()
        }
    };
    made + body_bytes(entries).min(upload::MEMORY as u64) as usize
}

impl Body {
    /// Of the entries in a request to `stream`, which is the name of a field and its value. `keys`
    /// has one for each entry, or none where the destination knows none. Hashing and compressing
    /// take milliseconds, so that is done on a thread that may block.
    pub async fn new(
        envelope: Envelope,
        stream: (&'static str, &str),
        entries: &[Entry],
        keys: &[Key],
        memory: Allowance,
    ) -> Self {
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
    ) -> Self {
        let data: Vec<Data> = entries.into_iter().map(|entry| envelope.data(entry)).collect();
        let compressed = matches!(envelope, Envelope::Compressed(_))
            .then(|| data.iter().map(|data| if let Data::Made(made) = data { made.len() } else { 0 }).sum());
        if let Some(compressed) = compressed {
            memory.shrink(compressed + upload::MEMORY);
        }
        let (mut text, mut buffer) = (Text::new(stream, data, keys), Vec::new());
        let measure = text.measure(&mut buffer, BUFFER_BYTES);
        let body = match measure.length == buffer.len() as u64 {
            true => SdkBody::from(buffer),
            false => SdkBody::from_body_1_x(Upload::new(text, measure.length, buffer, memory)),
        };
        Body { measure, body: Mutex::new(Some(body)), compressed }
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
