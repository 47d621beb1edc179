//! Answers whoever asks how the agent is doing: HTTP over a Unix socket, and over TCP where that
//! is configured. It has a thread and a runtime of its own, so that it answers while all other
//! threads are busy.
//!
//! Nothing of it may harm the agent: connections are few and do not last, what cannot be bound
//! is a warning, and requests change nothing.

/// The page that shows the status.
mod page;
/// What each address of the server answers.
mod routes;
/// The Unix socket's place in the file system.
mod socket;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::survey::Question;
use routes::Routes;
use socket::Socket;

/// At a time, over each of the two ways.
const MAX_CONNECTIONS: usize = 32;
/// The head of a request must be there within this; a connection that is kept open without one
/// ends then, too. Longer than the page's pause between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Then a connection is closed after the answer that is under way,
const MAX_LIFE: Duration = Duration::from_secs(60);
/// and at last without it.
const LAST_ANSWER: Duration = Duration::from_secs(10);
/// A pause after a connection that could not be accepted, such as for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Bytes of a request's head.
const MAX_HEAD: usize = 16 << 10;

/// What is configured of the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusOptions {
    /// The Unix socket.
    pub socket: PathBuf,
    /// HTTP over TCP.
    pub listen: Option<SocketAddr>,
    /// The agent is not ready while a flow has been failing for longer.
    pub unready_after: Duration,
}

/// The text of `/metrics`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    pub content_type: &'static str,
    pub text: String,
}

pub type RenderMetrics = Box<dyn Fn() -> Metrics + Send + Sync>;

#[derive(Debug)]
pub struct Server;

/// A running server. It ends, and its socket is removed, when this is dropped.
#[derive(Debug)]
pub struct ServerHandle {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Begins to answer. What does not work is logged and left out.
    pub fn start(
        options: StatusOptions,
        board: Arc<Board>,
        questions: mpsc::Sender<Question>,
        metrics: RenderMetrics,
    ) -> ServerHandle {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let started = std::thread::Builder::new().name("status".to_owned()).spawn(move || {
            match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => {
                    runtime.block_on(serve(options, board, questions, metrics, stopped));
                }
                Err(error) => tracing::warn!(%error, "the status cannot be served"),
            }
        });
        let thread = started
            .inspect_err(|error| tracing::warn!(%error, "the status cannot be served: no thread for it"))
            .ok();
        ServerHandle { stop, thread }
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::warn!("the thread of the status has ended by a fault");
        }
    }
}

async fn serve(
    options: StatusOptions,
    board: Arc<Board>,
    questions: mpsc::Sender<Question>,
    metrics: RenderMetrics,
    stop: CancellationToken,
) {
    let listen = options.listen;
    let loopback = listen.is_some_and(|address| address.ip().is_loopback());
    let routes = Arc::new(Routes::new(board, questions, metrics, options.unready_after));
    let socket = Socket::bind(&options.socket).await;
    let tcp = match listen {
        Some(address) => bind(address).await,
        None => None,
    };
    let over_socket = async {
        if let Some(socket) = &socket {
            let accept = async || socket.listener.accept().await.map(|(stream, _)| stream);
            accept_all(accept, &routes, false, &stop).await;
        }
    };
    let over_tcp = async {
        if let Some(tcp) = &tcp {
            let accept = async || tcp.accept().await.map(|(stream, _)| stream);
            accept_all(accept, &routes, loopback, &stop).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        ((), ()) = async { tokio::join!(over_socket, over_tcp) } => stop.cancelled().await,
    }
    if let Some(socket) = socket {
        socket.remove();
    }
}

async fn bind(address: SocketAddr) -> Option<TcpListener> {
    match TcpListener::bind(address).await {
        Ok(listener) => {
            tracing::info!(%address, "the status is served over HTTP");
            Some(listener)
        }
        Err(error) => {
            tracing::warn!(
                %address, %error,
                "the status cannot be served there, everything else works; choose another `status.listen` and restart the agent"
            );
            None
        }
    }
}

/// Serves connections for ever, so many at a time; others wait to be accepted.
async fn accept_all<S>(
    accept: impl AsyncFn() -> io::Result<S>,
    routes: &Arc<Routes>,
    check_host: bool,
    stop: &CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        match accept().await {
            Ok(stream) => {
                let connection = connection(stream, routes.clone(), check_host, stop.clone());
                tokio::spawn(async move {
                    connection.await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "a connection to the status was not accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers the requests of one connection until it ends, is too old, or the server stops.
async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    routes: Arc<Routes>,
    check_host: bool,
    stop: CancellationToken,
) {
    let service = service_fn(|request| {
        let routes = routes.clone();
        async move { Ok::<_, std::convert::Infallible>(routes.answer(&request, check_host).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => Some(ended),
        () = sleep(MAX_LIFE) => None,
        () = stop.cancelled() => None,
    };
    let ended = match ended {
        Some(ended) => Ok(ended),
        None => {
            connection.as_mut().graceful_shutdown();
            timeout(LAST_ANSWER, connection).await
        }
    };
    if let Ok(Err(error)) = ended {
        tracing::debug!(%error, "a connection to the status ended early");
    }
}

#[cfg(test)]
mod tests;
