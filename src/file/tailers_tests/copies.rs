//! Files that are copied, cut and truncated.

use super::*;

#[test]
fn a_copys_unread_rest_is_known_as_soon_as_the_new_life_is() {
    for pattern in ["app.log", "app.log*"] {
        let mut flow = Flow::new(pattern);
        flow.append("app.log", "1\n");
        flow.look();
        flow.append("app.log", "2\n");
        flow.copy("app.log", "app.log.1");
        flow.truncate("app.log");
        flow.append("app.log", "3\n");
        look_and_crash(&mut flow);
        flow.expect(&["1", "2", "3"]);
    }
}

#[test]
fn what_was_written_to_an_empty_file_and_copied_away_between_two_looks_is_read() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "");
    flow.look();
    flow.append("app.log", "1\n");
    flow.copy("app.log", "app.log.1");
    flow.truncate("app.log");
    let later = std::time::SystemTime::now() + Duration::from_secs(1);
    for name in ["app.log.1", "app.log"] {
        File::open(flow.path(name)).unwrap().set_modified(later).unwrap();
    }
    flow.tailers.written(&flow.path("app.log"));
    flow.tailers.turn(flow.now, &flow.budget);
    flow.look();
    flow.expect(&["1"]);
}

#[test]
fn a_file_that_was_emptied_and_renamed_between_two_looks_is_followed() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.copy("app.log", "app.log.2");
    flow.truncate("app.log");
    flow.rename("app.log", "app.log.1");
    flow.look();
    flow.restart(|flow| flow.append("app.log.1", "2\n"));
    flow.expect(&["1", "2"]);
}

#[test]
fn a_copy_shorter_than_what_was_read_gives_it_again_after_a_crash() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n2\n");
    flow.look();
    flow.copy("app.log", "app.log.1");
    flow.append("app.log", "3\n");
    flow.look();
    flow.truncate("app.log");
    flow.look();
    flow.expect(&["1", "2", "3"]);
    // Nothing of it was settled.
    for row in flow.rows.values_mut() {
        (row.offset, row.anchors) = (0, Vec::new());
    }
    flow.offsets.clear();
    flow.start();
    flow.look();
    flow.expect(&["1", "2"]);
}

#[test]
fn a_file_that_is_cut_within_its_first_bytes_gives_again_what_may_not_be_settled() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.append("app.log", "2\n");
    flow.look();
    File::options().write(true).open(flow.path("app.log")).unwrap().set_len(2).unwrap();
    flow.tailers.scan(flow.now, 4);
    flow.look();
    flow.expect(&["1", "2", "1"]);
}

#[test]
fn a_file_that_was_copied_cut_and_removed_between_two_looks_is_not_read_again() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.append("app.log", "2\n");
    flow.copy("app.log", "app.log.1");
    flow.truncate("app.log");
    flow.tailers.written(&flow.path("app.log"));
    flow.tailers.turn(flow.now, &flow.budget);
    fs::remove_file(flow.path("app.log")).unwrap();
    let later = std::time::SystemTime::now() + Duration::from_secs(10);
    File::open(flow.path("app.log.1")).unwrap().set_modified(later).unwrap();
    flow.append("app.log", "3\n");
    flow.look();
    flow.lines.sort();
    flow.expect(&["1", "2", "3"]);
}

#[test]
fn a_copy_in_the_making_is_held_back_also_at_the_first_look() {
    let mut flow = Flow::new("app.log*");
    flow.append("app.log", "1\n2\n");
    flow.append("app.log.1", "1\n");
    let earlier = std::time::SystemTime::now() - Duration::from_secs(10);
    File::open(flow.path("app.log.1")).unwrap().set_modified(earlier).unwrap();
    flow.look();
    flow.expect(&["1", "2"]);
}

#[test]
fn a_copy_that_was_still_empty_at_the_last_look_is_no_older_file() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "");
    flow.append("app.log.1", "");
    flow.look();
    flow.append("app.log.1", "1\n");
    let later = std::time::SystemTime::now() + Duration::from_secs(1);
    for name in ["app.log.1", "app.log"] {
        File::open(flow.path(name)).unwrap().set_modified(later).unwrap();
    }
    flow.look();
    flow.expect(&["1"]);
}

#[test]
fn copytruncate_takes_the_unread_rest_from_the_copy() {
    for pattern in ["app.log", "app.log*"] {
        let mut flow = Flow::new(pattern);
        flow.append("app.log", "1\n");
        flow.look();
        flow.append("app.log", "2\n");
        flow.copy("app.log", "app.log.1");
        flow.truncate("app.log");
        flow.append("app.log", "3 and more\n");
        flow.look();
        flow.look();
        flow.expect(&["1", "2", "3 and more"]);
        assert_eq!(flow.lost, 0);
    }
}

