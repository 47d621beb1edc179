//! What programs, logrotate and administrators do to the files of a case. Each act says which
//! names a file-system event would have spoken of.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::disk::{BodyId, Disk};
use super::setup::{Layout, SOURCES, Setup};
use super::step::{Step, What};
use super::text::{NOISE, Text, UnitId};

/// How many rotated files are kept.
const KEPT: usize = 3;
const ENDINGS: [&str; 3] = ["", ".gz", ".zst"];

pub struct World {
    pub setup: Setup,
    pub disk: Disk,
    pub text: Text,
    writers: Vec<Writer>,
    names_made: u32,
    /// Names that an event would be about, and whether it would say that they came or went.
    pub hints: Vec<(PathBuf, bool)>,
}

/// A program that writes a log.
struct Writer {
    path: PathBuf,
    /// How many files it has begun, where they have numbers.
    number: u32,
    open: Option<(File, BodyId)>,
    /// What is still to be written of its line.
    rest: VecDeque<UnitId>,
    /// The copy of a copytruncate that has begun.
    copy: Option<PathBuf>,
}

impl World {
    pub fn new(setup: Setup, folder: PathBuf, clock: i64) -> Self {
        let writers = (0..SOURCES.len()).map(|source| Writer {
            path: setup.path(&folder, source, 0),
            number: 0,
            open: None,
            rest: VecDeque::new(),
            copy: None,
        });
        World {
            setup,
            writers: writers.collect(),
            disk: Disk::new(folder, clock),
            text: Text::default(),
            names_made: 0,
            hints: Vec::new(),
        }
    }

    /// Files that are there before the flow is first started.
    pub fn prior(&mut self) {
        for source in 0..SOURCES.len() {
            self.append(source, 3, true);
            let (_, body) = self.writers[source].open.as_ref().expect("it was just written to");
            self.disk.age(*body, self.disk.clock - 3_600_000);
        }
    }

    /// False if the step is none of the world's.
    pub fn step(&mut self, step: Step) -> bool {
        let Step { what, a, b } = step;
        let source = usize::from(a) % SOURCES.len();
        let number = usize::from(a) / SOURCES.len();
        if !self.setup.coarse_clock || b & 0x40 != 0 {
            self.disk.clock += 4;
        }
        // Nobody rotates a file in two ways at a time.
        let rotates = matches!(
            what,
            What::Rename
                | What::RenameDated
                | What::MoveAway
                | What::Delete
                | What::Recreate
                | What::Swap
                | What::Truncate
                | What::Regrow
                | What::Cut
                | What::Replace
                | What::CopyTruncate
        );
        if rotates && self.writers[source].copy.is_some() {
            self.copy_end(source);
        }
        match what {
            What::Append => self.append(source, 1 + number % 4, false),
            What::Part => self.part(source, number),
            What::Rename => self.rename(source, b),
            What::RenameDated => self.rename_dated(source, b),
            What::MoveAway => self.move_away(source, number, b),
            What::Reopen => self.reopen(source),
            What::CopyTruncate => {
                self.copy_begin(source, usize::MAX);
                self.copy_end(source);
            }
            What::CopyBegin => self.copy_begin(source, usize::from(b)),
            What::CopyGoOn => self.copy_go_on(source),
            What::CopyEnd => self.copy_end(source),
            What::Truncate => self.truncate(source, false),
            What::Regrow => self.truncate(source, true),
            What::Delete => self.delete(source),
            What::Recreate => self.recreate(source, number),
            What::Swap => self.swap(source),
            What::Compress => self.compress(number, b),
            What::Expire => self.expire(number),
            What::Cut => self.cut(source, usize::from(b)),
            What::Replace => self.replace(source),
            What::Copy => self.copy(source),
            _ => return false,
        }
        true
    }

    /// What is half done is done, as it would be sooner or later.
    pub fn finish(&mut self) {
        for source in 0..SOURCES.len() {
            if self.writers[source].copy.is_some() {
                self.copy_end(source);
            }
            if !self.writers[source].rest.is_empty() {
                self.append(source, 0, false);
            }
        }
    }

    fn hint(&mut self, path: &Path, renamed: bool) {
        self.hints.push((path.to_owned(), renamed));
    }

    /// The writer's file, which it opens if it has none.
    fn open(&mut self, source: usize) -> BodyId {
        if self.writers[source].open.is_none() {
            let path = self.writers[source].path.clone();
            let is_new = self.disk.at(&path).is_none();
            self.writers[source].open = Some(self.disk.open(&path));
            if is_new {
                self.hint(&path, true);
            }
            self.link(source);
        }
        self.writers[source].open.as_ref().expect("it was just opened").1
    }

    fn link(&mut self, source: usize) {
        let Some(link) = self.setup.link(&self.disk.folder, source) else { return };
        let target = &self.writers[source].path;
        if fs::read_link(&link).is_ok_and(|leads| leads == *target) {
            return;
        }
        let new = link.with_extension("new");
        std::os::unix::fs::symlink(target, &new).unwrap();
        fs::rename(new, &link).unwrap();
        self.hint(&link, true);
    }

