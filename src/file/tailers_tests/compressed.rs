//! What was compressed: rests, generations and copies in `.gz` and `.zst`.

use super::*;

#[test]
fn what_was_compressed_while_it_was_read_is_not_read_again_when_it_is_let_go() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.append("app.log", "2\n");
    flow.rename("app.log", "app.log.1");
    flow.gzip("app.log.1", "app.log.1.gz");
    let later = std::time::SystemTime::now() + Duration::from_secs(10);
    File::open(flow.path("app.log.1.gz")).unwrap().set_modified(later).unwrap();
    flow.look();
    flow.tailers.finish_deleted(flow.now, &flow.budget);
    flow.pass(31);
    flow.pass(1);
    flow.expect(&["1", "2"]);
    flow.restart(|flow| flow.rename("app.log.1.gz", "app.log.2.gz"));
    flow.pass(31);
    flow.expect(&[]);
}

#[test]
fn a_rest_that_is_moved_or_compressed_during_a_look_is_found_at_the_next() {
    for stopped in [false, true] {
        for packed in [false, true] {
            let mut flow = Flow::new("app.log");
            flow.append("app.log", "1\n");
            flow.look();
            flow.append("app.log", "2\n");
            let rotate = |flow: &Flow| {
                flow.copy("app.log", "app.log.1");
                fs::remove_file(flow.path("app.log")).unwrap();
            };
            if stopped {
                flow.stop_after(0);
                rotate(&flow);
                flow.start();
            } else {
                flow.copy("app.log", "app.log.1");
                flow.truncate("app.log");
            }
            let listing = flow.tailers.list();
            match packed {
                true => flow.gzip("app.log.1", "app.log.1.gz"),
                false => flow.rename("app.log.1", "app.log.2"),
            }
            flow.tailers.act_on(listing, flow.now, 0);
            flow.append("app.log", "3\n");
            flow.look();
            flow.expect(&["1", "2", "3"]);
            assert_eq!(flow.lost, 0);
        }
    }
}

#[test]
fn a_deleted_file_is_let_go_only_after_a_look_for_its_compression() {
    let mut flow = Flow::new("app.log*");
    flow.append("app.log.1", "1\n");
    flow.append("app.log", "2\n");
    flow.look();
    flow.gzip("app.log.1", "app.log.1.gz");
    let later = std::time::SystemTime::now() + Duration::from_secs(10);
    File::open(flow.path("app.log.1.gz")).unwrap().set_modified(later).unwrap();
    flow.now += Duration::from_secs(31);
    flow.tailers.tend(flow.now, &flow.budget);
    flow.append("app.log", "3\n");
    flow.look();
    flow.pass(31);
    flow.lines.sort();
    flow.expect(&["1", "2", "3"]);
}

#[test]
fn a_compressed_rest_that_was_read_and_not_settled_is_read_again() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.restart(|flow| {
        flow.append("app.log", "2\n");
        flow.gzip("app.log", "app.log.1.gz");
    });
    flow.pass(31);
    flow.expect(&["1", "2"]);
    let row = flow.rows.values_mut().next().unwrap();
    assert_eq!((row.state, row.size), (TailState::Finished, 4));
    (row.offset, row.anchors) = (0, Vec::new());
    flow.offsets.clear();
    flow.start();
    flow.look();
    flow.expect(&["1", "2"]);
}

#[test]
fn a_rotated_file_that_a_link_led_to_is_found_compressed_after_a_restart() {
    let mut flow = Flow::new("now.log");
    flow.append("app.txt", "1\n");
    std::os::unix::fs::symlink("app.txt", flow.path("now.log")).unwrap();
    flow.look();
    flow.append("app.txt", "2\n");
    flow.rename("app.txt", "app.txt.1");
    flow.append("app.txt", "3\n");
    flow.tailers.scan(flow.now, 0);
    flow.stop_after(0);
    flow.gzip("app.txt.1", "app.txt.2.gz");
    flow.rename("app.txt", "app.txt.1");
    flow.append("app.txt", "4\n");
    flow.start();
    flow.look();
    flow.lines.sort();
    flow.expect(&["1", "2", "3", "4"]);
    assert_eq!(flow.lost, 0);
}