#[test]
fn copytruncate_of_a_file_that_was_read_repeats_nothing() {
    for pattern in ["app.log", "app.log*"] {
        let mut flow = Flow::new(pattern);
        flow.append("app.log", "1\n2\n");
        flow.look();
        flow.copy("app.log", "app.log.1");
        flow.look();
        flow.truncate("app.log");
        flow.append("app.log", "3\n4\n5\n");
        flow.look();
        flow.restart(|_| {});
        flow.expect(&["1", "2", "3", "4", "5"]);
    }
}

#[test]
fn a_copy_shorter_than_what_was_read_is_not_read() {
    let mut flow = Flow::new("app.log*");
    flow.append("app.log", "1\n2\n");
    flow.look();
    flow.copy("app.log", "app.log.1");
    flow.append("app.log", "3\n");
    flow.look();
    flow.truncate("app.log");
    flow.append("app.log", "4\n");
    flow.look();
    flow.restart(|_| {});
    flow.expect(&["1", "2", "3", "4"]);
}

#[test]
fn a_copy_in_the_making_is_held_back_and_delivered_when_it_differs() {
    let mut flow = Flow::new("app.log*");
    flow.append("app.log", "1\n2\n");
    flow.look();
    flow.append("app.log.1", "1\n");
    flow.look();
    flow.append("app.log.1", "2\n");
    flow.look();
    flow.expect(&["1", "2"]);
    flow.append("app.log.1", "its own\n");
    flow.look();
    flow.expect(&["1", "2", "its own"]);
}

#[test]
fn a_file_truncated_without_a_copy_is_reported() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.truncate("app.log");
    flow.append("app.log", "a line that is longer than what was read\n");
    flow.look();
    flow.expect(&["1", "a line that is longer than what was read"]);
    assert_eq!(flow.lost, 0);
}

#[test]
fn a_file_that_was_copied_cut_and_moved_away_is_read_from_its_copy_also_by_the_next_run() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.append("app.log", "2\n");
    flow.copy("app.log", "app.log.1");
    flow.truncate("app.log");
    flow.rename("app.log", "saved.dat");
    flow.append("app.log", "3\n");
    flow.tailers.scan(flow.now, 0);
    flow.tailers.take_changes();
    flow.collect();
    flow.restart(|_| {});
    flow.lines.sort();
    flow.expect(&["1", "2", "3"]);
}

#[test]
fn the_copy_of_a_file_that_was_cut_and_deleted_is_gone_on_with_at_the_first_look() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.tailers.scan(flow.now, 0);
    flow.copy("app.log", "app.log.1");
    flow.truncate("app.log");
    fs::remove_file(flow.path("app.log")).unwrap();
    flow.tailers.scan(flow.now, 0);
    fs::remove_file(flow.path("app.log.1")).unwrap();
    flow.look();
    flow.expect(&["1"]);
}

#[test]
fn copytruncate_while_stopped_goes_on_in_the_copy() {
    for pattern in ["app.log", "app.log*"] {
        let mut flow = Flow::new(pattern);
        flow.append("app.log", "1\n");
        flow.look();
        flow.restart(|flow| {
            flow.append("app.log", "2\n");
            flow.copy("app.log", "app.log.1");
            flow.truncate("app.log");
            flow.append("app.log", "3 and more\n");
        });
        flow.lines.sort();
        flow.expect(&["1", "2", "3 and more"]);
    }
}

#[test]
fn what_is_truncated_away_is_lost_for_that_reason() {
    let mut flow = Flow::new("*.log");
    flow.append("a.log", "1\n");
    flow.look();
    flow.append("a.log", "unread\n");
    flow.tailers.scan(flow.now, 0);
    flow.truncate("a.log");
    flow.append("a.log", "x\n");
    flow.look();
    assert_eq!((flow.lost, &*flow.reasons), (7, &[LossReason::Truncated][..]));
}

#[test]
fn two_copytruncates_between_two_looks_lose_nothing() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    let later = |flow: &Flow, name: &str, seconds: u64| {
        let time = std::time::SystemTime::now() + Duration::from_secs(seconds);
        File::options().write(true).open(flow.path(name)).unwrap().set_modified(time).unwrap();
    };
    flow.append("app.log", "2\n");
    flow.copy("app.log", "app.log.2");
    later(&flow, "app.log.2", 1);
    flow.truncate("app.log");
    flow.append("app.log", "3\n");
    flow.copy("app.log", "app.log.1");
    later(&flow, "app.log.1", 2);
    flow.truncate("app.log");
    flow.append("app.log", "4\n");
    later(&flow, "app.log", 3);
    flow.look();
    flow.restart(|_| {});
    flow.lines.sort();
    flow.expect(&["1", "2", "3", "4"]);
}

