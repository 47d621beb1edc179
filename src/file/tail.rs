//! One tail: reads its file in chunks of complete lines and notices at once when the file no
//! longer holds what was read from it.
//!
//! Each read starts up to 256 bytes before the position and compares them with what stood there;
//! an fstat after it must show that the file still reaches the end of what was read. Nothing is
//! kept in memory of a line that is not complete yet but how far it was searched for a newline.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::body::{Available, Body};
use super::budget::{FlowBudget, Holding, Permit};
use super::chunk::{Anchor, Chunk, TailId, whole_characters};
use super::identity::{FileKey, HEAD_BYTES, Verdict, anchor_agrees, file_key, modified_millis, verify};
use super::ladder::Ladder;
use super::note::{ChunkEnd, Identity, KnownTail, Stored, TailState};
use super::removed::Space;

/// What is read at a time, so that one file with a backlog does not hold up the others.
pub const QUANTUM_BYTES: usize = 256 * 1024;
/// How much is searched at a time for the newline of a line that is still being written.
const SEARCH_BYTES: usize = 64 * 1024;

#[derive(Debug)]
pub struct Tail {
    pub id: TailId,
    pub path: Arc<Path>,
    /// Where the file was when the tail began, as far as that is known.
    pub home: Arc<Path>,
    pub identity: Identity,
    pub state: TailState,
    /// Where reading began in this process.
    pub start: u64,
    /// The next byte that is read.
    pub position: u64,
    pub size: u64,
    pub modified_millis: i64,
    /// The modification time as it was known before the present look at the folders; none for
    /// a tail that was first seen in it.
    pub known_modified_millis: Option<i64>,
    /// The modification time that the folder showed when the tail began, until a look after that has
    /// seen all: what was copied before the file was opened is not older.
    pub listed_millis: Option<i64>,
    /// When the file was last seen to change, on the agent's own clock.
    pub changed_at: Duration,
    /// No name leads to the file any more.
    pub deleted: bool,
    /// No known name leads to the open file, which is somewhere else now.
    pub out_of_sight: bool,
    /// It was empty at the last look at the folders, and was written to since; or that cannot be told
    /// after a restart.
    pub was_empty: bool,
    /// No name was found that leads to the file; it may be seen again.
    pub absent: bool,
    /// The start position is not on disk yet; nothing is read until it is.
    pub awaiting: Option<Stored>,
    /// Whether the stages behind know that reading has begun.
    pub announced: bool,
    /// The size, path, identity or state is not what the settle stage knows.
    pub note_due: bool,
    /// Where the files of a flow share its memory: what this one and its generations hold.
    pub holding: Option<Holding>,
    /// How much of it is read at a time, unless a line is longer. Bytes.
    pub allowance: usize,
    body: Option<Box<Body>>,
    ladder: Ladder,
    /// There is no newline in the bytes from `position` to here.
    searched: u64,
    /// The size when the content was last held against what is known.
    verified_size: u64,
    /// And its modification time.
    verified_modified_millis: i64,
}

#[derive(Debug)]
pub enum Read {
    Chunk {
        chunk: Chunk,
        end: ChunkEnd,
        caught_up: bool,
    },
    /// Nothing that could be sent stands behind the position.
    CaughtUp,
    /// The budget is short.
    NoBudget,
    /// The file does not hold any more what was read from it.
    Foreign,
}

impl Tail {
    pub fn new(known: KnownTail, home: Arc<Path>, now: Duration) -> Self {
        Tail {
            id: known.tail,
            path: known.path,
            home,
            identity: known.identity,
            state: known.state,
            start: known.offset,
            position: known.offset,
            searched: known.offset,
            size: known.size,
            modified_millis: known.modified_millis,
            known_modified_millis: None,
            listed_millis: None,
            changed_at: now,
            deleted: false,
            out_of_sight: false,
            was_empty: false,
            absent: false,
            awaiting: None,
            announced: false,
            note_due: false,
            body: None,
            holding: None,
            allowance: QUANTUM_BYTES,
            ladder: Ladder::new(known.anchors),
            verified_size: known.size,
            verified_modified_millis: known.modified_millis,
        }
    }