    fn append(&mut self, source: usize, lines: usize, prior: bool) {
        let body = self.open(source);
        let mut units: Vec<Option<UnitId>> = self.writers[source].rest.drain(..).map(Some).collect();
        let life = self.disk.bodies[body].life;
        for line in 0..lines {
            if self.setup.only_noise
                || (self.setup.noise && (self.names_made + line as u32).is_multiple_of(3))
            {
                units.push(None);
            }
            if !self.setup.only_noise {
                let narrow = self.setup.small_chunks || self.setup.small_budget;
                let width = if narrow || line != 2 { 8 } else { 60 };
                units.extend(self.text.line(life, 1, width, prior).into_iter().map(Some));
            }
        }
        self.names_made += 1;
        units.into_iter().for_each(|unit| self.write(source, unit));
    }

    fn write(&mut self, source: usize, unit: Option<UnitId>) {
        let Some((file, body)) = &mut self.writers[source].open else { return };
        let text = match unit {
            Some(unit) => {
                // What is written after a cut stands in the new life.
                self.text.units[unit].life = self.disk.bodies[*body].life;
                self.text.units[unit].text.clone()
            }
            None => {
                self.text.noise_written = true;
                NOISE[self.names_made as usize % NOISE.len()].to_vec()
            }
        };
        self.disk.append(file, *body, &text, unit);
        let path = self.disk.bodies[*body].path.clone();
        if let Some(path) = path {
            self.hint(&path, false);
        }
    }

    fn part(&mut self, source: usize, number: usize) {
        if self.setup.only_noise {
            return;
        }
        let body = self.open(source);
        if self.writers[source].rest.is_empty() {
            let life = self.disk.bodies[body].life;
            let parts = 2 + number % 2;
            self.writers[source].rest = self.text.line(life, parts, 8, false).into();
        }
        let unit = self.writers[source].rest.pop_front();
        self.write(source, unit);
    }

    /// The writer's path, if there is a file at it.
    fn present(&self, source: usize) -> Option<PathBuf> {
        let path = self.writers[source].path.clone();
        self.disk.at(&path).map(|_| path)
    }

    fn rename(&mut self, source: usize, b: u8) {
        let Some(path) = self.present(source) else { return };
        self.shift(&path);
        self.move_to(&path, &numbered(&path, 1, ""));
        if b & 1 == 0 {
            self.reopen(source);
        }
    }

    /// `app.log.1` becomes `app.log.2` and so on; the last is removed.
    fn shift(&mut self, path: &Path) {
        for number in (1..=KEPT).rev() {
            for ending in ENDINGS {
                let from = numbered(path, number, ending);
                if self.disk.at(&from).is_none() {
                    continue;
                }
                if number == KEPT {
                    self.disk.remove(&from);
                    self.hint(&from, true);
                } else {
                    self.move_to(&from, &numbered(path, number + 1, ending));
                }
            }
        }
    }

    fn move_to(&mut self, from: &Path, to: &Path) {
        self.disk.rename(from, to);
        self.hint(from, true);
        self.hint(to, true);
        for writer in &mut self.writers {
            if writer.copy.as_deref() == Some(from) {
                writer.copy = Some(to.to_owned());
            }
        }
    }

    fn rename_dated(&mut self, source: usize, b: u8) {
        let Some(path) = self.present(source) else { return };
        self.names_made += 1;
        let to = PathBuf::from(format!("{}-{}", path.display(), 20_250_000 + self.names_made));
        self.move_to(&path, &to);
        if b & 1 == 0 {
            self.reopen(source);
        }
    }

    fn move_away(&mut self, source: usize, number: usize, b: u8) {
        let Some(path) = self.present(source) else { return };
        self.names_made += 1;
        let folder = path.parent().expect("it stands in a folder");
        let name = path.file_name().expect("it has a name").to_string_lossy();
        let to = match number % 2 {
            0 => folder.join(format!("saved{}.dat", self.names_made)),
            _ => folder.join(format!("old/{name}.{}", self.names_made)),
        };
        self.move_to(&path, &to);
        if b & 1 == 0 {
            self.reopen(source);
        }
    }

    /// What the writer has not finished in a file that it leaves stays unfinished.
    fn reopen(&mut self, source: usize) {
        let stays = self.present(source).and_then(|path| self.disk.at(&path));
        let leaves = self.writers[source].open.as_ref().is_none_or(|(_, body)| stays != Some(*body));
        if leaves {
            self.writers[source].rest.clear();
            self.writers[source].open = None;
        }
        self.open(source);
    }

    fn copy_begin(&mut self, source: usize, length: usize) {
        let Some(path) = self.present(source) else { return };
        let Some(body) = self.disk.at(&path) else { return };
        if self.writers[source].copy.is_some() {
            return;
        }
        self.shift(&path);
        let to = numbered(&path, 1, "");
        self.writers[source].copy = Some(to.clone());
        self.disk.copy(body, &to, length, None);
        self.hint(&to, true);
    }

