//! Asking a daemon over its control socket.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use evenkeel_core::ipc::{Reply, Request, Status};

/// Whoever does not answer for so long will not answer.
const REPLY_TIMEOUT: Duration = Duration::from_secs(60);

/// One request and its reply.
pub fn send_request(socket: &Path, request: &Request) -> Result<Reply> {
    let mut stream = UnixStream::connect(socket).with_context(|| format!("connect to {}", socket.display()))?;
    // A reload of a large file takes long in an emulated machine on a busy one.
    stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    serde_json::from_str(&answer).context("the daemon's answer is not understood")
}

/// The daemon's status.
pub fn read_status(socket: &Path) -> Result<Status> {
    match send_request(socket, &Request::Status)? {
        Reply::Status(s) => Ok(*s),
        other => bail!("an unexpected answer: {other:?}"),
    }
}
