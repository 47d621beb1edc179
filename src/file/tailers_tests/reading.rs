//! Whose turn it is, what is read, and where it begins.

use super::*;

#[test]
fn a_file_that_was_empty_when_it_was_last_seen_is_no_other_files_rest() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.rename("app.log", "app.log.1");
    flow.append("app.log", "");
    flow.look();
    flow.stop_after(0);
    flow.append("app.log.1", "2\n");
    flow.append("app.log", "3\n");
    flow.gzip("app.log.1", "app.log.1.gz");
    flow.rename("app.log", "app.log.2");
    flow.gzip("app.log.2", "app.log.2.gz");
    flow.append("app.log", "4\n");
    // The file system gives the inode of the first to the last.
    let inode = fs::metadata(flow.path("app.log")).unwrap().ino();
    flow.rows.values_mut().next().unwrap().identity.inode = inode;
    flow.start();
    flow.look();
    flow.lines.sort();
    flow.expect(&["1", "2", "3", "4"]);
}

#[test]
fn a_renamed_file_is_read_to_its_end_inside_and_outside_the_pattern() {
    for pattern in ["app.log", "app.log*"] {
        let mut flow = Flow::new(pattern);
        flow.append("app.log", "1\n");
        flow.look();
        flow.append("app.log", "2\n");
        flow.rename("app.log", "app.log.1");
        flow.append("app.log.1", "3\n");
        flow.append("app.log", "4\n");
        flow.look();
        flow.append("app.log.1", "late\n");
        flow.look();
        flow.expect(&["1", "2", "3", "4", "late"]);
    }
}

#[test]
fn the_unterminated_last_line_of_a_renamed_file_comes_when_it_was_quiet() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\nlast");
    flow.look();
    flow.rename("app.log", "app.log.1");
    flow.pass(20);
    flow.expect(&["1"]);
    flow.pass(31);
    flow.expect(&["last"]);
    flow.append("app.log.1", "more\n");
    flow.pass(1);
    flow.expect(&["more"]);
}

#[test]
fn a_file_of_which_little_is_known_is_not_taken_from_any_name() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.restart(|flow| {
        flow.append("app.log", "2\n");
        flow.copy("app.log", "kept.txt");
        fs::remove_file(flow.path("app.log")).unwrap();
    });
    flow.expect(&["1"]);
}

#[test]
fn what_comes_into_an_empty_file_is_known_where_no_more_files_may_stay_open() {
    let mut flow = Flow::new("app.log");
    flow.tailers.max_open.store(0, Ordering::Relaxed);
    flow.append("app.log", "");
    flow.look();
    flow.append("app.log", "1\n");
    flow.tailers.scan(flow.now, 0);
    flow.rename("app.log", "app.log.1");
    flow.gzip("app.log.1", "app.log.1.gz");
    flow.look();
    flow.pass(60);
    flow.expect(&["1"]);
}

#[test]
fn two_files_with_the_same_banner_are_two_files() {
    let mut flow = Flow::new("*.log");
    flow.append("a.log", "banner\n");
    flow.append("b.log", "banner\n");
    flow.look();
    flow.expect(&["banner", "banner"]);
}

#[test]
fn each_kind_of_rotation_is_counted_by_its_name() {
    let mut flow = Flow::new("*.log");
    let names = ["renamed", "copytruncated", "truncated", "replaced", "removed", "compressed"];
    for name in names {
        flow.append(&format!("{name}.log"), &format!("{name} 1\n{name} 2\n"));
    }
    flow.look();
    assert_eq!(flow.tailers.counters.rotations.get(), 0);
    flow.rename("renamed.log", "renamed.log.1");
    flow.copy("copytruncated.log", "copytruncated.log.1");
    flow.truncate("copytruncated.log");
    flow.append("copytruncated.log", "3\n");
    flow.truncate("truncated.log");
    flow.append("replaced.tmp", "another\n");
    flow.rename("replaced.tmp", "replaced.log");
    fs::remove_file(flow.path("removed.log")).unwrap();
    flow.gzip("compressed.log", "compressed.log.gz");
    flow.look();
    let counted = flow.tailers.counters.rotations.words();
    // The file that was compressed was also removed.
    let expected = names.map(|name| (name, if name == "removed" { 2 } else { 1 }));
    assert_eq!(counted, BTreeMap::from(expected));
    assert_eq!(flow.lost, 0);
    flow.look();
    assert_eq!(flow.tailers.counters.rotations.words(), counted, "each is counted once");
}

