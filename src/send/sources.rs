//! The files that a client was made from, as they were then: the AWS profiles and the CA bundle.
//!
//! The SDK reads each of them once. A client whose credentials or whose peer's certificate are
//! refused is made anew at once if one of its files has changed since, appeared or gone. What is
//! in them is not read here.

use std::path::PathBuf;
use std::time::SystemTime;

use super::http;
use super::options::Options;

/// A file that is there: when it was written, its size and its inode.
type Look = Option<(SystemTime, u64, u64)>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources(Vec<(PathBuf, Look)>);

impl Sources {
    /// As they are now.
    pub fn of(options: &Options) -> Self {
        let mut paths = profile_files(&|name| std::env::var(name).ok());
        paths.extend(http::ca_bundle(&options.network));
        Sources(paths.into_iter().map(|path| (path.clone(), look(&path))).collect())
    }

    pub fn have_changed(&self) -> bool {
        self.0.iter().any(|(path, before)| look(path) != *before)
    }
}

fn look(path: &PathBuf) -> Look {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

/// Where the SDK looks for profiles.
fn profile_files(env: &dyn Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let set = |name: &str| env(name).filter(|value| !value.is_empty());
    let home = set("HOME").map(PathBuf::from);
    let file = |name: &str, default: &str| {
        let typed = set(name).unwrap_or_else(|| format!("~/.aws/{default}"));
        match (typed.strip_prefix("~/"), &home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => PathBuf::from(typed),
        }
    };
    vec![file("AWS_SHARED_CREDENTIALS_FILE", "credentials"), file("AWS_CONFIG_FILE", "config")]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::send::options::Network;
    use crate::send::testing::options;

    #[test]
    fn profiles_are_where_the_sdk_looks_for_them() {
        let files = |env: &[(&str, &str)]| {
            profile_files(&|name| env.iter().find(|(key, _)| *key == name).map(|(_, v)| v.to_string()))
        };
        let home = ("HOME", "/h");
        assert_eq!(files(&[home]), ["/h/.aws/credentials", "/h/.aws/config"].map(PathBuf::from));
        let typed = [home, ("AWS_SHARED_CREDENTIALS_FILE", "/etc/keys"), ("AWS_CONFIG_FILE", "~/c")];
        assert_eq!(files(&typed), ["/etc/keys", "/h/c"].map(PathBuf::from));
    }

    #[test]
    fn a_file_that_appears_changes_or_goes_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let network = Network { ca_bundle: Some(path.clone()), ..Network::default() };
        let now = || Sources::of(&crate::send::Options { network: network.clone(), ..options() });
        let before = now();
        assert!(!before.have_changed());
        std::fs::write(&path, "a").unwrap();
        assert!(before.have_changed());
        let before = now();
        std::fs::write(folder.path().join("new"), "b").unwrap();
        std::fs::rename(folder.path().join("new"), &path).unwrap();
        assert!(before.have_changed());
        let before = now();
        std::fs::remove_file(&path).unwrap();
        assert!(before.have_changed());
    }
}
