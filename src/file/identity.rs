//! Whether an open file is the one that was known: by the hash of its first bytes and by the
//! anchors before the offsets that were reached in it.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;

use xxhash_rust::xxh3::xxh3_64;

use super::body::Body;
use super::chunk::Anchor;
use super::ladder::Ladder;
use super::note::Identity;

/// The head is the hash of at most so many bytes.
pub const HEAD_BYTES: usize = 1024;

/// What the content of an open file says about a known tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds all that was read of the tail.
    Same,
    /// It holds the tail's bytes up to this anchor, and others or none after it.
    UpTo(Anchor),
    Different,
}

/// The device and the inode of a file: what it is called by the system while it exists.
pub type FileKey = (u64, u64);

pub fn file_key(metadata: &Metadata) -> FileKey {
    (metadata.dev(), metadata.ino())
}

/// Milliseconds since the epoch.
pub fn modified_millis(metadata: &Metadata) -> i64 {
    metadata.mtime() * 1000 + metadata.mtime_nsec() / 1_000_000
}

impl Identity {
    pub fn of(body: &mut Body, key: FileKey) -> io::Result<Self> {
        let mut head = body.bytes_at(0, HEAD_BYTES)?;
        // Zeros at the end may be space that the writer reserved and fills by and by.
        head.truncate(head.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
        Ok(Identity {
            device: key.0,
            inode: key.1,
            head_length: head.len() as u32,
            head_hash: xxh3_64(&head),
        })
    }

    pub fn key(&self) -> FileKey {
        (self.device, self.inode)
    }

    /// Whether the file, which begins with these bytes, is this one as far as it was known.
    pub fn begins(&self, bytes: &[u8], body: &mut Body) -> io::Result<bool> {
        let length = self.head_length as usize;
        match bytes.get(..length) {
            Some(head) => Ok(length == 0 || xxh3_64(head) == self.head_hash),
            None => self.head_agrees(body),
        }
    }

    /// Whether the file begins as this identity does.
    pub fn head_agrees(&self, body: &mut Body) -> io::Result<bool> {
        if self.head_length == 0 {
            return Ok(true);
        }
        let head = body.bytes_at(0, self.head_length as usize)?;
        Ok(head.len() == self.head_length as usize && xxh3_64(&head) == self.head_hash)
    }
}

/// Holds an open file against what is known of a tail that was read up to the newest anchor of
/// `ladder`. A compressed body has been read up to the last anchor that agrees afterwards.
pub fn verify(body: &mut Body, identity: &Identity, ladder: &Ladder) -> io::Result<Verdict> {
    if !identity.head_agrees(body)? {
        return Ok(Verdict::Different);
    }
    let mut agreed = None;
    for anchor in ladder.anchors().iter().rev() {
        if !anchor_agrees(body, anchor)? {
            break;
        }
        agreed = Some(*anchor);
    }
    Ok(match (agreed, ladder.newest()) {
        (agreed, newest) if agreed == newest => Verdict::Same,
        (Some(anchor), _) if anchor.offset > 0 && (identity.head_length > 0 || !anchor.is_of_zeros()) => {
            Verdict::UpTo(anchor)
        }
        _ => Verdict::Different,
    })
}

/// Whether anything is known of what the tail holds; else every file would agree with it. A file that
/// begins with a hole has no head, and is known by what was read behind that.
pub fn is_content_known(identity: &Identity, ladder: &Ladder) -> bool {
    identity.head_length > 0 || ladder.anchors().iter().any(|anchor| !anchor.is_of_zeros())
}

/// Whether the file holds before the anchor's offset what it held when the anchor was made.
pub fn anchor_agrees(body: &mut Body, anchor: &Anchor) -> io::Result<bool> {
    let length = Anchor::length(anchor.offset);
    let before = body.bytes_at(anchor.offset - length as u64, length)?;
    Ok(before.len() == length && Anchor::of(anchor.offset, &before) == *anchor)
}

/// Whether all bytes of `copy` (as far as a few samples tell: both ends and the middle) are the
/// first bytes of `origin`, which is not shorter.
pub fn is_copy_so_far(copy: &mut Body, origin: &mut Body) -> io::Result<bool> {
    const SAMPLE: u64 = 4096;
    let (Some(of_copy), Some(of_origin)) = (copy.metadata()?, origin.metadata()?) else { return Ok(false) };
    let size = of_copy.size();
    if size > of_origin.size() {
        return Ok(false);
    }
    for offset in [0, (size / 2).saturating_sub(SAMPLE / 2), size.saturating_sub(SAMPLE)] {
        let length = SAMPLE.min(size - offset) as usize;
        let (ours, theirs) = (copy.bytes_at(offset, length)?, origin.bytes_at(offset, length)?);
        if ours.len() < length || ours != theirs {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn open(path: &Path) -> Body {
        Body::open(path).unwrap().0
    }

    fn known(content: &[u8], offsets: &[u64]) -> (Identity, Ladder) {
        let head = &content[..content.len().min(HEAD_BYTES)];
        let identity =
            Identity { head_length: head.len() as u32, head_hash: xxh3_64(head), ..Default::default() };
        let anchors = offsets.iter().map(|&offset| Anchor::of(offset, &content[..offset as usize])).collect();
        (identity, Ladder::new(anchors))
    }

    #[test]
    fn a_file_is_judged_by_its_head_and_its_anchors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let content: Vec<u8> = (0..5000u32).flat_map(|n| format!("{n}\n").into_bytes()).collect();
        let (identity, ladder) = known(&content, &[2000, 9000, 20_000]);
        let verdict = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            verify(&mut open(&path), &identity, &ladder).unwrap()
        };
        assert_eq!(verdict(&content), Verdict::Same);
        assert_eq!(verdict(&content[..15_000]), Verdict::UpTo(ladder.anchors()[1]));
        let mut zeroed = content.clone();
        zeroed[8000..].fill(0);
        assert_eq!(verdict(&zeroed), Verdict::UpTo(ladder.anchors()[2]));
        assert_eq!(verdict(&content[..1500]), Verdict::Different);
        assert_eq!(verdict(b""), Verdict::Different);
        let mut other = content.clone();
        other[3] ^= 1;
        assert_eq!(verdict(&other), Verdict::Different);
    }

    #[test]
    fn a_file_that_was_never_read_is_judged_by_its_head_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        std::fs::write(&path, b"hello").unwrap();
        let (identity, ladder) = known(b"hel", &[]);
        assert_eq!(verify(&mut open(&path), &identity, &ladder).unwrap(), Verdict::Same);
    }

