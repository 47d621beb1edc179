//! Makes the clients that talk to AWS: which credentials, which region, which endpoint.
//!
//! Flows with equal credentials share one provider and its cache, so that a hundred flows do
//! not ask STS or the metadata service a hundred times. The SDK remembers the profile file, and
//! that it found no credentials, for good; so a flow whose credentials are refused asks for a
//! [renewed](Clients::renewed) client, whose credentials chain starts afresh. When it does is
//! decided in `renewal`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::credentials::{self, Watched};
use super::dry_run::{DryRun, DryRunClient};
use super::entry::Entry;
use super::failure::causes;
use super::firehose::Firehose;
use super::http::{self, HttpError};
use super::kinesis::Kinesis;
use super::limit::Allowance;
use super::options::{Credentials, Destination, Network, Options};
use super::outcome::{Answers, Failure, FailureClass};
use super::partition::Key;
use super::shards::OpenShard;
use crate::observe::{CredentialsReport, Shards};

const APP_NAME: &str = "kinesis-agent";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(
        "flow `{flow}`: the AWS region of {destination} is not known; set `{key}` in the configuration, \
         or AWS_REGION in the environment, or `region` in the AWS profile"
    )]
    NoRegion { flow: String, destination: Destination, key: &'static str },
    #[error("flow `{flow}`: `{present}` is set without `{missing}`; set both, or neither")]
    HalfKey { flow: String, present: &'static str, missing: &'static str },
    #[error("flow `{flow}`: {source}")]
    Http { flow: String, source: HttpError },
}

/// The client of one destination.
#[derive(Clone, Debug)]
pub enum Client {
    Kinesis(Kinesis),
    Firehose(Firehose),
    DryRun(DryRunClient),
    #[cfg(test)]
    Scripted(super::scripted::Scripted),
}

impl Client {
    /// One attempt to send `entries`: one outcome for each, in their order. `keys` has one for
    /// each entry to a Data Stream; `shards` is told where it put them.
    /// `memory` is given back when the entries are sent.
    pub async fn put(
        &self,
        entries: &[Entry],
        keys: &[Key],
        shards: &Shards,
        memory: Allowance,
    ) -> Result<Answers, Failure> {
        match self {
            Client::Kinesis(kinesis) => kinesis.put(entries, keys, shards, memory).await,
            Client::Firehose(firehose) => firehose.put(entries, memory).await,
            Client::DryRun(client) => Ok(client.put(entries, keys).into()),
            #[cfg(test)]
            Client::Scripted(scripted) => scripted.put(entries, keys).await,
        }
    }

    /// The open shards; none if the destination has none.
    pub async fn open_shards(&self) -> Result<Option<Vec<OpenShard>>, Failure> {
        match self {
            Client::Kinesis(kinesis) => kinesis.open_shards().await.map(Some),
            Client::Firehose(_) | Client::DryRun(_) => Ok(None),
            #[cfg(test)]
            Client::Scripted(scripted) => Ok(scripted.open_shards()),
        }
    }
}

/// Makes clients; one for the whole agent.
#[derive(Debug, Default)]
pub struct Clients {
    shared: Mutex<HashMap<Access, Shared>>,
    /// They outlive the chains, so that who shows one need not know of renewals.
    reports: std::sync::Mutex<HashMap<Credentials, Arc<CredentialsReport>>>,
    /// What the SDK's chain says, by the profile.
    default_regions: Mutex<HashMap<Option<String>, Region>>,
    dry_run: Option<Arc<DryRun>>,
}

/// Who asks, and which way the requests for credentials go.
type Access = (Credentials, Network);

/// What flows with the same access share.
#[derive(Debug)]
struct Shared {
    config: SdkConfig,
    built: Instant,
}

impl Clients {
    /// Clients that ask nothing of AWS: neither credentials nor a region are looked for.
    pub fn of_dry_run(dry_run: Arc<DryRun>) -> Self {
        Clients { dry_run: Some(dry_run), ..Clients::default() }
    }