#[test]
fn a_copy_that_is_renamed_while_it_is_looked_for_is_found_by_the_next_look() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.append("app.log", "2\n");
    flow.copy("app.log", "app.log.1");
    flow.truncate("app.log");
    flow.append("app.log", "3\n");
    let listing = flow.tailers.list();
    flow.rename("app.log.1", "app.log.2");
    flow.tailers.act_on(listing, flow.now, 0);
    flow.look();
    flow.lines.sort();
    flow.expect(&["1", "2", "3"]);
}

#[test]
fn a_copy_that_got_the_inode_of_a_deleted_file_is_still_the_rest_of_its_own() {
    for pattern in ["*.log", "*.log*"] {
        let mut flow = Flow::new(pattern);
        flow.append("a.log", "1\n");
        flow.look();
        flow.append("b.log", "deleted\n");
        flow.look();
        flow.stop_after(0);
        flow.append("a.log", "2\n");
        flow.copy("a.log", "a.log.1");
        flow.truncate("a.log");
        flow.append("a.log", "3\n");
        fs::remove_file(flow.path("b.log")).unwrap();
        let inode = fs::metadata(flow.path("a.log.1")).unwrap().ino();
        flow.rows.values_mut().last().unwrap().identity.inode = inode;
        flow.start();
        flow.look();
        flow.lines.sort();
        flow.expect(&["1", "2", "3", "deleted"]);
        assert_eq!(flow.lost, 0);
    }
}

#[test]
fn a_file_that_was_truncated_repeats_nothing_after_restarts() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n2\n");
    flow.look();
    let before = flow.rows.clone();
    flow.truncate("app.log");
    flow.append("app.log", "3\n");
    flow.look();
    // Also if the row of the life before is still there.
    flow.rows.extend(before);
    flow.restart(|_| {});
    flow.restart(|_| {});
    flow.expect(&["1", "2", "3"]);
}

#[test]
fn a_copy_over_an_older_rotated_file_repeats_nothing() {
    for pattern in ["app.log", "app.log*"] {
        let mut flow = Flow::new(pattern);
        flow.append("app.log", "1\n");
        flow.look();
        flow.copy("app.log", "app.log.1");
        flow.truncate("app.log");
        flow.append("app.log", "2 on\n");
        flow.look();
        flow.append("app.log", "3\n");
        flow.copy("app.log", "app.log.1");
        flow.truncate("app.log");
        flow.append("app.log", "4 and more\n");
        flow.look();
        flow.restart(|_| {});
        flow.lines.sort();
        flow.expect(&["1", "2 on", "3", "4 and more"]);
    }
}

#[test]
fn what_cannot_be_told_from_a_copy_is_sent_after_a_while() {
    let mut flow = Flow::new("*.log");
    flow.append("worker.log", "started\nmore\n");
    flow.append("worker-1.log", "started\n");
    flow.look();
    flow.look();
    flow.pass(700);
    flow.lines.sort();
    flow.expect(&["more", "started", "started"]);
}

#[test]
fn the_hole_of_a_writer_that_does_not_append_is_skipped() {
    use std::os::unix::fs::FileExt;
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.truncate("app.log");
    let writer = File::options().write(true).open(flow.path("app.log")).unwrap();
    writer.write_all_at(b"2 behind the hole\n", 1_000_000).unwrap();
    flow.look();
    writer.write_all_at(b"3\n", 1_000_018).unwrap();
    flow.look();
    flow.restart(|_| {});
    flow.expect(&["1", "2 behind the hole", "3"]);
}

/// As `command > app.log` leaves it when logrotate copies and truncates it time and again.
#[test]
fn copytruncate_of_a_file_that_begins_with_a_hole_goes_on_in_the_copy() {
    use std::os::unix::fs::FileExt;
    for stopped in [false, true] {
        let mut flow = Flow::new("app.log");
        let writer = File::create(flow.path("app.log")).unwrap();
        let mut end = 0;
        let mut write = |text: &str| {
            writer.write_all_at(text.as_bytes(), end).unwrap();
            end += text.len() as u64;
        };
        write(&format!("{}\n", "1".repeat(5000)));
        flow.look();
        for generation in 2..5 {
            let mut rotate = |flow: &Flow| {
                write(&format!("unread {generation}\n"));
                flow.copy("app.log", &format!("app.log.{}", 10 - generation));
                flow.truncate("app.log");
                write(&format!("{generation}\n"));
            };
            match stopped {
                true => flow.restart(&mut rotate),
                false => rotate(&flow),
            }
            flow.look();
        }
        assert_eq!(flow.lost, 0);
        flow.lines.remove(0);
        flow.lines.sort();
        flow.expect(&["2", "3", "4", "unread 2", "unread 3", "unread 4"]);
    }
}

