//! The integration tests: scripts over a small vocabulary.

/// The vocabulary: world, rotators, endpoint, agent, oracle.
mod support;
