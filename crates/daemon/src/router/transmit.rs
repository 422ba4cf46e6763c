//! Transmission of adverts and of announcements (gratuitous ARP, unsolicited neighbour advertisements).

use std::net::IpAddr;

use evenkeel_core::vrrp::packet::announce::announcement_frame;
use evenkeel_core::vrrp::packet::multicast_frame;
use evenkeel_core::vrrp::{Router, State};
use evenkeel_sys::clock;

use super::thread::RouterThread;

/// Maximum number of announcements in a turn: they take less than a millisecond, and so do not delay adverts.
const ANNOUNCEMENTS_PER_TURN: usize = 64;

impl RouterThread {
    /// Sends an advert of an entry. A master's advert is recorded, but not its resignation.
    pub(super) fn send_advert(&self, i: usize, (to, ttl, is_resignation): (IpAddr, u8, bool), packet: &[u8]) {
        let e = &self.entries[i];
        self.transmit_packet(&e.router, to, ttl, packet);
        if e.router.state() == State::Master && !is_resignation {
            self.mastership.set_last_advert(e.key, Some(clock::now()));
        }
    }

    /// Sends a packet of an instance. With a virtual MAC address it is a frame on the interface of that address, unless
    /// the destination is unicast.
    pub(super) fn transmit_packet(&self, router: &Router, to: IpAddr, ttl: u8, packet: &[u8]) {
        let cfg = router.config();
        let port = self.ports.get(&(cfg.receive_device().to_owned(), cfg.transport()));
        let (Some(port), Some(from)) = (port, router.source()) else { return };
        let link = cfg.transmit_device().and_then(|dev| self.observed.links.get(dev));
        let frame = link.and_then(|l| Some((l.index, multicast_frame(l.mac, from, to, ttl, packet)?)));
        let sent = match frame {
            Some((index, frame)) => self.frames.send(index, &frame),
            None => port.socket.send(from, to, ttl, packet),
        };
        if let Err(e) = sent {
            tracing::debug!(instance = %cfg.name, "{}: cannot send an advert on {}: {e}", cfg.name, cfg.interface);
        }
    }

    /// Sends announcements that are due.
    pub(super) fn send_announcements(&mut self) {
        for _ in 0..ANNOUNCEMENTS_PER_TURN {
            let Some((dev, addr)) = self.announcements.pop_due(clock::now()) else { return };
            let Some(link) = self.observed.links.get(&dev) else { continue };
            let frame = announcement_frame(link.mac, addr, self.observed.ipv6_forwarding.contains(&link.index));
            if let Err(e) = self.frames.send(link.index, &frame) {
                tracing::debug!(vip = %addr, "cannot announce {addr} on {dev}: {e}");
            }
        }
    }
}
