//! What a case is made of before its first step: which files there are, and how narrow the
//! agent's limits are.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use fastrand::Rng;

/// Files that programs write to at the same time.
pub const SOURCES: [&str; 2] = ["app", "web"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// The patterns match the files that are written to, but not what rotation makes of them.
    Plain,
    /// They match those, too.
    Rotated,
    /// Each program goes on in a new file with a number in its name.
    Numbered,
    /// The patterns match links to the files.
    Linked,
}

const LAYOUTS: [(Layout, &str); 4] = [
    (Layout::Plain, "plain"),
    (Layout::Rotated, "rotated"),
    (Layout::Numbered, "numbered"),
    (Layout::Linked, "linked"),
];

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident $word:literal $of_ten:expr,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Setup { pub layout: Layout, $($(#[$doc])* pub $name: bool,)* }

        impl Setup {
            fn words(&self) -> Vec<&'static str> {
                let flags = [$((self.$name, $word),)*];
                flags.into_iter().filter_map(|(set, word)| set.then_some(word)).collect()
            }

            fn set(&mut self, word: &str) -> bool {
                match word {
                    $($word => self.$name = true,)*
                    _ => return false,
                }
                true
            }

            fn draw_flags(&mut self, rng: &mut Rng) {
                $(self.$name = happens(rng, $of_ten);)*
            }
        }
    };
}

flags! {
    /// Nothing happens after which a file cannot be told from a copy: repeats must be explained.
    exact "exact" 5,
    /// An entry holds many lines.
    packed "packed" 5,
    /// A chunk holds one or two lines.
    small_chunks "small-chunks" 5,
    /// There is memory for a few chunks.
    small_budget "small-budget" 3,
    /// Fewer files may stay open than there are.
    few_open "few-open" 1,
    /// A record is an event of several lines.
    events "events" 2,
    /// There are lines that are all equal, and empty ones.
    noise "noise" 4,
    /// And no others.
    only_noise "only-noise" 0,
    /// Files that were there before the flow.
    prior "prior" 2,
    /// One request at a time.
    one_request "one-request" 3,
    /// What is compressed or copied keeps the time of its origin.
    keeps_time "keeps-time" 5,
    /// Files get the same time for several writes, as clocks that go in steps make it.
    coarse_clock "coarse-clock" 2,
    /// What takes the place of a rotated file waits for it.
    in_order "in-order" NEVER,
}

/// Nothing is drawn for it here.
const NEVER: u32 = u32::MAX;

/// So many times of ten.
fn happens(rng: &mut Rng, of_ten: u32) -> bool {
    of_ten != NEVER && rng.u32(..10) < of_ten
}

impl Setup {
    pub fn draw(rng: &mut Rng, exact: bool) -> Self {
        let layout = LAYOUTS[rng.usize(..LAYOUTS.len())].0;
        let mut setup = Self::of(layout);
        setup.draw_flags(rng);
        setup.only_noise = rng.u32(..50) == 0;
        setup.exact = exact;
        setup
    }

    fn of(layout: Layout) -> Self {
        Setup {
            layout,
            exact: false,
            packed: false,
            small_chunks: false,
            small_budget: false,
            few_open: false,
            events: false,
            noise: false,
            only_noise: false,
            prior: false,
            one_request: false,
            keeps_time: false,
            coarse_clock: false,
            in_order: false,
        }
    }

    /// The flow's patterns.
    pub fn patterns(&self, folder: &Path) -> Vec<String> {
        let name = |source: &str| match self.layout {
            Layout::Plain => format!("{source}.log"),
            Layout::Rotated => format!("{source}.log*"),
            Layout::Numbered => format!("{source}-*.log"),
            Layout::Linked => format!("{source}-now.log"),
        };
        SOURCES.iter().map(|source| format!("{}/{}", folder.display(), name(source))).collect()
    }

    /// Whether the patterns match a file, as far as its own name tells.
    pub fn matches(&self, folder: &Path, path: &Path) -> bool {
        let Some(name) = path.strip_prefix(folder).ok().and_then(Path::to_str) else { return false };
        SOURCES.iter().any(|source| {
            let Some(rest) = name.strip_prefix(source) else { return false };
            match self.layout {
                Layout::Plain => rest == ".log",
                Layout::Rotated => rest.starts_with(".log"),
                Layout::Numbered => rest.starts_with('-') && rest.ends_with(".log"),
                Layout::Linked => false,
            }
        })
    }

    /// Where the `n`th file of a source is made.
    pub fn path(&self, folder: &Path, source: usize, n: u32) -> PathBuf {
        let source = SOURCES[source];
        match self.layout {
            Layout::Plain | Layout::Rotated => folder.join(format!("{source}.log")),
            Layout::Numbered => folder.join(format!("{source}-{}.log", 20_260_000 + n)),
            Layout::Linked => folder.join(format!("data/{source}-{n}x.txt")),
        }
    }

    /// The link that leads to the source's present file.
    pub fn link(&self, folder: &Path, source: usize) -> Option<PathBuf> {
        let name = format!("{}-now.log", SOURCES[source]);
        (self.layout == Layout::Linked).then(|| folder.join(name))
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layout = LAYOUTS.iter().find(|(layout, _)| *layout == self.layout).map_or("", |(_, word)| word);
        write!(f, "setup {layout} {}", self.words().join(" "))
    }
}

impl FromStr for Setup {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let mut setup = Self::of(Layout::Plain);
        for word in line.split_whitespace().skip(1) {
            let layout = LAYOUTS.iter().find(|(_, known)| *known == word);
            match layout {
                Some((layout, _)) => setup.layout = *layout,
                None if setup.set(word) => {}
                None => return Err(format!("`{word}` is no word of a setup")),
            }
        }
        Ok(setup)
    }
}
