//! The promises, held against every step. It knows what was written, where it can still be read,
//! and what the agent was seen to do; it shares no code with the agent.
//!
//! A line may be lost only if there was a moment at which it could be read nowhere: not in a file
//! that the agent is documented to find, not in one that it holds open, not in its memory. A unit
//! may be repeated only if it was not known to be settled when the agent crashed, or if the
//! answer got lost.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use kinesis_agent::file::TailId;

use super::agent::Sight;
use super::disk::{Body, BodyId, Disk};
use super::setup::Layout;
use super::text::{LifeId, Piece, UnitId};
use super::world::World;

/// A file that was not written to for so long is finished.
const QUIET_MILLIS: i64 = 30_000;

#[derive(Default)]
pub struct Oracle {
    pub running: bool,
    /// What the agent knows of the files.
    bodies: BTreeMap<BodyId, Acquaintance>,
    /// Lives of which something was there at a look, and how much: their copies are known by their
    /// content.
    lives: BTreeMap<LifeId, usize>,
    /// Those that were left alone as older than the agent.
    left_lives: BTreeSet<LifeId>,
    /// Those of which there are rows.
    stored_lives: BTreeSet<LifeId>,
    tails: HashMap<TailId, Tail>,
    last_attempt: HashMap<LifeId, UnitId>,
    pub repeated: u64,
}

/// What the agent must know of a file by its promises.
#[derive(Clone, Copy, Debug, Default)]
struct Acquaintance {
    /// It was there at a look, or its row was when the agent started.
    known: bool,
    /// It was there at a look, and left alone: it is no generation between two looks.
    left_alone: bool,
    /// It was there at a look and empty, so that nothing told it from a copy in the making: held
    /// back while the agent runs, and not told from an old file after that.
    held_empty: bool,
    /// Its first name is known: it was seen under it, or under one that only rotation makes.
    of_home: bool,
    /// It was given up, and a look has shown since that nothing is in its place.
    forgotten: bool,
    /// There is a row of it.
    stored: bool,
    /// The life and the length at the last look since the start.
    seen: Option<(LifeId, usize)>,
    /// What the last look showed.
    modified: i64,
    /// What the row says.
    stored_modified: i64,
}

#[derive(Default)]
struct Tail {
    body: Option<BodyId>,
    /// Where the agent knows it.
    path: PathBuf,
    /// It was given up.
    gone: bool,
    life: LifeId,
    /// Where it began, if not at 0: what stands before counts as settled, in that file's life.
    start: Option<(BodyId, LifeId, u64)>,
    /// The units that were read, by their ends.
    read: BTreeMap<u64, UnitId>,
    read_to: u64,
    stored: Option<u64>,
    /// It was read to its end and quiet for long while its file had a name.
    may_be_closed: bool,
}

impl Oracle {
    pub fn observe(&mut self, world: &mut World, sight: Sight) -> Result<(), String> {
        match sight {
            Sight::Tail { tail, path, inode, start } => self.tail(&world.disk, tail, &path, inode, start),
            Sight::LetGo { tail } => self.let_go(world, tail),
            Sight::Read { tail, end, bytes } => self.read(world, tail, end, &bytes)?,
            Sight::Attempted(payload) => self.attempted(world, &payload)?,
            Sight::Delivered(payload, answered) => self.delivered(world, &payload, answered)?,
            Sight::Dead(payload) => {
                for unit in units(world, &payload)? {
                    world.text.units[unit].settled = true;
                }
            }
            Sight::Row { tail, offset, modified, over } => {
                self.row(world, tail, offset)?;
                let life = self.tails[&tail].life;
                if self.lives.contains_key(&life) && !over {
                    self.stored_lives.insert(life);
                }
                if let Some(body) = self.tails[&tail].body {
                    let known = self.bodies.entry(body).or_default();
                    known.stored |= !over;
                    known.stored_modified = modified;
                }
            }
        }
        Ok(())
    }

    fn tail(&mut self, disk: &Disk, tail: TailId, path: &Path, inode: u64, start: Option<u64>) {
        let known = self.tails.entry(tail).or_default();
        let body = disk.at(path).filter(|body| disk.bodies[*body].inode == inode);
        known.body = body.or(known.body);
        known.path = path.to_owned();
        known.gone = false;
        known.life = body.map_or(known.life, |body| disk.bodies[body].life);
        if let (Some(start), Some(body)) = (start.filter(|start| *start > 0), body) {
            known.start = Some((body, disk.bodies[body].life, start));
            known.read_to = start;
        }
    }

