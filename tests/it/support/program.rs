//! Programs that others wrote, such as rsync, which a script runs to its end.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

/// The first of these names that is installed. Says what to do if there is none.
#[track_caller]
pub fn find(names: &[&str]) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    // Debian keeps some where only root's PATH looks.
    folders.push(PathBuf::from("/usr/sbin"));
    let files = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    let found = files.into_iter().find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{names:?} is missing: run `make peers`, or install its package"))
}

/// Runs a program, which must end well.
#[track_caller]
pub fn run<A: AsRef<OsStr>>(names: &[&str], arguments: impl IntoIterator<Item = A>) {
    let mut command = Command::new(find(names));
    let output = command.args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
}
