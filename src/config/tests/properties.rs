//! Whatever the file holds, there is an answer and no panic.

use proptest::prelude::*;

use super::parse;
use crate::config::ConfigError;

const YAML: &str = include_str!("../../../config.example.yaml");
const JSON: &str = r#"{ // as the Java agent
  "kinesis.endpoint": "", "firehose": {"region": "eu-west-1"}, "memoryBudget": "8MiB", /* x
  */ "flows": [{"filePattern": "/a/*.log", "deliveryStream": "d", "multiLineStartPattern": "^\\d"},
    {"filePattern": "/b", "kinesisStream": "s\u0041", "maxBufferAgeMillis": "1000"}]}
"#;

/// Pieces that mean something in one of the languages.
const PIECES: [&str; 32] = [
    "\n", "  ", "\t", "- ", ": ", "{", "}", "[", "]", "\"", "'", "&a ", "*a", "!t ", "|", ">", "#", "//",
    "/*", "*/", "null", "~", "-1", "1e999", "0x1F", "${", "${X:-", "$${", "flows:", "\u{feff}", "é", "\0",
];

/// All errors name lines that exist, and something to say.
fn answer(text: &str) {
    match parse(text) {
        Ok(settings) => assert!(settings.memory_budget >= 8 << 20),
        Err(ConfigError::Invalid(problems)) => {
            assert!(!problems.is_empty());
            // YAML 1.1 ends a line at more than \n and \r\n.
            let lines = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count();
            for problem in problems {
                assert!((1..=lines + 1).contains(&problem.line), "{problem}");
                assert!(!problem.text.is_empty());
                assert!(!problem.to_string().contains('\n'), "{problem:?}");
            }
        }
        Err(error @ ConfigError::Unreadable { .. }) => panic!("{error}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn any_text_has_an_answer(text in "\\PC{0,200}|[ -~\n\t]{0,200}") {
        answer(&text);
    }

    #[test]
    fn any_pieces_have_an_answer(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..60)) {
        answer(&pieces.concat());
    }

    #[test]
    fn a_damaged_file_has_an_answer(
        yaml in any::<bool>(),
        damages in prop::collection::vec(
            (any::<prop::sample::Index>(), 0..12_usize, prop::sample::select(&PIECES[..])), 1..6),
    ) {
        // Comments would take most of the damage.
        let mut chars: Vec<char> = if yaml {
            YAML.lines().filter(|l| !l.trim().starts_with("# ")).flat_map(|l| l.chars().chain(['\n'])).collect()
        } else {
            JSON.chars().collect()
        };
        for (at, removed, piece) in damages {
            let at = at.index(chars.len() + 1);
            let end = (at + removed).min(chars.len());
            chars.splice(at..end, piece.chars());
        }
        answer(&chars.iter().collect::<String>());
    }
}
