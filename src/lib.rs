//! Tails log files and delivers every line to Amazon Kinesis Data Streams or Firehose.
//!
//! The four stages are the four folders whose names sort in the order of the data:
//! `file -> record -> send -> settle`. A stage may use what is to its left; to the right
//! there are only the bounded channels that [`agent`] creates.

/// What the user typed, and what each stage uses of it.
pub mod config;

/// 1. Which bytes: disk -> chunks with positions.
pub mod file;
/// 2. Which records: chunks -> blocks of records with spans.
pub mod record;
/// 3. Which requests: blocks -> entries -> requests -> outcomes.
pub mod send;
/// 4. What is safe: outcomes -> watermark -> SQLite.
pub mod settle;

/// Counters, progress lines, and logs that do not flood.
pub mod observe;

/// The wiring: stages, channels, resume, shutdown order.
pub mod agent;

/// What may be typed on the command line.
pub mod command_line;
/// What each command does.
pub mod commands;
