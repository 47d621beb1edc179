//! Files that are deleted or replaced while they are read.

use super::*;

#[test]
fn a_deleted_file_that_was_read_is_handed_on_since_it_may_not_be_settled() {
    let mut flow = Flow::new("a.log");
    flow.append("a.log", "1\nlast");
    flow.look();
    fs::remove_file(flow.path("a.log")).unwrap();
    flow.look();
    flow.tailers.finish_deleted(flow.now, &flow.budget);
    flow.collect();
    flow.expect(&["1", "last"]);
    assert_eq!(flow.rows.len(), 1, "its row stays");
    let held = flow.tailers.into_held();
    assert_eq!(held.values().map(|file| file.nameless_bytes).collect::<Vec<_>>(), [0]);
}

#[test]
fn what_was_read_of_a_deleted_file_and_not_settled_before_a_kill_is_reported() {
    let mut flow = Flow::new("*.log");
    flow.append("b.log", "b\n");
    flow.append("a.log", "1\n");
    flow.look();
    fs::remove_file(flow.path("a.log")).unwrap();
    flow.look();
    flow.pass(31);
    flow.lines.sort();
    flow.expect(&["1", "b"]);
    for row in flow.rows.values_mut() {
        (row.offset, row.anchors) = (0, Vec::new());
    }
    flow.offsets.clear();
    flow.start();
    flow.look();
    assert_eq!(flow.lost, 2);
}

#[test]
fn a_deleted_file_is_read_to_its_end() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    flow.append("app.log", "2\nlast");
    fs::remove_file(flow.path("app.log")).unwrap();
    flow.append("app.log", "new\n");
    flow.look();
    flow.pass(31);
    flow.lines.sort();
    flow.expect(&["1", "2", "last", "new"]);
    assert_eq!((flow.lost, flow.tailers.tails().count()), (0, 1));
}

#[test]
fn deleted_files_hold_at_most_so_much_of_the_disk_and_the_oldest_are_let_go() {
    let mut flow = Flow::new("*.log");
    let line = "x".repeat(99_999) + "\n";
    for name in ["a.log", "b.log", "c.log"] {
        flow.append(name, &line);
    }
    let full = Budget::new(0, 1).flow();
    let budget = std::mem::replace(&mut flow.budget, full);
    flow.look();
    for name in ["b.log", "a.log", "c.log"] {
        fs::remove_file(flow.path(name)).unwrap();
        flow.look();
    }
    assert_eq!(flow.lost, 0, "a tenth of the disk is enough");
    flow.tailers.removed.set_limit(Some(250_000));
    flow.look();
    assert_eq!((flow.lost, &flow.reasons[..]), (100_000, &[LossReason::Space][..]));
    flow.budget = budget;
    flow.look();
    assert_eq!(flow.lines.len(), 2, "the others are read");
    assert_eq!(flow.tailers.counters.removed_bytes.get(), 0, "what is read holds nothing");
}

#[test]
fn what_was_regrown_while_there_was_no_memory_is_read_also_after_it_is_deleted() {
    let mut flow = Flow::new("app.log");
    flow.append("app.log", "1\n");
    flow.look();
    fs::write(flow.path("app.log"), "2\n3\n").unwrap();
    flow.tailers.written(&flow.path("app.log"));
    let no_memory = Budget::new(0, 1).flow();
    assert_eq!(flow.tailers.turn(flow.now, &no_memory), Turn::Blocked);
    flow.tailers.scan(flow.now, 0);
    fs::remove_file(flow.path("app.log")).unwrap();
    flow.look();
    flow.expect(&["1", "2", "3"]);
}