    pub fn known(&self) -> KnownTail {
        KnownTail {
            tail: self.id,
            path: self.path.clone(),
            identity: self.identity.clone(),
            offset: self.position,
            anchors: self.ladder.anchors().to_vec(),
            size: self.size,
            modified_millis: self.modified_for_sure(),
            state: self.state,
        }
    }

    /// The modification time when the file was last known to be the tail's: a later one may be of
    /// another life, whose copy is older than that. Any content agrees with that of an empty file.
    fn modified_for_sure(&self) -> i64 {
        if let Some(listed) = self.listed_millis {
            return listed;
        }
        match self.was_empty || self.identity.head_length == 0 {
            true => self.known_modified_millis.unwrap_or(self.modified_millis),
            false => self.verified_modified_millis,
        }
    }

    /// As it was when the file was last known to be the tail's.
    pub fn known_for_sure(&self) -> KnownTail {
        KnownTail { size: self.verified_size.max(self.position), ..self.known() }
    }

    pub fn key(&self) -> FileKey {
        self.identity.key()
    }

    pub fn ladder(&self) -> &Ladder {
        &self.ladder
    }

    pub fn is_open(&self) -> bool {
        self.body.is_some()
    }

    pub fn body(&mut self) -> Option<&mut Body> {
        self.body.as_deref_mut()
    }

    pub fn close(&mut self) {
        self.body = None;
    }

    /// Whether only the open descriptor leads to the file.
    pub fn is_nameless(&self) -> bool {
        self.is_open() && (self.deleted || self.out_of_sight)
    }

    /// Whether something may have to be done about it before its file changes again.
    pub fn is_lively(&self) -> bool {
        let changed = self.known_modified_millis != Some(self.modified_millis);
        let hidden = self.absent || self.out_of_sight || self.listed_millis.is_some();
        self.is_open() || hidden || self.note_due || self.was_empty || changed
    }

    /// Whether nothing of it was read, in this process or in one before as far as that is stored.
    pub fn is_untouched(&self) -> bool {
        self.position == 0 && !self.announced
    }

    /// Whether its start position is safe on disk.
    pub fn may_be_read(&self) -> bool {
        self.awaiting.as_ref().is_none_or(Stored::is_set)
    }

    /// What of the disk only the open descriptor holds, while there is more to be read.
    pub fn held_space(&self) -> io::Result<Option<Space>> {
        let Some(Body::Plain(file)) = self.body.as_deref().filter(|_| self.deleted && self.unread() > 0)
        else {
            return Ok(None);
        };
        let (metadata, system) = (file.metadata()?, rustix::fs::fstatvfs(file)?);
        let capacity = system.f_blocks.saturating_mul(system.f_frsize);
        // A block is counted as 512 bytes, whatever the file system's are (stat(2)).
        Ok(Some(Space { device: metadata.dev(), bytes: metadata.blocks() * 512, capacity }))
    }

    /// Bytes that were there at the last look and are not read yet.
    pub fn unread(&self) -> u64 {
        self.size.saturating_sub(self.position)
    }

    /// Bytes that were there when the file was last known to be the tail's, and are not read.
    pub fn unread_for_sure(&self) -> u64 {
        self.verified_size.saturating_sub(self.position)
    }

    /// Opens the file at the tail's path and holds it against what is known. None if another
    /// file is at the path now.
    pub fn open(&mut self) -> io::Result<Option<Verdict>> {
        let (body, metadata) = Body::open(&self.path)?;
        if file_key(&metadata) != self.key() {
            return Ok(None);
        }
        self.hold(body, &metadata).map(Some)
    }

    fn hold(&mut self, mut body: Body, metadata: &Metadata) -> io::Result<Verdict> {
        let size = metadata.len();
        let verdict = verify(&mut body, &self.identity, &self.ladder)?;
        if verdict == Verdict::Same {
            self.body = Some(Box::new(body));
            (self.verified_size, self.verified_modified_millis) = (size, modified_millis(metadata));
            if self.ladder.newest().is_some_and(|anchor| anchor.offset != self.position) {
                self.begin_at(self.position)?;
            }
            let plain = matches!(self.body.as_deref(), Some(Body::Plain(_)));
            let head = self.identity.head_length;
            if plain && (head as usize) < HEAD_BYTES && size > u64::from(head) {
                // Its size is known by now, and no look will find it changed.
                self.grow_head()?;
            }
        }
        Ok(verdict)
    }

