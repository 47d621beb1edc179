//! Which records the bytes of a file become: lines of every kind, events of several lines,
//! headers, and what is too long.

use std::fs;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use crate::support::scene::SOON;
use crate::support::{Destination, Flow, Repeats, Scene, eventually, happens_within, let_pass};

use Destination::{Firehose, Kinesis};

/// Waits until so many bytes are stored, and returns the records.
#[track_caller]
fn stored_bytes(scene: &Scene, bytes: usize) -> Vec<Bytes> {
    eventually("all bytes are delivered", SOON, || {
        scene.endpoint.assert_no_violations();
        let stored = scene.endpoint.stored();
        let sum: usize = stored.iter().map(Bytes::len).sum();
        if sum >= bytes { Ok(stored) } else { Err(format!("{sum} of {bytes} bytes")) }
    })
}

#[test]
fn an_unterminated_last_line_is_held_and_completed() {
    for destination in Destination::BOTH {
        let mut scene = Scene::new(destination, "app.log");
        scene.world.lines("app.log", 3);
        scene.world.append_partial("app.log", "the beginning");
        scene.start();
        scene.wait_for_all();
        let early = || scene.endpoint.stored_text().contains("beginning");
        assert!(!happens_within(Duration::from_millis(500), early));
        scene.world.append("app.log", " and the end\n");
        scene.delivers_everything_once();
    }
}

#[test]
fn an_unterminated_last_line_is_delivered_when_its_file_is_deleted() {
    for (destination, end) in [(Kinesis, "the rest"), (Firehose, "the rest\n")] {
        let finished_soon = |flow: Flow| flow.with("finishedAfterMillis", 500);
        let mut scene = Scene::with_flow(destination, "app.log", finished_soon);
        scene.start();
        scene.world.lines("app.log", 3);
        scene.world.append_partial("app.log", "the rest");
        scene.wait_for_all();
        scene.world.delete("app.log");
        scene.world.lines("app.log", 3);
        eventually("the rest is delivered", SOON, || {
            let text = scene.endpoint.stored_text();
            if text.contains("the rest") { Ok(()) } else { Err(text) }
        });
        let stored = scene.endpoint.stored();
        assert!(stored.iter().any(|data| data.ends_with(end.as_bytes())), "{stored:?}");
        scene.delivers_everything_once();
    }
}

#[test]
fn an_unterminated_last_line_is_delivered_thirty_seconds_after_its_file_was_rotated() {
    let mut scene = Scene::new(Kinesis, "app.log");
    scene.start();
    scene.world.lines("app.log", 3);
    scene.world.append_partial("app.log", "the rest");
    scene.wait_for_all();
    scene.world.rename("app.log", "app.log.1");
    scene.world.lines("app.log", 3);
    eventually("the rest is delivered", Duration::from_secs(45), || {
        let stored = scene.endpoint.stored();
        let found = stored.iter().any(|data| data.as_ref() == b"the rest");
        if found { Ok(()) } else { Err(format!("{} records", stored.len())) }
    });
    scene.delivers_everything_once();
}

#[test]
fn no_byte_of_a_line_is_altered() {
    for destination in Destination::BOTH {
        let mut scene = Scene::new(destination, "app.log");
        scene.world.append("app.log", b"dos\r\n\nafter an empty line\n\x00nul\x00\n \t \n");
        scene.world.append("app.log", b"invalid \xff\xfe\xc3\x28 utf-8\n\xef\xbb\xbfmark\nlone \r in it\n");
        scene
            .world
            .append("app.log", (0..=255).map(|b| if b == b'\n' { b'!' } else { b }).collect::<Vec<u8>>());
        scene.world.append("app.log", "\n");
        scene.start();
        scene.delivers_everything_once();
    }
}

#[test]
fn a_line_that_is_written_byte_by_byte_is_one_record() {
    let mut scene = Scene::new(Kinesis, "app.log");
    scene.start();
    for byte in b"slowly but surely\n" {
        scene.world.append("app.log", [*byte]);
        let_pass(Duration::from_millis(10));
    }
    scene.delivers_everything_once();
}

