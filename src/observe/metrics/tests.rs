//! The exposition of a board that was made up: what it holds, and that names cannot break it.
//! Whether it is OpenMetrics is told by a parser of others, in `tests/it/metrics.rs`.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use super::*;
use crate::observe::{FlowCounters, LossReason};

fn flow(name: &str, destination: &str) -> Arc<FlowBoard> {
    Arc::new(FlowBoard {
        name: name.into(),
        key: "key".into(),
        destination: destination.into(),
        counters: Arc::new(FlowCounters::default()),
        health: Arc::default(),
        troubles: Arc::default(),
        credentials: Arc::default(),
        memory_used: Box::new(|| 77),
        pulses: crate::observe::Pulses::default(),
        draining: false.into(),
    })
}

fn board() -> Arc<Board> {
    Arc::new(Board::new("c.yaml".into(), "c.db".into(), 1 << 25))
}

/// The value of the series that is written so.
#[track_caller]
fn value(text: &str, series: &str) -> f64 {
    let lines: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix(series)).collect();
    let [value] = &lines[..] else { panic!("{series} stands {} times in\n{text}", lines.len()) };
    value.trim().parse().unwrap()
}

#[test]
fn names_are_those_of_prometheus_and_stand_once() {
    let mut seen = HashSet::new();
    for family in FAMILIES {
        assert!(seen.insert(family.name), "{} stands twice", family.name);
        assert!(family.name.starts_with("kinesis_agent_"), "{}", family.name);
        assert!(!family.name.ends_with("_total"), "{} gets its suffix from its type", family.name);
        assert!(family.help.ends_with('.') && !family.help.contains(['\\', '"', '\n']), "{}", family.help);
        let unit = ["_bytes", "_seconds"].iter().any(|unit| family.name.ends_with(unit));
        assert_eq!(unit, family.unit.is_some(), "{}", family.name);
        assert!(family.labels().iter().all(|label| !["le", "file", "path"].contains(label)));
    }
    for alert in alert::ALERTS {
        assert!(seen.contains(alert.family), "{} is about {}", alert.name, alert.family);
    }
}

#[test]
fn what_was_counted_is_exposed_with_its_unit_and_labels() {
    let (board, flow) = (board(), flow("web", "kinesis:s"));
    board.put(flow.clone());
    let counters = &flow.counters;
    counters.records_delivered.add(5);
    counters.requests_failed.add("network", 2);
    counters.bytes_lost.add(LossReason::Cut.word(), 9);
    counters.lag_millis.store(1500, Ordering::Relaxed);
    counters.request_micros.add(30_000);
    counters.request_micros.add(90_000_000);
    counters.shards.saw(["shardId-000000000003"].into_iter());
    let text = render(&board);
    let web = r#"{flow="web",destination="kinesis:s"}"#;
    let labelled =
        |name: &str, label: &str| format!(r#"{name}{{flow="web",destination="kinesis:s",{label}}}"#);
    assert_eq!(value(&text, &format!("kinesis_agent_records_delivered_total{web}")), 5.0);
    assert_eq!(value(&text, &format!("kinesis_agent_lag_seconds{web}")), 1.5);
    assert_eq!(value(&text, &format!("kinesis_agent_memory_used_bytes{web}")), 77.0);
    assert_eq!(value(&text, &format!("kinesis_agent_shards_seen{web}")), 1.0);
    assert_eq!(value(&text, &labelled("kinesis_agent_requests_failed_total", r#"code="network""#)), 2.0);
    assert_eq!(value(&text, &labelled("kinesis_agent_lost_bytes_total", r#"reason="cut""#)), 9.0);
    assert_eq!(value(&text, &labelled("kinesis_agent_lost_bytes_total", r#"reason="removed""#)), 0.0);
    assert_eq!(value(&text, &format!("kinesis_agent_request_duration_seconds_count{web}")), 2.0);
    assert_eq!(value(&text, &format!("kinesis_agent_request_duration_seconds_sum{web}")), 90.03);
    for (le, n) in [("0.025", 0.0), ("0.05", 1.0), ("60.0", 1.0), ("+Inf", 2.0)] {
        let count = text.lines().filter(|line| {
            line.starts_with("kinesis_agent_request_duration_seconds_bucket")
                && line.contains(&format!("le=\"{le}\""))
                && line.ends_with(&format!(" {n}"))
        });
        assert_eq!(count.count(), 1, "{le}\n{text}");
    }
    assert_eq!(value(&text, "kinesis_agent_memory_budget_bytes"), f64::from(1 << 25));
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn a_flow_may_be_called_anything_and_a_replaced_one_does_not_stand_twice() {
    let board = board();
    board.put(flow("a \"b\"\\\n} 1", "firehose:d"));
    board.put(flow("web", "firehose:d"));
    let newer = flow("web", "firehose:d");
    newer.counters.records_delivered.add(3);
    board.put(newer);
    let text = render(&board);
    let odd = r#"kinesis_agent_records_delivered_total{flow="a \"b\"\\\n} 1",destination="firehose:d"}"#;
    assert_eq!(value(&text, odd), 0.0);
    let web = r#"kinesis_agent_records_delivered_total{flow="web",destination="firehose:d"}"#;
    assert_eq!(value(&text, web), 3.0);
    assert!(!text.contains("kinesis_agent_shards_seen{"), "a delivery stream has no shards");
}

#[test]
fn the_dead_letter_file_is_looked_at_when_somebody_asks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dead.jsonl");
    let board = board();
    assert!(!render(&board).contains("\nkinesis_agent_dead_letter_file_bytes "));
    board.dead_letters_at(super::super::DeadLetterFile { path: path.clone(), max_bytes: 100 });
    assert_eq!(value(&render(&board), "kinesis_agent_dead_letter_file_bytes "), 0.0);
    std::fs::write(&path, "12345").unwrap();
    assert_eq!(value(&render(&board), "kinesis_agent_dead_letter_file_bytes "), 5.0);
    for (name, counts) in
        [(".1", true), (".12.refused", true), (".refused", true), (".progress", false), ("s", false)]
    {
        let before = value(&render(&board), "kinesis_agent_dead_letter_file_bytes ");
        std::fs::write(format!("{}{name}", path.display()), "1").unwrap();
        let after = value(&render(&board), "kinesis_agent_dead_letter_file_bytes ");
        assert_eq!(after - before, f64::from(counts), "{name}");
    }
    assert_eq!(board.dead_letters().unwrap().next_number(), 13);
    assert_eq!(value(&render(&board), "kinesis_agent_dead_letter_file_limit_bytes "), 100.0);
}