    /// Goes on with the open file of an earlier flow, if it holds what is known.
    pub fn take_over(&mut self, body: Body, now: Duration) -> io::Result<bool> {
        let Some(metadata) = body.metadata()? else { return Ok(false) };
        if self.hold(body, &metadata)? != Verdict::Same {
            self.close();
            return Ok(false);
        }
        self.look(now).map(|_| true)
    }

    /// The open file, if it is none that is unpacked from its beginning.
    pub fn into_body(self) -> Option<Body> {
        self.body.map(|body| *body).filter(|body| matches!(body, Body::Plain(_)))
    }

    /// Goes on in another body that holds the same bytes: the copy that rotation made.
    pub fn move_to(&mut self, key: FileKey, body: Body, size: u64, modified_millis: i64) {
        (self.identity.device, self.identity.inode) = key;
        self.state = TailState::Rotated;
        self.body = Some(Box::new(body));
        self.size = size;
        self.modified_millis = modified_millis;
        (self.verified_size, self.verified_modified_millis) = (size, modified_millis);
        (self.deleted, self.out_of_sight, self.absent) = (false, false, false);
        self.note_due = true;
    }

    /// Takes the open file of a new tail and begins at `start`.
    pub fn adopt(&mut self, body: Body, start: u64) -> io::Result<()> {
        self.body = Some(Box::new(body));
        self.begin_at(start)
    }

    /// Looks at the open file. Whether it changed since the last look.
    pub fn look(&mut self, now: Duration) -> io::Result<bool> {
        let Some(body) = self.body.as_deref_mut() else { return Ok(false) };
        let Some(metadata) = body.metadata()? else { return Ok(false) };
        self.deleted = metadata.nlink() == 0;
        let changed = self.update(metadata.len(), modified_millis(&metadata), now);
        let whole = self.identity.head_length as usize == HEAD_BYTES;
        if changed && !whole && self.size >= self.position && self.size > u64::from(self.identity.head_length)
        {
            self.grow_head()?;
        }
        Ok(changed)
    }

    /// Takes over a size and a time, from the folder or from the file.
    pub fn update(&mut self, size: u64, modified_millis: i64, now: Duration) -> bool {
        let changed = (size, modified_millis) != (self.size, self.modified_millis);
        if changed {
            self.was_empty |= self.identity.head_length == 0;
            if size <= self.size {
                // What was searched for a newline may have been written anew.
                self.searched = self.position;
            }
            (self.size, self.modified_millis) = (size, modified_millis);
            self.changed_at = now;
            self.note_due = true;
        }
        changed
    }

    /// The head covers more once there is more, but never bytes of another file.
    fn grow_head(&mut self) -> io::Result<()> {
        let key = self.identity.key();
        let Some(body) = self.body.as_deref_mut() else { return Ok(()) };
        if self.identity.head_agrees(body)? {
            self.identity = Identity::of(body, key)?;
            self.note_due = true;
        }
        Ok(())
    }

    /// The next chunk of complete lines; a line beyond `max_line` leaves in pieces.
    pub fn read(&mut self, max_line: usize, budget: &Arc<FlowBudget>) -> io::Result<Read> {
        let max_line = max_line.min(budget.largest().saturating_sub(Anchor::length(u64::MAX))).max(1);
        let Some(Available { bytes: available, to_the_end }) = self.available(max_line)? else {
            return Ok(Read::Foreign);
        };
        if available == 0 {
            // Somebody has looked here for a reason, and the time moves in steps of some milliseconds.
            return Ok(if self.verify_content()? { Read::CaughtUp } else { Read::Foreign });
        }
        let searched = (self.searched - self.position) as usize;
        if searched > 0 && !self.newline_ahead(available)? && self.searched - self.position < max_line as u64
        {
            return Ok(if self.verify_content()? { Read::CaughtUp } else { Read::Foreign });
        }
        // A line that does not fit into the first look gets a larger one.
        for quantum in [self.allowance.min(max_line), max_line] {
            let wanted = available.min(quantum);
            if self.searched >= self.position + wanted as u64 && quantum < max_line {
                continue;
            }
            let Some(fetched) = self.fetch(wanted, budget)? else { return Ok(Read::NoBudget) };
            let Some(fetched) = fetched else { return Ok(Read::Foreign) };
            if wanted >= max_line && self.is_reserved(&fetched.data[fetched.lead..])? {
                self.searched = self.position + wanted as u64;
                return Ok(Read::CaughtUp);
            }
            let all = to_the_end && wanted == available;
            if let Some(read) = self.cut(fetched, wanted >= max_line, all) {
                return Ok(read);
            }
            if wanted == available {
                break;
            }
        }
        Ok(Read::CaughtUp)
    }