#[test]
fn what_was_written_to_a_replaced_file_before_it_was_compressed_is_read() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    fs::copy(flow.path("app.log"), flow.path("new")).unwrap();
    flow.rename("new", "app.log");
    flow.append("app.log", "2\n");
    flow.gzip("app.log", "app.log.1.gz");
    let later = std::time::SystemTime::now() + Duration::from_secs(10);
    File::open(flow.path("app.log.1.gz")).unwrap().set_modified(later).unwrap();
    flow.look();
    flow.pass(31);
    flow.pass(31);
    flow.expect(&["1", "2"]);
}

#[test]
fn a_file_that_was_first_seen_under_a_rotated_name_is_found_compressed_under_another() {
    let mut flow = Flow::new("app.log*");
    flow.append("app.log.1", "1\n");
    flow.append("app.log", "2\n");
    flow.look();
    flow.restart(|flow| {
        flow.append("app.log.1", "3\n");
        flow.gzip("app.log.1", "app.log.2.gz");
        flow.rename("app.log", "app.log.1");
        flow.append("app.log", "4\n");
    });
    flow.lines.sort();
    flow.expect(&["1", "2", "3", "4"]);
    assert_eq!(flow.lost, 0);
}

#[test]
fn a_file_that_is_compressed_just_before_a_stop_is_not_read_again() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.rename("app.log", "app.log.1");
    flow.gzip("app.log.1", "app.log.1.gz");
    let later = std::time::SystemTime::now() + Duration::from_secs(10);
    File::open(flow.path("app.log.1.gz")).unwrap().set_modified(later).unwrap();
    flow.tailers.look_at_the_nameless(flow.now);
    flow.tailers.finish_deleted(flow.now, &flow.budget);
    flow.restart(|flow| flow.append("app.log", "2\n"));
    flow.pass(31);
    flow.expect(&["1", "2"]);
}

#[test]
fn copytruncate_with_compression_between_two_looks() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.append("app.log", "2\n");
    flow.copy("app.log", "app.log.1");
    flow.truncate("app.log");
    flow.gzip("app.log.1", "app.log.1.gz");
    flow.append("app.log", "3 and more\n");
    flow.look();
    flow.pass(60);
    flow.restart(|_| {});
    flow.lines.sort();
    flow.expect(&["1", "2", "3 and more"]);
}

#[test]
fn a_generation_between_two_looks_is_read_also_outside_the_pattern_and_compressed() {
    for compress in [false, true] {
        let mut flow = Flow::new("app.log");
        flow.append("app.log", "1\n");
        flow.look();
        flow.append("app.log", "2\n");
        flow.rename("app.log", "app.log.2");
        let later = std::time::SystemTime::now() + Duration::from_secs(2);
        flow.append("app.log", "3\n");
        File::options().write(true).open(flow.path("app.log")).unwrap().set_modified(later).unwrap();
        flow.rename("app.log", "app.log.1");
        if compress {
            flow.gzip("app.log.1", "app.log.1.gz");
            File::options().write(true).open(flow.path("app.log.1.gz")).unwrap().set_modified(later).unwrap();
        }
        flow.append("app.log", "4\n");
        flow.look();
        flow.pass(60);
        flow.restart(|_| {});
        flow.lines.sort();
        flow.expect(&["1", "2", "3", "4"]);
    }
}

#[test]
fn older_siblings_outside_the_pattern_are_left_alone_and_so_is_their_compression() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log.1", "ancient\n");
    let old = std::time::SystemTime::now() - Duration::from_secs(1);
    File::options().append(true).open(flow.path("app.log.1")).unwrap().set_modified(old).unwrap();
    flow.append("app.log", "1\n");
    flow.look();
    flow.gzip("app.log.1", "app.log.2.gz");
    File::options().write(true).open(flow.path("app.log.2.gz")).unwrap().set_modified(old).unwrap();
    flow.rename("app.log", "app.log.1");
    flow.append("app.log", "2\n");
    flow.look();
    flow.expect(&["1", "2"]);
}

