//! What the send stage of one flow is told to do.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use regex::bytes::Regex;

#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    pub destination: Destination,
    pub region: Option<String>,
    /// A URL that replaces AWS's own.
    pub endpoint: Option<String>,
    pub credentials: Credentials,
    pub network: Network,
    pub aggregation: Aggregation,
    /// How large an entry of several records may become, with its partition key, or before it is
    /// compressed. Bytes.
    pub aggregation_max_bytes: usize,
    /// How many records an entry may hold.
    pub aggregation_max_records: Option<u32>,
    /// Not with [`Aggregation::Kpl`].
    pub compression: Option<Compression>,
    pub partition_key: PartitionKey,
    /// One entry of each key is under way at a time; records without a key have that of their file.
    pub in_order: bool,
    pub shard_limits: ShardLimits,
    pub max_batch_entries: usize,
    /// Counts payloads and partition keys, before base64. Bytes.
    pub max_batch_bytes: usize,
    /// A batch leaves when its oldest record has waited this long.
    pub max_age: Duration,
    pub flush: Flush,
    pub retry_initial_backoff: Duration,
    pub retry_max_backoff: Duration,
    /// Requests under way at a time.
    pub max_in_flight: usize,
}

/// A destination with all that decides which one of that name it is: what one place accepts says
/// nothing of another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    destination: Destination,
    region: Option<String>,
    endpoint: Option<String>,
    credentials: Credentials,
}

impl Options {
    pub fn address(&self) -> Address {
        Address {
            destination: self.destination.clone(),
            region: self.region.clone(),
            endpoint: self.endpoint.clone(),
            credentials: self.credentials.clone(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// A stream's name, or its ARN.
    Kinesis(String),
    /// A delivery stream's name.
    Firehose(String),
}

impl Destination {
    pub fn name(&self) -> &str {
        match self {
            Destination::Kinesis(name) | Destination::Firehose(name) => name,
        }
    }
}

impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Destination::Kinesis(name) => write!(f, "kinesis:{name}"),
            Destination::Firehose(name) => write!(f, "firehose:{name}"),
        }
    }
}

/// Where credentials come from; without keys and profile, the SDK's default chain.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// A profile of the AWS files, and no other source.
    pub profile: Option<String>,
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<String>,
    pub assume_role_arn: Option<String>,
    pub assume_role_external_id: Option<String>,
    pub sts_endpoint: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("profile", &self.profile)
            .field("access_key_id", &self.access_key_id)
            .field("secret_access_key", &self.secret_access_key.as_ref().map(|_| "***"))
            .field("assume_role_arn", &self.assume_role_arn)
            .finish_non_exhaustive()
    }
}

/// The way to AWS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Network {
    pub proxy: Proxy,
    /// Certificates (PEM) that are trusted beside those of the host. None: what
    /// `AWS_CA_BUNDLE` names, if it names one.
    pub ca_bundle: Option<PathBuf>,
    /// Without them the environment and the profile decide.
    pub fips: Option<bool>,
    pub dual_stack: Option<bool>,
}

#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub enum Proxy {
    /// As `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` say.
    #[default]
    Environment,
    Never,
    Url {
        /// May hold a password.
        url: String,
        /// Hosts, domains and networks that are reached without it, with commas.
        except: String,
    },
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Proxy::Environment => f.write_str("Environment"),
            Proxy::Never => f.write_str("Never"),
            Proxy::Url { url, except } => {
                write!(f, "Url({}, except {except:?})", url.rsplit('@').next().unwrap_or_default())
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregation {
    /// An entry is one record.
    None,
    /// An entry is complete lines, each with its newline.
    Lines,
    /// An entry is records in the aggregated format of the Kinesis Producer Library.
    Kpl,
}

/// What is done with the bytes of each entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    Gzip,
    Zstd,
}

/// When a batch leaves before it is full or old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flush {
    #[default]
    Aged,
    /// As soon as a request slot is free.
    Eager,
}

/// What this agent may put into one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ShardLimits {
    pub bytes_per_second: u64,
    pub records_per_second: u64,
}

impl Default for ShardLimits {
    /// AWS: 1 MB and 1,000 records a second.
    fn default() -> Self {
        ShardLimits { bytes_per_second: 1_000_000, records_per_second: 1000 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartitionKey {
    /// Drawn anew at each attempt.
    Random,
    /// The MD5 of the entry's own bytes, as lower-case hex digits.
    Deterministic,
    /// The path of the file: that under which it was first found.
    File,
    /// The name of this host.
    Host,
    Value(Arc<str>),
    /// A field of each record, which is a JSON object.
    Field(Arc<str>),
    Capture(Capture),
}

/// The first group of a pattern that is looked for in each record.
#[derive(Clone, Debug)]
pub struct Capture(pub Regex);

impl PartialEq for Capture {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Capture {}
