//! Gathers the lines of one tail into events: an event is a line whose beginning matches, and
//! all lines up to the next that does.
//!
//! Events that lie in one chunk are slices of it. What is left at the chunk's end is copied
//! and waits for more, for quiet, or for the end of the tail; it pins no chunk meanwhile. An
//! event is cut before a line that would make it too long, and the rest is a new event.

use std::sync::Arc;

use memchr::memchr_iter;
use regex::bytes::Regex;

use super::block::{Block, Output};
use super::copies::{Copied, Copies};
use super::long_line::{Rules, shape_of, with_newline};
use super::options::MultiLine;
use crate::file::{Chunk, Span};

/// The event of one tail that is not known to be complete.
#[derive(Debug, Default)]
pub struct Events {
    pending: Option<Copied>,
}

impl Events {
    /// What is held back. Bytes, 0 when there is nothing.
    pub fn pending(&self) -> usize {
        self.pending.as_ref().map_or(0, Copied::size)
    }

    /// `span` of `chunk` is lines (the last may lack its newline), none longer than a record.
    /// A line that is longer than an event may be is an event of its own.
    pub fn push(&mut self, rules: Rules, how: &MultiLine, chunk: &Chunk, span: Span, out: &mut Vec<Output>) {
        let bytes = chunk.slice(span);
        let mut event = 0;
        let mut line = 0;
        let mut length = self.pending.as_ref().map_or(0, |pending| pending.bytes().len());
        let newlines = memchr_iter(b'\n', &bytes).map(|newline| newline + 1);
        let unterminated = (bytes.last() != Some(&b'\n')).then_some(bytes.len());
        for end in newlines.chain(unterminated) {
            let too_long = length + (end - line) > how.max_bytes.min(rules.limit);
            if length > 0 && (too_long || begins(&how.start, &bytes[line..end])) {
                self.send(chunk, sub(span, event, line), out);
                event = line;
                length = 0;
            }
            length += end - line;
            line = end;
        }
        self.keep(chunk, sub(span, event, line), rules.copies);
    }

    /// The pending event is complete, or is not waited for any longer.
    pub fn flush(&mut self, out: &mut Vec<Output>) {
        if let Some(pending) = self.pending.take() {
            out.push(Output::Block(whole(pending.into_chunk())));
        }
    }

    /// The same, where the last line was pushed without a newline.
    pub fn flush_unterminated(&mut self, rules: Rules, out: &mut Vec<Output>) {
        if let Some(pending) = self.pending.take() {
            let mut block = whole(pending.into_chunk());
            block.payload = with_newline(block.payload, rules);
            block.shape = shape_of(&block.payload);
            out.push(Output::Block(block));
        }
    }

    fn keep(&mut self, chunk: &Chunk, span: Span, copies: &Arc<Copies>) {
        match &mut self.pending {
            Some(pending) => pending.append(chunk, span),
            None if span.is_empty() => (),
            None => self.pending = Some(Copied::new(chunk, span, copies)),
        }
    }

    /// Sends the pending event, which ends with `span` of `chunk`.
    fn send(&mut self, chunk: &Chunk, span: Span, out: &mut Vec<Output>) {
        if let Some(mut pending) = self.pending.take() {
            pending.append(chunk, span);
            out.push(Output::Block(whole(pending.into_chunk())));
        } else {
            let payload = chunk.slice(span);
            let shape = shape_of(&payload);
            out.push(Output::Block(Block { chunk: chunk.clone(), span, payload, shape }));
        }
    }
}

/// A pattern that was not written with `^` must still match where the line begins.
fn begins(start: &Regex, line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    start.find(line).is_some_and(|found| found.start() == 0)
}

fn whole(chunk: Chunk) -> Block {
    let payload = chunk.bytes();
    Block { span: chunk.span, shape: shape_of(&payload), payload, chunk }
}

fn sub(span: Span, from: usize, to: usize) -> Span {
    Span::new(span.start + from as u64, span.start + to as u64)
}
