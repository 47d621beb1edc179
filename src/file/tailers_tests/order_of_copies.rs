//! What is copied from a file that was empty comes before what is in it now, where order is asked for,
//! however the copies are found: no content tells whose they are.

use super::*;

#[test]
fn what_was_seen_to_fill_an_empty_file_before_a_crash_comes_behind_what_was_copied_from_it() {
    let mut flow = Flow::in_order("app.log");
    flow.append("app.log", "");
    flow.look();
    flow.append("app.log", "1\n");
    flow.rotate_by_copy();
    flow.append("app.log", "2\n");
    set_ahead(&flow, "app.log", 2);
    flow.read_what_is_written("app.log");
    flow.tailers.take_changes();
    flow.collect();
    flow.expect(&[]);
    flow.settle();
    flow.start_since(millis_ago(60));
    flow.look();
    flow.expect(&["1", "2"]);
}

#[test]
fn several_copies_of_what_was_empty_at_a_stop_come_before_what_is_there_now() {
    let mut flow = Flow::in_order("app.log");
    flow.append("app.log", "");
    flow.look();
    flow.restart(|flow| {
        flow.append("app.log", "1\n");
        flow.rotate_by_copy();
        flow.rename("app.log.1", "app.log.2");
        set_ahead(flow, "app.log.2", 1);
        flow.append("app.log", "2\n");
        flow.rotate_by_copy();
        set_ahead(flow, "app.log.1", 2);
        flow.append("app.log", "3\n");
        set_ahead(flow, "app.log", 3);
    });
    flow.expect(&["1", "2", "3"]);
}

#[test]
fn what_was_empty_and_is_copied_and_cut_after_it_was_listed_is_read_first() {
    let mut flow = Flow::in_order("app.log");
    flow.append("app.log", "");
    flow.look();
    flow.append("app.log", "1\n");
    let listing = flow.tailers.list();
    flow.rotate_by_copy();
    flow.append("app.log", "2 and more\n");
    flow.tailers.act_on(listing, flow.now, 0);
    flow.read();
    flow.look();
    flow.expect(&["1", "2 and more"]);
}

#[test]
fn what_was_empty_is_read_also_where_names_never_rest() {
    for is_copied in [false, true] {
        let mut flow = Flow::in_order("app.log");
        flow.append("app.log", "");
        flow.look();
        flow.append("app.log", "1\n");
        if is_copied {
            flow.rotate_by_copy();
            set_ahead(&flow, "app.log.1", 1);
            flow.append("app.log", "2\n");
            set_ahead(&flow, "app.log", 2);
        }
        for _ in 0..6 {
            let mut listing = flow.tailers.list();
            listing.in_motion = true;
            flow.tailers.act_on(listing, flow.now, 0);
            flow.read();
            flow.now += Duration::from_secs(4);
        }
        flow.collect();
        flow.expect(&["1", "2"][..1 + usize::from(is_copied)]);
    }
}
