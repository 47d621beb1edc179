//! ministack, a Python server for most of AWS: here Firehose into S3, STS, IAM, the instance
//! metadata, and the check of signatures.
//!
//! It lives in a virtual environment that `make peers` makes; `KINESIS_AGENT_PEERS` says where.
//! What it stores is read back with boto3, by `tests/it/peers/aws.py`.

use std::fs::File;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::ferrokinesis::free_port;
use super::{World, eventually};

#[derive(Debug)]
pub struct Ministack {
    process: Child,
    port: u16,
    python: PathBuf,
}

impl Ministack {
    /// `settings` are environment variables, such as `AUTH=true`.
    pub fn start(world: &World, settings: &[(&str, &str)]) -> Self {
        let peers = peers();
        let port = free_port();
        let home = world.root().join("ministack");
        std::fs::create_dir_all(&home).unwrap();
        let log = File::create(home.join("server.log")).unwrap();
        let process = Command::new(peers.join("bin/ministack"))
            .env("GATEWAY_PORT", port.to_string())
            .env("BIND_HOST", "127.0.0.1")
            .env("HOME", &home)
            .envs(settings.iter().copied())
            .current_dir(&home)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let server = Ministack { process, port, python: peers.join("bin/python") };
        eventually("ministack listens", Duration::from_secs(30), || {
            TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())
        });
        server
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What a command of `aws.py` prints.
    #[track_caller]
    pub fn aws(&self, arguments: &[&str]) -> Value {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/peers/aws.py");
        let output = Command::new(&self.python).arg(script).arg(self.url()).args(arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "aws.py {arguments:?}: {error}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The contents of all objects in a bucket, or of all records in a stream.
    #[track_caller]
    pub fn contents(&self, command: &str, name: &str) -> Vec<Vec<u8>> {
        let listed = self.aws(&[command, name]);
        let decode = |item: &Value| STANDARD.decode(item.as_str().unwrap()).unwrap();
        listed.as_array().unwrap().iter().map(decode).collect()
    }
}

impl Drop for Ministack {
    fn drop(&mut self) {
        self.process.kill().expect("it is our child");
        self.process.wait().expect("a killed child can be waited for");
    }
}

/// The virtual environment of the Python peers.
pub fn peers() -> PathBuf {
    let peers = peers_folder();
    let ready = peers.join("bin/ministack").exists();
    assert!(ready, "no Python peers in {}: run `make peers`", peers.display());
    peers
}

/// Where `make peers` puts what the tests need besides Rust.
pub fn peers_folder() -> PathBuf {
    let built = || {
        let agent = Path::new(env!("CARGO_BIN_EXE_kinesis-agent"));
        agent.ancestors().nth(2).expect("it stands in target/debug").join("peers")
    };
    std::env::var_os("KINESIS_AGENT_PEERS").map_or_else(built, PathBuf::from)
}
