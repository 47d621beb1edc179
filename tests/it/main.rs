//! The integration tests: scripts over a small vocabulary.
//!
//! They share nothing with each other but the machine: each has its own folder, port and
//! agent. Settings from the environment: `IT_AGENT` (another binary, such as a release build),
//! `IT_LOG_LEVEL` (of the agent), `IT_EVENTS=off` (no file-system events in any script),
//! `IT_MOUNTS=off` (no script that mounts anything), and `SEED`, `LIVES` and `RATE` of the crash test.

/// The vocabulary: world, rotators, endpoint, agent, oracle.
mod support;

/// Who asks AWS, and by which way.
mod access;
/// What AWS bills for each way of packing.
mod bill;
/// What is said of a configuration that is wrong.
mod config;
/// Which records the bytes of a file become.
mod content;
/// What fuzzing found, as ordinary tests.
mod corpus;
/// Kill -9 at random moments.
mod crash;
/// Deaths at chosen places.
mod crash_points;
/// What the destination never takes, and how it is sent again.
mod dead_letters;
/// Every way in which a destination fails.
mod delivery;
/// `run --dry-run`.
mod dry_run;
/// A file that goes to several places.
mod fan_out;
/// File systems and files of all kinds.
mod file_systems;
/// The disk of the checkpoints is full.
mod full_disk;
/// The cases in which other agents lose or repeat lines.
mod known_losses;
/// Aggregates, byte by byte.
mod kpl;
/// Records of more than 1 MiB.
mod large_records;
/// The licences of all that is built in.
mod licences;
/// The agent beside the logrotate that hosts really run.
mod logrotate;
/// Very many files.
mod many;
/// The memory during an outage.
mod memory;
/// What Prometheus reads, and the documents, rules and dashboard that go with it.
mod metrics;
/// `check --online`.
mod online;
/// The order of what a stream holds.
mod ordering;
/// Nothing can be delivered for long.
mod outage;
/// The service and the packages, without building or booting anything.
mod packaging;
/// Aggregates and compressed entries on their way.
mod packed;
/// What a power cut leaves of the database and of logs.
mod power_loss;
/// Real programs that write, rewrite and rotate logs.
mod programs;
/// What must hold for any bytes.
mod properties;
/// The agent against servers that somebody else wrote.
mod real_servers;
/// Another configuration while the agent runs.
mod reload;
/// What survives the end of the agent.
mod restart;
/// Every way of rotating a log, at every bad moment.
mod rotation;
/// What a service manager and the journal are told.
mod service;
/// How the agent ends when it is asked to.
mod shutdown;
/// The cores of all stages, led by hand through all that may happen to files.
mod simulation;
/// Which shards records go to, and how fast.
mod spread;
/// What the agent says of itself.
mod status;
/// The page of the status, in a browser.
mod status_page;
/// Which files are read, from where, and what is in the way.
mod tailing;
/// The structure of the code.
mod tidy;
/// Every message that an operator may have to act on.
mod troubleshooting;
