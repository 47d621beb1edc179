//! The answer to a question about files: which of all tails are meant, in which order, and one
//! page of them.
//!
//! It must be cheap with 100,000 files while the stage has better things to do: nothing is
//! copied that is not on the page, and only the page is sorted.

use std::cmp::{Ordering, Reverse};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use globset::{GlobBuilder, GlobMatcher};
use memchr::memmem;

use super::store::TailRow;
use crate::file::TailState;
use crate::observe::status::{FilePage, FileState, FileStatus, FilesQuery, Sort};

/// A tail, as far as a question needs it.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    pub row: &'a TailRow,
    /// The name of its flow.
    pub flow: &'a str,
    pub read: u64,
    pub settled: u64,
    /// Bytes that are not settled.
    pub lag: u64,
    /// The age of the oldest of them.
    pub age: Duration,
}

/// The page that `query` asks for of all `lines`.
pub fn page<'a>(query: &FilesQuery, lines: impl Iterator<Item = Line<'a>>) -> FilePage {
    let filter = query.file.as_deref().filter(|file| !file.is_empty()).map(PathFilter::new);
    let mut total = 0;
    let meant = |line: &Line<'_>| {
        query.flow.as_deref().is_none_or(|flow| flow == line.flow)
            && filter.as_ref().is_none_or(|filter| filter.matches(&line.row.known.path))
    };
    let mut lines: Vec<Line<'a>> = lines.inspect(|_| total += 1).filter(meant).collect();
    let matching = lines.len();
    let limit = query.limit.min(FilesQuery::MAX_FILES);
    let first = query.offset.min(matching);
    let end = first.saturating_add(limit).min(matching);
    let order = |a: &Line<'_>, b: &Line<'_>| compare(query.sort, a, b);
    if end < matching {
        lines.select_nth_unstable_by(end, order);
        lines.truncate(end);
    }
    if first > 0 && first < end {
        lines.select_nth_unstable_by(first, order);
    }
    let lines = &mut lines[first..];
    lines.sort_unstable_by(order);
    FilePage { total, matching, items: lines.iter().map(Line::status).collect() }
}

fn compare(sort: Sort, a: &Line<'_>, b: &Line<'_>) -> Ordering {
    let first = match sort {
        Sort::Lag => Reverse(a.lag).cmp(&Reverse(b.lag)),
        Sort::Age => Reverse(a.age).cmp(&Reverse(b.age)),
        Sort::Size => Reverse(a.row.known.size).cmp(&Reverse(b.row.known.size)),
        Sort::Path => Ordering::Equal,
    };
    // Paths are compared as bytes, since comparing them part by part takes several times as long.
    let [left, right] = [a, b].map(|line| line.row.known.path.as_os_str().as_bytes());
    first.then_with(|| left.cmp(right)).then_with(|| a.row.known.tail.cmp(&b.row.known.tail))
}

impl Line<'_> {
    fn status(&self) -> FileStatus {
        let known = &self.row.known;
        FileStatus {
            flow: self.flow.to_owned(),
            path: known.path.to_string_lossy().into_owned(),
            state: match known.state {
                _ if !self.row.present => FileState::Gone,
                TailState::Live => FileState::Live,
                TailState::Rotated => FileState::Rotated,
                TailState::Finished => FileState::Finished,
                TailState::Over => FileState::Gone,
            },
            // What was read since the file's size was last told is there, too.
            size: known.size.max(self.read),
            read: self.read,
            settled: self.settled,
            lag_bytes: self.lag,
            lag_seconds: self.age.as_secs_f64(),
        }
    }
}

/// A part of a path; or, if it holds one of `*?[{` and is a valid glob, a glob. A glob must match
/// the whole path, or all of it behind one of its slashes; `*` and `?` match slashes, too.
#[derive(Debug)]
enum PathFilter {
    Part(memmem::Finder<'static>),
    Glob(GlobMatcher),
}

impl PathFilter {
    fn new(text: &str) -> Self {
        let anchored = if text.starts_with(['/', '*']) { text.to_owned() } else { format!("*/{text}") };
        let glob = text.contains(['*', '?', '[', '{']).then(|| GlobBuilder::new(&anchored).build());
        match glob {
            Some(Ok(glob)) => PathFilter::Glob(glob.compile_matcher()),
            // Half a glob is what somebody types on the way to a whole one.
            Some(Err(_)) | None => PathFilter::Part(memmem::Finder::new(text).into_owned()),
        }
    }

