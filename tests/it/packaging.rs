//! The service and what the packages are made of, as far as it can be seen without a build and
//! without booting a machine; `make test-packages` does the rest.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// `systemd-analyze security` multiplies the exposure by ten.
const GREATEST_EXPOSURE: &str = "--threshold=16";
const DROP_INS: [&str; 3] = ["strict.conf", "network.conf", "private-homes.conf"];

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text_of(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A folder for units: our service with the binary of this build, and perhaps a drop-in.
fn units(drop_in: Option<&str>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let built = env!("CARGO_BIN_EXE_kinesis-agent");
    let unit = text_of("systemd/kinesis-agent.service");
    assert!(
        unit.contains("ExecStart=/usr/bin/kinesis-agent "),
        "the service starts the binary of the packages"
    );
    let unit = unit.replace("/usr/bin/kinesis-agent", built);
    std::fs::write(folder.path().join("kinesis-agent.service"), unit).unwrap();
    if let Some(name) = drop_in {
        let drop_ins = folder.path().join("kinesis-agent.service.d");
        std::fs::create_dir(&drop_ins).unwrap();
        std::fs::copy(repository().join("systemd/drop-ins").join(name), drop_ins.join(name)).unwrap();
    }
    folder
}

fn analyze(arguments: &[&str], folder: &Path) -> Output {
    Command::new("systemd-analyze")
        .args(arguments)
        .arg(folder.join("kinesis-agent.service"))
        .env("SYSTEMD_UNIT_PATH", format!("{}:", folder.display()))
        .output()
        .expect("systemd-analyze is missing: apt-get install systemd")
}

fn said(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn systemd_understands_the_service_and_its_drop_ins() {
    for drop_in in [None].into_iter().chain(DROP_INS.map(Some)) {
        let folder = units(drop_in);
        // Whether the manual is installed is no matter here.
        let verified = analyze(&["verify", "--man=no"], folder.path());
        let ours: Vec<_> = said(&verified)
            .lines()
            .filter(|line| line.contains("kinesis-agent"))
            .map(str::to_owned)
            .collect();
        assert!(verified.status.success() && ours.is_empty(), "{drop_in:?}: {}", said(&verified));
    }
}

#[test]
fn the_service_is_hardened() {
    for drop_in in [None].into_iter().chain(DROP_INS.map(Some)) {
        let folder = units(drop_in);
        let scored = analyze(&["security", "--offline=true", "--no-pager", GREATEST_EXPOSURE], folder.path());
        assert!(said(&scored).contains("Overall exposure level"), "{}", said(&scored));
        assert!(scored.status.success(), "{drop_in:?} is more exposed than 1.6:\n{}", said(&scored));
    }
}

#[test]
fn every_drop_in_is_documented_and_tested() {
    let mut found: Vec<_> = std::fs::read_dir(repository().join("systemd/drop-ins"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    let mut known = DROP_INS;
    known.sort_unstable();
    assert_eq!(found, known);
    let documented = text_of("docs/SERVICE.md");
    assert!(found.iter().all(|name| documented.contains(name.as_str())), "docs/SERVICE.md names {found:?}");
}

#[test]
fn systemd_waits_longer_for_the_end_than_the_agent_takes() {
    let unit = text_of("systemd/kinesis-agent.service");
    let seconds =
        unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")?.strip_suffix('s')).unwrap();
    let example = text_of("config.example.yaml");
    let default = example
        .lines()
        .find_map(|line| line.strip_prefix("#shutdownTimeoutMillis: ")?.strip_suffix('s'))
        .unwrap();
    let (seconds, default): (u64, u64) = (seconds.parse().unwrap(), default.parse().unwrap());
    assert!(seconds > default, "TimeoutStopSec is {seconds} s, shutdownTimeoutMillis {default} s");
}

#[test]
fn the_shipped_configuration_is_good_and_reads_nothing() {
    let shipped = repository().join("packaging/config.yaml");
    let checked = Command::new(env!("CARGO_BIN_EXE_kinesis-agent"))
        .arg("check")
        .arg("--config")
        .arg(&shipped)
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", said(&checked));
    assert!(said(&checked).contains("no flow is configured"), "{}", said(&checked));
}

/// What a comment offers must work when the comment is taken away.
#[test]
fn what_the_shipped_configuration_offers_is_good() {
    let shipped = text_of("packaging/config.yaml");
    let lines = shipped.lines().filter(|line| *line != "flows: []").map(offered);
    let offered = lines.collect::<Vec<_>>().join("\n");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &offered).unwrap();
    let checked = Command::new(env!("CARGO_BIN_EXE_kinesis-agent"))
        .arg("check")
        .arg("--config")
        .arg(file.path())
        .output()
        .unwrap();
    assert!(checked.status.success() && said(&checked).contains("2 flows"), "{}\n{offered}", said(&checked));
}

/// `#key` is an offer, and so is `#  - key`; `# text` is a comment.
fn offered(line: &str) -> &str {
    let is_text = line.starts_with("# ") && !line.starts_with("#  ");
    if is_text { line } else { line.strip_prefix('#').unwrap_or(line) }
}

#[test]
fn all_say_the_same_version() {
    let version = env!("CARGO_PKG_VERSION");
    let debian = text_of("packaging/debian/changelog");
    assert!(
        debian.starts_with(&format!("kinesis-agent ({version})")),
        "packaging/debian/changelog begins with {version}"
    );
    let spec = text_of("packaging/rpm/kinesis-agent.spec");
    let (_, changes) = spec.split_once("%changelog\n").unwrap();
    assert!(
        changes.lines().next().unwrap().ends_with(&format!(" - {version}-1")),
        "the %changelog begins with {version}"
    );
}

#[test]
fn what_the_deb_holds_from_here_exists() {
    let manifest = text_of("Cargo.toml");
    let (_, assets) = manifest.split_once("assets = [").unwrap();
    let (assets, _) = assets.split_once("\n]").unwrap();
    let sources: Vec<_> =
        assets.lines().filter_map(|line| line.trim().strip_prefix("[\"")?.split('"').next()).collect();
    assert!(sources.len() > 10, "{sources:?}");
    for source in sources.iter().filter(|source| !source.starts_with("target/")) {
        let folder: PathBuf = repository().join(source.split('*').next().unwrap());
        assert!(folder.exists(), "Cargo.toml packs {source}");
    }
}

#[test]
fn bash_understands_the_completions() {
    let agent =
        Command::new(env!("CARGO_BIN_EXE_kinesis-agent")).args(["completions", "bash"]).output().unwrap();
    assert!(agent.status.success(), "{}", said(&agent));
    let script = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(script.path(), &agent.stdout).unwrap();
    let sourced = format!("source {} && complete -p kinesis-agent", script.path().display());
    let bash = Command::new("bash").args(["-c", &sourced]).output().unwrap();
    assert!(bash.status.success() && said(&bash).contains("kinesis-agent"), "{}", said(&bash));
}
