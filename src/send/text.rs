//! The body of a request that puts entries, in awsJson1.1, written piece by piece: the data of an
//! entry are base64 of the very slices that were read, so that a request holds no copy of them.
//!
//! A body is written twice, first for its length and the hash that is signed, then to be sent:
//! that costs less than to keep it. Pure. What is sent for an entry stands in `envelope`.

use std::io::Write;

use sha2::{Digest, Sha256};

use super::aggregate::{Checksum, Writer};
use super::base64::Encoder;
use super::entry::Entry;
use super::partition::{Key, hex};

/// What is sent for an entry.
#[derive(Debug)]
pub enum Data {
    /// Its payloads.
    Plain(Entry),
    /// They as an aggregate, whose checksum is kept when it was made once.
    Aggregate(Entry, Option<Checksum>),
    /// What was made of it.
    Made(Vec<u8>),
}

#[derive(Debug)]
pub struct Text {
    /// All that comes before the entries.
    head: String,
    data: Vec<Data>,
    /// One for each entry, or none.
    keys: Vec<Key>,
    at: At,
    encoder: Encoder,
    aggregate: Writer,
    /// The part of an aggregate that is being written.
    made: Vec<u8>,
}

/// So much of an aggregate is made at a time. Bytes.
pub const PIECE_BYTES: usize = 16 * 1024;

/// What is written next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Head,
    Entry(usize),
    /// From this byte of this part of the entry on.
    Data {
        entry: usize,
        part: usize,
        byte: usize,
    },
    End,
    Done,
}

/// What is known of a text that was written once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measure {
    pub length: u64,
    /// Lower-case hex digits.
    pub sha256: String,
}

impl Data {
    /// In one piece, as a consumer gets it.
    pub fn to_vec(&self, key: &Key) -> Vec<u8> {
        match self {
            Data::Plain(entry) => entry.to_vec(),
            Data::Aggregate(entry, checksum) => {
                let mut made = Vec::new();
                Writer::new(*checksum).next(entry, key, usize::MAX, &mut made);
                made
            }
            Data::Made(bytes) => bytes.clone(),
        }
    }
}

impl Text {
    /// `stream` is the name of the field that names the stream, and its value.
    pub fn new(stream: (&str, &str), data: Vec<Data>, keys: Vec<Key>) -> Self {
        let aggregates = data.iter().any(|data| matches!(data, Data::Aggregate(..)));
        assert!(keys.len() == data.len() || keys.is_empty() && !aggregates, "each entry has a key");
        let head = format!("{{\"{}\":{},\"Records\":[", stream.0, quoted(stream.1));
        let (encoder, aggregate) = (Encoder::default(), Writer::new(None));
        Text { head, data, keys, at: At::Head, encoder, aggregate, made: Vec::new() }
    }

    /// Appends what comes next, until `out` has about `most` bytes or all is written; whether
    /// there is more. Keys are not broken, so that it may be longer by one of them.
    pub fn write(&mut self, out: &mut Vec<u8>, most: usize) -> bool {
        while self.at != At::Done && self.encoder.fits(most.saturating_sub(out.len())) > 0 {
            self.at = self.step(out, most);
        }
        self.at != At::Done
    }

    /// Writes all of it through `buffer`, which then holds all of it if it is no longer than `most`.
    pub fn measure(&mut self, buffer: &mut Vec<u8>, most: usize) -> Measure {
        let (mut hash, mut length) = (Sha256::new(), 0);
        loop {
            buffer.clear();
            let more = self.write(buffer, most);
            hash.update(&buffer);
            length += buffer.len() as u64;
            if !more {
                break;
            }
        }
        self.at = At::Head;
        Measure { length, sha256: hex(&hash.finalize()) }
    }

    fn step(&mut self, out: &mut Vec<u8>, most: usize) -> At {
        match self.at {
            At::Head => {
                out.extend_from_slice(self.head.as_bytes());
                if self.data.is_empty() { At::End } else { At::Entry(0) }
            }
            At::Entry(entry) => {
                out.extend_from_slice(if entry == 0 { b"{\"Data\":\"" } else { b",{\"Data\":\"" });
                if let Data::Aggregate(_, checksum) = self.data[entry] {
                    self.aggregate = Writer::new(checksum);
                    self.make(entry);
                }
                At::Data { entry, part: 0, byte: 0 }
            }
            At::Data { entry, part, byte } => {
                let Some(bytes) = slice(&self.data[entry], &self.made, part) else {
                    self.encoder.finish(out);
                    self.close(entry, out);
                    return if entry + 1 < self.data.len() { At::Entry(entry + 1) } else { At::End };
                };
                let rest = &bytes[byte..];
                let now = rest.len().min(self.encoder.fits(most - out.len()));
                self.encoder.push(&rest[..now], out);
                if now < rest.len() {
                    return At::Data { entry, part, byte: byte + now };
                }
                self.make(entry);
                At::Data { entry, part: part + 1, byte: 0 }
            }
            At::End => {
                out.extend_from_slice(b"]}");
                At::Done
            }
            At::Done => At::Done,
        }
    }

