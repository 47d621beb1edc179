//! A line that is longer than a record may be, while it passes: it is sent in pieces, or its
//! beginning is sent, or it goes to the dead-letter file.
//!
//! Nothing of it is held back but the first bytes of a character that goes on in the next
//! chunk, so a line may be of any length. Where the pieces are cut depends on where the chunks
//! are, since a piece does not wait for bytes that were not read yet.

use std::sync::Arc;

use bytes::Bytes;

use super::block::{Block, Dead, FilterReason, Output, Shape};
use super::copies::{Copied, Copies};
use super::frame::{LineEnd, cut_between_characters};
use super::options::{Options, Oversized};
use crate::file::chunk::whole_characters;
use crate::file::{Chunk, Settled, Span};

/// What has become of the line so far.
#[derive(Debug, Default)]
pub struct LongLine {
    /// The beginning of a character whose rest was not seen yet. At most three bytes.
    carried: Option<Copied>,
    /// The beginning was sent, the rest is left out.
    truncated: bool,
}

/// What all long lines of a flow have in common.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    pub options: &'a Options,
    /// No record is longer. Bytes.
    pub limit: usize,
    pub copies: &'a Arc<Copies>,
}

impl LongLine {
    /// What is held back. Bytes.
    pub fn held(&self) -> usize {
        self.carried.as_ref().map_or(0, Copied::size)
    }

    /// The next bytes of the line, which are those of `span` in `chunk`.
    pub fn push(&mut self, rules: Rules, chunk: &Chunk, span: Span, end: LineEnd, out: &mut Vec<Output>) {
        match rules.options.oversized {
            Oversized::Split => self.split(rules, chunk, span, end, out),
            Oversized::Truncate => self.truncate(rules, chunk, span, out),
            Oversized::DeadLetter => out.push(Output::Dead(Dead {
                chunk: chunk.clone(),
                span,
                payload: chunk.slice(span),
                reason: "the line is longer than a record may be",
            })),
        }
    }

    /// The tail ended in the middle of the line.
    pub fn abandon(self, out: &mut Vec<Output>) {
        if let Some(carried) = self.carried {
            out.push(piece(carried.into_chunk()));
        }
    }

    fn split(&mut self, rules: Rules, chunk: &Chunk, span: Span, end: LineEnd, out: &mut Vec<Output>) {
        let mut rest = self.split_carried(rules, chunk, span, end, out);
        while !rest.is_empty() {
            let bytes = chunk.slice(rest);
            let length = piece_length(&bytes, rules.limit, end);
            if length == 0 {
                self.carried = Some(Copied::new(chunk, rest, rules.copies));
                return;
            }
            let cut = rest.start + length as u64;
            let last = cut == rest.end;
            let mut payload = bytes.slice(..length);
            if last && end == LineEnd::Missing {
                payload = with_newline(payload, rules);
            }
            out.push(Output::Block(Block {
                chunk: chunk.clone(),
                span: Span::new(rest.start, cut),
                payload,
                shape: Shape::Piece,
            }));
            rest.start = cut;
        }
    }

    /// Sends the carried bytes with what follows them, so that their character is whole.
    fn split_carried(
        &mut self,
        rules: Rules,
        chunk: &Chunk,
        span: Span,
        end: LineEnd,
        out: &mut Vec<Output>,
    ) -> Span {
        let Some(mut carried) = self.carried.take() else { return span };
        let before = carried.bytes().len();
        let mut joined = carried.bytes().to_vec();
        let look = span.len().min(rules.limit as u64);
        joined.extend_from_slice(&chunk.slice(Span::new(span.start, span.start + look)));
        let length = piece_length(&joined, rules.limit, end);
        let taken = if length == 0 { span.end } else { span.start + length.saturating_sub(before) as u64 };
        carried.append(chunk, Span::new(span.start, taken));
        if length == 0 {
            self.carried = Some(carried);
        } else {
            let Output::Block(mut block) = piece(carried.into_chunk()) else { unreachable!() };
            if taken == span.end && end == LineEnd::Missing {
                block.payload = with_newline(block.payload, rules);
            }
            out.push(Output::Block(block));
        }
        Span::new(taken, span.end)
    }

    /// A restart between two chunks of a truncated line sends the rest as a line of its own:
    /// the stored position does not say that the line was given up.
    fn truncate(&mut self, rules: Rules, chunk: &Chunk, span: Span, out: &mut Vec<Output>) {
        let mut rest = span;
        if !self.truncated {
            self.truncated = true;
            let terminator = &rules.options.truncated_record_terminator;
            let room = rules.limit.saturating_sub(terminator.len()).max(1);
            let bytes = chunk.slice(span);
            let length = match cut_between_characters(&bytes, room) {
                all if all == bytes.len() => whole_characters(&bytes).max(1),
                cut => cut,
            };
            rest.start += length as u64;
            let payload = Bytes::from([&bytes[..length], terminator].concat());
            let shape = shape_of(&payload);
            let span = Span::new(span.start, rest.start);
            out.push(Output::Block(Block { chunk: chunk.clone(), span, payload, shape }));
        }
        if !rest.is_empty() {
            let settled = Settled::new(chunk, rest);
            out.push(Output::Filtered { settled, reason: FilterReason::Truncated });
        }
    }
}

/// How long the first piece of `bytes` is; 0 when it is only the beginning of a character.
fn piece_length(bytes: &[u8], limit: usize, end: LineEnd) -> usize {
    if bytes.len() > limit || end != LineEnd::More {
        return cut_between_characters(bytes, limit);
    }
    whole_characters(bytes)
}

fn piece(chunk: Chunk) -> Output {
    Output::Block(Block { span: chunk.span, payload: chunk.bytes(), shape: Shape::Piece, chunk })
}

/// A record that does not end with a newline must stay alone.
pub fn shape_of(payload: &[u8]) -> Shape {
    if payload.last() == Some(&b'\n') { Shape::One } else { Shape::Piece }
}

/// `payload` with the newline that its file lacks, where that is wanted and leaves a record
/// within the limit.
pub fn with_newline(payload: Bytes, rules: Rules) -> Bytes {
    if !rules.options.add_missing_newline || payload.len() >= rules.limit {
        return payload;
    }
    let mut owned = Vec::with_capacity(payload.len() + 1);
    owned.extend_from_slice(&payload);
    owned.push(b'\n');
    owned.into()
}