    /// Nobody reads a deleted file again that was read to its end: what was read of it is in memory
    /// alone.
    fn let_go(&mut self, world: &World, tail: TailId) {
        let Some(tail) = self.tails.get_mut(&tail) else { return };
        tail.gone = true;
        let Some(body) = tail.body else { return };
        let Some(known) = self.bodies.get_mut(&body) else { return };
        let Body { path: None, content, .. } = &world.disk.bodies[body] else { return };
        let was_read = |unit: UnitId| {
            let unit = &world.text.units[unit];
            unit.in_memory || unit.settled || unit.prior
        };
        if content.units().take_while(|(end, _)| *end <= content.complete()).all(|(_, unit)| was_read(unit)) {
            known.seen = None;
        }
    }

    fn read(&mut self, world: &mut World, tail: TailId, end: u64, bytes: &[u8]) -> Result<(), String> {
        let known = self.tails.entry(tail).or_default();
        let mut at = end - bytes.len() as u64;
        (known.read_to, known.may_be_closed) = (end, false);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let unit_end = at + line.len() as u64;
            if let [Piece::Units(from, to)] = world.text.recognise(line).map_err(|e| format!("P1 {e}"))?[..] {
                for unit in from..=to {
                    let unit_text = &mut world.text.units[unit];
                    unit_text.in_memory = true;
                    at += unit_text.text.len() as u64;
                    known.read.insert(at, unit);
                }
            }
            at = unit_end;
        }
        Ok(())
    }

    fn attempted(&mut self, world: &mut World, payload: &[u8]) -> Result<(), String> {
        for unit in units(world, payload)? {
            let text = &mut world.text.units[unit];
            if std::mem::replace(&mut text.attempted, true) {
                continue;
            }
            let last = self.last_attempt.insert(text.life, unit);
            // What was there before the flow comes only with what cannot be told from a copy of it.
            let unwanted = text.prior && !world.setup.exact;
            if last.is_some_and(|last| last > unit) && !unwanted {
                return Err(format!("P4 {} is first sent after a later line of its file", show(world, unit)));
            }
        }
        Ok(())
    }

    fn delivered(&mut self, world: &mut World, payload: &[u8], answered: bool) -> Result<(), String> {
        for unit in units(world, payload)? {
            let text = &mut world.text.units[unit];
            text.delivered += 1;
            text.settled |= answered;
            let again = std::mem::replace(&mut text.again, !answered);
            if text.delivered > 1 {
                self.repeated += 1;
                if !again && world.setup.exact {
                    return Err(format!("P5 {} is sent once more for no reason", show(world, unit)));
                }
            }
        }
        Ok(())
    }

    fn row(&mut self, world: &World, tail: TailId, offset: u64) -> Result<(), String> {
        let known = self.tails.entry(tail).or_default();
        if known.stored.is_some_and(|stored| stored > offset) {
            return Err(format!("P7 the offset of tail {tail} goes back to {offset}"));
        }
        known.stored = Some(offset);
        let known = &self.tails[&tail];
        if offset > known.read_to {
            return Err(format!("P3 {offset} is stored of tail {tail}, which is read to {}", known.read_to));
        }
        for unit in known.covers(&world.disk) {
            let text = &world.text.units[unit];
            if !text.settled && !text.prior {
                return Err(format!(
                    "P3 {} is not settled, and {offset} of tail {tail} is stored",
                    show(world, unit)
                ));
            }
        }
        Ok(())
    }

    /// A look at the folders.
    pub fn look(&mut self, world: &World) {
        let disk = &world.disk;
        let named: Vec<(BodyId, bool)> =
            disk.names.values().map(|body| (*body, self.is_findable(world, *body))).collect();
        // A copy is not opened while its origin is there.
        let at_home = |body: &BodyId| disk.bodies[*body].path.as_ref() == Some(&disk.bodies[*body].home);
        let is_origin = |body: &BodyId, of: &BodyId| {
            at_home(body) && body != of && disk.bodies[*body].life == disk.bodies[*of].life
        };
        let is_copy = |of: &BodyId| disk.names.values().any(|body| is_origin(body, of));
        let copies: BTreeSet<BodyId> = disk.names.values().copied().filter(is_copy).collect();
        for body in self.tails.values().filter(|tail| tail.gone).filter_map(|tail| tail.body) {
            self.bodies.entry(body).or_default().forgotten = true;
        }
        for (body, findable) in named {
            let empty = disk.bodies[body].content.len() == 0;
            let own = disk.bodies[body].path.as_ref().is_some_and(|path| is_own(world, path));
            let at_home = at_home(&body);
            let known = self.bodies.entry(body).or_default();
            known.of_home |= at_home || !own;
            known.left_alone |= !findable && !empty;
            if known.left_alone {
                self.left_lives.insert(disk.bodies[body].life);
            }
            known.held_empty = empty && !own && !known.known;
            if !findable || known.held_empty {
                continue;
            }
            let (life, length) = (disk.bodies[body].life, disk.bodies[body].content.len());
            let known = self.bodies.entry(body).or_default();
            known.known = true;
            known.forgotten = false;
            known.seen = (!copies.contains(&body)).then_some((life, length));
            if length > 0 {
                self.lives.insert(life, length);
            }
            known.modified = disk.bodies[body].modified;
        }
    }

    /// A look at what was there some time ago: it may know more of a file's time than a look
    /// would have shown.
    pub fn glimpse(&mut self, world: &World) {
        for (body, known) in &mut self.bodies {
            known.modified = known.modified.max(world.disk.bodies[*body].modified);
        }
        for body in world.disk.names.values() {
            self.bodies.entry(*body).or_default().modified = world.disk.bodies[*body].modified;
        }
    }

    /// The agent has lost its memory.
    pub fn crashed(&mut self, world: &mut World) {
        self.running = false;
        self.lives.retain(|life, _| self.stored_lives.contains(life));
        for body in self.bodies.values_mut() {
            body.known = body.stored;
            body.seen = None;
        }
        self.forgotten(world);
    }

    /// Files that were read to their ends and are quiet may be closed, if names lead to them.
    pub fn tended(&mut self, world: &World) {
        for tail in self.tails.values_mut() {
            let Some(Body { path: Some(_), content, modified, .. }) =
                tail.body.map(|body| &world.disk.bodies[body])
            else {
                continue;
            };
            let is_quiet = world.disk.clock - modified >= QUIET_MILLIS;
            tail.may_be_closed |= is_quiet && tail.read_to >= content.len() as u64;
        }
    }

    /// The flow was replaced by one that goes on with its open files.
    pub fn reloaded(&mut self, world: &mut World) {
        for body in self.tails.values().filter(|tail| tail.may_be_closed).filter_map(|tail| tail.body) {
            self.bodies.entry(body).or_default().seen = None;
        }
        self.forgotten(world);
    }

    /// What was in memory is gone.
    fn forgotten(&mut self, world: &mut World) {
        for tail in self.tails.values_mut() {
            tail.gone = false;
            let Some(body) = tail.body else { continue };
            self.bodies.entry(body).or_default().of_home &=
                tells_home(world, &tail.path, &world.disk.bodies[body].home);
        }
        for body in self.bodies.values_mut() {
            body.forgotten = false;
            body.left_alone |= std::mem::take(&mut body.held_empty);
            body.modified = body.modified.max(body.stored_modified);
        }
        let mut covered = BTreeSet::new();
        for tail in self.tails.values() {
            covered.extend(tail.covers(&world.disk));
        }
        // What was read beyond may be found elsewhere by the next life.
        for tail in self.tails.values_mut() {
            let stored = tail.stored.or(tail.start.map(|(.., start)| start)).unwrap_or(0);
            tail.read.retain(|end, _| *end <= stored);
            tail.read_to = stored;
        }
        for (unit, text) in world.text.units.iter_mut().enumerate() {
            text.in_memory = false;
            text.again = text.delivered > 0 && !covered.contains(&unit);
        }
    }

    /// Whether the agent should find what is in the file at its name.
    fn is_findable(&self, world: &World, body: BodyId) -> bool {
        let Body { path: Some(path), home, modified, life, content, .. } = &world.disk.bodies[body] else {
            return false;
        };
        let packed = world.disk.bodies[body].packed;
        if !packed && is_own(world, path) {
            return true;
        }
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        if name.starts_with("saved") {
            // Rotation would not make the name.
            return false;
        }
        // One that is shorter than what was known of its origin is not, once that is gone.
        let is_whole = |known: &usize| world.setup.exact || content.len() >= *known;
        if path != home && self.lives.get(life).is_some_and(is_whole) {
            return true;
        }
        if path.parent() != home.parent() {
            // In another folder a file is known by its content alone.
            return false;
        }
        if self.bodies.get(&body).is_some_and(|known| known.known) {
            return true;
        }
        // What was left alone is so in its compression too.
        if self.left_lives.contains(life) || self.bodies.get(&body).is_some_and(|known| known.left_alone) {
            return false;
        }
        // A generation between two looks: beside a file that is known, and younger.
        let family = || {
            let others = self.bodies.iter().filter(|(other, _)| **other != body);
            others.filter(|(other, _)| world.disk.bodies[**other].home == *home)
        };
        let latest = family().map(|(_, known)| known.modified).max();
        path != home
            && family().any(|(_, known)| known.known && known.of_home && !known.forgotten)
            && latest.is_some_and(|latest| latest < *modified)
    }

    /// Finds out what can be read nowhere any more, after `why`.
    pub fn excuse(&mut self, world: &mut World, why: &str) {
        let mut readable = BTreeSet::new();
        for (id, body) in world.disk.bodies.iter().enumerate() {
            // Compressed files are opened one at a time, and not held until their turn comes.
            let may_be_held = !world.setup.few_open && !body.packed;
            let held = self.bodies.get(&id).and_then(|known| known.seen).filter(|_| may_be_held);
            let held =
                held.filter(|(life, _)| self.running && *life == body.life).map_or(0, |(_, seen)| seen);
            let reach = if self.is_findable(world, id) { usize::MAX } else { held };
            let complete = body.content.complete().min(reach);
            readable
                .extend(body.content.units().take_while(|(end, _)| *end <= complete).map(|(_, unit)| unit));
        }
        for (id, unit) in world.text.units.iter_mut().enumerate() {
            if readable.contains(&id) {
                unit.was_complete = true;
            } else if unit.was_complete && !unit.settled && !unit.in_memory && unit.delivered == 0 {
                unit.excuse.get_or_insert_with(|| why.to_owned());
            }
        }
    }

    /// At the end, when everything had time.
    pub fn nothing_is_lost(&self, world: &World) -> Result<(), String> {
        for (id, unit) in world.text.units.iter().enumerate() {
            let settled = unit.settled || unit.delivered > 0;
            if unit.was_complete && !settled && !unit.prior && unit.excuse.is_none() {
                return Err(format!("P2 {} is lost; {}", show(world, id), places(world, id)));
            }
        }
        Ok(())
    }
}

