//! BFD in the router thread: virtual routers act on a lost neighbour at once.

use evenkeel_core::model::{BfdInstance, TrackResult, TrackedObject};
use evenkeel_core::vrrp::Input;
use evenkeel_sys::clock;

use super::bfd_sessions::SessionChange;
use super::messages::Event;
use super::thread::RouterThread;

impl RouterThread {
    /// One turn of BFD: reads packets, fires deadlines, and reports changes.
    pub(super) fn run_bfd(&mut self) {
        let now = clock::now();
        self.bfd.receive_packets(now);
        self.bfd.handle_deadlines(now);
        for c in self.bfd.take_changes() {
            let SessionChange { config, up, admin_down, detail } = c;
            let (name, peer) = (&config.name, &config.neighbour);
            tracing::info!(session = %name, %peer, "BFD session {name} with {peer}: {detail}");
            if admin_down {
                continue;
            }
            if config.notifies_vrrp {
                self.report_bfd_change(&config, up);
            }
            let checks = config.notifies_checks;
            let _ = self.events.send(Event::Bfd { name: config.name, up, detail, checks });
        }
    }

    /// Applies the configuration of BFD sessions.
    pub(super) fn configure_bfd(&mut self, wanted: &[BfdInstance]) {
        self.bfd.configure(clock::now(), wanted);
    }

    /// Tells the virtual routers that track a session that it came up or went down.
    fn report_bfd_change(&mut self, cfg: &BfdInstance, up: bool) {
        let object = TrackedObject::Bfd(cfg.name.clone());
        let now = clock::now();
        for i in 0..self.entries.len() {
            let router = &mut self.entries[i].router;
            router.handle(now, Input::TrackResult { object: &object, result: TrackResult::Good(up) });
            if !up && router.config().bfd_takeover_session.as_ref() == Some(&cfg.name) {
                router.handle(now, Input::BfdNeighbourLost(cfg.neighbour));
            }
            self.apply_outputs(i);
        }
    }

    /// Gives an engine the states of the sessions that it tracks.
    pub(super) fn apply_bfd_states(&mut self, i: usize) {
        let now = clock::now();
        let tracked: Vec<TrackedObject> =
            self.entries[i].router.config().tracks.iter().map(|t| t.object.clone()).collect();
        for object in tracked {
            let TrackedObject::Bfd(name) = &object else { continue };
            let result = TrackResult::Good(self.bfd.is_up(name));
            self.entries[i].router.handle(now, Input::TrackResult { object: &object, result });
        }
    }
}
