//! What may stand in a file, what a file may be called, and what may take its place.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;

use crate::support::scene::{SOON, with_and_without_events};
use crate::support::{Destination, Flow, Repeats, Scene, World, eventually, let_pass};

use Destination::{Firehose, Kinesis};

const MIB: usize = 1024 * 1024;

/// `a\xffb.log` and the like: the scripts' own names are text, so the file is renamed.
fn rename_to_bytes(world: &World, from: &str, to: &[u8]) {
    fs::rename(world.path(from), world.path("").join(OsString::from_vec(to.to_vec()))).unwrap();
}

#[test]
fn names_that_are_not_utf8_are_names() {
    with_and_without_events(|events| {
        let mut scene = Scene::new(Kinesis, "*.log");
        scene.set("useFileEvents", events);
        for (n, name) in [&b"a\xff.log"[..], b"a\xfe.log", b"\n.log", b"-rf ~.log", b"\xe2\x82.log"]
            .into_iter()
            .enumerate()
        {
            scene.world.lines(&format!("{n}.txt"), 20);
            rename_to_bytes(&scene.world, &format!("{n}.txt"), name);
        }
        scene.start();
        scene.wait_for_all();
        scene.stop();
        let path = scene.world.path("").join(OsString::from_vec(b"a\xff.log".to_vec()));
        append_to(&scene.world, "more.txt", &path, 20);
        fs::rename(&path, scene.world.path("").join(OsString::from_vec(b"a\xff.log.1".to_vec()))).unwrap();
        append_to(&scene.world, "new.txt", &path, 20);
        scene.start();
        scene.delivers_everything_once();
    });
}

/// Lines that the world knows of, in a file whose name it cannot say.
fn append_to(world: &World, known_as: &str, path: &Path, n: usize) {
    world.lines(known_as, n);
    let text = fs::read(world.path(known_as)).unwrap();
    File::options().append(true).create(true).open(path).unwrap().write_all(&text).unwrap();
}

#[test]
fn a_file_of_the_size_that_is_read_at_a_time_and_one_byte_less_or_more_is_whole() {
    const QUANTUM: usize = 256 * 1024;
    for destination in Destination::BOTH {
        let mut scene = Scene::new(destination, "*.log");
        for size in [QUANTUM - 1, QUANTUM, QUANTUM + 1, QUANTUM - 256, QUANTUM + 256, 2 * QUANTUM] {
            scene.world.long_lines(&format!("one-{size}.log"), 1, size);
            scene.world.long_lines(&format!("two-{size}.log"), 2, size);
            scene.world.long_lines(&format!("many-{size}.log"), 64, 4096);
            scene.world.long_lines(&format!("many-{size}.log"), 1, 100 + size % 4096);
        }
        scene.start();
        scene.wait_for_all();
        for size in [QUANTUM - 1, QUANTUM, QUANTUM + 1] {
            scene.world.long_lines(&format!("one-{size}.log"), 1, size);
        }
        scene.delivers_everything_once();
    }
}

/// Also where the carriage return is read before the newline is written.
#[test]
fn the_line_ends_of_dos_are_kept() {
    with_and_without_events(|events| {
        let mut scene = Scene::new(Kinesis, "app.log");
        scene.set("useFileEvents", events);
        scene.world.append("app.log", "one\r\ntwo\r\n\r\n");
        scene.start();
        scene.wait_for_all();
        for n in 0..5 {
            scene.world.append("app.log", format!("line {n}\r"));
            let_pass(std::time::Duration::from_millis(150));
            scene.world.append("app.log", "\n");
        }
        scene.delivers_everything_once();
    });
}

#[test]
fn a_line_of_a_hundred_megabytes_is_delivered_in_pieces_and_in_little_memory() {
    let mut scene = Scene::new(Kinesis, "*.log");
    scene.set("memoryBudget", "32MiB");
    scene.world.lines("huge.log", 5);
    let mut sum = 0;
    for n in 0..100 {
        let piece = vec![b'a' + (n % 26) as u8; MIB];
        scene.world.append_unseen("huge.log", &piece);
        sum += piece.len();
    }
    scene.world.append_unseen("huge.log", "\n");
    scene.world.lines("other.log", 5);
    scene.start();
    let mut most = 0;
    let stored = eventually("all of the line is delivered", 3 * SOON, || {
        most = most.max(scene.agent().rss_bytes());
        let length = scene.endpoint.look_at_calls(0, |calls| {
            let records = calls.iter().flat_map(|call| &call.records).filter(|record| record.stored);
            records.map(|record| record.data.len()).filter(|length| *length > 1000).sum::<usize>()
        });
        if length > sum { Ok(length) } else { Err(format!("{length} of {sum} bytes")) }
    });
    assert_eq!(stored, sum + 1);
    assert!(most < 160 * MIB as u64, "{} MiB", most / MIB as u64);
    scene.world.lines("huge.log", 5);
    scene.wait_for_all();
    let stored = scene.endpoint.stored();
    let pieces = stored.iter().filter(|data| data.len() > 1000);
    let letters: usize =
        pieces.map(|data| data.iter().filter(|byte| byte.is_ascii_lowercase()).count()).sum();
    assert_eq!(letters, sum, "not a byte comes twice or is missing");
}

