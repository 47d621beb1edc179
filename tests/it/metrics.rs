//! What Prometheus reads, by its own parser; and the documents that are generated from the
//! code's table of metrics: `docs/METRICS.md` and the alert rules. The dashboard is written by
//! hand and held to the table.
//!
//! `UPDATE_DOCS=1` writes the generated files anew.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kinesis_agent::observe::metrics::alert::{ALERTS, Alert};
use kinesis_agent::observe::metrics::family::{FAMILIES, Family, Group, Type, Unit};
use kinesis_agent::observe::metrics::render;
use kinesis_agent::observe::{Board, DeadLetterFile, FlowBoard, FlowCounters};

use crate::support::inquiry::get;
use crate::support::openmetrics::{Parsed, parse, value};
use crate::support::scene::SOON;
use crate::support::{Destination, Scene, Step, eventually};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A board with a flow of such a name, of which everything was counted that can be.
fn board(name: &str) -> Arc<Board> {
    let board = Arc::new(Board::new("c.yaml".into(), "c.db".into(), 1 << 25));
    let counters = Arc::new(FlowCounters::default());
    counters.requests_failed.add("network", 2);
    counters.entries_throttled.add("ThrottlingException", 3);
    counters.request_micros.add(20_000);
    let flow = FlowBoard {
        name: name.into(),
        key: "key".into(),
        destination: "kinesis:stream".into(),
        counters,
        health: Arc::default(),
        troubles: Arc::default(),
        credentials: Arc::default(),
        memory_used: Box::new(|| 5),
        pulses: kinesis_agent::observe::Pulses::default(),
        draining: false.into(),
    };
    flow.health.failed("why".into());
    board.put(Arc::new(flow));
    board.dead_letters_at(DeadLetterFile { path: PathBuf::from("/nowhere"), max_bytes: 100 });
    board.checkpoints.failed("disk full".into());
    board
}

#[test]
fn the_parser_of_prometheus_finds_every_metric_as_the_table_has_it() {
    let odd = "a \"quoted\" \\ name\nof two lines {} ü";
    let found = parse(&render(&board(odd)));
    let by_name: BTreeMap<&str, &Parsed> = found.iter().map(|family| (&*family.name, family)).collect();
    assert_eq!(by_name.len(), FAMILIES.len());
    for family in FAMILIES {
        let parsed = by_name[family.name];
        assert_eq!(parsed.r#type, kind(family), "{}", family.name);
        assert_eq!(parsed.unit, unit(family), "{}", family.name);
        assert_eq!(parsed.help, family.help);
        assert!(!parsed.samples.is_empty(), "{} has no samples", family.name);
        for sample in &parsed.samples {
            assert!(family.series().contains(&sample.name), "{}", sample.name);
            let labels: HashSet<&str> =
                sample.labels.keys().map(String::as_str).filter(|label| *label != "le").collect();
            assert_eq!(labels, family.labels().into_iter().collect(), "{}", family.name);
            assert!(sample.labels.get("flow").is_none_or(|flow| flow == odd));
            assert!(sample.value >= 0.0);
        }
    }
}

fn kind(family: &Family) -> &'static str {
    match family.kind {
        Type::Counter => "counter",
        Type::Gauge => "gauge",
        Type::Histogram => "histogram",
        Type::Info => "info",
    }
}

fn unit(family: &Family) -> &'static str {
    match family.unit {
        None => "",
        Some(Unit::Bytes) => "bytes",
        Some(Unit::Seconds) => "seconds",
    }
}

/// The file must hold `text`, or is made to.
#[track_caller]
fn generated(path: &str, text: &str) {
    let file = repository().join(path);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
    }
    let there = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        there == text,
        "{path} is not what the table of metrics says; write it anew with \
         `UPDATE_DOCS=1 cargo nextest run -E 'test(metrics)'`"
    );
}

const PAGE: &str = "\
# Metrics

<!-- Generated from src/observe/metrics/. `UPDATE_DOCS=1 cargo nextest run -E 'test(metrics)'` writes it anew. -->

The agent answers `GET /metrics` with the OpenMetrics text format: on its status socket always, and over HTTP where `status.listen` is set.

```yaml
scrape_configs:
  - job_name: kinesis-agent
    static_configs:
      - targets: ['localhost:9494']   # what status.listen says
```

