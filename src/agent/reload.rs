//! Which flows end and which begin when another configuration comes into force. Pure.

use crate::config::Flow;

/// What becomes of each flow.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Running flows that end, by their place among the running ones: they were removed, or are
    /// asked for in another way.
    pub end: Vec<usize>,
    /// New flows that begin, by their place in the configuration.
    pub begin: Vec<usize>,
    /// Running flows that go on untouched.
    pub kept: usize,
}

/// Compares what runs with what is configured.
pub fn plan(running: &[&Flow], configured: &[Flow]) -> Plan {
    let goes_on =
        |flow: &Flow| configured.iter().any(|other| other.key == flow.key && other.is_asked_as(flow));
    let runs = |flow: &Flow| running.iter().any(|other| other.key == flow.key && other.is_asked_as(flow));
    let end: Vec<usize> = (0..running.len()).filter(|&at| !goes_on(running[at])).collect();
    let begin = (0..configured.len()).filter(|&at| !runs(&configured[at])).collect();
    Plan { kept: running.len() - end.len(), end, begin }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn flows(text: &str) -> Vec<Flow> {
        crate::config::parse(text, Path::new("c.yaml"), &|_| None).unwrap().flows
    }

    fn planned(before: &str, after: &str) -> (Vec<usize>, Vec<usize>, usize) {
        let (before, after) = (flows(before), flows(after));
        let plan = plan(&before.iter().collect::<Vec<_>>(), &after);
        (plan.end, plan.begin, plan.kept)
    }

    const A: &str = "- {name: a, filePattern: /a, deliveryStream: d, multiLineStartPattern: x}\n";
    const B: &str = "- {name: b, filePattern: /b, kinesisStream: s}\n";

    #[test]
    fn what_is_asked_for_as_before_goes_on_wherever_it_stands_and_however_many_there_are() {
        let (one, two) = (format!("flows:\n{A}"), format!("flows:\n# moved\n{B}{A}"));
        assert_eq!(planned(&one, &one), (vec![], vec![], 1));
        assert_eq!(planned(&one, &two), (vec![], vec![0], 1));
        assert_eq!(planned(&two, &one), (vec![0], vec![], 1));
        let many: String = (0..9).map(|n| B.replace("name: b", &format!("name: b{n}"))).collect();
        let plan = planned(&one, &format!("memoryBudget: 64MiB\nflows:\n{A}{many}"));
        assert_eq!(plan, (vec![], (1..10).collect(), 1));
    }

    #[test]
    fn what_is_asked_for_in_another_way_ends_and_begins() {
        let before = format!("flows:\n{A}{B}");
        for (key, value) in [
            ("maxBufferAgeMillis", "7000"),
            ("multiLineMaxBytes", "5000"),
            ("maxBufferSizeBytes", "1MiB"),
            ("aggregation", "lines"),
            ("aggregationMaxBytes", "2000"),
            ("aggregationMaxRecords", "500"),
            ("compression", "gzip, forceCompression: true"),
            ("excludePattern", "/a.gz"),
            ("region", "eu-west-1"),
        ] {
            let after = before.replacen('}', &format!(", {key}: {value}}}"), 1);
            assert_eq!(planned(&before, &after), (vec![0], vec![0], 1), "{key}");
        }
        let other_regex = before.replace("multiLineStartPattern: x", "multiLineStartPattern: y");
        assert_eq!(planned(&before, &other_regex), (vec![0], vec![0], 1));
        let for_all = format!("awsAccessKeyId: x\nawsSecretAccessKey: y\n{before}");
        assert_eq!(planned(&before, &for_all), (vec![0, 1], vec![0, 1], 0));
        assert_eq!(planned(&before, "flows: []"), (vec![0, 1], vec![], 0));
    }
}
