//! A headless Chromium that shows a page and says what can be seen on it.
//!
//! It is driven by `tests/it/peers/browser.mjs` with playwright-core, which `make peers` installs
//! beside the Python peers; Chromium itself is the distribution's.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use super::World;
use super::ministack::peers_folder;

#[derive(Debug)]
pub struct Browser {
    process: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Browser {
    pub fn open(world: &World, url: &str) -> Self {
        let modules = peers_folder();
        let ready = modules.join("node_modules/playwright-core").exists();
        assert!(ready, "no playwright-core in {}: run `make peers`", modules.display());
        let log = std::fs::File::create(world.root().join("browser.log")).unwrap();
        let mut process = Command::new("node")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/peers/browser.mjs"))
            .arg(url)
            .env("BROWSER_MODULES", &modules)
            .env("BROWSER_PROGRAM", chromium())
            .env("HOME", world.root())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("node is installed");
        let commands = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().expect("it is piped"));
        Browser { process, commands, answers }
    }

    #[track_caller]
    fn obey(&mut self, command: Value) -> Value {
        let commands = self.commands.as_mut().expect("it is taken only by `drop`");
        writeln!(commands, "{command}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let mut answer: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{command}: {error}: {line:?}"));
        assert!(answer.get("error").is_none(), "{command}: {answer}");
        answer["ok"].take()
    }

    /// The text that each element shows.
    #[track_caller]
    pub fn texts(&mut self, selector: &str) -> Vec<String> {
        let texts = self.obey(json!({ "do": "text", "selector": selector }));
        texts.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    }

    #[track_caller]
    pub fn text(&mut self, selector: &str) -> String {
        self.texts(selector).join("\n")
    }

    #[track_caller]
    pub fn fill(&mut self, selector: &str, value: &str) {
        self.obey(json!({ "do": "fill", "selector": selector, "value": value }));
    }

    /// At the keyboard, wherever the focus is.
    #[track_caller]
    pub fn type_text(&mut self, value: &str) {
        self.obey(json!({ "do": "type", "value": value }));
    }

    #[track_caller]
    pub fn click(&mut self, selector: &str) {
        self.obey(json!({ "do": "click", "selector": selector }));
    }

    /// What a script in the page gives.
    #[track_caller]
    pub fn run(&mut self, script: &str) -> Value {
        self.obey(json!({ "do": "run", "script": script }))
    }

    #[track_caller]
    pub fn resize(&mut self, width: u32, height: u32) {
        self.obey(json!({ "do": "look", "dark": false, "width": width, "height": height }));
    }

    /// Faults of the page and what the browser refused it.
    #[track_caller]
    pub fn complaints(&mut self) -> Vec<String> {
        let complaints = self.obey(json!({ "do": "complaints" }));
        complaints.as_array().unwrap().iter().map(Value::to_string).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The end of its commands ends it and its browser.
        self.commands = None;
        self.process.wait().expect("it is our child");
    }
}

fn chromium() -> PathBuf {
    let found = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
    let found = found.into_iter().map(PathBuf::from).find(|path| path.exists());
    found.expect("Chromium is installed: run `make peers`")
}