#[test]
fn a_fresh_line_waits_for_one_chunk_of_each_backlog_and_no_more() {
    let mut flow = Flow::new("*.log");
    for name in ["a.log", "b.log", "fresh.log"] {
        flow.append(name, "first\n");
    }
    flow.look();
    let backlog = "a line of a backlog\n".repeat(200_000);
    for name in ["a.log", "b.log"] {
        flow.append(name, &backlog);
        flow.tailers.written(&flow.path(name));
    }
    for _ in 0..5 {
        assert_eq!(flow.tailers.turn(flow.now, &flow.budget), Turn::Progress);
    }
    for _ in 0..3 {
        flow.append("fresh.log", "fresh\n");
        flow.tailers.written(&flow.path("fresh.log"));
        assert!(turns_until(&mut flow, "fresh.log") <= 3);
    }
    assert!(turns_until(&mut flow, "a.log") <= 2 && turns_until(&mut flow, "b.log") <= 2);
}

#[test]
fn when_the_memory_comes_back_a_fresh_line_still_waits_for_one_chunk_only() {
    let mut flow = Flow::new("*.log");
    for name in ["a.log", "fresh.log"] {
        flow.append(name, "first\n");
    }
    flow.look();
    flow.append("a.log", &"a line of a backlog\n".repeat(200_000));
    flow.tailers.written(&flow.path("a.log"));
    let none = Budget::new(0, 1).flow();
    assert_eq!(flow.tailers.turn(flow.now, &none), Turn::Blocked);
    flow.append("fresh.log", "fresh\n");
    flow.tailers.written(&flow.path("fresh.log"));
    assert_eq!(flow.tailers.turn(flow.now, &none), Turn::Blocked);
    assert!(turns_until(&mut flow, "fresh.log") <= 2);
}

#[test]
fn while_backlogs_are_held_only_fresh_lines_are_read() {
    let mut flow = Flow::new("*.log");
    for name in ["a.log", "fresh.log"] {
        flow.append(name, "first\n");
    }
    flow.look();
    flow.append("a.log", &"a line of a backlog\n".repeat(200_000));
    flow.tailers.written(&flow.path("a.log"));
    assert_eq!(turns_until(&mut flow, "a.log"), 1, "nobody knows yet that it is one");
    flow.tailers.hold_backlogs = true;
    assert_eq!(flow.tailers.turn(flow.now, &flow.budget), Turn::Blocked);
    flow.append("fresh.log", "fresh\n");
    flow.tailers.written(&flow.path("fresh.log"));
    assert_eq!(turns_until(&mut flow, "fresh.log"), 1);
    // A look at the folders, and an event, find what waits already.
    flow.tailers.written(&flow.path("a.log"));
    flow.tailers.scan(flow.now, 0);
    assert_eq!(flow.tailers.turn(flow.now, &flow.budget), Turn::Blocked);
    assert!(flow.tailers.has_turns());
    flow.tailers.hold_backlogs = false;
    flow.look();
    assert_eq!(flow.lines.len(), 2 + 200_000 + 1);
}

#[test]
fn what_is_done_each_second_leaves_idle_tails_alone() {
    let mut flow = Flow::new("*.log");
    for n in 0..300 {
        flow.append(&format!("{n}.log"), "x\n");
    }
    flow.look();
    flow.pass(120);
    assert_eq!(flow.tailers.tails.lively().count(), 0, "all are closed, stored and looked at");
    flow.append("7.log", "y\n");
    flow.tailers.written(&flow.path("7.log"));
    while flow.tailers.turn(flow.now, &flow.budget) == Turn::Progress {}
    assert_eq!(flow.tailers.tails.lively().count(), 1);
    flow.pass(120);
    assert_eq!(flow.tailers.tails.lively().count(), 0);
    flow.restart(|_| {});
    assert!(flow.tailers.tails().all(|tail| !tail.is_open()), "what did not change is not opened");
}

#[test]
fn many_files_do_not_exhaust_the_descriptors() {
    let mut flow = Flow::new("*.log");
    for n in 0..500 {
        flow.append(&format!("{n}.log"), "x\n");
    }
    flow.look();
    assert_eq!(flow.lines.len(), 500);
    let open = flow.tailers.tails().filter(|tail| tail.is_open()).count();
    assert!(open <= 100);
    assert_eq!(flow.tailers.counters.open_files.get(), open as u64);
    assert_eq!(flow.tailers.counters.files_followed.get(), flow.tailers.tails().count() as u64);
    flow.append("7.log", "y\n");
    flow.look();
    assert_eq!(flow.lines.len(), 501);
}

