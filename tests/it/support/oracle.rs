//! The promises, checked against what was written and what the endpoint was sent.
//!
//! No invention: everything that was delivered was written. No loss: every complete line that
//! the script asks for was delivered. Few repeats: nothing twice, where nothing went wrong.
//! Order: within a request, the lines of a file's life stand in the order of the file.
//! It uses no code of the product, and it is given nothing but bytes.

use std::collections::HashMap;
use std::fmt;
use std::io::Read as _;
use std::time::Duration;

use bytes::Bytes;
use ruzstd::decoding::StreamingDecoder;

use super::endpoint::Call;
use super::{Endpoint, World, eventually, kpl};

/// How many lines a failure shows.
const SHOWN_LINES: usize = 5;
const SHOWN_CALLS: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A record is one line with its newline.
    LinePerRecord,
    /// A record is any number of lines, each with its newline.
    Packed,
    /// A record is a line, or an aggregate of such records.
    Kpl,
    /// A record is packed lines as a gzip member,
    Gzip,
    /// or as a Zstandard frame.
    Zstd,
}

impl Shape {
    /// What a consumer makes of a record.
    fn open(self, data: &Bytes) -> Vec<Bytes> {
        let mut opened = Vec::new();
        match self {
            Shape::LinePerRecord | Shape::Packed => return vec![data.clone()],
            Shape::Kpl => return kpl::unpack(data),
            Shape::Gzip => flate2::read::GzDecoder::new(&data[..]).read_to_end(&mut opened),
            Shape::Zstd => StreamingDecoder::new(&data[..]).expect("a frame").read_to_end(&mut opened),
        }
        .expect("the record can be decompressed");
        vec![opened.into()]
    }

    fn is_a_line_each(self) -> bool {
        matches!(self, Shape::LinePerRecord | Shape::Kpl)
    }
}

/// Whether a line may have been delivered more often than it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeats {
    None,
    Allowed,
}

#[derive(Debug)]
pub struct Oracle {
    shape: Shape,
    lines: HashMap<Bytes, Tally>,
    /// Demanded lines that were not delivered yet.
    open: usize,
    journal_seen: usize,
    excuses_seen: u64,
    calls_seen: usize,
    /// Records that are not of the shape.
    misshapen: Vec<Bytes>,
}

/// What is known of one content. Lines of the same content cannot be told apart.
#[derive(Debug, Default)]
struct Tally {
    written: usize,
    demanded: usize,
    delivered: usize,
    /// The life that the first such line stands in, and its place in the journal.
    place: Option<(usize, usize)>,
    /// The first, whether it was stored or not.
    attempted: Option<Attempt>,
}

/// A call, and the place of a line in it.
type Attempt = (usize, usize);

impl Tally {
    fn open(&self) -> usize {
        self.demanded.saturating_sub(self.delivered)
    }
}

/// What was counted when the promises were found to be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub written: usize,
    pub delivered: usize,
    pub repeated: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} written, {} delivered, {} repeated", self.written, self.delivered, self.repeated)
    }
}

impl Oracle {
    pub fn new(shape: Shape) -> Self {
        Oracle {
            shape,
            lines: HashMap::new(),
            open: 0,
            journal_seen: 0,
            excuses_seen: 0,
            calls_seen: 0,
            misshapen: Vec::new(),
        }
    }

    /// Waits until every line that the script asks for is stored.
    #[track_caller]
    pub fn wait_for_all(&mut self, world: &World, endpoint: &Endpoint, deadline: Duration) {
        eventually("every line is delivered", deadline, || {
            endpoint.assert_no_violations();
            self.look(world, endpoint);
            if self.open == 0 { Ok(()) } else { Err(self.describe_progress(world, endpoint)) }
        });
    }

    /// How many demanded lines are not delivered yet.
    pub fn missing(&mut self, world: &World, endpoint: &Endpoint) -> usize {
        self.look(world, endpoint);
        self.open
    }

