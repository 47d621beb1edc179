//! Where the agent says how it is doing.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use crate::observe::server::StatusOptions;

use super::agent;
use super::section::{Section, quoted};

/// Also where `kinesis-agent status` looks if there is no configuration.
pub const DEFAULT_SOCKET: &str = "/run/kinesis-agent/status.sock";
/// What `sun_path` holds beside its final zero (unix(7)).
const MAX_SOCKET_BYTES: usize = 107;
const DAY_MILLIS: u64 = 24 * 60 * 60 * 1000;

pub fn options(top: &mut Section<'_, '_>) -> StatusOptions {
    let unready_after = top.millis("status.unreadyAfterMillis", 1000..=DAY_MILLIS).unwrap_or(60_000);
    StatusOptions {
        socket: socket(top),
        listen: listen(top),
        unready_after: Duration::from_millis(unready_after),
    }
}

fn socket(top: &mut Section<'_, '_>) -> PathBuf {
    let Some(path) = agent::path(top, "status.socket") else { return DEFAULT_SOCKET.into() };
    if path.as_os_str().as_bytes().len() > MAX_SOCKET_BYTES {
        let line = top.line_of("status.socket").unwrap_or(top.line);
        let text = format!("is longer than the {MAX_SOCKET_BYTES} bytes that a socket's path may have");
        top.problem(line, "status.socket", text);
    }
    path
}

fn listen(top: &mut Section<'_, '_>) -> Option<SocketAddr> {
    let given = top.text("status.listen")?;
    let Some(address) = address(&given.value) else {
        let text = format!(
            "{} is no address; allowed: PORT, :PORT or ADDRESS:PORT such as 127.0.0.1:9494 or [::1]:9494",
            quoted(&given.value)
        );
        top.problem(given.line, "status.listen", text);
        return None;
    };
    if !address.ip().is_loopback() {
        let text = format!(
            "everybody who reaches {address} can read the paths of files and the errors of destinations; use a \
             loopback address, such as 127.0.0.1:{}, or keep others out",
            address.port()
        );
        top.warning(given.line, "status.listen", text);
    }
    Some(address)
}

/// A port alone is on this host.
fn address(text: &str) -> Option<SocketAddr> {
    let on_this_host = ["localhost:", ":", ""].iter().find_map(|host| {
        let port: u16 = text.strip_prefix(host)?.parse().ok()?;
        Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    });
    on_this_host.or_else(|| text.parse().ok()).filter(|address| address.port() > 0)
}
