//! Reception of adverts. A turn of the thread reads a limited number of packets, so that a flood does not delay timers.

use evenkeel_core::vrrp::Input;
use evenkeel_core::vrrp::packet::peek_vrid;
use evenkeel_sys::clock;

use super::thread::{PortKey, RouterThread};

/// Maximum number of adverts that are read from one port in a turn.
const ADVERTS_PER_TURN: usize = 64;
/// The same for adverts of unknown VRIDs.
const UNKNOWN_PER_TURN: u32 = 64;
/// The same for a snapshot, which reads as many as the socket's buffer holds.
const UNKNOWN_PER_SNAPSHOT: u32 = 4096;

impl RouterThread {
    /// Reads adverts of a port and gives each to its instance.
    pub(super) fn receive_adverts(&mut self, key: &PortKey) {
        let mut buf = [0u8; 2048];
        for _ in 0..ADVERTS_PER_TURN {
            let Some(port) = self.ports.get(key) else { break };
            let Ok(packet) = port.socket.recv(&mut buf) else { break };
            let Some((ip, payload)) = packet else { continue };
            let vrid = peek_vrid(&ip, payload);
            let Some(&i) = vrid.and_then(|vrid| port.routers.get(&vrid)) else {
                self.unknown_vrids.record(&key.0, ip.src, vrid);
                continue;
            };
            self.entries[i].router.handle(clock::now(), Input::Packet { ip, payload });
            if self.entries[i].keeps_found_addresses && self.entries[i].router.master().is_some() {
                self.entries[i].keeps_found_addresses = false;
                self.reconcile_addresses();
            }
            self.apply_outputs(i);
        }
    }

    /// Reads adverts of unknown VRIDs if they are logged as they arrive.
    pub(super) fn log_unknown_adverts(&mut self) {
        if self.unknown_vrids.is_logging() {
            self.receive_unknown_adverts(UNKNOWN_PER_TURN);
        }
    }

    /// Reads adverts of unknown VRIDs for a snapshot; returns how many were received since the start.
    pub(super) fn count_unknown_adverts(&mut self) -> u64 {
        self.receive_unknown_adverts(UNKNOWN_PER_SNAPSHOT);
        self.unknown_vrids.count()
    }

    /// Reads at most `max` adverts of each port.
    fn receive_unknown_adverts(&mut self, max: u32) {
        let mut buf = [0u8; 64];
        for ((device, _), port) in &self.ports {
            let Some(socket) = &port.unknown_socket else { continue };
            for _ in 0..max {
                match socket.recv(&mut buf) {
                    Ok(Some((ip, payload))) => self.unknown_vrids.record(device, ip.src, peek_vrid(&ip, payload)),
                    Ok(None) => {}
                    Err(_) => break,
                }
            }
        }
    }

    /// Gives the time of day to the instances whose adverts are signed: signatures carry it.
    pub(super) fn set_time_of_day(&mut self) {
        for e in self.entries.iter_mut().filter(|e| e.router.config().signing.is_some()) {
            e.router.set_time_of_day(clock::time_of_day());
        }
    }
}