    fn copy_go_on(&mut self, source: usize) {
        let (Some(path), Some(to)) = (self.present(source), self.writers[source].copy.clone()) else {
            return;
        };
        let (Some(body), Some(_)) = (self.disk.at(&path), self.disk.at(&to)) else { return };
        self.disk.copy(body, &to, usize::MAX, None);
        self.hint(&to, false);
    }

    fn copy_end(&mut self, source: usize) {
        self.copy_go_on(source);
        if self.writers[source].copy.take().is_some() {
            self.truncate(source, false);
        }
    }

    fn truncate(&mut self, source: usize, regrow: bool) {
        let Some(path) = self.present(source) else { return };
        let Some(body) = self.disk.at(&path) else { return };
        let before = self.disk.bodies[body].content.len();
        let file = File::options().append(true).open(&path).unwrap();
        self.disk.cut(&file, body, 0);
        self.hint(&path, false);
        while regrow && self.disk.bodies[body].content.len() <= before {
            if self.writers[source].open.as_ref().is_none_or(|(_, open)| *open != body) {
                self.writers[source].rest.clear();
                self.writers[source].open = None;
            }
            self.append(source, 2, false);
        }
    }

    fn delete(&mut self, source: usize) {
        let Some(path) = self.present(source) else { return };
        self.disk.remove(&path);
        self.hint(&path, true);
    }

    fn recreate(&mut self, source: usize, lines: usize) {
        self.delete(source);
        self.reopen(source);
        self.append(source, lines % 3, false);
    }

    /// The writer goes on in another file; where there are links, its link leads there.
    fn swap(&mut self, source: usize) {
        if !matches!(self.setup.layout, Layout::Numbered | Layout::Linked) {
            return;
        }
        self.writers[source].number += 1;
        self.writers[source].path = self.setup.path(&self.disk.folder, source, self.writers[source].number);
        self.reopen(source);
    }

    /// Files that rotation made, the oldest names first.
    fn rotated(&self) -> Vec<PathBuf> {
        let current: Vec<&PathBuf> = self.writers.iter().map(|writer| &writer.path).collect();
        let copies: Vec<&PathBuf> = self.writers.iter().filter_map(|writer| writer.copy.as_ref()).collect();
        let names = self.disk.names.keys();
        names.filter(|path| !current.contains(path) && !copies.contains(path)).cloned().collect()
    }

    fn compress(&mut self, number: usize, b: u8) {
        let mut rotated = self.rotated();
        rotated.retain(|path| self.disk.at(path).is_some_and(|body| !self.disk.bodies[body].packed));
        // Nobody compresses a file that is still written to.
        rotated.retain(|path| !self.is_written_to(path));
        if rotated.is_empty() {
            return;
        }
        let path = &rotated[number % rotated.len()];
        let ending = if b & 1 == 0 { "gz" } else { "zst" };
        self.disk.compress(path, ending, self.setup.keeps_time);
        self.hint(path, true);
        self.hint(&PathBuf::from(format!("{}.{ending}", path.display())), true);
    }

    fn is_written_to(&self, path: &Path) -> bool {
        let body = self.disk.at(path);
        self.writers.iter().any(|writer| writer.open.as_ref().is_some_and(|(_, open)| Some(*open) == body))
    }

    fn expire(&mut self, number: usize) {
        let rotated = self.rotated();
        if !rotated.is_empty() {
            let path = &rotated[number % rotated.len()];
            self.disk.remove(path);
            self.hint(path, true);
        }
    }

    fn cut(&mut self, source: usize, part: usize) {
        let Some(path) = self.present(source) else { return };
        let Some(body) = self.disk.at(&path) else { return };
        let content = &self.disk.bodies[body].content;
        let length = content.line_end(content.len() * part / 256);
        self.disk.cut(&File::options().append(true).open(&path).unwrap(), body, length);
        self.hint(&path, false);
    }

    fn replace(&mut self, source: usize) {
        let Some(path) = self.present(source) else { return };
        let Some(body) = self.disk.at(&path) else { return };
        if !self.writers[source].rest.is_empty() {
            self.append(source, 0, false);
        }
        let new = path.with_file_name("new.tmp");
        self.disk.copy(body, &new, usize::MAX, None);
        self.move_to(&new, &path);
        self.reopen(source);
    }

    fn copy(&mut self, source: usize) {
        let Some(path) = self.present(source) else { return };
        let Some(body) = self.disk.at(&path) else { return };
        self.names_made += 1;
        let to = match self.setup.layout {
            Layout::Numbered => path.with_file_name(format!("{}-{}.log", SOURCES[source], self.names_made)),
            _ => PathBuf::from(format!("{}.{}", path.display(), 100 + self.names_made)),
        };
        let copy = self.disk.copy(body, &to, usize::MAX, None);
        if self.setup.layout == Layout::Numbered {
            self.disk.bodies[copy].home.clone_from(&to);
        }
        self.hint(&to, true);
    }
}

fn numbered(path: &Path, number: usize, ending: &str) -> PathBuf {
    PathBuf::from(format!("{}.{number}{ending}", path.display()))
}
