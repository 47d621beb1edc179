//! The keys of one level (the top of the file, or one flow), each read as the type it must have.
//!
//! Reading never stops: what is wrong is put into the report, and the caller goes on as if the
//! key were not there, so that all that is wrong is found in one go. A section knows which keys
//! exist, not what they mean.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;

use super::error::Problem;
use super::keys::{self, Level, Role};
use super::raw::{Entry, Format, Node, Value};
use super::{quantity, variables};

/// What was found so far, and what reading depends on beside the file.
pub struct Report<'a> {
    pub file: &'a Path,
    pub format: Format,
    pub env: &'a dyn Fn(&str) -> Option<String>,
    pub problems: Vec<Problem>,
    pub warnings: Vec<Problem>,
}

impl Report<'_> {
    pub fn problem(&mut self, line: usize, key: &str, text: impl Into<String>) {
        let problem = Problem { file: self.file.to_owned(), line, key: key.to_owned(), text: text.into() };
        self.problems.push(problem);
    }

    pub fn warning(&mut self, line: usize, key: &str, text: impl Into<String>) {
        let warning = Problem { file: self.file.to_owned(), line, key: key.to_owned(), text: text.into() };
        self.warnings.push(warning);
    }
}

/// A value that was typed, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given<T> {
    pub value: T,
    pub line: usize,
}

pub struct Section<'r, 'a> {
    pub report: &'r mut Report<'a>,
    /// Where the section begins.
    pub line: usize,
    level: Level,
    /// Stands before a key in messages, such as `flows[0].`; empty at the top.
    prefix: String,
    /// With whole, dotted names, each once.
    entries: Vec<Entry>,
    /// The keys that were meant by those that do not exist.
    misspelt: Vec<&'static str>,
}

impl<'r, 'a> Section<'r, 'a> {
    /// Sorts out the keys that do not exist, stand twice or are not followed.
    pub fn new(
        report: &'r mut Report<'a>,
        level: Level,
        prefix: String,
        line: usize,
        entries: Vec<Entry>,
    ) -> Self {
        let mut section = Section { report, line, level, prefix, entries: Vec::new(), misspelt: Vec::new() };
        section.flatten("", entries);
        section
    }

    fn flatten(&mut self, group: &str, entries: Vec<Entry>) {
        for mut entry in entries {
            entry.key = format!("{group}{}", entry.key);
            let (level, name) = (self.level, entry.key.as_str());
            let is_group =
                [Level::Agent, Level::Flow].iter().any(|&l| keys::in_group(l, name).next().is_some());
            match (keys::find(level, name), entry.node.value) {
                (Some(key), value) => {
                    entry.node.value = value;
                    self.keep(key.role, entry);
                }
                (None, Value::Map(inner)) if is_group => self.flatten(&format!("{name}."), inner),
                (None, _) if keys::in_group(level, name).next().is_some() => {
                    let inside =
                        keys::in_group(level, name).map(|key| format!("`{key}`")).collect::<Vec<_>>();
                    let text = format!("is a group of keys, not a key; allowed: {}", inside.join(", "));
                    self.unusable(entry.line, &entry.key, text);
                }
                (None, _) => {
                    let (text, meant) = keys::unknown(level, name);
                    self.misspelt.extend(meant);
                    self.unusable(entry.line, &entry.key, text);
                }
            }
        }
    }

    /// The Java agent passes over keys that it does not know, so its files may hold some.
    fn unusable(&mut self, line: usize, name: &str, text: String) {
        match self.report.format {
            Format::Yaml => self.problem(line, name, text),
            Format::Json => self.warning(line, name, format!("{text} (the key is ignored)")),
        }
    }

