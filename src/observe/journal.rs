//! The journal of systemd, when stderr leads there: each line begins with the priority that
//! journald takes off again (sd-daemon(3)), so that `journalctl -p warning` finds what it should.

use std::io::{self, Write, stderr};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Whether stderr is the socket that systemd connected to the journal: `$JOURNAL_STREAM` holds
/// its device and inode (systemd.exec(5)); a child of ours may have got another stderr.
pub fn is_stderr() -> bool {
    let Ok(stat) = rustix::fs::fstat(stderr()) else { return false };
    std::env::var("JOURNAL_STREAM").is_ok_and(|stream| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

#[derive(Clone, Copy, Debug)]
pub struct Journal;

impl<'a> MakeWriter<'a> for Journal {
    type Writer = Lines<io::Stderr>;

    fn make_writer(&'a self) -> Self::Writer {
        Lines { to: stderr(), priority: priority(Level::INFO) }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self::Writer {
        Lines { to: stderr(), priority: priority(*metadata.level()) }
    }
}

/// syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// Takes whole events and puts the priority before each of their lines.
#[derive(Debug)]
pub struct Lines<W> {
    to: W,
    priority: u8,
}

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let mut lines = Vec::with_capacity(event.len() + 16);
        for line in event.split_inclusive(|&byte| byte == b'\n') {
            write!(lines, "<{}>", self.priority)?;
            lines.extend_from_slice(line);
        }
        self.to.write_all(&lines)?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_of_an_event_has_its_priority() {
        let mut lines = Lines { to: Vec::new(), priority: priority(Level::ERROR) };
        lines.write_all(b"first\nsecond\n").unwrap();
        assert_eq!(lines.to, b"<3>first\n<3>second\n");
    }

    #[test]
    fn the_more_detailed_a_level_the_higher_its_number() {
        let all = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];
        assert_eq!(all.map(priority), [3, 4, 6, 7, 7]);
    }
}
