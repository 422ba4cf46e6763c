//! A connection that is served while something is waited for, as long as bytes come.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;

/// The connection's side of an exchange.
pub struct Talk<'t, C> {
    connection: Pin<&'t mut C>,
    open: bool,
    heard: Counter,
    patience: Duration,
}

impl<'t, C: Future<Output = hyper::Result<()>>> Talk<'t, C> {
    /// `heard` counts what the connection reads.
    pub fn new(connection: Pin<&'t mut C>, heard: Counter, patience: Duration) -> Self {
        Talk { connection, open: true, heard, patience }
    }

    /// Waits while bytes come, for each no longer than patience lasts; `None` if they do not.
    pub async fn wait<T>(&mut self, what: impl Future<Output = T>) -> Option<T> {
        let mut what = std::pin::pin!(what);
        loop {
            let before = self.heard.bytes();
            let some = async {
                loop {
                    tokio::select! {
                        biased;
                        done = &mut what => return done,
                        _ = &mut self.connection, if self.open => self.open = false,
                    }
                }
            };
            match timeout(self.patience, some).await {
                Ok(done) => return Some(done),
                Err(_) if self.heard.bytes() > before => {}
                Err(_) => return None,
            }
        }
    }

    /// Bytes heard so far.
    pub fn bytes(&self) -> u64 {
        self.heard.bytes()
    }
}

/// How many bytes were read.
#[derive(Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A stream whose bytes are counted as they are read.
pub struct Heard<S>(S, Counter);

impl<S> Heard<S> {
    /// Nothing has been read.
    pub fn new(stream: S) -> (Self, Counter) {
        let counter = Counter::default();
        (Heard(stream, counter.clone()), counter)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let done = Pin::new(&mut self.0).poll_read(cx, buf);
        self.1.0.fetch_add((buf.filled().len() - before) as u64, Ordering::Relaxed);
        done
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
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
