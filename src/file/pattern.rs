//! The globs of a flow: which paths they match, and which folders must be looked at to find
//! those. `*`, `?`, `[..]`, `{a,b}` and a backslash mean what they mean in a shell, `**` any
//! number of folders; `*` also matches a leading dot.
//!
//! Patterns work on bytes, so that names that are not UTF-8 are found too.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use globset::{Glob, GlobBuilder, GlobMatcher, GlobSet, GlobSetBuilder};

/// One step of a pattern, from the root down.
#[derive(Clone, Debug)]
pub enum Step {
    Literal(std::ffi::OsString),
    Glob(GlobMatcher),
    /// `**`: any number of folders, none included.
    AnyDepth,
}

/// What is wrong with a pattern.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PatternError {
    #[error("`{0}` is not an absolute path")]
    NotAbsolute(String),
    #[error("`{0}` names a folder: a file name or a glob for one must follow the last `/`")]
    NoFileName(String),
    #[error("`{0}` is not a glob: {1}")]
    NotAGlob(String, String),
}

/// The patterns of one flow, and what is left out of them.
#[derive(Clone, Debug)]
pub struct Patterns {
    alternatives: Vec<Vec<Step>>,
    includes: GlobSet,
    excludes: GlobSet,
}

impl Patterns {
    pub fn try_new(patterns: &[String], excludes: &[String]) -> Result<Self, PatternError> {
        let mut alternatives = Vec::new();
        let mut includes = GlobSetBuilder::new();
        for pattern in patterns {
            if !pattern.starts_with('/') {
                return Err(PatternError::NotAbsolute(pattern.clone()));
            }
            if pattern.ends_with('/') || pattern.ends_with("/.") || pattern.ends_with("/..") {
                return Err(PatternError::NoFileName(pattern.clone()));
            }
            includes.add(glob(pattern)?);
            for alternative in expand_braces(pattern) {
                alternatives.push(steps(&alternative)?);
            }
        }
        let mut exclude_set = GlobSetBuilder::new();
        for exclude in excludes {
            exclude_set.add(glob(exclude)?);
        }
        let built = |set: GlobSetBuilder| {
            set.build().map_err(|error| PatternError::NotAGlob(patterns.join(", "), error.to_string()))
        };
        Ok(Patterns { alternatives, includes: built(includes)?, excludes: built(exclude_set)? })
    }

    /// Whether a file at `path` belongs to the flow.
    pub fn matches(&self, path: &Path) -> bool {
        self.includes.is_match(path) && !self.excluded(path)
    }

    /// An exclude pattern that matches a folder leaves out all that is in it; one without a `/`
    /// is held against the names alone.
    pub fn excluded(&self, path: &Path) -> bool {
        let excludes = |path: &Path| {
            self.excludes.is_match(path) || path.file_name().is_some_and(|name| self.excludes.is_match(name))
        };
        !self.excludes.is_empty() && path.ancestors().any(excludes)
    }

    /// The patterns without braces, each as the steps from the root down.
    pub fn alternatives(&self) -> &[Vec<Step>] {
        &self.alternatives
    }
}

impl Step {
    pub fn matches(&self, name: &OsStr) -> bool {
        match self {
            Step::Literal(literal) => literal == name,
            Step::Glob(glob) => glob.is_match(name),
            Step::AnyDepth => true,
        }
    }
}

fn glob(pattern: &str) -> Result<Glob, PatternError> {
    GlobBuilder::new(pattern)
        .literal_separator(true)
        .backslash_escape(true)
        .build()
        .map_err(|error| PatternError::NotAGlob(pattern.to_owned(), error.kind().to_string()))
}

