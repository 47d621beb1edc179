//! What the agent shows of itself: counters, health, status, progress lines, and logs that do
//! not flood.

/// What can be seen of the agent from outside.
pub mod board;
/// What a flow has done so far.
pub mod counters;
/// Which credentials a flow uses.
pub mod credentials_report;
/// One line of a check.
pub mod finding;
/// Whether a destination accepts what it is sent.
pub mod health;
/// Where log lines go, and which.
pub mod logging;
/// The line that says how a flow is doing.
pub mod progress;
/// One line for each cause and minute.
pub mod repeated;
/// What the agent says of itself, as data.
pub mod status;

pub use board::{Board, FlowBoard};
pub use counters::FlowCounters;
pub use credentials_report::CredentialsReport;
pub use health::Health;
pub use progress::Progress;
pub use repeated::Repeated;
