//! Turns the chunks of all tails of a flow into outputs that tile each tail without a gap:
//! header lines are left out, lines or events become blocks, and lines that are too long
//! become what the configuration wants.
//!
//! Pure: it is given the time, and what it makes is appended to a list. It does not wait; the
//! task around it does when too much is copied. Header lines are only given out once all of
//! them were seen, so that a restart in the middle of a header begins with the header again.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use memchr::memchr_iter;

use super::block::{Block, FilterReason, Output, Shape};
use super::copies::Copies;
use super::frame::{Frame, LineEnd, Run};
use super::long_line::{LongLine, Rules, with_newline};
use super::multiline::Events;
use super::options::Options;
use super::zeros::{self, Part};
use crate::file::{Chunk, ChunkEnd, Settled, Span, TailEvent, TailId};

/// A limit below this could not keep the characters of a line that is cut whole.
const SMALLEST_LIMIT: usize = 8;

#[derive(Debug)]
pub struct Recorder {
    options: Options,
    /// No record is longer. Bytes.
    limit: usize,
    pending: usize,
    copies: Arc<Copies>,
    tails: HashMap<TailId, Tail>,
    /// When the events that are held back are sent if nothing more comes.
    due: BTreeSet<(Duration, TailId)>,
    tally: Tally,
}

/// What was counted since the last [`Recorder::take_tally`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Header lines.
    pub filtered: u64,
    /// Lines that were longer than a record may be.
    pub oversized: u64,
    /// The file of the last of them.
    pub oversized_in: Option<Arc<Path>>,
    /// Bytes that a power cut left zeros of.
    pub zeroed: u64,
    /// The file of the last of them.
    pub zeroed_in: Option<Arc<Path>>,
}

#[derive(Debug, Default)]
struct Tail {
    path: Option<Arc<Path>>,
    header: Option<Header>,
    /// The line that is too long and goes on in the next chunk.
    long: Option<LongLine>,
    events: Events,
    due: Option<Duration>,
}

impl Tail {
    fn held(&self) -> usize {
        self.events.pending() + self.long.as_ref().map_or(0, LongLine::held)
    }
}

/// The header lines that are still to come, and what was seen of the header.
#[derive(Debug)]
struct Header {
    lines: u64,
    seen: Option<Settled>,
}

impl Recorder {
    /// `pending_limit` bounds the bytes of events that wait for more lines, over all tails, until
    /// the [copies](Self::copies) are given another limit. An event is cut where it is exceeded,
    /// so it should be a few times the largest event.
    pub fn new(options: Options, pending_limit: usize) -> Self {
        Recorder {
            limit: options.max_record_bytes.max(SMALLEST_LIMIT),
            options,
            pending: 0,
            copies: Arc::new(Copies::new(pending_limit)),
            tails: HashMap::new(),
            due: BTreeSet::new(),
            tally: Tally::default(),
        }
    }

    /// What is copied and not yet settled: what is held back here, and what is on its way.
    pub fn copies(&self) -> &Arc<Copies> {
        &self.copies
    }

    /// What is held back of tails whose next chunk may complete it. Bytes.
    pub fn pending(&self) -> usize {
        self.pending
    }

    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// `now` is the time since some start; it must not go back.
    pub fn push(&mut self, event: TailEvent, now: Duration, out: &mut Vec<Output>) {
        match event {
            TailEvent::Opened { tail, path, start } => self.open(tail, path, start),
            TailEvent::Chunk { chunk, end, caught_up } => {
                let mut tail = self.take_tail(chunk.tail);
                self.chunk(&mut tail, &chunk, end, out);
                if caught_up && tail.events.pending() > 0 {
                    tail.due = self.options.multi_line.as_ref().map(|events| now + events.flush_after);
                }
                self.put_tail(chunk.tail, tail);
                self.bound_pending(out);
            }
            TailEvent::Followed { tail } => self.flush(tail, out),
            TailEvent::Ended { tail } => {
                let ended = self.take_tail(tail);
                end(ended, out);
            }
        }
    }

