//! Which files are generations of a known one, and which are files of their own.

use super::*;

#[test]
fn a_generation_with_the_inode_of_a_file_that_was_left_alone_is_read() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log.3", "ancient\n");
    let old = std::time::SystemTime::now() - Duration::from_secs(1);
    File::options().append(true).open(flow.path("app.log.3")).unwrap().set_modified(old).unwrap();
    flow.append("app.log", "1\n");
    flow.look();
    flow.rename("app.log", "app.log.2");
    // The file that has its inode now was born and rotated away since.
    fs::write(flow.path("app.log.3"), "2\n").unwrap();
    let later = std::time::SystemTime::now() + Duration::from_secs(2);
    File::options().write(true).open(flow.path("app.log.3")).unwrap().set_modified(later).unwrap();
    flow.rename("app.log.3", "app.log.1");
    flow.look();
    flow.expect(&["1", "2"]);
}

#[test]
fn generations_begin_in_the_order_of_time_also_with_the_inode_of_a_known_file() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.rename("app.log", "app.log.1");
    flow.append("app.log", "2\n");
    flow.look();
    flow.restart(|flow| {
        let written = |name: &str, text: &str, seconds: u64| {
            fs::write(flow.path(name), text).unwrap();
            set_ahead(flow, name, seconds);
        };
        flow.rename("app.log", "app.log.4");
        written("app.log.3", "3\n", 1);
        written("app.log.2", "4\n", 2);
        // The first generation is gone, and this one has its inode.
        written("app.log.1", "5\n", 3);
        flow.rename("app.log.1", "app.log.0");
        flow.rename("app.log.2", "app.log.1");
        flow.rename("app.log.0", "app.log.2");
        written("app.log", "6\n", 4);
    });
    flow.expect(&["1", "2", "3", "4", "5", "6"]);
}

#[test]
fn a_file_that_got_any_name_while_stopped_is_found_by_its_inode_or_its_content() {
    for (target, copied) in
        [("kept.txt", false), ("old/kept.txt", false), ("kept.txt", true), ("old/kept", true)]
    {
        let mut flow = Flow::new("app.log");
        let long: Vec<String> = (0..500).map(|n| format!("line {n}")).collect();
        flow.append("app.log", &(long.join("\n") + "\n"));
        flow.look();
        flow.lines.clear();
        flow.restart(|flow| {
            flow.append("app.log", "2\n");
            fs::create_dir_all(flow.path("old")).unwrap();
            match copied {
                false => flow.rename("app.log", target),
                true => {
                    flow.copy("app.log", target);
                    fs::remove_file(flow.path("app.log")).unwrap();
                }
            }
            flow.append("app.log", "3\n");
        });
        flow.lines.sort();
        flow.expect(&["2", "3"]);
        assert_eq!(flow.lost, 0);
    }
}

#[test]
fn a_folder_that_is_mounted_late_forgets_no_position() {
    let mut flow = Flow::new("mnt/app.log");
    fs::create_dir(flow.path("mnt")).unwrap();
    flow.append("mnt/app.log", "1\n");
    flow.look();
    flow.restart(|flow| {
        flow.append("mnt/app.log", "2\n");
        fs::create_dir_all(flow.path("x/y")).unwrap();
        flow.rename("mnt", "x/y/away");
    });
    flow.expect(&["1"]);
    flow.rename("x/y/away", "mnt");
    flow.look();
    flow.expect(&["2"]);
    assert_eq!(flow.lost, 0);
}

#[test]
fn an_inode_that_is_used_again_while_stopped_is_a_new_file() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.restart(|flow| fs::write(flow.path("app.log"), "another\n").unwrap());
    flow.expect(&["1", "another"]);
}

#[test]
fn a_generation_of_a_file_that_was_empty_when_it_was_last_seen_is_read() {
    for restart in [false, true] {
        let mut flow = Flow::new("app.log");
        flow.append("app.log", "");
        flow.look();
        flow.stop_after(0);
        flow.append("app.log", "1\n");
        flow.copy("app.log", "app.log.1");
        set_ahead(&flow, "app.log.1", 1);
        flow.truncate("app.log");
        flow.append("app.log", "2\n");
        set_ahead(&flow, "app.log", 2);
        if restart {
            flow.start();
        }
        flow.look();
        flow.lines.sort();
        flow.expect(&["1", "2"]);
    }
}

