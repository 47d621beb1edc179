//! Any file may stand where the database should be: the agent goes on from it, replaces it and
//! keeps the damaged one, or refuses to start. It never forgets that there was one.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kinesis_agent::file::KnownTail;
use kinesis_agent::settle::resume::FlowIdentity;
use kinesis_agent::settle::store::{Store, StoreError};

pub fn opens_or_refuses_and_destroys_nothing(data: &[u8]) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("checkpoints.db");
    // The first byte says whether what follows stands in the database or in its log.
    let ([log], bytes) = super::parameters(data);
    if log % 4 == 1 {
        drop(Store::open(&path, at(1)).expect("a new one can be made"));
        std::fs::write(with(&path, "-wal"), bytes).expect("it can be written");
    } else {
        std::fs::write(&path, bytes).expect("it can be written");
    }
    match Store::open(&path, at(2)) {
        Ok((mut store, warnings)) => {
            let flow = || FlowIdentity {
                key: "k".into(),
                destination_prefix: "k".into(),
                begins: true,
                matches: Box::new(|_: &KnownTail| true),
                lets_go: Box::new(|_: &KnownTail| false),
            };
            let resumed = match store.resume(&[flow()], at(3)) {
                Ok(resumed) => resumed,
                Err(error) => panic!("it was opened, but: {error}"),
            };
            if log % 4 != 1 && !bytes.starts_with(b"SQLite format 3\0") {
                assert!(!warnings.is_empty(), "what is no database is not passed over in silence");
                assert!(!resumed[0].is_first, "known files are not read from their ends");
                assert!(is_kept(folder.path(), bytes), "the damaged one is kept");
            }
        }
        Err(StoreError::Newer { .. }) => {
            assert_eq!(std::fs::read(&path).expect("it is there"), bytes, "it is left as it is");
        }
        Err(error) => assert!(path.exists(), "it is left where it is: {error}"),
    }
}

fn is_kept(folder: &Path, bytes: &[u8]) -> bool {
    let entries = std::fs::read_dir(folder).expect("it can be listed").filter_map(Result::ok);
    entries.into_iter().any(|entry| std::fs::read(entry.path()).is_ok_and(|found| found == bytes))
}

fn with(path: &Path, suffix: &str) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}
