//! What each command of the command line does, and the code that it exits with.

mod check;
mod run;
mod status;

pub use check::check;
pub use run::run;
pub use status::status;
