//! docs/CONFIGURATION.md as a manual page in troff with the `man` macros.
//!
//! It knows the Markdown that this one document uses: headings, paragraphs, lists, fenced text,
//! and tables whose first column is a key, which become a list of keys with their meaning.

const HEAD: &str = r#".TH kinesis\-agent.yaml 5
.SH NAME
kinesis\-agent.yaml \- the configuration of kinesis\-agent(1)
"#;

pub fn of_configuration(markdown: &str) -> String {
    let mut page = Page { text: HEAD.to_owned(), columns: Vec::new(), is_fenced: false };
    for line in markdown.lines() {
        page.add(line);
    }
    page.text.push_str(".SH SEE ALSO\nkinesis\\-agent(1), kinesis\\-agent\\-check(1)\n");
    page.text
}

struct Page {
    text: String,
    /// The headings of the table whose rows follow; empty outside of one.
    columns: Vec<String>,
    is_fenced: bool,
}

impl Page {
    fn add(&mut self, line: &str) {
        if line.starts_with("```") {
            self.is_fenced = !self.is_fenced;
            self.text.push_str(if self.is_fenced { ".PP\n.nf\n" } else { ".fi\n" });
        } else if self.is_fenced {
            self.push(&escaped(line));
        } else if let Some(row) = line.strip_prefix("| ").and_then(|row| row.strip_suffix('|')) {
            self.add_row(row);
        } else if !line.starts_with("|--") {
            self.columns.clear();
            self.add_text(line);
        }
    }

    fn add_text(&mut self, line: &str) {
        if line.starts_with("# ") {
            self.push(".SH DESCRIPTION");
        } else if let Some(heading) = line.strip_prefix("## ") {
            self.push(&format!(".SH {}", escaped(&heading.to_uppercase())));
        } else if let Some(item) = line.strip_prefix("- ") {
            self.push(&format!(".IP \\(bu 2\n{}", inline(item)));
        } else if line.is_empty() {
            self.push(".PP");
        } else {
            self.push(&inline(line));
        }
    }

    /// `key`: what it means, then the other columns by their names.
    fn add_row(&mut self, row: &str) {
        let cells: Vec<&str> = row.split(" | ").map(str::trim).collect();
        if self.columns.is_empty() {
            self.columns = cells.iter().map(|cell| (*cell).to_owned()).collect();
            return;
        }
        let named: Vec<(&str, &str)> = self.columns.iter().map(String::as_str).zip(cells).collect();
        let (_, key) = named[0];
        let mut entry = format!(".TP\n{}", inline(key));
        if let Some((_, meaning)) = named.iter().find(|(column, _)| *column == "Meaning") {
            entry.push_str(&format!("\n{}.", inline(meaning)));
        }
        for (column, cell) in
            named.iter().skip(1).filter(|(column, cell)| *column != "Meaning" && !cell.is_empty())
        {
            entry.push_str(&format!("\n{}: {}.", inline(column), inline(cell)));
        }
        self.push(&entry);
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }
}

/// `code` and **strong** in bold; of [a link](to) the words.
fn inline(text: &str) -> String {
    let mut out = String::new();
    for (index, part) in without_links(text).split('`').enumerate() {
        match index % 2 {
            1 => out.push_str(&format!("\\fB{}\\fR", escaped(part))),
            _ => out.push_str(&emphasised(part)),
        }
    }
    out
}

fn emphasised(text: &str) -> String {
    let parts = text.split("**").enumerate();
    parts
        .map(
            |(index, part)| if index % 2 == 1 { format!("\\fB{}\\fR", escaped(part)) } else { escaped(part) },
        )
        .collect()
}

fn without_links(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, words, after)) = link(rest) {
        out.push_str(before);
        out.push_str(words);
        rest = after;
    }
    out.push_str(rest);
    out
}

/// What stands before the first link, its words, and what stands behind it.
fn link(text: &str) -> Option<(&str, &str, &str)> {
    let (words, address) = text.split_once("](")?;
    let (before, words) = words.rsplit_once('[')?;
    let (_, after) = address.split_once(')')?;
    Some((before, words, after))
}

/// A text that troff prints as it is, also where a line begins with it.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}