    /// The client for a flow's destination. Sends nothing to the destination.
    pub async fn client(&self, flow: &str, options: &Options) -> Result<Client, ClientError> {
        if let Some(dry_run) = &self.dry_run {
            return Ok(Client::DryRun(DryRunClient {
                dry_run: dry_run.clone(),
                flow: flow.to_owned(),
                destination: options.destination.clone(),
            }));
        }
        complete_key(flow, &options.credentials)?;
        let region = self.region(flow, options).await?;
        let http = connections(flow, &options.network)?;
        let shared = self.shared_config(flow, options, &region).await?;
        let config = shared.into_builder().region(region).http_client(http).build();
        Ok(match &options.destination {
            Destination::Kinesis(stream) => Client::Kinesis(Kinesis::new(&config, options, stream)),
            Destination::Firehose(stream) => Client::Firehose(Firehose::new(&config, options, stream)),
        })
    }

    /// As [`client`](Self::client), with a credentials chain that remembers nothing: a new one,
    /// unless another flow has made one since `made`, when the flow's client was made.
    pub async fn renewed(
        &self,
        flow: &str,
        options: &Options,
        old: &Client,
        made: Instant,
    ) -> Result<Client, ClientError> {
        #[cfg(test)]
        if let Client::Scripted(scripted) = old {
            return Ok(Client::Scripted(scripted.renewed()));
        }
        let _ = old;
        self.shared
            .lock()
            .await
            .retain(|(credentials, _), shared| *credentials != options.credentials || shared.built > made);
        self.client(flow, options).await
    }

    /// What is known of these credentials: the same report for all flows that share them, also
    /// after they were renewed.
    pub fn report(&self, credentials: &Credentials) -> Arc<CredentialsReport> {
        self.reports.lock().unwrap().entry(credentials.clone()).or_default().clone()
    }

    /// Asks for credentials now, without the SDK's cache. What comes of it stands in the report.
    pub async fn resolve(&self, flow: &str, options: &Options) -> Result<(), Failure> {
        let no_credentials = |message: String| Failure {
            class: FailureClass::Waiting { authentication: true },
            code: "no credentials".into(),
            message,
        };
        let region = self.region(flow, options).await.map_err(|error| no_credentials(error.to_string()))?;
        let config = self.shared_config(flow, options, &region).await;
        let config = config.map_err(|error| no_credentials(error.to_string()))?;
        let provider =
            config.credentials_provider().ok_or_else(|| no_credentials("there is no source".into()))?;
        provider.provide_credentials().await.map(drop).map_err(|error| no_credentials(causes(&error)))
    }

    /// The region that a flow's requests go to.
    pub async fn region_name(&self, flow: &str, options: &Options) -> Result<String, ClientError> {
        Ok(self.region(flow, options).await?.to_string())
    }

    async fn region(&self, flow: &str, options: &Options) -> Result<Region, ClientError> {
        if let Some(region) = configured_region(options) {
            return Ok(region);
        }
        let profile = &options.credentials.profile;
        let mut defaults = self.default_regions.lock().await;
        if let Some(region) = defaults.get(profile) {
            return Ok(region.clone());
        }
        let config = loader(options.credentials.profile.as_deref(), connections(flow, &options.network)?);
        let region = config.load().await.region().cloned();
        let region = region.ok_or_else(|| no_region(flow, &options.destination))?;
        defaults.insert(profile.clone(), region.clone());
        Ok(region)
    }

    async fn shared_config(
        &self,
        flow: &str,
        options: &Options,
        region: &Region,
    ) -> Result<SdkConfig, ClientError> {
        let access = (options.credentials.clone(), options.network.clone());
        let mut shared = self.shared.lock().await;
        if let Some(shared) = shared.get(&access) {
            return Ok(shared.config.clone());
        }
        let http = connections(flow, &options.network)?;
        let config = load(options, http, region.clone(), self.report(&options.credentials)).await;
        shared.insert(access, Shared { config: config.clone(), built: Instant::now() });
        Ok(config)
    }
}

/// Connections of its own for who asks.
fn connections(flow: &str, network: &Network) -> Result<SharedHttpClient, ClientError> {
    http::client(network).map_err(|source| ClientError::Http { flow: flow.to_owned(), source })
}

/// The region that the configuration names, also in an ARN.
fn configured_region(options: &Options) -> Option<Region> {
    let arn_region = || match &options.destination {
        Destination::Kinesis(stream) if stream.starts_with("arn:") => stream.split(':').nth(3),
        _ => None,
    };
    options
        .region
        .as_deref()
        .or_else(arn_region)
        .filter(|region| !region.is_empty())
        .map(|region| Region::new(region.to_owned()))
}