    fn keep(&mut self, role: Role, entry: Entry) {
        if let Some(first) = self.entries.iter().find(|other| other.key == entry.key) {
            let text = format!("stands twice, first on line {}; remove one of the two", first.line);
            return self.problem(entry.line, &entry.key, text);
        }
        if self.report.format == Format::Json && entry.node.value == Value::Null {
            return;
        }
        match role {
            Role::Used => self.entries.push(entry),
            Role::NoEffect("") => self.warning(entry.line, &entry.key, "has no effect in this agent"),
            Role::NoEffect(instead) => {
                self.warning(entry.line, &entry.key, format!("has no effect in this agent: {instead}"));
            }
            Role::Unsupported(instead) => {
                let off = match &entry.node.value {
                    Value::Text(text) => text.is_empty(),
                    Value::List(items) => items.is_empty(),
                    _ => false,
                };
                if !off {
                    let text = format!("is not supported by this version: {instead}");
                    self.problem(entry.line, &entry.key, text);
                }
            }
        }
    }

    fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub fn problem(&mut self, line: usize, name: &str, text: impl Into<String>) {
        let key = self.path(name);
        self.report.problem(line, &key, text);
    }

    pub fn warning(&mut self, line: usize, name: &str, text: impl Into<String>) {
        let key = self.path(name);
        self.report.warning(line, &key, text);
    }

    /// The line of the key, if it was typed.
    pub fn line_of(&self, name: &str) -> Option<usize> {
        self.entries.iter().find(|entry| entry.key == name).map(|entry| entry.line)
    }

    /// What was typed after the key, whatever it is.
    pub fn typed(&self, name: &str) -> Option<&Value> {
        self.entries.iter().find(|entry| entry.key == name).map(|entry| &entry.node.value)
    }

    /// That one of these keys must be there and none is. If one was misspelt, that has been said.
    pub fn missing(&mut self, names: &[&str], text: &str) {
        if self.report.format == Format::Json || !names.iter().any(|name| self.misspelt.contains(name)) {
            self.problem(self.line, names[0], format!("is missing{text}"));
        }
    }

    /// The value as typed; none if there is none, or nothing was typed after the key.
    pub fn node(&mut self, name: &str) -> Option<Given<Value>> {
        debug_assert!(keys::find(self.level, name).is_some_and(|key| key.role == Role::Used), "{name}");
        let entry = self.entries.iter().find(|entry| entry.key == name)?;
        let (line, value) = (entry.line, entry.node.value.clone());
        if value == Value::Null {
            self.problem(line, name, "has no value; give one, or remove the key if it may be left out");
            return None;
        }
        Some(Given { value, line })
    }

    /// A text with its variables replaced. None for an empty one: it stands for no value.
    pub fn text(&mut self, name: &str) -> Option<Given<String>> {
        self.any_text(name).filter(|given| !given.value.is_empty())
    }

    /// A text with its variables replaced, which may be empty.
    pub fn any_text(&mut self, name: &str) -> Option<Given<String>> {
        let given = self.node(name)?;
        let value = self.scalar(name, given.line, given.value)?;
        Some(Given { value, line: given.line })
    }

    /// A text exactly as it was typed.
    pub fn verbatim(&mut self, name: &str) -> Option<Given<String>> {
        let Given { value, line } = self.node(name)?;
        match value {
            Value::Text(value) if value.is_empty() => None,
            Value::Text(value) => Some(Given { value, line }),
            other => {
                self.problem(
                    line,
                    name,
                    format!("is {}; text is allowed (put it in quotes)", described(&other)),
                );
                None
            }
        }
    }

    /// One text, or a list of them.
    pub fn texts(&mut self, name: &str) -> Option<Vec<Given<String>>> {
        let Given { value, line } = self.node(name)?;
        let items = match value {
            Value::List(items) => items,
            value => vec![Node { line, value }],
        };
        let mut texts = Vec::new();
        for item in items {
            let value = self.scalar(name, item.line, item.value)?;
            texts.push(Given { value, line: item.line });
        }
        Some(texts)
    }

    fn scalar(&mut self, name: &str, line: usize, value: Value) -> Option<String> {
        let text = match value {
            Value::Text(text) if self.report.format == Format::Json => return Some(text),
            Value::Text(text) => variables::expand(&text, self.report.env),
            Value::Integer(number) => Ok(number.to_string()),
            other => Err(format!("is {}; text is allowed (put it in quotes)", described(&other))),
        };
        text.map_err(|text| self.problem(line, name, text)).ok()
    }

