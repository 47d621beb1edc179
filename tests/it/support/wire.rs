//! A connection that can end badly: by a reset, or in the middle of an answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How the connection ends, decided while a request of it is handled.
#[derive(Clone, Debug, Default)]
pub struct Fate(Arc<AtomicU8>);

const RESET: u8 = 1;
const CUT: u8 = 2;
const WAS_CUT: u8 = 3;

impl Fate {
    /// The peer sees a reset instead of an orderly end.
    pub fn reset(&self) {
        self.0.store(RESET, Ordering::Release);
    }

    /// The next answer ends in the middle of its body.
    pub fn cut(&self) {
        self.0.store(CUT, Ordering::Release);
    }

    fn is(&self, fate: u8) -> bool {
        self.0.load(Ordering::Acquire) == fate
    }
}

#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    fate: Fate,
}

impl Wire {
    pub fn new(stream: TcpStream, fate: Fate) -> Self {
        Wire { stream, fate }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.fate.is(WAS_CUT) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if !self.fate.is(CUT) {
            return Pin::new(&mut self.stream).poll_write(cx, buf);
        }
        let head = memchr::memmem::find(buf, b"\r\n\r\n").map_or(0, |at| at + 4);
        let half = head + (buf.len() - head) / 2;
        ready!(Pin::new(&mut self.stream).poll_write(cx, &buf[..half.max(1)]))?;
        self.fate.0.store(WAS_CUT, Ordering::Release);
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.fate.is(RESET) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.fate.is(RESET) {
            self.stream.set_zero_linger().expect("an open socket takes the option");
        }
    }
}
