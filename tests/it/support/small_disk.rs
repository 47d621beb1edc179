//! A disk of its own for a folder, small enough to be full. Only for scripts that run
//! [`in_own_mounts`](super::mounts::in_own_mounts).

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::mounts::Mount;

#[derive(Debug)]
pub struct SmallDisk {
    folder: PathBuf,
    _mount: Mount,
}

impl SmallDisk {
    pub fn mount(folder: &Path, bytes: u64) -> SmallDisk {
        let mount = Mount::small_tmpfs(folder, bytes);
        SmallDisk { folder: folder.to_owned(), _mount: mount }
    }

    /// Nothing more can be written.
    pub fn fill(&self) {
        let mut filler = File::create(self.folder.join("filler")).unwrap();
        for block in [64 * 1024, 4096, 1] {
            while filler.write_all(&vec![1; block]).is_ok() {}
        }
    }

    pub fn free(&self) {
        fs::remove_file(self.folder.join("filler")).unwrap();
    }

    /// `ro` or `rw`.
    pub fn remount(&self, how: &str) {
        let option = format!("remount,{how}");
        let done = Command::new("mount").args(["-o", &option]).arg(&self.folder).status().unwrap();
        assert!(done.success(), "{}: {done}", self.folder.display());
    }
}
