//! The ways in which logs are rotated, as logging libraries, daemons and administrators do it.
//!
//! A rotator does one rotation and says which file the application writes to afterwards. It
//! does not write lines: what is in the files is the script's affair.

use std::fs::{self, File};
use std::io::Write as _;

use super::World;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotator {
    /// `app.log` becomes `app.log.<n>`, counting upwards, which the pattern matches.
    Rename,
    /// `app.log.1` becomes `app.log.2`, then `app.log` becomes `app.log.1`. The pattern matches
    /// `app.log` alone.
    RenameShift,
    /// `app.log` is copied to `app.log.1`, which the pattern matches, and cut to nothing.
    CopyTruncate,
    /// The same with a copy that the pattern does not match.
    CopyTruncateOutOfPattern,
    /// The application goes on in a new `app-<date>.log`.
    CreateDated,
    /// `app.log` becomes `app.log-<date>`.
    RenameDated,
    /// `app.log` becomes `app.log.<n>`, which is compressed at once.
    RenameThenCompress,
    /// `> app.log`: what was not read is gone.
    TruncateInPlace,
    /// `rm app.log`, and a new one at the same path.
    DeleteRecreate,
    /// `app.log` is a symlink, which now points to another file.
    SymlinkSwap,
    /// `app.log` moves into another folder, which no pattern matches.
    RenameOutOfPattern,
}

impl Rotator {
    /// The pattern of a flow that watches the rotated log.
    pub fn pattern(self) -> &'static str {
        match self {
            Rotator::CreateDated => "app*.log",
            Rotator::Rename | Rotator::CopyTruncate | Rotator::RenameDated => "app.log*",
            _ => "app.log",
        }
    }

    /// Whether what was not read before the rotation can be read after it by somebody who did
    /// not have the file open, and does not search the whole file system.
    pub fn keeps_unread(self) -> bool {
        use Rotator::*;
        !matches!(self, TruncateInPlace | DeleteRecreate | RenameOutOfPattern)
    }

    /// The same for a file that was created and rotated between two looks.
    pub fn keeps_unseen(self) -> bool {
        self.keeps_unread() && self != Rotator::SymlinkSwap
    }

    /// The same for a file that somebody had open.
    pub fn keeps_open(self) -> bool {
        self != Rotator::TruncateInPlace
    }

    /// What has to be there before the first line is written.
    pub fn prepare(self, world: &World) {
        if self == Rotator::SymlinkSwap {
            world.append("targets/0.txt", "");
            world.symlink("targets/0.txt", "app.log");
        }
    }

    /// Rotates `file`, and returns where the application writes from now on.
    pub fn rotate(self, world: &World, file: &str) -> String {
        match self {
            Rotator::Rename => drop(rename_to_next(world, file)),
            Rotator::RenameShift => rename_shift(world, file),
            Rotator::CopyTruncate | Rotator::CopyTruncateOutOfPattern => copy_truncate(world, file),
            Rotator::CreateDated => return create_dated(world),
            Rotator::RenameDated => rename_dated(world, file),
            Rotator::RenameThenCompress => rename_then_compress(world, file),
            Rotator::TruncateInPlace => world.truncate(file),
            Rotator::DeleteRecreate => {
                world.delete(file);
                world.append(file, "");
            }
            Rotator::SymlinkSwap => symlink_swap(world, file),
            Rotator::RenameOutOfPattern => rename_away(world, file),
        }
        file.to_owned()
    }
}

/// The first of `names` that no file has.
fn free_name(world: &World, name: impl Fn(usize) -> String) -> String {
    let mut names = (1..).map(name);
    names.find(|name| !world.path(name).exists()).expect("the numbers do not end")
}

/// Renames to the first `<file>.<n>` that was not used before, and returns it.
fn rename_to_next(world: &World, file: &str) -> String {
    let taken = |n: &usize| {
        let name = format!("{file}.{n}");
        world.path(&name).exists() || world.path(&format!("{name}.gz")).exists()
    };
    let free = (1..).find(|n| !taken(n)).expect("the numbers do not end");
    let to = format!("{file}.{free}");
    world.rename(file, &to);
    world.append(file, "");
    to
}

fn rename_away(world: &World, file: &str) {
    let to = free_name(world, |n| format!("archive/{file}.{n}"));
    world.rename(file, &to);
    world.append(file, "");
}

fn rename_shift(world: &World, file: &str) {
    shift(world, file);
    world.rename(file, &format!("{file}.1"));
    world.append(file, "");
}

