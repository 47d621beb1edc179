//! Questions to the agent's status: over its Unix socket as any HTTP client asks them, and with
//! `kinesis-agent status`.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Output;

use serde_json::Value;

use super::agent_process::command;
use super::scene::SOON;
use super::{World, eventually};

/// The code and the body of what `path` answers, once the agent serves it.
#[track_caller]
pub fn get(world: &World, path: &str) -> (u16, String) {
    eventually("the status is served", SOON, || try_get(world, path).map_err(|error| error.to_string()))
}

fn try_get(world: &World, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = UnixStream::connect(world.status_socket())?;
    stream.set_read_timeout(Some(SOON))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((code.ok_or(std::io::ErrorKind::InvalidData)?, body.to_owned()))
}

/// The JSON of `/status`.
#[track_caller]
pub fn status(world: &World) -> Value {
    let (code, body) = get(world, "/status");
    assert_eq!(code, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// Waits until the status is as `look` wants it.
#[track_caller]
pub fn status_when(world: &World, what: &str, look: impl Fn(&Value) -> bool) -> Value {
    eventually(what, SOON, || {
        let status = status(world);
        if look(&status) { Ok(status) } else { Err(format!("{status:#}")) }
    })
}

/// `kinesis-agent status` for the agent of this world.
pub fn status_command(world: &World, arguments: &[&str]) -> Output {
    let config = world.root().join("config.yaml");
    command(world).arg("status").arg("--config").arg(config).args(arguments).output().unwrap()
}

/// Its exit code and what it printed.
pub fn status_said(world: &World, arguments: &[&str]) -> (i32, String) {
    let output = status_command(world, arguments);
    let text = String::from_utf8(output.stdout).expect("it prints text");
    (output.status.code().expect("it ends by itself"), text)
}
