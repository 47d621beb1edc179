//! What happens while the agent is stopped, and what a killed one leaves behind.

use super::*;

#[test]
fn a_file_that_is_there_at_the_first_start_is_read_from_its_end() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.log"), "old\npart").unwrap();
    let mut flow = Flow::with(folder, "*.log", InitialPosition::EndOfFile, true);
    flow.look();
    flow.expect(&[]);
    flow.append("a.log", "ial\nnew\n");
    flow.append("b.log", "b\n");
    flow.look();
    flow.lines.sort();
    flow.expect(&["b", "new", "partial"]);
}

#[test]
fn start_of_file_reads_all_files() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.log"), "a\n").unwrap();
    fs::write(folder.path().join("b.log"), "b\n").unwrap();
    let mut flow = Flow::with(folder, "*.log", InitialPosition::StartOfFile, true);
    flow.look();
    flow.expect(&["a", "b"]);
}

#[test]
fn an_empty_file_that_was_moved_while_stopped_is_not_taken_for_another_beside_it() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "");
    flow.look();
    flow.restart(|flow| {
        fs::create_dir(flow.path("old")).unwrap();
        flow.append("app.log.1", "");
        flow.append("app.log", "1\n");
        flow.rename("app.log", "old/app.log.1");
    });
    flow.expect(&["1"]);
}

#[test]
fn backlogs_of_an_earlier_run_are_held_although_nothing_can_be_read_yet() {
    let mut flow = Flow::new("*.log");
    for name in ["a.log", "b.log", "c.log"] {
        flow.append(name, &format!("{name}\n"));
    }
    flow.tailers.scan(flow.now, 0);
    flow.collect();
    flow.offsets.clear();
    flow.start();
    let full = std::mem::replace(&mut flow.budget, Budget::new(0, 1).flow());
    flow.look();
    for name in ["a.log", "b.log", "c.log"] {
        fs::remove_file(flow.path(name)).unwrap();
    }
    flow.look();
    flow.budget = full;
    flow.look();
    flow.lines.sort();
    flow.expect(&["a.log", "b.log", "c.log"]);
    assert_eq!(flow.lost, 0);
}

#[test]
fn rotations_while_stopped_are_caught_up_with() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.restart(|flow| {
        flow.append("app.log", "2\n");
        flow.rename("app.log", "app.log.1");
        flow.append("app.log", "3\n");
    });
    flow.lines.sort();
    flow.expect(&["1", "2", "3"]);
}

#[test]
fn a_file_that_is_renamed_to_any_name_while_running_stays_known() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.rename("app.log", "kept.txt");
    flow.append("kept.txt", "2\n");
    flow.look();
    flow.pass(3600);
    flow.append("kept.txt", "3\n");
    flow.look();
    flow.restart(|flow| flow.append("kept.txt", "4\n"));
    flow.expect(&["1", "2", "3", "4"]);
}

#[test]
fn what_cannot_be_found_is_reported_in_bytes() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.append("other.txt", "x");
    flow.look();
    let mut row = flow.rows.values().next().unwrap().clone();
    row.size = 10;
    flow.rows.insert(row.tail, row);
    flow.restart(|flow| fs::remove_file(flow.path("app.log")).unwrap());
    assert_eq!((flow.lost, &*flow.reasons), (8, &[LossReason::NotFoundAtStart][..]));
}

#[test]
fn a_reboot_that_changes_device_numbers_repeats_nothing() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    for row in flow.rows.values_mut() {
        row.identity.device += 1;
    }
    flow.restart(|flow| flow.append("app.log", "2\n"));
    flow.expect(&["1", "2"]);
}

#[test]
fn a_file_that_lost_its_end_goes_on_from_the_anchor_that_agrees() {
    let mut flow = Flow::new("app.log");
    let lines: Vec<String> = (0..3000).map(|n| format!("{n:07}")).collect();
    for part in lines.chunks(500) {
        flow.append("app.log", &(part.join("\n") + "\n"));
        flow.look();
    }
    flow.lines.clear();
    flow.restart(|flow| {
        let file = File::options().write(true).open(flow.path("app.log")).unwrap();
        file.set_len(20_000).unwrap();
        flow.append("app.log", "after\n");
    });
    assert_eq!(flow.tailers.counters.rotations.words(), [("cut", 1)].into());
    assert_eq!(flow.lines.last().unwrap(), "after");
    assert!(flow.lines.len() < 1001, "{}", flow.lines.len());
}

/// It was read to its end, but a crash came before anything of it was settled.
#[test]
fn a_finished_file_that_was_not_settled_is_read_again() {
    for packed in [false, true] {
        let mut flow = Flow::new("app.log");
        flow.append("app.log", "1\n");
        flow.look();
        flow.append("app.log", "2\n");
        flow.rename("app.log", "app.log.1");
        if packed {
            flow.restart(|flow| flow.gzip("app.log.1", "app.log.1.gz"));
        }
        flow.look();
        flow.pass(40);
        flow.pass(40);
        flow.expect(&["1", "2"]);
        let row = flow.rows.values_mut().next().unwrap();
        assert_eq!(row.size, 4);
        row.state = TailState::Finished;
        (row.offset, row.anchors) = (2, vec![crate::file::Anchor::of(2, b"1\n")]);
        flow.offsets.insert(row.tail, 2);
        flow.start();
        flow.look();
        flow.expect(&["2"]);
    }
}

#[test]
fn a_file_that_only_a_link_led_to_is_read_to_its_end_after_a_restart() {
    let mut flow = Flow::new("current");
    flow.append("a-x", "1\n");
    std::os::unix::fs::symlink("a-x", flow.path("current")).unwrap();
    flow.look();
    flow.restart(|flow| {
        flow.append("a-x", "2\n");
        flow.append("b-x", "3\n");
        fs::remove_file(flow.path("current")).unwrap();
        std::os::unix::fs::symlink("b-x", flow.path("current")).unwrap();
    });
    flow.lines.sort();
    flow.expect(&["1", "2", "3"]);
}
