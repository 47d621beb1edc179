//! A TLS server with a certificate of a private authority, which passes what it decrypts on to a
//! plain one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

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
        let params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.expect("good names").signed_by(&key, &self.issuer).expect("it may sign");
        let secret = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], secret)
            .expect("key and certificate fit");
        listen(TlsAcceptor::from(Arc::new(config)), backend)
    }
}

fn listen(acceptor: TlsAcceptor, backend: SocketAddr) -> SocketAddr {
    let (ready, address) = mpsc::channel();
    super::http_server::in_background(async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        ready.send(listener.local_addr().expect("it has an address")).expect("the test waits");
        loop {
            let (stream, _) = listener.accept().await.expect("the listener accepts");
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // Who does not trust the certificate goes away.
                let Ok(mut client) = acceptor.accept(stream).await else { return };
                let Ok(mut server) = TcpStream::connect(backend).await else { return };
                // Either side may end a connection that is kept for later.
                drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
            });
        }
    });
    address.recv().expect("the server listens")
}