#[test]
fn a_truncation_between_the_listing_and_the_look_repeats_nothing() {
    let mut flow = Flow::new("app.log*");
    flow.append("app.log", "1\n");
    flow.look();
    flow.copy("app.log", "app.log.1");
    let listing = flow.tailers.list();
    flow.truncate("app.log");
    flow.append("app.log", "2 and more\n");
    flow.tailers.act_on(listing, flow.now, 0);
    flow.look();
    flow.restart(|_| {});
    flow.expect(&["1", "2 and more"]);
}

#[test]
fn a_copy_that_shrinks_after_it_was_listed_is_no_copy_and_no_panic() {
    let mut flow = Flow::new("app.log");
    for part in ["1\n", "2\n", "3\n"] {
        flow.append("app.log", part);
        flow.look();
    }
    flow.append("app.log.1", "1\n2\n");
    flow.truncate("app.log");
    flow.append("app.log", "4\n");
    let listing = flow.tailers.list();
    flow.truncate("app.log.1");
    flow.tailers.act_on(listing, flow.now, 0);
    flow.look();
    flow.expect(&["1", "2", "3", "4"]);
}

#[test]
fn a_second_copytruncate_that_is_seen_in_the_middle_repeats_nothing() {
    for pattern in ["app.log", "app.log*"] {
        let mut flow = Flow::new(pattern);
        flow.append("app.log", "a1\n");
        flow.look();
        flow.append("app.log", "a2\n");
        flow.copy("app.log", "app.log.2");
        flow.truncate("app.log");
        flow.append("app.log", "b1\nb2\nb3\n");
        // First nothing is copied yet, then all is.
        flow.append("app.log.1", "");
        flow.look();
        flow.copy("app.log", "app.log.1");
        flow.look();
        flow.truncate("app.log");
        flow.append("app.log", "c1\n");
        flow.look();
        flow.expect(&["a1", "a2", "b1", "b2", "b3", "c1"]);
        flow.append("app.log", "c2\n");
        flow.copy("app.log", "app.log.3");
        flow.truncate("app.log");
        flow.append("app.log", "d1\nd2\nd3\n");
        flow.copy("app.log", "app.log.4");
        flow.look();
        flow.truncate("app.log");
        flow.append("app.log", "e1\n");
        flow.look();
        flow.expect(&["c2", "d1", "d2", "d3", "e1"]);
    }
}

#[test]
fn a_copy_that_was_made_after_the_listing_repeats_nothing() {
    for pattern in ["app.log", "app.log*"] {
        for moves in [false, true] {
            let mut flow = Flow::new(pattern);
            flow.append("app.log", "1\n");
            flow.look();
            flow.append("app.log", "2\n");
            let mut listing = flow.tailers.list();
            flow.copy("app.log", "app.log.1");
            flow.truncate("app.log");
            if moves {
                // The names were read before the copy came, and the sizes after the truncation.
                listing = flow.tailers.list().having_missed(&flow.path("app.log.1"));
            }
            flow.tailers.act_on(listing, flow.now, 0);
            flow.append("app.log", "3\n");
            flow.look();
            flow.restart(|_| {});
            flow.expect(&["1", "2", "3"]);
        }
    }
}

#[test]
fn a_file_that_was_empty_is_not_the_copy_that_got_its_inode() {
    for pattern in ["*.log", "*.log*"] {
        let mut flow = Flow::new(pattern);
        flow.append("e.log", "");
        flow.append("f.log", "1\n");
        flow.look();
        flow.settle();
        flow.append("f.log", "2\n");
        flow.rename("e.log", "f.log.1");
        flow.copy("f.log", "f.log.1");
        flow.truncate("f.log");
        flow.append("f.log", "3\n");
        flow.append("e.log", "4\n");
        flow.start();
        flow.look();
        flow.lines.sort();
        flow.expect(&["1", "2", "3", "4"]);
    }
}

