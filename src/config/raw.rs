//! What was typed: a tree of texts, numbers, lists and groups of keys, each with its line.
//!
//! YAML and JSON (with `//` and `/* */` comments) become the same tree, so that nothing after
//! this file knows which of the two was typed but for the few rules that differ on purpose. Keys
//! keep their order and their duplicates; dotted keys are still as typed. What a key means, and
//! whether it exists, is not known here.

use std::fmt;

use serde::de::{Deserialize, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, Visitor};

use super::marks;

/// The language of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Yaml,
    /// An `agent.json` of the Java agent.
    Json,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Counted from 1.
    pub line: usize,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub key: String,
    /// The line of the key.
    pub line: usize,
    pub node: Node,
}

/// The text is not in the language at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Counted from 1.
    pub line: usize,
    pub text: String,
}

impl Format {
    /// JSON begins with `{`, perhaps after comments; anything else is YAML.
    pub fn of(text: &str) -> Format {
        let mut rest = text.trim_start();
        loop {
            if let Some(comment) = rest.strip_prefix("//") {
                rest = comment.split_once('\n').map_or("", |(_, after)| after).trim_start();
            } else if let Some(comment) = rest.strip_prefix("/*") {
                rest = comment.split_once("*/").map_or("", |(_, after)| after).trim_start();
            } else {
                return if rest.starts_with('{') { Format::Json } else { Format::Yaml };
            }
        }
    }
}

/// The tree of `text`, which must not begin with a byte order mark.
pub fn parse(text: &str, format: Format) -> Result<Node, SyntaxError> {
    match format {
        Format::Yaml => yaml(text),
        Format::Json => json(text),
    }
}

fn yaml(text: &str) -> Result<Node, SyntaxError> {
    // The parser calls a text of nothing but comments an error; here it is an empty file.
    if text.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with('#')) {
        return Ok(Node { line: 1, value: Value::Null });
    }
    let mut node: Node = serde_yaml::from_str(text).map_err(|error| {
        let (line, column) = error.location().map_or((1, 1), |at| (at.line().max(1), at.column().max(1)));
        let what = error.to_string();
        let what = what.split(" at line ").next().unwrap_or(&what);
        let typed = text.lines().nth(line - 1).unwrap_or("");
        let indent = &typed[..typed.len() - typed.trim_start().len()];
        let hint = if indent.contains('\t') {
            "; YAML allows no tabs before a key, only spaces"
        } else if what.contains("mapping values are not allowed") {
            "; put text that holds `: ` in quotes, and keys of one group one below the other"
        } else {
            ""
        };
        SyntaxError { line, text: format!("not valid YAML, at column {column}: {what}{hint}") }
    })?;
    marks::number(&mut node, text);
    Ok(node)
}

fn json(text: &str) -> Result<Node, SyntaxError> {
    let bare = without_comments(text);
    let mut node: Node = serde_json::from_str(&bare).map_err(|error| {
        let what = error.to_string();
        let what = what.split(" at line ").next().unwrap_or(&what);
        SyntaxError {
            line: error.line().max(1),
            text: format!(
                "not valid JSON (as the file begins with {{), at column {}: {what}",
                error.column().max(1)
            ),
        }
    })?;
    // JSON is YAML but for some escapes in texts, and only the structure matters for the lines.
    marks::number(&mut node, &without_escapes(&bare));
    Ok(node)
}

/// Comments become spaces, so that lines and columns stay what they were.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (length, comment) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), true)
        } else if let Some(inside) = rest.strip_prefix("/*") {
            (inside.find("*/").map_or(rest.len(), |end| end + 4), true)
        } else if first == '"' {
            (quoted_length(rest), false)
        } else {
            (first.len_utf8(), false)
        };
        let (taken, after) = rest.split_at(length);
        if comment {
            out.extend(taken.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        } else {
            out.push_str(taken);
        }
        rest = after;
    }
    out
}

