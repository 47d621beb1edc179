//! What the endpoint does next: a queue of steps, then a rule.
//!
//! Each valid request takes one step. When the queue is empty the rule decides, which is a
//! closure over the request; without one, everything is accepted.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::request::{Record, Request, Service};

type Which = Arc<dyn Fn(usize, &Record) -> bool + Send + Sync>;
type Rule = Box<dyn FnMut(&Request) -> Step + Send>;

#[derive(Clone)]
pub enum Step {
    Ok,
    /// The entries that the predicate names fail with the code, the others are stored.
    FailEntries(Which, &'static str),
    /// The call fails as a whole because of a rate limit, in the service's own way.
    Throttle,
    ServerError(u16, Body),
    /// Stores everything and answers `Ok` after a while.
    Latency(Duration),
    /// Never answers.
    Hang,
    /// Closes the connection without an answer, as a proxy without a backend does.
    CloseConnection,
    /// The connection is reset and nothing was stored.
    ResetBeforeStore,
    /// Everything was stored, but the answer is lost.
    ResetAfterStore,
    /// Everything was stored, but the connection ends in the middle of the answer.
    CutBody,
    /// Everything was stored, but the answer has one result less than there are entries.
    TooFewResults,
    TooManyResults,
    /// Everything was stored, but the answer is not JSON.
    BadJson,
    /// The call is refused with a JSON error.
    Error {
        status: u16,
        code: &'static str,
        prefixed: bool,
    },
}

/// What stands in the body of a server error, which often comes from a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    Empty,
    Html,
    Json,
}

impl Step {
    pub fn fail_where(
        code: &'static str,
        which: impl Fn(usize, &Record) -> bool + Send + Sync + 'static,
    ) -> Self {
        Step::FailEntries(Arc::new(which), code)
    }

    /// Every `n`th entry fails, beginning with the first.
    pub fn fail_every(n: usize, code: &'static str) -> Self {
        Step::fail_where(code, move |index, _| index % n == 0)
    }

    pub fn fail_all(code: &'static str) -> Self {
        Step::fail_where(code, |_, _| true)
    }

    /// A client error with the plain code in `__type`.
    pub fn error(code: &'static str) -> Self {
        Step::Error { status: 400, code, prefixed: false }
    }

    /// Whether something of the request is kept.
    pub fn stores(&self) -> bool {
        match self {
            Step::Ok
            | Step::FailEntries(..)
            | Step::Latency(_)
            | Step::ResetAfterStore
            | Step::CutBody
            | Step::TooFewResults
            | Step::TooManyResults
            | Step::BadJson => true,
            Step::Throttle
            | Step::ServerError(..)
            | Step::Hang
            | Step::CloseConnection
            | Step::ResetBeforeStore
            | Step::Error { .. } => false,
        }
    }

    /// The code with which an entry of this service is refused because of a rate limit.
    pub fn throttle_code(service: Service) -> &'static str {
        match service {
            Service::Kinesis => "ProvisionedThroughputExceededException",
            Service::Firehose => "ServiceUnavailableException",
        }
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Ok => write!(f, "Ok"),
            Step::FailEntries(_, code) => write!(f, "FailEntries({code})"),
            Step::Throttle => write!(f, "Throttle"),
            Step::ServerError(status, body) => write!(f, "ServerError({status}, {body:?})"),
            Step::Latency(time) => write!(f, "Latency({time:?})"),
            Step::Hang => write!(f, "Hang"),
            Step::CloseConnection => write!(f, "CloseConnection"),
            Step::ResetBeforeStore => write!(f, "ResetBeforeStore"),
            Step::ResetAfterStore => write!(f, "ResetAfterStore"),
            Step::CutBody => write!(f, "CutBody"),
            Step::TooFewResults => write!(f, "TooFewResults"),
            Step::TooManyResults => write!(f, "TooManyResults"),
            Step::BadJson => write!(f, "BadJson"),
            Step::Error { status, code, .. } => write!(f, "Error({status} {code})"),
        }
    }
}

#[derive(Default)]
pub struct Script {
    queue: VecDeque<Step>,
    rule: Option<Rule>,
}

impl Script {
    pub fn push(&mut self, steps: impl IntoIterator<Item = Step>) {
        self.queue.extend(steps);
    }

    pub fn then(&mut self, rule: impl FnMut(&Request) -> Step + Send + 'static) {
        self.rule = Some(Box::new(rule));
    }

    /// From now on everything is accepted.
    pub fn heal(&mut self) {
        *self = Script::default();
    }

    pub fn steps_left(&self) -> usize {
        self.queue.len()
    }

    pub fn next(&mut self, request: &Request) -> Step {
        match (self.queue.pop_front(), &mut self.rule) {
            (Some(step), _) => step,
            (None, Some(rule)) => rule(request),
            (None, None) => Step::Ok,
        }
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} then {}", self.queue, if self.rule.is_some() { "a rule" } else { "Ok" })
    }
}

#[test]
fn the_queue_comes_first_then_the_rule_until_all_is_healed() {
    let request = Request { service: Service::Kinesis, stream: "s".into(), records: vec![] };
    let mut script = Script::default();
    script.push([Step::Hang, Step::BadJson]);
    script.then(|_| Step::Throttle);
    let step = |script: &mut Script| format!("{:?}", script.next(&request));
    assert_eq!([0; 4].map(|_| step(&mut script)), ["Hang", "BadJson", "Throttle", "Throttle"]);
    script.heal();
    assert_eq!(step(&mut script), "Ok");
}
