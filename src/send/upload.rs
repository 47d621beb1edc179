//! A [`Text`] on its way to the socket: it is written as fast as it is taken, into two buffers
//! that are used again and again, so that a request of any size takes the same memory.
//!
//! The connection would take more of it in advance than it can send; so the next buffer is
//! only written when one before was sent. And it keeps a body for as long as it cannot get rid
//! of it, a quarter of an hour where the peer is gone; so whoever asked holds the [`Lease`], and
//! all but the buffers goes with it.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::limit::Allowance;
use super::text::Text;

/// What is written at a time. Bytes.
pub const BUFFER_BYTES: usize = 32 * 1024;
const BUFFERS: usize = 2;
/// The last key is not broken, so that a buffer may hold a little more.
const CAPACITY: usize = BUFFER_BYTES + 2 * 1024;

/// What an upload takes beside its entries. Bytes.
pub const MEMORY: usize = BUFFERS * CAPACITY;

#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum UploadError {
    /// Something else was written than was measured, which is a fault in the agent.
    #[error("the body of a request is not as long as was said: {left} bytes were left, and {written} came")]
    Length { left: u64, written: usize },
    /// Nobody waits for the answer any more.
    #[error("the request was given up")]
    GivenUp,
}

#[derive(Debug)]
pub struct Upload {
    content: Content,
    left: u64,
    buffers: Arc<Mutex<Buffers>>,
}

/// What is sent, until it is given up.
type Content = Arc<Mutex<Option<(Text, Allowance)>>>;

/// What an upload holds is held no longer than this.
#[derive(Debug)]
pub struct Lease(Content);

impl Drop for Lease {
    fn drop(&mut self) {
        let content = self.0.lock().unwrap().take();
        drop(content);
    }
}

/// An empty buffer for a text of about so many bytes.
pub fn buffer(text: u64) -> Vec<u8> {
    let text = usize::try_from(text).unwrap_or(usize::MAX);
    Vec::with_capacity(text.saturating_add(CAPACITY - BUFFER_BYTES).min(CAPACITY))
}

#[derive(Debug, Default)]
struct Buffers {
    free: Vec<Vec<u8>>,
    made: usize,
    /// Waits for one.
    waker: Option<Waker>,
}

/// A buffer that comes back when it was sent.
struct Sent {
    buffer: Vec<u8>,
    buffers: Arc<Mutex<Buffers>>,
}

impl Upload {
    /// Of a text of so many bytes; with a buffer that is there.
    pub fn new(text: Text, length: u64, buffer: Vec<u8>, memory: Allowance) -> (Self, Lease) {
        let content = Arc::new(Mutex::new(Some((text, memory))));
        let buffers = Buffers { free: vec![buffer], made: 1, waker: None };
        let lease = Lease(content.clone());
        (Upload { content, left: length, buffers: Arc::new(Mutex::new(buffers)) }, lease)
    }

    fn write(&mut self, buffer: &mut Vec<u8>) -> Result<(), UploadError> {
        buffer.clear();
        let mut content = self.content.lock().unwrap();
        let (text, _) = content.as_mut().ok_or(UploadError::GivenUp)?;
        let more = text.write(buffer, BUFFER_BYTES);
        let (left, written) = (self.left, buffer.len());
        self.left = left.saturating_sub(written as u64);
        if written as u64 > left || more == (self.left == 0) {
            return Err(UploadError::Length { left, written });
        }
        if !more {
            *content = None;
        }
        Ok(())
    }

    fn buffer(&self, context: &Context<'_>) -> Poll<Vec<u8>> {
        let mut buffers = self.buffers.lock().unwrap();
        if let Some(buffer) = buffers.free.pop() {
            return Poll::Ready(buffer);
        }
        if buffers.made < BUFFERS {
            buffers.made += 1;
            return Poll::Ready(Vec::with_capacity(CAPACITY));
        }
        buffers.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let upload = self.get_mut();
        if upload.left == 0 {
            return Poll::Ready(None);
        }
        let mut buffer = std::task::ready!(upload.buffer(context));
        if let Err(error) = upload.write(&mut buffer) {
            return Poll::Ready(Some(Err(error)));
        }
        let sent = Sent { buffer, buffers: upload.buffers.clone() };
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_owner(sent)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        let waker = {
            let mut buffers = self.buffers.lock().unwrap();
            buffers.free.push(std::mem::take(&mut self.buffer));
            buffers.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::send::text::{Data, Text};

    fn poll(upload: &mut Upload) -> Poll<Option<Bytes>> {
        let mut context = Context::from_waker(Waker::noop());
        let polled = Pin::new(upload).poll_frame(&mut context);
        polled.map(|frame| frame.map(|frame| frame.unwrap().into_data().unwrap()))
    }

    fn upload(bytes: usize) -> (Upload, Lease) {
        let mut text = Text::new(("DeliveryStreamName", "s"), vec![Data::Made(vec![b'x'; bytes])], vec![]);
        let mut buffer = buffer(bytes as u64);
        let measure = text.measure(&mut buffer, BUFFER_BYTES);
        Upload::new(text, measure.length, buffer, Allowance::default())
    }

    #[test]
    fn no_more_is_written_than_two_buffers_hold_until_one_was_sent() {
        let (mut upload, _lease) = upload(10 * BUFFER_BYTES);
        let length = upload.size_hint().exact().unwrap();
        let (mut sent, mut under_way) = (0, Vec::new());
        while !upload.is_end_stream() {
            while let Poll::Ready(Some(frame)) = poll(&mut upload) {
                assert!(frame.len() < BUFFER_BYTES + 100);
                under_way.push(frame);
            }
            assert!(under_way.len() == BUFFERS || upload.is_end_stream());
            sent += under_way.remove(0).len();
        }
        sent += under_way.iter().map(Bytes::len).sum::<usize>();
        drop(under_way);
        assert_eq!(sent as u64, length);
        assert!(upload.is_end_stream());
        assert_eq!(upload.buffers.lock().unwrap().free.len(), BUFFERS);
    }

    fn error(upload: &mut Upload) -> String {
        let mut context = Context::from_waker(Waker::noop());
        loop {
            match Pin::new(&mut *upload).poll_frame(&mut context) {
                Poll::Ready(Some(Ok(frame))) => drop(frame),
                Poll::Ready(Some(Err(error))) => return error.to_string(),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_text_of_another_length_than_was_said_is_an_error() {
        for wrong in [-1, 1] {
            let (mut upload, _lease) = upload(BUFFER_BYTES);
            upload.left = upload.left.saturating_add_signed(wrong);
            let error = error(&mut upload);
            assert!(error.starts_with("the body of a request is not as long as was said"), "{error}");
        }
    }

    #[test]
    fn what_is_sent_goes_with_the_lease_or_when_it_was_written() {
        let (mut upload, lease) = upload(10 * BUFFER_BYTES);
        assert!(poll(&mut upload).is_ready());
        drop(lease);
        assert!(upload.content.lock().unwrap().is_none());
        assert_eq!(error(&mut upload), "the request was given up");

        let (mut upload, _lease) = self::upload(2 * BUFFER_BYTES);
        while !upload.is_end_stream() {
            assert!(poll(&mut upload).is_ready());
        }
        assert!(upload.content.lock().unwrap().is_none());
    }
}