    /// When [`Recorder::tick`] has something to do if nothing is pushed before.
    pub fn deadline(&self) -> Option<Duration> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Sends the events whose tails were quiet for long enough.
    pub fn tick(&mut self, now: Duration, out: &mut Vec<Output>) {
        while let Some((due, id)) = self.due.first().copied()
            && due <= now
        {
            self.flush(id, out);
        }
    }

    /// Drops what is held back, at shutdown. It was never given out, so it is not settled
    /// either, and the next start reads it again, with the lines that may have followed.
    pub fn finish(&mut self) {
        self.tails.clear();
        self.due.clear();
        self.pending = 0;
    }

    /// Reading begins at `start`, whatever was seen before: what was held back of the tail
    /// is unsettled, so it lies behind `start` and comes again.
    fn open(&mut self, id: TailId, path: Arc<Path>, start: u64) {
        self.take_tail(id);
        let header = (start == 0 && self.options.skip_header_lines > 0)
            .then_some(Header { lines: self.options.skip_header_lines, seen: None });
        self.put_tail(id, Tail { path: Some(path), header, ..Tail::default() });
    }

    fn take_tail(&mut self, id: TailId) -> Tail {
        let mut tail = self.tails.remove(&id).unwrap_or_default();
        self.pending -= tail.held();
        if let Some(due) = tail.due.take() {
            self.due.remove(&(due, id));
        }
        tail
    }

    fn put_tail(&mut self, id: TailId, tail: Tail) {
        self.pending += tail.held();
        if let Some(due) = tail.due {
            self.due.insert((due, id));
        }
        self.tails.insert(id, tail);
    }

    fn flush(&mut self, id: TailId, out: &mut Vec<Output>) {
        let mut tail = self.take_tail(id);
        tail.events.flush(out);
        self.put_tail(id, tail);
    }

    /// Sends the largest pending events until half of the bound is free again.
    fn bound_pending(&mut self, out: &mut Vec<Output>) {
        if self.pending <= self.copies.limit() {
            return;
        }
        let mut sizes: Vec<(usize, TailId)> =
            self.tails.iter().map(|(id, tail)| (tail.events.pending(), *id)).collect();
        sizes.sort_unstable();
        while self.pending > self.copies.limit() / 2 {
            let Some((_, largest)) = sizes.pop() else { return };
            self.flush(largest, out);
        }
    }

    fn chunk(&mut self, tail: &mut Tail, chunk: &Chunk, end: ChunkEnd, out: &mut Vec<Output>) {
        let at = self.skip_header(tail, chunk, end, out);
        let at = self.go_on(tail, chunk, at, end, out);
        let Recorder { options, limit, copies, tally, .. } = self;
        let rules = Rules { options, limit: *limit, copies };
        let bytes = chunk.bytes();
        for part in zeros::parts(&bytes, at, chunk.span.start) {
            let range = match part {
                Part::Text(range) => range,
                Part::Zeros(range) => {
                    tally.zeroed += range.len() as u64;
                    tally.zeroed_in.clone_from(&tail.path);
                    tail.events.flush(out);
                    out.push(filtered(chunk, span_of(chunk, range), FilterReason::Zeros));
                    continue;
                }
            };
            let end = if range.end == bytes.len() { end } else { ChunkEnd::Line };
            text(tail, rules, chunk, (range, end), tally, out);
        }
    }

    /// Returns where the header ends in the chunk.
    fn skip_header(&mut self, tail: &mut Tail, chunk: &Chunk, end: ChunkEnd, out: &mut Vec<Output>) -> usize {
        let Some(header) = &mut tail.header else { return 0 };
        let bytes = chunk.bytes();
        let start = header.seen.map_or(chunk.span.start, |seen| seen.span.start);
        let mut until = bytes.len();
        for newline in memchr_iter(b'\n', &bytes) {
            header.lines -= 1;
            self.tally.filtered += 1;
            if header.lines == 0 {
                until = newline + 1;
                break;
            }
        }
        let seen_to = chunk.span.start + until as u64;
        let settled =
            Settled { tail: chunk.tail, span: Span::new(start, seen_to), anchor: chunk.anchor_at(seen_to) };
        if header.lines == 0 || end == ChunkEnd::Unterminated {
            tail.header = None;
            out.push(Output::Filtered { settled, reason: FilterReason::Header });
        } else {
            header.seen = Some(settled);
        }
        until
    }

