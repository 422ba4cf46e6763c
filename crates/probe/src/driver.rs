//! The driver of a hyper connection: polls the connection while the probe waits for a response, with a timeout that
//! starts anew whenever bytes arrive.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;

/// A connection with its idle timeout.
pub struct ConnectionDriver<'t, C> {
    connection: Pin<&'t mut C>,
    open: bool,
    bytes_read: ByteCounter,
    idle_timeout: Duration,
}

impl<'t, C: Future<Output = hyper::Result<()>>> ConnectionDriver<'t, C> {
    /// `bytes_read` counts the bytes that the connection reads.
    pub fn new(connection: Pin<&'t mut C>, bytes_read: ByteCounter, idle_timeout: Duration) -> Self {
        ConnectionDriver { connection, open: true, bytes_read, idle_timeout }
    }

    /// Waits for `what` as long as bytes arrive; `None` if none arrives within the idle timeout.
    pub async fn drive_until<T>(&mut self, what: impl Future<Output = T>) -> Option<T> {
        let mut what = std::pin::pin!(what);
        loop {
            let before = self.bytes_read.get();
            let done = async {
                loop {
                    tokio::select! {
                        biased;
                        done = &mut what => return done,
                        _ = &mut self.connection, if self.open => self.open = false,
                    }
                }
            };
            match timeout(self.idle_timeout, done).await {
                Ok(done) => return Some(done),
                Err(_) if self.bytes_read.get() > before => {}
                Err(_) => return None,
            }
        }
    }

    /// Bytes received so far.
    pub fn total_bytes_read(&self) -> u64 {
        self.bytes_read.get()
    }
}

/// A counter of bytes.
#[derive(Clone, Default)]
pub struct ByteCounter(Arc<AtomicU64>);

impl ByteCounter {
    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A stream that counts the bytes read from it.
pub struct CountingStream<S>(S, ByteCounter);

impl<S> CountingStream<S> {
    /// Wraps a stream. The counter is 0.
    pub fn new(stream: S) -> (Self, ByteCounter) {
        let counter = ByteCounter::default();
        (CountingStream(stream, counter.clone()), counter)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for CountingStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let done = Pin::new(&mut self.0).poll_read(cx, buf);
        self.1.0.fetch_add((buf.filled().len() - before) as u64, Ordering::Relaxed);
        done
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CountingStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
