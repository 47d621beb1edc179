//! What takes the place of a rotated file waits for it, where order is asked for.

use super::*;

#[test]
fn the_next_file_is_read_after_the_last_line_of_a_backlog() {
    for rotate in [Flow::rotate_by_name, Flow::rotate_by_copy] {
        let mut flow = Flow::in_order("app.log");
        flow.append("app.log", "first\n");
        flow.look();
        let backlog: Vec<String> = (0..30_000).map(|n| format!("a line that is not short {n}")).collect();
        flow.append("app.log", &(backlog.join("\n") + "\n"));
        rotate(&flow);
        flow.append("app.log", "fresh\n");
        flow.look();
        assert_eq!(flow.lines.len(), 30_002);
        assert_eq!(flow.lines[1..30_001], backlog);
        assert_eq!(flow.lines[30_001], "fresh");
        assert!(!flow.tailers.has_followers());
    }
}

#[test]
fn a_line_without_its_end_is_waited_for_until_it_is_finished() {
    let mut flow = Flow::in_order("app.log");
    flow.append("app.log", "1\n2");
    flow.look();
    flow.rename("app.log", "app.log.1");
    flow.append("app.log", "3\n");
    flow.look();
    flow.expect(&["1"]);
    flow.pass(31);
    flow.pass(1);
    flow.expect(&["2", "3"]);
}

#[test]
fn what_waits_is_not_finished_before_it_may_be_read() {
    let mut flow = Flow::in_order("app.log");
    flow.append("app.log", "1\n2");
    flow.look();
    flow.rename("app.log", "app.log.2");
    flow.append("app.log", "3\n");
    flow.look();
    flow.rename("app.log", "app.log.1");
    flow.append("app.log", "4\n");
    flow.pass(20);
    flow.append("app.log.2", "x");
    flow.pass(20);
    flow.expect(&["1"]);
    flow.pass(31);
    flow.pass(1);
    flow.expect(&["2x", "3", "4"]);
}

#[test]
fn no_more_files_stay_open_than_may() {
    let mut flow = Flow::in_order("*.log");
    flow.tailers.max_open.store(2, Ordering::Relaxed);
    (0..20).for_each(|number| flow.append(&format!("{number}.log"), "1\n2"));
    flow.tailers.scan(flow.now, 0);
    while flow.tailers.turn(flow.now, &flow.budget) == Turn::Progress {
        flow.collect();
        let open = flow.tailers.tails().filter(|tail| tail.is_open()).count();
        assert!(open <= 2, "{open} are open");
    }
    assert_eq!(flow.lines.len(), 20);
}

#[test]
fn predecessors_that_are_opened_stay_so_only_while_not_too_many_are() {
    let mut flow = Flow::in_order("*.log");
    for number in 0..20 {
        flow.append(&format!("{number}.log"), "1\n");
    }
    flow.look();
    flow.settle();
    for number in 0..20 {
        flow.append(&format!("{number}.log"), "2\n3");
        flow.rename(&format!("{number}.log"), &format!("{number}.log.1"));
        flow.append(&format!("{number}.log"), "4\n");
    }
    flow.start();
    flow.tailers.max_open.store(2, Ordering::Relaxed);
    flow.tailers.scan(flow.now, 0);
    let open: Vec<TailId> = flow.tailers.tails().filter(|tail| tail.is_open()).map(|tail| tail.id).collect();
    open.iter().for_each(|id| flow.tailers.tails.get_mut(*id).unwrap().close());
    flow.tailers.open_files = 0;
    while flow.tailers.turn(flow.now, &flow.budget) == Turn::Progress {
        flow.collect();
        let open = flow.tailers.tails().filter(|tail| tail.is_open()).count();
        assert!(open <= 3, "{open} are open");
    }
    for _ in 0..40 {
        flow.pass(31);
    }
    assert_eq!(flow.lines.len(), 20 * 4);
    for name in ["3", "4"] {
        assert_eq!(flow.lines.iter().filter(|line| *line == name).count(), 20);
    }
}

