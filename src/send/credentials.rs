//! Tells where the credentials came from, while the SDK asks for them: a provider around the
//! real one that notes each answer in a report.
//!
//! The SDK resolves credentials when a request needs some and keeps the result itself; nothing
//! is cached here. What a source is called is decided here too, from the marks that the SDK's
//! providers leave on what they give.

use std::sync::Arc;

use aws_credential_types::Credentials;
use aws_credential_types::credential_feature::AwsCredentialFeature as Feature;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};

use super::failure::causes;
use crate::observe::CredentialsReport;
use crate::observe::credentials_report::FoundCredentials;

/// The source of keys that stand in the configuration; the SDK leaves no mark on those.
pub const CONFIGURATION: &str = "kinesis-agent configuration";

#[derive(Debug)]
pub struct Watched {
    pub inner: SharedCredentialsProvider,
    pub report: Arc<CredentialsReport>,
    /// The role whose credentials these are, and what is known of those that it is assumed with.
    pub role: Option<(String, Arc<CredentialsReport>)>,
    /// The profile that the configuration names.
    pub profile: Option<String>,
}

/// Notes that nobody waited for the answer any more: the SDK gives up after a few seconds, and
/// then simply drops what it asked for.
struct Patience<'a>(Option<&'a CredentialsReport>);

impl Drop for Patience<'_> {
    fn drop(&mut self) {
        if let Some(report) = self.0 {
            report.failed("the source of the credentials did not answer in time".into());
        }
    }
}

impl Watched {
    async fn credentials(&self) -> provider::Result {
        let mut patience = Patience(Some(&self.report));
        let result = self.inner.provide_credentials().await;
        patience.0 = None;
        match &result {
            Ok(credentials) => self.report.found(FoundCredentials {
                source: self.source(credentials),
                account: credentials.account_id().map(|account| account.as_str().to_owned()),
                expires_at: credentials.expiry(),
            }),
            Err(error) => self.report.failed(causes(error)),
        }
        result
    }

    fn source(&self, credentials: &Credentials) -> String {
        match &self.role {
            Some((role, base)) => match base.state().found {
                Some(found) => format!("assumed role {role}, by {}", found.source),
                None => format!("assumed role {role}"),
            },
            None => source(credentials, self.profile.as_deref(), &|name| std::env::var(name).ok()),
        }
    }
}

impl ProvideCredentials for Watched {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.inner.fallback_on_interrupt()
    }
}