    /// The unterminated rest of a file that is finished. Nothing if there is none.
    pub fn read_rest(&mut self, budget: &Arc<FlowBudget>) -> io::Result<Read> {
        let max_line = budget.largest().saturating_sub(Anchor::length(u64::MAX)).max(1);
        let Some(available) = self.available(max_line)? else { return Ok(Read::Foreign) };
        if available.bytes == 0 {
            return Ok(Read::CaughtUp);
        }
        let Some(fetched) = self.fetch(available.bytes, budget)? else { return Ok(Read::NoBudget) };
        let Some(fetched) = fetched else { return Ok(Read::Foreign) };
        if self.is_reserved(&fetched.data[fetched.lead..])? {
            return Ok(Read::CaughtUp);
        }
        Ok(self.emit(fetched, ChunkEnd::Unterminated, true))
    }

    /// Whether what stands behind the position is space that the writer reserved, for instance
    /// because it maps its file into memory: zeros, to the end of the file as far as its last
    /// bytes tell. Lines may be written there, or it is cut off.
    fn is_reserved(&mut self, ahead: &[u8]) -> io::Result<bool> {
        const SAMPLE: u64 = 4096;
        if ahead.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        let body = self.body.as_mut().expect("a tail is read while it is open");
        let Some(metadata) = body.metadata()? else { return Ok(false) };
        let last = body.bytes_at(metadata.size().saturating_sub(SAMPLE), SAMPLE as usize)?;
        Ok(last.iter().all(|byte| *byte == 0))
    }

    /// Bytes behind the position. None if the file is shorter.
    fn available(&mut self, wanted: usize) -> io::Result<Option<Available>> {
        let body = self.body.as_deref_mut().expect("a tail is read while it is open");
        body.available(self.position, wanted)
    }

    /// Whether the bytes before the position are still the tail's.
    pub fn verify_content(&mut self) -> io::Result<bool> {
        let body = self.body.as_deref_mut().expect("a tail is read while it is open");
        if u64::from(self.identity.head_length) > self.position && !self.identity.head_agrees(body)? {
            return Ok(false);
        }
        let Some(anchor) = self.ladder.newest() else {
            self.verified();
            return Ok(true);
        };
        let agrees = anchor_agrees(body, &anchor)?;
        if agrees {
            self.verified();
        }
        Ok(agrees)
    }

    fn verified(&mut self) {
        self.note_due |= self.verified_modified_millis != self.modified_millis;
        (self.verified_size, self.verified_modified_millis) = (self.size, self.modified_millis);
    }

    /// Searches what is new of a partial line, without holding on to it.
    fn newline_ahead(&mut self, available: usize) -> io::Result<bool> {
        let end = self.position + available as u64;
        let body = self.body.as_deref_mut().expect("a tail is read while it is open");
        while self.searched < end {
            let length = (end - self.searched).min(SEARCH_BYTES as u64) as usize;
            let bytes = body.bytes_at(self.searched, length)?;
            if bytes.is_empty() || memchr::memchr(b'\n', &bytes).is_some() {
                return Ok(!bytes.is_empty());
            }
            self.searched += bytes.len() as u64;
        }
        Ok(false)
    }

    /// Reads `wanted` bytes and the ones before them. The outer option is the budget's, the
    /// inner one is none if the file is not the tail's any more.
    fn fetch(&mut self, wanted: usize, budget: &Arc<FlowBudget>) -> io::Result<Option<Option<Fetched>>> {
        let lead = Anchor::length(self.position);
        let Some(permit) = budget.take(lead + wanted) else { return Ok(None) };
        let permit = permit.held_by(self.holding.as_ref());
        let mut data = Vec::with_capacity(lead + wanted);
        let body = self.body.as_deref_mut().expect("a tail is read while it is open");
        body.read_at(self.position - lead as u64, lead + wanted, &mut data)?;
        let agrees = data.len() == lead + wanted
            && self.ladder.newest().is_none_or(|anchor| Anchor::of(self.position, &data[..lead]) == anchor)
            && (self.position > 0 || self.identity.begins(&data, body)?);
        // A file that was cut and grew again while it was read gives a mixture of both.
        let still_there = body.available(self.position, wanted)?.is_some_and(|after| after.bytes == wanted);
        if agrees && still_there {
            self.verified();
        }
        Ok(Some((agrees && still_there).then_some(Fetched { lead, data, permit })))
    }

