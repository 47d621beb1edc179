//! A client that answers from a script, so that the sender can be tested with a paused clock.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::entry::Entry;
use super::outcome::{Answer, Answers, Failure, FailureClass, Outcome, outcomes};
use super::partition::Key;
use super::shards::OpenShard;

/// What the destination does with one request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Accepts all.
    Accept,
    /// Fails these entries with this code, and accepts the others.
    FailEntries(Vec<usize>, &'static str),
    Fail(FailureClass),
    /// One answer too few.
    TooFew,
    /// Never answers.
    Hang,
    /// Accepts all, so much later.
    Slow(Duration),
}

/// The rule: what is done with a request, by its number (from 0) and its payloads.
type Rule = dyn FnMut(usize, &[String]) -> Reply + Send;

#[derive(Clone)]
pub struct Scripted {
    state: Arc<Mutex<State>>,
}

struct State {
    rule: Box<Rule>,
    requests: Vec<Request>,
    running: usize,
    most_running: usize,
    renewals: Vec<Instant>,
    shards: Option<Vec<OpenShard>>,
}

#[derive(Clone, Debug)]
pub struct Request {
    pub at: Instant,
    pub keys: Vec<Key>,
    pub payloads: Vec<String>,
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scripted")
    }
}

impl Scripted {
    pub fn new(rule: impl FnMut(usize, &[String]) -> Reply + Send + 'static) -> Self {
        let state = State {
            rule: Box::new(rule),
            requests: Vec::new(),
            running: 0,
            most_running: 0,
            renewals: Vec::new(),
            shards: None,
        };
        Scripted { state: Arc::new(Mutex::new(state)) }
    }

    /// Gives these replies, then accepts all.
    pub fn replies(replies: impl IntoIterator<Item = Reply>) -> Self {
        let mut replies: VecDeque<_> = replies.into_iter().collect();
        Self::new(move |_, _| replies.pop_front().unwrap_or(Reply::Accept))
    }

    /// It tells these shards.
    pub fn with_shards(self, shards: Vec<OpenShard>) -> Self {
        self.state.lock().unwrap().shards = Some(shards);
        self
    }

    pub fn open_shards(&self) -> Option<Vec<OpenShard>> {
        self.state.lock().unwrap().shards.clone()
    }

    pub async fn put(&self, entries: &[Entry], keys: &[Key]) -> Result<Answers, Failure> {
        let payloads: Vec<_> =
            entries.iter().map(|entry| String::from_utf8(entry.to_vec()).expect("tests send text")).collect();
        let reply = {
            let mut state = self.state.lock().unwrap();
            let number = state.requests.len();
            let reply = (state.rule)(number, &payloads);
            state.requests.push(Request { at: Instant::now(), payloads, keys: keys.to_vec() });
            state.running += 1;
            state.most_running = state.most_running.max(state.running);
            reply
        };
        let _running = Running(self);
        let outcomes = answer(reply, entries.len()).await?;
        // Compression leaves a twentieth.
        let compressed = entries.iter().map(|entry| entry.size).sum::<usize>() / 20;
        Ok(Answers { compressed: Some(compressed), ..Answers::from(outcomes) })
    }

    pub fn renewed(&self) -> Self {
        self.state.lock().unwrap().renewals.push(Instant::now());
        self.clone()
    }

    pub fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap().requests.clone()
    }

    pub fn renewals(&self) -> usize {
        self.state.lock().unwrap().renewals.len()
    }

    pub fn most_running(&self) -> usize {
        self.state.lock().unwrap().most_running
    }
}

/// Ends with the request, also when it is abandoned.
struct Running<'a>(&'a Scripted);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap().running -= 1;
    }
}

async fn answer(reply: Reply, entries: usize) -> Result<Vec<Outcome>, Failure> {
    match reply {
        Reply::Accept => {}
        Reply::FailEntries(failed, code) => {
            let answers = (0..entries).map(|index| Answer {
                accepted: !failed.contains(&index),
                code: failed.contains(&index).then_some(code),
                message: None,
            });
            return outcomes(entries, answers);
        }
        Reply::Fail(class) => {
            return Err(Failure { class, code: format!("{class:?}"), message: "scripted".into() });
        }
        Reply::TooFew => return outcomes(entries, std::iter::repeat_n(Answer::default(), entries - 1)),
        Reply::Hang => std::future::pending().await,
        Reply::Slow(delay) => tokio::time::sleep(delay).await,
    }
    Ok(vec![Outcome::Delivered; entries])
}