    /// A whole number without a unit.
    pub fn number(&mut self, name: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let allowed = format!("{} to {}", range.start(), range.end());
        self.quantity(name, range, |text| text.trim().parse().ok(), &allowed)
    }

    /// A duration in milliseconds.
    pub fn millis(&mut self, name: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let allowed = format!(
            "{} to {} milliseconds, or a number with ms, s, m or h such as 30s",
            range.start(),
            range.end()
        );
        self.quantity(name, range, quantity::millis, &allowed)
    }

    /// A size in bytes.
    pub fn bytes(&mut self, name: &str, range: RangeInclusive<u64>) -> Option<Given<u64>> {
        let allowed = if *range.end() == u64::MAX {
            format!("{} bytes or more, or a number with KiB, MiB, GiB, KB, MB or GB", range.start())
        } else {
            format!("{} to {} bytes, or a number with KiB, MiB, KB or MB", range.start(), range.end())
        };
        let value = self.quantity(name, range, quantity::bytes, &allowed)?;
        Some(Given { value, line: self.line_of(name).unwrap_or(self.line) })
    }

    fn quantity(
        &mut self,
        name: &str,
        range: RangeInclusive<u64>,
        parse: impl Fn(&str) -> Option<u64>,
        allowed: &str,
    ) -> Option<u64> {
        let Given { value, line } = self.node(name)?;
        let (shown, number) = match value {
            Value::Text(_) => {
                let text = self.scalar(name, line, value)?;
                (quoted(&text), parse(&text))
            }
            Value::Integer(number) => {
                (number.to_string(), Some(u64::try_from(number.max(0)).unwrap_or(u64::MAX)))
            }
            other => (described(&other), None),
        };
        let wrong = match number {
            None => "cannot be read as a whole number",
            Some(_) if shown.starts_with('-') => "is too small",
            Some(number) if number < *range.start() => "is too small",
            Some(number) if number > *range.end() => "is too large",
            Some(number) => return Some(number),
        };
        self.problem(line, name, format!("{shown} {wrong}; allowed: {allowed}"));
        None
    }

    pub fn flag(&mut self, name: &str) -> Option<bool> {
        let Given { value, line } = self.node(name)?;
        let text = match value {
            Value::Bool(flag) => return Some(flag),
            Value::Text(_) => self.scalar(name, line, value)?,
            other => described(&other),
        };
        match text.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                self.problem(line, name, format!("{} is neither; allowed: true, false", quoted(&text)));
                None
            }
        }
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&mut self, name: &str, words: &[(&str, T)]) -> Option<Given<T>> {
        self.choice_beside(name, words, "")
    }

    /// One of a few words, where `others` are allowed, too.
    pub fn choice_beside<T: Copy>(
        &mut self,
        name: &str,
        words: &[(&str, T)],
        others: &str,
    ) -> Option<Given<T>> {
        let Given { value: text, line } = self.any_text(name)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(Given { value: *value, line });
        }
        let list = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        let meant = keys::meant(&text, words.iter().map(|(word, _)| *word));
        let meant = meant.map(|word| format!("; did you mean `{word}`?")).unwrap_or_default();
        self.problem(line, name, format!("{} is not known; allowed: {list}{others}{meant}", quoted(&text)));
        None
    }
}

/// `text` as it is shown in a message: in quotes, and not longer than a line.
pub fn quoted(text: &(impl Display + ?Sized)) -> String {
    let text = text.to_string();
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{:?}...", &text[..at]),
        None => format!("{text:?}"),
    }
}

fn described(value: &Value) -> String {
    match value {
        Value::Null => "empty".into(),
        Value::Bool(flag) => flag.to_string(),
        Value::Integer(number) => format!("the number {number}"),
        Value::Float(number) => format!("the number {number}"),
        Value::Text(_) => "a text".into(),
        Value::List(_) => "a list".into(),
        Value::Map(_) => "a group of keys".into(),
    }
}
