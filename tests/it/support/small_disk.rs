//! A disk of its own for a folder of the world, small enough to be full: a tmpfs in a mount
//! namespace, which ends with the process that holds it. The agent is started inside; the script
//! looks in through /proc.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

#[derive(Debug)]
pub struct SmallDisk {
    holder: Child,
    /// The holder ends when this is closed.
    _input: ChildStdin,
    folder: PathBuf,
    is_root: bool,
}

impl SmallDisk {
    /// None, and a loud line, where this machine does not allow it.
    pub fn mount(folder: &Path, bytes: u64) -> Option<SmallDisk> {
        let is_root = rustix::process::geteuid().is_root();
        fs::create_dir_all(folder).unwrap();
        let script = "mount -t tmpfs -o \"size=$1\" none \"$2\" && echo mounted && exec cat";
        let mut holder = Command::new("unshare")
            .args(if is_root { &["-m"][..] } else { &["-r", "-m"] })
            .args(["sh", "-c", script, "sh", &bytes.to_string()])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare (of util-linux) can be started");
        let (input, output) = (holder.stdin.take().unwrap(), holder.stdout.take().unwrap());
        let mut first = String::new();
        BufReader::new(output).read_line(&mut first).unwrap();
        if first.trim() != "mounted" {
            holder.wait().unwrap();
            eprintln!("SKIPPED: this machine does not let the test mount a small disk; run it as root");
            return None;
        }
        Some(SmallDisk { holder, _input: input, folder: folder.to_owned(), is_root })
    }

    /// What stands before a command that is to see the disk.
    pub fn entrance(&self) -> String {
        let user = if self.is_root { "" } else { "-U --preserve-credentials " };
        format!("/usr/bin/nsenter -t {} {user}-m --", self.holder.id())
    }

    /// Where a file of the disk is for those outside.
    pub fn outside(&self, path: &Path) -> PathBuf {
        let path = path.strip_prefix("/").expect("an absolute path");
        PathBuf::from(format!("/proc/{}/root", self.holder.id())).join(path)
    }

    /// Nothing more can be written.
    pub fn fill(&self) {
        let mut filler = File::create(self.outside(&self.folder.join("filler"))).unwrap();
        for block in [64 * 1024, 4096, 1] {
            while filler.write_all(&vec![1; block]).is_ok() {}
        }
    }

    pub fn free(&self) {
        fs::remove_file(self.outside(&self.folder.join("filler"))).unwrap();
    }

    /// `ro` or `rw`.
    pub fn remount(&self, how: &str) {
        let command = format!("{} mount -o remount,{how} {}", self.entrance(), self.folder.display());
        let done = Command::new("sh").args(["-c", &command]).status().unwrap();
        assert!(done.success(), "{command}: {done}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
