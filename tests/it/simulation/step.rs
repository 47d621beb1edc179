//! What may happen in a case: a word and two small numbers, which mean something in every
//! state. So any part of a list of steps is a valid case too, and shrinking is leaving out.
//!
//! Each case draws weights of its own and switches a random part of the steps off, so that
//! cases differ in kind and not only in order.

use std::fmt;
use std::str::FromStr;

use fastrand::Rng;

#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub what: What,
    pub a: u8,
    pub b: u8,
}

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident $word:literal $weight:literal $kind:ident,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum What { $($(#[$doc])* $name,)* }

        const ALL: &[(What, &str, u32, Kind)] = &[$((What::$name, $word, $weight, Kind::$kind),)*];
    };
}

/// Whether a step may be switched off, and in which cases it occurs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Without it nothing happens.
    Needed,
    Optional,
    /// Afterwards nobody can tell a file from a copy: repeats are permitted.
    Ambiguous,
    /// Only where RACES is set.
    Race,
}

steps! {
    /// Some lines. `a`: the source and how many, `b`: whether the agent hears of it.
    Append "append" 30 Needed,
    /// A part of a line, which the next append or part goes on with.
    Part "part" 6 Optional,
    /// The next name in the chain of rotation; the writer goes on in the old file, or in a new one.
    Rename "rename" 5 Optional,
    /// To a name with a number that grows.
    RenameDated "rename-dated" 3 Optional,
    /// To a name that rotation would not make, or into the folder for old files.
    MoveAway "move-away" 2 Optional,
    /// The writer opens its path anew.
    Reopen "reopen" 6 Needed,
    /// Copy and cut at once.
    CopyTruncate "copytruncate" 3 Optional,
    /// The copy of a copytruncate begins; the writer goes on meanwhile.
    CopyBegin "copy-begin" 3 Optional,
    /// It reaches the present end of the file.
    CopyGoOn "copy-go-on" 3 Optional,
    /// And the file is cut.
    CopyEnd "copy-end" 4 Optional,
    /// Cut to nothing, without a copy.
    Truncate "truncate" 1 Optional,
    /// Cut, and at once longer than it was.
    Regrow "regrow" 2 Optional,
    /// The writer goes on in a file without a name, until it opens its path anew.
    Delete "delete" 2 Optional,
    /// A new file at the same path, with the inode of the old one where the system does that.
    Recreate "recreate" 2 Optional,
    /// The link leads to a new file.
    Swap "swap" 3 Optional,
    /// A rotated file is compressed and removed.
    Compress "compress" 4 Optional,
    /// A rotated file is removed.
    Expire "expire" 2 Optional,
    /// A file loses its last lines.
    Cut "cut" 2 Ambiguous,
    /// A file is replaced by a copy of itself, as an editor does.
    Replace "replace" 1 Ambiguous,
    /// A copy that stays, under a name that the patterns match.
    Copy "copy" 1 Ambiguous,
    /// A look at the folders.
    Scan "scan" 14 Needed,
    /// The folders are listed; what changes before the listing is acted on is not in it.
    List "list" 3 Race,
    /// `a` chunks are read.
    Turns "turns" 20 Needed,
    /// What is due with time.
    Tend "tend" 6 Needed,
    /// Time passes.
    Pass "pass" 5 Optional,
    /// Blocks become a batch.
    Fill "fill" 14 Needed,
    /// The batch leaves, full or not.
    Send "send" 12 Needed,
    /// `a`: which request is answered, or sent again. `b`: how.
    Answer "answer" 18 Needed,
    /// The settle stage hears what was said to it.
    Hear "hear" 12 Needed,
    Commit "commit" 6 Optional,
    /// The database cannot be written.
    CommitFails "commit-fails" 1 Optional,
    /// Everything in memory is gone.
    Crash "crash" 2 Optional,
    /// The agent stops in time, or runs out of it.
    Stop "stop" 2 Optional,
    Start "start" 6 Needed,
    /// The flow ends and another goes on with its files.
    Reload "reload" 1 Optional,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = ALL.iter().find(|(what, ..)| *what == self.what).map_or("?", |(_, word, ..)| word);
        write!(f, "{word} {} {}", self.a, self.b)
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let mut words = line.split_whitespace();
        let word = words.next().unwrap_or_default();
        let found = ALL.iter().find(|(_, known, ..)| *known == word);
        let (what, ..) = found.ok_or_else(|| format!("`{word}` is no step"))?;
        let mut number = || words.next().unwrap_or("0").parse().map_err(|error| format!("{line}: {error}"));
        Ok(Step { what: *what, a: number()?, b: number()? })
    }
}

/// Draws the steps of a case.
pub struct Swarm {
    weights: Vec<u32>,
}

impl Swarm {
    pub fn draw(rng: &mut Rng, exact: bool) -> Self {
        let off = [1, 3, 6][rng.usize(..3)];
        let weight = |&(_, _, weight, kind): &(What, &str, u32, Kind)| match kind {
            Kind::Ambiguous if exact => 0,
            Kind::Race if std::env::var_os("RACES").is_none() => 0,
            Kind::Optional | Kind::Ambiguous if rng.u32(..10) < off => 0,
            _ => weight * rng.u32(2..=8),
        };
        Swarm { weights: ALL.iter().map(weight).collect() }
    }

    pub fn step(&self, rng: &mut Rng) -> Step {
        let sum: u32 = self.weights.iter().sum();
        let mut at = rng.u32(..sum);
        let mut weighted = ALL.iter().zip(&self.weights);
        let (what, ..) = weighted
            .find_map(|(step, &weight)| {
                let found = at < weight;
                at = at.saturating_sub(weight);
                found.then_some(step)
            })
            .expect("the number is below the sum of the weights");
        Step { what: *what, a: rng.u8(..), b: rng.u8(..) }
    }
}
