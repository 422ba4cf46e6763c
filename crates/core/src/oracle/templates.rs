//! Persistence templates: a client's network keeps its real server (ip_vs_sched_persist()).

use std::net::IpAddr;

use super::{DestRef, Oracle, Packet};
use crate::model::ServiceKey;

/// The key of a template: service, client's network, virtual address.
type TemplateKey = (ServiceKey, IpAddr, IpAddr);

/// A persistence template.
#[derive(Clone, Debug)]
pub(super) struct Template {
    /// `None` once the template's server is not available: no client finds the template any more, but it still counts.
    key: Option<TemplateKey>,
    dest: DestRef,
    /// When the template expires, in seconds.
    pub(super) expires: u64,
    /// How many connections the template controls.
    pub(super) controls: u32,
}

/// While a template controls connections, it lives on for this many seconds at a time.
const CONTROL_TIMEOUT_S: u64 = 60;

fn apply_mask(a: IpAddr, mask: IpAddr) -> IpAddr {
    match (a, mask) {
        (IpAddr::V4(a), IpAddr::V4(m)) => (a & m).into(),
        (IpAddr::V6(a), IpAddr::V6(m)) => (a & m).into(),
        _ => a,
    }
}

impl Oracle {
    /// The key of the template that a packet's client has; `None` if the service is not persistent.
    fn template_key(&self, service: ServiceKey, p: &Packet) -> Option<TemplateKey> {
        let persistence = self.services.get(&service)?.spec.persistence?;
        // A template of a firewall mark is for all addresses with the mark.
        let addr = if service.fwmark != 0 { service.addr } else { p.dst.0 };
        Some((service, apply_mask(p.src.0, persistence.mask), addr))
    }

    /// The destination of the client's template, and the template's number.
    ///
    /// A template whose server is not available is dead from now on (ip_vs_check_template()); with
    /// expire_quiescent_template also one whose server is quiesced.
    pub(super) fn template_dest(&mut self, service: ServiceKey, p: &Packet) -> Option<(DestRef, u64)> {
        let key = self.template_key(service, p)?;
        let (&id, template) = self.templates.iter().find(|(_, t)| t.key == Some(key))?;
        let dest = template.dest;
        let expire_quiescent = self.tuning.expire_quiescent_template;
        let is_usable =
            self.dest_mut(dest).is_some_and(|d| d.available && !(expire_quiescent && d.spec.weight.get() == 0));
        if !is_usable && let Some(t) = self.templates.get_mut(&id) {
            t.key = None;
        }
        is_usable.then_some((dest, id))
    }

    /// Creates the template of a packet's client, and returns its number; `None` if the service is not persistent.
    pub(super) fn create_template(&mut self, dest: DestRef, p: &Packet) -> Option<u64> {
        let key = self.template_key(dest.0, p)?;
        let id = self.next_template;
        self.next_template += 1;
        self.templates.insert(id, Template { key: Some(key), dest, expires: 0, controls: 0 });
        if let Some(d) = self.dest_mut(dest) {
            d.counts.templates += 1;
        }
        Some(id)
    }

    pub(super) fn expire_templates(&mut self, now: u64) {
        let expired: Vec<u64> = self.templates.iter().filter(|(_, t)| t.expires <= now).map(|(id, _)| *id).collect();
        for id in expired {
            let Some(t) = self.templates.get_mut(&id) else { continue };
            if t.controls > 0 {
                t.expires = now + CONTROL_TIMEOUT_S;
                continue;
            }
            let dest = t.dest;
            self.templates.remove(&id);
            if let Some(d) = self.dest_mut(dest) {
                d.counts.templates -= 1;
            }
        }
    }
}
