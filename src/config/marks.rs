//! Which line of the file each part of the tree stands on.
//!
//! The parser that reads the values does not say where they stood, so the text is parsed a
//! second time for the positions alone, and the two results are walked side by side: both keep
//! the order and the duplicates of what was typed. What the second parse does not know (what an
//! alias stands for, or all that follows something that it cannot read) has the line of the part
//! that it stands in: a line is a help for the reader, nothing depends on it.

use saphyr_parser::{Event, Parser, StrInput};

use super::raw::{Node, Value};

/// A key and its value are two children of a mapping.
struct Mark {
    line: usize,
    children: Vec<Mark>,
}

/// Sets the lines of `root`, which is what `text` says.
pub fn number(root: &mut Node, text: &str) {
    let mut parser = Parser::new_from_str(text);
    let first = loop {
        match parser.next_event() {
            Some(Ok((Event::StreamStart | Event::DocumentStart(_) | Event::Nothing, _))) => {}
            Some(Ok((event, span))) => break Some((event, span.start.line())),
            Some(Err(_)) | None => break None,
        }
    };
    let mark = first.and_then(|(event, line)| mark(&mut parser, &event, line));
    apply(root, mark.as_ref(), 1);
}

/// The part that begins with `event`; none if it is an end. It recurses no deeper than the
/// parser of the values did, which has a limit.
fn mark(parser: &mut Parser<'_, StrInput<'_>>, event: &Event<'_>, line: usize) -> Option<Mark> {
    let mut mark = Mark { line, children: Vec::new() };
    match event {
        Event::Scalar(..) | Event::Alias(_) => Some(mark),
        Event::SequenceStart(..) | Event::MappingStart(..) => {
            while let Some(Ok((event, span))) = parser.next_event() {
                match self::mark(parser, &event, span.start.line()) {
                    Some(child) => mark.children.push(child),
                    None => break,
                }
            }
            Some(mark)
        }
        _ => None,
    }
}

fn apply(node: &mut Node, mark: Option<&Mark>, parent: usize) {
    let line = mark.map_or(parent, |mark| mark.line.max(1));
    node.line = line;
    let mut children = mark.map(|mark| mark.children.iter()).unwrap_or_default();
    match &mut node.value {
        Value::List(items) => {
            for item in items {
                apply(item, children.next(), line);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                entry.line = children.next().map_or(line, |key| key.line.max(1));
                apply(&mut entry.node, children.next(), entry.line);
            }
        }
        _ => {}
    }
}