/// Makes room for a new `.1`.
fn shift(world: &World, file: &str) {
    let free = (1..).find(|n| !world.path(&format!("{file}.{n}")).exists());
    for n in (1..free.expect("the numbers do not end")).rev() {
        world.rename(&format!("{file}.{n}"), &format!("{file}.{}", n + 1));
    }
}

fn copy_truncate(world: &World, file: &str) {
    shift(world, file);
    world.copy(file, &format!("{file}.1"));
    world.truncate(file);
}

fn create_dated(world: &World) -> String {
    let name = free_name(world, |n| format!("app-202601{n:02}.log"));
    world.append(&name, "");
    name
}

fn rename_dated(world: &World, file: &str) {
    let to = free_name(world, |n| format!("{file}-202601{n:02}"));
    world.rename(file, &to);
    world.append(file, "");
}

fn rename_then_compress(world: &World, file: &str) {
    let renamed = rename_to_next(world, file);
    compress(world, &renamed);
}

/// What `gzip` does: a whole `.gz` with the times of the original appears, then it is removed.
pub fn compress(world: &World, file: &str) {
    let (from, to) = (world.path(file), world.path(&format!("{file}.gz")));
    let modified = fs::metadata(&from).unwrap().modified().unwrap();
    let out = File::create(to).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(out, flate2::Compression::fast());
    gzip.write_all(&fs::read(from).unwrap()).unwrap();
    gzip.finish().unwrap().set_modified(modified).unwrap();
    world.delete(file);
}

fn symlink_swap(world: &World, link: &str) {
    let target = free_name(world, |n| format!("targets/{n}.txt"));
    world.append(&target, "");
    world.symlink(&target, link);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two rotations with a line before, between and after; the files that are there then.
    fn rotate_twice(rotator: Rotator) -> Vec<(String, String)> {
        let world = World::new();
        rotator.prepare(&world);
        let mut file = "app.log".to_owned();
        for line in ["one\n", "two\n"] {
            world.append(&file, line);
            file = rotator.rotate(&world, &file);
        }
        world.append(&file, "three\n");
        let mut found: Vec<_> = walkdir::WalkDir::new(world.path(""))
            .into_iter()
            .map(Result::unwrap)
            .filter(|entry| entry.file_type().is_file())
            .map(|entry| {
                let name = entry.path().strip_prefix(world.path("")).unwrap();
                let content = fs::read(entry.path()).unwrap();
                (name.display().to_string(), String::from_utf8_lossy(&content).into_owned())
            })
            .collect();
        found.sort();
        found
    }

    fn names(found: &[(String, String)]) -> Vec<&str> {
        found.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn each_rotator_leaves_the_files_that_it_says() {
        let shifted = [("app.log", "three\n"), ("app.log.1", "two\n"), ("app.log.2", "one\n")];
        let shifted = shifted.map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(rotate_twice(Rotator::RenameShift), shifted);
        assert_eq!(rotate_twice(Rotator::CopyTruncate), shifted);
        let counted = rotate_twice(Rotator::Rename);
        assert_eq!(counted[1], ("app.log.1".into(), "one\n".into()));
        assert_eq!(counted[2], ("app.log.2".into(), "two\n".into()));
        let dated = ["app-20260101.log", "app-20260102.log", "app.log"];
        assert_eq!(names(&rotate_twice(Rotator::CreateDated)), dated);
        let dated = ["app.log", "app.log-20260101", "app.log-20260102"];
        assert_eq!(names(&rotate_twice(Rotator::RenameDated)), dated);
        let zipped = ["app.log", "app.log.1.gz", "app.log.2.gz"];
        assert_eq!(names(&rotate_twice(Rotator::RenameThenCompress)), zipped);
        let archived = ["app.log", "archive/app.log.1", "archive/app.log.2"];
        assert_eq!(names(&rotate_twice(Rotator::RenameOutOfPattern)), archived);
    }

    #[test]
    fn a_destroyed_file_holds_the_last_line_alone() {
        let only = [("app.log".to_owned(), "three\n".to_owned())];
        assert_eq!(rotate_twice(Rotator::TruncateInPlace), only);
        assert_eq!(rotate_twice(Rotator::DeleteRecreate), only);
        let targets = rotate_twice(Rotator::SymlinkSwap);
        assert_eq!(names(&targets), ["targets/0.txt", "targets/1.txt", "targets/2.txt"]);
        assert_eq!(targets[2].1, "three\n");
    }
}
