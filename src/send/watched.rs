//! A provider of credentials that remembers, for the status, where the last ones came from and
//! when they expire. Otherwise it does what the provider in it does.

use std::sync::Arc;

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};

use crate::observe::credentials::{Seen, SeenCredentials};

#[derive(Debug)]
pub struct Watched {
    provider: SharedCredentialsProvider,
    seen: Arc<SeenCredentials>,
}

impl Watched {
    pub fn new(provider: SharedCredentialsProvider, seen: Arc<SeenCredentials>) -> Self {
        Watched { provider, seen }
    }
}

impl ProvideCredentials for Watched {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async move {
            let credentials = self.provider.provide_credentials().await?;
            let source = provider_name(&credentials).to_owned();
            self.seen.saw(Seen { source, expires_at: credentials.expiry() });
            Ok(credentials)
        })
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.provider.fallback_on_interrupt()
    }
}

/// The SDK tells it only in the debug text of the credentials, which holds no secret.
fn provider_name(credentials: &Credentials) -> String {
    let text = format!("{credentials:?}");
    let name = text.split_once("provider_name: \"").and_then(|(_, rest)| rest.split_once('"'));
    name.map_or_else(|| "unknown".to_owned(), |(name, _)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[tokio::test]
    async fn the_source_and_the_expiry_of_the_last_credentials_are_known() {
        let seen = Arc::new(SeenCredentials::default());
        let expiry = UNIX_EPOCH + Duration::from_secs(1_234_567_890);
        let credentials = Credentials::new("id", "secret", None, Some(expiry), "IMDSv2");
        let watched = Watched::new(SharedCredentialsProvider::new(credentials), seen.clone());
        assert_eq!(seen.last(), None);
        assert_eq!(watched.provide_credentials().await.unwrap().secret_access_key(), "secret");
        assert_eq!(seen.last(), Some(Seen { source: "IMDSv2".into(), expires_at: Some(expiry) }));
    }
}
