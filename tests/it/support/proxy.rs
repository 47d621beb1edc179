//! An HTTP proxy that makes tunnels (CONNECT), all to one server whatever host is asked for, and
//! notes who was asked for, and with which password.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, mpsc};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What the proxy was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Such as `CONNECT example.org:443`.
    pub what: String,
    /// The value of `proxy-authorization`.
    pub authorization: Option<String>,
}

#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    asked: Vec<Asked>,
    /// Instead of a tunnel, such as `403 Forbidden`.
    refusal: Option<&'static str>,
}

impl Proxy {
    pub fn start(backend: SocketAddr) -> Self {
        let shared = Arc::<Mutex<Shared>>::default();
        let (ready, address) = mpsc::channel();
        let of_server = shared.clone();
        super::http_server::in_background(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
            ready.send(listener.local_addr().expect("it has an address")).expect("the test waits");
            loop {
                let (client, _) = listener.accept().await.expect("the listener accepts");
                tokio::spawn(tunnel(client, backend, of_server.clone()));
            }
        });
        Proxy { address: address.recv().expect("the proxy listens"), shared }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.shared.lock().unwrap().asked.clone()
    }

    /// From now on no tunnel is made and this is answered, until it is None.
    pub fn refuse(&self, refusal: Option<&'static str>) {
        self.shared.lock().unwrap().refusal = refusal;
    }
}

async fn tunnel(mut client: TcpStream, backend: SocketAddr, shared: Arc<Mutex<Shared>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match client.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let what = head.split(" HTTP/").next().unwrap_or_default().to_owned();
    let headers = head.lines().filter_map(|line| line.split_once(": "));
    let mut authorization = headers.filter(|(name, _)| name.eq_ignore_ascii_case("proxy-authorization"));
    let authorization = authorization.next().map(|(_, value)| value.to_owned());
    let refusal = {
        let mut shared = shared.lock().unwrap();
        shared.asked.push(Asked { what, authorization });
        shared.refusal
    };
    let status = refusal.unwrap_or("200 OK");
    let answer = format!("HTTP/1.1 {status}\r\n\r\n");
    // Whoever goes away meanwhile comes back.
    if client.write_all(answer.as_bytes()).await.is_err() || refusal.is_some() {
        return;
    }
    if let Ok(mut server) = TcpStream::connect(backend).await {
        drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
    }
}
