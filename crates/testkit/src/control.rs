//! Requests to a daemon over its control socket.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use evenkeel_core::ipc::{Reply, Request, Status};

/// The limit for a reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(60);

/// Sends a request and returns the reply.
pub fn send_request(socket: &Path, request: &Request) -> Result<Reply> {
    let mut stream = UnixStream::connect(socket).with_context(|| format!("connect to {}", socket.display()))?;
    // In an emulated machine a reload of a large file takes long.
    stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut reply = String::new();
    BufReader::new(stream).read_line(&mut reply)?;
    serde_json::from_str(&reply).context("the daemon's reply cannot be parsed")
}

/// The daemon's status.
pub fn read_status(socket: &Path) -> Result<Status> {
    match send_request(socket, &Request::Status)? {
        Reply::Status(s) => Ok(*s),
        other => bail!("unexpected reply: {other:?}"),
    }
}
