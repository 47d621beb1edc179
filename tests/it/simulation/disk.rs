//! The files of a case, on the disk and in the model: what stands where, in which units, and
//! when it was last written. It does what the world does to files, and knows no agent.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::text::{LifeId, UnitId};

pub type BodyId = usize;

/// What is in one file. It outlives the file's names and the file.
#[derive(Debug)]
pub struct Body {
    /// None once no name leads to it.
    pub path: Option<PathBuf>,
    pub inode: u64,
    pub life: LifeId,
    pub content: Content,
    /// The name that the file, or the one that it is a copy of, was made under.
    pub home: PathBuf,
    /// Holds its content compressed.
    pub packed: bool,
    pub modified: i64,
}

/// The ends of what was written, in order; the number of its unit, if it has one; and whether a
/// line ends there.
#[derive(Clone, Debug, Default)]
pub struct Content {
    pieces: Vec<(usize, Option<UnitId>, bool)>,
}

impl Content {
    pub fn len(&self) -> usize {
        self.pieces.last().map_or(0, |(end, ..)| *end)
    }

    /// Behind the last complete line.
    pub fn complete(&self) -> usize {
        self.pieces.iter().rev().find(|(.., ends_line)| *ends_line).map_or(0, |(end, ..)| *end)
    }

    /// The units and their ends.
    pub fn units(&self) -> impl Iterator<Item = (usize, UnitId)> {
        self.pieces.iter().filter_map(|(end, unit, _)| Some((*end, (*unit)?)))
    }

    pub fn cut(&mut self, length: usize) {
        self.pieces.retain(|(end, ..)| *end <= length);
    }

    /// The end of the last line that is not beyond `length`.
    pub fn line_end(&self, length: usize) -> usize {
        let mut ends = self.pieces.iter().filter(|(end, _, ends_line)| *ends_line && *end <= length);
        ends.next_back().map_or(0, |(end, ..)| *end)
    }

    fn push(&mut self, length: usize, unit: Option<UnitId>, ends_line: bool) {
        self.pieces.push((self.len() + length, unit, ends_line));
    }
}

#[derive(Debug)]
pub struct Disk {
    pub folder: PathBuf,
    /// What files are said to be modified at, in milliseconds since the epoch.
    pub clock: i64,
    pub bodies: Vec<Body>,
    pub names: BTreeMap<PathBuf, BodyId>,
    lives: LifeId,
}

impl Disk {
    pub fn new(folder: PathBuf, clock: i64) -> Self {
        Disk { folder, clock, bodies: Vec::new(), names: BTreeMap::new(), lives: 0 }
    }

    pub fn life(&mut self) -> LifeId {
        self.lives += 1;
        self.lives
    }

    pub fn at(&self, path: &Path) -> Option<BodyId> {
        self.names.get(path).copied()
    }

    /// The open file at `path`, which is made where there is none.
    pub fn open(&mut self, path: &Path) -> (File, BodyId) {
        fs::create_dir_all(path.parent().expect("a file stands in a folder")).unwrap();
        let file = File::options().append(true).create(true).open(path).unwrap();
        if let Some(body) = self.at(path) {
            return (file, body);
        }
        let life = self.life();
        let body = self.make(path, file.metadata().unwrap().ino(), life, false);
        self.touch(&file, body, None);
        (file, body)
    }

    fn make(&mut self, path: &Path, inode: u64, life: LifeId, packed: bool) -> BodyId {
        self.bodies.push(Body {
            path: Some(path.to_owned()),
            inode,
            life,
            content: Content::default(),
            home: path.to_owned(),
            packed,
            modified: 0,
        });
        self.names.insert(path.to_owned(), self.bodies.len() - 1);
        self.bodies.len() - 1
    }

    pub fn append(&mut self, file: &mut File, body: BodyId, text: &[u8], unit: Option<UnitId>) {
        file.write_all(text).unwrap();
        self.bodies[body].content.push(text.len(), unit, text.ends_with(b"\n"));
        self.touch(file, body, None);
    }

    fn touch(&mut self, file: &File, body: BodyId, time: Option<i64>) {
        let time = time.unwrap_or(self.clock);
        self.bodies[body].modified = time;
        file.set_modified(UNIX_EPOCH + Duration::from_millis(time.unsigned_abs())).unwrap();
    }

    /// Another time for a file at its name.
    pub fn age(&mut self, body: BodyId, time: i64) {
        let Some(path) = self.bodies[body].path.clone() else { return };
        self.touch(&File::options().append(true).open(path).unwrap(), body, Some(time));
    }

    /// Cuts the file: what comes into it afterwards is another life.
    pub fn cut(&mut self, file: &File, body: BodyId, length: usize) {
        file.set_len(length as u64).unwrap();
        self.bodies[body].content.cut(length);
        self.bodies[body].life = self.life();
        self.touch(file, body, None);
    }

    pub fn rename(&mut self, from: &Path, to: &Path) {
        let Some(body) = self.names.remove(from) else { return };
        fs::create_dir_all(to.parent().expect("a file stands in a folder")).unwrap();
        fs::rename(from, to).unwrap();
        if let Some(replaced) = self.names.insert(to.to_owned(), body) {
            self.bodies[replaced].path = None;
        }
        self.bodies[body].path = Some(to.to_owned());
    }

    pub fn remove(&mut self, path: &Path) {
        let Some(body) = self.names.remove(path) else { return };
        fs::remove_file(path).unwrap();
        self.bodies[body].path = None;
    }

    /// Copies the first `length` bytes, or goes on with a copy that is there.
    pub fn copy(&mut self, from: BodyId, to: &Path, length: usize, time: Option<i64>) -> BodyId {
        let (mut file, copy) = self.open(to);
        let Some(path) = self.bodies[from].path.clone() else { return copy };
        let bytes = fs::read(path).unwrap();
        let content = self.bodies[from].content.clone();
        for (end, unit, ends_line) in content.pieces {
            let start = self.bodies[copy].content.len();
            if end > start && end <= length {
                file.write_all(&bytes[start..end]).unwrap();
                self.bodies[copy].content.push(end - start, unit, ends_line);
            }
        }
        self.bodies[copy].life = self.bodies[from].life;
        self.bodies[copy].home = self.bodies[from].home.clone();
        self.touch(&file, copy, time);
        copy
    }

    /// Compresses a file to one beside it, and removes it.
    pub fn compress(&mut self, from: &Path, ending: &str, keeps_time: bool) -> Option<BodyId> {
        let origin = self.at(from)?;
        let bytes = fs::read(from).unwrap();
        let packed = match ending {
            "gz" => gzip(&bytes),
            _ => ruzstd::encoding::compress_to_vec(&*bytes, ruzstd::encoding::CompressionLevel::Fastest),
        };
        let to = PathBuf::from(format!("{}.{ending}", from.display()));
        let mut file = File::create(&to).unwrap();
        file.write_all(&packed).unwrap();
        let body = self.make(&to, file.metadata().unwrap().ino(), self.bodies[origin].life, true);
        self.bodies[body].content = self.bodies[origin].content.clone();
        self.bodies[body].home = self.bodies[origin].home.clone();
        let time = self.bodies[origin].modified;
        self.touch(&file, body, keeps_time.then_some(time));
        self.remove(from);
        Some(body)
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