#[test]
fn a_tail_that_moved_into_a_copy_is_newer_than_the_file_whose_inode_the_copy_got() {
    for shifted in [false, true] {
        let mut flow = Flow::new("*.log*");
        flow.append("c.log", "1\n");
        flow.look();
        flow.append("c.log", "2\n");
        flow.copy("c.log", "c.log.1");
        flow.truncate("c.log");
        flow.append("c.log", "3\n");
        flow.look();
        flow.settle();
        let copy = flow.rows.values().find(|row| row.path.ends_with("c.log.1")).unwrap();
        let mut gone = KnownTail { tail: TailId(1000), path: flow.path("g.log").into(), ..copy.clone() };
        gone.identity.head_hash ^= 1;
        (gone.offset, gone.anchors) = (0, Vec::new());
        gone.modified_millis -= 1000;
        flow.rows.insert(gone.tail, gone);
        if shifted {
            flow.rename("c.log.1", "c.log.2");
        }
        flow.start();
        flow.look();
        flow.expect(&["1", "2", "3"]);
    }
}

#[test]
fn a_copytruncate_that_is_noticed_just_before_a_stop_is_gone_on_with() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.tailers.scan(flow.now, 0);
    flow.copy("app.log", "app.log.1");
    flow.truncate("app.log");
    flow.gzip("app.log.1", "app.log.1.gz");
    flow.tailers.turn(flow.now, &flow.budget);
    // What is stored must not say that the file, empty as it is now, was the one that was known.
    flow.restart(|_| ());
    flow.expect(&["1"]);
}

#[test]
fn a_copytruncate_whose_reading_waits_at_a_stop_is_gone_on_with() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.append("app.log", "2\n");
    flow.tailers.scan(flow.now, 0);
    flow.copy("app.log", "app.log.1");
    flow.truncate("app.log");
    flow.gzip("app.log.1", "app.log.1.gz");
    // The folder is busy and polled; there is no memory for a read.
    flow.tailers.poll(flow.folder.path(), Duration::from_secs(60), flow.now);
    flow.restart(|_| ());
    flow.expect(&["1", "2"]);
}

#[test]
fn copytruncate_of_a_file_that_always_begins_with_the_same_line_loses_and_repeats_nothing() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "banner\n");
    flow.look();
    flow.append("app.log", "1\n2\n3\n4\n");
    flow.look();
    flow.append("app.log", "5\n");
    flow.copy("app.log", "app.log.1");
    flow.truncate("app.log");
    flow.append("app.log", "banner\n6\n");
    flow.look();
    flow.expect(&["banner", "1", "2", "3", "4", "5", "banner", "6"]);
}

#[test]
fn a_read_head_is_stored_although_the_file_was_cut_just_before_a_stop() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "");
    flow.look();
    flow.append("app.log", "1\n");
    flow.tailers.written(&flow.path("app.log"));
    flow.tailers.turn(flow.now, &flow.budget);
    flow.collect();
    flow.copy("app.log", "app.log.1");
    flow.truncate("app.log");
    flow.tailers.written(&flow.path("app.log"));
    flow.tailers.turn(flow.now, &flow.budget);
    flow.restart(|_| ());
    flow.expect(&["1"]);
}

#[test]
fn a_file_that_was_empty_is_not_the_copy_of_a_newcomer_that_got_its_inode() {
    let mut flow = Flow::new("a*.log");
    flow.append("a1.log", "");
    flow.look();
    flow.stop_after(0);
    fs::remove_file(flow.path("a1.log")).unwrap();
    flow.append("a2.log", "2\n");
    flow.copy("a2.log", "a2.log.1");
    // The file system gives the inode of the first to the copy.
    let inode = fs::metadata(flow.path("a2.log.1")).unwrap().ino();
    flow.rows.values_mut().next().unwrap().identity.inode = inode;
    flow.start();
    flow.look();
    flow.expect(&["2"]);
}

#[test]
fn a_file_that_was_copied_and_cut_after_it_was_listed_is_looked_at_again() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "0\n");
    flow.look();
    flow.rename("app.log", "app.log.2");
    flow.append("app.log", "1\n");
    let time = std::time::SystemTime::now() + Duration::from_secs(1);
    let within_a_tick = |flow: &Flow, name: &str| {
        File::options().write(true).open(flow.path(name)).unwrap().set_modified(time).unwrap();
    };
    within_a_tick(&flow, "app.log");
    let listing = flow.tailers.list();
    flow.copy("app.log", "app.log.1");
    within_a_tick(&flow, "app.log.1");
    flow.truncate("app.log");
    flow.tailers.act_on(listing, flow.now, 0);
    flow.append("app.log", "2\n");
    within_a_tick(&flow, "app.log");
    flow.look();
    flow.lines.sort();
    flow.expect(&["0", "1", "2"]);
}
