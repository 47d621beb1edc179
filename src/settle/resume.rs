//! Decides at start which stored tails belong to which flow, and since when a flow exists.
//!
//! A flow is known by its key. The rows of a key that is no longer configured are taken over
//! by a flow of the same destination that matches their files, so that a flow that was renamed
//! or whose pattern was changed goes on where it was. So are those that the flow with their key
//! does not match any more, where names or files were moved between flows. Rows that a flow let
//! go and nobody takes are kept for whoever matches their files later. Pure; the store reads and
//! writes.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::file::{KnownTail, TailId};

/// A configured flow, as far as it matters for what was stored.
pub struct FlowIdentity {
    pub key: String,
    /// What the keys of all flows to the same destination begin with.
    pub destination_prefix: String,
    /// It does not run yet. One that runs has looked at its files already: it keeps what it has
    /// and takes nothing over.
    pub begins: bool,
    /// Whether the file is one of the flow's, or was rotated from one.
    pub matches: Matches,
    /// Whether the configuration took the file from the flow. A file that the flow only does not
    /// match may be one that a link led to, and is read to its end.
    pub lets_go: Matches,
}

pub type Matches = Box<dyn Fn(&KnownTail) -> bool + Send>;

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
pub struct Stored<T> {
    /// With the keys of their flows. There may be very many, so that they come one by one.
    pub tails: T,
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
    /// Rows that belong to no flow from now on, with the index of the flow that let them go.
    pub let_go: Vec<(TailId, usize)>,
    /// Milliseconds since the epoch, for each flow.
    pub first_starts: Vec<i64>,
}

pub fn plan(
    stored: Stored<impl IntoIterator<Item = (Arc<str>, KnownTail)>>,
    flows: &[FlowIdentity],
    now: SystemTime,
) -> Plan {
    let Stored { tails, first_starts: stored_starts, start_over } = stored;
    let own: BTreeMap<&str, usize> =
        flows.iter().enumerate().rev().map(|(i, flow)| (flow.key.as_str(), i)).collect();
    let of_flow = |key: &str| own.get(key).copied();
    let mut firsts: Vec<Option<i64>> =
        flows.iter().map(|flow| stored_starts.get(&flow.key).copied()).collect();
    let mut known = vec![Vec::new(); flows.len()];
    let (mut adopted, mut let_go) = (Vec::new(), Vec::new());
    // Most often there are none that their flows do not keep.
    let mut open = Vec::new();
    for (key, tail) in tails {
        let keeps = |&own: &usize| !flows[own].begins || (flows[own].matches)(&tail);
        match of_flow(&key).filter(keeps) {
            Some(flow) => known[flow].push(tail),
            None => open.push((key, tail)),
        }
    }
    let rows = if open.is_empty() { HashSet::new() } else { rows(flows, &known, &open) };
    for (key, tail) in open {
        let adopts = |flow: &FlowIdentity| {
            flow.begins
                && key.starts_with(&flow.destination_prefix)
                && !rows.contains(&(flow.key.clone(), tail.path.clone()))
                && (flow.matches)(&tail)
        };
        let own = of_flow(&key);
        let taker = flows.iter().position(adopts);
        let stays = own.filter(|&own| taker.is_none() && !(flows[own].lets_go)(&tail));
        match (stays, taker, own) {
            (Some(flow), ..) => known[flow].push(tail),
            (None, Some(flow), _) => {
                if let Some(&older) = stored_starts.get(&*key) {
                    firsts[flow] = Some(firsts[flow].map_or(older, |first| first.min(older)));
                }
                adopted.push((tail.tail, flow));
                known[flow].push(tail);
            }
            (None, None, Some(flow)) => let_go.push((tail.tail, flow)),
            (None, None, None) => {}
        }
    }
    let fallback = if start_over { 0 } else { millis(now) };
    let first_starts: Vec<i64> = firsts.iter().map(|first| first.unwrap_or(fallback)).collect();
    let resumed = known.into_iter().enumerate().map(|(flow, known)| Resumed {
        known,
        first_start: UNIX_EPOCH + Duration::from_millis(first_starts[flow].max(0).unsigned_abs()),
        is_first: firsts[flow].is_none() && !start_over,
    });
    Plan { resumed: resumed.collect(), adopted, let_go, first_starts }
}