    /// The rest of the long line that the last chunk ended in. Returns where it ends.
    fn go_on(
        &self,
        tail: &mut Tail,
        chunk: &Chunk,
        at: usize,
        end: ChunkEnd,
        out: &mut Vec<Output>,
    ) -> usize {
        let Some(mut long) = tail.long.take() else { return at };
        let bytes = chunk.bytes();
        let newline = memchr_iter(b'\n', &bytes).next().map(|newline| newline + 1);
        let (until, line_end) = match (newline, end) {
            (Some(newline), _) => (newline, LineEnd::Newline),
            (None, ChunkEnd::Unterminated) => (bytes.len(), LineEnd::Missing),
            (None, _) => (bytes.len(), LineEnd::More),
        };
        let rules = Rules { options: &self.options, limit: self.limit, copies: &self.copies };
        long.push(rules, chunk, span_of(chunk, 0..until), line_end, out);
        tail.long = (line_end == LineEnd::More).then_some(long);
        until
    }
}

/// Bytes of a chunk from the beginning of a line on.
fn text(
    tail: &mut Tail,
    rules: Rules,
    chunk: &Chunk,
    (range, end): (Range<usize>, ChunkEnd),
    tally: &mut Tally,
    out: &mut Vec<Output>,
) {
    for run in Frame::new(&chunk.bytes()[..range.end], range.start, end, rules.limit) {
        match run {
            Run::Lines(range) => lines(tail, rules, chunk, span_of(chunk, range), out),
            Run::Last(range) => last(tail, rules, chunk, span_of(chunk, range), out),
            Run::Long(range, line_end) => {
                tally.oversized += 1;
                tally.oversized_in.clone_from(&tail.path);
                tail.events.flush(out);
                let mut long = LongLine::default();
                long.push(rules, chunk, span_of(chunk, range), line_end, out);
                tail.long = (line_end == LineEnd::More).then_some(long);
            }
        }
    }
}

fn filtered(chunk: &Chunk, span: Span, reason: FilterReason) -> Output {
    let settled = Settled { tail: chunk.tail, span, anchor: chunk.anchor_at(span.end) };
    Output::Filtered { settled, reason }
}

fn lines(tail: &mut Tail, rules: Rules, chunk: &Chunk, span: Span, out: &mut Vec<Output>) {
    match &rules.options.multi_line {
        Some(how) => tail.events.push(rules, how, chunk, span, out),
        None => {
            let payload = chunk.slice(span);
            out.push(Output::Block(Block { chunk: chunk.clone(), span, payload, shape: Shape::Lines }));
        }
    }
}

fn last(tail: &mut Tail, rules: Rules, chunk: &Chunk, span: Span, out: &mut Vec<Output>) {
    if let Some(how) = &rules.options.multi_line {
        tail.events.push(rules, how, chunk, span, out);
        tail.events.flush_unterminated(rules, out);
        return;
    }
    let payload = with_newline(chunk.slice(span), rules);
    let shape = super::long_line::shape_of(&payload);
    out.push(Output::Block(Block { chunk: chunk.clone(), span, payload, shape }));
}

fn end(mut tail: Tail, out: &mut Vec<Output>) {
    if let Some(settled) = tail.header.and_then(|header| header.seen) {
        out.push(Output::Filtered { settled, reason: FilterReason::Header });
    }
    tail.events.flush(out);
    if let Some(long) = tail.long {
        long.abandon(out);
    }
}

fn span_of(chunk: &Chunk, range: Range<usize>) -> Span {
    Span::new(chunk.span.start + range.start as u64, chunk.span.start + range.end as u64)
}

#[cfg(test)]
#[path = "recorder_tests.rs"]
mod tests;