    /// The complete lines of what was fetched, or all of it where a line is longer than `full`
    /// allows. None if the line goes on behind it.
    fn cut(&mut self, mut fetched: Fetched, full: bool, all: bool) -> Option<Read> {
        let lead = fetched.lead;
        if let Some(newline) = memchr::memrchr(b'\n', &fetched.data[lead..]) {
            fetched.data.truncate(lead + newline + 1);
            return Some(self.emit(fetched, ChunkEnd::Line, all));
        }
        if full {
            // Bytes that are no text at all are cut anywhere.
            let end = match whole_characters(&fetched.data[lead..]) {
                0 => fetched.data.len(),
                whole => lead + whole,
            };
            let all = all && end == fetched.data.len();
            fetched.data.truncate(end);
            return Some(self.emit(fetched, ChunkEnd::MidLine, all));
        }
        self.searched = self.position + (fetched.data.len() - lead) as u64;
        None
    }

    fn emit(&mut self, fetched: Fetched, end: ChunkEnd, caught_up: bool) -> Read {
        let base = self.position - fetched.lead as u64;
        let start = self.position;
        self.position = base + fetched.data.len() as u64;
        self.searched = self.position;
        // The size of a compressed body shows only as it is read.
        self.size = self.size.max(self.position);
        self.ladder.push(Anchor::of(self.position, &fetched.data));
        let chunk = Chunk::new(self.id, base, fetched.permit.hold(fetched.data), start)
            .of_home(Some(self.home.clone()));
        Read::Chunk { chunk, end, caught_up }
    }

    /// Begins behind the last newline before `limit`: at the end of a file of which only what
    /// comes is wanted, so that a line that is being written is sent once it is complete.
    pub fn start_before(&mut self, limit: u64, max_line: usize) -> io::Result<()> {
        let body = self.body.as_deref_mut().expect("a tail is read while it is open");
        let mut from = limit;
        let mut start = 0;
        while from > 0 {
            let length = from.min(SEARCH_BYTES as u64) as usize;
            let bytes = body.bytes_at(from - length as u64, length)?;
            from -= length as u64;
            if let Some(newline) = memchr::memrchr(b'\n', &bytes) {
                start = from + newline as u64 + 1;
                break;
            }
            if limit - from > max_line as u64 {
                start = limit;
                break;
            }
        }
        self.begin_at(start)
    }

    /// Begins at `start` instead of at the first byte.
    pub fn begin_at(&mut self, start: u64) -> io::Result<()> {
        let body = self.body.as_deref_mut().expect("a tail is read while it is open");
        let length = Anchor::length(start);
        let before = body.bytes_at(start - length as u64, length)?;
        if before.len() < length {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file shrank while it was looked at",
            ));
        }
        self.ladder = Ladder::default();
        if start > 0 {
            self.ladder.push(Anchor::of(start, &before));
        }
        (self.start, self.position, self.searched) = (start, start, start);
        Ok(())
    }

    /// The same in another body, which may hold less than the head covers.
    pub fn begin_again_at(&mut self, start: u64) -> io::Result<()> {
        let key = self.key();
        let body = self.body.as_mut().expect("a tail is read while it is open");
        self.identity = Identity::of(body, key)?;
        self.begin_at(start)
    }

    /// Where the first byte is that somebody wrote: behind the hole that a writer without
    /// `O_APPEND` leaves when it goes on at its old offset after a truncation.
    pub fn first_written(&mut self) -> io::Result<u64> {
        let Some(Body::Plain(file)) = self.body.as_deref() else { return Ok(0) };
        let mut at = match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(0)) {
            Ok(0) | Err(_) => return Ok(0),
            Ok(at) => at,
        };
        // The first block that holds data is filled up with NULs.
        let body = self.body.as_deref_mut().expect("it is open");
        loop {
            let bytes = body.bytes_at(at, SEARCH_BYTES)?;
            match bytes.iter().position(|byte| *byte != 0) {
                Some(written) => return Ok(at + written as u64),
                None if bytes.is_empty() => return Ok(at),
                None => at += bytes.len() as u64,
            }
        }
    }
}

