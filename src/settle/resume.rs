//! Decides at start which stored tails belong to which flow, and since when a flow exists.
//!
//! A flow is known by its key. The rows of a key that is no longer configured are taken over
//! by a flow of the same destination that matches their files, so that a flow that was renamed
//! or whose pattern was changed goes on where it was. Pure; the store reads and writes.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::file::{KnownTail, TailId};

/// A configured flow, as far as it matters for what was stored.
pub struct FlowIdentity {
    pub key: String,
    /// What the keys of all flows to the same destination begin with.
    pub destination_prefix: String,
    /// Whether the flow takes over a file that no configured flow has.
    pub matches: Matches,
}

pub type Matches = Box<dyn Fn(&Path) -> bool + Send>;

impl fmt::Debug for FlowIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlowIdentity").field("key", &self.key).finish_non_exhaustive()
    }
}

/// What a flow goes on from.
#[derive(Clone, Debug, PartialEq)]
pub struct Resumed {
    pub known: Vec<KnownTail>,
    /// Files whose last write is older are subject to the initial position. It is the epoch
    /// when the agent starts over, so that there are none.
    pub first_start: SystemTime,
    /// The flow was never started before: all files are subject to the initial position.
    pub is_first: bool,
}

/// What is in the database.
#[derive(Debug, Default)]
pub struct Stored {
    /// With the keys of their flows.
    pub tails: Vec<(String, KnownTail)>,
    /// Milliseconds since the epoch.
    pub first_starts: BTreeMap<String, i64>,
    pub start_over: bool,
}

/// What each flow gets (in the order of the flows), and what must be written first.
#[derive(Debug, PartialEq)]
pub struct Plan {
    pub resumed: Vec<Resumed>,
    /// Rows with the index of the flow that takes them over.
    pub adopted: Vec<(TailId, usize)>,
    /// Milliseconds since the epoch, for each flow.
    pub first_starts: Vec<i64>,
}

pub fn plan(stored: Stored, flows: &[FlowIdentity], now: SystemTime) -> Plan {
    let own: BTreeMap<&str, usize> =
        flows.iter().enumerate().rev().map(|(i, flow)| (flow.key.as_str(), i)).collect();
    let mut firsts: Vec<Option<i64>> =
        flows.iter().map(|flow| stored.first_starts.get(&flow.key).copied()).collect();
    let mut known = vec![Vec::new(); flows.len()];
    let mut adopted = Vec::new();
    for (key, tail) in stored.tails {
        if let Some(&flow) = own.get(key.as_str()) {
            known[flow].push(tail);
            continue;
        }
        let adopts =
            |flow: &FlowIdentity| key.starts_with(&flow.destination_prefix) && (flow.matches)(&tail.path);
        let Some(flow) = flows.iter().position(adopts) else { continue };
        if let Some(&older) = stored.first_starts.get(&key) {
            firsts[flow] = Some(firsts[flow].map_or(older, |first| first.min(older)));
        }
        adopted.push((tail.tail, flow));
        known[flow].push(tail);
    }
    let fallback = if stored.start_over { 0 } else { millis(now) };
    let first_starts: Vec<i64> = firsts.iter().map(|first| first.unwrap_or(fallback)).collect();
    let resumed = known.into_iter().enumerate().map(|(flow, known)| Resumed {
        known,
        first_start: UNIX_EPOCH + Duration::from_millis(first_starts[flow].max(0).unsigned_abs()),
        is_first: firsts[flow].is_none() && !stored.start_over,
    });
    Plan { resumed: resumed.collect(), adopted, first_starts }
}

/// Milliseconds since the epoch; 0 for a clock that stands before it.
pub fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::{Identity, TailState};

    fn tail(id: u64, path: &str) -> KnownTail {
        KnownTail {
            tail: TailId(id),
            path: path.into(),
            identity: Identity::default(),
            offset: id,
            anchors: Vec::new(),
            size: id,
            modified_millis: 0,
            state: TailState::Live,
        }
    }

    fn at(millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(millis)
    }

    #[test]
    fn a_renamed_flow_takes_over_the_files_it_matches_for_the_same_destination() {
        let stored = Stored {
            tails: vec![
                ("kinesis:s old".into(), tail(1, "/a/x.log")),
                ("kinesis:s old".into(), tail(2, "/b/x.log")),
                ("kinesis:other old".into(), tail(3, "/a/y.log")),
                ("kinesis:s kept".into(), tail(4, "/a/z.log")),
            ],
            first_starts: [("kinesis:s old".to_string(), 500), ("kinesis:s kept".to_string(), 700)].into(),
            start_over: false,
        };
        let flow = |key: &str| FlowIdentity {
            key: key.into(),
            destination_prefix: "kinesis:s ".into(),
            matches: Box::new(|path| path.starts_with("/a")),
        };
        let plan = plan(stored, &[flow("kinesis:s new"), flow("kinesis:s kept")], at(900));
        let ids = |flow: usize| plan.resumed[flow].known.iter().map(|tail| tail.tail.0).collect::<Vec<_>>();
        assert_eq!((ids(0), ids(1)), (vec![1], vec![4]));
        assert_eq!(plan.adopted, [(TailId(1), 0)]);
        assert_eq!(plan.first_starts, [500, 700]);
        assert_eq!((plan.resumed[0].first_start, plan.resumed[0].is_first), (at(500), false));
    }

    #[test]
    fn a_flow_starts_for_the_first_time_unless_the_agent_starts_over() {
        let flows =
            [FlowIdentity { key: "k".into(), destination_prefix: "k".into(), matches: Box::new(|_| true) }];
        let first = plan(Stored::default(), &flows, at(900));
        assert_eq!((first.resumed[0].first_start, first.resumed[0].is_first), (at(900), true));
        let over = plan(Stored { start_over: true, ..Stored::default() }, &flows, at(900));
        assert_eq!((over.resumed[0].first_start, over.resumed[0].is_first), (at(0), false));
        assert_eq!(over.first_starts, [0]);
    }
}
