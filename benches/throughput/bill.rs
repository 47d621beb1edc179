//! What AWS bills for the same bytes of lines in each way of packing, counted on what the agent
//! sends, and how much that is over the least possible.
//!
//! The rules stand in docs/AGGREGATION.md: a PUT payload unit is 25 KB of a record, on-demand
//! streams bill each record rounded up to 1 KB, Firehose rounded up to 5 KB; a KB is 1,024 bytes.
//! The partition key is counted with the record, which AWS does not say.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::agent::{self, Agent};
use crate::endpoint::{Endpoint, Tally};
use crate::{in_folder, setting};

const AT_MOST: Duration = Duration::from_secs(300);
const KB: f64 = 1024.0;

/// Each way of packing.
const MODES: [(&str, &str); 6] = [
    ("stream, none", "kinesisStream: bench"),
    ("stream, lines", "kinesisStream: bench\naggregation: lines"),
    ("stream, kpl", "kinesisStream: bench\naggregation: kpl"),
    ("stream, lines, zstd", "kinesisStream: bench\naggregation: lines\ncompression: zstd"),
    ("Firehose, none", "deliveryStream: bench\naggregation: none"),
    ("Firehose, lines", "deliveryStream: bench"),
];

pub fn run() -> Result<()> {
    let megabytes = setting("BENCH_MB", 20)?;
    println!(
        "\nThe bill for {megabytes} MB, and in brackets how often the least possible; of kpl also how often the \
         least that its format allows"
    );
    println!(
        "  {:<20} {:>6} {:>9} {:>21} {:>23} {:>20}",
        "", "line", "records", "PUT units", "on-demand KB", "Firehose KB"
    );
    for (name, flow) in MODES {
        for length in [100, 200, 1000, 5000] {
            let lines = megabytes * 1_000_000 / length;
            in_folder(|folder| measure(folder, name, flow, length, lines))?;
        }
    }
    Ok(())
}

fn measure(folder: &Path, name: &str, flow: &str, length: u64, lines: u64) -> Result<()> {
    write_lines(&folder.join("logs/app.log"), length as usize, lines)?;
    let bytes = length * lines;
    let mut endpoint = Endpoint::start(false)?;
    let mut agent = Agent::start(folder, &endpoint.url, &format!("{flow}\nmaxBufferAgeMillis: 5000"))?;
    agent.wait_until_ready(AT_MOST)?;
    let tally = delivered(&mut endpoint, &mut agent, folder, bytes)?;
    agent.stop()?;
    let (units, kb, firehose_kb) = (tally.put_units, tally.on_demand_kb, tally.firehose_kb);
    let framed = name.ends_with("kpl").then(|| bytes + lines * framing(length));
    let column = |billed: u64, step: f64| {
        let over = |least: u64| billed as f64 * step / least as f64;
        let of_format = framed.map(|framed| format!(", {:.3}", over(framed))).unwrap_or_default();
        format!("{billed} ({:.3}{of_format})", over(bytes))
    };
    let mut columns = [column(units, 25.0 * KB), column(kb, KB), column(firehose_kb, KB)];
    let foreign = if name.starts_with("Firehose") { 0..2 } else { 2..3 };
    columns[foreign].fill("-".into());
    let [units, kb, firehose_kb] = columns;
    println!("  {name:<20} {length:>6} {:>9} {units:>21} {kb:>23} {firehose_kb:>20}", tally.entries);
    Ok(())
}

/// What the KPL's format takes at least beside a record: the index of the key, and two tags and
/// lengths.
fn framing(length: u64) -> u64 {
    let field = |length: u64| if length < 128 { 2 } else { 3 };
    let inner = 2 + field(length) + length;
    field(inner) + inner - length
}

/// Waits until the agent has settled everything: its own count, since compressed bytes say
/// nothing to the endpoint.
fn delivered(endpoint: &mut Endpoint, running: &mut Agent, folder: &Path, bytes: u64) -> Result<Tally> {
    let started = Instant::now();
    loop {
        running.check_alive()?;
        let settled = agent::bytes_delivered(folder)?;
        if settled == bytes {
            return endpoint.tally();
        }
        if settled > bytes || started.elapsed() > AT_MOST {
            bail!("{settled} of {bytes} bytes were delivered");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Lines such as a web server writes, each with another number.
fn write_lines(log: &Path, length: usize, lines: u64) -> Result<()> {
    let mut file = std::io::BufWriter::new(File::create(log)?);
    for number in 0..lines {
        let mut line = format!(
            "10.0.{}.{} - - [{number:012}] \"GET /orders/{:x} HTTP/1.1\" 200 ",
            number % 7,
            number % 251,
            number * 2_654_435_761 % 4_294_967_296
        );
        while line.len() < length - 1 {
            line.push_str("Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 ");
        }
        line.truncate(length - 1);
        writeln!(file, "{line}")?;
    }
    Ok(file.into_inner()?.sync_all()?)
}
