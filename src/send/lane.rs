//! The way to one destination, shared by all flows that send to it: which of its entries may go
//! where and when, and how many requests it has to answer at a time.
//!
//! The decisions are those of [`Spread`] and [`Controller`]; here is the clock, who waits, and the
//! task that asks a stream for its shards.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::clients::Client;
use super::controller::{Controller, Sign, Ticket};
use super::entry::Entry;
use super::limiter::Turn;
use super::options::{Address, Destination, Options, ShardLimits};
use super::outcome::{Answers, Failure, FailureClass, Outcome};
use super::partition::{self, Key};
use super::spread::{NoShards, Place, Spread, Verdict};
use super::squeeze::Squeeze;
use super::trouble::Trouble;

/// A stream that does not tell its shards in so much time is tried again later.
const TOLD_WITHIN: Duration = Duration::from_secs(10);

/// The first entries wait no longer for the shards.
const FIRST_WAIT: Duration = Duration::from_secs(3);

/// Where entries wait for their shards, more may be ready so much later, and share the request.
pub const GATHER: Duration = Duration::from_millis(20);

/// The lanes of the agent, for flows to find theirs.
#[derive(Debug, Default)]
pub struct Lanes(HashMap<(Address, ShardLimits), Arc<Lane>>);

impl Lanes {
    /// The lane that a flow with these options uses.
    pub fn of(&mut self, options: &Options) -> Arc<Lane> {
        let way = (options.address(), options.shard_limits);
        self.0.entry(way).or_insert_with(|| Lane::new(options)).clone()
    }
}

#[derive(Debug)]
pub struct Lane {
    destination: Destination,
    started: Instant,
    spread: Mutex<Spread>,
    /// The first question for the shards has been answered, or is not asked.
    first_told: watch::Sender<bool>,
    /// That the stream does not tell its shards.
    said: AtomicBool,
    requests: Mutex<Requests>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Requests {
    controller: Controller,
    /// The sum of what the flows allow themselves.
    most: usize,
    waiting: usize,
}

/// A flow uses the lane, with so many requests under way at most.
#[derive(Debug)]
pub struct Member {
    lane: Arc<Lane>,
    max_in_flight: usize,
}

/// What of some entries goes now.
#[derive(Debug, Default)]
pub struct Admission {
    /// For each entry that was looked at: where it goes, if it goes now.
    pub places: Vec<Option<Place>>,
    /// How long until the first of the others may go.
    pub wait: Option<Duration>,
}

/// How much may go in one request.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    pub entries: usize,
    /// Keys included.
    pub bytes: usize,
    /// Of each key. Bytes.
    pub key_bytes: usize,
    /// What of the entries their shards get.
    pub squeeze: Squeeze,
}

impl Room {
    /// For no more than so many entries of it.
    pub fn within(self, entries: usize) -> Room {
        Room { entries: self.entries.min(entries), ..self }
    }

    /// What an entry is charged with. Bytes.
    pub fn charge(&self, entry: &Entry) -> usize {
        self.squeeze.of(entry.size) + self.key_bytes
    }
}

impl Lane {
    pub fn new(options: &Options) -> Arc<Self> {
        let has_shards = matches!(options.destination, Destination::Kinesis(_));
        Arc::new(Lane {
            destination: options.destination.clone(),
            started: Instant::now(),
            spread: Mutex::new(Spread::new(has_shards, options.shard_limits, Duration::ZERO)),
            first_told: watch::channel(!has_shards).0,
            said: AtomicBool::new(false),
            requests: Mutex::default(),
            freed: Notify::new(),
        })
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// How many open shards are known; none without the permission to ask, or for a delivery
    /// stream.
    pub fn shards(&self) -> Option<usize> {
        self.spread.lock().unwrap().shards()
    }

    /// How many requests may be under way.
    pub fn request_limit(&self) -> usize {
        self.requests.lock().unwrap().controller.limit()
    }

    /// Which of `entries` go now, as many as one request holds.
    pub fn admit<'a>(
        &self,
        entries: impl IntoIterator<Item = &'a Entry>,
        room: Room,
        turn: Turn,
    ) -> Admission {
        let now = self.now();
        let mut spread = self.spread.lock().unwrap();
        let mut admission = Admission::default();
        let (mut count, mut bytes) = (0, 0);
        let mut none_is_ready = false;
        for entry in entries {
            let hash = entry.key.as_ref().map(|key| key.hash);
            if hash.is_none() && none_is_ready {
                admission.places.push(None);
                continue;
            }
            let size = entry.size + room.key_bytes;
            if count == room.entries || (count > 0 && bytes + size > room.bytes) {
                admission.wait = Some(Duration::ZERO);
                break;
            }
            let place = spread.admit(hash, room.charge(entry), turn, now);
            if let Err(wait) = place {
                none_is_ready |= hash.is_none();
                admission.wait = Some(admission.wait.map_or(wait, |soonest| soonest.min(wait)));
            } else {
                count += 1;
                bytes += size;
            }
            admission.places.push(place.ok());
        }
        admission
    }

