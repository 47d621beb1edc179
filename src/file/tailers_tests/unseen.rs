//! Generations that were compressed before any look saw them, and what was there before the flow: the
//! two look alike, and only the first is to be read.

use super::*;

/// `copytruncate` with `compress`: the copy is as old as its bytes, its compression too.
fn copy_and_truncate(flow: &Flow, seconds: u64) {
    flow.copy("app.log", "app.log.1");
    set_ahead(flow, "app.log.1", seconds);
    flow.truncate("app.log");
    set_ahead(flow, "app.log", seconds + 1);
}

fn compress(flow: &Flow, seconds: u64) {
    flow.gzip("app.log.1", "app.log.1.gz");
    set_ahead(flow, "app.log.1.gz", seconds);
}

/// Files are often written within one tick of the clock that their times are taken from: here the one
/// of the flow's first start.
fn same_tick(flow: &Flow, names: &[&str]) {
    let since_epoch = Duration::from_millis(flow.tailers.past.first_start_millis as u64);
    let time = std::time::UNIX_EPOCH + since_epoch;
    for name in names {
        File::options().write(true).open(flow.path(name)).unwrap().set_modified(time).unwrap();
    }
}

#[test]
fn what_was_compressed_before_the_first_look_of_a_flow_is_left_alone() {
    for pattern in ["app.log", "app.log*"] {
        let mut flow = Flow::with(tempfile::tempdir().unwrap(), pattern, InitialPosition::StartOfFile, true);
        flow.append("app.log", "before\n");
        flow.gzip("app.log", "app.log.1.gz");
        flow.append("app.log", "1\n");
        set_ahead(&flow, "app.log", 1);
        flow.look();
        flow.expect(&["1"]);
    }
}

#[test]
fn what_was_compressed_in_the_tick_of_the_first_look_of_a_flow_is_left_alone() {
    for pattern in ["app.log", "app.log*", "*.log"] {
        let mut flow = Flow::with(tempfile::tempdir().unwrap(), pattern, InitialPosition::StartOfFile, true);
        flow.append("app.log", "before\n");
        flow.gzip("app.log", "app.log.1.gz");
        flow.append("app.log", "1\n");
        same_tick(&flow, &["app.log", "app.log.1.gz"]);
        flow.look();
        flow.expect(&["1"]);
    }
}

#[test]
fn nothing_from_before_the_first_start_is_read_from_the_end_on_whatever_becomes_of_it_at_once() {
    for (compressed_before, certain) in [(true, true), (false, true), (true, false), (false, false)] {
        let folder = tempfile::tempdir().unwrap();
        let mut flow = Flow::with(folder, "app.log", InitialPosition::EndOfFile, true);
        flow.append("app.log.2", "archive\n");
        flow.append("app.log", "before\n");
        if compressed_before {
            flow.gzip("app.log.2", "app.log.2.gz");
        }
        let archive = if compressed_before { "app.log.2.gz" } else { "app.log.2" };
        same_tick(&flow, &["app.log", archive]);
        let mut listing = flow.tailers.list();
        listing.in_motion = !certain;
        flow.tailers.act_on(listing, flow.now, 0);
        flow.collect();
        let time = fs::metadata(flow.path(archive)).unwrap().modified().unwrap();
        if !compressed_before {
            flow.gzip("app.log.2", "app.log.2.gz");
        }
        flow.rename("app.log.2.gz", "app.log.3.gz");
        File::options().write(true).open(flow.path("app.log.3.gz")).unwrap().set_modified(time).unwrap();
        flow.append("app.log", "1\n");
        copy_and_truncate(&flow, 1);
        flow.gzip("app.log.1", "app.log.2.gz");
        set_ahead(&flow, "app.log.2.gz", 1);
        flow.append("app.log", "2 and more\n");
        copy_and_truncate(&flow, 3);
        compress(&flow, 3);
        flow.append("app.log", "3\n");
        set_ahead(&flow, "app.log", 6);
        flow.look();
        flow.lines.sort();
        flow.expect(&["1", "2 and more", "3"]);
    }
}

