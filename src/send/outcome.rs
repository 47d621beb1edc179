//! What became of an entry, and of a request that failed as a whole: shaped by what the sender
//! does about it, not by what AWS calls it. Pure: codes and numbers in, classes out.
//!
//! The codes are those of the service models of Kinesis Data Streams and Firehose, the common
//! errors of AWS, and the tables by which the SDKs decide on their own retries. One rule above
//! all: what is not known is retried, since the data is safe on disk.

use std::time::Duration;

use super::shards::ShardId;

/// What became of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Delivered,
    /// Will be accepted later, as far as we know.
    Retry(Cause),
    /// Will not be accepted as it is.
    Rejected(Cause),
}

/// The answer to a request: for each of its entries what became of it, and the shard that took it
/// if the destination has shards and names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    pub outcomes: Vec<Outcome>,
    /// Empty, or one for each entry.
    pub shards: Vec<Option<ShardId>>,
    /// What the entries were compressed to. Bytes, without keys.
    pub compressed: Option<usize>,
}

impl From<Vec<Outcome>> for Answers {
    fn from(outcomes: Vec<Outcome>) -> Self {
        Answers { outcomes, shards: Vec::new(), compressed: None }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Because of a rate limit.
    pub throttled: bool,
    pub code: String,
    pub message: String,
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

/// A request that failed as a whole: nothing of it was accepted, as far as we know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub class: FailureClass,
    /// AWS's code for it, or one of our own in lower case.
    pub code: String,
    pub message: String,
}

impl Failure {
    /// An attempt that took longer than it may.
    pub fn no_answer_within(limit: Duration) -> Self {
        Failure {
            class: FailureClass::TimedOut,
            code: NO_ANSWER_IN_TIME.into(),
            message: format!("no answer within {} s", limit.as_secs()),
        }
    }

