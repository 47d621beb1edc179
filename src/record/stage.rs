//! The task that runs the recorder of one flow: takes the tails' events, hands on what becomes
//! of them, and waits where the next stage is not ready, so that reading stops.
//!
//! Copies are not part of the flow's byte budget; the task does not take the next chunk while
//! too many of them are on their way.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::warn;

use super::block::{Block, Dead, Output};
use super::recorder::{Recorder, Tally};
use crate::file::{Settled, TailEvent};
use crate::observe::{FlowCounters, LossReason, Repeated};

/// Where the outputs go.
#[derive(Debug)]
pub struct Outlets {
    /// The flow's key, which goes with each of its dead letters.
    pub flow: Arc<str>,
    /// The flow's name, for the logs.
    pub name: String,
    pub blocks: mpsc::Sender<Block>,
    pub settled: mpsc::Sender<Vec<Settled>>,
    pub dead: mpsc::Sender<(Arc<str>, Dead)>,
    pub counters: Arc<FlowCounters>,
}

/// The next stage is gone, which only happens when the agent gives up its shutdown.
struct Closed;

/// Runs until `events` is closed and empty. At most as many copied bytes as the copies' limit
/// says (and those of one chunk) are on their way, beside those that wait in the recorder.
pub async fn run(mut recorder: Recorder, mut events: mpsc::Receiver<TailEvent>, outlets: Outlets) {
    let began = Instant::now();
    let mut warning = Repeated::default();
    let mut out = Vec::new();
    loop {
        recorder.copies().clone().room(recorder.pending()).await;
        let due = recorder.deadline().map(|due| began + due);
        let event = tokio::select! {
            biased;
            event = events.recv() => match event {
                Some(event) => Some(event),
                None => break,
            },
            () = sleep_until(due) => None,
        };
        let now = began.elapsed();
        match event {
            Some(event) => {
                recorder.push(event, now, &mut out);
                count(recorder.take_tally(), &outlets, &mut warning, now);
            }
            None => recorder.tick(now, &mut out),
        }
        if hand_on(&mut out, &outlets).await.is_err() {
            break;
        }
    }
    recorder.finish();
}

async fn hand_on(out: &mut Vec<Output>, outlets: &Outlets) -> Result<(), Closed> {
    let mut filtered = Vec::new();
    for output in out.drain(..) {
        match output {
            Output::Block(block) => outlets.blocks.send(block).await.map_err(|_| Closed)?,
            Output::Filtered { settled, .. } => filtered.push(settled),
            Output::Dead(dead) => {
                outlets.counters.records_read.add(1);
                outlets.dead.send((outlets.flow.clone(), dead)).await.map_err(|_| Closed)?;
            }
        }
    }
    if !filtered.is_empty() {
        outlets.settled.send(filtered).await.map_err(|_| Closed)?;
    }
    Ok(())
}

fn count(tally: Tally, outlets: &Outlets, warning: &mut Repeated, now: Duration) {
    outlets.counters.records_read.add(tally.filtered);
    outlets.counters.records_filtered.add(tally.filtered);
    outlets.counters.records_oversized.add(tally.oversized);
    if tally.oversized > 0
        && let Some(more) = warning.ask("oversized", now)
    {
        warn!(
            flow = outlets.name,
            file = tally.oversized_in.as_deref().map(|path| display(path.display())),
            more_since_the_last_such_line = more,
            "a line is longer than the destination takes in a record; it is handled as `oversizedRecords` says"
        );
    }
    if tally.zeroed > 0 {
        outlets.counters.bytes_lost.add(LossReason::Cut.word(), tally.zeroed);
        if let Some(more) = warning.ask("zeroed", now) {
            warn!(
                flow = outlets.name,
                file = tally.zeroed_in.as_deref().map(|path| display(path.display())),
                bytes = tally.zeroed,
                more_since_the_last_such_line = more,
                "the file holds blocks of zeros, as a power cut leaves them where lines were; they are left out, with the line that they cut short; lines in them that were not sent before are lost"
            );
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::file::{Chunk, ChunkEnd, TailId};
    use crate::record::{MultiLine, Options, Oversized};

    #[tokio::test(start_paused = true)]
    async fn an_event_leaves_when_its_file_is_quiet_and_a_pending_one_is_dropped_at_shutdown() {
        let options = Options {
            multi_line: Some(MultiLine {
                start: regex::bytes::Regex::new("^\\S").unwrap(),
                flush_after: Duration::from_secs(1),
                max_bytes: 1000,
            }),
            skip_header_lines: 1,
            oversized: Oversized::Split,
            truncated_record_terminator: b"\n".to_vec(),
            max_record_bytes: 1000,
            add_missing_newline: true,
        };
        let (events, rx) = mpsc::channel(4);
        let (blocks, mut sent) = mpsc::channel(4);
        let (settled, mut filtered) = mpsc::channel(4);
        let (dead, _dead) = mpsc::channel(4);
        let outlets =
            Outlets { flow: "f".into(), name: "f".into(), blocks, settled, dead, counters: Arc::default() };
        let counters = outlets.counters.clone();
        let task = tokio::spawn(run(Recorder::new(options, 1000), rx, outlets));
        let tail = TailId(1);
        let text = b"head\na\n b\nc\n";
        let chunk = |from: usize, to: usize| TailEvent::Chunk {
            chunk: Chunk::new(tail, 0, Bytes::copy_from_slice(&text[..to]), from as u64),
            end: ChunkEnd::Line,
            caught_up: true,
        };
        let path = std::path::Path::new("/x").into();
        events.send(TailEvent::Opened { tail, path, start: 0 }).await.unwrap();
        events.send(chunk(0, 10)).await.unwrap();
        assert_eq!(filtered.recv().await.unwrap()[0].span.end, 5);
        assert_eq!(&sent.recv().await.unwrap().payload[..], b"a\n b\n");
        events.send(chunk(10, 12)).await.unwrap();
        drop(events);
        assert!(sent.recv().await.is_none(), "the event that may go on is read again by the next start");
        task.await.unwrap();
        assert_eq!(counters.records_filtered.get(), 1);
        assert_eq!(counters.records_read.get(), 1);
    }
}