#[test]
fn a_copy_that_is_compressed_and_whose_origin_grows_again_during_a_look_is_found_at_the_next() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.append("app.log", "2\n");
    let listing = flow.tailers.list();
    copy_and_truncate(&flow, 1);
    compress(&flow, 1);
    flow.append("app.log", "3 and more\n");
    set_ahead(&flow, "app.log", 3);
    flow.tailers.act_on(listing, flow.now, 0);
    flow.look();
    flow.lines.sort();
    flow.expect(&["1", "2", "3 and more"]);
    assert_eq!(flow.lost, 0);
}

#[test]
fn what_is_written_to_an_empty_file_and_copied_away_during_a_look_is_found_compressed_at_the_next() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "");
    flow.look();
    flow.append("app.log", "1\n");
    let listing = flow.tailers.list();
    copy_and_truncate(&flow, 1);
    flow.tailers.act_on(listing, flow.now, 0);
    compress(&flow, 1);
    flow.append("app.log", "2\n");
    set_ahead(&flow, "app.log", 3);
    flow.look();
    flow.lines.sort();
    flow.expect(&["1", "2"]);
}

#[test]
fn a_generation_that_is_compressed_during_an_impatient_look_is_found_at_the_next() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    copy_and_truncate(&flow, 1);
    compress(&flow, 1);
    flow.rename("app.log.1.gz", "app.log.2.gz");
    flow.append("app.log", "2 and more\n");
    copy_and_truncate(&flow, 3);
    // Names moved at each look for so long that this one must do.
    flow.tailers.names_move(flow.now);
    flow.now += Duration::from_secs(20);
    let listing = flow.tailers.list();
    compress(&flow, 3);
    flow.tailers.act_on(listing, flow.now, 0);
    flow.append("app.log", "3\n");
    set_ahead(&flow, "app.log", 6);
    flow.look();
    flow.lines.sort();
    flow.expect(&["1", "2 and more", "3"]);
}

#[test]
fn a_generation_is_not_older_than_the_next_life_that_a_killed_agent_saw() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    copy_and_truncate(&flow, 1);
    compress(&flow, 1);
    flow.rename("app.log.1.gz", "app.log.2.gz");
    flow.append("app.log", "2 and more\n");
    copy_and_truncate(&flow, 3);
    compress(&flow, 3);
    flow.append("app.log", "3\n");
    set_ahead(&flow, "app.log", 6);
    // It is seen to change, and is not read yet.
    flow.tailers.poll(flow.folder.path(), Duration::from_secs(60), flow.now);
    flow.tailers.take_changes();
    flow.collect();
    flow.settle();
    flow.start();
    flow.look();
    flow.lines.sort();
    flow.expect(&["1", "2 and more", "3"]);
}

#[test]
fn a_generation_whose_origin_was_still_there_at_a_look_is_read_once_it_is_compressed() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    copy_and_truncate(&flow, 1);
    flow.look();
    flow.stop_after(0);
    compress(&flow, 1);
    flow.rename("app.log.1.gz", "app.log.2.gz");
    flow.append("app.log", "2 and more\n");
    copy_and_truncate(&flow, 3);
    flow.copy("app.log.1", "aside");
    compress(&flow, 3);
    // The second copy has the inode of the first.
    flow.rename("aside", "app.log.1");
    let inode = fs::metadata(flow.path("app.log.1")).unwrap().ino();
    for row in flow.rows.values_mut().filter(|row| row.path.ends_with("app.log.1")) {
        row.identity.inode = inode;
    }
    flow.start();
    let listing = flow.tailers.list();
    fs::remove_file(flow.path("app.log.1")).unwrap();
    flow.tailers.act_on(listing, flow.now, 0);
    flow.append("app.log", "3\n");
    set_ahead(&flow, "app.log", 6);
    flow.look();
    flow.lines.sort();
    flow.expect(&["1", "2 and more", "3"]);
}