/// Bytes from the file, with the `lead` bytes before the position in front.
struct Fetched {
    lead: usize,
    data: Vec<u8>,
    permit: Permit,
}

#[cfg(test)]
mod tests {
    use super::super::budget::Budget;
    use super::*;
    use std::fs::{self, File};
    use std::io::Write;
    use std::path::PathBuf;

    struct Case {
        _folder: tempfile::TempDir,
        path: PathBuf,
        budget: Arc<FlowBudget>,
        tail: Tail,
    }

    fn case(content: &[u8]) -> Case {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        fs::write(&path, content).unwrap();
        let (mut body, metadata) = Body::open(&path).unwrap();
        let known = KnownTail {
            tail: TailId(1),
            path: path.as_path().into(),
            identity: Identity::of(&mut body, file_key(&metadata)).unwrap(),
            offset: 0,
            anchors: Vec::new(),
            size: 0,
            modified_millis: 0,
            state: TailState::Live,
        };
        let mut tail = Tail::new(known, path.as_path().into(), Duration::ZERO);
        assert_eq!(tail.open().unwrap(), Some(Verdict::Same));
        Case { _folder: folder, path, budget: Budget::new(64 << 20, 1).flow(), tail }
    }

    impl Case {
        fn append(&self, bytes: &[u8]) {
            File::options().append(true).open(&self.path).unwrap().write_all(bytes).unwrap();
        }

        fn read(&mut self, max_line: usize) -> Read {
            self.tail.look(Duration::ZERO).unwrap();
            self.tail.read(max_line, &self.budget).unwrap()
        }

        #[track_caller]
        fn expect(&mut self, bytes: &[u8], expected_end: ChunkEnd) {
            match self.read(1 << 20) {
                Read::Chunk { chunk, end, .. } => {
                    assert_eq!((chunk.bytes().as_ref(), end), (bytes, expected_end));
                }
                other => panic!("{other:?}"),
            }
        }

        #[track_caller]
        fn expect_nothing(&mut self) {
            assert!(matches!(self.read(1 << 20), Read::CaughtUp));
        }

        #[track_caller]
        fn expect_foreign(&mut self) {
            assert!(matches!(self.read(1 << 20), Read::Foreign));
        }
    }

    #[test]
    fn only_complete_lines_are_given_out() {
        let mut case = case(b"one\ntwo\nthr");
        case.expect(b"one\ntwo\n", ChunkEnd::Line);
        case.expect_nothing();
        case.append(b"e");
        case.expect_nothing();
        assert_eq!(case.budget.used(), 0);
        case.append(b"e\nfour");
        case.expect(b"three\n", ChunkEnd::Line);
        let Read::Chunk { chunk, end, .. } = case.tail.read_rest(&case.budget).unwrap() else { panic!() };
        assert_eq!((chunk.bytes().as_ref(), end), (&b"four"[..], ChunkEnd::Unterminated));
    }

    #[test]
    fn a_file_that_was_cut_before_anything_was_read_of_it_is_foreign() {
        let mut case = case(b"never read\n");
        fs::write(&case.path, "shorter\n").unwrap();
        case.expect_foreign();
    }

    #[test]
    fn a_long_line_leaves_in_pieces_cut_between_characters() {
        let mut case = case("ab\u{20ac}\u{20ac}\n".as_bytes());
        let mut pieces = Vec::new();
        while let Read::Chunk { chunk, end, .. } = case.read(4) {
            pieces.push((String::from_utf8(chunk.bytes().to_vec()).unwrap(), end));
        }
        let expected =
            [("ab", ChunkEnd::MidLine), ("\u{20ac}", ChunkEnd::MidLine), ("\u{20ac}\n", ChunkEnd::Line)];
        assert_eq!(pieces, expected.map(|(text, end)| (text.to_owned(), end)));
    }

