//! What each command of the command line does, and the code that it exits with.

mod check;
mod completions;
mod run;

pub use check::check;
pub use completions::completions;
pub use run::run;