fn steps(pattern: &str) -> Result<Vec<Step>, PatternError> {
    let mut steps = Vec::new();
    for component in Path::new(pattern).components() {
        match component {
            Component::Normal(name) => {
                let text = name.to_str().expect("a pattern is UTF-8");
                steps.push(match text {
                    "**" => Step::AnyDepth,
                    _ if text.contains(['*', '?', '[', '\\']) => Step::Glob(glob(text)?.compile_matcher()),
                    _ => Step::Literal(name.to_owned()),
                });
            }
            Component::ParentDir => steps.push(Step::Literal("..".into())),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    // A pattern that ends in `**` means the files below.
    if matches!(steps.last(), Some(Step::AnyDepth)) {
        steps.push(Step::Glob(glob("*")?.compile_matcher()));
    }
    Ok(steps)
}

/// `a{b,c}d` as `abd` and `acd`, so that an alternative may hold a `/`.
fn expand_braces(pattern: &str) -> Vec<String> {
    let Some((open, close)) = outermost_braces(pattern) else { return vec![pattern.to_owned()] };
    let (before, inner, after) = (&pattern[..open], &pattern[open + 1..close], &pattern[close + 1..]);
    let rests = expand_braces(after);
    let mut expanded = Vec::new();
    for alternative in split_alternatives(inner) {
        for middle in expand_braces(alternative) {
            expanded.extend(rests.iter().map(|rest| format!("{before}{middle}{rest}")));
        }
    }
    expanded
}

/// The first brace that is not escaped, and the one that closes it.
fn outermost_braces(pattern: &str) -> Option<(usize, usize)> {
    let mut open = None;
    let mut depth = 0;
    let mut escaped = false;
    for (at, character) in pattern.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '{' => {
                open.get_or_insert(at);
                depth += 1;
            }
            '}' if depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    return open.map(|open| (open, at));
                }
            }
            _ => {}
        }
    }
    None
}

fn split_alternatives(inner: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut from, mut escaped) = (0, 0, false);
    for (at, character) in inner.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inner[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inner[from..]);
    parts
}

/// The deepest folder of a pattern without a glob in it.
pub fn literal_prefix(steps: &[Step]) -> PathBuf {
    let mut path = PathBuf::from("/");
    for step in &steps[..steps.len().saturating_sub(1)] {
        match step {
            Step::Literal(name) => path.push(name),
            _ => break,
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    fn patterns(include: &[&str], exclude: &[&str]) -> Patterns {
        let own = |list: &[&str]| list.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        Patterns::try_new(&own(include), &own(exclude)).unwrap()
    }

    #[test]
    fn a_star_stays_in_its_folder_and_matches_a_leading_dot() {
        let p = patterns(&["/var/log/*.log"], &[]);
        assert!(p.matches(Path::new("/var/log/.a.log")));
        assert!(!p.matches(Path::new("/var/log/x/a.log")));
    }

    #[test]
    fn two_stars_match_any_number_of_folders() {
        let p = patterns(&["/var/**/a.log"], &[]);
        assert!(p.matches(Path::new("/var/a.log")));
        assert!(p.matches(Path::new("/var/x/y/a.log")));
    }

    #[test]
    fn braces_may_hold_folders_and_nest() {
        assert_eq!(expand_braces("/a/{b,c/{d,e}}/f"), ["/a/b/f", "/a/c/d/f", "/a/c/e/f"]);
        assert!(patterns(&["/a/{b,c/d}/f"], &[]).matches(Path::new("/a/c/d/f")));
        assert_eq!(expand_braces("/a/\\{b"), ["/a/\\{b"]);
    }

    #[test]
    fn an_exclude_without_a_slash_is_held_against_the_name() {
        let p = patterns(&["/var/log/*"], &["*.gz", "/var/log/b*"]);
        assert!(!p.matches(Path::new("/var/log/a.gz")));
        assert!(!p.matches(Path::new("/var/log/b.log")));
        assert!(p.matches(Path::new("/var/log/a.log")));
    }

    #[test]
    fn an_exclude_that_matches_a_folder_leaves_out_all_in_it() {
        let p = patterns(&["/var/log/**/*.log"], &["**/*secret*"]);
        assert!(!p.matches(Path::new("/var/log/a/secrets/b/a.log")));
        assert!(p.matches(Path::new("/var/log/a/public/b/a.log")));
    }

    #[test]
    fn names_that_are_not_utf8_match() {
        let p = patterns(&["/var/log/*.log"], &[]);
        assert!(p.matches(Path::new(OsStr::from_bytes(b"/var/log/\xff.log"))));
    }

    #[test]
    fn relative_patterns_and_folders_are_refused() {
        let refused = |pattern: &str| Patterns::try_new(&[pattern.to_owned()], &[]).unwrap_err();
        assert!(matches!(refused("a.log"), PatternError::NotAbsolute(_)));
        assert!(matches!(refused("/var/log/"), PatternError::NoFileName(_)));
        assert!(matches!(refused("/var/log/[a"), PatternError::NotAGlob(..)));
    }

    #[test]
    fn the_literal_prefix_ends_before_the_first_glob() {
        let p = patterns(&["/var/log/*/x.log"], &[]);
        assert_eq!(literal_prefix(&p.alternatives()[0]), Path::new("/var/log"));
    }
}