/// The paths of all rows, with the keys of their flows.
fn rows(
    flows: &[FlowIdentity],
    kept: &[Vec<KnownTail>],
    open: &[(Arc<str>, KnownTail)],
) -> HashSet<(String, Arc<Path>)> {
    let kept = flows
        .iter()
        .zip(kept)
        .flat_map(|(flow, tails)| tails.iter().map(|tail| (flow.key.clone(), tail.path.clone())));
    kept.chain(open.iter().map(|(key, tail)| (key.to_string(), tail.path.clone()))).collect()
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
            path: Path::new(path).into(),
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
        let plan = plan(stored, &[flow("kinesis:s new", "/a"), flow("kinesis:s kept", "/a")], at(900));
        assert_eq!(ids(&plan), [vec![1], vec![4]]);
        assert_eq!(plan.adopted, [(TailId(1), 0)]);
        assert_eq!(plan.first_starts, [500, 700]);
        assert_eq!((plan.resumed[0].first_start, plan.resumed[0].is_first), (at(500), false));
    }

    /// It matches what is below `folder`.
    fn flow(key: &str, folder: &'static str) -> FlowIdentity {
        FlowIdentity {
            key: key.into(),
            destination_prefix: "kinesis:s ".into(),
            begins: true,
            matches: Box::new(move |tail| tail.path.starts_with(folder)),
            lets_go: Box::new(|_| false),
        }
    }

    fn ids(plan: &Plan) -> Vec<Vec<u64>> {
        let of = |resumed: &Resumed| resumed.known.iter().map(|tail| tail.tail.0).collect();
        plan.resumed.iter().map(of).collect()
    }

    fn stored(tails: &[(&str, u64, &str)]) -> Stored<Vec<(Arc<str>, KnownTail)>> {
        let tails = tails.iter().map(|(key, id, path)| ((*key).into(), tail(*id, path)));
        Stored { tails: tails.collect(), ..Stored::default() }
    }

    #[test]
    fn files_that_were_moved_between_flows_keep_their_positions() {
        let rows = [("kinesis:s a", 1, "/a/x.log"), ("kinesis:s b", 2, "/b/x.log")];
        let swapped = plan(stored(&rows), &[flow("kinesis:s a", "/b"), flow("kinesis:s b", "/a")], at(900));
        assert_eq!(ids(&swapped), [[2], [1]]);
        assert_eq!(swapped.adopted, [(TailId(1), 1), (TailId(2), 0)]);
        let runs = FlowIdentity { begins: false, ..flow("kinesis:s b", "/a") };
        let kept = plan(stored(&rows), &[flow("kinesis:s a", "/b"), runs], at(900));
        assert_eq!((ids(&kept), kept.adopted), (vec![vec![1], vec![2]], vec![]));
    }

    #[test]
    fn a_file_that_two_flows_follow_is_not_taken_from_one() {
        let rows = [("kinesis:s link", 1, "/a/x.log"), ("kinesis:s real", 2, "/a/x.log")];
        let plan =
            plan(stored(&rows), &[flow("kinesis:s link", "/l"), flow("kinesis:s real", "/a")], at(900));
        assert_eq!((ids(&plan), plan.adopted), (vec![vec![1], vec![2]], vec![]));
    }

    #[test]
    fn what_a_flow_lets_go_waits_for_one_that_matches_it() {
        let lets_go = || FlowIdentity { lets_go: Box::new(|_| true), ..flow("kinesis:s a", "/a") };
        let rows = [("kinesis:s a", 1, "/a/x.log"), ("kinesis:s a", 2, "/b/x.log")];
        let narrowed = plan(stored(&rows), &[lets_go()], at(900));
        assert_eq!((ids(&narrowed), narrowed.let_go), (vec![vec![1]], vec![(TailId(2), 0)]));
        let split = plan(stored(&rows), &[lets_go(), flow("kinesis:s b", "/b")], at(900));
        assert_eq!((ids(&split), split.let_go), (vec![vec![1], vec![2]], vec![]));
        let parked = [("kinesis:s ", 2, "/b/x.log")];
        let widened = plan(stored(&parked), &[flow("kinesis:s a", "/")], at(900));
        assert_eq!((ids(&widened), widened.adopted), (vec![vec![2]], vec![(TailId(2), 0)]));
    }

    #[test]
    fn a_flow_starts_for_the_first_time_unless_the_agent_starts_over() {
        let flows = [flow("k", "/")];
        let first = plan(stored(&[]), &flows, at(900));
        assert_eq!((first.resumed[0].first_start, first.resumed[0].is_first), (at(900), true));
        let over = plan(Stored { start_over: true, ..stored(&[]) }, &flows, at(900));
        assert_eq!((over.resumed[0].first_start, over.resumed[0].is_first), (at(0), false));
        assert_eq!(over.first_starts, [0]);
    }
}