    /// How often the line was stored, as of the last look.
    pub fn deliveries(&self, line: &Bytes) -> usize {
        self.lines.get(line).map_or(0, |tally| tally.delivered)
    }

    /// Checks all promises on what has happened so far.
    #[track_caller]
    pub fn check(&mut self, world: &World, endpoint: &Endpoint, repeats: Repeats) -> Counts {
        self.look(world, endpoint);
        endpoint.assert_no_violations();
        assert!(self.open == 0, "lost: {}", self.describe_missing(world));
        let odd = shown(self.misshapen.iter());
        assert!(self.misshapen.is_empty(), "{} records are not one line: {odd}", self.misshapen.len());
        self.check_invention(world);
        self.check_order(world);
        let counts = self.counts();
        if repeats == Repeats::None {
            let twice = self.lines.iter().filter(|(_, tally)| tally.delivered > tally.written.max(1));
            assert!(counts.repeated == 0, "{counts}: {}", shown(twice.map(|(line, _)| line)));
        }
        counts
    }

    /// No line was attempted for the first time only after a later line of its file was
    /// answered. Holds where the script lets no request fail.
    #[track_caller]
    pub fn check_order_between_calls(&mut self, world: &World, endpoint: &Endpoint) {
        self.look(world, endpoint);
        let calls = endpoint.calls();
        for attempts in self.attempts_by_life().values() {
            let mut answered_first = None;
            for &(index, (call, _)) in attempts.iter().rev() {
                if let Some((answered, later)) = answered_first {
                    let line = |index: usize| text(&world.journal().lines[index].bytes);
                    let in_order = calls[call].received <= answered;
                    assert!(in_order, "{} was attempted after {} was answered", line(index), line(later));
                }
                let answered = calls[call].answered.map(|answered| (answered, index));
                answered_first = [answered_first, answered].into_iter().flatten().min();
            }
        }
    }

    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for tally in self.lines.values() {
            counts.written += tally.written;
            counts.delivered += tally.delivered;
            counts.repeated += tally.delivered.saturating_sub(tally.written.max(1));
        }
        counts
    }

    /// Takes in what was written and sent since the last look.
    fn look(&mut self, world: &World, endpoint: &Endpoint) {
        let first = self.calls_seen;
        // What is delivered was written before, so the calls are fetched first.
        let calls = endpoint.look_at_calls(first, <[Call]>::to_vec);
        self.look_at_journal(world);
        for (index, call) in calls.iter().enumerate() {
            self.look_at_call(first + index, call);
        }
        self.calls_seen += calls.len();
    }

    fn look_at_journal(&mut self, world: &World) {
        let journal = world.journal();
        for (index, line) in journal.lines.iter().enumerate().skip(self.journal_seen) {
            let tally = self.lines.entry(line.bytes.clone()).or_default();
            tally.written += 1;
            tally.place.get_or_insert((line.life, index));
            self.open -= tally.open();
            tally.demanded += usize::from(!line.excused);
            self.open += tally.open();
        }
        self.journal_seen = journal.lines.len();
        if self.excuses_seen != journal.excuses {
            self.excuses_seen = journal.excuses;
            self.lines.values_mut().for_each(|tally| tally.demanded = 0);
            for line in journal.lines.iter().filter(|line| !line.excused) {
                self.lines.entry(line.bytes.clone()).or_default().demanded += 1;
            }
            self.open = self.lines.values().map(Tally::open).sum();
        }
    }

    fn look_at_call(&mut self, call: usize, seen: &Call) {
        let mut position = 0;
        for (record, data) in seen
            .records
            .iter()
            .flat_map(|record| self.shape.open(&record.data).into_iter().map(move |data| (record, data)))
        {
            let pieces = pieces(&data);
            if self.shape.is_a_line_each() && pieces.len() != 1 {
                self.misshapen.push(data.clone());
            }
            for piece in pieces {
                position += 1;
                let tally = self.lines.entry(piece).or_default();
                tally.attempted.get_or_insert((call, position));
                self.open -= tally.open();
                tally.delivered += usize::from(record.stored);
                self.open += tally.open();
            }
        }
    }

    fn check_invention(&self, world: &World) {
        let journal = world.journal();
        let rests: Vec<&[u8]> = journal.unterminated().collect();
        let invented = |(line, tally): &(&Bytes, &Tally)| {
            let rest = line.strip_suffix(b"\n").unwrap_or(line);
            tally.written == 0 && !rests.contains(&rest)
        };
        let foreign: Vec<_> = self.lines.iter().filter(invented).map(|(line, _)| line).collect();
        let lines = shown(foreign.iter().copied());
        assert!(foreign.is_empty(), "{} delivered lines were never written: {lines}", foreign.len());
    }

    fn check_order(&self, world: &World) {
        for (life, attempts) in self.attempts_by_life() {
            let mut last = HashMap::new();
            for (index, (call, position)) in attempts {
                let before = last.insert(call, (position, index));
                let Some((earlier, other)) = before.filter(|(before, _)| *before > position) else {
                    continue;
                };
                let line = |index: usize| text(&world.journal().lines[index].bytes);
                panic!(
                    "life {life}, request {call}: {} (at {earlier}) stands behind {} (at {position})",
                    line(other),
                    line(index)
                );
            }
        }
    }

    /// For each life, its lines in the order of the file, each with its first attempt.
    /// Lines that cannot be told apart are left out.
    fn attempts_by_life(&self) -> HashMap<usize, Vec<(usize, Attempt)>> {
        let mut lives: HashMap<usize, Vec<_>> = HashMap::new();
        for tally in self.lines.values().filter(|tally| tally.written == 1) {
            if let (Some((life, index)), Some(attempt)) = (tally.place, tally.attempted) {
                lives.entry(life).or_default().push((index, attempt));
            }
        }
        lives.values_mut().for_each(|attempts| attempts.sort_unstable());
        lives
    }

    fn describe_progress(&self, world: &World, endpoint: &Endpoint) -> String {
        let calls = endpoint.call_count();
        let last = endpoint.look_at_calls(calls.saturating_sub(SHOWN_CALLS), |calls| {
            let call = |call: &Call| format!("\n  {} records, {}", call.records.len(), call.step);
            calls.iter().map(call).collect::<String>()
        });
        format!("{}\nthe last of {calls} calls:{last}", self.describe_missing(world))
    }

    fn describe_missing(&self, world: &World) -> String {
        let journal = world.journal();
        let is_open = |line: &&super::world::Line| !line.excused && self.lines[&line.bytes].open() > 0;
        let lines = shown(journal.lines.iter().filter(is_open).map(|line| &line.bytes));
        let log = super::agent_process::log_file(world);
        format!("{} of {} lines: {lines}\nthe agent's log: {}", self.open, journal.lines.len(), log.display())
    }
}