    /// The key of each entry for one attempt; none for a delivery stream. In an aggregate an
    /// explicit hash key would cost two bytes of each record, so that for those a partition key is
    /// looked for whose own hash key goes to the shard.
    pub fn keys(&self, entries: &[Entry], places: &[Place], aggregates: bool) -> Vec<Key> {
        if matches!(self.destination, Destination::Firehose(_)) {
            return Vec::new();
        }
        let mut spread = self.spread.lock().unwrap();
        let key = |(entry, place): (&Entry, &Place)| match &entry.key {
            Some(fixed) => Key { partition: fixed.text.to_string(), explicit_hash: None },
            None if aggregates => Key { partition: key_to(&mut spread, *place), explicit_hash: None },
            None => Key {
                partition: partition::random(),
                explicit_hash: spread.hash_in(*place, fastrand::u128(..)),
            },
        };
        entries.iter().zip(places).map(key).collect()
    }

    /// What became of entries that went to these places. `outcomes` are theirs, or the failure of
    /// the whole request.
    pub fn answered(&self, sizes: &[usize], places: &[Place], answer: Result<&Answers, &Failure>) {
        let now = self.now();
        let mut spread = self.spread.lock().unwrap();
        for (at, (&place, &size)) in places.iter().zip(sizes).enumerate() {
            let verdict = match answer {
                Ok(answers) => match &answers.outcomes[at] {
                    Outcome::Delivered => Verdict::Accepted(answers.shards.get(at).copied().flatten()),
                    Outcome::Retry(cause) if cause.throttled => Verdict::Throttled,
                    Outcome::Retry(_) | Outcome::Rejected(_) => continue,
                },
                // A refusal of the whole request is no shard's.
                Err(failure) if failure.class == FailureClass::Throttled && place == Place::Anywhere => {
                    Verdict::Throttled
                }
                Err(_) => return,
            };
            spread.answered(place, size, verdict, now, fastrand::f64());
        }
    }

    /// Waits until the shards of a stream were asked for once, or that takes too long.
    pub async fn first_told(&self) {
        let mut told = self.first_told.subscribe();
        // The lane holds the other end.
        let _told_or_late = tokio::time::timeout(FIRST_WAIT, told.wait_for(|told| *told)).await;
    }

    /// Asks the stream for its shards if that is due.
    pub fn ask_if_due(self: &Arc<Self>, client: &Client) {
        if self.spread.lock().unwrap().should_ask(self.now()) {
            let (lane, client) = (self.clone(), client.clone());
            tokio::spawn(async move { lane.ask(&client).await });
        }
    }

    async fn ask(&self, client: &Client) {
        let answer = tokio::time::timeout(TOLD_WITHIN, client.open_shards()).await;
        let told = match answer {
            Ok(Ok(Some(shards))) => Ok(shards),
            Ok(Ok(None)) => Err(NoShards::Never(None)),
            Ok(Err(failure)) => Err(no_shards(&failure)),
            Err(_) => Err(NoShards::Now),
        };
        if let Err(NoShards::Never(Some(reason))) = &told {
            self.say_that_shards_are_not_told(reason);
        }
        let (new, shards) = {
            let mut spread = self.spread.lock().unwrap();
            (spread.told(told, self.now(), fastrand::f64()), spread.shards())
        };
        if new && let Some(shards) = shards {
            tracing::info!(destination = %self.destination, shards, "records are spread over these open shards");
        }
        self.first_told.send_replace(true);
    }

    /// Once: it stays so until somebody changes the permissions.
    fn say_that_shards_are_not_told(&self, reason: &str) {
        if !self.said.swap(true, Ordering::Relaxed) {
            tracing::warn!(destination = %self.destination, reason,
                "the stream does not tell its shards, so records are spread by random keys, and a shard that is \
                 throttled slows the whole stream; nothing is lost; allow kinesis:ListShards to have each shard \
                 limited by itself");
        }
    }

    /// Waits for the right to send one request.
    pub async fn begin_request(self: &Arc<Self>) -> Request {
        let _waiting = Waiting::new(self);
        loop {
            // It is told from now on, also of what is freed before it waits.
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            if let Some(ticket) = self.requests.lock().unwrap().controller.try_begin() {
                return Request { lane: self.clone(), ticket: Some(ticket), sign: Sign::None };
            }
            freed.await;
        }
    }

    /// A flow that uses the lane, with so many requests at most. It counts until it is dropped.
    pub fn join(self: &Arc<Self>, max_in_flight: usize) -> Member {
        self.requests.lock().unwrap().allow(max_in_flight.cast_signed());
        Member { lane: self.clone(), max_in_flight }
    }
}

