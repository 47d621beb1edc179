//! Named places at which a test lets the agent die as kill -9 would: `CRASH_AT=settle.before_commit:3`
//! in its environment ends it when it comes there for the third time. `tests/it/crash_points.rs`
//! aims at each of them.
//!
//! They exist only where debug assertions are compiled in. A release binary holds neither the
//! names nor the variable; `packaging/portable-binary` looks for it.

/// Ends the process here if the environment says so.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn crash_point(_name: &str) {}

/// Ends the process here if the environment says so.
#[cfg(debug_assertions)]
pub fn crash_point(name: &str) {
    static AIM: std::sync::OnceLock<Option<Aim>> = std::sync::OnceLock::new();
    let aim = AIM.get_or_init(|| std::env::var("CRASH_AT").ok().map(|text| Aim::parse(&text)));
    if aim.as_ref().is_some_and(|aim| aim.is_hit_by(name)) {
        die(name);
    }
}

/// Nothing is finished, written or dropped.
#[cfg(debug_assertions)]
fn die(name: &str) -> ! {
    use rustix::process::{Signal, getpid, kill_process};
    eprintln!("crash point {name}");
    let killed = kill_process(getpid(), Signal::KILL);
    unreachable!("a process may kill itself: {killed:?}");
}

#[cfg(debug_assertions)]
#[derive(Debug)]
struct Aim {
    name: String,
    /// So many visits, that one included, until it is hit.
    left: std::sync::atomic::AtomicU32,
}

#[cfg(debug_assertions)]
impl Aim {
    /// `name` or `name:3`.
    fn parse(text: &str) -> Self {
        let (name, hits) = text.split_once(':').unwrap_or((text, "1"));
        let hits: u32 = hits.parse().expect("CRASH_AT is a name, or a name, a colon and a number");
        Aim { name: name.to_owned(), left: hits.into() }
    }

    fn is_hit_by(&self, name: &str) -> bool {
        self.name == name && self.left.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) == 1
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_hit_at_the_visit_that_was_asked_for() {
        let aim = Aim::parse("settle.before_commit:3");
        let hits: Vec<bool> = (0..5).map(|_| aim.is_hit_by("settle.before_commit")).collect();
        assert_eq!(hits, [false, false, true, false, false]);
        assert!(!aim.is_hit_by("settle.after_commit"));
        assert!(Aim::parse("scan.after_list").is_hit_by("scan.after_list"));
    }

    #[test]
    fn nothing_happens_where_nobody_aims() {
        crash_point("a point that no test aims at");
    }
}
