//! Any text is a configuration or a list of mistakes, each of which says where it is and what is
//! wrong. A good one is read the same each time.

use std::path::Path;

use kinesis_agent::config::{ConfigError, parse};

pub fn every_mistake_has_a_line(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let read = || parse(text, Path::new("c.yaml"), &|name| (name == "HOME").then(|| "/root".to_owned()));
    match read() {
        Ok(settings) => {
            let again = read().expect("it was good a moment ago");
            assert_eq!(format!("{:?}", settings.warnings), format!("{:?}", again.warnings));
            assert_eq!(settings.flows.len(), again.flows.len());
            for (flow, other) in settings.flows.iter().zip(&again.flows) {
                assert!(flow.is_asked_as(other) && flow.key == other.key);
            }
        }
        Err(ConfigError::Invalid(problems)) => {
            assert!(!problems.is_empty());
            // YAML knows more line breaks than one.
            let breaks = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];
            let lines = text.matches(breaks).count() + 2;
            for problem in &problems {
                assert!((1..=lines).contains(&problem.line), "line {} of {lines}: {problem}", problem.line);
                assert!(!problem.text.is_empty() && !problem.to_string().contains('\n'), "{problem}");
            }
        }
        Err(other) => panic!("it was not read from a file: {other}"),
    }
}
