//! Counters, the progress line, and logs that do not flood.

/// What a flow has done so far.
pub mod counters;
/// One line for each cause and minute.
pub mod repeated;

pub use counters::FlowCounters;
pub use repeated::Repeated;
