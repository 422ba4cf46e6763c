//! The control socket: a Unix socket that only root may open. A client sends requests, one JSON object a line, and gets
//! one reply for each, in order. The control thread answers.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use evenkeel_core::ipc::{Reply, Request};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

/// A request and the channel for its reply.
pub type Call = (Request, oneshot::Sender<Reply>);

/// Maximum number of bytes that a client may send on one connection.
const MAX_REQUEST: u64 = 64 * 1024;
/// Delay after accept(2) failed, so that a lack of descriptors does not make a busy loop.
const ACCEPT_RETRY: Duration = Duration::from_secs(1);

/// Opens the socket and sends every request to `calls`.
pub fn serve(path: &Path, calls: UnboundedSender<Call>) -> anyhow::Result<()> {
    let _ = fs::remove_file(path);
    let listener = UnixListener::bind(path).with_context(|| format!("listen on {}", path.display()))?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(serve_client(stream, calls.clone()));
                }
                Err(e) => {
                    tracing::warn!("control socket: cannot accept a client: {e}");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    });
    Ok(())
}

async fn serve_client(stream: UnixStream, calls: UnboundedSender<Call>) {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read.take(MAX_REQUEST)).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let reply = match serde_json::from_str::<Request>(&line) {
            Ok(request) => {
                let (tx, rx) = oneshot::channel();
                if calls.send((request, tx)).is_err() {
                    return;
                }
                rx.await.unwrap_or_else(|_| Reply::Rejected { error: "the daemon is stopping".into() })
            }
            Err(e) => Reply::Rejected { error: format!("not a request: {e}") },
        };
        let Ok(mut text) = serde_json::to_vec(&reply) else { return };
        text.push(b'\n');
        if write.write_all(&text).await.is_err() {
            return;
        }
    }
}