/// A writer that does not append goes on at its old place after a truncation: what it leaves out
/// is a hole, as may be what a power cut left. Single zeros are bytes like any others.
#[test]
fn holes_are_left_out_and_single_zeros_are_not() {
    with_and_without_events(|events| {
        let mut scene = Scene::new(Kinesis, "*.log");
        scene.set("useFileEvents", events);
        scene.start();
        let file = File::create(scene.world.path("hole.log")).unwrap();
        scene.world.lines("lines.txt", 20);
        let text = fs::read(scene.world.path("lines.txt")).unwrap();
        file.write_all_at(&text, 40 * MIB as u64).unwrap();
        scene.wait_for_all();
        scene.world.append("zeros.log", [&b"before \0\0\0 and after\n"[..], &[0; 100], b"\n\0\n"].concat());
        scene.wait_for_all();
        scene.world.lines("more.txt", 20);
        let text = fs::read(scene.world.path("more.txt")).unwrap();
        file.write_all_at(&text, 41 * MIB as u64).unwrap();
        scene.delivers_everything_once();
    });
}

/// A file that was made as large as it may get before anything is written to it, as writers that
/// map their file into memory do, and which is cut to its content in the end.
#[test]
fn the_space_that_a_writer_reserved_is_not_sent() {
    with_and_without_events(|events| {
        for reserved in [100_000, 8 * MIB as u64] {
            let mut scene = Scene::new(Kinesis, "*.log");
            scene.set("useFileEvents", events);
            scene.start();
            let file = File::create(scene.world.path("mapped.log")).unwrap();
            file.set_len(reserved).unwrap();
            let mut end = 0;
            for n in 0..8 {
                let name = format!("{n}.txt");
                scene.world.lines(&name, 1 + n % 3);
                let text = fs::read(scene.world.path(&name)).unwrap();
                file.write_all_at(&text, end).unwrap();
                end += text.len() as u64;
                scene.wait_for_all();
            }
            file.set_len(end).unwrap();
            scene.world.lines("other.log", 20);
            scene.delivers_everything_once();
        }
    });
}

#[test]
fn a_file_that_a_folder_a_pipe_or_a_socket_takes_the_place_of_and_back_loses_nothing() {
    with_and_without_events(|events| {
        let mut scene = Scene::new(Kinesis, "*.log");
        scene.set("useFileEvents", events);
        scene.start();
        let path = scene.world.path("app.log");
        let others: [fn(&Path); 4] = [
            |path| fs::create_dir(path).unwrap(),
            |path| {
                fs::create_dir(path).unwrap();
                fs::write(path.join("inner.log"), "nobody asked for this\n").unwrap();
            },
            |path| drop(UnixListener::bind(path).unwrap()),
            |path| {
                let fifo = rustix::fs::FileType::Fifo;
                rustix::fs::mknodat(rustix::fs::CWD, path, fifo, 0o600.into(), 0).unwrap();
            },
        ];
        for (n, make) in others.iter().enumerate() {
            scene.world.lines("app.log", 20);
            scene.wait_for_all();
            if n % 2 == 0 {
                scene.world.delete("app.log");
            } else {
                scene.world.rename("app.log", &format!("app.log.{n}"));
            }
            make(&path);
            scene.world.lines("other.log", 5);
            scene.wait_for_all();
            match path.is_dir() {
                true => fs::remove_dir_all(&path).unwrap(),
                false => fs::remove_file(&path).unwrap(),
            }
        }
        scene.world.lines("app.log", 20);
        scene.delivers_everything_once();
    });
}

/// They are known from the beginning, and lose nothing when they are rotated or removed.
#[test]
fn files_of_no_bytes_come_and_go() {
    with_and_without_events(|events| {
        let finished_soon = |flow: Flow| flow.with("finishedAfterMillis", 300);
        let mut scene = Scene::with_flow(Firehose, "*.log*", finished_soon);
        scene.set("useFileEvents", events);
        for n in 0..20 {
            scene.world.append(&format!("{n}.log"), "");
        }
        scene.start();
        scene.world.lines("0.log", 5);
        scene.wait_for_all();
        for n in 1..10 {
            scene.world.rename(&format!("{n}.log"), &format!("{n}.log.1"));
            scene.world.append(&format!("{n}.log"), "");
        }
        for n in 10..15 {
            scene.world.delete(&format!("{n}.log"));
            scene.world.append(&format!("{n}.log"), "");
        }
        scene.world.lines("0.log", 5);
        scene.wait_for_all();
        scene.restart();
        for n in 0..20 {
            scene.world.lines(&format!("{n}.log"), 3);
        }
        for n in 1..10 {
            scene.world.lines(&format!("{n}.log.1"), 3);
        }
        scene.delivers_everything(Repeats::None);
    });
}
