//! What a check has found: one line for the operator.

/// The worst is the largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    Good,
    /// Neither good nor bad, but worth knowing.
    Note,
    /// It may work, but somebody should look at it.
    Warning,
    /// It does not work.
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub grade: Grade,
    /// What was looked at, in a word.
    pub subject: &'static str,
    /// What was seen, and what to do about it.
    pub text: String,
}

impl Finding {
    pub fn good(subject: &'static str, text: impl Into<String>) -> Self {
        Finding { grade: Grade::Good, subject, text: text.into() }
    }

    pub fn note(subject: &'static str, text: impl Into<String>) -> Self {
        Finding { grade: Grade::Note, subject, text: text.into() }
    }

    pub fn warning(subject: &'static str, text: impl Into<String>) -> Self {
        Finding { grade: Grade::Warning, subject, text: text.into() }
    }

    pub fn failed(subject: &'static str, text: impl Into<String>) -> Self {
        Finding { grade: Grade::Failed, subject, text: text.into() }
    }
}
