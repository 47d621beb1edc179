//! Where the bytes of a tail are read from: its file, or a compressed body of it that rotation
//! left behind. Everything here works on the open descriptor, never by path.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::buffer::spare_capacity;

use super::unpacked::{Format, Unpacked};
use crate::observe::pulse::beat;

/// The endings of names that are never tails of their own.
const COMPRESSED: [&str; 9] = [".gz", ".zst", ".bz2", ".xz", ".zip", ".lz4", ".lzma", ".Z", ".tgz"];

/// Whether a file of this name holds compressed bytes.
pub fn is_compressed(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    COMPRESSED.iter().any(|ending| name.ends_with(&ending.to_lowercase()))
}

/// Whether the bytes in a compressed file can be read.
pub fn is_unpackable(path: &Path) -> bool {
    Format::of(path).is_some()
}

#[derive(Debug)]
pub enum Body {
    Plain(File),
    Unpacked(Unpacked),
}

impl Body {
    /// Opens a regular file. Never blocks on a pipe and refuses what is not a file.
    pub fn open(path: &Path) -> io::Result<(Body, Metadata)> {
        use std::os::unix::fs::OpenOptionsExt;
        let nonblocking = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
        let file = File::options().read(true).custom_flags(nonblocking.bits() as i32).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "is not a regular file"));
        }
        let body = match Format::of(path) {
            Some(format) => Body::Unpacked(Unpacked::new(file, format)),
            None => Body::Plain(file),
        };
        Ok((body, metadata))
    }

    /// How many of the `wanted` bytes from `offset` on are there now, and whether the body
    /// ends with them. None if it is shorter than `offset`.
    pub fn available(&mut self, offset: u64, wanted: usize) -> io::Result<Option<Available>> {
        match self {
            Body::Plain(file) => {
                let size = file.metadata()?.size();
                let Some(rest) = size.checked_sub(offset) else { return Ok(None) };
                let bytes = rest.min(wanted as u64) as usize;
                Ok(Some(Available { bytes, to_the_end: rest <= wanted as u64 }))
            }
            Body::Unpacked(unpacked) => unpacked.available(offset, wanted),
        }
    }

    /// Appends up to `wanted` bytes from `offset` on to `buffer`, whose capacity suffices.
    /// Fewer only where the body ends. A compressed body is read forwards only.
    pub fn read_at(&mut self, offset: u64, wanted: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
        beat();
        match self {
            Body::Plain(file) => {
                let end = buffer.len() + wanted;
                while buffer.len() < end {
                    let at = offset + (buffer.len() + wanted - end) as u64;
                    let read = if buffer.capacity() == end {
                        rustix::io::pread(&*file, spare_capacity(buffer), at)?
                    } else {
                        read_exactly_into(file, end, at, buffer)?
                    };
                    if read == 0 {
                        break;
                    }
                }
                Ok(())
            }
            Body::Unpacked(unpacked) => unpacked.read_at(offset, wanted, buffer),
        }
    }

    /// The bytes `[offset, offset + length)`, or fewer where the body ends.
    pub fn bytes_at(&mut self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(length);
        self.read_at(offset, length, &mut bytes)?;
        Ok(bytes)
    }

    /// What the system says of the file now; none for a compressed body, which is finished.
    pub fn metadata(&self) -> io::Result<Option<Metadata>> {
        match self {
            Body::Plain(file) => file.metadata().map(Some),
            Body::Unpacked(_) => Ok(None),
        }
    }
}

/// For a buffer that is larger than what is wanted, so that no more is read.
fn read_exactly_into(file: &File, end: usize, at: u64, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let from = buffer.len();
    buffer.resize(end, 0);
    let read = file.read_at(&mut buffer[from..], at);
    buffer.truncate(from + *read.as_ref().unwrap_or(&0));
    read
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Available {
    pub bytes: usize,
    pub to_the_end: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(path: &Path, content: &[u8]) {
        let mut encoder =
            flate2::write::GzEncoder::new(File::create(path).unwrap(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap();
    }

    #[test]
    fn a_compressed_body_gives_the_same_bytes_as_the_plain_one() {
        let folder = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..300_000u32).flat_map(|n| n.to_le_bytes()).collect();
        let (plain, packed) = (folder.path().join("a"), folder.path().join("a.gz"));
        std::fs::write(&plain, &content).unwrap();
        gzip(&packed, &content);
        for path in [plain, packed] {
            let (mut body, _) = Body::open(&path).unwrap();
            assert_eq!(body.bytes_at(0, 1024).unwrap(), content[..1024]);
            assert_eq!(body.bytes_at(500_000, 256).unwrap(), content[500_000..500_256]);
            assert_eq!(
                body.available(500_256, 1000).unwrap(),
                Some(Available { bytes: 1000, to_the_end: false })
            );
            let end = content.len() as u64;
            assert_eq!(body.bytes_at(end - 10, 20).unwrap(), content[content.len() - 10..]);
            assert_eq!(body.available(end, 10).unwrap(), Some(Available { bytes: 0, to_the_end: true }));
            assert_eq!(body.available(end + 1, 10).unwrap(), None);
        }
    }

    #[test]
    fn folders_are_refused_and_a_pipe_does_not_block() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Body::open(folder.path()).is_err());
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(Body::open(&pipe).is_err());
    }

    #[test]
    fn a_compressed_file_that_is_cut_short_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gz");
        gzip(&path, &[7; 100_000]);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 10]).unwrap();
        let (mut body, _) = Body::open(&path).unwrap();
        assert!(body.available(0, 200_000).is_err());
    }
}