#[test]
fn a_new_file_that_is_copied_cut_and_compressed_before_it_is_opened_is_read_from_its_copy() {
    for (certain, copied_before) in [(true, false), (false, false), (true, true)] {
        let mut flow = Flow::new("*.log");
        flow.append("other.log", "0\n");
        flow.look();
        flow.expect(&["0"]);
        flow.append("app.log", "1\n");
        if copied_before {
            flow.copy("app.log", "app.log.1");
            set_ahead(&flow, "app.log.1", 1);
        }
        let mut listing = flow.tailers.list();
        listing.in_motion = !certain;
        if copied_before {
            flow.truncate("app.log");
        } else {
            copy_and_truncate(&flow, 1);
            compress(&flow, 1);
        }
        flow.append("app.log", "2 and more\n");
        set_ahead(&flow, "app.log", 3);
        flow.tailers.act_on(listing, flow.now, 0);
        flow.look();
        flow.lines.sort();
        assert_eq!(flow.lines, ["1", "2 and more"], "certain {certain}, copied before {copied_before}");
    }
}

#[test]
fn what_was_there_before_the_first_start_is_left_alone_although_its_compression_is_younger() {
    let mut flow = Flow::with(tempfile::tempdir().unwrap(), "app.log", InitialPosition::EndOfFile, true);
    flow.append("app.log.1", "archive\n");
    flow.append("app.log", "before\n");
    flow.tailers.scan(flow.now, 0);
    flow.collect();
    compress(&flow, 5);
    flow.append("app.log", "1\n");
    flow.look();
    flow.expect(&["1"]);
}

#[test]
fn what_is_older_than_the_first_file_of_its_name_is_left_alone_also_if_names_moved() {
    let mut flow = Flow::new("*.log");
    flow.append("other.log", "0\n");
    flow.look();
    flow.append("app.log.1", "archive\n");
    compress(&flow, 0);
    flow.append("app.log", "1\n");
    set_ahead(&flow, "app.log", 1);
    let mut listing = flow.tailers.list();
    listing.in_motion = true;
    flow.tailers.act_on(listing, flow.now, 0);
    flow.look();
    flow.expect(&["0", "1"]);
}

#[test]
fn a_generation_of_what_was_empty_is_not_older_than_the_next_that_was_read_before_a_stop() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "");
    set_ahead(&flow, "app.log", 1);
    flow.look();
    flow.append("app.log", "1\n");
    copy_and_truncate(&flow, 2);
    compress(&flow, 2);
    flow.append("app.log", "2\n");
    set_ahead(&flow, "app.log", 4);
    flow.read_what_is_written("app.log");
    flow.expect(&["2"]);
    flow.stop_after(0);
    flow.append("app.log", "3\n");
    set_ahead(&flow, "app.log", 6);
    flow.start_since(millis_ago(60));
    flow.look();
    flow.lines.sort();
    flow.expect(&["1", "3"]);
    flow.restart(|_| ());
    flow.expect(&[]);
}

#[test]
fn the_time_of_what_was_empty_is_stored_once_a_look_has_seen_all() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "");
    flow.look();
    flow.append("app.log", "1\n");
    set_ahead(&flow, "app.log", 2);
    let path = flow.path("app.log");
    let stored = |flow: &Flow| flow.rows.values().map(|row| row.modified_millis).max().unwrap();
    flow.read_what_is_written("app.log");
    flow.stop_after(0);
    let time = fs::metadata(&path).unwrap().mtime() * 1000;
    assert!(stored(&flow) < time);
    flow.look();
    assert!(stored(&flow) >= time);
}

#[test]
fn a_copy_in_the_making_that_got_the_inode_of_a_deleted_one_is_no_file_of_its_own() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    copy_and_truncate(&flow, 1);
    flow.look();
    flow.stop_after(0);
    compress(&flow, 1);
    flow.rename("app.log.1.gz", "app.log.2.gz");
    flow.append("app.log", "2\n");
    flow.append("app.log.1", "");
    let inode = fs::metadata(flow.path("app.log.1")).unwrap().ino();
    for row in flow.rows.values_mut().filter(|row| row.path.ends_with("app.log.1")) {
        row.identity.inode = inode;
    }
    flow.start();
    flow.look();
    copy_and_truncate(&flow, 3);
    flow.look();
    flow.append("app.log", "3 and more\n");
    flow.look();
    flow.lines.sort();
    flow.expect(&["1", "2", "3 and more"]);
}