    /// Makes the next part of an aggregate.
    fn make(&mut self, entry: usize) {
        let key = self.keys.get(entry);
        if let (Data::Aggregate(entry, checksum), Some(key)) = (&mut self.data[entry], key) {
            self.aggregate.next(entry, key, PIECE_BYTES, &mut self.made);
            *checksum = self.aggregate.checksum;
        }
    }

    fn close(&self, entry: usize, out: &mut Vec<u8>) {
        out.push(b'"');
        if let Some(key) = self.keys.get(entry) {
            out.extend_from_slice(b",\"PartitionKey\":");
            serde_json::to_writer(&mut *out, &key.partition).expect("a text is JSON");
            if let Some(hash) = key.explicit_hash {
                write!(out, ",\"ExplicitHashKey\":\"{hash}\"").expect("a Vec takes every write");
            }
        }
        out.push(b'}');
    }
}

/// The part of that number of the data; of an aggregate the one that was made last.
fn slice<'a>(data: &'a Data, made: &'a [u8], part: usize) -> Option<&'a [u8]> {
    match data {
        Data::Plain(entry) => entry.parts.get(part).map(|part| &part.payload[..]),
        Data::Aggregate(..) => (!made.is_empty()).then_some(made),
        Data::Made(bytes) => (part == 0).then_some(bytes),
    }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text is JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::send::testing::entry;
    use ::base64::Engine;
    use ::base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    const BUFFER: usize = 64;

    #[derive(Clone, Copy, Debug)]
    enum Form {
        Plain,
        Aggregate,
        Made,
    }

    fn data(parts: &[Vec<u8>], form: Form) -> Data {
        let parts: Vec<&[u8]> = parts.iter().map(|part| &part[..]).collect();
        match form {
            Form::Plain => Data::Plain(entry(&parts)),
            Form::Aggregate => Data::Aggregate(entry(&parts), None),
            Form::Made => Data::Made(parts.concat()),
        }
    }

    fn expected(data: &[Data], keys: &[Key]) -> serde_json::Value {
        let record = |(data, key): (&Data, &Key)| {
            let text = STANDARD.encode(data.to_vec(key));
            let mut record = serde_json::json!({"Data": text, "PartitionKey": key.partition});
            if let Some(hash) = key.explicit_hash {
                record["ExplicitHashKey"] = hash.to_string().into();
            }
            record
        };
        let records: Vec<_> = data.iter().zip(keys).map(record).collect();
        serde_json::json!({"StreamName": "a \"stream\"", "Records": records})
    }

    #[test]
    fn without_keys_there_are_data_alone() {
        let mut text =
            Text::new(("DeliveryStreamName", "s"), vec![data(&[b"hello".to_vec()], Form::Plain)], vec![]);
        let mut out = Vec::new();
        assert!(!text.write(&mut out, 1000));
        assert_eq!(out, br#"{"DeliveryStreamName":"s","Records":[{"Data":"aGVsbG8="}]}"#);
    }

    #[test]
    fn a_request_without_entries_is_one() {
        let mut out = Vec::new();
        let mut text = Text::new(("StreamName", "s"), vec![], vec![]);
        assert!(!text.write(&mut out, 1000));
        assert_eq!(out, br#"{"StreamName":"s","Records":[]}"#);
    }

    proptest! {
        #[test]
        fn a_text_in_pieces_is_the_same_twice_and_what_it_was_measured_as(
            entries in prop::collection::vec(
                (
                    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..4),
                    prop::sample::select(vec![Form::Plain, Form::Aggregate, Form::Made]),
                    "[a-z\u{e9}\"\\\\]{1,20}",
                    prop::option::of(any::<u128>()),
                ),
                1..5,
            ),
            most in 4usize..500,
        ) {
            let all: Vec<Data> = entries.iter().map(|(parts, form, ..)| data(parts, *form)).collect();
            let keys: Vec<Key> = entries
                .into_iter()
                .map(|(.., partition, explicit_hash)| Key { partition, explicit_hash })
                .collect();
            let expected = expected(&all, &keys);
            let mut text = Text::new(("StreamName", "a \"stream\""), all, keys);
            let mut buffer = Vec::new();
            let measure = text.measure(&mut buffer, BUFFER);
            let mut whole = Vec::new();
            loop {
                let mut out = Vec::new();
                let more = text.write(&mut out, most);
                // A key and what stands around it.
                prop_assert!(out.len() < most + 250, "{} of {most}", out.len());
                whole.extend(out);
                if !more {
                    break;
                }
            }
            prop_assert_eq!(measure.length, whole.len() as u64);
            let sha256: String = Sha256::digest(&whole).iter().map(|byte| format!("{byte:02x}")).collect();
            prop_assert_eq!(&measure.sha256, &sha256);
            prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&whole).unwrap(), expected);
        }
    }
}
