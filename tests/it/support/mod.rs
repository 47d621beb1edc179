//! The vocabulary of the scripts: a folder with logs, an endpoint that obeys a script, the
//! built agent, and the promises that are checked in the end.
//!
//! A script says what happens to the world and what must be delivered; everything else (ports,
//! folders, waiting, what is shown when a test fails) is in here.

/// The built program: its configuration, its life and its death.
pub mod agent_process;
/// What the services answer.
pub mod answer;
/// A page, and what can be seen on it.
pub mod browser;
/// The configuration file of a test.
pub mod config_file;
/// An HTTP endpoint that speaks both services and does what it is told.
pub mod endpoint;
/// The scripted endpoint under the real client.
mod endpoint_test;
/// A real Kinesis server, in a process of its own.
pub mod ferrokinesis;
/// What the agent is asked about itself.
pub mod inquiry;
/// Aggregates as their consumers read them.
pub mod kpl;
/// A real server for most of AWS: Firehose into S3, STS, IAM, IMDS, signatures.
pub mod ministack;
/// File systems that a script mounts.
pub mod mounts;
/// Prometheus's own parser.
pub mod openmetrics;
/// The promises.
pub mod oracle;
/// What a killed agent left in its database.
pub mod positions;
/// Programs that others wrote, such as rsync.
pub mod program;
/// One request as AWS reads it: the operation, its records and its limits.
pub mod request;
/// The ways in which logs are rotated.
pub mod rotator;
/// World, endpoint, agent and oracle together.
pub mod scene;
/// What the endpoint does next.
pub mod script;
/// The check of a request's signature.
pub mod sigv4;
/// A disk that can be full.
pub mod small_disk;
/// Conditions that come true sooner or later.
pub mod wait;
/// A connection that can end badly.
pub mod wire;
/// The folder with the logs, and the memory of all that was written.
pub mod world;

pub use agent_process::AgentProcess;
pub use config_file::{Config, Destination, Flow};
pub use endpoint::Endpoint;
pub use ferrokinesis::Ferrokinesis;
pub use ministack::Ministack;
pub use oracle::{Oracle, Repeats, Shape};
pub use positions::{Positions, is_first_start_stored};
pub use rotator::Rotator;
pub use scene::Scene;
pub use script::Step;
pub use wait::{eventually, happens_within, let_pass};
pub use world::World;
