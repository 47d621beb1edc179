//! Counters, the progress line, and logs that do not flood.

/// What a flow has done so far.
pub mod counters;
/// Where log lines go, and which.
pub mod logging;
/// The line that says how a flow is doing.
pub mod progress;
/// One line for each cause and minute.
pub mod repeated;

pub use counters::FlowCounters;
pub use progress::Progress;
pub use repeated::Repeated;
