//! What each command of the command line does, and the code that it exits with.

mod check;
mod completions;
mod dry_run;
mod online;
mod reader;
mod redrive;
mod reload;
mod run;
mod schema;
mod status;

pub use self::status::status;
pub use check::check;
pub use completions::completions;
pub use dry_run::dry_run;
pub use redrive::redrive;
pub use reload::reload;
pub use run::run;
pub use schema::schema;