#[test]
fn lines_at_the_size_limits_are_one_record_each() {
    for (destination, length) in [(Kinesis, 1_048_000), (Firehose, 1_024_000)] {
        let mut scene = Scene::new(destination, "app.log");
        scene.world.long_lines("app.log", 12, length);
        scene.world.lines("app.log", 10);
        scene.start();
        scene.delivers_everything_once();
    }
}

/// 2.6 MB without a newline, in which every 17 bytes are different, with characters of one to
/// four bytes.
fn huge_line() -> String {
    let mut line: String = (0..156_250).map(|n| format!("{n:07}aé€😀")).collect();
    line.push('\n');
    line
}

/// Checks that the pieces are the content, cut between two characters.
#[track_caller]
fn assert_tile(content: &[u8], pieces: &[Bytes]) {
    let find = |piece: &Bytes| memchr::memmem::find(content, piece).expect("a piece of the content");
    let mut places: Vec<_> = pieces.iter().map(|piece| (find(piece), piece.len())).collect();
    places.sort_unstable();
    let end = places.iter().fold(0, |end, &(start, length)| {
        assert_eq!(start, end, "the pieces overlap, or something is missing");
        start + length
    });
    assert_eq!(end, content.len());
    let whole = |piece: &Bytes| std::str::from_utf8(piece).is_ok();
    assert!(pieces.iter().all(whole), "a character was cut");
}

#[test]
fn a_huge_line_is_split_between_two_characters() {
    for destination in Destination::BOTH {
        let mut scene = Scene::new(destination, "app.log");
        let content = format!("before\n{}after\n", huge_line());
        scene.world.append_unseen("app.log", &content);
        scene.start();
        let stored = stored_bytes(&scene, content.len());
        assert!(stored.len() >= 3, "{} records", stored.len());
        assert_tile(content.as_bytes(), &stored);
    }
}

#[test]
fn a_huge_line_is_truncated_with_the_terminator_if_the_flow_says_so() {
    for (destination, limit) in [(Kinesis, 1024 * 1024), (Firehose, 1_024_000)] {
        let truncate = |flow: Flow| {
            flow.with("oversizedRecords", "truncate").with("truncatedRecordTerminator", "[cut]\n")
        };
        let mut scene = Scene::with_flow(destination, "app.log", truncate);
        let line = huge_line();
        scene.world.append_unseen("app.log", &line);
        scene.world.append_unseen("app.log", "after\n");
        scene.start();
        let stored = eventually("the next line is delivered", SOON, || {
            let all = scene.endpoint.stored().concat();
            if all.ends_with(b"after\n") { Ok(all) } else { Err(format!("{} bytes", all.len())) }
        });
        let cut = stored.strip_suffix(b"[cut]\nafter\n").expect("the terminator and the next line");
        assert!(line.as_bytes().starts_with(cut));
        assert!(std::str::from_utf8(cut).is_ok(), "a character was cut");
        assert!(cut.len() + 6 > limit - 300, "{} bytes are far from the limit", cut.len());
    }
}

/// The lines of the dead-letter file.
pub fn dead_letters(scene: &Scene) -> Vec<Value> {
    let text = match fs::read_to_string(scene.world.dead_letter_file()) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read.unwrap(),
    };
    text.lines().map(|line| serde_json::from_str(line).expect("a dead letter is JSON")).collect()
}

/// The bytes of a dead letter.
pub fn dead_data(letter: &Value) -> Vec<u8> {
    let data = letter["data"].as_str().unwrap_or_else(|| panic!("no data in {letter}"));
    aws_smithy_types::base64::decode(data).expect("the data is base64")
}

#[test]
fn a_huge_line_goes_to_the_dead_letter_file_if_the_flow_says_so() {
    for destination in Destination::BOTH {
        let dead = |flow: Flow| flow.with("oversizedRecords", "deadLetter");
        let mut scene = Scene::with_flow(destination, "app.log", dead);
        scene.world.lines("app.log", 5);
        scene.world.append_unseen("app.log", huge_line());
        scene.world.lines("app.log", 5);
        scene.start();
        scene.delivers_everything_once();
        let mut letters = dead_letters(&scene);
        letters.sort_by_key(|letter| letter["offset"].as_u64());
        assert_eq!(letters.iter().flat_map(dead_data).collect::<Vec<_>>(), huge_line().as_bytes());
        let file = letters[0]["file"].as_str().expect("the file is named");
        assert!(file.ends_with("/logs/app.log"), "{file}");
        assert_eq!(letters[0]["offset"], 300);
        for key in ["time", "flow", "reason"] {
            assert!(letters[0].get(key).is_some(), "{key} is missing in {}", letters[0]);
        }
    }
}

