//! Finds the keys of records where the configuration says what decides on the shard: the file,
//! the host, a text, a field of each record, or what a pattern captures.
//!
//! Records of different keys never share an entry, so it also says where in a block the key
//! changes. A record without the field, or that the pattern does not match, has no key of its own
//! and goes to any shard; where order is asked for it has that of its file.

use std::path::Path;
use std::sync::Arc;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::options::{Options, PartitionKey};
use super::partition::FixedKey;
use crate::record::{Block, Shape};

#[derive(Debug)]
pub struct Keyer {
    partition_key: PartitionKey,
    /// The key of all records, or of those that were seen last.
    known: Option<FixedKey>,
    file: Option<(Arc<Path>, FixedKey)>,
    /// Every record has a key.
    in_order: bool,
}

impl Keyer {
    pub fn new(options: &Options) -> Self {
        let Options { partition_key, in_order, .. } = options;
        let known = match partition_key {
            PartitionKey::Value(value) => Some(FixedKey::new(value)),
            PartitionKey::Host => Some(FixedKey::new(&rustix::system::uname().nodename().to_string_lossy())),
            _ => None,
        };
        Keyer { partition_key: partition_key.clone(), known, file: None, in_order: *in_order }
    }

    /// How many of the block's first bytes are records of one key, and the key.
    pub fn run(&mut self, block: &Block) -> (usize, Option<FixedKey>) {
        match &self.partition_key {
            PartitionKey::Random | PartitionKey::Deterministic => (block.payload.len(), None),
            PartitionKey::Value(_) | PartitionKey::Host => (block.payload.len(), self.known.clone()),
            PartitionKey::File => (block.payload.len(), self.of_file(block)),
            PartitionKey::Field(_) | PartitionKey::Capture(_) => {
                let (length, text) = self.run_of_records(block);
                let known = self.known.take_if(|known| text.as_deref() == Some(&known.text));
                self.known = known.or_else(|| text.as_deref().map(FixedKey::new));
                if self.known.is_none() && self.in_order {
                    return (length, self.of_file(block));
                }
                (length, self.known.clone())
            }
        }
    }

    fn of_file(&mut self, block: &Block) -> Option<FixedKey> {
        let home = block.chunk.home()?;
        if self.file.as_ref().is_none_or(|(file, _)| file != home) {
            self.file = Some((home.clone(), FixedKey::new(&home.to_string_lossy())));
        }
        self.file.as_ref().map(|(_, key)| key.clone())
    }

    fn run_of_records(&self, block: &Block) -> (usize, Option<String>) {
        let payload = &block.payload[..];
        if block.shape != Shape::Lines {
            return (payload.len(), self.key_of(payload));
        }
        let mut ends = memchr::memchr_iter(b'\n', payload).map(|newline| newline + 1);
        let mut end = ends.next().unwrap_or(payload.len());
        let key = self.key_of(&payload[..end]);
        for next in ends {
            if self.key_of(&payload[end..next]) != key {
                break;
            }
            end = next;
        }
        (end, key)
    }

    fn key_of(&self, record: &[u8]) -> Option<String> {
        let key = match &self.partition_key {
            PartitionKey::Field(name) => field(record, name)?,
            PartitionKey::Capture(pattern) => {
                let captures = pattern.0.captures(record)?;
                String::from_utf8_lossy(captures.get(1)?.as_bytes()).into_owned()
            }
            _ => return None,
        };
        (!key.is_empty()).then_some(key)
    }
}

/// The text, number or truth value of a field of a JSON object.
fn field(record: &[u8], name: &str) -> Option<String> {
    let mut json = serde_json::Deserializer::from_slice(record);
    Field(name).deserialize(&mut json).ok().flatten()
}