/// What an operator calls the source of `credentials`.
fn source(credentials: &Credentials, profile: Option<&str>, env: &dyn Fn(&str) -> Option<String>) -> String {
    let none = Vec::new();
    let marks = credentials.get_property::<Vec<Feature>>().unwrap_or(&none);
    let marked = |feature: Feature| marks.contains(&feature);
    let set = |name: &str| env(name).filter(|value| !value.is_empty());
    if marked(Feature::CredentialsProfile) || marked(Feature::CredentialsProfileLogin) {
        let files =
            [("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"), ("AWS_CONFIG_FILE", "~/.aws/config")]
                .map(|(name, default)| set(name).unwrap_or_else(|| default.to_owned()));
        let name = profile.map(str::to_owned).or_else(|| set("AWS_PROFILE"));
        let name = name.unwrap_or_else(|| "default".to_owned());
        let how = match () {
            () if marked(Feature::CredentialsStsAssumeRole) => " (its role)",
            () if marked(Feature::CredentialsProfileStsWebIdToken) => " (its web identity)",
            () if marked(Feature::CredentialsProcess) => " (its credential_process)",
            () => "",
        };
        return format!("profile {name} in {} or {}{how}", files[0], files[1]);
    }
    match () {
        () if marked(Feature::CredentialsEnvVars) => "environment (AWS_ACCESS_KEY_ID)".to_owned(),
        // The SDK marks web identities from the environment and from a profile alike.
        () if marked(Feature::CredentialsProfileStsWebIdToken) => match set("AWS_ROLE_ARN") {
            Some(role) => format!("web identity for {role}"),
            None => "web identity".to_owned(),
        },
        () if marked(Feature::CredentialsHttp) => "container role".to_owned(),
        () if marked(Feature::CredentialsImds) => "instance role (IMDSv2)".to_owned(),
        () if marks.is_empty() => CONFIGURATION.to_owned(),
        () => "the SDK's default chain".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_credential_types::provider::error::CredentialsError;
    use std::time::{Duration, SystemTime};

    #[test]
    fn each_source_has_the_name_that_an_operator_knows() {
        let named = |marks: &[Feature], env: &[(&str, &str)]| {
            let mut credentials = Credentials::for_tests();
            if !marks.is_empty() {
                *credentials.get_property_mut_or_default::<Vec<Feature>>() = marks.to_vec();
            }
            let env =
                |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string());
            source(&credentials, None, &env)
        };
        assert_eq!(named(&[], &[]), "kinesis-agent configuration");
        assert_eq!(named(&[Feature::CredentialsEnvVars], &[]), "environment (AWS_ACCESS_KEY_ID)");
        let profile = "profile default in ~/.aws/credentials or ~/.aws/config";
        assert_eq!(named(&[Feature::CredentialsProfile], &[("AWS_PROFILE", "")]), profile);
        let env = [("AWS_PROFILE", "logs"), ("AWS_SHARED_CREDENTIALS_FILE", "/etc/keys")];
        assert_eq!(
            named(&[Feature::CredentialsStsAssumeRole, Feature::CredentialsProfile], &env),
            "profile logs in /etc/keys or ~/.aws/config (its role)"
        );
        let web = [("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/pod")];
        assert_eq!(
            named(&[Feature::CredentialsProfileStsWebIdToken], &web),
            "web identity for arn:aws:iam::123456789012:role/pod"
        );
        assert_eq!(named(&[Feature::CredentialsHttp], &[]), "container role");
        assert_eq!(named(&[Feature::CredentialsImds], &[]), "instance role (IMDSv2)");
        assert_eq!(named(&[Feature::CredentialsSso], &[]), "the SDK's default chain");
    }

    /// A source that answers once it is asked for the second time.
    #[derive(Debug, Default)]
    struct Hesitant(std::sync::atomic::AtomicBool);

    impl ProvideCredentials for Hesitant {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            if self.0.swap(true, std::sync::atomic::Ordering::Relaxed) {
                let error = CredentialsError::not_loaded("nothing there");
                return future::ProvideCredentials::ready(Err(error));
            }
            future::ProvideCredentials::new(std::future::pending())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_waits_for_is_an_error_too() {
        let report = Arc::<CredentialsReport>::default();
        let inner = SharedCredentialsProvider::new(Hesitant::default());
        let watched = Watched { inner, report: report.clone(), role: None, profile: None };
        let asked = tokio::time::timeout(Duration::from_secs(5), watched.provide_credentials()).await;
        assert!(asked.is_err());
        let text = || report.state().last_error.unwrap().text;
        assert_eq!(text(), "the source of the credentials did not answer in time");
        watched.provide_credentials().await.unwrap_err();
        assert!(text().contains("nothing there"), "{}", text());
    }

    #[tokio::test]
    async fn a_role_is_told_with_what_it_is_assumed_with() {
        let expiry = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
        let keys = Credentials::new("id", "secret", None, Some(expiry), "test");
        let base = Arc::<CredentialsReport>::default();
        let report = Arc::<CredentialsReport>::default();
        let role = Some(("arn:aws:iam::123456789012:role/writer".to_owned(), base.clone()));
        let watched = Watched {
            inner: SharedCredentialsProvider::new(keys),
            report: report.clone(),
            role,
            profile: None,
        };
        base.found(FoundCredentials { source: "container role".into(), account: None, expires_at: None });
        watched.provide_credentials().await.unwrap();
        let found = report.state().found.unwrap();
        assert_eq!(found.source, "assumed role arn:aws:iam::123456789012:role/writer, by container role");
        assert_eq!(found.expires_at, Some(expiry));
    }
}