#[test]
fn a_line_that_never_ends_does_not_stop_other_files() {
    let mut scene = Scene::new(Kinesis, "*.log");
    scene.set("memoryBudget", "8MiB");
    let piece = [b'x'; 64 * 1024];
    scene.start();
    for _ in 0..300 {
        scene.world.append_unseen("endless.log", piece);
    }
    scene.world.lines("good.log", 100);
    eventually("the other file is delivered", SOON, || {
        match scene.oracle.missing(&scene.world, &scene.endpoint) {
            0 => Ok(()),
            missing => Err(format!("{missing} lines are missing")),
        }
    });
}

fn multi_line(flow: Flow) -> Flow {
    flow.with("multiLineStartPattern", r"^\d{4}-").with("multiLineFlushMillis", 500)
}

const EVENTS: [&str; 4] = [
    "before the first match\n",
    "2026-01-01 one line\n",
    "2026-01-02 boom\n  at a\n  at b\ncaused by: c\n",
    "2026-01-03 last\n  at d\n",
];

#[test]
fn lines_up_to_the_next_start_are_one_record() {
    for destination in Destination::BOTH {
        let mut scene = Scene::with_flow(destination, "app.log", multi_line);
        scene.world.append_unseen("app.log", EVENTS.concat());
        scene.start();
        let mut stored = stored_bytes(&scene, EVENTS.concat().len());
        stored.sort();
        let mut expected = EVENTS;
        expected.sort_unstable();
        assert_eq!(stored, expected);
    }
}

#[test]
fn an_event_that_is_written_in_two_flushes_is_one_record() {
    let mut scene =
        Scene::with_flow(Kinesis, "app.log", |flow| multi_line(flow).with("multiLineFlushMillis", 3000));
    scene.start();
    scene.world.append_unseen("app.log", "2026-01-01 boom\n  at a\n");
    let_pass(Duration::from_millis(700));
    scene.world.append_unseen("app.log", "  at b\n2026-01-02 next\n");
    let events = ["2026-01-01 boom\n  at a\n  at b\n", "2026-01-02 next\n"];
    assert_eq!(stored_bytes(&scene, events.concat().len()), events);
}

#[test]
fn an_event_that_is_not_complete_survives_kill_9() {
    let mut scene =
        Scene::with_flow(Kinesis, "app.log", |flow| multi_line(flow).with("multiLineFlushMillis", 5000));
    scene.start();
    scene.world.append_unseen("app.log", "2026-01-01 first\n2026-01-02 boom\n  at a\n");
    stored_bytes(&scene, 17);
    scene.kill9();
    scene.world.append_unseen("app.log", "  at b\n2026-01-03 next\n");
    scene.start();
    eventually("the whole event is delivered", SOON, || {
        let stored = scene.endpoint.stored();
        let whole = stored.iter().any(|data| data.as_ref() == b"2026-01-02 boom\n  at a\n  at b\n");
        if whole { Ok(()) } else { Err(format!("{stored:?}")) }
    });
}

#[test]
fn the_header_of_each_file_is_left_out() {
    let mut scene = Scene::with_flow(Kinesis, "app.log", |flow| flow.with("skipHeaderLines", 2));
    scene.start();
    scene.world.append_unseen("app.log", "header 1\n");
    let_pass(Duration::from_millis(300));
    scene.world.append_unseen("app.log", "header 2\n");
    scene.world.lines("app.log", 10);
    scene.wait_for_all();
    scene.world.rename("app.log", "app.log.1");
    scene.world.append_unseen("app.log", "header 3\nheader 4\n");
    scene.world.lines("app.log", 10);
    scene.wait_for_all();
    scene.restart();
    scene.world.lines("app.log", 10);
    scene.delivers_everything(Repeats::None);
}