impl Tail {
    /// What the stored offset says is settled.
    fn covers(&self, disk: &Disk) -> Vec<UnitId> {
        let Some(offset) = self.stored else { return Vec::new() };
        let mut units: Vec<UnitId> = self.read.range(..=offset).map(|(_, unit)| *unit).collect();
        if let Some((body, life, start)) = self.start
            && disk.bodies[body].life == life
        {
            let before = disk.bodies[body].content.units().filter(|(end, _)| *end as u64 <= start);
            units.extend(before.map(|(_, unit)| unit));
        }
        units
    }
}

/// Whether a file's name tells the one that it was made under, to whoever knows no more of it.
fn tells_home(world: &World, path: &Path, home: &Path) -> bool {
    let is_saved = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("saved"));
    // What a link leads to matches no pattern, so that nothing tells the folder.
    !is_saved && (world.setup.layout != Layout::Linked || path.parent() == home.parent())
}

/// Whether the patterns match it, or a link that they match leads to it.
fn is_own(world: &World, path: &Path) -> bool {
    world.setup.matches(&world.disk.folder, path) || is_linked(world, path)
}

fn is_linked(world: &World, path: &Path) -> bool {
    world.setup.layout == Layout::Linked
        && (0..super::setup::SOURCES.len())
            .filter_map(|source| world.setup.link(&world.disk.folder, source))
            .any(|link| fs::read_link(link).is_ok_and(|target| target == path))
}

fn units(world: &World, payload: &[u8]) -> Result<Vec<UnitId>, String> {
    let pieces = world.text.recognise(payload).map_err(|error| format!("P1 {error}"))?;
    let units = pieces.into_iter().filter_map(|piece| match piece {
        Piece::Units(from, to) => Some(from..=to),
        Piece::Noise => None,
    });
    Ok(units.flatten().collect())
}

fn show(world: &World, unit: UnitId) -> String {
    let text = String::from_utf8_lossy(&world.text.units[unit].text).into_owned();
    format!("unit {unit} {:?} (delivered {})", &text[..text.len().min(12)], world.text.units[unit].delivered)
}

fn places(world: &World, unit: UnitId) -> String {
    let bodies = world.disk.bodies.iter();
    let holding = bodies.filter(|body| body.content.units().any(|(_, other)| other == unit));
    let paths: Vec<String> = holding.map(|body| format!("{:?}", body.path)).collect();
    format!("it stands in {}", paths.join(", "))
}
