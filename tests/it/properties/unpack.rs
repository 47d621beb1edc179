//! Any bytes may stand in a file that is called compressed: what can be unpacked of them is the
//! same in whatever steps it is read, and the rest is an error.

use kinesis_agent::file::body::Body;

/// So much of it is read; a few bytes may hold gigabytes.
const READ: usize = 1 << 20;

pub fn gives_the_same_bytes_in_any_steps(data: &[u8]) {
    let ([format, step], bytes) = super::parameters(data);
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join(["a.gz", "a.zst"][format % 2]);
    std::fs::write(&path, bytes).expect("it can be written");
    let open = || Body::open(&path).map(|(body, _)| body);
    let (Ok(mut whole), Ok(mut steps)) = (open(), open()) else { return };
    let at_once = whole.bytes_at(0, READ);
    let (mut read, mut failed) = (Vec::new(), false);
    while read.len() < READ {
        let wanted = (1 + step * 37).min(READ - read.len());
        match steps.bytes_at(read.len() as u64, wanted) {
            Ok(bytes) if bytes.is_empty() => break,
            Ok(bytes) => read.extend(bytes),
            Err(_) => {
                failed = true;
                break;
            }
        }
    }
    match at_once {
        Ok(bytes) => assert!(!failed && bytes == read, "{} and {} bytes", bytes.len(), read.len()),
        Err(_) => assert!(failed || read.len() == READ),
    }
}
