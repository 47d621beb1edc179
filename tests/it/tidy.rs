//! The structure of the code, as far as a program can see it.
//!
//! It reads the sources as text. What it says is a rule of the project, with the reason; a
//! rule that hinders is changed here, in the open, and not worked around.

use std::fs;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

/// The stages in the order of the data. Imports point to the left.
const STAGES: [&str; 4] = ["file", "record", "send", "settle"];

/// Each of these crates can be exchanged in one file.
const FENCED: [&str; 8] = [
    "serde_yaml",
    "rusqlite",
    "aws_sdk_kinesis",
    "aws_sdk_firehose",
    "notify",
    "prometheus_client",
    "schemars",
    "zstd",
];

/// A function fits a screen.
const MAX_FUNCTION_LINES: usize = 70;

#[derive(Debug)]
struct Source {
    /// Relative to the repository.
    path: PathBuf,
    text: String,
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `folder` whose name ends so; none if there is no such folder.
fn sources(folder: &str, ending: &str) -> Vec<Source> {
    let hidden = |name: &str| name.starts_with('.') && name != "." || name == "target";
    let entries = WalkDir::new(repository().join(folder)).sort_by_file_name().into_iter();
    let entries = entries
        .filter_entry(move |entry| entry.depth() == 0 || !entry.file_name().to_str().is_some_and(hidden));
    let files = entries.filter_map(Result::ok).filter(|entry| entry.file_type().is_file());
    let named = files.filter(|entry| entry.path().to_str().is_some_and(|path| path.ends_with(ending)));
    let read = |entry: walkdir::DirEntry| Source {
        path: entry.path().strip_prefix(repository()).unwrap().to_owned(),
        text: fs::read_to_string(entry.path()).unwrap(),
    };
    named.map(read).collect()
}

impl Source {
    /// The lines with their numbers, without those that are comments as a whole.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(index, line)| (index + 1, line));
        lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// Whether a line uses the crate or module.
    fn uses(&self, name: &str) -> bool {
        self.code().any(|(_, line)| names(line, name))
    }

    fn is_async(&self) -> bool {
        self.code().any(|(_, line)| line.contains(".await") || line.contains("async "))
    }
}

/// Whether `name` stands in the line as a path's segment of its own.
fn names(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = &line[at + name.len()..];
        let begins = before.is_none_or(|c| !c.is_alphanumeric() && !"_.:".contains(c));
        begins && (after.starts_with("::") || line.trim_start().starts_with("use ") && after.starts_with(';'))
    })
}

#[track_caller]
fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn imports_point_to_the_left() {
    let mut wrong = Vec::new();
    for (index, stage) in STAGES.iter().enumerate() {
        let right = STAGES[index + 1..].iter().chain(&["config", "agent"]);
        let foreign: Vec<String> = right.map(|stage| format!("crate::{stage}")).collect();
        for source in sources(&format!("src/{stage}"), ".rs") {
            for (number, line) in source.code() {
                if foreign.iter().any(|name| names(line, name)) {
                    wrong.push(format!("{}:{number}: {}", source.path.display(), line.trim()));
                }
            }
        }
    }
    assert_none("a stage must not know what comes after it", &wrong);
}

#[test]
fn one_file_names_each_fenced_crate() {
    let all = sources("src", ".rs");
    assert!(!all.is_empty());
    let mut wrong = Vec::new();
    for name in FENCED {
        let using: Vec<_> = all.iter().filter(|source| source.uses(name)).collect();
        if using.len() > 1 {
            let paths: Vec<_> = using.iter().map(|source| source.path.display().to_string()).collect();
            wrong.push(format!("{name}: {}", paths.join(", ")));
        }
    }
    assert_none("a crate that can be exchanged is named in one file", &wrong);
}

#[test]
fn each_file_says_what_it_is() {
    let mut wrong = Vec::new();
    for source in sources("src", ".rs").iter().chain(&sources("tests", ".rs")) {
        let doc = source.text.lines().take_while(|line| line.starts_with("//!")).count();
        if !(1..=20).contains(&doc) {
            wrong.push(format!("{}: {doc} lines", source.path.display()));
        }
    }
    assert_none("a file opens with a few lines that say what it is", &wrong);
}

/// The first line and the length of each function, where rustfmt has been at work: a function
/// ends with a brace at its own indentation.
fn functions(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let is_function = |line: &str| {
        let words = line.trim_start();
        let head = words.split_once("fn ").map(|(head, _)| head.trim());
        let modifiers = ["pub", "async", "const", "unsafe", "pub(crate)", "pub(super)"];
        head.is_some_and(|head| head.split_whitespace().all(|word| modifiers.contains(&word)))
    };
    let starts = (0..lines.len()).filter(|&start| is_function(lines[start]));
    starts
        .filter_map(|start| {
            if lines[start].ends_with('}') || lines[start].ends_with(';') {
                return None;
            }
            let closes = |line: &&str| indent(line) == indent(lines[start]) && line.trim() == "}";
            let length = lines[start..].iter().position(closes)? + 1;
            Some((start + 1, length))
        })
        .collect()
}

