//! Who may read a file, as far as its owner, its group and its mode tell: for the check, which
//! root usually runs, while the agent runs as a user of its own.
//!
//! Access control lists, capabilities and security modules are not looked at.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A user and its groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    pub name: String,
    uid: u32,
    gids: Vec<u32>,
}

impl Reader {
    /// The user of this name, if `/etc/passwd` knows it.
    pub fn named(name: &str) -> Option<Reader> {
        let passwd = fs::read_to_string("/etc/passwd").ok()?;
        let group = fs::read_to_string("/etc/group").unwrap_or_default();
        Reader::of(name, &passwd, &group)
    }

    fn of(name: &str, passwd: &str, group: &str) -> Option<Reader> {
        let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        let uid = fields.next()?.parse().ok()?;
        let mut gids = vec![fields.next()?.parse().ok()?];
        for line in group.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            if let [_, _, gid, members] = fields[..]
                && members.split(',').any(|member| member == name)
            {
                gids.extend(gid.parse::<u32>());
            }
        }
        Some(Reader { name: name.to_owned(), uid, gids })
    }

    /// Whether the modes of the file and of all folders above it let the user read it.
    pub fn may_read(&self, path: &Path) -> bool {
        let enters =
            |folder: &Path| fs::metadata(folder).is_ok_and(|metadata| self.is_allowed(&metadata, 0o1));
        path.ancestors().skip(1).all(enters)
            && fs::metadata(path).is_ok_and(|metadata| self.is_allowed(&metadata, 0o4))
    }

    /// `bit` is one of those for others.
    fn is_allowed(&self, metadata: &Metadata, bit: u32) -> bool {
        let shift = match () {
            () if self.uid == metadata.uid() => 6,
            () if self.gids.contains(&metadata.gid()) => 3,
            () => 0,
        };
        self.uid == 0 || metadata.mode() & (bit << shift) != 0
    }
}

/// The user that this process acts as.
pub fn current_user() -> String {
    let uid = rustix::process::geteuid().as_raw();
    name_of(uid, "/etc/passwd").unwrap_or_else(|| uid.to_string())
}

/// The owner, the group and the mode of what is in the way: the file, or the first folder above
/// it that cannot even be looked into.
pub fn owner_and_mode(path: &Path) -> String {
    let known = path.ancestors().find_map(|path| Some((path, fs::metadata(path).ok()?)));
    let Some((known, metadata)) = known else { return "its owner is not known".into() };
    let owner = name_of(metadata.uid(), "/etc/passwd").unwrap_or_else(|| metadata.uid().to_string());
    let group = name_of(metadata.gid(), "/etc/group").unwrap_or_else(|| metadata.gid().to_string());
    let what = if known == path { String::new() } else { format!("{}: ", known.display()) };
    format!("{what}owner {owner}, group {group}, mode {:04o}", metadata.mode() & 0o7777)
}

/// Users and groups have their name first and their number third.
fn name_of(id: u32, database: &str) -> Option<String> {
    let text = fs::read_to_string(database).ok()?;
    let line = text.lines().find(|line| line.split(':').nth(2) == Some(&id.to_string()))?;
    line.split(':').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nagent:x:987:986::/:/sbin/nologin\n";
    const GROUP: &str = "adm:x:4:syslog,agent\nagent:x:986:\nother:x:7:nobody\n";

    #[test]
    fn a_user_has_its_own_group_and_those_that_name_it() {
        let reader = Reader::of("agent", PASSWD, GROUP).unwrap();
        assert_eq!(reader, Reader { name: "agent".into(), uid: 987, gids: vec![986, 4] });
        assert_eq!(Reader::of("nobody", PASSWD, GROUP), None);
    }

    #[test]
    fn the_mode_of_the_file_and_of_its_folders_decides() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        fs::write(&path, "x").unwrap();
        let metadata = fs::metadata(&path).unwrap();
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let reader = |uid, gid| Reader { name: String::new(), uid, gids: vec![gid] };
        let (owner, group) = (metadata.uid().wrapping_add(1000), metadata.gid());
        let (stranger, member) = (reader(owner, group.wrapping_add(1000)), reader(owner, group));
        set(folder.path(), 0o711);
        for (mode, of_stranger, of_member) in
            [(0o604, true, false), (0o640, false, true), (0o600, false, false)]
        {
            set(&path, mode);
            assert_eq!(stranger.may_read(&path), of_stranger, "{mode:o}");
            assert_eq!(member.may_read(&path), of_member, "{mode:o}");
        }
        set(&path, 0o604);
        set(folder.path(), 0o700);
        assert!(!stranger.may_read(&path), "the folder is closed");
        assert!(owner_and_mode(&path).ends_with("mode 0604"));
    }
}