Totals begin at 0 when the agent starts. Labels are the flow's `name`, its destination (`kinesis:NAME` or `firehose:NAME`) and words of a fixed list; a file's name is never one, so a flow has about a hundred series however many files it follows. What belongs to one file is shown by `kinesis-agent status`.

The alerts stand ready in [packaging/prometheus/alerts.yaml](../packaging/prometheus/alerts.yaml), a dashboard in [packaging/grafana/kinesis-agent.json](../packaging/grafana/kinesis-agent.json). Beside them, watch `up` of the scrape itself: an agent that does not run has no metrics.
";

fn title(group: Group) -> &'static str {
    match group {
        Group::Agent => "The agent",
        Group::Working => "Does it work, and how far is it behind",
        Group::Throughput => "Throughput",
        Group::Requests => "Requests",
        Group::Batches => "Batches",
        Group::Files => "Files",
        Group::Losses => "Losses, repeats and dead letters",
        Group::Checkpoints => "Checkpoints",
    }
}

fn page() -> String {
    let mut page = PAGE.to_owned();
    for group in Group::ALL {
        let families: Vec<&Family> = FAMILIES.iter().filter(|family| family.group == group).collect();
        let suffix = |family: &Family| match family.kind {
            Type::Counter => "_total",
            Type::Info => "_info",
            _ => "",
        };
        writeln!(
            page,
            "\n## {}\n\n| Metric | Type | Unit | Labels | Meaning |\n|---|---|---|---|---|",
            title(group)
        )
        .unwrap();
        for family in &families {
            let labels: Vec<String> = family.labels().iter().map(|label| format!("`{label}`")).collect();
            let more = if family.more.is_empty() { String::new() } else { format!(" {}", family.more) };
            writeln!(
                page,
                "| `{}{}` | {} | {} | {} | {}{more} |",
                family.name,
                suffix(family),
                kind(family),
                unit(family),
                labels.join(", "),
                family.help,
            )
            .unwrap();
        }
        for alert in ALERTS.iter().filter(|alert| families.iter().any(|family| family.name == alert.family)) {
            page.push_str(&described(alert));
        }
    }
    page
}

fn described(alert: &Alert) -> String {
    let Alert { name, expr, hold, cause, cure, .. } = alert;
    let hold = if *hold == "0m" { "at once".to_owned() } else { format!("for {hold}") };
    format!(
        "\n**{name}** ({}, {hold})\n\n```promql\n{expr}\n```\n\n- Cause: {cause}\n- What to do: {cure}\n",
        alert.severity.word()
    )
}

/// A string of JSON is one of YAML, too.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

fn rules() -> String {
    let mut rules = "\
# Alert rules for Prometheus. Generated from src/observe/metrics/alert.rs; see docs/METRICS.md.
# Load with `rule_files:`, check with `promtool check rules`.
groups:
  - name: kinesis-agent
    rules:
"
    .to_owned();
    for alert in ALERTS {
        let lines = [
            format!("      - alert: {}", alert.name),
            format!("        expr: {}", quoted(alert.expr)),
            format!("        for: {}", alert.hold),
            format!("        labels:\n          severity: {}", alert.severity.word()),
            "        annotations:".to_owned(),
            format!("          summary: {}", quoted(alert.summary)),
            format!("          cause: {}", quoted(alert.cause)),
            format!("          description: {}", quoted(alert.cure)),
        ];
        rules.push_str(&(lines.join("\n") + "\n"));
    }
    rules
}

#[test]
fn the_page_of_metrics_is_that_of_the_table() {
    generated("docs/METRICS.md", &page());
}

#[test]
fn the_alert_rules_are_those_of_the_table() {
    let rules = rules();
    generated("packaging/prometheus/alerts.yaml", &rules);
    let parsed: serde_yaml::Value = serde_yaml::from_str(&rules).unwrap();
    assert_eq!(parsed["groups"][0]["rules"].as_sequence().unwrap().len(), ALERTS.len());
}

/// The metrics that a PromQL expression names.
fn metrics_in(expr: &str) -> impl Iterator<Item = &str> {
    let words = expr.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("kinesis_agent_"))
}

fn all_series() -> HashSet<String> {
    FAMILIES.iter().flat_map(Family::series).collect()
}

#[test]
fn every_metric_that_an_alert_asks_for_exists() {
    let series = all_series();
    for alert in ALERTS {
        assert!(metrics_in(alert.expr).count() > 0, "{} asks for nothing", alert.name);
        for metric in metrics_in(alert.expr) {
            assert!(series.contains(metric), "{}: there is no {metric}", alert.name);
        }
    }
}