fn no_region(flow: &str, destination: &Destination) -> ClientError {
    let key = match destination {
        Destination::Kinesis(_) => "kinesis.region",
        Destination::Firehose(_) => "firehose.region",
    };
    ClientError::NoRegion { flow: flow.to_owned(), destination: destination.clone(), key }
}

fn complete_key(flow: &str, credentials: &Credentials) -> Result<(), ClientError> {
    const NAMES: (&str, &str) = ("awsAccessKeyId", "awsSecretAccessKey");
    let (present, missing) = match (&credentials.access_key_id, &credentials.secret_access_key) {
        (Some(_), None) => NAMES,
        (None, Some(_)) => (NAMES.1, NAMES.0),
        _ => return Ok(()),
    };
    Err(ClientError::HalfKey { flow: flow.to_owned(), present, missing })
}

/// Finds out what the environment and the files of the profiles say.
fn loader(profile: Option<&str>, http: SharedHttpClient) -> aws_config::ConfigLoader {
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .app_name(AppName::new(APP_NAME).expect("the name consists of allowed characters"))
        .http_client(http)
        .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).build())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    match profile {
        Some(profile) => loader.profile_name(profile),
        None => loader,
    }
}

/// Credentials are not fetched yet, and nothing is asked of AWS.
async fn load(
    options: &Options,
    http: SharedHttpClient,
    region: Region,
    report: Arc<CredentialsReport>,
) -> SdkConfig {
    let Options { credentials, network, .. } = options;
    let profile = credentials.profile.as_deref();
    let mut loader = loader(profile, http.clone()).region(region.clone());
    if let Some(fips) = network.fips {
        loader = loader.use_fips(fips);
    }
    if let Some(dual_stack) = network.dual_stack {
        loader = loader.use_dual_stack(dual_stack);
    }
    if let (Some(id), Some(secret)) = (&credentials.access_key_id, &credentials.secret_access_key) {
        let keys = aws_credential_types::Credentials::new(id, secret, None, None, credentials::CONFIGURATION);
        loader = loader.credentials_provider(keys);
    } else if let Some(profile) = profile {
        // A profile that is named comes before what the environment holds.
        let settings = ProviderConfig::without_region()
            .with_region(Some(region))
            .with_http_client(http)
            .with_use_fips(network.fips)
            .with_use_dual_stack(network.dual_stack);
        let provider = ProfileFileCredentialsProvider::builder().profile_name(profile).configure(&settings);
        loader = loader.credentials_provider(provider.build());
    }
    let config = loader.load().await;
    let watched = |config, report, role| watched(config, report, role, credentials.profile.clone());
    let Some(role) = &credentials.assume_role_arn else { return watched(config, report, None) };
    // What the role is assumed with is told as a part of the role's own source.
    let base = Arc::<CredentialsReport>::default();
    let config = watched(config, base.clone(), None);
    let config = assume_role(config, role, credentials).await;
    watched(config, report, Some((role.clone(), base)))
}

/// Credentials from this configuration are noted in `report`. `role` is the role that they are
/// of, and the report of those that it is assumed with.
fn watched(
    config: SdkConfig,
    report: Arc<CredentialsReport>,
    role: Option<(String, Arc<CredentialsReport>)>,
    profile: Option<String>,
) -> SdkConfig {
    let Some(inner) = config.credentials_provider() else { return config };
    let provider = SharedCredentialsProvider::new(Watched { inner, report, role, profile });
    config.into_builder().credentials_provider(provider).build()
}

async fn assume_role(config: SdkConfig, role: &str, credentials: &Credentials) -> SdkConfig {
    let mut sts = config.to_builder();
    if let Some(url) = &credentials.sts_endpoint {
        sts.set_endpoint_url(Some(url.clone()));
    }
    let mut provider = AssumeRoleProvider::builder(role).session_name(APP_NAME).configure(&sts.build());
    if let Some(id) = &credentials.assume_role_external_id {
        provider = provider.external_id(id);
    }
    let provider = SharedCredentialsProvider::new(provider.build().await);
    config.into_builder().credentials_provider(provider).build()
}

#[cfg(test)]
mod tests;
