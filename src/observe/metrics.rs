//! What Prometheus reads: everything on the [`Board`], in the OpenMetrics text format.
//!
//! The numbers are read when somebody asks and kept nowhere else. Which there are stands in
//! [`family`], which alerts they deserve in [`alert`]; the documentation, the rules and the
//! dashboard are held to those tables. It answers no requests, that is the status server's part.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::{Registry, Unit as EncodedUnit};

use super::board::{Board, FlowBoard};
use super::counter::Histogram;
use family::{FAMILIES, Family, Source, Type, Unit};

/// The rules that wake somebody.
pub mod alert;
/// All metrics.
pub mod family;

/// What the text of [`render`] is, for the header `content-type`.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics as they are now.
pub fn render(board: &Arc<Board>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(board.clone())));
    let mut text = String::new();
    text::encode(&mut text, &registry).expect("writing to a string does not fail");
    text
}

/// One look at the board.
#[derive(Debug)]
struct Scrape(Arc<Board>);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let flows = shown(&self.0);
        for family in FAMILIES {
            let unit = family.unit.map(Unit::encoded);
            let encoder = encoder.encode_descriptor(
                family.base(),
                family.help,
                unit.as_ref(),
                family.kind.encoded(),
            )?;
            encode_family(family, encoder, &self.0, &flows)?;
        }
        Ok(())
    }
}

/// The flows that are shown: of those with one name and destination, as there are while a
/// reload replaces one, the newest. A metric must not have two values.
fn shown(board: &Board) -> Vec<Arc<FlowBoard>> {
    let mut flows: Vec<Arc<FlowBoard>> = Vec::new();
    for flow in board.flows() {
        flows.retain(|other| (&other.name, &other.destination) != (&flow.name, &flow.destination));
        flows.push(flow);
    }
    flows
}

type Labels<'a> = Vec<(&'a str, &'a str)>;

fn encode_family(
    family: &Family,
    mut encoder: MetricEncoder<'_>,
    board: &Board,
    flows: &[Arc<FlowBoard>],
) -> fmt::Result {
    match family.source {
        Source::Build => encoder.encode_info(&vec![("version", env!("CARGO_PKG_VERSION"))]),
        Source::Agent(value) => match value(board) {
            Some(value) => encode(family, &mut encoder, value),
            None => Ok(()),
        },
        Source::AgentWords(label, words) => words(board)
            .into_iter()
            .try_for_each(|(word, n)| with_labels(family, &mut encoder, &vec![(label, word)], n as f64)),
        Source::Flow(value) => flows.iter().try_for_each(|flow| match value(flow) {
            Some(value) => with_labels(family, &mut encoder, &of_flow(flow), value),
            None => Ok(()),
        }),
        Source::FlowWords(label, words) => flows.iter().try_for_each(|flow| {
            words(flow).into_iter().try_for_each(|(word, n)| {
                let mut labels = of_flow(flow);
                labels.push((label, word));
                with_labels(family, &mut encoder, &labels, n as f64)
            })
        }),
        Source::FlowHistogram(histogram, scale) => flows.iter().try_for_each(|flow| {
            let labels = of_flow(flow);
            encode_histogram(&mut encoder.encode_family(&labels)?, histogram(flow), scale)
        }),
    }
}

fn of_flow(flow: &FlowBoard) -> Labels<'_> {
    vec![("flow", &flow.name), ("destination", &flow.destination)]
}

fn with_labels<L: EncodeLabelSet>(
    family: &Family,
    encoder: &mut MetricEncoder<'_>,
    labels: &L,
    value: f64,
) -> fmt::Result {
    encode(family, &mut encoder.encode_family(labels)?, value)
}

fn encode(family: &Family, encoder: &mut MetricEncoder<'_>, value: f64) -> fmt::Result {
    match family.kind {
        Type::Counter => encoder.encode_counter(&value, None::<&Exemplar<Labels<'static>, f64>>),
        _ => encoder.encode_gauge(&value),
    }
}

fn encode_histogram(encoder: &mut MetricEncoder<'_>, histogram: &Histogram, scale: f64) -> fmt::Result {
    let buckets = histogram.buckets();
    let count = buckets.iter().map(|(_, n)| n).sum();
    let border = |border: Option<u64>| border.map_or(f64::INFINITY, |border| border as f64 / scale);
    let buckets: Vec<(f64, u64)> = buckets.into_iter().map(|(at, n)| (border(at), n)).collect();
    encoder.encode_histogram::<Labels<'static>>(histogram.sum() as f64 / scale, count, &buckets, None)
}

impl Type {
    fn encoded(self) -> MetricType {
        match self {
            Type::Counter => MetricType::Counter,
            Type::Gauge => MetricType::Gauge,
            Type::Histogram => MetricType::Histogram,
            Type::Info => MetricType::Info,
        }
    }
}

impl Unit {
    fn encoded(self) -> EncodedUnit {
        match self {
            Unit::Bytes => EncodedUnit::Bytes,
            Unit::Seconds => EncodedUnit::Seconds,
        }
    }
}

#[cfg(test)]
mod tests;