#[test]
fn generations_in_another_folder_are_found_once_rotation_was_seen_to_go_there() {
    let mut flow = Flow::new("logs/app.log");
    fs::create_dir(flow.path("logs")).unwrap();
    fs::create_dir(flow.path("old")).unwrap();
    flow.append("logs/app.log", "1\n");
    flow.look();
    let rotate = |flow: &Flow, line: &str, seconds: u64| {
        flow.append("logs/app.log", line);
        let time = std::time::SystemTime::now() + Duration::from_secs(seconds);
        File::options().write(true).open(flow.path("logs/app.log")).unwrap().set_modified(time).unwrap();
        if flow.path("old/app.log.1").exists() {
            flow.rename("old/app.log.1", "old/app.log.2");
        }
        flow.rename("logs/app.log", "old/app.log.1");
    };
    flow.restart(|flow| {
        rotate(flow, "2\n", 1);
        rotate(flow, "3\n", 2);
        flow.append("logs/app.log", "4\n");
        let time = std::time::SystemTime::now() + Duration::from_secs(3);
        File::options().write(true).open(flow.path("logs/app.log")).unwrap().set_modified(time).unwrap();
    });
    flow.lines.sort();
    flow.expect(&["1", "2", "3", "4"]);
    rotate(&flow, "5\n", 4);
    rotate(&flow, "6\n", 5);
    flow.append("logs/app.log", "7\n");
    flow.look();
    flow.lines.sort();
    flow.expect(&["5", "6", "7"]);
    assert_eq!(flow.lost, 0);
}

#[test]
fn late_lines_of_a_closed_file_that_was_moved_to_another_folder_are_read() {
    let mut flow = Flow::new("logs/app.log");
    fs::create_dir(flow.path("logs")).unwrap();
    fs::create_dir(flow.path("old")).unwrap();
    flow.append("logs/app.log", "1\n");
    flow.append("logs/other.txt", "");
    flow.look();
    flow.pass(100);
    assert!(flow.tailers.tails().all(|tail| !tail.is_open()));
    assert_eq!(flow.tailers.counters.open_files.get(), 0);
    flow.append("logs/app.log", "2\n");
    flow.rename("logs/app.log", "old/app.log.1");
    flow.look();
    flow.expect(&["1", "2"]);
}

#[test]
fn a_file_that_was_moved_out_of_sight_is_read_while_somebody_writes_to_it() {
    let mut flow = Flow::new("logs/app.log");
    fs::create_dir(flow.path("logs")).unwrap();
    flow.append("logs/app.log", "1\n");
    flow.look();
    let mut writer = File::options().append(true).open(flow.path("logs/app.log")).unwrap();
    flow.rename("logs/app.log", "elsewhere");
    flow.look();
    for (line, pause) in [("2", 10), ("3", 3000), ("4", 50)] {
        writeln!(writer, "{line}").unwrap();
        flow.pass(pause);
        flow.pass(100);
    }
    flow.expect(&["1", "2", "3", "4"]);
}

#[test]
fn a_name_that_only_looks_derived_is_not_read() {
    let mut flow = Flow::new("worker.log");
    flow.append("worker.log", "1\n");
    flow.look();
    let later = std::time::SystemTime::now() + Duration::from_secs(5);
    flow.append("worker-2.log", "another program\n");
    File::options().write(true).open(flow.path("worker-2.log")).unwrap().set_modified(later).unwrap();
    flow.look();
    flow.append("worker.log", "2\n");
    flow.look();
    flow.expect(&["1", "2"]);
}

#[test]
fn a_generation_that_was_born_after_a_look_at_an_empty_place_is_read() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.rename("app.log", "app.log.2");
    flow.look();
    let later = std::time::SystemTime::now() + Duration::from_secs(2);
    flow.append("app.log", "2\n");
    File::options().write(true).open(flow.path("app.log")).unwrap().set_modified(later).unwrap();
    flow.rename("app.log", "app.log.1");
    flow.append("app.log", "3\n");
    flow.look();
    flow.lines.sort();
    flow.expect(&["1", "2", "3"]);
}

