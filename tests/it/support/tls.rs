//! A TLS server with a certificate of a private authority, which passes what it decrypts on to a
//! plain one.

use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::server::TlsStream;

/// An authority that no host trusts by itself.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key can be made");
        Authority { issuer: CertifiedIssuer::self_signed(params, key).expect("it may sign itself") }
    }

    /// Writes its certificate into `folder`.
    pub fn write(&self, folder: &Path) -> PathBuf {
        let path = folder.join("ca.pem");
        std::fs::write(&path, self.issuer.pem()).unwrap();
        path
    }

    /// A server that is called by `names`. What it is sent goes to `backend`.
    pub fn serve(&self, names: &[&str], backend: SocketAddr) -> SocketAddr {
        listen(self.acceptor(names, &[]), move |client| pass_on(client, backend))
    }

    /// The same, by HTTP/2, which takes so many bytes of a body before the client has to wait.
    pub fn serve_http2(&self, names: &[&str], backend: SocketAddr, window: u32) -> SocketAddr {
        listen(self.acceptor(names, &[b"h2"]), move |client| pass_on_http2(client, backend, window))
    }

    fn acceptor(&self, names: &[&str], protocols: &[&[u8]]) -> TlsAcceptor {
        let params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.expect("good names").signed_by(&key, &self.issuer).expect("it may sign");
        let secret = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], secret)
            .expect("key and certificate fit");
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

type Client = TlsStream<TcpStream>;

fn listen<F: Future<Output = ()> + Send>(
    acceptor: TlsAcceptor,
    serve: impl Fn(Client) -> F + Clone + Send + 'static,
) -> SocketAddr {
    let (ready, address) = mpsc::channel();
    super::http_server::in_background(async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        ready.send(listener.local_addr().expect("it has an address")).expect("the test waits");
        loop {
            let (stream, _) = listener.accept().await.expect("the listener accepts");
            let (acceptor, serve) = (acceptor.clone(), serve.clone());
            tokio::spawn(async move {
                // Who does not trust the certificate goes away.
                if let Ok(client) = acceptor.accept(stream).await {
                    serve(client).await;
                }
            });
        }
    });
    address.recv().expect("the server listens")
}

async fn pass_on(mut client: Client, backend: SocketAddr) {
    let Ok(mut server) = TcpStream::connect(backend).await else { return };
    // Either side may end a connection that is kept for later.
    drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
}

async fn pass_on_http2(client: Client, backend: SocketAddr, window: u32) {
    let service = service_fn(move |request| forward(request, backend));
    let served = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(window)
        .initial_connection_window_size(window)
        .serve_connection(TokioIo::new(client), service);
    // The client may go at any time.
    drop(served.await);
}

/// Asks a server that speaks HTTP/1.1 alone.
async fn forward(
    request: Request<Incoming>,
    backend: SocketAddr,
) -> Result<Response<Incoming>, Box<dyn Error + Send + Sync>> {
    let (mut head, body) = request.into_parts();
    let host = head.uri.authority().ok_or("no authority")?.to_string();
    head.headers.insert(HOST, host.parse()?);
    head.version = Version::HTTP_11;
    head.uri = head.uri.path().parse()?;
    let body = Full::new(body.collect().await?.to_bytes());
    let (mut server, connection) = http1::handshake(TokioIo::new(TcpStream::connect(backend).await?)).await?;
    tokio::spawn(connection);
    let mut answer = server.send_request(Request::from_parts(head, body)).await?;
    // They are of the connection.
    for name in ["connection", "transfer-encoding"] {
        answer.headers_mut().remove(name);
    }
    Ok(answer)
}