    #[test]
    fn a_line_of_several_quanta_is_read_whole_when_it_is_complete() {
        let mut case = case(&[b'x'; 3 * QUANTUM_BYTES]);
        case.expect_nothing();
        case.append(b"\nrest");
        let line = [vec![b'x'; 3 * QUANTUM_BYTES], b"\n".to_vec()].concat();
        case.expect(&line, ChunkEnd::Line);
        case.expect_nothing();
    }

    #[test]
    fn bytes_that_are_not_text_do_not_stall_a_long_line() {
        let mut case = case(&[0x80; 100]);
        let Read::Chunk { chunk, .. } = case.read(10) else { panic!() };
        assert_eq!(chunk.span.len(), 10);
    }

    #[test]
    fn what_follows_a_line_as_long_as_a_chunk_may_be_is_announced() {
        let mut case = case(&[b'x'; 30]);
        for (more_to_come, length) in [(true, 10), (true, 10), (false, 10)] {
            let Read::Chunk { chunk, caught_up, .. } = case.read(10) else { panic!() };
            assert_eq!((chunk.span.len(), !caught_up), (length, more_to_come));
        }
    }

    #[test]
    fn a_truncated_file_is_foreign() {
        let mut case = case(b"one\ntwo\n");
        case.expect(b"one\ntwo\n", ChunkEnd::Line);
        fs::write(&case.path, b"").unwrap();
        case.expect_foreign();
    }

    #[test]
    fn a_file_that_grew_again_beyond_the_position_is_foreign() {
        let mut case = case(b"one\ntwo\n");
        case.expect(b"one\ntwo\n", ChunkEnd::Line);
        fs::write(&case.path, b"ONE\nTWO\nthree\n").unwrap();
        case.expect_foreign();
    }

    #[test]
    fn a_file_that_was_rewritten_to_the_same_size_is_foreign() {
        let mut case = case(b"one\ntwo\n");
        case.expect(b"one\ntwo\n", ChunkEnd::Line);
        case.expect_nothing();
        fs::write(&case.path, b"ONE\nTWO\n").unwrap();
        case.expect_foreign();
    }

    #[test]
    fn the_end_is_behind_the_last_complete_line() {
        for (content, start) in [(&b"one\ntwo"[..], 4), (b"one\n", 4), (b"", 0), (b"one", 0)] {
            let mut case = case(content);
            case.tail.look(Duration::ZERO).unwrap();
            case.tail.start_before(content.len() as u64, 1 << 20).unwrap();
            assert_eq!(case.tail.position, start);
        }
    }

    #[test]
    fn nothing_is_read_without_budget() {
        let mut case = case(b"one\n");
        let budget = Budget::new(4096, 1).flow();
        let held = budget.take(3000).unwrap();
        case.tail.look(Duration::ZERO).unwrap();
        let _second = budget.take(500).unwrap();
        assert!(matches!(case.tail.read(100, &budget).unwrap(), Read::NoBudget));
        drop(held);
        assert!(matches!(case.tail.read(100, &budget).unwrap(), Read::Chunk { .. }));
    }

    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// However a file grows and however long a line may be, the chunks follow each other,
        /// end where they say, and together are the file.
        #[test]
        fn the_chunks_are_the_file(
            appends in proptest::collection::vec("[a\n\u{20ac}]{0,12}", 1..12),
            max_line in 4..20usize,
        ) {
            let mut case = case(b"");
            let (mut written, mut read) = (Vec::new(), Vec::new());
            for append in appends {
                case.append(append.as_bytes());
                written.extend_from_slice(append.as_bytes());
                while let Read::Chunk { chunk, end, .. } = case.read(max_line) {
                    prop_assert_eq!(chunk.span.start, read.len() as u64);
                    prop_assert!(chunk.span.len() as usize <= max_line);
                    read.extend_from_slice(&chunk.bytes());
                    prop_assert_eq!(end == ChunkEnd::Line, read.ends_with(b"\n"));
                    prop_assert!(std::str::from_utf8(&read).is_ok(), "a character is torn");
                }
                let rest = &written[read.len()..];
                prop_assert!(rest.len() < max_line && !rest.contains(&b'\n'), "{rest:?} is held back");
            }
            let Ok(rest) = case.tail.read_rest(&case.budget) else { panic!() };
            if let Read::Chunk { chunk, .. } = rest {
                read.extend_from_slice(&chunk.bytes());
            }
            prop_assert_eq!(read, written);
        }
    }
}