#[test]
fn a_file_compressed_or_moved_while_stopped_is_found_by_its_content() {
    for (name, folder) in [("app.log.1.gz", None), ("app.log.1", Some("old"))] {
        let mut flow = Flow::new("app.log");
        flow.append("app.log", "1\n");
        flow.look();
        flow.restart(|flow| {
            flow.append("app.log", "2\n");
            flow.rename("app.log", "app.log.1");
            match folder {
                None => flow.gzip("app.log.1", name),
                Some(folder) => {
                    fs::create_dir(flow.path(folder)).unwrap();
                    flow.copy("app.log.1", &format!("{folder}/{name}"));
                    fs::remove_file(flow.path("app.log.1")).unwrap();
                }
            }
            flow.append("app.log", "3\n");
        });
        flow.lines.sort();
        flow.expect(&["1", "2", "3"]);
        assert_eq!(flow.lost, 0);
    }
}

#[test]
fn several_compressed_generations_while_stopped_are_read_one_at_a_time_and_oldest_first() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "first\n");
    flow.look();
    let lines: Vec<String> = (0..300_000).map(|n| format!("{n:07}")).collect();
    let mut generations = lines.chunks(100_000);
    flow.stop_after(0);
    for number in [3, 2, 1] {
        flow.append("app.log", &(generations.next().unwrap().join("\n") + "\n"));
        let name = format!("app.log.{number}");
        flow.rename("app.log", &name);
        flow.gzip(&name, &format!("{name}.gz"));
        // Generations have times of their own.
        let time = std::time::SystemTime::now() + Duration::from_secs(4 - number);
        File::options()
            .write(true)
            .open(flow.path(&format!("{name}.gz")))
            .unwrap()
            .set_modified(time)
            .unwrap();
    }
    flow.start();
    flow.tailers.scan(flow.now, 0);
    let mut at_once = 0;
    while flow.tailers.turn(flow.now, &flow.budget) == Turn::Progress {
        at_once = at_once.max(flow.tailers.tails().filter(|tail| tail.is_open()).count());
        flow.collect();
    }
    flow.look();
    assert_eq!(at_once, 1, "each decoder costs memory");
    assert_eq!(flow.lines[0], "first");
    assert!(flow.lines[1..] == lines, "{} lines, in another order", flow.lines.len());
}

#[test]
fn compressed_generations_are_read_also_where_no_more_files_may_stay_open() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "first\n");
    flow.look();
    flow.stop_after(0);
    for number in [3, 2] {
        let name = format!("app.log.{number}");
        flow.append(&name, &format!("{number}\n"));
        flow.gzip(&name, &format!("{name}.gz"));
    }
    flow.rename("app.log", "app.log.4");
    flow.gzip("app.log.4", "app.log.4.gz");
    flow.start();
    flow.tailers.max_open.store(0, Ordering::Relaxed);
    flow.look();
    flow.look();
    flow.lines.sort();
    flow.expect(&["2", "3", "first"]);
}

#[test]
fn what_a_stale_copy_lacks_is_read_from_the_compression() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.tailers.scan(flow.now, 0);
    flow.tailers.tend(flow.now + Duration::from_secs(61), &flow.budget);
    flow.copy("app.log", "app.log.102");
    flow.append("app.log", "2\n");
    flow.copy("app.log", "app.log.1");
    flow.truncate("app.log");
    flow.gzip("app.log.1", "app.log.1.gz");
    flow.look();
    flow.pass(60);
    flow.expect(&["1", "2"]);
}

#[test]
fn a_compressed_rest_that_cannot_be_read_yet_is_waited_for() {
    for mended in [true, false] {
        let mut flow = Flow::new("app.log");
        flow.append("app.log", "1\n");
        flow.look();
        flow.append("app.log", "2\n");
        flow.tailers.scan(flow.now, 0);
        flow.stop_after(0);
        flow.gzip("app.log", "whole");
        let whole = fs::read(flow.path("whole")).unwrap();
        fs::write(flow.path("app.log.1.gz"), &whole[..5]).unwrap();
        flow.start();
        flow.pass(300);
        flow.expect(&["1"]);
        assert_eq!(flow.lost, 0, "it may still be being compressed");
        if mended {
            flow.rename("whole", "app.log.1.gz");
        }
        flow.pass(600);
        match mended {
            true => flow.expect(&["2"]),
            false => assert_eq!((flow.lost, &flow.reasons[..]), (2, &[LossReason::Removed][..])),
        }
    }
}