#[test]
fn a_partial_first_line_that_is_written_anew_is_read() {
    for again in ["xy\n", "rewritten\n", "another longer line\n"] {
        let mut flow = Flow::new("app.log");
        flow.append("app.log", "unfinished");
        flow.look();
        let later = std::time::SystemTime::now() + Duration::from_secs(1);
        fs::write(flow.path("app.log"), again).unwrap();
        File::options().write(true).open(flow.path("app.log")).unwrap().set_modified(later).unwrap();
        flow.look();
        flow.append("app.log", "next\n");
        flow.look();
        flow.restart(|_| {});
        flow.expect(&[again.trim_end(), "next"]);
    }
}

#[test]
fn files_with_numbered_names_and_equal_content_are_files_of_their_own() {
    let mut flow = Flow::new("*.log");
    for n in 0..300 {
        flow.append(&format!("svc-{n}.log"), "the same line\n");
    }
    flow.look();
    assert_eq!(flow.lines.len(), 300);
}

#[test]
fn a_file_that_may_not_be_looked_at_for_a_while_is_not_given_up() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.pass(100);
    let mut listing = flow.tailers.list().having_missed(&flow.path("app.log"));
    listing.in_motion = false;
    listing.errors.push((flow.path(""), io::ErrorKind::PermissionDenied.into()));
    flow.tailers.act_on(listing, flow.now, 0);
    flow.append("app.log", "2\n");
    flow.look();
    flow.expect(&["1", "2"]);
}

#[test]
fn reserved_space_is_not_sent_and_what_is_written_into_it_is() {
    use std::os::unix::fs::FileExt;
    for reserved in [3000, 5 << 20] {
        let mut flow = Flow::new("app.log");
        let file = File::create(flow.path("app.log")).unwrap();
        file.set_len(reserved).unwrap();
        flow.look();
        for (n, line) in ["1\n", "2\n", "3\n"].iter().enumerate() {
            file.write_all_at(line.as_bytes(), 2 * n as u64).unwrap();
            let later = std::time::SystemTime::now() + Duration::from_secs(n as u64 + 1);
            file.set_modified(later).unwrap();
            flow.pass(1);
            flow.expect(&[line.trim_end()]);
        }
        flow.restart(|_| {});
        file.set_len(6).unwrap();
        flow.append("app.log", "4\n");
        flow.rename("app.log", "app.log.1");
        flow.look();
        flow.pass(100);
        flow.expect(&["4"]);
        assert_eq!(flow.lost, 0);
    }
}

#[test]
fn the_last_line_of_a_file_that_was_emptied_and_renamed_between_two_looks_is_finished() {
    for in_order in [false, true] {
        let mut flow = Flow::new("app.log*");
        flow.in_order = in_order;
        flow.start();
        flow.append("app.log", "0\n");
        flow.look();
        flow.copy("app.log", "app.log.2");
        flow.truncate("app.log");
        flow.append("app.log", "1\n2");
        flow.rename("app.log", "app.log.1");
        flow.append("app.log", "3\n");
        flow.look();
        flow.pass(31);
        flow.pass(1);
        if !in_order {
            flow.lines.sort();
        }
        flow.expect(&["0", "1", "2", "3"]);
    }
}

#[test]
fn a_file_that_has_its_share_of_the_memory_leaves_the_rest_to_others_and_is_told_of_once() {
    let is_told = |flow: &Flow| {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        std::pin::pin!(flow.budget.short()).poll(&mut context).is_ready()
    };
    let mut flow = Flow::new("*.log");
    flow.tailers.options.shares_memory = true;
    flow.budget = Budget::new(4 << 20, 1).flow();
    let line = format!("{}\n", "x".repeat(999));
    for name in ["a.log", "b.log"] {
        flow.append(name, &line.repeat(6000));
    }
    flow.tailers.scan(flow.now, 0);
    let read_all = |flow: &mut Flow| while flow.tailers.turn(flow.now, &flow.budget) == Turn::Progress {};
    read_all(&mut flow);
    let used = flow.budget.used();
    assert!((2 << 20..3 << 20).contains(&used), "two thirds are taken: {used}");
    assert!(is_told(&flow) && !is_told(&flow));
    for number in 0..3 {
        // Nothing of the others is settled.
        flow.append("c.log", &format!("{number}\n"));
        flow.tailers.scan(flow.now, 0);
        read_all(&mut flow);
        assert!(!is_told(&flow), "nothing has to leave for it");
    }
    let of_c = |event: &TailEvent| matches!(event, TailEvent::Chunk { chunk, .. } if chunk.span.len() == 2);
    assert_eq!(flow.tailers.events.iter().filter(|event| of_c(event)).count(), 3);
    flow.tailers.events.clear();
    read_all(&mut flow);
    assert!(is_told(&flow), "they were read up to their shares again");
}
