//! The HTTP client below the SDK: through which proxy, and whose certificates are trusted. The
//! only file that names `aws_smithy_http_client` and `rustls`.
//!
//! The SDK's own default client would do but for three things: a proxy and certificates of the
//! configuration, and metadata services, which stand on the host itself and are never behind a
//! proxy, whatever the environment says.

use std::io;
use std::path::PathBuf;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, ConnectorBuilder};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::{RuntimeComponents, RuntimeComponentsBuilder};
use aws_smithy_types::config_bag::ConfigBag;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::options::{Network, Proxy};

/// Where instances, containers and pods find their credentials.
const METADATA: [&str; 5] =
    ["169.254.169.254", "[fd00:ec2::254]", "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"];

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("the CA bundle {} cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("the CA bundle {} holds no certificate in PEM form that can be used: {problem}", path.display())]
    NoCertificate { path: PathBuf, problem: String },
    #[error("the proxy is no URL of one: {0}")]
    Proxy(String),
}

/// A client with connections of its own.
pub fn client(network: &Network) -> Result<SharedHttpClient, HttpError> {
    let trusted = match ca_bundle(network) {
        Some(path) => TrustStore::default().with_pem_certificate(certificates(path)?),
        None => TrustStore::default(),
    };
    let proxy = match &network.proxy {
        Proxy::Environment => ProxyConfig::from_env(),
        Proxy::Never => return Ok(through(ProxyConfig::disabled(), trusted)),
        Proxy::Url { url, except } => {
            let proxy = ProxyConfig::all(url.as_str());
            proxy.map_err(|error| HttpError::Proxy(error.to_string()))?.no_proxy(except)
        }
    };
    let direct = through(ProxyConfig::disabled(), trusted.clone());
    Ok(SharedHttpClient::new(Proxied { proxied: through(proxy, trusted), direct }))
}

/// The file of certificates that are trusted beside those of the host.
pub fn ca_bundle(network: &Network) -> Option<PathBuf> {
    let of_environment =
        || std::env::var_os("AWS_CA_BUNDLE").filter(|path| !path.is_empty()).map(PathBuf::from);
    network.ca_bundle.clone().or_else(of_environment)
}

/// The bytes of the file, which are known to be certificates: the connector would panic at
/// others.
fn certificates(path: PathBuf) -> Result<Vec<u8>, HttpError> {
    let pem = match std::fs::read(&path) {
        Ok(pem) => pem,
        Err(source) => return Err(HttpError::Unreadable { path, source }),
    };
    match check(&pem) {
        Ok(()) => Ok(pem),
        Err(problem) => Err(HttpError::NoCertificate { path, problem }),
    }
}

fn check(pem: &[u8]) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() { Err("it has no CERTIFICATE section".into()) } else { Ok(()) }
}

fn through(proxy: ProxyConfig, trusted: TrustStore) -> SharedHttpClient {
    let tls = TlsContext::builder().with_trust_store(trusted).build().expect("a trust store is enough");
    Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = ConnectorBuilder::default()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(tls.clone())
            .proxy_config(proxy.clone());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        connector.build()
    })
}

/// Everything but the metadata services goes through the proxy.
#[derive(Debug)]
struct Proxied {
    proxied: SharedHttpClient,
    direct: SharedHttpClient,
}

#[derive(Debug)]
struct ProxiedConnector {
    proxied: SharedHttpConnector,
    direct: SharedHttpConnector,
}

impl HttpClient for Proxied {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(ProxiedConnector {
            proxied: self.proxied.http_connector(settings, components),
            direct: self.direct.http_connector(settings, components),
        })
    }

    fn validate_base_client_config(
        &self,
        components: &RuntimeComponentsBuilder,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        self.proxied.validate_base_client_config(components, config)
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.proxied.connector_metadata()
    }
}

impl HttpConnector for ProxiedConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        if is_metadata(request.uri()) { self.direct.call(request) } else { self.proxied.call(request) }
    }
}

fn is_metadata(url: &str) -> bool {
    let authority = url.strip_prefix("http://").and_then(|rest| rest.split(['/', '?']).next());
    let host = |authority: &str| match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host.to_owned(),
        _ => authority.to_owned(),
    };
    authority.is_some_and(|authority| METADATA.contains(&&*host(authority)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn only_the_metadata_services_of_the_host_are_exempt() {
        for url in [
            "http://169.254.169.254/latest/api/token",
            "http://169.254.170.2:80/v2/credentials/x?y",
            "http://[fd00:ec2::254]/latest",
            "http://[fd00:ec2::23]:80/v1/credentials",
        ] {
            assert!(is_metadata(url), "{url}");
        }
        for url in [
            "https://169.254.169.254/",
            "http://169.254.169.25/",
            "http://169.254.169.254.example.org/",
            "http://kinesis.eu-west-1.amazonaws.com/?169.254.169.254",
        ] {
            assert!(!is_metadata(url), "{url}");
        }
    }

    #[test]
    fn a_bundle_that_the_connector_would_not_take_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let client =
            |bundle: &Path| client(&Network { ca_bundle: Some(bundle.to_owned()), ..Network::default() });
        assert!(matches!(client(&path), Err(HttpError::Unreadable { .. })));
        let garbage = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
        for text in ["", "hello\n", garbage, "-----BEGIN CERTIFICATE-----\n"] {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(client(&path), Err(HttpError::NoCertificate { .. })), "{text}");
        }
    }
}
