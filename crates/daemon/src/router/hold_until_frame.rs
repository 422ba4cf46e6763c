//! `vrrp_hold_until_frame`: an instance stays silent until any frame arrives on its link. A sniffer listens while an
//! instance waits.

use std::time::Duration;

use evenkeel_core::vrrp::Input;
use evenkeel_sys::clock;
use evenkeel_sys::wire::Sniffer;

use super::thread::RouterThread;

/// Maximum number of frames that are read in a turn.
const FRAMES_PER_TURN: usize = 64;

impl RouterThread {
    /// Reads frames while an instance waits for one, and tells the instances on their links.
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
                // The instances then wait until their time limit.
                Err(e) => tracing::warn!("vrrp_hold_until_frame: {e}"),
            }
        }
        let received = self.received_ifindexes();
        if received.is_empty() {
            return;
        }
        for i in 0..self.entries.len() {
            let interface = &self.entries[i].router.config().interface;
            if self.observed.links.get(interface).is_some_and(|l| received.contains(&l.index)) {
                self.entries[i].router.handle(clock::now(), Input::FrameReceived);
                self.apply_outputs(i);
            }
        }
    }

    /// The interface indexes of the frames that have arrived.
    fn received_ifindexes(&mut self) -> Vec<u32> {
        let mut out = Vec::new();
        let Some(sniffer) = &mut self.sniffer else { return out };
        for _ in 0..FRAMES_PER_TURN {
            let mut buf = [0; 64];
            let Some((ifindex, _)) = sniffer.next_frame_and_ifindex(&mut buf) else { break };
            out.push(ifindex);
        }
        out
    }
}
