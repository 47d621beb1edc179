//! Every line that was written, in units: a unit is what was written of a line at a time. A line
//! has a number in each of its units, so that what is delivered tells which it is. Beside them
//! there may be noise: lines that are all equal or empty, of which only that much is checked
//! that somebody wrote them.

use std::collections::HashMap;

pub type UnitId = usize;

/// One life of one file: from its first byte until it is cut.
pub type LifeId = usize;

#[derive(Debug)]
pub struct Unit {
    pub text: Vec<u8>,
    pub life: LifeId,
    /// There before the flow was first started: nobody asked for it.
    pub prior: bool,
    /// Somebody could have read it as a part of a complete line.
    pub was_complete: bool,
    /// The agent has it in memory.
    pub in_memory: bool,
    pub attempted: bool,
    pub delivered: u32,
    /// The agent knows that it was delivered, or gave it up.
    pub settled: bool,
    /// It may be delivered once more.
    pub again: bool,
    /// Why it may be lost.
    pub excuse: Option<String>,
}

#[derive(Debug, Default)]
pub struct Text {
    pub units: Vec<Unit>,
    index: HashMap<Vec<u8>, (UnitId, UnitId)>,
    lines: u32,
    pub noise_written: bool,
}

/// What a piece of delivered text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Units of one line.
    Units(UnitId, UnitId),
    Noise,
}

pub const NOISE: [&[u8]; 2] = [b"\n", b"the same as ever\n"];

impl Text {
    /// The units of a new line, which is written in so many parts. `width` is how many times its
    /// number is repeated in it.
    pub fn line(&mut self, life: LifeId, parts: usize, width: usize, prior: bool) -> Vec<UnitId> {
        self.lines += 1;
        let token = format!("{}.", self.lines);
        let mut units = Vec::new();
        let first = self.units.len();
        for part in 0..parts {
            let ends_line = part + 1 == parts;
            let mut text = token.repeat(width.div_ceil(parts));
            // A cut in the middle of a number, as writers make them.
            if part > 0 {
                text.insert(0, '-');
            }
            if ends_line {
                text.push('\n');
            } else {
                text.push('~');
            }
            units.push(self.units.len());
            self.units.push(Unit {
                text: text.into_bytes(),
                life,
                prior,
                was_complete: false,
                in_memory: false,
                attempted: false,
                delivered: 0,
                settled: false,
                again: false,
                excuse: None,
            });
        }
        self.index_units(first, parts);
        units
    }

    fn index_units(&mut self, first: UnitId, parts: usize) {
        for from in 0..parts {
            let mut text = Vec::new();
            for to in from..parts {
                text.extend_from_slice(&self.units[first + to].text);
                self.index.insert(text.clone(), (first + from, first + to));
            }
        }
    }

    /// What the lines of a payload are. An error names what nobody wrote.
    pub fn recognise(&self, payload: &[u8]) -> Result<Vec<Piece>, String> {
        payload.split_inclusive(|byte| *byte == b'\n').map(|line| self.piece(line)).collect()
    }

    fn piece(&self, line: &[u8]) -> Result<Piece, String> {
        if let Some(&(from, to)) = self.index.get(line) {
            return Ok(Piece::Units(from, to));
        }
        // The last line of a finished file gets its newline from us.
        if let Some(line) = line.strip_suffix(b"\n")
            && let Some(&(from, to)) = self.index.get(line)
        {
            return Ok(Piece::Units(from, to));
        }
        if self.noise_written && (NOISE.contains(&line) || NOISE.contains(&[line, b"\n"].concat().as_slice()))
        {
            return Ok(Piece::Noise);
        }
        Err(format!("nobody wrote {:?}", String::from_utf8_lossy(line)))
    }
}