/// The lines of a record. The newline belongs to its line.
fn pieces(data: &Bytes) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    let mut start = 0;
    for newline in memchr::memchr_iter(b'\n', data) {
        pieces.push(data.slice(start..=newline));
        start = newline + 1;
    }
    if start < data.len() || data.is_empty() {
        pieces.push(data.slice(start..));
    }
    pieces
}

fn text(line: &[u8]) -> String {
    format!("\"{}\"", line[..line.len().min(80)].escape_ascii())
}

fn shown<'a>(lines: impl Iterator<Item = &'a Bytes>) -> String {
    lines.take(SHOWN_LINES).map(|line| format!("\n  {}", text(line))).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::support::request::{Record, Service};

    /// What an agent that sends the given calls would have reached.
    fn oracle(world: &World, shape: Shape, calls: &[&[&str]]) -> Oracle {
        let mut oracle = Oracle::new(shape);
        oracle.look_at_journal(world);
        for (index, records) in calls.iter().enumerate() {
            let record = |text: &&str| Record {
                key: None,
                data: Bytes::copy_from_slice(text.as_bytes()),
                stored: true,
            };
            let call = Call {
                service: Service::Firehose,
                stream: "s".to_owned(),
                records: records.iter().map(record).collect(),
                received: Instant::now(),
                answered: Some(Instant::now()),
                step: "Ok".to_owned(),
            };
            oracle.look_at_call(index, &call);
        }
        oracle
    }

    fn world() -> World {
        let world = World::new();
        world.append("a.log", "one\ntwo\nthree\nhalf");
        world
    }

    #[test]
    fn all_promises_are_kept_by_a_faithful_agent() {
        let (world, endpoint) = (world(), Endpoint::start());
        let mut kept = oracle(&world, Shape::Packed, &[&["one\ntwo\n"], &["three\nhalf\n"]]);
        let counts = kept.check(&world, &endpoint, Repeats::None);
        assert_eq!(counts, Counts { written: 3, delivered: 4, repeated: 0 });
    }

    #[test]
    #[should_panic(expected = "lost: 1 of 3 lines: \n  \"two\\n\"")]
    fn a_lost_line_is_named() {
        let (world, endpoint) = (world(), Endpoint::start());
        oracle(&world, Shape::Packed, &[&["one\nthree\n"]]).check(&world, &endpoint, Repeats::Allowed);
    }

    #[test]
    #[should_panic(expected = "never written: \n  \"tw\"")]
    fn an_invented_line_is_named() {
        let (world, endpoint) = (world(), Endpoint::start());
        let calls: &[&[&str]] = &[&["one\ntwo\nthree\n", "tw"]];
        oracle(&world, Shape::Packed, calls).check(&world, &endpoint, Repeats::Allowed);
    }

    #[test]
    #[should_panic(expected = "1 repeated: \n  \"one\\n\"")]
    fn a_repeated_line_is_named_where_none_is_allowed() {
        let (world, endpoint) = (world(), Endpoint::start());
        let calls: &[&[&str]] = &[&["one\ntwo\n", "three\n"], &["one\n"]];
        let mut repeated = oracle(&world, Shape::Packed, calls);
        assert_eq!(repeated.check(&world, &endpoint, Repeats::Allowed).repeated, 1);
        repeated.check(&world, &endpoint, Repeats::None);
    }

    #[test]
    #[should_panic(expected = "\"two\\n\" (at 3) stands behind \"three\\n\" (at 2)")]
    fn lines_in_the_wrong_order_are_named() {
        let (world, endpoint) = (world(), Endpoint::start());
        let calls: &[&[&str]] = &[&["one\n", "three\n", "two\n"]];
        oracle(&world, Shape::Packed, calls).check(&world, &endpoint, Repeats::None);
    }

    #[test]
    #[should_panic(expected = "1 records are not one line")]
    fn two_lines_in_a_record_that_should_be_one_are_noticed() {
        let (world, endpoint) = (world(), Endpoint::start());
        let calls: &[&[&str]] = &[&["one\n", "two\nthree\n"]];
        oracle(&world, Shape::LinePerRecord, calls).check(&world, &endpoint, Repeats::None);
    }

    #[test]
    fn an_excused_line_may_be_missing_and_the_same_line_twice_is_asked_for_twice() {
        let (world, endpoint) = (World::new(), Endpoint::start());
        let first = world.append("a.log", "gone\n");
        world.append("a.log", "banner\n");
        world.append("b.log", "banner\n");
        let mut waiting = oracle(&world, Shape::Packed, &[&["banner\n"]]);
        assert_eq!(waiting.missing(&world, &endpoint), 2);
        world.excuse(first);
        assert_eq!(waiting.missing(&world, &endpoint), 1);
        let mut done = oracle(&world, Shape::Packed, &[&["banner\n", "banner\n"]]);
        done.check(&world, &endpoint, Repeats::None);
    }
}