impl Requests {
    fn allow(&mut self, more: isize) {
        self.most = self.most.saturating_add_signed(more);
        self.controller.set_most(self.most);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.lane.requests.lock().unwrap().allow(-self.max_in_flight.cast_signed());
    }
}

/// Somebody waits for a slot.
struct Waiting<'a>(&'a Lane);

impl<'a> Waiting<'a> {
    fn new(lane: &'a Lane) -> Self {
        lane.requests.lock().unwrap().waiting += 1;
        Waiting(lane)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.requests.lock().unwrap().waiting -= 1;
    }
}

/// One request that is under way, until it is dropped.
#[derive(Debug)]
pub struct Request {
    lane: Arc<Lane>,
    ticket: Option<Ticket>,
    sign: Sign,
}

impl Request {
    /// It came to this.
    pub fn end(mut self, sign: Sign) {
        self.sign = sign;
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let free = {
            let mut requests = self.lane.requests.lock().unwrap();
            let waiting = requests.waiting > 0;
            let ticket = self.ticket.take().expect("it ends once");
            requests.controller.end(ticket, self.sign, waiting);
            requests.controller.free().min(requests.waiting)
        };
        (0..free).for_each(|_| self.lane.freed.notify_one());
    }
}

/// A random partition key that goes to this place, as nearly always; else one that goes anywhere,
/// which is as good, only less even.
fn key_to(spread: &mut Spread, place: Place) -> String {
    let draw = || {
        let number = partition::random_number();
        (number, partition::hash(&partition::key_of(number)))
    };
    partition::key_of(spread.key_to(place, draw).unwrap_or_else(partition::random_number))
}

/// Whether it helps to ask again soon.
fn no_shards(failure: &Failure) -> NoShards {
    match Trouble::of(failure) {
        Trouble::Denied | Trouble::NotImplemented => NoShards::Never(Some(failure.to_string())),
        Trouble::Other
            if failure.class != FailureClass::Transient && failure.class != FailureClass::Throttled =>
        {
            NoShards::Never(Some(failure.to_string()))
        }
        _ => NoShards::Now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::send::scripted::Scripted;
    use crate::send::shards::{OpenShard, ShardId};
    use crate::send::testing::{entry, options};

    const ROOM: Room = Room { entries: 500, bytes: 1 << 20, key_bytes: 6, squeeze: Squeeze::NONE };

    /// A lane to a stream of so many shards of equal width, which are known.
    async fn lane(shards: u64) -> Arc<Lane> {
        let width = u128::MAX / u128::from(shards);
        let shard = |number: u64| {
            let start = width * u128::from(number);
            let end = if number + 1 == shards { u128::MAX } else { start + width - 1 };
            OpenShard { id: ShardId(number), hashes: start..=end }
        };
        let client = Scripted::replies([]).with_shards((0..shards).map(shard).collect());
        let lane = Lane::new(&options());
        lane.ask_if_due(&Client::Scripted(client));
        lane.first_told().await;
        assert_eq!(lane.shards(), Some(shards as usize));
        lane
    }

    #[tokio::test(start_paused = true)]
    async fn the_key_of_an_aggregate_goes_to_its_shard_by_itself() {
        let lane = lane(1000).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let entries: Vec<Entry> = (0..50).map(|_| entry(&[b"x"])).collect();
        let admission = lane.admit(&entries, ROOM, Turn::Fresh);
        let places: Vec<Place> = admission.places.into_iter().flatten().collect();
        assert_eq!(places.len(), 50);
        for (aggregates, explicit) in [(true, false), (false, true)] {
            for (key, place) in lane.keys(&entries, &places, aggregates).iter().zip(&places) {
                assert_eq!(key.explicit_hash.is_some(), explicit);
                let hash = key.explicit_hash.unwrap_or_else(|| partition::hash(&key.partition));
                let shard = (hash / (u128::MAX / 1000)).min(999);
                assert_eq!(*place, Place::Shard(ShardId(shard as u64)));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_holds_no_more_than_it_may() {
        let lane = lane(1).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let entries: Vec<Entry> = (0..10).map(|_| entry(&[&[b'x'; 94]])).collect();
        for (room, admitted) in [
            (Room { entries: 3, ..ROOM }, 3),
            (Room { bytes: 250, ..ROOM }, 2),
            (Room { bytes: 1, ..ROOM }, 1),
        ] {
            let admission = lane.admit(&entries, room, Turn::Fresh);
            assert_eq!((admission.places.len(), admission.wait), (admitted, Some(Duration::ZERO)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn flows_share_the_slots_of_their_destination() {
        let lane = Lane::new(&options());
        let (first, _second) = (lane.join(1), lane.join(1));
        let (one, two) = (lane.begin_request().await, lane.begin_request().await);
        let waits = tokio::spawn({
            let lane = lane.clone();
            async move { lane.begin_request().await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!waits.is_finished());
        drop(one);
        let three = waits.await.unwrap();
        drop((two, three, first));
        assert_eq!(lane.request_limit(), 1);
    }
}
