//! Counters, the progress line, and logs that do not flood.

/// What a flow has done so far.
pub mod counters;

pub use counters::FlowCounters;
