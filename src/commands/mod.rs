//! What each command of the command line does, and the code that it exits with.

mod check;
mod completions;
mod reload;
mod run;
mod status;

pub use self::status::status;
pub use check::check;
pub use completions::completions;
pub use reload::reload;
pub use run::run;