#[test]
fn a_generation_that_a_look_missed_since_names_moved_is_read_at_the_next() {
    for pattern in ["app.log", "app.log*"] {
        let mut flow = Flow::new(pattern);
        flow.append("app.log", "1\n");
        flow.look();
        flow.rename("app.log", "app.log.2");
        flow.append("app.log", "2\n");
        flow.rename("app.log", "app.log.1");
        flow.append("app.log", "3\n");
        let listing = flow.tailers.list().having_missed(&flow.path("app.log.1"));
        flow.tailers.act_on(listing, flow.now, 0);
        assert!(flow.tailers.scan_due, "the next look comes at once");
        flow.look();
        flow.lines.sort();
        flow.expect(&["1", "2", "3"]);
    }
}

#[test]
fn a_generation_that_a_look_missed_is_read_after_a_crash_though_a_later_one_is_stored() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.settle();
    flow.rename("app.log", "app.log.3");
    for (name, line, at) in [("app.log.2", "2\n", 1), ("app.log.1", "3\n", 2), ("app.log", "4\n", 3)] {
        flow.append(name, line);
        set_ahead(&flow, name, at);
    }
    let listing = flow.tailers.list().having_missed(&flow.path("app.log.2"));
    flow.tailers.act_on(listing, flow.now, 0);
    flow.collect();
    flow.settle();
    flow.start();
    flow.look();
    flow.lines.sort();
    flow.lines.dedup();
    flow.expect(&["1", "2", "3", "4"]);
}

#[test]
fn a_generation_in_an_old_folder_is_read_after_a_crash_though_what_was_rotated_before_it_is_stored() {
    let mut flow = Flow::new("app.log");
    fs::create_dir(flow.path("old")).unwrap();
    flow.append("app.log", "1\n");
    flow.look();
    flow.settle();
    flow.start();
    flow.rename("app.log", "old/app.log.2");
    let listing = flow.tailers.list();
    for (name, line, at) in [("old/app.log.1", "2\n", 1), ("app.log", "3\n", 2)] {
        flow.append(name, line);
        set_ahead(&flow, name, at);
    }
    flow.tailers.act_on(listing.having_missed(&flow.path("old/app.log.1")), flow.now, 0);
    flow.collect();
    flow.rows.values_mut().for_each(|row| row.offset = flow.offsets[&row.tail]);
    flow.start();
    flow.look();
    flow.lines.sort();
    flow.expect(&["1", "2", "3"]);
}

#[test]
fn a_closed_file_that_a_look_missed_since_names_moved_is_not_given_up() {
    let mut flow = Flow::new("app.log*");
    flow.append("app.log.1", "1\n");
    flow.append("app.log", "a\n");
    flow.look();
    flow.pass(100);
    flow.lines.clear();
    flow.rename("app.log.1", "app.log.2");
    let listing = flow.tailers.list().having_missed(&flow.path("app.log.2"));
    flow.tailers.act_on(listing, flow.now, 0);
    flow.append("app.log.2", "2\n");
    flow.look();
    flow.expect(&["2"]);
}

#[test]
fn names_that_never_rest_do_not_keep_a_file_that_is_gone() {
    let mut flow = Flow::new("app.log*");
    flow.append("app.log.1", "1\n");
    flow.append("app.log", "a\n");
    flow.look();
    flow.pass(100);
    fs::remove_file(flow.path("app.log.1")).unwrap();
    for left in [2, 1] {
        let listing = flow.tailers.list().having_missed(&flow.path("app.log.1"));
        flow.tailers.act_on(listing, flow.now, 0);
        assert_eq!(flow.tailers.tails().count(), left);
        flow.now += Duration::from_secs(10);
    }
}

#[test]
fn a_file_that_was_out_of_sight_for_a_look_is_live_again() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\nthe first half");
    flow.look();
    let listing = flow.tailers.list().having_missed(&flow.path("app.log"));
    flow.tailers.act_on(listing, flow.now, 0);
    flow.pass(0);
    flow.pass(40);
    flow.append("app.log", " and the second\n");
    flow.look();
    flow.expect(&["1", "the first half and the second"]);
}

