//! Columns of text that fit the terminal: of what does not fit, the least important columns are
//! left out, and the first one is shortened.

use std::io::stdout;

/// No first column is shortened to less.
const LEAST: usize = 16;
const GAP: usize = 2;

#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

#[derive(Clone, Copy, Debug)]
struct Column {
    title: &'static str,
    right: bool,
    /// Columns with a higher number are left out first; 0 stays.
    rank: u8,
}

#[derive(Clone, Debug)]
pub struct Cell {
    pub text: String,
    /// The number of a terminal's colour.
    pub colour: Option<u8>,
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell { text, colour: None }
    }
}

impl Table {
    /// Title and rank of each column. The first stands to the left, so do those with a `<`.
    pub fn new(columns: &[(&'static str, u8)]) -> Self {
        let column = |(at, &(title, rank)): (usize, &(&'static str, u8))| {
            let name = title.strip_prefix('<');
            Column { title: name.unwrap_or(title), right: at > 0 && name.is_none(), rank }
        };
        Table { columns: columns.iter().enumerate().map(column).collect(), rows: Vec::new() }
    }

    pub fn push(&mut self, row: Vec<Cell>) {
        debug_assert_eq!(row.len(), self.columns.len());
        self.rows.push(row);
    }

    /// The lines, in at most so many columns of the terminal if that can be.
    pub fn lines(&self, width: Option<usize>, colours: bool) -> Vec<String> {
        let mut widths: Vec<usize> = (0..self.columns.len()).map(|at| self.width(at)).collect();
        let mut shown: Vec<usize> = (0..self.columns.len()).collect();
        if let Some(width) = width {
            let rest = |shown: &[usize]| shown[1..].iter().map(|&at| widths[at] + GAP).sum::<usize>();
            while rest(&shown) + LEAST.min(widths[0]) > width {
                let least = shown.iter().copied().filter(|&at| self.columns[at].rank > 0);
                let Some(least) = least.max_by_key(|&at| self.columns[at].rank) else { break };
                shown.retain(|&at| at != least);
            }
            widths[0] = widths[0].min(width.saturating_sub(rest(&shown)).max(LEAST));
        }
        let titles = self.columns.iter().map(|column| Cell::from(column.title.to_owned())).collect();
        let all = std::iter::once(&titles).chain(&self.rows);
        all.map(|row: &Vec<Cell>| self.line(row, &shown, &widths, colours)).collect()
    }

    fn width(&self, column: usize) -> usize {
        let texts = self.rows.iter().map(|row| row[column].text.chars().count());
        texts.max().unwrap_or(0).max(self.columns[column].title.len())
    }

    fn line(&self, row: &[Cell], shown: &[usize], widths: &[usize], colours: bool) -> String {
        let mut line = String::new();
        for &at in shown {
            let text = shortened(&row[at].text, widths[at]);
            let blank = " ".repeat(widths[at] - text.chars().count());
            let text = match row[at].colour.filter(|_| colours) {
                Some(colour) => format!("\x1b[{colour}m{text}\x1b[0m"),
                None => text,
            };
            let gap = if at == shown[0] { "" } else { "  " };
            line += &match self.columns[at].right {
                true => format!("{gap}{blank}{text}"),
                false => format!("{gap}{text}{blank}"),
            };
        }
        line.trim_end().to_owned()
    }
}

/// Without its beginning, since paths differ at their ends.
fn shortened(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let end: String = text.chars().skip(length - width.saturating_sub(1)).collect();
    format!("…{end}")
}

/// The text in lines of at most so many characters, broken between words.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Columns and lines of the terminal, if there is one.
pub fn terminal() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col.into(), size.ws_row.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&[("FILE", 0), ("<STATE", 2), ("SIZE", 3), ("LAG", 0)]);
        for row in [["/var/log/nginx/access.log", "live", "10 KiB", "1 B"], ["/a", "gone", "7 B", "-"]] {
            table.push(row.map(|text| Cell::from(text.to_owned())).into());
        }
        table
    }

    #[test]
    fn a_wide_terminal_shows_all() {
        assert_eq!(
            table().lines(None, true),
            [
                "FILE                       STATE    SIZE  LAG",
                "/var/log/nginx/access.log  live   10 KiB  1 B",
                "/a                         gone      7 B    -",
            ]
        );
    }

    #[test]
    fn a_narrow_one_shows_the_ends_of_paths_and_what_matters() {
        for width in 21..60 {
            let lines = table().lines(Some(width), false);
            assert!(lines.iter().all(|line| line.chars().count() <= width), "{width}: {lines:?}");
            assert!(lines[1].contains("access.log") && lines[1].ends_with("1 B"), "{width}: {lines:?}");
        }
        let short = [
            "FILE                STATE  LAG",
            "…/nginx/access.log  live   1 B",
            "/a                  gone     -",
        ];
        assert_eq!(table().lines(Some(30), false), short);
    }

    #[test]
    fn sentences_are_broken_between_words() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("a verylongword b", 4), ["a", "verylongword", "b"]);
    }
}
