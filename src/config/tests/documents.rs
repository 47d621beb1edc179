//! The example and the table of keys say what the code does.

use super::good;
use crate::config::keys::{KEYS, Level, Role};

const EXAMPLE: &str = include_str!("../../../config.example.yaml");
const TABLE: &str = include_str!("../../../docs/CONFIGURATION.md");
const README: &str = include_str!("../../../README.md");

/// Whether `text` holds `word`, and not only as a part of a longer one.
fn holds(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '.').any(|w| w.trim_end_matches('.') == word)
}

#[test]
fn the_example_is_accepted_and_nothing_in_it_looks_wrong() {
    let settings = good(EXAMPLE);
    assert_eq!(settings.flows.len(), 3);
    assert_eq!(settings.warnings, Vec::<String>::new());
}

#[test]
fn the_defaults_that_the_example_shows_are_the_defaults() {
    let is_default = |line: &str| {
        line.trim_start()
            .strip_prefix('#')
            .is_some_and(|key| key.starts_with(|c: char| c.is_ascii_lowercase()))
    };
    let shown = EXAMPLE.lines().filter(|line| is_default(line)).count();
    let typed: String = EXAMPLE
        .lines()
        .map(|line| if is_default(line) { line.replacen('#', "", 1) } else { line.to_owned() } + "\n")
        .collect();
    assert!(shown > 20, "only {shown} defaults were found in the example");
    let (settings, default) = (good(&typed), good(EXAMPLE));
    assert_eq!(format!("{settings:#?}"), format!("{default:#?}"));
}

#[test]
fn every_key_is_in_the_example_and_in_the_table() {
    for key in KEYS {
        assert!(holds(EXAMPLE, key.name), "{} is not in config.example.yaml", key.name);
        assert!(
            TABLE.contains(&format!("| `{}` |", key.name)),
            "{} has no row in docs/CONFIGURATION.md",
            key.name
        );
        let row = README.contains(&format!("| `{}` |", key.name));
        assert_eq!(row, key.role == Role::Used, "{} in README.md", key.name);
    }
}

/// A key that the table calls used and nobody reads would be accepted and passed over.
#[test]
fn every_key_is_followed_or_spoken_of() {
    for key in KEYS {
        let (top, flow) = match key.level {
            Level::Agent => (format!("{}: {{a: [1.5]}}\n", key.name), String::new()),
            Level::Flow => (String::new(), format!("    {}: {{a: [1.5]}}\n", key.name)),
        };
        let stream = if key.name == "kinesisStream" { "" } else { "    kinesisStream: s\n" };
        let files = if key.name == "filePattern" { "" } else { "  - filePattern: /a\n" };
        let flow = if files.is_empty() { format!("  -{}", &flow[3..]) } else { flow };
        let flows =
            if key.name == "flows" { String::new() } else { format!("flows:\n{files}{flow}{stream}") };
        let result = super::parse(&format!("{top}{flows}"));
        let spoken = match (&result, key.role) {
            (Ok(settings), Role::NoEffect(_)) => settings.warnings.join("\n"),
            (Err(error), Role::Used | Role::Unsupported(_)) => error.to_string(),
            _ => panic!("{}: {result:?}", key.name),
        };
        assert!(spoken.contains(key.name), "{}: {spoken}", key.name);
        assert!(!spoken.contains("no such key"), "{}: {spoken}", key.name);
    }
}