    fn matches(&self, path: &Path) -> bool {
        match self {
            PathFilter::Part(part) => part.find(path.as_os_str().as_bytes()).is_some(),
            PathFilter::Glob(glob) => glob.is_match(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::{Identity, KnownTail, TailId};

    fn row(tail: u64, path: &str, size: u64) -> TailRow {
        let known = KnownTail {
            tail: TailId(tail),
            path: Path::new(path).into(),
            identity: Identity::default(),
            offset: 0,
            anchors: Vec::new(),
            size,
            modified_millis: 0,
            state: TailState::Live,
        };
        TailRow { flow: "k".into(), known, present: true }
    }

    fn line(row: &TailRow, lag: u64, age: u64) -> Line<'_> {
        let settled = row.known.size - lag;
        let flow = if row.known.tail.0.is_multiple_of(2) { "even" } else { "odd" };
        Line { row, flow, read: settled, settled, lag, age: Duration::from_secs(age) }
    }

    fn paths(query: &FilesQuery) -> (usize, usize, String) {
        let rows = [
            row(1, "/var/log/b.log", 100),
            row(2, "/var/log/a.log", 50),
            row(3, "/srv/app/access.log", 70),
            row(4, "/srv/app/access.log.1", 90),
        ];
        let lags = [(10, 5), (0, 0), (20, 1), (10, 9)];
        let lines = rows.iter().zip(lags).map(|(row, (lag, age))| line(row, lag, age));
        let page = page(query, lines);
        let names = page.items.iter().map(|file| file.path.rsplit('/').next().unwrap().to_owned());
        (page.total, page.matching, names.collect::<Vec<_>>().join(" "))
    }

    fn sorted(sort: Sort) -> String {
        paths(&FilesQuery { sort, ..FilesQuery::default() }).2
    }

    #[test]
    fn each_order() {
        assert_eq!(sorted(Sort::Lag), "access.log access.log.1 b.log a.log");
        assert_eq!(sorted(Sort::Age), "access.log.1 b.log access.log a.log");
        assert_eq!(sorted(Sort::Size), "b.log access.log.1 access.log a.log");
        assert_eq!(sorted(Sort::Path), "access.log access.log.1 a.log b.log");
    }

    #[test]
    fn filters_by_flow_by_a_part_and_by_a_glob() {
        let by = |flow: Option<&str>, file: Option<&str>| {
            let query = FilesQuery {
                flow: flow.map(Into::into),
                file: file.map(Into::into),
                ..FilesQuery::default()
            };
            paths(&query)
        };
        assert_eq!(by(Some("odd"), None), (4, 2, "access.log b.log".into()));
        assert_eq!(by(Some("od"), None), (4, 0, String::new()));
        assert_eq!(by(None, Some("app/acc")), (4, 2, "access.log access.log.1".into()));
        assert_eq!(by(Some("even"), Some("app")), (4, 1, "access.log.1".into()));
        assert_eq!(by(None, Some("*.log")), (4, 3, "access.log b.log a.log".into()));
        assert_eq!(by(None, Some("{a,b}.log")), (4, 2, "b.log a.log".into()));
        assert_eq!(by(None, Some("access*")), (4, 2, "access.log access.log.1".into()));
        assert_eq!(by(None, Some("/var/*")), (4, 2, "b.log a.log".into()));
        assert_eq!(by(None, Some("log/[")), (4, 0, String::new()), "half a glob is a part");
        assert_eq!(by(None, Some("")).1, 4);
        let most = FilesQuery::MAX_WILDCARDS;
        let nested = format!("{}b.log{}", "{a,".repeat(most), "}".repeat(most));
        assert_eq!(by(None, Some(&nested)), (4, 1, "b.log".into()));
    }

    #[test]
    fn pages_of_any_size_hold_each_file_once() {
        for limit in 1..6 {
            let mut seen = Vec::new();
            for offset in (0..6).step_by(limit) {
                let query = FilesQuery { offset, limit, ..FilesQuery::default() };
                let (total, matching, names) = paths(&query);
                assert_eq!((total, matching), (4, 4));
                seen.extend(names.split_whitespace().map(str::to_owned));
            }
            assert_eq!(seen.join(" "), "access.log access.log.1 b.log a.log");
        }
        let none = FilesQuery { limit: 0, ..FilesQuery::default() };
        assert_eq!(paths(&none), (4, 4, String::new()));
        let far = FilesQuery { offset: usize::MAX, ..FilesQuery::default() };
        assert_eq!(paths(&far), (4, 4, String::new()));
    }
}
