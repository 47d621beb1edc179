//! `redrive`: sends the records of a dead-letter file again, by the flows of the configuration.
//! The agent may run meanwhile, and write to the same file.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::Bytes;

use super::check::CHECK_FAILED;
use crate::command_line;
use crate::config::{self, Settings};
use crate::file::{Chunk, TailId};
use crate::observe::logging::{self, LogFormat};
use crate::record::{Block, Shape};
use crate::send::envelope::Envelope;
use crate::send::keyer::Keyer;
use crate::send::partition::FixedKey;
use crate::send::redelivery::Redelivery;
use crate::send::{Clients, Entry, Options, Part};
use crate::settle::DeadLetters;
use crate::settle::dead_letters::Line;
use crate::settle::redrive::{Load, Redrive, Route};

/// Some were refused again, and are kept.
const KEPT: u8 = 3;

pub fn redrive(arguments: &command_line::Redrive) -> ExitCode {
    let settings = match config::load(&arguments.config.path) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(CHECK_FAILED);
        }
    };
    match try_redrive(arguments, &settings) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(KEPT),
        Err(error) => {
            eprintln!("kinesis-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// How many lines were kept.
fn try_redrive(arguments: &command_line::Redrive, settings: &Settings) -> anyhow::Result<u64> {
    logging::init(tracing::Level::INFO, LogFormat::Text)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("the async runtime cannot be started")?;
    let file = aside(&arguments.file, settings)?;
    let mut redrive = Redrive::open(&file)?;
    if redrive.offset() > 0 {
        println!("{}: going on at byte {}", file.display(), redrive.offset());
    }
    let sent = runtime.block_on(send_all(&mut redrive, settings, arguments.flow.as_deref()));
    let counts = redrive.counts;
    println!("sent again: {} records, {} bytes", counts.sent, counts.sent_bytes);
    let kept = counts.refused + counts.strangers;
    if kept > 0 {
        println!(
            "kept in {}: {} records that were refused again, {} lines that are no records",
            redrive.refused_file().display(),
            counts.refused,
            counts.strangers
        );
    }
    sent.map(|()| kept)
}

/// The file, if nobody writes to it; the one that the agent writes to is rotated first.
fn aside(file: &Path, settings: &Settings) -> anyhow::Result<PathBuf> {
    let same = |path: &Path| path.canonicalize().ok();
    if same(file).is_none() || same(file) != same(&settings.dead_letter_file) {
        return Ok(file.to_owned());
    }
    let letters = DeadLetters::new(settings.dead_letter_file.clone(), settings.dead_letter_max_bytes);
    let aside = letters.set_aside().with_context(|| format!("{} cannot be rotated", file.display()))?;
    println!("rotated to {}, which is the file to name if this is interrupted", aside.display());
    Ok(aside)
}

async fn send_all(redrive: &mut Redrive, settings: &Settings, flow: Option<&str>) -> anyhow::Result<()> {
    let clients = Arc::new(Clients::default());
    let mut ways: HashMap<Route, (Redelivery, Keyer)> = HashMap::new();
    while let Some(load) = redrive.load()? {
        let (way, keyer) = match ways.entry(load.route.clone()) {
            Slot::Occupied(way) => way.into_mut(),
            Slot::Vacant(place) => {
                let (name, options) = options(settings, &load.route, flow)?;
                let client = clients.client(name, options).await?;
                let keyer = Keyer::new(options);
                place.insert((Redelivery::new(client, options.clone()), keyer))
            }
        };
        let refused = way.send(entries(&load, keyer, Envelope::of(way.options()))).await;
        let place = |entry: &Entry| usize::try_from(entry.parts[0].chunk.tail.0).expect("it was one");
        let refused: Vec<_> = refused.iter().map(|(entry, reason)| (place(entry), reason.clone())).collect();
        redrive.done(&load, &refused)?;
    }
    Ok(())
}

/// The flow that sends what came by `route`, and how.
fn options<'a>(
    settings: &'a Settings,
    route: &Route,
    flow: Option<&str>,
) -> anyhow::Result<(&'a str, &'a Options)> {
    let mut flows = settings.flows.iter();
    let found = match flow {
        Some(name) => flows.find(|flow| flow.name == name),
        None => {
            let sends_there = |flow: &&config::Flow| flow.send.destination.to_string() == route.destination;
            let mut there: Vec<_> = flows.filter(sends_there).collect();
            // Its own, or else any.
            there.sort_by_key(|flow| flow.name != route.flow);
            there.first().copied()
        }
    };
    match (found, flow) {
        (Some(found), _) => Ok((&found.name, &found.send)),
        (None, Some(name)) => bail!("the configuration has no flow `{name}`"),
        (None, None) => bail!(
            "no flow of the configuration sends to {}; name one that the records may go by with --flow",
            route.destination
        ),
    }
}

/// An entry for each letter. In the place of a tail stands which letter it is.
fn entries(load: &Load, keyer: &mut Keyer, envelope: Envelope) -> Vec<Entry> {
    let mut entry = |(at, letter): (usize, &Line)| {
        let chunk = Chunk::new(TailId(at as u64), 0, Bytes::from(letter.data.clone()), 0);
        let chunk = chunk.of_home(Some(letter.file.as_path().into()));
        let (span, payload, records) = (chunk.span, chunk.bytes(), letter.records());
        // The records of a letter have one key.
        let block = Block { chunk: chunk.clone(), span, payload: payload.clone(), shape: Shape::One };
        let had = letter.key.as_deref().filter(|key| !key.is_empty()).map(FixedKey::new);
        let key = had.or_else(|| keyer.run(&block).1);
        let part = Part { span, payload, records, chunk };
        let entry = Entry { key, ..Entry::of(part, letter.count()) };
        Entry { size: envelope.size(&entry), ..entry }
    };
    load.letters.iter().enumerate().map(&mut entry).collect()
}