#[test]
fn a_compression_that_was_seen_beside_its_origin_is_not_read_once_that_is_forgotten() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    copy_and_truncate(&flow, 1);
    flow.copy("app.log.1", "aside");
    flow.gzip("aside", "app.log.1.gz");
    set_ahead(&flow, "app.log.1.gz", 1);
    flow.look();
    fs::remove_file(flow.path("app.log.1")).unwrap();
    flow.look();
    flow.append("app.log", "2\n");
    set_ahead(&flow, "app.log", 2);
    flow.look();
    // What it is known by is another's by the time that it is let go.
    flow.rename("app.log.1.gz", "app.log.2.gz");
    copy_and_truncate(&flow, 3);
    compress(&flow, 3);
    flow.now += Duration::from_secs(40);
    flow.tailers.tend(flow.now, &flow.budget);
    flow.tailers.tend(flow.now, &flow.budget);
    flow.append("app.log", "3 and more\n");
    flow.look();
    flow.expect(&["1", "2", "3 and more"]);
}

#[test]
fn a_deleted_file_is_not_let_go_before_a_look_that_saw_all() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    copy_and_truncate(&flow, 1);
    flow.copy("app.log.1", "aside");
    flow.gzip("aside", "app.log.1.gz");
    set_ahead(&flow, "app.log.1.gz", 1);
    flow.look();
    flow.append("app.log", "2\n");
    set_ahead(&flow, "app.log", 2);
    flow.look();
    fs::remove_file(flow.path("app.log.1")).unwrap();
    let listing = flow.tailers.list();
    flow.rename("app.log.1.gz", "app.log.2.gz");
    flow.tailers.act_on(listing, flow.now, 0);
    flow.read();
    flow.now += Duration::from_secs(40);
    flow.tailers.tend(flow.now, &flow.budget);
    copy_and_truncate(&flow, 3);
    flow.append("app.log", "3 and more\n");
    flow.look();
    flow.expect(&["1", "2", "3 and more"]);
}

#[test]
fn what_was_copied_before_a_new_file_was_opened_is_found_after_a_restart() {
    let mut flow = Flow::new("*.log");
    flow.append("other.log", "0\n");
    flow.look();
    flow.append("app.log", "1\n");
    let listing = flow.tailers.list();
    copy_and_truncate(&flow, 1);
    compress(&flow, 1);
    flow.append("app.log", "2 and more\n");
    set_ahead(&flow, "app.log", 3);
    flow.tailers.act_on(listing, flow.now, 0);
    flow.read();
    flow.stop_after(0);
    flow.start_since(millis_ago(60));
    flow.look();
    flow.lines.sort();
    flow.expect(&["0", "1", "2 and more"]);
    flow.rename("app.log.1.gz", "app.log.2.gz");
    flow.stop_after(0);
    flow.start_since(millis_ago(60));
    flow.look();
    flow.expect(&[]);
}

#[test]
fn a_copy_beside_a_file_that_was_listed_empty_is_read_at_once() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    copy_and_truncate(&flow, 1);
    flow.rename("app.log.1", "app.log.2");
    flow.append("app.log", "2\n");
    copy_and_truncate(&flow, 3);
    let time = fs::metadata(flow.path("app.log.1")).unwrap().modified().unwrap();
    File::options().write(true).open(flow.path("app.log")).unwrap().set_modified(time).unwrap();
    let listing = flow.tailers.list();
    flow.append("app.log", "3 and more\n");
    flow.tailers.act_on(listing, flow.now, 0);
    flow.read();
    flow.lines.sort();
    flow.expect(&["1", "2", "3 and more"]);
}
