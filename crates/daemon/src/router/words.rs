//! Last words: kept up to date for every master, in memory that the parent reads if this process dies.

use evenkeel_core::model::{Auth, Transport};
use evenkeel_core::vrrp::State;
use evenkeel_sys::last_words::{Farewell, LastWords};

use super::Shell;

impl Shell {
    /// Writes what is to be said and taken away if this process died now; nothing unless the router is master.
    pub(super) fn leave_words(&mut self, i: usize) {
        let master = self.entries[i].router.state() == State::Master;
        match (master, self.entries[i].place) {
            (false, None) => {}
            (false, Some(place)) => {
                self.testament.set(place, None);
                self.free_places.push(place);
                self.entries[i].place = None;
            }
            (true, place) => {
                let Some(place) = place.or_else(|| self.free_places.pop()) else { return };
                self.entries[i].place = Some(place);
                let words = self.words(i);
                self.testament.set(place, Some(&words));
            }
        }
    }

    /// The last word of an authentication header or a signature is too old once another one was sent.
    pub(super) fn age_words(&mut self, i: usize) {
        let cfg = self.entries[i].router.config();
        if matches!(cfg.auth, Auth::Ah(_)) || cfg.signing.is_some() {
            self.leave_words(i);
        }
    }

    fn words(&self, i: usize) -> LastWords {
        let e = &self.entries[i];
        let cfg = e.router.config();
        let transport = cfg.transport();
        // Over IPv6 only the device underneath has the address that adverts come from.
        let dev = if transport == Transport::Ipv6 { &cfg.interface } else { cfg.hears_on() };
        let ifindex = self.seen.links.get(dev).map(|l| l.index);
        let mut words = LastWords { key: e.key, ..LastWords::default() };
        if let (Some(ifindex), Some(from)) = (ifindex, e.router.address()) {
            let farewell = |(to, hops, packet)| Farewell { ifindex, transport, from, to, hops, packet };
            words.farewells = e.router.last_words().into_iter().map(farewell).collect();
        }
        if !e.owns {
            let index = |dev: &String| self.seen.links.get(dev).map(|l| l.index);
            let addresses = cfg.all_vips().filter_map(|v| Some((index(&v.dev)?, v.addr, v.prefix)));
            words.addresses = addresses.collect();
        }
        words
    }
}
