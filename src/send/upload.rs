//! A [`Text`] on its way to the socket: it is written as fast as it is taken, into two buffers
//! that are used again and again, so that a request of any size takes the same memory.
//!
//! The connection would take more of it in advance than it can send; so the next buffer is
//! only written when one before was sent.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::limit::Allowance;
use super::text::Text;

/// What is written at a time. Bytes.
pub const BUFFER_BYTES: usize = 64 * 1024;
const BUFFERS: usize = 2;

/// What an upload takes beside its entries. Bytes.
pub const MEMORY: usize = BUFFERS * BUFFER_BYTES;

/// Something else was written than was measured, which is a fault in the agent.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the body of a request ended {0} bytes before its length")]
pub struct TooShort(u64);

#[derive(Debug)]
pub struct Upload {
    text: Text,
    left: u64,
    buffers: Arc<Mutex<Buffers>>,
    _memory: Allowance,
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
    pub fn new(text: Text, length: u64, buffer: Vec<u8>, memory: Allowance) -> Self {
        let buffers = Buffers { free: vec![buffer], made: 1, waker: None };
        Upload { text, left: length, buffers: Arc::new(Mutex::new(buffers)), _memory: memory }
    }

    fn buffer(&self, context: &Context<'_>) -> Poll<Vec<u8>> {
        let mut buffers = self.buffers.lock().unwrap();
        if let Some(buffer) = buffers.free.pop() {
            return Poll::Ready(buffer);
        }
        if buffers.made < BUFFERS {
            buffers.made += 1;
            return Poll::Ready(Vec::with_capacity(BUFFER_BYTES + BUFFER_BYTES / 16));
        }
        buffers.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = TooShort;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TooShort>>> {
        let upload = self.get_mut();
        if upload.left == 0 {
            return Poll::Ready(None);
        }
        let mut buffer = std::task::ready!(upload.buffer(context));
        buffer.clear();
        upload.text.write(&mut buffer, BUFFER_BYTES);
        if buffer.is_empty() {
            return Poll::Ready(Some(Err(TooShort(upload.left))));
        }
        upload.left = upload.left.saturating_sub(buffer.len() as u64);
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

    fn upload(bytes: usize) -> Upload {
        let mut text = Text::new(("DeliveryStreamName", "s"), vec![Data::Made(vec![b'x'; bytes])], vec![]);
        let mut buffer = Vec::new();
        let measure = text.measure(&mut buffer, BUFFER_BYTES);
        Upload::new(text, measure.length, buffer, Allowance::default())
    }

    #[test]
    fn no_more_is_written_than_two_buffers_hold_until_one_was_sent() {
        let mut upload = upload(10 * BUFFER_BYTES);
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

    #[test]
    fn a_text_that_is_shorter_than_was_said_is_an_error() {
        let mut upload = upload(BUFFER_BYTES);
        upload.left += 1;
        let mut context = Context::from_waker(Waker::noop());
        loop {
            match Pin::new(&mut upload).poll_frame(&mut context) {
                Poll::Ready(Some(Ok(frame))) => drop(frame),
                Poll::Ready(Some(Err(error))) => {
                    assert_eq!(error.to_string(), "the body of a request ended 1 bytes before its length");
                    return;
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
