//! The integration tests: scripts over a small vocabulary.

/// The vocabulary: world, rotators, endpoint, agent, oracle.
mod support;

/// The licences of all that is built in.
mod licences;
/// The agent beside the logrotate that hosts really run.
mod logrotate;
/// The agent against servers that somebody else wrote.
mod real_servers;