    /// Says where nobody answered, if the configuration names the place.
    pub fn of_endpoint(mut self, endpoint: Option<&str>) -> Self {
        if let (NETWORK | NO_ANSWER_IN_TIME, Some(endpoint)) = (self.code.as_str(), endpoint) {
            self.message.push_str(&format!(" (endpoint {endpoint})"));
        }
        self
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureClass {
    /// A rate limit.
    Throttled,
    /// Passes by itself: the network, a server's fault.
    Transient,
    /// No answer in time. Smaller requests may get through.
    TimedOut,
    /// Somebody has to mend it: credentials, permissions, a missing stream, a key.
    Waiting {
        /// Other credentials might be accepted.
        authentication: bool,
    },
    /// An entry of the request, or the request's size, is not allowed.
    Invalid,
    /// The answer does not have one result for each entry.
    WrongAnswer,
}

/// What the service says of one entry.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answer<'a> {
    /// A sequence number or a record id was given.
    pub accepted: bool,
    pub code: Option<&'a str>,
    pub message: Option<&'a str>,
}

/// One outcome for each of `sent` entries. The numbers of failures that the services count
/// themselves are not asked for: the answers of the entries are what counts.
pub fn outcomes<'a>(
    sent: usize,
    answers: impl ExactSizeIterator<Item = Answer<'a>>,
) -> Result<Vec<Outcome>, Failure> {
    if answers.len() != sent {
        return Err(Failure {
            class: FailureClass::WrongAnswer,
            code: WRONG_NUMBER.into(),
            message: format!("{} answers for {sent} entries", answers.len()),
        });
    }
    Ok(answers.map(outcome).collect())
}

fn outcome(answer: Answer<'_>) -> Outcome {
    let Some(code) = answer.code.map(short_code).filter(|code| !code.is_empty()) else {
        if answer.accepted {
            return Outcome::Delivered;
        }
        let message = "neither an error nor an id was returned for the entry".into();
        return Outcome::Retry(Cause { throttled: false, code: NO_ANSWER.into(), message });
    };
    let cause = Cause {
        throttled: THROTTLING.contains(&code),
        code: code.to_owned(),
        message: answer.message.unwrap_or_default().to_owned(),
    };
    match code {
        "InvalidArgumentException" => Outcome::Rejected(cause),
        _ => Outcome::Retry(cause),
    }
}

/// The class of a request that was answered with an error. `status` is HTTP's.
pub fn classify(status: u16, code: Option<&str>) -> FailureClass {
    let code = code.map(short_code).unwrap_or_default();
    if THROTTLING.contains(&code) || status == 429 {
        return FailureClass::Throttled;
    }
    if AUTHENTICATION.contains(&code) {
        return FailureClass::Waiting { authentication: true };
    }
    if WAITING.contains(&code) || code.starts_with("KMS") {
        return FailureClass::Waiting { authentication: false };
    }
    if TRANSIENT.contains(&code) || status >= 500 || status == 408 || (200..300).contains(&status) {
        return FailureClass::Transient;
    }
    if INVALID.contains(&code) || status == 413 {
        return FailureClass::Invalid;
    }
    FailureClass::Waiting { authentication: status == 401 || status == 403 }
}

/// The bare code: protocols write it as `com.amazonaws.kinesis#Code` or `Code:http://...`.
pub fn short_code(code: &str) -> &str {
    let code = code.rsplit_once('#').map_or(code, |(_, code)| code);
    code.split_once(':').map_or(code, |(code, _)| code)
}

/// Because of a rate limit.
const THROTTLING: &[&str] = &[
    "BandwidthLimitExceeded",
    "KMSThrottlingException",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "ServiceUnavailableException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
];

/// Fresh credentials may help, so after a while they are fetched anew.
const AUTHENTICATION: &[&str] = &[
    "AccessDenied",
    "AccessDeniedException",
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "NotAuthorized",
    "RequestExpired",
    "RequestInTheFuture",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "UnauthorizedException",
    "UnrecognizedClientException",
];

/// Somebody has to mend it. So is all else that begins with `KMS`.
const WAITING: &[&str] = &[
    "InvalidKMSResourceException",
    "InvalidSourceException",
    "OptInRequired",
    "ResourceInUseException",
    "ResourceNotFoundException",
    "SubscriptionRequiredException",
    "UnknownOperationException",
];

/// Faults of servers.
const TRANSIENT: &[&str] = &[
    "InternalError",
    "InternalFailure",
    "InternalFailureException",
    "InternalServerError",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "TransactionInProgressException",
];

/// What is not allowed.
const INVALID: &[&str] = &[
    "InvalidArgumentException",
    "InvalidParameterException",
    "InvalidParameterValue",
    "RequestEntityTooLargeException",
    "RequestTooLargeException",
    "SerializationException",
    "ValidationError",
    "ValidationException",
];

/// Codes of our own, which stand where the service gave none.
pub const NO_ANSWER: &str = "no answer";
pub const NO_ANSWER_IN_TIME: &str = "no answer in time";
pub const WRONG_NUMBER: &str = "wrong number of answers";
pub const NETWORK: &str = "network";
pub const NO_CREDENTIALS: &str = "no credentials";
pub const NO_REQUEST: &str = "request cannot be made";

const OURS: &[&str] = &[NO_ANSWER, NO_ANSWER_IN_TIME, WRONG_NUMBER, NETWORK, NO_CREDENTIALS, NO_REQUEST];

/// What may stand as a label for `code`: itself if it is known, else one of a few words, so that
/// a server cannot make up labels without end.
pub fn word(code: &str) -> &'static str {
    let known = [THROTTLING, AUTHENTICATION, WAITING, TRANSIENT, INVALID, OURS].into_iter().flatten();
    if let Some(known) = known.copied().find(|known| *known == code) {
        return known;
    }
    match code.strip_prefix("HTTP ").and_then(|status| status.parse().ok()) {
        Some(400..=499_u16) => "HTTP 4xx",
        Some(500..=599) => "HTTP 5xx",
        _ if code.starts_with("KMS") => "KMS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_network_did_names_the_endpoint_that_was_typed() {
        let failure = |code: &str| Failure {
            class: FailureClass::Transient,
            code: code.into(),
            message: "refused".into(),
        };
        let message = |code: &str, endpoint| failure(code).of_endpoint(endpoint).message;
        assert_eq!(message(NETWORK, Some("http://10.0.0.1")), "refused (endpoint http://10.0.0.1)");
        assert_eq!(message(NETWORK, None), "refused");
        assert_eq!(message("HTTP 503", Some("http://10.0.0.1")), "refused");
    }

    const AUTHENTICATION: FailureClass = FailureClass::Waiting { authentication: true };
    const WAITING: FailureClass = FailureClass::Waiting { authentication: false };

    fn check(class: FailureClass, cases: &[(u16, &str)]) {
        for &(status, code) in cases {
            assert_eq!(classify(status, Some(code)), class, "{status} {code}");
            let long = format!("com.amazonaws.kinesis.v20131202#{code}");
            assert_eq!(classify(status, Some(&long)), class, "{status} {long}");
            let with_url = format!("{code}:http://internal.amazon.com/coral/");
            assert_eq!(classify(status, Some(&with_url)), class, "{status} {with_url}");
        }
    }

    #[test]
    fn rate_limits_are_throttling() {
        check(
            FailureClass::Throttled,
            &[
                (400, "ProvisionedThroughputExceededException"),
                (400, "KMSThrottlingException"),
                (400, "ThrottlingException"),
                (400, "Throttling"),
                (400, "RequestLimitExceeded"),
                (400, "LimitExceededException"),
                (400, "TooManyRequestsException"),
                (429, ""),
                (429, "Whatever"),
                (503, "SlowDown"),
                (503, "ServiceUnavailableException"),
                (500, "ThrottlingException"),
            ],
        );
        assert_eq!(classify(429, None), FailureClass::Throttled);
    }

