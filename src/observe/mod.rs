//! What the agent shows of itself: counters, health, status, progress lines, and logs that do
//! not flood.

/// What can be seen of the agent from outside.
pub mod board;
/// How well the positions are stored.
pub mod checkpoints;
/// Totals, gauges and histograms.
pub mod counter;
/// What a flow has done so far.
pub mod counters;
/// Where a test lets the agent die.
pub mod crash_point;
/// Which credentials a flow uses.
pub mod credentials_report;
/// One line of a check.
pub mod finding;
/// Whether a destination accepts what it is sent.
pub mod health;
/// Numbers as people read them.
pub mod human;
/// The journal of systemd.
mod journal;
/// What happened to files, and why bytes were lost, in words.
pub mod kinds;
/// Where log lines go, and which.
pub mod logging;
/// What Prometheus reads.
pub mod metrics;
/// What an operator has to know.
pub mod problems;
/// The line that says how a flow is doing.
pub mod progress;
/// Whether a stage still works.
pub mod pulse;
/// One line for each cause and minute.
pub mod repeated;
/// Answers whoever asks how the agent is doing.
pub mod server;
/// What the service manager is told.
pub mod service;
/// What the agent says of itself, as data.
pub mod status;
/// What the agent says of itself, put together.
pub mod survey;
/// Which files cannot be read, and why.
pub mod troubles;

pub use board::{Board, DeadLetterFile, FlowBoard};
pub use checkpoints::Checkpoints;
pub use counter::Shards;
pub use counters::FlowCounters;
pub use crash_point::crash_point;
pub use credentials_report::CredentialsReport;
pub use health::Health;
pub use kinds::{LossReason, RotationKind};
pub use progress::Progress;
pub use pulse::{Pulse, Pulses};
pub use repeated::Repeated;
pub use troubles::Troubles;