#[test]
fn what_is_written_late_is_not_waited_for() {
    let mut flow = Flow::in_order("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.rename("app.log", "app.log.1");
    flow.append("app.log", "2\n");
    flow.look();
    flow.append("app.log.1", "late");
    flow.append("app.log", "3\n");
    flow.look();
    flow.expect(&["1", "2", "3"]);
    flow.pass(31);
    flow.expect(&["late"]);
}

#[test]
fn an_empty_successor_lets_its_predecessor_grow() {
    let mut flow = Flow::in_order("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.rename("app.log", "app.log.1");
    flow.append("app.log", "");
    flow.look();
    flow.append("app.log.1", "2\n3");
    flow.look();
    flow.append("app.log", "4\n");
    flow.look();
    flow.expect(&["1", "2"]);
    flow.pass(31);
    flow.pass(1);
    flow.expect(&["3", "4"]);
}

#[test]
fn generations_are_read_one_after_the_other_also_after_a_restart() {
    let mut flow = Flow::in_order("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.restart(|flow| {
        flow.append("app.log", "2\n");
        flow.rename("app.log", "app.log.3");
        set_ahead(flow, "app.log.3", 1);
        flow.append("app.log", "3\n");
        set_ahead(flow, "app.log", 2);
        flow.gzip("app.log", "app.log.2.gz");
        set_ahead(flow, "app.log.2.gz", 2);
        flow.append("app.log", "4\n");
        flow.rename("app.log", "app.log.1");
        set_ahead(flow, "app.log.1", 3);
        flow.append("app.log", "5\n");
        set_ahead(flow, "app.log", 4);
    });
    flow.pass(1);
    flow.expect(&["1", "2", "3", "4", "5"]);
}

#[test]
fn a_compressed_file_that_waits_does_not_keep_the_one_before_from_being_unpacked() {
    let mut flow = Flow::in_order("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.settle();
    flow.append("app.log", "2\n");
    flow.gzip("app.log", "app.log.1.gz");
    flow.append("app.log", "3\n");
    flow.start();
    flow.tailers.scan(flow.now, 0);
    flow.collect();
    flow.settle();
    flow.rename("app.log.1.gz", "app.log.2.gz");
    flow.gzip("app.log", "app.log.1.gz");
    set_ahead(&flow, "app.log.1.gz", 1);
    flow.append("app.log", "4\n");
    set_ahead(&flow, "app.log", 2);
    flow.start();
    flow.pass(1);
    flow.expect(&["1", "2", "3", "4"]);
}

#[test]
fn a_file_that_was_not_found_while_names_moved_is_waited_for() {
    let mut flow = Flow::in_order("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.settle();
    flow.append("app.log", "2\n");
    flow.rename("app.log", "away");
    flow.append("app.log", "3\n");
    flow.start();
    let mut listing = flow.tailers.list();
    listing.in_motion = true;
    flow.tailers.act_on(listing, flow.now, 0);
    flow.rename("away", "app.log.1");
    flow.read();
    flow.look();
    flow.expect(&["1", "2", "3"]);
}

#[test]
fn a_file_that_was_renamed_since_the_last_look_is_waited_for() {
    let mut flow = Flow::in_order("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.append("app.log", "2\n");
    flow.rename("app.log", "app.log.1");
    flow.append("app.log", "3\n");
    flow.tailers.scan(flow.now, 0);
    flow.collect();
    let first = flow.tailers.tails().next().unwrap().id;
    flow.tailers.tails.get_mut(first).unwrap().close();
    flow.rename("app.log.1", "app.log.2");
    flow.append("app.log.1", "another\n");
    flow.read();
    fs::remove_file(flow.path("app.log.1")).unwrap();
    flow.look();
    flow.expect(&["1", "2", "3"]);
}

#[test]
fn an_empty_file_may_have_been_copied_and_cut_before_it_is_read() {
    let mut flow = Flow::in_order("app.log");
    flow.append("app.log", "");
    flow.look();
    flow.append("app.log", "1\n");
    flow.rotate_by_copy();
    flow.append("app.log", "2\n");
    flow.read_what_is_written("app.log");
    flow.look();
    flow.expect(&["1", "2"]);
}

#[test]
fn what_is_in_a_file_that_was_empty_comes_behind_what_was_copied_from_it() {
    let mut flow = Flow::in_order("app.log");
    flow.append("app.log", "");
    flow.look();
    flow.append("app.log", "1\n");
    flow.rotate_by_copy();
    flow.append("app.log", "2\n");
    flow.read_what_is_written("app.log");
    let path = flow.path("app.log");
    flow.tailers.written(&path);
    flow.look();
    flow.expect(&["1", "2"]);
}

#[test]
fn a_file_that_was_cut_before_it_was_read_is_noticed() {
    let mut flow = Flow::in_order("app.log");
    flow.append("app.log", "1\n");
    flow.tailers.scan(flow.now, 0);
    flow.collect();
    flow.rotate_by_copy();
    flow.read_what_is_written("app.log");
    flow.append("app.log", "2\n");
    flow.look();
    flow.expect(&["1", "2"]);
}

#[test]
fn a_file_that_was_cut_and_written_to_within_a_tick_is_noticed() {
    let mut flow = Flow::in_order("app.log");
    flow.append("app.log", "1\n2\n3\n");
    let time = std::time::SystemTime::now();
    let within_a_tick = |flow: &Flow| {
        File::options().write(true).open(flow.path("app.log")).unwrap().set_modified(time).unwrap();
    };
    within_a_tick(&flow);
    flow.look();
    flow.truncate("app.log");
    flow.append("app.log", "4\n");
    within_a_tick(&flow);
    flow.read_what_is_written("app.log");
    flow.look();
    flow.expect(&["1", "2", "3", "4"]);
    flow.truncate("app.log");
    flow.append("app.log", "5\n");
    within_a_tick(&flow);
    flow.read_what_is_written("app.log");
    flow.look();
    flow.expect(&["5"]);
}

#[test]
fn a_file_that_was_copied_and_cut_after_it_was_listed_waits_for_its_copy() {
    let mut flow = Flow::in_order("app.log");
    flow.append("app.log", "0\n");
    flow.look();
    flow.rename("app.log", "app.log.2");
    flow.append("app.log", "1\n");
    let listing = flow.tailers.list();
    flow.rotate_by_copy();
    flow.tailers.act_on(listing, flow.now, 0);
    flow.append("app.log", "2\n");
    flow.read_what_is_written("app.log");
    flow.look();
    flow.expect(&["0", "1", "2"]);
}

#[test]
fn a_deleted_predecessor_is_read_first() {
    let mut flow = Flow::in_order("app.log");
    flow.append("app.log", "1\n2");
    flow.look();
    fs::remove_file(flow.path("app.log")).unwrap();
    flow.append("app.log", "3\n");
    flow.look();
    flow.expect(&["1"]);
    flow.pass(31);
    flow.pass(1);
    flow.expect(&["2", "3"]);
}

#[test]
fn what_only_a_descriptor_keeps_is_read_at_a_stop_without_waiting() {
    let mut flow = Flow::in_order("app.log");
    flow.append("app.log", "1\n2");
    flow.look();
    flow.rename("app.log", "app.log.1");
    flow.append("app.log", "3\n");
    flow.look();
    fs::remove_file(flow.path("app.log")).unwrap();
    flow.append("app.log", "");
    flow.look();
    // It was empty at the last look.
    flow.append("app.log", "4\n");
    let path = flow.path("app.log");
    flow.tailers.written(&path);
    let last = flow.tailers.tails.at(&path).unwrap().id;
    fs::remove_file(path).unwrap();
    flow.tailers.tails.get_mut(last).unwrap().look(flow.now).unwrap();
    flow.expect(&["1"]);
    flow.read();
    assert!(flow.tailers.has_followers());
    while flow.tailers.only_nameless(flow.now, &flow.budget) {
        flow.tailers.turn(flow.now, &flow.budget);
        flow.collect();
    }
    flow.expect(&["3", "4"]);
}

#[test]
fn a_file_that_was_cut_while_it_waited_is_read_before_what_was_in_it_next() {
    let mut flow = Flow::in_order("app.log");
    flow.append("app.log", "1\n2");
    flow.look();
    flow.rename("app.log", "app.log.1");
    flow.append("app.log", "3\n");
    flow.tailers.scan(flow.now, 0);
    flow.read_what_is_written("app.log");
    for name in ["app.log.3", "app.log.2"] {
        flow.copy("app.log", name);
        flow.truncate("app.log");
        flow.gzip(name, &format!("{name}.gz"));
        flow.append("app.log", &format!("behind {name}\n"));
    }
    flow.read_what_is_written("app.log");
    flow.tailers.scan(flow.now, 0);
    flow.read_what_is_written("app.log");
    flow.now += Duration::from_secs(31);
    flow.tailers.tend(flow.now, &flow.budget);
    flow.read_what_is_written("app.log");
    flow.pass(1);
    flow.expect(&["1", "2", "3", "behind app.log.3", "behind app.log.2"]);
}

#[test]
fn what_was_copied_and_cut_without_a_change_of_size_or_time_is_read() {
    for (is_cut_again, is_restarted) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut flow = Flow::in_order("app.log");
        flow.append("app.log", "0\n");
        flow.look();
        flow.settle();
        let time = fs::metadata(flow.path("app.log")).unwrap().modified().unwrap();
        flow.copy("app.log", "app.log.2");
        for line in ["1\n", "2\n"] {
            if line == "2\n" {
                flow.copy("app.log", "app.log.1");
            }
            flow.truncate("app.log");
            flow.append("app.log", line);
            File::options().append(true).open(flow.path("app.log")).unwrap().set_modified(time).unwrap();
        }
        if is_restarted {
            flow.start();
        }
        let listing = flow.tailers.list();
        if is_cut_again {
            flow.copy("app.log", "app.log.3");
            flow.truncate("app.log");
            flow.append("app.log", "3 and more\n");
        }
        flow.tailers.act_on(listing, flow.now, 0);
        flow.read();
        flow.look();
        let expected = ["0", "1", "2", "3 and more"];
        flow.expect(&expected[..3 + usize::from(is_cut_again)]);
    }
}

#[test]
fn what_was_copied_and_cut_after_it_was_listed_is_read_before_what_is_there_now() {
    for listed_copy in [false, true] {
        let mut flow = Flow::in_order("app.log");
        flow.append("app.log", "0\n");
        flow.look();
        flow.copy("app.log", "app.log.2");
        flow.truncate("app.log");
        flow.append("app.log", "1\n");
        if listed_copy {
            flow.copy("app.log", "app.log.1");
        }
        let listing = flow.tailers.list();
        if !listed_copy {
            flow.copy("app.log", "app.log.1");
        }
        flow.truncate("app.log");
        flow.append("app.log", "2 and more\n");
        flow.tailers.act_on(listing, flow.now, 0);
        flow.read();
        flow.look();
        flow.expect(&["0", "1", "2 and more"]);
    }
}
