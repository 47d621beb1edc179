//! The lines that the bench writes: 200 bytes that say which file they belong to, which number
//! they have in it, and when they were written.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes of each line, its newline included.
pub const LENGTH: usize = 200;

const TEXT: &str = r#"10.0.17.4 - - "GET /api/v2/orders/export HTTP/1.1" 200 51734 "-" "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0" rt=0.027 uct=0.001 urt=0.026 cache=MISS"#;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Less than a million.
    pub file: usize,
    pub number: u64,
    /// Since 1970.
    pub micros: u64,
}

impl Line {
    pub fn append_to(self, out: &mut Vec<u8>) {
        let start = out.len();
        write!(out, "{:06} {:010} {:016} ", self.file, self.number, self.micros)
            .expect("a Vec takes every write");
        let rest = LENGTH - 1 - (out.len() - start);
        out.extend_from_slice(&TEXT.as_bytes()[..rest.min(TEXT.len())]);
        out.resize(start + LENGTH - 1, b'.');
        out.push(b'\n');
    }

    /// None for what [`Line::append_to`] did not make. The newline is taken off already.
    pub fn parse(line: &[u8]) -> Option<Line> {
        if line.len() != LENGTH - 1 {
            return None;
        }
        Some(Line {
            file: number(&line[0..6])? as usize,
            number: number(&line[7..17])?,
            micros: number(&line[18..34])?,
        })
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

pub fn now_micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_micros() as u64
}