#[test]
fn a_generation_of_the_same_moment_as_the_one_before_it_is_read() {
    let mut flow = Flow::new("app.log");
    let now = std::time::SystemTime::now();
    let write = |flow: &Flow, text: &str| {
        flow.append("app.log", text);
        File::options().append(true).open(flow.path("app.log")).unwrap().set_modified(now).unwrap();
    };
    write(&flow, "1\n");
    flow.look();
    flow.rename("app.log", "app.log.2");
    write(&flow, "2\n");
    flow.rename("app.log", "app.log.1");
    write(&flow, "3\n");
    flow.look();
    flow.lines.sort();
    flow.expect(&["1", "2", "3"]);
}

#[test]
fn a_generation_that_was_born_while_stopped_at_a_place_that_was_empty_then_is_read() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.rename("app.log", "app.log.1");
    flow.look();
    flow.restart(|flow| {
        flow.append("app.log", "2\n");
        flow.rename("app.log", "app.log.2");
        flow.append("app.log", "3\n");
    });
    flow.lines.sort();
    flow.expect(&["1", "2", "3"]);
}

#[test]
fn a_file_that_no_rotation_explains_in_a_look_during_which_names_moved_is_no_stranger() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    // The look saw the old file at its name before the rotation, and the others after it.
    let mut before = flow.tailers.list().files;
    flow.rename("app.log", "app.log.2");
    flow.append("app.log", "2\n");
    flow.rename("app.log", "app.log.1");
    flow.append("app.log", "3\n");
    let mut listing = flow.tailers.list().having_missed(&flow.path("app.log"));
    listing.files.append(&mut before);
    flow.tailers.act_on(listing, flow.now, 0);
    flow.look();
    flow.lines.sort();
    flow.expect(&["1", "2", "3"]);
}

#[test]
fn a_generation_that_moved_between_the_look_and_its_opening_is_read_at_the_next() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.rename("app.log", "app.log.2");
    flow.append("app.log", "2\n");
    flow.rename("app.log", "app.log.1");
    let later = std::time::SystemTime::now() + Duration::from_secs(2);
    flow.append("app.log", "3\n");
    File::options().append(true).open(flow.path("app.log")).unwrap().set_modified(later).unwrap();
    let listing = flow.tailers.list();
    flow.rename("app.log.2", "app.log.3");
    flow.rename("app.log.1", "app.log.2");
    flow.tailers.act_on(listing, flow.now, 0);
    flow.look();
    flow.lines.sort();
    flow.expect(&["1", "2", "3"]);
}

#[test]
fn a_generation_that_a_look_missed_since_names_moved_is_read_also_after_a_crash() {
    for pattern in ["app.log", "app.log*"] {
        let mut flow = Flow::new(pattern);
        flow.append("app.log", "1\n");
        flow.look();
        flow.rename("app.log", "app.log.1");
        flow.append("app.log", "2\n");
        flow.gzip("app.log", "app.log.2.gz");
        flow.append("app.log", "3\n");
        let listing = flow.tailers.list().having_missed(&flow.path("app.log.2.gz"));
        act_and_crash(&mut flow, listing);
        flow.lines.sort();
        flow.expect(&["1", "2", "3"]);
    }
}

#[test]
fn what_is_older_than_a_file_that_was_deleted_while_stopped_is_no_generation() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log.1", "old\n");
    set_ahead(&flow, "app.log.1", 1);
    flow.append("app.log", "1\n");
    set_ahead(&flow, "app.log", 2);
    flow.look();
    flow.restart(|flow| {
        fs::remove_file(flow.path("app.log")).unwrap();
    });
    flow.expect(&["1"]);
}

#[test]
fn what_took_the_place_of_a_file_is_read_however_alike_it_begins() {
    for to in ["app-1.log", "app-1.log.1"] {
        let mut flow = Flow::new("app-*.log");
        flow.append("app-1.log", "banner\n");
        flow.look();
        flow.append("app-1.log", "1\n2\n3\n4\n");
        flow.look();
        flow.expect(&["banner", "1", "2", "3", "4"]);
        flow.restart(|flow| {
            flow.append("new", "banner\n5\n");
            fs::remove_file(flow.path("app-1.log")).unwrap();
            flow.rename("new", to);
        });
        flow.expect(&["banner", "5"]);
    }
}

#[test]
fn a_generation_that_was_born_while_stopped_beside_one_in_another_folder_is_read() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    fs::create_dir(flow.path("old")).unwrap();
    flow.rename("app.log", "old/app.log.1");
    flow.look();
    flow.restart(|flow| {
        flow.append("app.log", "2\n");
        flow.rename("app.log", "app.log-20260101");
        flow.append("app.log", "3\n");
    });
    flow.expect(&["1", "2", "3"]);
}

