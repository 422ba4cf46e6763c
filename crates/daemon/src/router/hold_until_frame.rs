//! `vrrp_hold_until_frame`: listens for any frame on the links of those that wait for one.

use std::time::Duration;

use evenkeel_core::vrrp::Input;
use evenkeel_sys::clock;
use evenkeel_sys::wire::Sniffer;

use super::RouterThread;

impl RouterThread {
    /// Listens while anybody waits, and tells them of what is heard.
    pub(super) fn listen_for_frames(&mut self) {
        if !self.frame_awaited {
            return;
        }
        self.frame_awaited = self.entries.iter().any(|e| e.router.is_waiting_for_frame());
        if !self.frame_awaited {
            self.sniffer = None;
            return;
        }
        if self.sniffer.is_none() {
            let open = || {
                let s = Sniffer::new(Duration::from_millis(1))?;
                s.set_nonblocking().map(|()| s)
            };
            match open() {
                Ok(s) => self.sniffer = Some(s),
                // They wait as long as they are to, and no longer.
                Err(e) => tracing::warn!("{e}"),
            }
        }
        let mut heard = Vec::new();
        for _ in 0..64 {
            let mut buf = [0; 64];
            let Some((ifindex, _)) = self.sniffer.as_mut().and_then(|s| s.next_frame_and_ifindex(&mut buf)) else {
                break;
            };
            heard.push(ifindex);
        }
        if heard.is_empty() {
            return;
        }
        for i in 0..self.entries.len() {
            let interface = &self.entries[i].router.config().interface;
            if self.observed.links.get(interface).is_some_and(|l| heard.contains(&l.index)) {
                self.entries[i].router.handle(clock::now(), Input::FrameReceived);
                self.apply_outputs(i);
            }
        }
    }
}
