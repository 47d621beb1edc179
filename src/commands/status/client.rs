//! Asks the agent over its Unix socket, in the simplest HTTP there is: one request, and an
//! answer that goes on to the end of the connection.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::command_line::StatusArguments;
use crate::observe::status::Status;

/// Far more than a thousand files take. Bytes.
const MAX_ANSWER: u64 = 16 << 20;
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct Asked {
    pub status: Status,
    /// As the agent sent it.
    pub json: String,
}

#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error(
        "no agent is asked on {}: there is no such socket. Is the agent running (systemctl status \
         kinesis-agent)? Its key `status.socket` says where it listens",
        .0.display()
    )]
    NoSocket(PathBuf),
    #[error(
        "no agent answers on {}: it has ended without removing the socket. Look at its log \
         (journalctl -u kinesis-agent) and start it",
        .0.display()
    )]
    Refused(PathBuf),
    #[error(
        "you may not use {}: ask as root, or as a member of the group that the socket belongs to",
        .0.display()
    )]
    Denied(PathBuf),
    #[error(
        "the agent behind {} has not answered for {} s: it is stopped or stuck. Look at its log, and restart it",
        .0.display(), PATIENCE.as_secs()
    )]
    Silent(PathBuf),
    #[error("asking on {} failed: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the agent on {} refused to answer: {answer}", .path.display())]
    Status { path: PathBuf, answer: String },
    #[error("what {} answered cannot be understood, is it an agent of another version? {problem}", .path.display())]
    Nonsense { path: PathBuf, problem: String },
}

/// The query of `/status` for what was typed.
pub fn query(arguments: &StatusArguments) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("limit", &arguments.limit.to_string());
    if let Some(flow) = &arguments.flow {
        query.append_pair("flow", flow);
    }
    if let Some(file) = &arguments.file {
        query.append_pair("file", file);
    }
    query.finish()
}

pub async fn ask(socket: &Path, query: &str) -> Result<Asked, AskError> {
    let answer = timeout(PATIENCE, request(socket, query)).await;
    let answer = answer.map_err(|_| AskError::Silent(socket.to_owned()))?;
    understand(socket, &answer.map_err(|error| not_asked(socket, error))?)
}

async fn request(socket: &Path, query: &str) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket).await?;
    let request = format!("GET /status?{query} HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    Ok(answer)
}

fn not_asked(socket: &Path, error: io::Error) -> AskError {
    let path = socket.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound => AskError::NoSocket(path),
        io::ErrorKind::ConnectionRefused => AskError::Refused(path),
        io::ErrorKind::PermissionDenied => AskError::Denied(path),
        // So many ask already that nobody is let in: it takes in no connection any more.
        io::ErrorKind::WouldBlock => AskError::Silent(path),
        _ => AskError::Io { path, source: error },
    }
}

fn understand(socket: &Path, answer: &[u8]) -> Result<Asked, AskError> {
    let path = socket.to_owned();
    let nonsense = |problem: &str| AskError::Nonsense { path: path.clone(), problem: problem.to_owned() };
    let text = std::str::from_utf8(answer).map_err(|error| nonsense(&error.to_string()))?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| nonsense("it is no HTTP"))?;
    if head.split(' ').nth(1) != Some("200") {
        return Err(AskError::Status { path, answer: body.trim().to_owned() });
    }
    let status = serde_json::from_str(body).map_err(|error| nonsense(&error.to_string()))?;
    Ok(Asked { status, json: body.to_owned() })
}