/// Passes over all other fields.
struct Field<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Field<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            if name == self.0 {
                found = map.next_value::<Scalar>()?.0;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// What may be a key; nothing for null, lists and objects.
struct Scalar(Option<String>);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde_json::Value;
        Ok(Scalar(match Value::deserialize(deserializer)? {
            Value::String(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::send::options::Capture;
    use crate::send::testing::{self, block};
    use proptest::prelude::*;

    fn keyer(partition_key: &PartitionKey, in_order: bool) -> Keyer {
        Keyer::new(&Options { partition_key: partition_key.clone(), in_order, ..testing::options() })
    }

    fn runs(partition_key: &PartitionKey, text: &str) -> Vec<(String, Option<String>)> {
        let mut keyer = keyer(partition_key, false);
        let mut rest = block(1, 0, text.as_bytes());
        let mut runs = Vec::new();
        while !rest.payload.is_empty() {
            let (length, key) = keyer.run(&rest);
            let run = rest.payload.split_to(length);
            runs.push((String::from_utf8(run.to_vec()).unwrap(), key.map(|key| key.text.to_string())));
        }
        runs
    }

    fn run(text: &str, key: Option<&str>) -> (String, Option<String>) {
        (text.to_owned(), key.map(str::to_owned))
    }

    #[test]
    fn the_field_of_a_json_object_is_found_and_nothing_else() {
        let user = PartitionKey::Field("user".into());
        let text = "{\"user\":\"a\"}\n{\"x\":{\"user\":\"c\"},\"user\":\"a\"}\n{\"user\":7}\nno json\n{\"x\":1}\n\
                    {\"user\":null}\n[\"user\"]\n{\"user\":\"\"}\n{\"us\\u0065r\":\"\\u00e9\"}\n{\"user\":tr\n";
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let expected = [
            run(&lines[..2].concat(), Some("a")),
            run(lines[2], Some("7")),
            run(&lines[3..8].concat(), None),
            run(lines[8], Some("\u{e9}")),
            run(lines[9], None),
        ];
        assert_eq!(runs(&user, text), expected);
    }

    #[test]
    fn a_capture_is_the_first_group() {
        let pattern = PartitionKey::Capture(Capture(regex::bytes::Regex::new("id=([a-z]*)").unwrap()));
        let text = "id=a 1\nid=a 2\nid=b\nid=\nnone\nid=a\n";
        let expected = [
            ("id=a 1\nid=a 2\n", Some("a")),
            ("id=b\n", Some("b")),
            ("id=\nnone\n", None),
            ("id=a\n", Some("a")),
        ];
        assert_eq!(runs(&pattern, text), expected.map(|(text, key)| run(text, key)));
    }

    #[test]
    fn a_file_keeps_its_key_and_a_long_one_is_hashed() {
        let mut of_files = keyer(&PartitionKey::File, false);
        let mut of = |path: &str| {
            let mut block = block(1, 0, b"x\n");
            block.chunk = block.chunk.clone().of_home(Some(Path::new(path).into()));
            of_files.run(&block).1.unwrap().text.to_string()
        };
        assert_eq!([of("/a.log"), of("/b.log"), of("/a.log")], ["/a.log", "/b.log", "/a.log"]);
        let long = format!("/{}", "x".repeat(256));
        assert_eq!(of(&long).len(), 32);
        assert_eq!(of(&long[..256]), long[..256]);
        let host = keyer(&PartitionKey::Host, false).run(&block(1, 0, b"x\n")).1.unwrap();
        assert!(!host.text.is_empty());
    }

    #[test]
    fn what_has_no_key_has_that_of_its_file_where_order_is_asked_for() {
        let user = PartitionKey::Field("user".into());
        let mut rest = block(1, 0, b"{\"user\":\"a\"}\nno json\n");
        rest.chunk = rest.chunk.clone().of_home(Some(Path::new("/a.log").into()));
        let mut keyer = keyer(&user, true);
        let (length, key) = keyer.run(&rest);
        assert_eq!(&*key.unwrap().text, "a");
        let _first = rest.payload.split_to(length);
        assert_eq!(&*keyer.run(&rest).1.unwrap().text, "/a.log");
    }

    proptest! {
        #[test]
        fn runs_are_all_of_the_block_and_any_bytes_are_taken(lines in prop::collection::vec("[^\n]{0,20}", 1..20)) {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            for key in [
                PartitionKey::Field("a".into()),
                PartitionKey::Capture(Capture(regex::bytes::Regex::new("(?-u)(.)").unwrap())),
            ] {
                let runs = runs(&key, &text);
                prop_assert_eq!(runs.iter().map(|(run, _)| run.as_str()).collect::<String>(), text.clone());
                prop_assert!(runs.windows(2).all(|pair| pair[0].1 != pair[1].1));
            }
        }
    }
}
