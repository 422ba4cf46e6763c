//! Counts the frames that arrive at a host.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use evenkeel_sys::wire::Sniffer;

use crate::lan::Lan;

/// Counts TCP segments that arrive at a host, on any device, from one address and port.
pub struct FrameCounter {
    stop: Arc<AtomicBool>,
    frames: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl FrameCounter {
    /// Starts to count segments from `source`.
    pub fn replies(lan: &Lan, host: &str, source: (Ipv4Addr, u16)) -> FrameCounter {
        let (stop, frames) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (end, count) = (stop.clone(), frames.clone());
        let (tx, rx) = std::sync::mpsc::channel();
        let thread = lan.spawn_thread_in(host, move || {
            let mut sniffer = match Sniffer::new(Duration::from_millis(50)) {
                Ok(s) => s,
                Err(e) => return eprintln!("{e}"),
            };
            let _ = tx.send(());
            let mut frame = [0u8; 128];
            while !end.load(Ordering::Relaxed) {
                let Some(f) = sniffer.next_frame(&mut frame) else { continue };
                let tcp = f.len() >= 38 && f[12..14] == [8, 0] && f[23] == 6;
                let l4 = 14 + usize::from(f.get(14).copied().unwrap_or(0) & 15) * 4;
                let port = f.get(l4..l4 + 2).map(|p| u16::from_be_bytes([p[0], p[1]]));
                if tcp && f[26..30] == source.0.octets() && port == Some(source.1) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let _ = rx.recv_timeout(Duration::from_secs(5));
        FrameCounter { stop, frames, thread: Some(thread) }
    }

    /// The number of segments so far.
    pub fn count(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }
}

impl Drop for FrameCounter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(t) = self.thread.take() {
            let _ = t.join();
        }
    }
}
