//! The Unix socket: made for the agent's user and group, put in the place of one that an agent
//! left behind when it was killed, and never in the place of one that somebody answers on.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

/// So that a group may be let in.
const MODE: u32 = 0o660;
/// Whoever does not answer by then is alive, but busy.
const PROBE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Socket {
    pub listener: UnixListener,
    path: PathBuf,
    /// Device and inode, so that no other's socket is removed.
    file: (u64, u64),
}

#[derive(Debug, thiserror::Error)]
enum BindError {
    #[error("another agent answers there")]
    Living,
    #[error("there is something else than a socket")]
    NoSocket,
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Socket {
    /// None, with a warning in the log, if it cannot be had.
    pub async fn bind(path: &Path) -> Option<Socket> {
        match try_bind(path).await {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!(
                    socket = %path.display(), %error,
                    "`kinesis-agent status` cannot reach this agent, everything else works; set `status.socket` to a path of its own and restart the agent"
                );
                None
            }
        }
    }

    /// Takes the socket out of the file system, unless it is not there or not ours any more.
    pub fn remove(self) {
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|found| id(&found) == self.file);
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(socket = %self.path.display(), %error, "the socket cannot be removed");
        }
    }
}

async fn try_bind(path: &Path) -> Result<Socket, BindError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(BindError::NoSocket),
        Ok(_) => {
            if is_living(path).await? {
                return Err(BindError::Living);
            }
            fs::remove_file(path)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
    let file = id(&fs::symlink_metadata(path)?);
    Ok(Socket { listener, path: path.to_owned(), file })
}

/// Whether somebody listens. A full backlog and a refused permission are signs of life.
async fn is_living(path: &Path) -> io::Result<bool> {
    match timeout(PROBE, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Err(error),
        _ => Ok(true),
    }
}

fn id(found: &fs::Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}
