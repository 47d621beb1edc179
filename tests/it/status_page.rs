//! The page of the status, in a real browser.

use crate::support::browser::Browser;
use crate::support::ferrokinesis::free_port;
use crate::support::scene::SOON;
use crate::support::{Destination, Scene, Step, eventually};

/// A scene whose agent serves HTTP, and the page of it.
fn page_of(scene: &mut Scene) -> Browser {
    let port = free_port();
    scene.set("status.listen", port);
    scene.set("status.unreadyAfterMillis", "1s");
    scene.start();
    eventually("the page is served", SOON, || {
        std::net::TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())
    });
    Browser::open(&scene.world, &format!("http://127.0.0.1:{port}/"))
}

#[track_caller]
fn shows(browser: &mut Browser, selector: &str, text: &str) {
    eventually(&format!("{selector} shows {text}"), SOON, || {
        let shown = browser.text(selector);
        if shown.contains(text) { Ok(()) } else { Err(shown) }
    });
}

#[test]
fn it_keeps_itself_up_to_date_and_says_what_is_wrong() {
    let mut scene = Scene::with_flow(Destination::Kinesis, "*.log", |flow| flow.with("name", "app"));
    scene.world.lines("first.log", 10);
    let mut browser = page_of(&mut scene);
    shows(&mut browser, "#verdict", "All is well");
    shows(&mut browser, ".card h3", "app");
    shows(&mut browser, ".card .chip", "Up to date");
    shows(&mut browser, ".card dl", "10 records");
    shows(&mut browser, "#rows", "first.log");
    shows(&mut browser, "#place", "1 to 1 of 1 files");

    scene.world.lines("first.log", 1230);
    shows(&mut browser, ".card dl", "1,240 records");
    eventually("the throughput is a line", SOON, || {
        let line = browser.run("document.querySelector('figure.flow path.line').getAttribute('d')");
        if line.as_str().unwrap().contains('L') { Ok(()) } else { Err(line.to_string()) }
    });

    scene.endpoint.always(|_| Step::error("AccessDeniedException"));
    scene.world.lines("first.log", 10);
    shows(&mut browser, "#verdict", "Critical");
    shows(&mut browser, "#problems", "AccessDeniedException");
    shows(&mut browser, ".card .chip", "Failing");
    shows(&mut browser, ".card .error", "AccessDeniedException");
    scene.endpoint.heal();
    shows(&mut browser, "#verdict", "All is well");
    assert_eq!(browser.text("#problems"), "");
    assert_eq!(browser.complaints(), Vec::<String>::new());

    scene.kill9();
    shows(&mut browser, "#verdict", "No answer");
    shows(&mut browser, "#silent", "The agent does not answer");
    shows(&mut browser, "#rows", "first.log");
    scene.start();
    shows(&mut browser, "#verdict", "All is well");
    assert_eq!(browser.text("#silent"), "");
}

#[test]
fn files_are_filtered_sorted_and_paged_by_the_agent() {
    let mut scene = Scene::new(Destination::Kinesis, "*.log");
    for n in 0..120 {
        scene.world.long_lines(&format!("f{n:03}.log"), 1 + n % 7, 50);
    }
    scene.world.lines("<b>evil.log", 1);
    let mut browser = page_of(&mut scene);
    shows(&mut browser, "#place", "1 to 50 of 121 files");
    assert_eq!(browser.texts("#rows tr").len(), 50);
    browser.click("th[data-sort=path] button");
    shows(&mut browser, "#rows tr:first-child", "<b>evil.log");
    browser.click("#next");
    browser.click("#next");
    shows(&mut browser, "#place", "101 to 121 of 121 files");
    shows(&mut browser, "#rows tr:last-child", "f119.log");

    browser.fill("#filter", "f11*");
    shows(&mut browser, "#place", "1 to 10 of 10 files, 121 are followed");
    browser.run("window.mark = document.querySelector('#rows tr')");
    let shown = browser.text("#updated");
    eventually("the page refreshes itself", SOON, || {
        let now = browser.text("#updated");
        if now == shown { Err(now) } else { Ok(()) }
    });
    assert_eq!(browser.run("document.activeElement.id + ' ' + window.mark.isConnected"), "filter true");
    browser.type_text("nothing");
    shows(&mut browser, "#rows", "No file matches");

    browser.fill("#filter", "");
    shows(&mut browser, "#place", "1 to 50 of 121 files");
    browser.resize(360, 700);
    let overflow = browser.run("document.documentElement.scrollWidth - innerWidth");
    assert!(overflow.as_i64().unwrap() <= 0, "a narrow window must not be scrolled sideways: {overflow}");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
