//! Asks a destination, before anything is sent to it, whether it would take a flow's records:
//! with which credentials, in which state it is, and whether they are allowed to put. Nothing is
//! stored by it.
//!
//! Every question has a time-out and is asked at most twice, so that an inquiry ends soon
//! whatever the network does.

use std::time::{Duration, SystemTime};

use super::clients::{Client, ClientError, Clients};
use super::kinesis::{Kinesis, Permission};
use super::options::{Aggregation, Destination, Options};
use super::outcome::{Failure, FailureClass};
use super::trouble::Trouble;
use crate::observe::finding::{Finding, Grade};

/// For one question; the sources of credentials are asked one after the other by the SDK, and
/// some are slow to say that they are not there.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);
const RESOLVED_WITHIN: Duration = Duration::from_secs(10);

const CREDENTIALS: &str = "credentials";
const REGION: &str = "region";
const STREAM: &str = "stream";
const PERMISSION: &str = "permission";

/// All that a flow's destination says, or why it cannot be asked.
pub async fn inquire(clients: &Clients, flow: &str, options: &Options) -> Vec<Finding> {
    // Without a region in the configuration the instance's metadata may be asked for one.
    let made =
        async { Ok((clients.client(flow, options).await?, clients.region_name(flow, options).await?)) };
    let (client, region) = match tokio::time::timeout(RESOLVED_WITHIN, made).await {
        Ok(Ok(made)) => made,
        Ok(Err(error)) => return vec![Finding::failed(REGION, ClientError::to_string(&error))],
        Err(_) => {
            return vec![Finding::failed(REGION, Failure::no_answer_within(RESOLVED_WITHIN).to_string())];
        }
    };
    let mut findings = vec![credentials(clients, flow, options, &region).await];
    if findings[0].grade == Grade::Failed {
        return findings;
    }
    match &client {
        Client::Kinesis(kinesis) => findings.extend(of_kinesis(kinesis, &region).await),
        Client::Firehose(firehose) => {
            let packs = options.aggregation == Aggregation::Lines;
            match asked(|| firehose.describe()).await {
                Ok(description) => {
                    findings.extend(description.findings(packs));
                    let text = "firehose:PutRecordBatch cannot be tried without sending a record";
                    findings.push(Finding::note(PERMISSION, text));
                }
                Err(failure) => {
                    let put = "firehose:PutRecordBatch";
                    findings.push(not_described(&failure, "firehose:DescribeDeliveryStream", put, &region));
                }
            }
        }
        // Nobody is there to be asked.
        Client::DryRun(_) => {}
        #[cfg(test)]
        Client::Scripted(_) => {}
    }
    findings
}

async fn credentials(clients: &Clients, flow: &str, options: &Options, region: &str) -> Finding {
    let resolved = tokio::time::timeout(RESOLVED_WITHIN, clients.resolve(flow, options)).await;
    let resolved = resolved.unwrap_or_else(|_| Err(Failure::no_answer_within(RESOLVED_WITHIN)));
    if let Err(failure) = resolved {
        let action = "sts:AssumeRole (and trust in the role's own policy)";
        return Finding::failed(CREDENTIALS, explained(&failure, Trouble::of(&failure), action, region));
    }
    let Some(found) = clients.report(&options.credentials).state().found else {
        return Finding::failed(CREDENTIALS, "none were found");
    };
    let account = found.account.map(|account| format!(", account {account}")).unwrap_or_default();
    let text = format!("{}{account}", found.source);
    match found.expires_at.map(|at| at.duration_since(SystemTime::now())) {
        Some(Err(_)) => Finding::failed(CREDENTIALS, format!("{text}: they have expired")),
        Some(Ok(left)) => Finding::good(
            CREDENTIALS,
            format!("{text}, to be renewed within {} min", left.as_secs().div_ceil(60)),
        ),
        None => Finding::good(CREDENTIALS, text),
    }
}

async fn of_kinesis(kinesis: &Kinesis, region: &str) -> Vec<Finding> {
    const PUT: &str = "kinesis:PutRecords";
    let mut findings = Vec::new();
    match asked(|| kinesis.describe()).await {
        Ok(description) => findings.extend(description.findings()),
        Err(failure) => {
            findings.push(not_described(&failure, "kinesis:DescribeStreamSummary", PUT, region));
            if Trouble::of(&failure).is_final() {
                return findings;
            }
        }
    }
    findings.push(match asked(|| kinesis.may_put()).await {
        Ok(Permission::Granted) => {
            Finding::good(PERMISSION, format!("{PUT} is allowed (AWS's own dry run says so)"))
        }
        Ok(Permission::NotAsked) => Finding::note(
            PERMISSION,
            format!("{PUT} was not tried: the endpoint is not AWS's own, and might store the record"),
        ),
        Err(failure) => Finding::failed(PERMISSION, explained(&failure, Trouble::of(&failure), PUT, region)),
    });
    findings
}

/// A destination that does not describe itself may take records all the same, if what is lacking
/// is only the permission to ask.
fn not_described(failure: &Failure, action: &str, put: &str, region: &str) -> Finding {
    let trouble = Trouble::of(failure);
    match trouble {
        Trouble::Denied => Finding::warning(
            STREAM,
            format!(
                "{failure}; {action} is needed for this check alone: {put} may be allowed, and that is all \
                 that the agent needs to deliver"
            ),
        ),
        Trouble::NotImplemented => Finding::warning(STREAM, explained(failure, trouble, action, region)),
        _ => Finding::failed(STREAM, explained(failure, trouble, action, region)),
    }
}

fn explained(failure: &Failure, trouble: Trouble, action: &str, region: &str) -> String {
    format!("{failure}; {}", trouble.cure(action, region))
}

/// The answer to a question, which is asked again if that may help.
async fn asked<T, A>(question: impl Fn() -> A) -> Result<T, Failure>
where
    A: Future<Output = Result<T, Failure>>,
{
    match answer(question()).await {
        Err(failure) if passes(&failure) => answer(question()).await,
        answer => answer,
    }
}

async fn answer<T>(question: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let answer = tokio::time::timeout(ANSWERED_WITHIN, question).await;
    answer.unwrap_or_else(|_| Err(Failure::no_answer_within(ANSWERED_WITHIN)))
}

fn passes(failure: &Failure) -> bool {
    matches!(failure.class, FailureClass::Throttled | FailureClass::Transient | FailureClass::TimedOut)
}

/// How long a record the stream behind `client` takes, partition key included. None if it does
/// not say, or not within `patience`, or is no stream; nobody needs the permission for it.
pub async fn max_record_bytes(client: &Client, patience: Duration) -> Option<usize> {
    let Client::Kinesis(kinesis) = client else { return None };
    match tokio::time::timeout(patience, kinesis.describe()).await {
        // Less than what AWS always takes is no answer of AWS.
        Ok(Ok(description)) => description.max_record_bytes.filter(|bytes| *bytes >= 1 << 20),
        Ok(Err(failure)) => {
            tracing::debug!(error = %failure, "the stream does not say how long a record may be");
            None
        }
        Err(_) => None,
    }
}

/// Who a flow sends to, for a headline.
pub fn headline(options: &Options) -> String {
    let service = match &options.destination {
        Destination::Kinesis(_) => "Data Stream",
        Destination::Firehose(_) => "Firehose",
    };
    let endpoint = options.endpoint.as_ref().map(|url| format!(" at {url}")).unwrap_or_default();
    format!("{service} {}{endpoint}", options.destination.name())
}
