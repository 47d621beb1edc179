//! Turns the errors of the SDK into a [`Failure`]: which of the layers below the service failed,
//! and what the service said if it answered. The classes are decided in `outcome`.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::outcome::{self, Failure, FailureClass, classify, short_code};

impl<E> From<SdkError<E, HttpResponse>> for Failure
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        let (class, code) = match &error {
            SdkError::ServiceError(answer) => return answered(answer.raw().status().as_u16(), answer.err()),
            SdkError::ResponseError(answer) => return unreadable(answer.raw(), &error),
            SdkError::TimeoutError(_) => (FailureClass::Transient, outcome::NETWORK.to_owned()),
            _ if no_credentials(&error) => {
                (FailureClass::Waiting { authentication: true }, outcome::NO_CREDENTIALS.to_owned())
            }
            SdkError::DispatchFailure(_) => (FailureClass::Transient, outcome::NETWORK.to_owned()),
            _ => (FailureClass::Waiting { authentication: false }, outcome::NO_REQUEST.to_owned()),
        };
        Failure { class, code, message: causes(&error) }
    }
}

fn answered<E: ProvideErrorMetadata + Error + 'static>(status: u16, error: &E) -> Failure {
    let code = error.code().map(short_code).filter(|code| !code.is_empty());
    Failure {
        class: classify(status, code),
        code: code.map_or_else(|| format!("HTTP {status}"), str::to_owned),
        message: match (error.message(), code) {
            (Some(message), _) => one_line(message),
            (None, Some(_)) => "the service says no more".to_owned(),
            (None, None) => causes(error),
        },
    }
}

/// An answer that is not of the service's form: it may come from something in between, whose
/// words are then the best that we have.
fn unreadable(answer: &HttpResponse, error: &(dyn Error + 'static)) -> Failure {
    let status = answer.status();
    let words = answer.body().bytes().filter(|body| !status.is_success() && !body.is_empty());
    Failure {
        class: classify(status.as_u16(), None),
        code: format!("HTTP {}", status.as_u16()),
        message: words.map_or_else(|| causes(error), excerpt),
    }
}

/// The beginning of a body, on one line.
fn excerpt(body: &[u8]) -> String {
    const LONGEST: usize = 200;
    String::from_utf8_lossy(&body[..body.len().min(LONGEST)]).escape_debug().to_string()
}

/// The messages of an error and of what caused it, without the debug output that the SDK's own
/// display adds.
pub(super) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for cause in chain(error) {
        let message = one_line(&cause.to_string());
        if !text.contains(&message) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&message);
        }
    }
    text
}

/// Some messages are laid out for a terminal; in a log they would be many entries.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub(super) fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// The request was never sent because there was nothing to sign it with. The SDK's own
/// time-out of the credentials chain has a private type, so it is known by its message.
fn no_credentials(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(|cause| {
        cause.is::<CredentialsError>() || cause.to_string().starts_with("identity resolver timed out")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_however_it_is_laid_out() {
        let error = std::io::Error::other("no profile\n  was found:\r\n\t* none");
        assert_eq!(causes(&error), "no profile was found: * none");
    }
}
