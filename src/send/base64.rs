//! Base64 (RFC 4648, with padding) of bytes that come in pieces, appended to a text.

use base64::Engine;
use base64::engine::Simd;
use base64::engine::general_purpose::PAD;

/// Bytes that become so many characters.
const GROUP: (usize, usize) = (3, 4);

/// The bytes of a group that has begun.
#[derive(Debug)]
pub struct Encoder {
    engine: Simd,
    begun: [u8; 3],
    length: usize,
}

impl Default for Encoder {
    fn default() -> Self {
        Encoder { engine: Simd::standard(PAD), begun: [0; 3], length: 0 }
    }
}

impl Encoder {
    /// How many more bytes certainly become no more than `room` characters, the last ones' padding
    /// included.
    pub fn fits(&self, room: usize) -> usize {
        (room / GROUP.1 * GROUP.0).saturating_sub(self.length)
    }

    pub fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        if self.length > 0 {
            let missing = (GROUP.0 - self.length).min(bytes.len());
            let (now, rest) = bytes.split_at(missing);
            self.begun[self.length..self.length + missing].copy_from_slice(now);
            (self.length, bytes) = (self.length + missing, rest);
            if self.length < GROUP.0 {
                return;
            }
            self.finish(out);
        }
        let (whole, begun) = bytes.split_at(bytes.len() / GROUP.0 * GROUP.0);
        self.encode(whole, out);
        self.begun[..begun.len()].copy_from_slice(begun);
        self.length = begun.len();
    }

    /// The bytes end here, and others may begin.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let length = std::mem::take(&mut self.length);
        let begun = self.begun;
        self.encode(&begun[..length], out);
    }

    fn encode(&self, bytes: &[u8], out: &mut Vec<u8>) {
        let at = out.len();
        out.resize(at + bytes.len().div_ceil(GROUP.0) * GROUP.1, 0);
        let written = self.engine.encode_slice(bytes, &mut out[at..]).expect("there is room for all groups");
        debug_assert_eq!(at + written, out.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_become_what_the_whole_becomes(
            texts in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6), 1..4)
        ) {
            let (mut encoder, mut out, mut expected) = (Encoder::default(), Vec::new(), String::new());
            for pieces in texts {
                for piece in &pieces {
                    let (fits, before) = (encoder.fits(piece.len()), out.len());
                    let (first, second) = piece.split_at(fits.min(piece.len()));
                    encoder.push(first, &mut out);
                    prop_assert!(out.len() - before <= piece.len().max(4));
                    encoder.push(second, &mut out);
                }
                encoder.finish(&mut out);
                expected += &STANDARD.encode(pieces.concat());
            }
            prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