#[test]
fn a_compressed_rest_is_gone_on_with_after_another_restart() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "first\n");
    flow.look();
    let lines: Vec<String> = (0..100_000).map(|n| format!("{n:07}")).collect();
    flow.append("app.log", &(lines.join("\n") + "\n"));
    flow.stop_after(0);
    flow.rename("app.log", "app.log.1");
    flow.gzip("app.log.1", "app.log.1.gz");
    flow.start();
    flow.stop_after(1);
    assert!(flow.lines.len() > 1 && flow.lines.len() < 100_000);
    flow.start();
    flow.look();
    flow.restart(|_| {});
    assert_eq!(flow.lines[1..], lines);
}

#[test]
fn what_cannot_be_unpacked_is_never_taken_for_lines() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    fs::write(flow.path("app.log.1.xz"), "compressed\n").unwrap();
    let later = std::time::SystemTime::now() + Duration::from_secs(5);
    File::options().write(true).open(flow.path("app.log.1.xz")).unwrap().set_modified(later).unwrap();
    flow.look();
    flow.expect(&["1"]);
}

#[test]
fn a_generation_that_is_compressed_while_it_is_looked_at_is_read_also_after_a_crash() {
    for pattern in ["app.log", "app.log*"] {
        for stopped in [false, true] {
            let mut flow = Flow::new(pattern);
            flow.append("app.log", "1\n");
            flow.look();
            if stopped {
                flow.settle();
                flow.start();
            }
            flow.rename("app.log", "app.log.1");
            flow.append("app.log", "2\n");
            flow.rename("app.log", "app.log.2");
            flow.append("app.log", "3\n");
            let listing = flow.tailers.list();
            flow.gzip("app.log.2", "app.log.2.gz");
            act_and_crash(&mut flow, listing);
            flow.lines.sort();
            flow.expect(&["1", "2", "3"]);
        }
    }
}

#[test]
fn a_file_that_was_empty_is_not_what_was_compressed_into_its_inode() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.settle();
    let inode = {
        flow.gzip("app.log", "app.log.1.gz");
        fs::metadata(flow.path("app.log.1.gz")).unwrap().ino()
    };
    // Of a life that was seen when it was empty the row is left.
    let mut empty = flow.rows.values().next().unwrap().clone();
    empty.tail = TailId(0);
    empty.identity =
        Identity { inode, head_length: 0, head_hash: xxhash_rust::xxh3::xxh3_64(b""), ..empty.identity };
    (empty.offset, empty.size, empty.anchors) = (0, 0, Vec::new());
    flow.rows.insert(empty.tail, empty);
    flow.offsets.insert(TailId(0), 0);
    flow.append("app.log", "2\n");
    flow.start();
    flow.look();
    flow.expect(&["1", "2"]);
}

#[test]
fn a_file_that_is_compressed_while_it_is_first_looked_at_is_read() {
    let mut flow = Flow::new("app.log*");
    flow.append("app.log.1", "1\n");
    flow.append("app.log", "2\n");
    let listing = flow.tailers.list();
    flow.gzip("app.log.1", "app.log.1.gz");
    flow.tailers.act_on(listing, flow.now, 0);
    flow.look();
    flow.lines.sort();
    flow.expect(&["1", "2"]);
}

#[test]
fn a_copy_that_was_first_seen_as_a_file_of_its_own_is_not_read_again_from_its_compression() {
    let mut flow = Flow::new("app.log*");
    flow.append("app.log", "1\n");
    flow.copy("app.log", "app.log.1");
    flow.truncate("app.log");
    flow.tailers.scan(flow.now, 0);
    flow.rename("app.log.1", "app.log.2");
    flow.rename("app.log", "app.log.1");
    flow.append("app.log", "");
    flow.gzip("app.log.2", "app.log.2.gz");
    flow.look();
    flow.expect(&["1"]);
}

