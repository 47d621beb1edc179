//! The destination of a dry run: prints what would be sent and accepts it, so that all that
//! comes before and after is the real agent.
//!
//! On the output there are the records alone, one below the other, with a newline where a
//! record has none; which request and entry each is in is logged at debug. Nothing here knows
//! AWS.

use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use super::entry::{Entry, Records};
use super::options::Destination;
use super::outcome::Outcome;
use super::partition::Key;

/// What the flows of a dry run share: where their records are printed.
pub struct DryRun {
    output: Mutex<Box<dyn Write + Send>>,
    /// Nobody reads the output any more, or it cannot be written.
    pub closed: CancellationToken,
}

/// One flow's part of it.
#[derive(Clone, Debug)]
pub struct DryRunClient {
    pub dry_run: Arc<DryRun>,
    pub flow: String,
    pub destination: Destination,
}

impl DryRun {
    pub fn new(output: Box<dyn Write + Send>) -> Self {
        DryRun { output: Mutex::new(output), closed: CancellationToken::new() }
    }

    fn print(&self, entries: &[Entry]) -> std::io::Result<()> {
        let mut output = self.output.lock().unwrap();
        for entry in entries {
            for part in &entry.parts {
                if part.records == Records::Lines {
                    output.write_all(&part.payload)?;
                    continue;
                }
                for record in part.records() {
                    output.write_all(record)?;
                    if !record.ends_with(b"\n") {
                        output.write_all(b"\n")?;
                    }
                }
            }
        }
        output.flush()
    }
}

impl fmt::Debug for DryRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DryRun").field("closed", &self.closed).finish_non_exhaustive()
    }
}

impl DryRunClient {
    /// All entries are delivered: what cannot be printed is of no use to anybody later.
    pub fn put(&self, entries: &[Entry], keys: &[Key]) -> Vec<Outcome> {
        self.log(entries, keys);
        if !self.dry_run.closed.is_cancelled()
            && let Err(error) = self.dry_run.print(entries)
        {
            if error.kind() != std::io::ErrorKind::BrokenPipe {
                tracing::error!(%error, "the records cannot be printed; the dry run ends");
            }
            self.dry_run.closed.cancel();
        }
        vec![Outcome::Delivered; entries.len()]
    }

    fn log(&self, entries: &[Entry], keys: &[Key]) {
        let (flow, destination) = (&*self.flow, &self.destination);
        let bytes: usize = entries.iter().map(|entry| entry.bytes).sum();
        tracing::debug!(flow, %destination, entries = entries.len(), bytes, "a request would be sent");
        for (number, entry) in entries.iter().enumerate() {
            let partition_key = keys.get(number).map(|key| &*key.partition);
            let first = entry.parts.first().map(|part| (part.chunk.tail.0, part.span.start));
            let (tail, offset) = first.unzip();
            tracing::debug!(
                flow, %destination, number, records = entry.records, bytes = entry.bytes,
                partition_key, tail, offset, "an entry of the request"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::send::testing::entry;

    /// An output that breaks after so many bytes.
    struct Pipe(Arc<Mutex<Vec<u8>>>, usize);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let mut written = self.0.lock().unwrap();
            if written.len() + bytes.len() > self.1 {
                return Err(std::io::ErrorKind::BrokenPipe.into());
            }
            written.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn records_are_printed_with_a_newline_each_until_nobody_reads_them() {
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let dry_run = Arc::new(DryRun::new(Box::new(Pipe(written.clone(), 30))));
        let client = DryRunClient {
            dry_run: dry_run.clone(),
            flow: "f".into(),
            destination: Destination::Kinesis("s".into()),
        };
        let outcomes = client.put(&[entry(&[b"hello\n", b"piece", b"rest\n"]), entry(&[b"no newline"])], &[]);
        assert_eq!(outcomes, [Outcome::Delivered, Outcome::Delivered]);
        assert_eq!(*written.lock().unwrap(), b"hello\npiece\nrest\nno newline\n");
        assert!(!dry_run.closed.is_cancelled());
        client.put(&[entry(&[b"too much\n"])], &[]);
        assert!(dry_run.closed.is_cancelled());
        client.put(&[entry(&[b"x\n"])], &[]);
        assert_eq!(*written.lock().unwrap(), b"hello\npiece\nrest\nno newline\n");
    }
}
