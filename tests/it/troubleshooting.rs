//! `docs/TROUBLESHOOTING.md` holds every message that an operator may have to act on: each
//! warning and error that is logged, and each error that ends a command.
//!
//! The sources are read as text. In the page a message stands as it does in the code, with `…`
//! for what differs from case to case, in a quotation (`> `) of its own.

use std::fs;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

/// What is followed by a message: log lines, error types, and what ends a command.
const SPEAKERS: [&str; 5] = ["warn!(", "error!(", "#[error(", "bail!(", ".context("];

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The sources without their tests.
fn sources() -> impl Iterator<Item = (PathBuf, String)> {
    let files = WalkDir::new(repository().join("src")).sort_by_file_name().into_iter().map(Result::unwrap);
    let paths = files.map(walkdir::DirEntry::into_path).filter(|path| {
        let name = path.to_string_lossy().into_owned();
        name.ends_with(".rs") && !name.ends_with("tests.rs") && !name.contains("/tests/")
    });
    paths.map(|path| {
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
        (path, code)
    })
}

/// The first text among the arguments that stand behind the opening parenthesis: not the value
/// of a field, and not an argument of something in between.
fn message(arguments: &str) -> Option<String> {
    let (mut depth, mut before, mut at) = (0, ' ', 0);
    while let Some(character) = arguments[at..].chars().next() {
        at += character.len_utf8();
        match character {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => return None,
            ')' | ']' | '}' => depth -= 1,
            '"' => {
                let text = &arguments[at..at + end_of_text(&arguments[at..])?];
                if depth == 0 && before != '=' {
                    return Some(unescaped(text));
                }
                at += text.len() + 1;
            }
            _ => {}
        }
        if !character.is_whitespace() {
            before = character;
        }
    }
    None
}

/// Where the text that has begun ends: at a quotation mark that is not escaped.
fn end_of_text(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, character)| {
        let ends = character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
        ends.then_some(at)
    })
}

/// As it is logged, on one line, with `…` in the place of each value.
fn unescaped(text: &str) -> String {
    let lines: Vec<&str> = text.split("\\\n").collect();
    let joined = lines.iter().enumerate().map(|(n, line)| if n == 0 { line } else { line.trim_start() });
    let joined: String = joined.collect::<String>().replace("\\\"", "\"");
    let (mut shown, mut depth) = (String::new(), 0);
    for character in joined.chars() {
        match character {
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                shown.push('…');
            }
            _ if depth == 0 => shown.push(character),
            _ => {}
        }
    }
    shown
}

/// Whether it says anything by itself.
fn speaks(message: &str) -> bool {
    message.chars().filter(|character| character.is_alphabetic()).count() > 3
}

/// All messages, with the files that they stand in.
fn messages() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (path, text) in sources() {
        for (at, speaker) in SPEAKERS.iter().flat_map(|speaker| text.match_indices(speaker)) {
            let line = &text[..at].rsplit('\n').next().unwrap_or_default().trim_start();
            let message = message(&text[at + speaker.len()..]).filter(|message| speaks(message));
            if let (false, Some(message)) = (line.starts_with("//"), message) {
                found.push((path.strip_prefix(repository()).unwrap().display().to_string(), message));
            }
        }
    }
    found
}

#[test]
fn every_message_stands_in_the_page_with_what_to_do() {
    let page = fs::read_to_string(repository().join("docs/TROUBLESHOOTING.md")).unwrap_or_default();
    let quoted: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("> ")).collect();
    let messages = messages();
    assert!(messages.len() > 40, "only {} messages were found", messages.len());
    let missing: Vec<String> = messages
        .iter()
        .filter(|(_, message)| !quoted.contains(&&**message))
        .map(|(path, message)| format!("{path}\n> {message}"))
        .collect();
    assert!(missing.is_empty(), "docs/TROUBLESHOOTING.md lacks:\n{}", missing.join("\n"));
    let stale: Vec<&&str> =
        quoted.iter().filter(|quoted| !messages.iter().any(|(_, message)| message == **quoted)).collect();
    assert!(stale.is_empty(), "docs/TROUBLESHOOTING.md holds what nobody says any more: {stale:#?}");
}

#[test]
fn log_lines_begin_in_lower_case() {
    let wrong: Vec<(String, String)> = messages()
        .into_iter()
        .filter(|(_, message)| {
            let word = message.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
            message.starts_with(char::is_uppercase) && !word.chars().all(|c| c.is_uppercase())
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_message_is_found_among_its_fields() {
    let cases = [
        (r#"flow = %a.b("x"), "it {count} of {} is \"so\"", n);"#, Some("it … of … is \"so\"")),
        ("%error, suppressed,\n  \"one \\\n   two\");", Some("one two")),
        (r#"flow, code = "not this", "but this")"#, Some("but this")),
        ("transparent)]", None),
    ];
    for (arguments, expected) in cases {
        assert_eq!(message(arguments).as_deref(), expected, "{arguments}");
    }
}