    #[test]
    fn the_head_is_not_made_of_zeros_that_may_be_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        std::fs::write(&path, [&b"one\n"[..], &[0; 5000]].concat()).unwrap();
        let identity = Identity::of(&mut open(&path), (1, 1)).unwrap();
        assert_eq!(identity.head_length, 4);
        std::fs::write(&path, [&b"one\ntwo\n"[..], &[0; 5000]].concat()).unwrap();
        assert!(identity.head_agrees(&mut open(&path)).unwrap());
    }

    #[test]
    fn a_copy_is_known_while_it_grows() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a.log"), folder.path().join("a.log.1"));
        let content: Vec<u8> = (0..5000u32).flat_map(|n| format!("{n}\n").into_bytes()).collect();
        std::fs::write(&from, &content).unwrap();
        for size in [0, 1, 5000, content.len()] {
            std::fs::write(&to, &content[..size]).unwrap();
            assert!(is_copy_so_far(&mut open(&to), &mut open(&from)).unwrap());
        }
        std::fs::write(&to, [&content[..], b"more"].concat()).unwrap();
        assert!(!is_copy_so_far(&mut open(&to), &mut open(&from)).unwrap());
        std::fs::write(&to, [&content[..4000], b"other"].concat()).unwrap();
        assert!(!is_copy_so_far(&mut open(&to), &mut open(&from)).unwrap());
    }
}