#[test]
fn a_function_fits_a_screen() {
    let mut wrong = Vec::new();
    for folder in ["src", "tests", "benches", "examples"] {
        for source in sources(folder, ".rs") {
            for (line, length) in functions(&source.text) {
                if length > MAX_FUNCTION_LINES {
                    wrong.push(format!("{}:{line}: {length} lines", source.path.display()));
                }
            }
        }
    }
    assert_none("a function fits a screen", &wrong);
}

#[test]
fn async_code_takes_its_time_from_the_runtime() {
    let mut wrong = Vec::new();
    for source in sources("src", ".rs").iter().filter(|source| source.is_async()) {
        for (number, line) in source.code() {
            let import = line.contains("std::time::{") && line.contains("Instant");
            if import || line.contains("std::time::Instant") {
                wrong.push(format!("{}:{number}", source.path.display()));
            }
        }
    }
    assert_none("std::time::Instant cannot be paused in a test", &wrong);
}

#[test]
fn a_script_waits_for_a_condition() {
    let allowed = ["support/wait.rs", "support/endpoint.rs", "tidy.rs"];
    let mut wrong = Vec::new();
    for source in sources("tests", ".rs") {
        let path = source.path.display().to_string();
        let called = |(_, line): &(usize, &str)| line.contains("sleep(");
        if !allowed.iter().any(|end| path.ends_with(end)) {
            wrong.extend(source.code().filter(called).map(|(number, _)| format!("{path}:{number}")));
        }
    }
    assert_none("a test that sleeps is slow or flaky: wait for a condition", &wrong);
}

#[test]
fn nothing_is_left_for_later() {
    let mut wrong = Vec::new();
    for folder in ["src", "tests", "benches", "examples"] {
        let sources = sources(folder, ".rs");
        for source in sources.iter().filter(|source| !source.path.ends_with("tidy.rs")) {
            for (index, line) in source.text.lines().enumerate() {
                if ["TODO", "FIXME", "XXX", "todo!", "unimplemented!"].iter().any(|mark| line.contains(mark))
                {
                    wrong.push(format!("{}:{}: {}", source.path.display(), index + 1, line.trim()));
                }
            }
        }
    }
    assert_none("do it, or open an issue", &wrong);
}

/// The targets of `[text](target)`, without anchors.
fn links(markdown: &str) -> impl Iterator<Item = &str> {
    let targets = markdown.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.map(|target| target.split('#').next().unwrap_or(target))
}

#[test]
fn relative_links_lead_somewhere() {
    let mut wrong = Vec::new();
    for source in sources("", ".md") {
        let folder = source.path.parent().expect("a file stands in a folder");
        for link in links(&source.text) {
            let outside = link.is_empty() || link.contains("://") || link.starts_with("mailto:");
            if !outside && !repository().join(folder).join(link).exists() {
                wrong.push(format!("{}: {link}", source.path.display()));
            }
        }
    }
    assert_none("a link leads nowhere", &wrong);
}

/// The file and the name of each test that stands in backticks as `path.rs::name`.
fn named_tests(markdown: &str) -> impl Iterator<Item = (&str, &str)> {
    let quoted = markdown.split('`').skip(1).step_by(2);
    quoted.filter_map(|text| text.split_once("::")).filter(|(path, _)| path.ends_with(".rs"))
}

/// Whether `text` has a test of this name, not just a function.
fn has_test(text: &str, name: &str) -> bool {
    let head = format!("fn {name}(");
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let functions = lines.iter().enumerate().filter(|(_, line)| line.contains(&head));
    let attributes = |at: usize| lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
    functions.into_iter().any(|(at, _)| attributes(at).any(|line| line.ends_with("test]")))
}

#[test]
fn the_tests_that_rotation_names_exist() {
    let page = fs::read_to_string(repository().join("docs/ROTATION.md")).unwrap();
    let named: Vec<_> = named_tests(&page).collect();
    assert!(named.len() > 20, "only {} tests are named", named.len());
    let mut wrong = Vec::new();
    for (path, name) in named {
        let text = fs::read_to_string(repository().join(path)).unwrap_or_default();
        if !has_test(&text, name) {
            wrong.push(format!("{path}: {name}"));
        }
    }
    assert_none("docs/ROTATION.md names a test that does not exist", &wrong);
}

#[test]
fn the_rules_see_what_they_look_for() {
    assert!(names("use crate::send::Entry;", "crate::send"));
    assert!(names("    let entry: crate::send::Entry;", "crate::send"));
    assert!(!names("use crate::sender::Entry;", "crate::send"));
    assert!(names("use notify;", "notify"));
    assert!(!names("bell.notify_waiters(); self::notify::x", "notify"));
    let text =
        "fn short() {}\n    pub async fn long(\n        a: u8,\n    ) {\n        {\n        }\n    }\n";
    assert_eq!(functions(text), [(2, 6)]);
    let found: Vec<_> = links("[a](b.md#c) and [d](https://e) [f](g)").collect();
    assert_eq!(found, ["b.md", "https://e", "g"]);
    let found: Vec<_> = named_tests("`a/b.rs::c`, `d::e` and f.rs::g `h.rs`").collect();
    assert_eq!(found, [("a/b.rs", "c")]);
    let text = "#[test]\n#[ignore]\nfn a() {\n}\n\nfn b() {\n}\n";
    assert!(has_test(text, "a") && !has_test(text, "b") && !has_test(text, "c"));
}
