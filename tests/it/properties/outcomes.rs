//! Whatever an answer looks like, there is one outcome for each entry, and nothing that was not
//! accepted counts as delivered.

use kinesis_agent::send::outcome::{Answer, FailureClass, Outcome, classify, outcomes, short_code};

const CODES: [&str; 8] = [
    "ProvisionedThroughputExceededException",
    "InternalFailure",
    "InvalidArgumentException",
    "com.amazonaws.kinesis#InvalidArgumentException:http://x",
    "KMSThrottlingException",
    "ServiceUnavailableException",
    "",
    "#",
];

pub fn one_for_each_entry(data: &[u8]) {
    let ([missing], rest) = super::parameters(data);
    let text = String::from_utf8_lossy(rest);
    let answers: Vec<Answer<'_>> = rest
        .iter()
        .map(|&byte| Answer {
            accepted: byte & 1 == 1,
            code: match byte >> 1 & 15 {
                code @ 0..8 => Some(CODES[usize::from(code)]),
                8 => Some(&text),
                _ => None,
            },
            message: (byte & 64 != 0).then_some(&text),
        })
        .collect();
    let sent = rest.len() + missing % 3;
    match outcomes(sent, answers.iter().copied()) {
        Ok(outcomes) => {
            assert_eq!((outcomes.len(), sent), (answers.len(), answers.len()));
            for (outcome, answer) in outcomes.iter().zip(&answers) {
                let code = answer.code.map(short_code).unwrap_or_default();
                let delivered = answer.accepted && code.is_empty();
                assert_eq!(*outcome == Outcome::Delivered, delivered, "{answer:?}");
                let refused = code == "InvalidArgumentException";
                assert_eq!(matches!(outcome, Outcome::Rejected(_)), refused, "{answer:?}");
            }
        }
        Err(failure) => {
            assert_ne!(sent, answers.len());
            assert_eq!(failure.class, FailureClass::WrongAnswer);
        }
    }
    let status = u16::from_be_bytes([data.first().copied().unwrap_or(0), rest.first().copied().unwrap_or(0)]);
    // An answer that nobody understands never gives an entry up.
    if classify(status, Some(&text)) == FailureClass::Invalid {
        assert!(status == 413 || !short_code(&text).is_empty());
    }
}