#[test]
fn the_compression_of_an_open_file_is_not_the_empty_one_whose_inode_it_got() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.rename("app.log", "app.log.2");
    flow.append("app.log.1", "");
    flow.gzip("app.log.1", "app.log.1.gz");
    flow.append("app.log", "2\n");
    flow.look();
    flow.expect(&["1", "2"]);
    flow.stop_after(0);
    fs::remove_file(flow.path("app.log.1.gz")).unwrap();
    // Its row, and the file system gives its inode to the compression of the other.
    flow.start();
    flow.tailers.scan(flow.now, 0);
    flow.gzip("app.log.2", "app.log.2.gz");
    let inode = fs::metadata(flow.path("app.log.2.gz")).unwrap().ino();
    let device = fs::metadata(flow.path("app.log.2.gz")).unwrap().dev();
    let empty = KnownTail {
        tail: TailId(77),
        path: Arc::from(flow.path("app.log.1.gz")),
        identity: Identity { device, inode, ..Identity::default() },
        offset: 0,
        anchors: Vec::new(),
        size: 0,
        modified_millis: 0,
        state: TailState::Rotated,
    };
    flow.tailers.take_up(vec![empty]);
    flow.look();
    flow.expect(&[]);
}

#[test]
fn a_rest_is_found_compressed_although_another_file_has_its_inode() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.rename("app.log", "app.log.1");
    flow.append("app.log.1", "2\n");
    flow.append("app.log", "3\n");
    flow.look();
    flow.expect(&["1", "2", "3"]);
    flow.stop_after(0);
    // Not all of the first was settled.
    let first = flow.rows.values_mut().next().unwrap();
    (first.offset, first.anchors) = (2, vec![crate::file::Anchor::of(2, b"1\n")]);
    flow.offsets.insert(first.tail, 2);
    // The file system gave its inode to the second.
    first.identity.inode = fs::metadata(flow.folder.path().join("app.log")).unwrap().ino();
    flow.gzip("app.log.1", "app.log.1.gz");
    flow.start();
    flow.look();
    flow.expect(&["2"]);
}

#[test]
fn a_dated_file_that_was_born_and_compressed_while_stopped_is_read() {
    let mut flow = Flow::new("app-*.log");
    flow.append("app-20260101.log", "1\n");
    flow.modified_ago("app-20260101.log", 300);
    flow.look();
    flow.stop_after(0);
    flow.append("app-20260102.log", "2\n");
    flow.gzip("app-20260102.log", "app-20260102.log.gz");
    flow.modified_ago("app-20260102.log.gz", 200);
    flow.append("app-20250101.log", "ancient\n");
    flow.gzip("app-20250101.log", "app-20250101.log.gz");
    flow.modified_ago("app-20250101.log.gz", 3000);
    flow.append("app-20260103.log", "3\n");
    flow.start_since(millis_ago(10_000));
    flow.look();
    flow.lines.sort();
    flow.expect(&["1", "2", "3"]);
}

#[test]
fn what_was_compressed_while_stopped_so_that_it_cannot_be_read_is_reported() {
    for pattern in ["app.log", "app.log*"] {
        let mut flow = Flow::new(pattern);
        flow.append("app.log", "1\n");
        flow.look();
        flow.expect(&["1"]);
        let reported = |flow: &Flow| flow.tailers.counters.bytes_lost.get();
        flow.stop_after(0);
        // It was read before.
        flow.rename("app.log", "app.log.2.xz");
        flow.append("app.log", "2\n");
        flow.rename("app.log", "app.log.1.xz");
        flow.append("app.log", "3\n");
        let later = std::time::SystemTime::now() + Duration::from_secs(2);
        let young = File::options().append(true).open(flow.path("app.log.1.xz")).unwrap();
        young.set_modified(later).unwrap();
        flow.start_since(millis_ago(60));
        flow.look();
        flow.expect(&["3"]);
        assert_eq!(reported(&flow), 2, "{pattern}");
        flow.pass(20);
        flow.look();
        assert_eq!(reported(&flow), 2, "{pattern}");
    }
}