/// The bytes of the quoted text at the start of `text`, with its quotes.
fn quoted_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn without_escapes(json: &str) -> String {
    let mut chars = json.chars();
    let mut out = String::with_capacity(json.len());
    while let Some(c) = chars.next() {
        if c == '\\' {
            chars.next();
            out.push_str("__");
        } else {
            out.push(c);
        }
    }
    out
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

fn node<E>(value: Value) -> Result<Node, E> {
    Ok(Node { line: 1, value })
}

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a number, true, false, a list or keys with values")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        node(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        node(Value::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        node(Value::Integer(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Node, E> {
        node(Value::Integer(value))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Node, E> {
        // Larger than any limit either way; the range check names it.
        node(Value::Integer(i128::try_from(value).unwrap_or(i128::MAX)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        node(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        node(Value::Text(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        node(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        node(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, node)) = map.next_entry::<Node, Node>()? {
            let key = match key.value {
                Value::Text(text) => text,
                Value::Integer(number) => number.to_string(),
                Value::Bool(flag) => flag.to_string(),
                _ => return Err(A::Error::custom("a key must be text")),
            };
            entries.push(Entry { key, line: 1, node });
        }
        node(Value::Map(entries))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Node, A::Error> {
        Err(A::Error::custom(
            "a tag (a word that begins with `!`) has no meaning here; put text that begins with `!` in quotes",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brace_after_comments_means_json() {
        for json in ["{", " \n{", "// a\n/* b\n */ {", "/**/{}"] {
            assert_eq!(Format::of(json), Format::Json, "{json}");
        }
        for yaml in ["", "flows: {}", "# {\nflows:", "/* {", "// {", "[{}]"] {
            assert_eq!(Format::of(yaml), Format::Yaml, "{yaml}");
        }
    }

    #[test]
    fn comments_become_spaces_and_texts_stay() {
        let json = "{ \"a\": \"http://x/*y*/\\\"//\", // é\n/* 1\n2 */ \"b\": 1 /*";
        let bare = without_comments(json);
        assert_eq!(bare, "{ \"a\": \"http://x/*y*/\\\"//\",     \n    \n     \"b\": 1   ");
    }

    #[test]
    fn every_key_has_its_own_line_in_both_languages() {
        let json = "/* one\ntwo */ {\n  \"a\": \"\\ud83d\\ude00\\/\", // x\n\t\"b\": [\n1,\n{\"c\":\n\t2}]}";
        let yaml = "# one\n\na: x\nb:\n- 1\n- c:\n    2\n";
        for (text, format) in [(json, Format::Json), (yaml, Format::Yaml)] {
            let Value::Map(entries) = parse(text, format).unwrap().value else { panic!("{text}") };
            assert_eq!(entries.iter().map(|e| e.line).collect::<Vec<_>>(), [3, 4], "{text}");
            let Value::List(items) = &entries[1].node.value else { panic!("{text}") };
            assert_eq!(items.iter().map(|item| item.line).collect::<Vec<_>>(), [5, 6], "{text}");
            let Value::Map(inner) = &items[1].value else { panic!("{text}") };
            assert_eq!((inner[0].line, inner[0].node.line), (6, 7), "{text}");
        }
    }

    #[test]
    fn what_an_alias_stands_for_has_the_line_of_the_alias() {
        let Value::Map(entries) = parse("a: &x\n  b: 1\nc: *x\n", Format::Yaml).unwrap().value else {
            panic!()
        };
        let Value::Map(copy) = &entries[1].node.value else { panic!() };
        assert_eq!((copy[0].key.as_str(), copy[0].line), ("b", 3));
    }

    #[test]
    fn a_bomb_of_aliases_is_an_error() {
        let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for i in 1..12 {
            let alias = format!("*a{},", i - 1).repeat(9);
            text += &format!("a{i}: &a{i} [{alias}]\n");
        }
        assert!(parse(&text, Format::Yaml).is_err());
    }
}
