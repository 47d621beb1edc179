//! A plain HTTP server on the loopback interface whose answers are a function of the request. It
//! runs in a thread of its own until the program ends.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// HTTP's status, a header, and a body.
pub type Answer = (u16, Option<(&'static str, &'static str)>, String);

/// Where it listens.
pub fn serve(answer: impl Fn(&Parts, &str) -> Answer + Send + Sync + 'static) -> SocketAddr {
    let (ready, address) = mpsc::channel();
    let answer = Arc::new(answer);
    in_background(async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        ready.send(listener.local_addr().expect("it has an address")).expect("the test waits");
        loop {
            let (stream, _) = listener.accept().await.expect("the listener accepts");
            let answer = answer.clone();
            let service = service_fn(move |request: hyper::Request<Incoming>| {
                let answer = answer.clone();
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await?.to_bytes();
                    let (status, header, text) = answer(&head, &String::from_utf8_lossy(&body));
                    let mut response = Response::new(Full::new(Bytes::from(text)));
                    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
                    if let Some((name, value)) = header {
                        response.headers_mut().insert(name, value.parse().expect("a header's value"));
                    }
                    Ok::<_, hyper::Error>(response)
                }
            });
            let http = hyper::server::conn::http1::Builder::new();
            tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
        }
    });
    address.recv().expect("the server listens")
}

/// Runs in a thread and a runtime of its own.
pub fn in_background(server: impl Future<Output = ()> + Send + 'static) {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime can be made").block_on(server);
    });
}