/// The expressions of all panels and variables, wherever they stand.
fn expressions<'a>(value: &'a serde_json::Value, found: &mut Vec<&'a str>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(text) if ["expr", "definition", "query"].contains(&&**name) => found.push(text),
                    _ => expressions(value, found),
                }
            }
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

#[test]
fn the_dashboard_shows_what_exists_and_every_group_of_it() {
    let text = fs::read_to_string(repository().join("packaging/grafana/kinesis-agent.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut found = Vec::new();
    expressions(&dashboard, &mut found);
    let (series, mut shown) = (all_series(), HashSet::new());
    for metric in found.iter().flat_map(|expr| metrics_in(expr)) {
        assert!(series.contains(metric), "there is no {metric}");
        shown.insert(metric);
    }
    for group in Group::ALL {
        let of_group = FAMILIES.iter().filter(|family| family.group == group).flat_map(Family::series);
        assert!(of_group.into_iter().any(|series| shown.contains(&*series)), "nothing of {group:?} is shown");
    }
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: HashSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
}

/// A running agent's metrics, as soon as they are as `look` wants them.
#[track_caller]
fn scrape(scene: &Scene, what: &str, look: impl Fn(&[Parsed]) -> bool) -> (String, Vec<Parsed>) {
    eventually(what, SOON, || {
        let (code, text) = get(&scene.world, "/metrics");
        assert_eq!(code, 200, "{text}");
        let parsed = parse(&text);
        if look(&parsed) { Ok((text, parsed)) } else { Err(text) }
    })
}

#[test]
fn a_running_agent_counts_what_it_does() {
    let mut scene = Scene::with_flow(Destination::Kinesis, "app.log", |flow| {
        flow.with("name", "a \"flow\"").with("skipHeaderLines", 1).with("oversizedRecords", "deadLetter")
    });
    scene.endpoint.script([
        Step::Throttle,
        Step::fail_every(3, "InternalFailure"),
        Step::error("ExpiredTokenException"),
    ]);
    scene.world.append_unseen("app.log", "header\n");
    scene.world.append_unseen("app.log", "x".repeat(3 << 20) + "\n");
    scene.world.lines("app.log", 20);
    scene.start();
    scene.wait_for_all();
    scene.world.rename("app.log", "app.log.1");
    let done = |found: &[Parsed]| {
        value(found, "kinesis_agent_rotations_total", &["renamed"]) == 1.0
            && value(found, "kinesis_agent_lag_bytes", &[]) == 0.0
            && value(found, "kinesis_agent_checkpoint_age_seconds", &[]) == 0.0
    };
    let (text, found) = scrape(&scene, "it is rotated, delivered and stored", done);
    let total = |name: &str| value(&found, &format!("kinesis_agent_{name}_total"), &[]);
    assert_eq!((total("records_delivered"), total("records_filtered")), (20.0, 1.0));
    assert!(total("records_dead") >= 1.0);
    assert_eq!(
        total("records_read"),
        total("records_delivered") + total("records_filtered") + total("records_dead")
    );
    assert_eq!(total("read_bytes"), (7 + (3 << 20) + 1 + 20 * 60) as f64);
    assert_eq!(total("lost_bytes"), 0.0);
    for (code, name) in [
        ("ProvisionedThroughputExceededException", "entries_throttled"),
        ("ExpiredTokenException", "requests_failed"),
    ] {
        assert!(value(&found, &format!("kinesis_agent_{name}_total"), &[code]) >= 1.0, "{text}");
    }
    assert!(total("entries_retried") > 0.0);
    assert_eq!(value(&found, "kinesis_agent_request_duration_seconds_count", &[]), total("requests"));
    assert_eq!(value(&found, "kinesis_agent_batch_entries_sum", &[]), 20.0);
    assert_eq!(value(&found, "kinesis_agent_batch_entries_count", &[]), total("batches"));
    let now = |name: &str| value(&found, &format!("kinesis_agent_{name}"), &[]);
    assert_eq!((now("files"), now("requests_in_flight"), now("shards_seen")), (1.0, 0.0, 1.0));
    assert!(now("dead_letter_file_bytes") > 4e6 && total("checkpoint_commits") >= 1.0);
    assert!(!text.contains("app.log"), "no file is named:\n{text}");
}
