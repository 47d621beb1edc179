//! What Prometheus's own parser finds in a text: `tests/it/peers/openmetrics.py`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::ministack::peers;

/// A metric with all its series.
#[derive(Debug, Deserialize)]
pub struct Parsed {
    pub name: String,
    pub r#type: String,
    pub unit: String,
    pub help: String,
    pub samples: Vec<Sample>,
}

#[derive(Debug, Deserialize)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// Panics if it is not OpenMetrics.
pub fn parse(text: &str) -> Vec<Parsed> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/peers/openmetrics.py");
    let mut command = Command::new(peers().join("bin/python"));
    command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "the parser refuses this:\n{text}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The sum of the series of this name that have all these values among their labels.
pub fn value(found: &[Parsed], name: &str, labels: &[&str]) -> f64 {
    let samples = found.iter().flat_map(|family| &family.samples).filter(|sample| sample.name == name);
    let has = |sample: &Sample, label: &str| sample.labels.values().any(|value| value == label);
    let meant = samples.filter(|sample| labels.iter().all(|label| has(sample, label)));
    meant.map(|sample| sample.value).sum()
}
