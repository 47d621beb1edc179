//! The decompressed bytes of a file that rotation compressed (gzip, RFC 1952; Zstandard, RFC
//! 8878), read forwards in a bounded memory: a window of what was asked for last, and what the
//! format itself needs (32 KiB for gzip, up to [`MAX_WINDOW`] for Zstandard).
//!
//! Files that consist of several members or frames are read to the end of the last one. A file
//! that breaks off is an error, never an end: it may still be written.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::BlockDecodingStrategy;
use ruzstd::decoding::FrameDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};

use super::body::Available;
use super::chunk::ANCHOR_BYTES;
use crate::observe::pulse::beat;

/// What RFC 8878, section 3.1.1.1.2, asks of a decoder, and what `zstd -19` makes. Files made
/// with `--long` or `--ultra` may need more than an agent of fixed size may take. Bytes.
const MAX_WINDOW: u64 = 8 << 20;

/// How the bytes of a file are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Gzip,
    Zstd,
}

impl Format {
    /// As the name says. None for names that hold no bytes that could be unpacked.
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().to_lowercase();
        match name {
            name if name.ends_with(".gz") => Some(Format::Gzip),
            name if name.ends_with(".zst") => Some(Format::Zstd),
            _ => None,
        }
    }
}

enum Reader {
    Gzip(Box<MultiGzDecoder<BufReader<File>>>),
    Zstd(Box<Frames>),
}

/// Zstandard frames, one after the other.
struct Frames {
    decoder: FrameDecoder,
    source: BufReader<File>,
    /// Whether a frame was begun.
    begun: bool,
}

impl Frames {
    fn new(source: BufReader<File>) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_WINDOW);
        Frames { decoder, source, begun: false }
    }

    /// Whether there is another frame.
    fn begin(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let skipped = io::copy(&mut (&mut self.source).take(length.into()), &mut io::sink())?;
                    if skipped < u64::from(length) {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(invalid(&error)),
            }
        }
        Ok(false)
    }
}

impl Read for Frames {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.begun {
                while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                    self.decoder
                        .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1))
                        .map_err(|error| invalid(&error))?;
                }
                let read = self.decoder.read(buffer)?;
                if read > 0 || buffer.is_empty() {
                    return Ok(read);
                }
            }
            self.begun = self.begin()?;
            if !self.begun {
                return Ok(0);
            }
        }
    }
}

fn invalid(error: &FrameDecoderError) -> io::Error {
    if let FrameDecoderError::WindowSizeTooBig { requested, .. } = error {
        let text = format!(
            "it needs a window of {requested} bytes to be decompressed, more than the {MAX_WINDOW} that are \
             allowed (`zstd --long` or `--ultra`): decompress it by hand"
        );
        return io::Error::new(io::ErrorKind::Unsupported, text);
    }
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

/// The decompressed bytes of a file, forwards: what was asked for last is still there, what
/// stands before it is not.
pub struct Unpacked {
    reader: Reader,
    window: VecDeque<u8>,
    base: u64,
    ended: bool,
}

impl std::fmt::Debug for Unpacked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unpacked")
            .field("base", &self.base)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl Unpacked {
    pub fn new(file: File, format: Format) -> Self {
        let reader = match format {
            Format::Gzip => Reader::Gzip(Box::new(MultiGzDecoder::new(BufReader::new(file)))),
            Format::Zstd => Reader::Zstd(Box::new(Frames::new(BufReader::new(file)))),
        };
        Unpacked { reader, window: VecDeque::new(), base: 0, ended: false }
    }

    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        match &mut self.reader {
            Reader::Gzip(reader) => reader.read(block),
            Reader::Zstd(reader) => reader.read(block),
        }
    }

    fn end(&self) -> u64 {
        self.base + self.window.len() as u64
    }

    /// Decompresses until `end` is reached or nothing is left; drops what is before `keep`.
    fn advance(&mut self, keep: u64, end: u64) -> io::Result<()> {
        if keep < self.base {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a compressed file is read forwards only",
            ));
        }
        let mut block = [0; 32 * 1024];
        loop {
            beat();
            let gone = (keep - self.base).min(self.window.len() as u64);
            self.window.drain(..gone as usize);
            self.base += gone;
            if self.ended || self.end() >= end {
                return Ok(());
            }
            match self.read(&mut block) {
                Ok(0) => self.ended = true,
                Ok(read) => self.window.extend(&block[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub fn available(&mut self, offset: u64, wanted: usize) -> io::Result<Option<Available>> {
        let keep = self.base.max(offset.saturating_sub(ANCHOR_BYTES as u64));
        // One byte more, to know whether the body ends there.
        self.advance(keep, offset + wanted as u64 + 1)?;
        let Some(rest) = self.end().checked_sub(offset) else { return Ok(None) };
        let to_the_end = self.ended && rest <= wanted as u64;
        Ok(Some(Available { bytes: rest.min(wanted as u64) as usize, to_the_end }))
    }

    /// Appends up to `wanted` bytes from `offset` on to `buffer`.
    pub fn read_at(&mut self, offset: u64, wanted: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
        self.advance(offset, offset + wanted as u64)?;
        let from = (offset.saturating_sub(self.base) as usize).min(self.window.len());
        let to = (from + wanted).min(self.window.len());
        buffer.extend(self.window.range(from..to));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    fn unpacked(bytes: &[u8]) -> Unpacked {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.zst");
        std::fs::write(&path, bytes).unwrap();
        Unpacked::new(File::open(&path).unwrap(), Format::Zstd)
    }

    fn all(unpacked: &mut Unpacked) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        unpacked.available(0, 1 << 20)?;
        unpacked.read_at(0, 1 << 20, &mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn all_frames_are_read_and_what_is_to_be_skipped_is_skipped() {
        let frame = |text: &str| compress_to_vec(text.as_bytes(), CompressionLevel::Fastest);
        let skipped = [&0x184D_2A50_u32.to_le_bytes()[..], &3_u32.to_le_bytes(), b"abc"].concat();
        let bytes = [skipped.clone(), frame("1\n"), skipped, frame(""), frame("2\n")].concat();
        assert_eq!(all(&mut unpacked(&bytes)).unwrap(), b"1\n2\n");
        assert_eq!(all(&mut unpacked(b"")).unwrap(), b"");
    }

    #[test]
    fn a_file_that_breaks_off_is_an_error_wherever_it_does() {
        let text = "a line that is compressed\n".repeat(1000);
        let bytes = compress_to_vec(text.as_bytes(), CompressionLevel::Fastest);
        for length in 1..bytes.len() {
            assert!(all(&mut unpacked(&bytes[..length])).is_err(), "cut at {length} of {}", bytes.len());
        }
        assert_eq!(all(&mut unpacked(&bytes)).unwrap(), text.as_bytes());
    }

    #[test]
    fn a_window_beyond_the_limit_is_refused_by_name() {
        // A frame header with a window descriptor of 2^24 bytes (RFC 8878, 3.1.1.1.2).
        let error = all(&mut unpacked(&[0x28, 0xB5, 0x2F, 0xFD, 0x00, 14 << 3, 1, 0, 0])).unwrap_err();
        assert!(error.to_string().contains("16777216"), "{error}");
    }
}
