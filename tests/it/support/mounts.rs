//! File systems that a script mounts, in a mount namespace of its own.
//!
//! The test starts itself once more under `unshare`, so that nothing of it is seen outside and
//! nothing of it is left. This takes root, or a system that lets its users have namespaces;
//! `IT_MOUNTS=off` leaves such scripts out, which `make test` does, and says, where it must.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const INSIDE: &str = "IT_OWN_MOUNTS";

/// Runs the script, which is all that its test does, where it may mount what it likes.
#[track_caller]
pub fn in_own_mounts<F: FnOnce()>(script: F) {
    let test = name_of_test::<F>();
    if std::env::var_os(INSIDE).is_some() {
        return script();
    }
    if std::env::var("IT_MOUNTS").as_deref() == Ok("off") {
        return eprintln!("{test} is left out: IT_MOUNTS=off");
    }
    let namespaces: &[&str] =
        if rustix::process::geteuid().is_root() { &["--mount"] } else { &["--map-root-user", "--mount"] };
    let output = Command::new("unshare")
        .args(namespaces)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", test])
        .env(INSIDE, "yes")
        .output()
        .expect("unshare is missing: install util-linux");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let hint = "if it may not make namespaces here, set IT_MOUNTS=off";
    // A name that is not the test's would run nothing, and nothing can fail.
    assert!(output.status.success() && said.contains("1 passed"), "{hint}\n{said}");
}

/// A closure is called by the path of the function that it stands in.
fn name_of_test<F>() -> &'static str {
    let path = std::any::type_name::<F>().trim_end_matches("::{{closure}}");
    path.split_once("::").expect("the crate stands before the path").1
}

/// Something that is mounted until this is dropped.
#[derive(Debug)]
pub struct Mount {
    at: PathBuf,
}

impl Mount {
    pub fn tmpfs(at: &Path) -> Self {
        Self::new(&["-t", "tmpfs", "none"], at)
    }

    /// With room for so many bytes.
    pub fn small_tmpfs(at: &Path, bytes: u64) -> Self {
        Self::new(&["-t", "tmpfs", "-o", &format!("size={bytes}"), "none"], at)
    }

    pub fn bind(from: &Path, at: &Path) -> Self {
        Self::new(&["--bind", text(from)], at)
    }

    /// The three folders are made if they are not there.
    pub fn overlay(lower: &Path, upper: &Path, work: &Path, at: &Path) -> Self {
        let folders = [lower, upper, work];
        folders.iter().for_each(|folder| fs::create_dir_all(folder).unwrap());
        let [lower, upper, work] = folders.map(text);
        let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        Self::new(&["-t", "overlay", "none", "-o", &options], at)
    }

    fn new(arguments: &[&str], at: &Path) -> Self {
        fs::create_dir_all(at).unwrap();
        run(Command::new("mount").args(arguments).arg(at));
        Mount { at: at.to_owned() }
    }

    /// Away with the name, also while somebody has files in it open.
    pub fn unmount(self) {}
}

impl Drop for Mount {
    fn drop(&mut self) {
        run(Command::new("umount").arg("--lazy").arg(&self.at));
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the folders of a test have plain names")
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