#[test]
fn a_file_that_got_an_inode_and_is_renamed_after_it_was_read_as_another_is_read_once() {
    let mut flow = Flow::new("app.log*");
    flow.append("app.log", "1\n");
    flow.look();
    flow.expect(&["1"]);
    flow.stop_after(0);
    fs::remove_file(flow.path("app.log")).unwrap();
    flow.append("app.log", "2\n3\n");
    let inode = fs::metadata(flow.path("app.log")).unwrap().ino();
    flow.rows.values_mut().for_each(|row| (row.identity.inode, row.size) = (inode, 10));
    flow.start();
    flow.tailers.max_open.store(0, Ordering::Relaxed);
    flow.tailers.turn(flow.now, &flow.budget);
    flow.rename("app.log", "app.log.1");
    flow.look();
    flow.expect(&["2", "3"]);
}

#[test]
fn a_file_that_moved_to_the_name_of_another_that_had_its_inode_is_not_read_again() {
    for later in [-1000, 1000] {
        let mut flow = Flow::new("*.log*");
        flow.append("app.log.2", "1\n");
        flow.look();
        flow.expect(&["1"]);
        flow.settle();
        let row = flow.rows.values().next().unwrap();
        let mut gone = KnownTail { tail: TailId(1000), path: flow.path("app.log.1").into(), ..row.clone() };
        gone.identity.head_hash ^= 1;
        gone.modified_millis += later;
        flow.rows.insert(gone.tail, gone);
        flow.rename("app.log.2", "app.log.1");
        flow.start();
        flow.look();
        flow.expect(&[]);
    }
}

#[test]
fn a_generation_of_a_name_of_which_nothing_is_stored_is_read_if_the_flow_is_older() {
    for pattern in ["app.log", "app.log*", "app*.log"] {
        for at_home in [true, false] {
            let mut flow = started_before(pattern);
            flow.append("app.log", "ancient\n");
            flow.gzip("app.log", "app.log.3.gz");
            flow.modified_ago("app.log.3.gz", 100);
            flow.append("app.log", "1\n");
            flow.gzip("app.log", "app.log.2.gz");
            flow.modified_ago("app.log.2.gz", 20);
            flow.append("app.log", "2\n");
            flow.modified_ago("app.log", 10);
            flow.rename("app.log", "app.log.1");
            if at_home {
                flow.append("app.log", "3\n");
            }
            flow.look();
            flow.lines.sort();
            flow.expect(if at_home { &["1", "2", "3"] } else { &["1", "2"] });
            flow.stop_after(0);
            flow.start_since(millis_ago(60));
            flow.look();
            flow.expect(&[]);
        }
    }
}

/// What a start finds is stored in parts, should it be killed: no part may hide the rest.
#[test]
fn a_generation_of_an_unknown_name_is_read_whatever_was_stored_at_a_start_that_was_killed() {
    for stored in 0..4 {
        let mut flow = started_before("*.log");
        flow.append("app.log", "1\n");
        flow.gzip("app.log", "app.log.2.gz");
        flow.append("app.log", "2\n");
        flow.gzip("app.log", "app.log.1.gz");
        flow.append("app.log", "3\n");
        flow.append("other.log", "4\n");
        flow.tailers.scan(flow.now, 0);
        flow.tailers.notes.truncate(stored);
        flow.tailers.events.clear();
        flow.collect();
        flow.settle();
        let first_start = flow.tailers.past.first_start_millis;
        flow.start_since(first_start);
        flow.look();
        flow.lines.sort();
        flow.expect(&["1", "2", "3", "4"]);
    }
}

#[test]
fn archives_that_a_wider_pattern_matches_are_left_alone() {
    let mut flow = Flow::new("*.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.append("other.log", "ancient\n");
    flow.gzip("other.log", "other.log.1.gz");
    flow.modified_ago("other.log.1.gz", 1000);
    flow.append("other.log", "2\n");
    flow.stop_after(0);
    flow.start_since(millis_ago(10_000));
    flow.look();
    flow.lines.sort();
    flow.expect(&["1", "2"]);
}