    #[test]
    fn faults_of_servers_pass() {
        check(
            FailureClass::Transient,
            &[
                (500, "InternalFailureException"),
                (500, "InternalFailure"),
                (400, "InternalFailure"),
                (503, "ServiceUnavailable"),
                (400, "RequestTimeout"),
                (400, "RequestTimeoutException"),
                (500, "ValidationException"),
                (502, ""),
                (599, "Unheard"),
                (408, ""),
            ],
        );
        for status in [200, 408, 500, 502, 503, 504] {
            assert_eq!(classify(status, None), FailureClass::Transient, "{status}");
        }
    }

    #[test]
    fn wrong_credentials_wait_and_ask_for_new_ones() {
        check(
            AUTHENTICATION,
            &[
                (400, "ExpiredTokenException"),
                (403, "ExpiredToken"),
                (400, "UnrecognizedClientException"),
                (400, "InvalidSignatureException"),
                (403, "IncompleteSignature"),
                (403, "SignatureDoesNotMatch"),
                (400, "MissingAuthenticationToken"),
                (403, "RequestExpired"),
                (403, "RequestTimeTooSkewed"),
                (400, "AccessDeniedException"),
                (403, "AccessDenied"),
                (403, "NewReasonToSayNo"),
                (401, ""),
            ],
        );
    }

    #[test]
    fn what_somebody_has_to_mend_waits_and_so_does_what_is_unknown() {
        check(
            WAITING,
            &[
                (400, "ResourceNotFoundException"),
                (400, "ResourceInUseException"),
                (400, "KMSDisabledException"),
                (400, "KMSInvalidStateException"),
                (400, "KMSAccessDeniedException"),
                (400, "KMSNotFoundException"),
                (400, "KMSOptInRequired"),
                (400, "InvalidKMSResourceException"),
                (400, "InvalidSourceException"),
                (400, "NobodyKnows"),
                (404, ""),
                (407, ""),
            ],
        );
        assert_eq!(classify(400, None), WAITING);
        assert_eq!(classify(302, None), WAITING);
    }

    #[test]
    fn refused_requests_are_invalid() {
        check(
            FailureClass::Invalid,
            &[
                (400, "ValidationException"),
                (400, "InvalidArgumentException"),
                (400, "SerializationException"),
                (413, ""),
                (413, "RequestEntityTooLargeException"),
            ],
        );
        assert_eq!(classify(413, None), FailureClass::Invalid);
    }

    #[test]
    fn the_answer_of_each_entry_counts() {
        let ok = Answer { accepted: true, ..Answer::default() };
        let failed = |code| Answer { code: Some(code), message: Some("why"), ..Answer::default() };
        let cause = |throttled, code: &str| Cause { throttled, code: code.into(), message: "why".into() };
        let answers = [
            ok,
            failed("ProvisionedThroughputExceededException"),
            failed("ServiceUnavailableException"),
            failed("InternalFailure"),
            failed("InvalidArgumentException"),
            failed("NobodyKnows"),
            Answer { accepted: true, ..failed("InternalFailure") },
            Answer { accepted: true, code: Some(""), message: None },
        ];
        let outcomes = outcomes(8, answers.into_iter()).unwrap();
        assert_eq!(
            outcomes,
            [
                Outcome::Delivered,
                Outcome::Retry(cause(true, "ProvisionedThroughputExceededException")),
                Outcome::Retry(cause(true, "ServiceUnavailableException")),
                Outcome::Retry(cause(false, "InternalFailure")),
                Outcome::Rejected(cause(false, "InvalidArgumentException")),
                Outcome::Retry(cause(false, "NobodyKnows")),
                Outcome::Retry(cause(false, "InternalFailure")),
                Outcome::Delivered,
            ]
        );
    }

    #[test]
    fn an_entry_without_any_answer_is_not_delivered() {
        let outcomes = outcomes(1, [Answer::default()].into_iter()).unwrap();
        assert!(matches!(&outcomes[..], [Outcome::Retry(cause)] if cause.code == "no answer"));
    }

    #[test]
    fn a_wrong_number_of_answers_fails_the_whole_request() {
        let ok = Answer { accepted: true, ..Answer::default() };
        for (sent, answered) in [(2, 1), (2, 3), (1, 0)] {
            let failure = outcomes(sent, vec![ok; answered].into_iter()).unwrap_err();
            assert_eq!(failure.class, FailureClass::WrongAnswer);
            assert_eq!(failure.message, format!("{answered} answers for {sent} entries"));
        }
    }

    #[test]
    fn labels_are_few_whatever_a_server_answers() {
        for code in ["ThrottlingException", "AccessDenied", "InternalFailure", "no answer in time"] {
            assert_eq!(word(code), code);
        }
        let others = [("HTTP 404", "HTTP 4xx"), ("HTTP 503", "HTTP 5xx"), ("HTTP 302", "other")];
        for (code, expected) in
            others.into_iter().chain([("KMSDisabledException", "KMS"), ("Made up", "other")])
        {
            assert_eq!(word(code), expected);
        }
    }
}
